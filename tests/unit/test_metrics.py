"""Metrics parse, say what happened and what is there, and nothing of what is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from nodeport_access import __version__
from nodeport_access.metrics import Metrics, PolicyView, View
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
        "queue_depth": 0,
        "oldest_key_age": 0.0,
        "watches": (),
    }
    return View(**(fields | tweaks))


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
    assert found[labelled("workqueue_depth")] == 0
    assert found[labelled("workqueue_oldest_key_seconds")] == 0
    assert found[labelled("reconcile_duration_seconds_count")] == 0
    assert not names(found) & {"policy_ready", "policy_condition", "policy_next_expiry_timestamp_seconds"}


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
    metrics = Metrics()
    expiring = policy("gone", ready=False, deviating=(("Stalled", "True", "X"),), next_expiry=1.0)
    before = samples(metrics, view(expiring, unguarded=(("web", 3),), watches=(("pods", "web", 1.0),)))
    assert any(("policy", "gone") in labels for _, labels in before)
    after = samples(metrics, view())
    assert not any(labels & {("policy", "gone"), ("namespace", "web")} for _, labels in after)


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
