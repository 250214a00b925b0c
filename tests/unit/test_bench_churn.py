"""Churn: what each kind changes and what it leaves, and that its pace is told as it was."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from bench import churn
from nodeport_access.exposure import ready_nodes
from nodeport_access.observed import parse_endpoint_slice
from testbed.scenario import NODES
from tests.unit.builders import KEY, NAME, NAMESPACE, NOW, policy, service, shelf_for, store_of

SLICE = churn.Slice(namespace=NAMESPACE, service=NAME, number=3)
ALL = frozenset(name for name, *_ in NODES)


def seen(endpoints: list[dict[str, Any]]) -> tuple[frozenset[str], frozenset[str]]:
    """The nodes that answer, and those that only drain, as the operator reads the slice."""
    store, body = store_of(policy(), service()), SLICE.body(endpoints, trigger="now")
    shelf_for(store, body).put({**body, "metadata": {**body["metadata"], "resourceVersion": "1"}})
    return ready_nodes(store.snapshot(KEY, NOW))


def test_replaced_pods_are_other_pods_on_the_same_nodes() -> None:
    steps = [SLICE.replaced(step) for step in range(40)]
    assert {seen(endpoints) for endpoints in steps} == {(ALL, frozenset())}
    assert all(before != after for before, after in pairwise(steps))
    addresses = [{address for one in endpoints for address in one["addresses"]} for endpoints in (steps[0], steps[-1])]
    assert addresses[0].isdisjoint(addresses[1])


def test_a_rolling_deployment_drains_a_pod_before_it_goes() -> None:
    """Surge, ready, draining, gone."""
    counts = [
        (
            sum(one["conditions"]["ready"] for one in endpoints),
            sum(one["conditions"]["terminating"] for one in endpoints),
            len(endpoints),
        )
        for endpoints in map(SLICE.replaced, range(5))
    ]
    assert counts == [(6, 0, 7), (7, 0, 7), (6, 1, 7), (6, 0, 6), (6, 0, 7)]


def test_where_nothing_is_new_only_an_annotation_differs() -> None:
    before, after = (SLICE.body(SLICE.same(step), trigger=str(step)) for step in (0, 1))
    assert before != after
    assert parse_endpoint_slice(before) == parse_endpoint_slice(after)


def test_nodes_that_come_and_go_do_so_at_every_step() -> None:
    found = [seen(SLICE.moved(step))[0] for step in range(6)]
    assert [ALL - ready for ready in found] == [
        {"node1"},
        set(),
        {"node2"},
        set(),
        {"node3"},
        set(),
    ]


class Clock:
    """Time that passes only where somebody waits, or `each` second that a request takes."""

    def __init__(self, *, each: float) -> None:
        self.now, self._each = 100.0, each
        self.sent: list[tuple[int, float]] = []

    def send(self, number: int) -> None:
        self.sent.append((number, self.now - 100))
        self.now += self._each

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, *, rate: float, seconds: float) -> tuple[int, float]:
        return churn.paced(
            self.send, rate=rate, seconds=seconds, threads=1, monotonic=lambda: self.now, sleep=self.sleep
        )


def test_updates_are_sent_when_they_are_due_however_long_each_takes() -> None:
    clock = Clock(each=0.1)
    assert clock.run(rate=4, seconds=2) == (8, 2)
    assert [number for number, _ in clock.sent] == list(range(8))
    assert [at for _, at in clock.sent] == pytest.approx([number / 4 for number in range(8)])


def test_one_who_cannot_keep_pace_is_told_so_and_ends_in_time() -> None:
    sent, took = Clock(each=0.5).run(rate=4, seconds=2)
    assert (sent, took) == (4, 2)
