"""What somebody else has opened is told at once, and found at the start: never once too seldom; and not where he only
closed, nor where we wrote ourselves."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access.api import Body, ServiceKey
from nodeport_access.plan import OPENING, plan
from nodeport_access.store import Store
from tests.unit.builders import KEY, NAMESPACE, NOW, held_service, policy, service, store_of
from tests.unit.model_cluster import ModelCluster
from tests.unit.strategies import properties
from tests.unit.worlds import EVENTS, HISTORIES, SETTLE, Event, played, pods_of, settle, story

BY_POLICY = [event for event in EVENTS if event.name.split()[0] in ("elder", "shop", "twin")]
BY_STRANGERS = [event for event in EVENTS if event not in BY_POLICY and not event.name.endswith("loses our entry")]
"""Not the loss of managedFields: it opens nothing, and makes a child that only lags behind its Service look drifted."""


def opened_by(cluster: ModelCluster, events: list[Event]) -> set[ServiceKey]:
    """Which Services are told as opened while this happens."""
    opened: set[ServiceKey] = set()
    cluster.store.on_opened = opened.add
    for event in events:
        event.happen(cluster)
    return opened


def is_open_by_drift(store: Store) -> bool:
    writes = plan(store.snapshot(KEY, NOW))
    return any(write.drift is not None and write.drift.effect in OPENING for write in writes)


def seen_anew(cluster: ModelCluster) -> Store:
    """What a process knows that starts now."""
    return store_of(*cluster.bodies())


@properties(150)
@given(HISTORIES, st.lists(st.sampled_from(BY_STRANGERS), min_size=1, max_size=4))
@example([], story("shop-allow is closed", "shop-allow is opened to one more"))
@example([], story("shop-allow is removed", "shop-deny-all is removed"))
@example(story("shop is made for a namespace"), story("shop-deny-all is removed"))
@example(
    [],
    story(
        "shop-allow is given a finalizer",
        "shop-allow is removed",
        "shop-deny-all is given a finalizer",
        "shop-deny-all is removed",
    ),
)
@example([], story("the service is made ClusterIP", "the service is made NodePort"))
@example([], story("the service is set to Cluster", "the service is stripped of our label"))
@example(
    [], story("shop-deny-all is stripped of labels", "shop-deny-all is stripped of owners", "shop-deny-all is opened")
)
def test_what_strangers_open_is_told_and_is_found_by_a_process_that_starts_then(
    before: list[Event], strangers: list[Event]
) -> None:
    cluster = played([*before, SETTLE])
    settle(cluster)
    if not pods_of(cluster):
        return  # what was drifted before could not be repaired, and is no news of theirs
    opened = opened_by(cluster, strangers)
    assert KEY in opened or not is_open_by_drift(cluster.store)
    anew = seen_anew(cluster)
    assert anew.may_be_open(KEY) or not is_open_by_drift(anew)


@properties(80)
@given(st.lists(st.one_of(st.just(SETTLE), st.sampled_from(BY_POLICY)), min_size=1, max_size=10))
def test_nothing_that_we_do_about_policies_counts_as_opened(history: list[Event]) -> None:
    cluster = played([])
    assert opened_by(cluster, history) == set()
    settle(cluster)
    settle(cluster)
    assert not seen_anew(cluster).may_be_open(KEY)


@pytest.mark.parametrize(
    "name",
    [
        "shop-allow is closed",
        "shop-allow is removed",
        "shop-allow is stripped of owners",
        "shop-deny-all is removed",
        "shop-deny-all is given egress",
        "shop-deny-all is stripped of labels",
        "the service is stripped of our label",
        "the service is given other ports",
        "another network policy is created",
    ],
)
def test_what_was_closed_or_does_not_matter_is_not_told(name: str) -> None:
    cluster = played([SETTLE])
    assert opened_by(cluster, story(name)) == set()
    assert not seen_anew(cluster).may_be_open(KEY)


def test_an_allowlist_that_was_only_cut_down_is_not_told() -> None:
    cluster = ModelCluster(service(), policy(allowed=["10.2.3.4/32", "203.0.113.0/24"]))
    settle(cluster)

    def cut_down(body: Body) -> None:
        body["spec"]["ingress"][0]["from"].pop()

    def happen(cluster: ModelCluster) -> None:
        cluster.edit("NetworkPolicy", NAMESPACE, "shop-allow", cut_down, manager="kubectl-edit")

    assert opened_by(cluster, [Event("shop-allow is cut down", happen)]) == set()


@pytest.mark.parametrize(
    ("found", "may_be_open"),
    [(held_service(traffic_policy="Cluster"), True), (held_service(), False), (service(), False)],
)
def test_a_service_that_we_took_is_open_under_cluster_and_one_that_we_never_had_is_new(
    found: Body, may_be_open: bool
) -> None:
    assert store_of(policy(), found).may_be_open(KEY) is may_be_open
