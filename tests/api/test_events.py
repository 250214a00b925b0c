"""What the operator tells by Kubernetes Events, as `kubectl describe` and `kubectl events` show it, and what it does
not tell.

Events are posted one after another, so that once a later one is there, an earlier one will not come any more. Not the
business of this module: every kind of drift (`test_drift`), and when a pass tells of one (tests/unit).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from random import Random

import pytest

from nodeport_access.events import INSTANCE_LIMIT, NOTE_LIMIT, Recorder, ready_changed
from nodeport_access.kube import EVENTS, Client, Invalid, load_configuration
from nodeport_access.metrics import Metrics
from nodeport_access.policy_body import parse_policy
from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, OperatorProcess
from tests.api.access import Json, Site, drifts, until
from tests.api.conftest import StartOperator

TRAFFIC_POLICY = "spec.externalTrafficPolicy"

_numbers = itertools.count(1)


@pytest.fixture
def quiet_site(quiet_control_plane: ControlPlane) -> Iterator[Site]:
    """A namespace where no operator runs but the test's own."""
    cluster, name = Cluster(quiet_control_plane), f"events-{next(_numbers)}"
    cluster.create_namespace(objects.namespace(name=name))
    yield Site(cluster, name)
    cluster.vacate_namespace(name)


def told(site: Site) -> list[str]:
    """The Events of the namespace about policies, in the order of their times, as "Warning DriftRepaired"."""
    about = [event for event in events(site) if event["regarding"]["kind"] == "NodePortAccessPolicy"]
    return [f"{event['type']} {event['reason']}" for event in about]


def events(site: Site) -> list[Json]:
    found = site.cluster.list("Event", namespace=site.namespace)
    return sorted((event for event in found if event.get("eventTime")), key=lambda event: str(event["eventTime"]))


def await_told(site: Site, *expected: str) -> None:
    """Wait until exactly this has been told."""

    def as_expected() -> bool:
        assert told(site) == list(expected)
        return True

    until(as_expected, f"the Events {expected}")


