"""What a real Prometheus and a real Alertmanager make of the operator: a drift fires its alert and no other, and it
resolves; every trouble fires its own; and no series outlives its object.

The tests follow each other on one control plane: the last take away what the first have made, and then the operator.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from docs.monitoring_page import alerts, recordings
from testbed.operator_process import OperatorProcess
from testbed.prometheus import Alertmanager, Json, Prometheus
from tests.api.access import WEB, Site, until
from tests.monitoring.expressions import names, panels, queries, uncompared
from tests.monitoring.picture import draw

Sites = Callable[[str], Site]
Told = set[tuple[str, ...]]

SECONDS = 45.0
"""The longest that an alert here has to wait for is 15 s."""
INTERVAL = "5s"


def active(alertmanager: Alertmanager) -> Told:
    """What Alertmanager would tell a person: alerts, each with what it is about."""
    told = [alert["labels"] for alert in alertmanager.alerts() if alert["status"]["state"] == "active"]
    subjects = ("alertname", "namespace", "policy", "service", "network_policy")
    return {tuple(labels[name] for name in subjects if name in labels) for labels in told}


def await_told(alertmanager: Alertmanager, expected: Told) -> None:
    def as_expected() -> bool:
        assert active(alertmanager) == expected
        return True

    until(as_expected, f"alerts {expected}", seconds=SECONDS)


def alert(name: str, *subject: str) -> tuple[str, ...]:
    return (f"NodePortAccess{name}", *subject)


def started(watched: Prometheus) -> float:
    """When the operator was, in seconds since the epoch."""
    return min(float(sample["value"][1]) for sample in watched.query("process_start_time_seconds"))


@pytest.fixture(scope="module")
def guarded(site: Sites, watched: Prometheus) -> Site:
    """A policy that is Ready, seen by Prometheus."""
    made = site("guarded")
    made.create_service()
    made.create_pod()
    made.create_policy()
    made.await_ready()
    ready = 'nodeport_access_policy_ready{namespace="guarded"} == 1'
    until(lambda: watched.query(ready), "Prometheus to see that the policy is Ready", seconds=SECONDS)
    return made


@pytest.mark.usefixtures("guarded")
def test_nothing_fires_where_nothing_is_wrong(watched: Prometheus, alertmanager: Alertmanager) -> None:
    evaluated = 'count_over_time(policy:nodeport_access_policy_ready:min{namespace="guarded"}[1m]) > 3'
    until(lambda: watched.query(evaluated), "a few evaluations", seconds=SECONDS)
    assert watched.alerts() == []
    assert active(alertmanager) == set()


def test_a_drift_that_opens_access_fires_exactly_its_alert_and_it_resolves(
    guarded: Site, watched: Prometheus, alertmanager: Alertmanager
) -> None:
    guarded.edit("NetworkPolicy", f"{WEB}-allow", spec={"ingress": [{}]})
    await_told(alertmanager, {alert("DriftOpenedAccess", "guarded", WEB)})
    (fired,) = alertmanager.alerts()
    assert (fired["labels"]["effect"], fired["labels"]["severity"]) == ("opened", "critical")
    assert "addresses outside the allowlist" in fired["annotations"]["description"]
    assert [one["labels"]["alertname"] for one in watched.alerts()] == ["NodePortAccessDriftOpenedAccess"]
    counted = 'sum(increase(nodeport_access_drift_total{effect="opened"}[1m]))'
    assert float(watched.query(counted)[0]["value"][1]) > 0, "the first drift of all is an increase too"
    await_told(alertmanager, set())


def test_a_harmless_drift_fires_nothing(guarded: Site, watched: Prometheus, alertmanager: Alertmanager) -> None:
    guarded.edit("NetworkPolicy", f"{WEB}-deny-all", metadata={"labels": {"nodeport-access.io/policy": "another"}})
    told = 'nodeport_access_policy_last_drift_timestamp_seconds{namespace="guarded",effect="none"}'
    until(lambda: watched.query(told), "the drift to be seen", seconds=SECONDS)
    evaluated = f"count_over_time({told}[1m]) > 3"
    until(lambda: watched.query(evaluated), "a few evaluations", seconds=SECONDS)
    assert watched.alerts() == []
    assert active(alertmanager) == set()


@pytest.fixture(scope="module")
def troubles(site: Sites) -> list[Site]:
    """Everything that can be wrong and does not take minutes to go wrong, each in a namespace of its own."""
    waiting = site("waiting")
    waiting.create_policy(service="absent")

    hidden = site("hidden")
    hidden.create_service(externalTrafficPolicy="Cluster")
    hidden.create_policy(trafficPolicy="Unmanaged")

    unguarded = site("unguarded")
    unguarded.create_service(externalTrafficPolicy="Cluster")
    unguarded.create_network_policy(
        "balancer",
        podSelector={},
        ingress=[{"from": [{"ipBlock": {"cidr": "10.102.123.0/24"}}]}],
    )

    ending = site("ending")
    ending.create_service()
    end = datetime.now(UTC) + timedelta(hours=1)
    ending.create_policy(allowed=[{"cidr": "10.2.3.4/32", "expiresAt": end.strftime("%Y-%m-%dT%H:%M:%SZ")}])

    audited = site("audited")
    audited.create_service()
    audited.create_policy(mode="Audit")

    fought = site("fought")
    fought.create_service()
    fought.create_policy()
    fought.await_ready()
    for _ in range(2):
        fight(fought)
    return [waiting, hidden, unguarded, ending, audited, fought]


def fight(site: Site) -> None:
    """Takes back what the operator keeps, and waits for it to be repaired."""
    name, label = f"{WEB}-deny-all", "nodeport-access.io/policy"
    site.edit("NetworkPolicy", name, metadata={"labels": {label: "another"}})
    until(lambda: site.network_policies()[name]["metadata"]["labels"][label] == WEB, "the repair")


@pytest.mark.usefixtures("guarded", "troubles")
def test_each_trouble_fires_its_own_alert_and_none_fires_where_all_is_well(alertmanager: Alertmanager) -> None:
    await_told(
        alertmanager,
        {
            alert("PolicyNotReady", "waiting", WEB, "absent"),
            alert("SourceIPNotPreserved", "hidden", WEB),  # and that it is not Ready is said once
            alert("UnguardedNodePorts", "hidden"),
            alert("UnguardedNodePorts", "unguarded"),
            alert("NetworkPolicyCoversNodes", "unguarded", WEB, "balancer"),
            alert("EntryExpiring", "ending", WEB),
            alert("UnguardedNodePorts", "audited"),
            alert("ForeignWriter", "fought", WEB),
        },
    )
    told = [text for one in alertmanager.alerts() for text in one["annotations"].values()]
    assert not [text for text in told if "error" in text or "{{" in text or "<no value>" in text]


@pytest.mark.usefixtures("troubles")
def test_every_rule_is_healthy(watched: Prometheus) -> None:
    told = {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in watched.rules()}
    assert told == dict.fromkeys(
        [*(rule["alert"] for rule in alerts()), *(one["record"] for one in recordings())], ("ok", "")
    )


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
@pytest.mark.usefixtures("troubles")
def test_every_alert_looks_at_series_that_are_there(rule: Json, watched: Prometheus) -> None:
    for name in names(rule["expr"]):
        assert watched.query(name), f"there is no {name}"
    assert watched.query(uncompared(rule["expr"]))


@pytest.mark.parametrize("rule", recordings(), ids=lambda rule: str(rule["record"]))
@pytest.mark.usefixtures("troubles")
def test_every_recording_rule_records_what_its_expression_says(rule: Json, watched: Prometheus) -> None:
    def labels(expression: str) -> set[frozenset[tuple[str, str]]]:
        samples = watched.query(expression)
        return {
            frozenset((name, value) for name, value in one["metric"].items() if name != "__name__") for one in samples
        }

    def as_computed() -> bool:
        assert labels(rule["record"]) == labels(rule["expr"]) != set()
        return True

    until(as_computed, f"{rule['record']} to be recorded")


@pytest.mark.parametrize("panel", [one for one in panels() if one["type"] != "row"], ids=lambda one: str(one["title"]))
@pytest.mark.usefixtures("troubles")
def test_every_query_of_the_dashboard_returns_data(panel: Json, watched: Prometheus) -> None:
    found = list(queries(panel, interval=INTERVAL))
    begin = started(watched)
    assert found
    for query in found:
        for name in names(query.expression):
            assert watched.query(name), f"there is no {name}"
        asked = watched.query if query.at_once else partial(watched.query_range, start=begin, end=time.time(), step=1)
        assert asked(query.expression), f"no data of {query.expression}"


@pytest.mark.usefixtures("troubles")
def test_the_dashboard_can_be_drawn(watched: Prometheus, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = Path(request.config.getoption("--picture") or tmp_path / "dashboard.png")
    draw(panels(), watched, start=started(watched), end=time.time(), file=file)
    assert file.stat().st_size > 50_000


@pytest.mark.usefixtures("guarded", "troubles")
def test_what_is_about_an_object_carries_its_namespace_and_not_that_of_the_operator(watched: Prometheus) -> None:
    seen = {sample["metric"]["namespace"] for sample in watched.query("nodeport_access_policy_ready")}
    assert seen == {"guarded", "waiting", "hidden", "ending", "audited", "fought"}
    assert watched.query('{__name__=~"nodeport_access.+",exported_namespace!=""}') == []
    of_all = watched.query('nodeport_access_watch_last_word_seconds{resource="nodes"}')
    assert [sample["metric"].get("namespace", "") for sample in of_all] == [""], "or alerts would name a namespace"


def test_no_series_outlives_its_object(
    troubles: list[Site], guarded: Site, operator: OperatorProcess, watched: Prometheus, alertmanager: Alertmanager
) -> None:
    for namespace in (guarded, *troubles):
        for kind in ("NodePortAccessPolicy", "NetworkPolicy", "Service", "Pod"):
            namespace.cluster.delete_all(kind, namespace=namespace.namespace)
    every = "|".join(namespace.namespace for namespace in (guarded, *troubles))

    def gone() -> bool:
        lines = [line for line in operator.metrics().splitlines() if not line.startswith("#")]
        left = [line for line in lines if any(f'namespace="{name}"' in line for name in every.split("|"))]
        assert left == []
        return True

    until(gone, "the series to end", seconds=SECONDS)
    expression = f'{{__name__=~"nodeport_access.+",namespace=~"{every}"}}'
    until(lambda: watched.query(expression) == [], "Prometheus to see it", seconds=SECONDS)
    await_told(alertmanager, set())


@pytest.mark.usefixtures("watched")
def test_an_operator_that_is_gone_is_told_by_the_one_alert_that_can(
    operator: OperatorProcess, alertmanager: Alertmanager
) -> None:
    operator.stop()
    await_told(alertmanager, {alert("OperatorDown")})
