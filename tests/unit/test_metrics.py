"""Metrics parse, say what happened and what is there, and nothing of what is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from nodeport_access import __version__
from nodeport_access.api import Effect
from nodeport_access.metric_families import FAMILIES, PREFIX, Type
from nodeport_access.metrics import DRIFTING, CoveringView, Format, Metrics, PolicyView, View
from tests.unit.strategies import properties

Sample = tuple[str, frozenset[tuple[str, str]]]


def policy(name: str = "shop", **tweaks: Any) -> PolicyView:
    fields: dict[str, Any] = {
        "namespace": "web",
        "name": name,
        "service": "shop",
        "ready": True,
        "deviating": (),
        "next_expiry": None,
    }
    return PolicyView(**(fields | tweaks))


def view(*policies: PolicyView, **tweaks: Any) -> View:
    fields: dict[str, Any] = {
        "policies": policies,
        "unguarded": (),
        "covering_nodes": tuple,
        "queue_depth": 0,
        "oldest_key_age": 0.0,
        "watches": (),
        "leads": True,
    }
    return View(**(fields | tweaks))


def covering(name: str, **tweaks: str) -> CoveringView:
    fields = {"namespace": "web", "service": "shop", "external_traffic_policy": "Cluster"}
    return CoveringView(network_policy=name, **(fields | tweaks))


def samples(metrics: Metrics, seen: View) -> dict[Sample, float]:
    """What a scrape gives, by name and labels; each family must come once and with help."""
    text = metrics.render(seen).decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    every = [sample for family in families for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in every}
    assert len(found) == len(every)
    return found


def labelled(name: str, **labels: str) -> Sample:
    return (f"nodeport_access_{name}", frozenset(labels.items()))


def names(found: Iterable[Sample]) -> set[str]:
    return {name.removeprefix("nodeport_access_") for name, _ in found}


def test_everything_is_there_from_the_first_scrape_on() -> None:
    found = samples(Metrics(), view())
    assert found[labelled("build_info", version=__version__)] == 1
    assert found[labelled("leader")] == 1
    assert found[labelled("workqueue_depth")] == 0
    assert found[labelled("workqueue_oldest_key_seconds")] == 0
    assert found[labelled("reconcile_duration_seconds_count")] == 0
    assert not names(found) & {"policy_ready", "policy_condition", "policy_next_expiry_timestamp_seconds"}


def everything() -> tuple[Metrics, View]:
    """Each family has at least one series."""
    metrics = Metrics()
    metrics.requested("apply", "services", 200, 0.01)
    metrics.passed(outcome="Done", seconds=0.25)
    metrics.told(outcome="posted")
    told = policy(
        "bad",
        ready=False,
        deviating=(("Stalled", "True", "OpenedByOtherPolicy"),),
        next_expiry=1_800_000_000.5,
        last_drifts=(("opened", 1_700_000_000.0), ("none", 1_700_000_001.0)),
        planned_writes=2,
    )
    pairs = [covering("balancer")]
    return metrics, view(
        told,
        unguarded=(("web", 3),),
        contended=(("web", "shop", 2),),
        covering_nodes=lambda: pairs,
        watches=(("pods", "web", 1.0),),
    )


def test_what_is_exposed_is_what_is_declared_with_its_type_its_help_and_its_labels() -> None:
    metrics, seen = everything()
    exposed = {family.name: family for family in openmetrics_families(metrics, seen)}
    declared = {family.name: family for family in FAMILIES}
    of_the_process = {name for name in declared if not name.startswith(PREFIX)}  # told on Linux only
    assert exposed.keys() | of_the_process == declared.keys()
    for name, family in exposed.items():
        assert (family.type, family.documentation) == (declared[name].type, declared[name].help)
        assert {sample.name for sample in family.samples} == set(declared[name].series)
        labels = {frozenset(sample.labels) - {"le"} for sample in family.samples}
        assert labels == {frozenset(declared[name].labels)}


def openmetrics(metrics: Metrics, seen: View) -> str:
    return metrics.render(seen, format=Format.OPENMETRICS).decode()


def openmetrics_families(metrics: Metrics, seen: View) -> list[Metric]:
    """By the library's parser of OpenMetrics, which refuses whatever the format does not allow."""
    text = openmetrics(metrics, seen)
    return list(openmetrics_parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call] # no types