def guard(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()


def drift_by(site: Site, writer: str) -> None:
    """A drift, repaired, by a writer who has done nothing else yet."""
    site.edit("NetworkPolicy", "web-deny-all", manager=writer, spec={"ingress": [{}]})
    until(lambda: "ingress" not in site.network_policies()["web-deny-all"]["spec"], "the repair")


def test_a_drift_is_shown_by_kubectl_with_its_writer(site: Site) -> None:
    guard(site)

    site.kubectl("patch", "service", "web", "-p", '{"spec": {"externalTrafficPolicy": "Cluster"}}')

    await_told(site, "Warning DriftRepaired")
    sentence = (
        "spec.externalTrafficPolicy of Service/web was changed by kubectl-patch, which may have opened access, "
        "depending on the CNI; it is set back."
    )
    described = site.kubectl("describe", "npap", "web")
    (line,) = [line for line in described.partition("\nEvents:")[2].splitlines() if "DriftRepaired" in line]
    assert line.split()[0] == "Warning"
    assert "nodeport-access.io/operator" in line
    assert line.endswith(sentence)
    (line,) = site.kubectl("events", "--for", "nodeportaccesspolicy/web", "--no-headers").splitlines()
    assert line.split()[1:4] == ["Warning", "DriftRepaired", "NodePortAccessPolicy/web"]
    assert line.endswith(sentence)
    (event,) = events(site)
    assert event["related"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "namespace": site.namespace,
        "name": "web",
        "uid": site.service()["metadata"]["uid"],
    }


def test_ready_lost_and_regained_is_one_event_each(site: Site) -> None:
    guard(site)

    site.delete("Service")
    site.await_condition("Ready", "False ServiceNotFound")
    await_told(site, "Warning ServiceNotFound")
    site.create_service()
    site.await_ready()
    await_told(site, "Warning ServiceNotFound", "Normal Guarded")

    drift_by(site, "somebody")
    await_told(site, "Warning ServiceNotFound", "Normal Guarded", "Warning DriftRepaired")
    described = site.kubectl("describe", "npap", "web")
    assert "Service 'web' does not exist in this namespace." in described
    assert "admits the allowlist only" in described.partition("\nEvents:")[2]


def test_a_policy_that_becomes_ready_for_the_first_time_tells_nothing(site: Site) -> None:
    site.create_policy()
    site.await_condition("Ready", "False ServiceNotFound")
    site.create_service()
    site.await_ready()

    drift_by(site, "somebody")
    await_told(site, "Warning DriftRepaired")


def test_of_a_fight_each_drift_is_counted_and_one_a_minute_is_told(
    site: Site, shared_operator: OperatorProcess
) -> None:
    guard(site)
    counted = drifts(shared_operator, "Service", TRAFFIC_POLICY, "depends")

    for _ in range(3):
        site.edit_service(externalTrafficPolicy="Cluster", manager="gitops")
        site.await_guard("Local", "web")
    site.await_ready()

    drift_by(site, "somebody-else")
    until(lambda: "changed by somebody-else" in events(site)[-1]["note"], "the last Event")
    repaired = [event["note"] for event in events(site) if event["reason"] == "DriftRepaired"]
    writers = [note.partition(" by ")[2].partition(",")[0] for note in repaired]
    assert writers == ["gitops", "somebody-else"]
    assert drifts(shared_operator, "Service", TRAFFIC_POLICY, "depends") == counted + 3


def test_a_restart_with_everything_converged_tells_nothing(quiet_site: Site, start_operator: StartOperator) -> None:
    control_plane = quiet_site.cluster.control_plane
    first = start_operator(control_plane, namespace=[quiet_site.namespace])
    guard(quiet_site)
    first.stop()

    second = start_operator(control_plane, namespace=[quiet_site.namespace])
    drift_by(quiet_site, "somebody")
    await_told(quiet_site, "Warning DriftRepaired")
    second.stop()


def test_without_the_permission_everything_else_goes_on_and_the_log_says_so_once(
    quiet_site: Site, start_operator: StartOperator
) -> None:
    control_plane = quiet_site.cluster.control_plane
    role = json.loads(control_plane.kubectl("get", "clusterrole", "nodeport-access-operator", "-o", "json").stdout)
    rules = [rule for rule in role["rules"] if rule["resources"] != ["events"]]
    assert len(rules) == len(role["rules"]) - 1
    control_plane.kubectl("replace", "-f", "-", input=json.dumps({**role, "rules": rules}))
    try:
        operator = start_operator(control_plane, namespace=[quiet_site.namespace])
        guard(quiet_site)
        for writer in ("one", "two", "three"):
            drift_by(quiet_site, writer)
        until(lambda: 'nodeport_access_events_total{outcome="failed"} 3.0' in operator.metrics(), "three failures")
        quiet_site.await_ready()
        assert operator.health()[0] == 200
        operator.stop()
    finally:
        control_plane.kubectl("apply", "-k", ROOT / "manifests")
    warnings = [line for line in map(json.loads, operator.log_lines()) if line["level"] == "WARNING"]
    (warning,) = warnings
    assert 'cannot create resource "events" in API group "events.k8s.io"' in warning["message"]
    assert told(quiet_site) == []


async def test_the_api_server_takes_the_longest_that_is_sent_and_nothing_longer(
    control_plane: ControlPlane, namespace: str, cluster: Cluster
) -> None:
    about = objects.policy(namespace=namespace, name=f"{'a' * 199}.{'b' * 53}", service="web", allowedCIDRs=[])
    about["metadata"] |= {"uid": "its-uid", "resourceVersion": "1"}
    condition = {"status": "False", "reason": "ApplyForbidden", "message": "€" * 2_000}
    load = partial(load_configuration, kubeconfig=str(control_plane.admin_kubeconfig), context=None, environ={})
    client = Client(configuration=await load(), load=load, observer=lambda *_: None)
    try:
        recorder = Recorder(
            client=client,
            metrics=Metrics(),
            clock=lambda: datetime.now(UTC),
            time=asyncio.get_running_loop().time,
            random=Random(),
            instance="h" * 200,
            log=logging.getLogger("test.events"),
        )
        recorder.tell(ready_changed(parse_policy(about), condition))
        running = asyncio.create_task(recorder.run())
        (found,) = await asyncio.to_thread(until, lambda: cluster.list("Event", namespace=namespace), "the Event")
        running.cancel()
        event = cluster.get("Event", found["metadata"]["name"], namespace=namespace)
        assert NOTE_LIMIT - 3 < len(event["note"].encode()) <= NOTE_LIMIT
        again = {name: value for name, value in event.items() if not name.startswith("deprecated")}
        again["metadata"] = {"namespace": namespace, "name": "another"}
        # The API server speaks of 1024 characters, and counts bytes.
        too_long = {"note": "€" * (NOTE_LIMIT // 3 + 1), "reportingInstance": "h" * (INSTANCE_LIMIT + 1)}
        for field, value in too_long.items():
            with pytest.raises(Invalid, match="can have at most"):
                await client.create(EVENTS, namespace=namespace, body={**again, field: value})
        await client.create(EVENTS, namespace=namespace, body=again)
    finally:
        await client.close()