def test_openmetrics_says_the_same_as_the_text_format_without_exemplars_and_times_of_creation() -> None:
    metrics, seen = everything()
    text = openmetrics(metrics, seen)
    parsed = [sample for family in openmetrics_families(metrics, seen) for sample in family.samples]
    assert text.endswith("# EOF\n")
    assert not any(sample.exemplar for sample in parsed)
    assert not any(sample.name.endswith("_created") for sample in parsed)
    changing = f"{PREFIX}_", "process_start"
    assert {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for sample in parsed
        if sample.name.startswith(changing)
    } == {key: value for key, value in samples(metrics, seen).items() if key[0].startswith(changing)}


@pytest.mark.parametrize(
    ("accept", "format"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain;version=0.0.4", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", Format.OPENMETRICS),
        ("text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", Format.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5", Format.TEXT),
        ("application/openmetrics-text;version=2.0.0", Format.TEXT),
        ("application/openmetrics-text;q=0.0", Format.TEXT),
        ("application/openmetrics-text;version=abc;=;;q", Format.TEXT),
        (",;=,;", Format.TEXT),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_a_version_that_is_spoken_here(accept: str, format: Format) -> None:
    assert Format.accepted(accept) is format


def test_every_drift_that_can_be_is_counted_from_nought() -> None:
    found = samples(Metrics(), view())
    told = {key: value for key, value in found.items() if key[0] == f"{PREFIX}_drift_total"}
    assert told == {
        labelled("drift_total", kind=kind, field=field, effect=effect): 0
        for kind, field in DRIFTING
        for effect in Effect
    }
    assert len(told) == 44


def test_a_status_code_that_http_does_not_know_makes_no_series_of_its_own() -> None:
    metrics = Metrics()
    for code in (200, 0, 777, 778, -1):
        metrics.requested("watch", "pods", code, 0.0)
    found = samples(metrics, view())
    told = {dict(labels)["code"]: value for (name, labels), value in found.items() if name.endswith("requests_total")}
    assert told == {"200": 1, "0": 1, "other": 3}


def test_last_drifts_and_plans_are_told_of_the_policies_that_have_them() -> None:
    found = samples(
        Metrics(),
        view(
            policy("drifted", last_drifts=(("opened", 17.5), ("none", 18.0))),
            policy("audits", planned_writes=0),
            policy("neither"),
        ),
    )
    told = {key: value for key, value in found.items() if "last_drift" in key[0] or "planned" in key[0]}
    drift = "policy_last_drift_timestamp_seconds"
    assert told == {
        labelled(drift, namespace="web", policy="drifted", effect="opened"): 17.5,
        labelled(drift, namespace="web", policy="drifted", effect="none"): 18,
        labelled("policy_planned_writes", namespace="web", policy="audits"): 0,
    }


def test_a_type_is_one_that_a_family_can_have() -> None:
    assert {family.type for family in FAMILIES} == set(Type)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_ready_is_told_of_every_policy_and_other_conditions_only_where_they_deviate() -> None:
    found = samples(
        Metrics(),
        view(
            policy("good", service="front"),
            policy(
                "bad",
                ready=False,
                deviating=(("Exclusive", "False", "OpenedByOtherPolicy"), ("Stalled", "True", "OpenedByOtherPolicy")),
                next_expiry=1_800_000_000.5,
            ),
        ),
    )
    assert found[labelled("policy_ready", namespace="web", policy="good", service="front")] == 1
    assert found[labelled("policy_ready", namespace="web", policy="bad", service="shop")] == 0
    conditions = {key for key in found if key[0] == "nodeport_access_policy_condition"}
    common = {"namespace": "web", "policy": "bad", "reason": "OpenedByOtherPolicy"}
    assert conditions == {
        labelled("policy_condition", type="Exclusive", status="False", **common),
        labelled("policy_condition", type="Stalled", status="True", **common),
    }
    assert found[labelled("policy_next_expiry_timestamp_seconds", namespace="web", policy="bad")] == 1_800_000_000.5


def test_series_vanish_with_their_object() -> None:
    metrics, seen = everything()
    of_objects = {family.name for family in FAMILIES if "namespace" in family.labels}
    before = {name for name, labels in samples(metrics, seen) if ("namespace", "web") in labels}
    after = samples(metrics, view())
    assert before == of_objects
    assert not any(("namespace", "web") in labels for _, labels in after)


def test_network_policies_that_cover_nodes_are_named_with_the_service_and_what_is_in_force_there() -> None:
    pairs = (covering("lb"), covering("lb", service="front", external_traffic_policy="Local"), covering("nodes"))
    found = samples(Metrics(), view(covering_nodes=lambda: pairs))
    name = "network_policy_covers_nodes"
    told = {key: value for key, value in found.items() if key[0] == f"nodeport_access_{name}"}
    assert told == {
        labelled(name, namespace="web", service="shop", network_policy="lb", external_traffic_policy="Cluster"): 1,
        labelled(name, namespace="web", service="front", network_policy="lb", external_traffic_policy="Local"): 1,
        labelled(name, namespace="web", service="shop", network_policy="nodes", external_traffic_policy="Cluster"): 1,
    }


def test_the_rest_of_the_view_is_told() -> None:
    found = samples(
        Metrics(),
        view(
            unguarded=(("web", 3), ("db", 1)),
            queue_depth=7,
            oldest_key_age=12.5,
            watches=(("services", "", 0.5), ("pods", "web", 61.0)),
        ),
    )
    assert found[labelled("unguarded_services", namespace="web")] == 3
    assert found[labelled("unguarded_services", namespace="db")] == 1
    assert found[labelled("workqueue_depth")] == 7
    assert found[labelled("workqueue_oldest_key_seconds")] == 12.5
    assert found[labelled("watch_last_word_seconds", resource="services", namespace="")] == 0.5
    assert found[labelled("watch_last_word_seconds", resource="pods", namespace="web")] == 61


def test_a_replica_that_stands_by_says_so() -> None:
    assert samples(Metrics(), view(leads=False))[labelled("leader")] == 0


def test_what_happened_is_counted() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.drifted(kind="Service", field="spec.externalTrafficPolicy", effect="depends")
        metrics.requested("apply", "services", 200, 0.01)
    metrics.drifted(kind="NetworkPolicy", field="deleted", effect="opened")
    metrics.requested("apply", "services", 0, 5.0)
    metrics.passed(outcome="Done", seconds=0.25)
    metrics.passed(outcome="Wait", seconds=0.5)
    for outcome in ("posted", "posted", "failed", "dropped"):
        metrics.told(outcome=outcome)
    found = samples(metrics, view())
    field = "spec.externalTrafficPolicy"
    assert found[labelled("drift_total", kind="Service", field=field, effect="depends")] == 2
    assert found[labelled("drift_total", kind="NetworkPolicy", field="deleted", effect="opened")] == 1
    assert found[labelled("api_requests_total", verb="apply", resource="services", code="200")] == 2
    assert found[labelled("api_requests_total", verb="apply", resource="services", code="0")] == 1
    assert found[labelled("reconcile_total", outcome="Done")] == 1
    assert [found[labelled("events_total", outcome=each)] for each in ("posted", "failed", "dropped")] == [2, 1, 1]
    assert found[labelled("reconcile_duration_seconds_count")] == 2
    assert found[labelled("reconcile_duration_seconds_sum")] == 0.75


def test_two_operators_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.passed(outcome="Done", seconds=0.1)
    assert samples(one, view())[labelled("reconcile_total", outcome="Done")] == 1
    assert labelled("reconcile_total", outcome="Done") not in samples(other, view())


@properties(50)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_no_name_breaks_the_format(name: str) -> None:
    # A field manager, for one, may hold quotes; newlines and backslashes are escaped by the format.
    found = samples(Metrics(), view(policy(service=name)))
    assert found[labelled("policy_ready", namespace="web", policy="shop", service=name)] == 1


@pytest.mark.parametrize("count", [5_000])
def test_thousands_of_policies_are_rendered_in_little_time(count: int) -> None:
    found = samples(Metrics(), view(*(policy(f"shop-{number}") for number in range(count))))
    assert sum(1 for name, _ in found if name == "nodeport_access_policy_ready") == count
