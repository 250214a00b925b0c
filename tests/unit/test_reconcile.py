"""A pass brings the cluster to what is wanted whatever the API server answers, and never opens more than it must.

The API server is the model cluster; what is asserted is what stands in it. Time is a number that the tests move.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access import reconcile
from nodeport_access.api import KIND, POLICY_LABEL, Body, ServiceKey
from nodeport_access.complaints import API_SERVER
from nodeport_access.events import Event as Telling
from nodeport_access.kube import (
    ApiError,
    Cause,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Resource,
    SchemaOutdated,
    Unreachable,
)
from nodeport_access.label_selectors import selects
from nodeport_access.metrics import Metrics, View
from nodeport_access.outcome import Done, Failed, Outcome, Stalled, Wait
from nodeport_access.plan import DELETED, Write, plan
from nodeport_access.reconcile import (
    AGAIN_SECONDS,
    FINALIZER_SECONDS,
    FORBIDDEN_RETRY_SECONDS,
    GARBAGE_COLLECTION_SECONDS,
    Reconciler,
)
from nodeport_access.rules import EVERYONE
from nodeport_access.silence import LONGEST_SECONDS, PRESS, PRESS_SECONDS, Silence
from nodeport_access.snapshot import Snapshot
from nodeport_access.status import CRD_OUTDATED
from tests.unit import builders
from tests.unit.builders import (
    KEY,
    LATER,
    NAMESPACE,
    NOW,
    endpoint,
    endpoint_slice,
    entry,
    node,
    pod,
    policy,
    service,
    shelf_for,
    store_of,
)
from tests.unit.model_cluster import OURS, ModelCluster
from tests.unit.strategies import LABELS, properties
from tests.unit.worlds import (
    EVENTS,
    SETTLE,
    Event,
    access,
    opened_beyond,
    planned,
    played,
    promised,
    replace_whole,
    story,
)

ALLOW, DENY, SERVICE, STATUS = (
    "NetworkPolicy/shop-allow",
    "NetworkPolicy/shop-deny-all",
    "Service/shop",
    "NodePortAccessPolicy/shop",
)
CONDITIONS = {ALLOW: "AllowlistApplied", SERVICE: "ClientIPPreserved", DENY: "DefaultDenyApplied"}
RETRY_SECONDS = 1.0
"""Stands for the queue's backoff."""


class Operator:
    """A Reconciler on a model cluster, and what the queue would do around it."""

    def __init__(self, *bodies: Body, cluster: ModelCluster | None = None, immediate: bool = True) -> None:
        self.cluster = cluster or ModelCluster(*bodies, immediate=immediate)
        self.seconds = 0.0
        self.passes = 0
        self.cursed = False
        self.due: dict[ServiceKey, float] = {}
        self.metrics = Metrics()
        self.silence = Silence(time=lambda: self.seconds)
        self.told: list[Telling] = []
        self.reconciler = Reconciler(
            api=self.cluster,
            store=self.cluster.store,
            metrics=self.metrics,
            tell=self.told.append,
            clock=lambda: NOW + timedelta(seconds=self.seconds),
            time=lambda: self.seconds,
            log=logging.getLogger("nodeport_access.test"),
            caught_up=self._forget,
            silence=self.silence,
        )
        self.cluster.store.on_touched = lambda key: self.due.update({key: self.seconds})

    def _forget(self, key: ServiceKey) -> None:
        self.due.pop(key, None)

    def press(self) -> None:
        """Others are repaired now, one after the other."""
        for _ in range(PRESS):
            self.silence.repaired()

    async def once(self, key: ServiceKey = KEY) -> Outcome:
        """One pass, which must not fail by a fault of its own unless it is cursed."""
        self.passes += 1
        outcome = await self.reconciler.reconcile(key)
        assert self.cursed or not isinstance(outcome, Failed), outcome
        return outcome

    async def work(self, seconds: float = 0.0, *, key: ServiceKey = KEY) -> None:
        """All passes that are due now or within so many seconds; touches and outcomes decide when."""
        until = self.seconds + seconds
        self.due[key] = self.seconds
        for _ in range(1_000):
            waiting = sorted((at, each) for each, at in self.due.items() if at <= until)
            if not waiting:
                self.seconds = until
                return
            at, each = waiting[0]
            self.seconds = max(self.seconds, at)
            del self.due[each]
            outcome = await self.once(each)
            match outcome:
                case Done(delay) | Wait(_, float(delay)):
                    pass
                case Wait(at_least=at_least):
                    delay = at_least + RETRY_SECONDS
                case Failed():
                    delay = RETRY_SECONDS
                case Stalled():
                    delay = None
            if delay is not None:
                self.due[each] = min(self.due.get(each, float("inf")), self.seconds + delay)
        raise AssertionError("the operator never comes to rest")

    def body(self, what: str) -> Body | None:
        kind, _, name = what.partition("/")
        return self.cluster.get_body(kind, NAMESPACE, name)

    def condition(self, kind: str, what: str = STATUS) -> tuple[str, str]:
        """Status and reason of a condition, as it stands in the policy."""
        conditions = ((self.body(what) or {}).get("status") or {}).get("conditions") or ()
        return next(((each["status"], each["reason"]) for each in conditions if each["type"] == kind), ("", ""))

    def writes(self) -> Counter[str]:
        """How often each object was written to; a status counts as its policy."""
        return Counter(what for _, what in self.cluster.writes())

    def fail(self, error: ApiError, *objects: str) -> None:
        """Has requests about these objects, or about all, be refused from now on."""

        def fault(verb: str, kind: str, name: str) -> None:
            if verb != "get" and (not objects or f"{kind}/{name}" in objects):
                raise error

        self.cluster.fault = fault

    def works_again(self) -> None:
        self.cluster.fault = lambda _verb, _kind, _name: None

    def edit(self, what: str, change: Callable[[Body], Any], *, manager: str = "kubectl-edit") -> None:
        kind, _, name = what.partition("/")
        self.cluster.edit(kind, NAMESPACE, name, change, manager=manager)


WORLD = (policy(), service(), node(), pod(), endpoint_slice(endpoint()))
FORBIDDEN = Forbidden(status=403, reason="Forbidden", message="networkpolicies is forbidden")
TERMINATING = Forbidden(
    status=403,
    reason="Forbidden",
    message="namespace is being terminated",
    causes=(Cause(reason="NamespaceTerminating", field="", message=""),),
)
AWAY = Unreachable(message="connection refused")
BUSY = Unreachable(status=429, reason="TooManyRequests", message="the server is busy", retry_after=3.0)
INVALID = Invalid(status=422, reason="Invalid", message="spec.ingress: Invalid value")
OUTDATED = SchemaOutdated(status=500, reason="InternalError", message="field not declared in schema")


def ingress(body: Body | None) -> Any:
    return (body or {})["spec"].get("ingress", [])


# --- the way it goes when all goes well ---


async def test_a_new_policy_takes_four_writes_and_then_none() -> None:
    operator = Operator(*WORLD)
    await operator.work()
    assert [what for _, what in operator.cluster.writes()] == [ALLOW, SERVICE, DENY, STATUS]
    assert operator.condition("Ready") == ("True", "Guarded")
    assert planned(operator.cluster) == ()
    assert await operator.once() == Done(None)
    assert len(operator.cluster.writes()) == 4


async def test_its_own_writes_bring_on_no_second_pass() -> None:
    operator = Operator(*WORLD)
    await operator.work()
    assert (operator.passes, len(operator.cluster.writes())) == (1, 4)
    operator.seconds += 10
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"))
    await operator.work(10)
    assert (operator.passes, len(operator.cluster.writes())) == (2, 6)


@pytest.mark.parametrize("mode", ["Audit", "Enforce"])
@pytest.mark.parametrize("before", ["Audit", "Enforce"])
async def test_once_it_rests_another_pass_finds_nothing_to_tell(before: str, mode: str) -> None:
    operator = Operator(policy(mode=before), *WORLD[1:])
    await operator.work()
    operator.seconds += 10
    operator.edit(STATUS, lambda body: body["spec"].update(mode=mode))
    await operator.work(10)
    told = len(operator.cluster.writes())
    operator.seconds += 10
    await operator.work()
    assert operator.cluster.writes()[told:] == []


@properties(100)
@given(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6))
async def test_whatever_has_happened_once_it_rests_another_pass_finds_nothing_to_write(events: list[Event]) -> None:
    operator = Operator(cluster=played([]))
    await operator.work(10)
    for event in events:
        operator.seconds += 10
        event.happen(operator.cluster)
        await operator.work(120)
        written = len(operator.cluster.writes())
        await operator.work()
        assert operator.cluster.writes()[written:] == [], event


async def test_what_somebody_does_while_a_pass_writes_brings_on_another() -> None:
    operator = Operator(*WORLD)
    done: list[str] = []

    def meddle(_verb: str, kind: str, name: str) -> None:
        if f"{kind}/{name}" == DENY and not done:
            done.append(DENY)
            operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"))

    operator.cluster.fault = meddle
    await operator.work(10)
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Local"
    assert operator.condition("Ready") == ("True", "Guarded")


def open_it(body: Body) -> None:
    body["spec"].update(externalTrafficPolicy="Cluster")


def select_others(body: Body) -> None:
    body["spec"].update(podSelector={"matchLabels": {"app": "none"}})


@pytest.mark.parametrize(
    ("drifted", "field", "spoil"),
    [
        (SERVICE, "spec.externalTrafficPolicy", lambda operator: operator.edit(SERVICE, open_it)),
        (ALLOW, DELETED, lambda operator: operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")),
        (DENY, "spec.podSelector", lambda operator: operator.edit(DENY, select_others)),
    ],
)
async def test_while_others_are_repaired_it_repairs_and_tells_of_it_later(
    drifted: str, field: str, spoil: Callable[[Operator], None]
) -> None:
    operator = Operator(*WORLD)
    await operator.work()
    operator.seconds += 10
    spoil(operator)
    operator.press()
    assert await operator.once() == Done(LONGEST_SECONDS)
    assert list(operator.silence.untold) == [KEY]
    assert operator.cluster.writes()[4:] == [("apply", drifted)]
    operator.seconds += PRESS_SECONDS
    await operator.once()
    assert list(operator.silence.untold) == []
    assert operator.cluster.writes()[5:] == [("apply_status", STATUS)]
    assert (operator.body(STATUS) or {})["status"]["lastDrift"]["field"] == field


async def test_a_storm_without_end_keeps_a_repair_untold_for_so_long_and_no_longer() -> None:
    operator = Operator(*WORLD)
    await operator.work()
    operator.edit(SERVICE, open_it)
    told_after = 0.0
    while "lastDrift" not in (operator.body(STATUS) or {})["status"]:
        operator.press()
        await operator.work(AGAIN_SECONDS / 2)
        told_after += AGAIN_SECONDS / 2
    assert told_after == pytest.approx(LONGEST_SECONDS, abs=AGAIN_SECONDS)
    assert operator.cluster.writes()[4:] == [("apply", SERVICE), ("apply_status", STATUS)]


async def test_what_changes_by_itself_is_told_in_a_storm_too() -> None:
    operator = Operator(*WORLD)
    await operator.work()
    operator.seconds += 10
    operator.press()
    operator.edit("EndpointSlice/shop-abc", lambda body: body["endpoints"].clear(), manager="controller")
    await operator.work()
    assert operator.condition("Reachable") == ("False", "NoReadyEndpoints")


async def test_who_asks_for_something_is_told_of_it_in_a_storm_too() -> None:
    operator = Operator(*WORLD)
    await operator.work()
    operator.seconds += 10
    operator.press()
    operator.edit(SERVICE, open_it)
    await operator.work()
    assert list(operator.silence.untold) == [KEY]
    operator.press()
    more = [entry("198.51.100.0/24"), entry("203.0.113.0/24")]
    operator.edit(STATUS, lambda body: body["spec"].update(allowedCIDRs=more))
    await operator.work()
    status = (operator.body(STATUS) or {})["status"]
    assert (status["effectiveCIDRs"], "lastDrift" in status) == (2, True)
    assert list(operator.silence.untold) == []


async def keep_a_repair_untold(operator: Operator) -> None:
    """In a storm that goes on."""
    await operator.work()
    operator.seconds += 10
    operator.edit(SERVICE, open_it)
    operator.press()
    await operator.work()
    assert list(operator.silence.untold) == [KEY]
    operator.seconds += 1
    operator.press()


async def test_only_its_repair_is_kept_untold_whatever_else_there_is_to_tell_is_told_at_once() -> None:
    operator = Operator(*WORLD)
    await keep_a_repair_untold(operator)
    operator.edit("EndpointSlice/shop-abc", lambda body: body["endpoints"].clear(), manager="controller")
    await operator.work()
    assert operator.condition("Reachable") == ("False", "NoReadyEndpoints")
    assert list(operator.silence.untold) == []


async def test_an_edit_that_calls_for_no_write_is_observed_in_a_storm_too() -> None:
    operator = Operator(policy(allowed=["192.0.2.1/32", "192.0.2.2/32"]), *WORLD[1:])
    await keep_a_repair_untold(operator)

    def turn_round(body: Body) -> None:
        body["spec"]["allowedCIDRs"].reverse()
        body["metadata"]["generation"] = 2  # as the API server counts a change of a spec

    operator.edit(STATUS, turn_round)
    await operator.work()
    assert (operator.body(STATUS) or {})["status"]["observedGeneration"] == 2


async def test_before_pods_are_known_it_writes_and_tells_nothing() -> None:
    operator = Operator(*WORLD)
    assert await operator.reconciler.reconcile(KEY, telling=False) == Done(AGAIN_SECONDS)
    assert [what for _, what in operator.cluster.writes()] == [ALLOW, SERVICE, DENY]


async def test_a_status_that_is_not_stored_as_it_was_sent_brings_on_another_pass() -> None:
    operator = Operator(*WORLD)
    await operator.work()
    operator.edit(STATUS, lambda body: body["status"].update(effectiveCIDRs=77))
    await operator.work(10)
    assert (operator.body(STATUS) or {})["status"]["effectiveCIDRs"] == 1


async def test_a_new_process_on_a_converged_cluster_writes_nothing() -> None:
    first = Operator(*WORLD)
    await first.work()
    second = Operator(cluster=ModelCluster())
    for body in first.cluster.bodies():
        builders.shelf_for(second.cluster.store, body).put(body)
    await second.work(10)
    assert second.cluster.requests == []


async def test_an_audit_writes_its_status_and_nothing_else() -> None:
    operator = Operator(policy(mode="Audit"), *WORLD[1:])
    await operator.work()
    assert [what for _, what in operator.cluster.writes()] == [STATUS]
    assert operator.condition("Ready") == ("False", "AuditMode")


async def test_an_entry_ends_on_its_second() -> None:
    ends = (NOW + timedelta(seconds=90)).isoformat()
    operator = Operator(policy(allowed=["192.0.2.1/32", entry("192.0.2.2/32", expiresAt=ends)]), *WORLD[1:])
    assert await operator.once() == Done(90.0)
    await operator.work(89.9)
    assert len(ingress(operator.body(ALLOW))[0]["from"]) == 2
    await operator.work(0.1)
    assert ingress(operator.body(ALLOW))[0]["from"] == [{"ipBlock": {"cidr": "192.0.2.1/32"}}]


async def test_a_far_expiry_is_waited_for_to_the_second() -> None:
    ends = NOW + timedelta(days=500)
    operator = Operator(policy(allowed=[entry("192.0.2.2/32", expiresAt=ends.isoformat())]), *WORLD[1:])
    assert await operator.once() == Done(timedelta(days=500).total_seconds())


async def test_an_entry_ends_on_its_second_although_something_else_fails() -> None:
    ends = (NOW + timedelta(seconds=90)).isoformat()
    operator = Operator(policy(allowed=[entry("192.0.2.2/32", expiresAt=ends)]), *WORLD[1:])
    operator.fail(AWAY, SERVICE)
    outcome = await operator.once()
    assert isinstance(outcome, Wait)
    assert outcome.at_latest == 90.0


async def test_an_entry_ends_on_its_second_although_a_repair_is_kept_untold() -> None:
    ends = (NOW + timedelta(seconds=15)).isoformat()
    operator = Operator(policy(allowed=["192.0.2.1/32", entry("192.0.2.2/32", expiresAt=ends)]), *WORLD[1:])
    await operator.work()
    operator.seconds += 10
    operator.edit(SERVICE, open_it)
    operator.press()
    assert await operator.once() == Done(5.0)
    assert list(operator.silence.untold) == [KEY]


async def test_an_entry_ends_on_its_second_before_pods_are_known() -> None:
    ends = (NOW + timedelta(seconds=0.5)).isoformat()
    operator = Operator(policy(allowed=["192.0.2.1/32", entry("192.0.2.2/32", expiresAt=ends)]), *WORLD[1:])
    assert await operator.reconciler.reconcile(KEY, telling=False) == Done(0.5)


async def test_what_somebody_else_did_is_repaired_counted_and_told() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]), manager="kubectl-patch")
    await operator.work(5)
    assert ingress(operator.body(DENY)) == []
    told = (operator.body(STATUS) or {})["status"]["lastDrift"]
    assert {key: told[key] for key in ("object", "field", "writer", "effect")} == {
        "object": DENY,
        "field": "spec.ingress",
        "writer": "kubectl-patch",
        "effect": "opened",
    }
    assert 'drift_total{effect="opened",field="spec.ingress",kind="NetworkPolicy"} 1.0' in text(operator)


def text(operator: Operator) -> str:
    view = View(
        policies=(), unguarded=(), covering_nodes=tuple, queue_depth=0, oldest_key_age=0.0, watches=(), leads=True
    )
    return operator.metrics.render(view).decode()


def repaired(operator: Operator) -> float:
    """How many repaired drifts /metrics counts."""
    lines = [line for line in text(operator).splitlines() if line.startswith("nodeport_access_drift_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize("error", [AWAY, FORBIDDEN, INVALID, Conflict(status=409, reason="Conflict", message="again")])
@pytest.mark.parametrize("verb", ["get", "apply"])
async def test_a_child_that_somebody_deleted_is_told_though_it_takes_more_than_one_try(
    verb: str, error: ApiError
) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)

    def fault(asked: str, kind: str, _: str) -> None:
        if asked == verb and kind != "Service":
            raise error

    operator.cluster.fault = fault
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")
    await operator.once()
    await operator.once()
    assert operator.condition("AllowlistApplied")[0] == "False"
    assert repaired(operator) == 0
    operator.works_again()
    await operator.work(10)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert repaired(operator) == 1
    assert (operator.body(STATUS) or {})["status"]["lastDrift"]["object"] == ALLOW


@pytest.mark.parametrize("what", [DENY, SERVICE])
async def test_a_repair_whose_answer_was_lost_is_told_once(what: str) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    change = {DENY: {"ingress": [{}]}, SERVICE: {"externalTrafficPolicy": "Cluster"}}[what]

    def lost(_verb: str, _kind: str, _name: str) -> None:
        operator.cluster.lost = lambda *_: None
        raise AWAY

    operator.edit(what, lambda body: body["spec"].update(change), manager="argocd")
    operator.cluster.lost = lost
    await operator.once()
    assert repaired(operator) == 0
    await operator.work(10)
    assert repaired(operator) == 1
    told = (operator.body(STATUS) or {})["status"]["lastDrift"]
    assert (told["object"], told["writer"]) == (what, "argocd")


async def test_a_drift_is_told_although_the_status_had_to_wait_for_a_later_pass() -> None:
    operator = Operator(*WORLD)
    await operator.once()
    operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]))
    await operator.once()  # within the second of the last status
    assert "lastDrift" not in (operator.body(STATUS) or {})["status"]
    await operator.work(2)
    assert (operator.body(STATUS) or {})["status"]["lastDrift"]["object"] == DENY


# --- what is worth an Event ---


def lines(operator: Operator) -> list[tuple[str, str, str]]:
    """The Events that were told, in order: name of the policy, type, reason."""
    return [(event.policy.key.name, str(event.type), event.reason) for event in operator.told]


LOST, BACK = ("shop", "Warning", "ServiceNotFound"), ("shop", "Normal", "Guarded")


async def test_a_first_convergence_a_pass_without_change_and_a_new_process_tell_nothing() -> None:
    first = Operator(*WORLD)
    await first.work(5)
    first.edit("EndpointSlice/shop-abc", answering("n2"))
    await first.work(5)
    second = Operator(cluster=first.cluster)
    await second.work(5)
    assert [*first.told, *second.told] == []


async def test_a_repaired_drift_is_told_with_its_object_and_writer() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]), manager="kubectl-patch")
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")
    await operator.work(5)
    told = {(event.related or {})["name"]: event for event in operator.told}
    assert lines(operator) == [("shop", "Warning", "DriftRepaired")] * 2 + [("shop", "Normal", "DriftRepaired")]
    assert "by kubectl-patch" in told["shop-deny-all"].note
    assert "by argocd" in told["shop"].note
    assert "deleted by a writer whom the API does not tell" in told["shop-allow"].note


async def test_a_drift_that_is_not_repaired_and_a_change_of_the_policy_are_not_told() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(STATUS, lambda body: body["spec"].update(allowedCIDRs=[]))
    await operator.work(5)
    operator.fail(AWAY, DENY, STATUS)
    operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]))
    await operator.work(5)
    assert operator.told == []
    operator.works_again()
    await operator.work(5)
    assert lines(operator) == [("shop", "Warning", "DriftRepaired")]


async def test_ready_lost_and_back_is_told_once_each() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove("Service", NAMESPACE, "shop")
    await operator.work(60)
    assert lines(operator) == [LOST]
    assert operator.told[0].note == "Service 'shop' does not exist in this namespace."
    operator.cluster.create(service(uid="another"))
    await operator.work(60)
    assert lines(operator) == [LOST, BACK]
    assert operator.told[1].note.startswith("Node port 30080 admits the allowlist only")


async def test_another_reason_why_it_is_not_ready_is_not_told() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove("Service", NAMESPACE, "shop")
    await operator.work(5)
    operator.cluster.create(service(uid="another", selector={}))
    await operator.work(5)
    assert operator.condition("Ready") == ("False", "SelectorMissing")
    assert lines(operator) == [LOST]


async def test_a_policy_that_becomes_ready_for_the_first_time_tells_nothing() -> None:
    operator = Operator(WORLD[0], *WORLD[2:])
    await operator.work(5)
    assert operator.condition("Ready") == ("False", "ServiceNotFound")
    operator.cluster.create(service())
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert operator.told == []


async def test_a_namesake_of_a_policy_that_lost_ready_has_lost_nothing() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove("Service", NAMESPACE, "shop")
    await operator.work(5)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    operator.cluster.create(policy(uid="namesake"))
    operator.cluster.create(service(uid="another"))
    await operator.work(20)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert lines(operator) == [LOST]


async def test_what_was_lost_while_no_process_ran_is_told_by_the_next() -> None:
    first = Operator(*WORLD)
    await first.work(5)
    first.cluster.remove("Service", NAMESPACE, "shop")
    second = Operator(cluster=first.cluster)
    await second.work(5)
    assert lines(second) == [LOST]


async def test_a_status_that_is_not_written_is_not_told_until_it_is() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.fail(AWAY, STATUS)
    operator.cluster.remove("Service", NAMESPACE, "shop")
    await operator.work(5)
    assert operator.told == []
    operator.works_again()
    await operator.work(5)
    assert lines(operator) == [LOST]


async def test_of_a_fight_each_repair_is_told_and_that_ready_comes_and_goes() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before = operator.writes()[SERVICE]
    for _ in range(60):
        operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
        await operator.work(1)
    await operator.work(300)
    drift, lost = ("shop", "Warning", "DriftRepaired"), ("shop", "Warning", "ForeignWriter")
    told = lines(operator)
    assert told.count(drift) == operator.writes()[SERVICE] - before
    turns = [line for line in told if line != drift]
    assert turns == [lost, BACK] * (len(turns) // 2)
    assert turns


# --- what an apply does not undo ---


OWNER: Body = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "uid": "a-stranger"}


def hold(body: Body) -> None:
    body["metadata"]["finalizers"] = ["example.com/hold"]


def own(body: Body) -> None:
    body["metadata"]["ownerReferences"].append(dict(OWNER))


def replace_owner(body: Body) -> None:
    body["metadata"]["ownerReferences"] = [dict(OWNER)]


def control(body: Body) -> None:
    body["metadata"]["ownerReferences"] = [OWNER | {"controller": True}]


def control_beside(body: Body) -> None:
    (ours,) = body["metadata"]["ownerReferences"]
    body["metadata"]["ownerReferences"] = [ours | {"controller": False}, OWNER | {"controller": True}]


def block(body: Body) -> None:
    body["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = True


def admit(body: Body) -> None:
    body["spec"]["ingress"] = [{}]


def admit_under_control(body: Body) -> None:
    control(body)
    admit(body)


def essence(body: Body | None) -> Any:
    assert body is not None
    entries = [(entry["manager"], entry["operation"]) for entry in body["metadata"]["managedFields"]]
    left = {key: value for key, value in body["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    return left, body["spec"], entries


@pytest.mark.parametrize(
    ("changes", "told", "writes"),
    [
        ([hold], "metadata.finalizers", ["patch"]),
        ([own], "metadata.ownerReferences", ["patch"]),
        ([hold, own], "metadata.finalizers", ["patch"]),
        ([block], "metadata.ownerReferences", ["apply"]),
        ([replace_owner], "metadata.ownerReferences", ["patch", "apply"]),
        ([control], "metadata.ownerReferences", ["patch", "apply"]),
        ([control_beside], "metadata.ownerReferences", ["patch", "apply"]),
        # what opened access is repaired first, unless the API server would refuse that
        ([own, admit], "spec.ingress", ["apply", "patch"]),
        ([replace_owner, admit], "spec.ingress", ["apply", "patch"]),
        ([control, admit], "spec.ingress", ["patch", "apply"]),
    ],
)
async def test_what_an_apply_leaves_there_is_taken_off_counted_and_told(
    changes: list[Callable[[Body], None]], told: str, writes: list[str]
) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before, sent = essence(operator.body(DENY)), len(operator.cluster.writes())
    for change in changes:
        operator.cluster.immediate = change is changes[-1]
        operator.edit(DENY, change, manager="gitops")
    await operator.work(5)
    assert essence(operator.body(DENY)) == before
    wrote = operator.cluster.writes()[sent:]
    assert [verb for verb, what in wrote if what == DENY] == writes
    assert Counter(what for _, what in wrote) == {DENY: len(writes), STATUS: 1}
    drift = (operator.body(STATUS) or {})["status"]["lastDrift"]
    assert (drift["object"], drift["field"], drift["writer"]) == (DENY, told, "gitops")
    effect = "opened" if told == "spec.ingress" else "none"
    assert f'drift_total{{effect="{effect}",field="{told}",kind="NetworkPolicy"}} 1.0' in text(operator)


@pytest.mark.parametrize("what", [ALLOW, DENY])
async def test_a_child_that_is_deleted_and_held_is_let_go_and_made_anew_at_once(what: str) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before, sent = operator.body(what), len(operator.cluster.writes())
    watching = Watching(operator.cluster)
    operator.cluster.fault = watching.note
    operator.cluster.immediate = False
    operator.edit(what, hold)
    operator.cluster.remove("NetworkPolicy", NAMESPACE, what.partition("/")[2])
    operator.cluster.deliver()
    operator.cluster.immediate = True
    await operator.work()
    after = operator.body(what)
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["metadata"].keys().isdisjoint({"finalizers", "deletionTimestamp"})
    assert operator.cluster.writes()[sent:] == [("patch", what), ("apply", what), ("apply_status", STATUS)]
    shut = {number for number, labels in enumerate(LABELS) if selects({"matchLabels": builders.PODS}, labels)}
    assert all(state[way].addresses != EVERYONE for state in watching.states for way in state if way[0] in shut)
    await operator.work(5)
    assert (operator.body(STATUS) or {})["status"]["lastDrift"]["field"] == "deleted"
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_child_that_was_let_go_counts_as_gone_until_it_is_made_anew() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(DENY, hold)
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-deny-all")

    def fault(verb: str, _kind: str, name: str) -> None:
        operator.cluster.immediate = False  # the news of its end is on its way
        if (verb, name) == ("apply", "shop-deny-all"):
            raise AWAY

    operator.cluster.fault = fault
    await operator.once()
    assert operator.body(DENY) is None
    known = operator.cluster.store.network_policies.get(NAMESPACE, "shop-deny-all")
    assert known is None
    operator.works_again()
    await operator.work(5)
    assert operator.body(DENY) is not None


async def test_a_held_child_that_went_with_its_policy_is_not_made_anew() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    for what in (ALLOW, DENY):
        operator.edit(what, hold)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    operator.cluster.collect_garbage()
    operator.cluster.deliver("NetworkPolicy")  # the policy's own end comes on another way
    operator.cluster.immediate = True
    await operator.work(FINALIZER_SECONDS - 0.1)
    assert operator.cluster.names("NetworkPolicy") == ["shop-allow", "shop-deny-all"], "who holds them may be at work"
    await operator.work(0.2)
    assert operator.cluster.names("NetworkPolicy") == []


async def test_without_a_garbage_collector_a_finalizer_gets_its_time_too() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    operator.edit(ALLOW, hold)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    operator.cluster.deliver()
    operator.cluster.immediate = True
    await operator.work(GARBAGE_COLLECTION_SECONDS + FINALIZER_SECONDS - 0.1)
    assert operator.cluster.names("NetworkPolicy") == ["shop-allow"]
    await operator.work(0.2)
    assert operator.cluster.names("NetworkPolicy") == []


async def test_a_finalizer_holds_up_no_release() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    operator.edit(ALLOW, hold)
    operator.edit(STATUS, lambda body: body["spec"].update(mode="Audit"))
    operator.cluster.deliver()
    operator.cluster.immediate = True
    await operator.work(FINALIZER_SECONDS + 1)
    assert operator.cluster.names("NetworkPolicy") == []
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Cluster"
    assert operator.condition("Ready") == ("False", "AuditMode")


async def test_a_view_that_is_outdated_takes_nothing_off() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(DENY, hold)
    operator.cluster.immediate = False
    operator.edit(DENY, lambda body: body["metadata"]["finalizers"].append("example.com/other"))
    assert isinstance(await operator.once(), Wait)
    assert (operator.body(DENY) or {})["metadata"]["finalizers"] == ["example.com/hold", "example.com/other"]
    operator.cluster.deliver()
    await operator.work(5)
    assert "finalizers" not in (operator.body(DENY) or {})["metadata"]


async def test_what_somebody_took_off_himself_meanwhile_is_not_taken_off() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    operator.edit(DENY, hold)
    operator.edit(ALLOW, admit)
    operator.cluster.deliver()
    operator.cluster.immediate = True

    def lost(_verb: str, _kind: str, name: str) -> None:
        if name == "shop-allow":
            operator.edit(DENY, lambda body: body["metadata"].pop("finalizers", None))

    operator.cluster.lost = lost
    await operator.work(5)
    assert operator.writes()[DENY] == 1, "its creation"
    assert (operator.body(STATUS) or {})["status"]["lastDrift"]["object"] == ALLOW


async def test_a_held_child_that_is_gone_unheard_is_made_anew() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(DENY, hold)
    operator.cluster.immediate = False
    operator.edit(DENY, lambda body: body["metadata"].pop("finalizers"))
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-deny-all")
    assert await operator.once() == Wait("the view was out of date", 0.0)
    await operator.work()
    assert operator.body(DENY) is not None


async def test_what_cannot_be_taken_off_holds_back_nothing_and_denies_nothing() -> None:
    operator = Operator(*WORLD, policy(name="late", created=LATER))
    await operator.work(5)
    refused = Forbidden(status=403, reason="Forbidden", message="admission webhook denied the request")

    def fault(verb: str, _kind: str, name: str) -> None:
        if (verb, name) == ("patch", "shop-allow"):
            raise refused

    operator.cluster.fault = fault
    operator.edit(ALLOW, hold)
    operator.edit(DENY, hold)
    operator.edit(DENY, admit)
    operator.cluster.remove(KIND, NAMESPACE, "late")
    await operator.work(GARBAGE_COLLECTION_SECONDS + 1)
    assert ingress(operator.body(DENY)) == []
    assert "finalizers" not in (operator.body(DENY) or {})["metadata"]
    assert operator.cluster.names("NetworkPolicy") == ["shop-allow", "shop-deny-all"], "nobody wants late-deny-all"
    assert operator.condition("AllowlistApplied") == ("True", "Applied")
    assert operator.condition("Ready") == ("True", "Guarded")
    operator.works_again()
    await operator.work(FORBIDDEN_RETRY_SECONDS + 1)
    assert "finalizers" not in (operator.body(ALLOW) or {})["metadata"]


# --- whose object is it ---


async def test_a_strangers_object_with_which_no_field_conflicts_is_left_alone() -> None:
    # The same podSelector and policyTypes, no rules: an apply without a guard would be carried out on it.
    operator = Operator(*WORLD, immediate=False)
    before = operator.cluster.create(builders.network_policy(name="shop-allow"))
    await operator.once()
    assert operator.body(ALLOW) == before
    operator.cluster.deliver()
    await operator.work(5)
    assert operator.body(ALLOW) == before
    assert operator.condition("AllowlistApplied") == ("False", "NameConflict")
    assert operator.condition("Stalled") == ("True", "NameConflict")
    assert operator.body(DENY) is None, "nothing after it in the closing order"
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Cluster"


async def test_a_strangers_object_that_conflicts_is_left_alone() -> None:
    operator = Operator(*WORLD, immediate=False)
    before = operator.cluster.create(builders.network_policy(name="shop-allow", pod_selector={}, ingress=[{}]))
    assert isinstance(await operator.once(), Wait)
    assert operator.body(ALLOW) == before
    assert operator.condition("AllowlistApplied") == ("False", "ApplyFailed")
    operator.cluster.deliver()
    await operator.work(5)
    assert operator.body(ALLOW) == before
    assert operator.condition("AllowlistApplied") == ("False", "NameConflict")
    assert operator.writes()[ALLOW] == 1


async def test_a_conflict_over_a_name_that_is_free_is_tried_again_soon() -> None:
    operator = Operator(*WORLD)
    operator.fail(Conflict(status=409, reason="Conflict", message="the object has been modified"), ALLOW)
    assert await operator.once() == Wait("409 Conflict: the object has been modified")
    operator.works_again()
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


@pytest.mark.parametrize("what", [ALLOW, DENY])
async def test_a_child_that_somebody_replaced_whole_is_repaired_by_one_write(what: str) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before, sent = essence(operator.body(what)), len(operator.cluster.writes())
    operator.edit(what, replace_whole, manager="kubectl-replace")
    await operator.work(5)
    assert essence(operator.body(what)) == before
    assert Counter(each for _, each in operator.cluster.writes()[sent:]) == {what: 1, STATUS: 1}
    drift = (operator.body(STATUS) or {})["status"]["lastDrift"]
    assert (drift["object"], drift["writer"], drift["effect"]) == (what, "kubectl-replace", "opened")


@pytest.mark.parametrize("what", [ALLOW, DENY])
async def test_what_somebody_made_of_a_child_while_no_process_ran_is_his_once_no_trace_of_ours_is_left(
    what: str,
) -> None:
    first = Operator(*WORLD)
    await first.work(5)
    first.cluster.store = store_of()
    first.edit(what, replace_whole, manager="kubectl-replace")
    before = first.body(what)
    for body in first.cluster.bodies():
        shelf_for(first.cluster.store, body).put(body)
    operator = Operator(cluster=first.cluster)
    await operator.work(5)
    assert operator.body(what) == before
    assert operator.condition("Ready") == ("False", "NameConflict")


@pytest.mark.parametrize("what", [ALLOW, DENY])
async def test_a_child_on_which_somebody_wiped_our_entry_gets_it_back(what: str) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before = essence(operator.body(what))
    operator.cluster.forget_owner("NetworkPolicy", NAMESPACE, what.partition("/")[2], OURS)
    await operator.work(5)
    assert essence(operator.body(what)) == before
    drift = (operator.body(STATUS) or {})["status"]["lastDrift"]
    assert (drift["object"], drift["field"], drift["effect"]) == (what, "metadata.managedFields", "none")


async def test_a_name_that_becomes_free_is_taken() -> None:
    operator = Operator(*WORLD, builders.network_policy(name="shop-allow"))
    await operator.work(5)
    assert operator.condition("Ready") == ("False", "NameConflict")
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_our_own_creation_whose_answer_was_lost_is_kept() -> None:
    operator = Operator(*WORLD, immediate=False)

    def lost(_verb: str, _kind: str, name: str) -> None:
        if name == "shop-allow":
            operator.cluster.lost = lambda *_: None
            raise AWAY

    operator.cluster.lost = lost
    assert isinstance(await operator.once(), Wait)
    made = operator.body(ALLOW)
    assert made is not None
    assert operator.cluster.store.network_policies.get(NAMESPACE, "shop-allow") is None, "the news is on its way"
    assert isinstance(await operator.once(), Wait)
    assert operator.body(ALLOW) == made
    # It arrives while the next attempt is under way.
    operator.cluster.fault = lambda *_: operator.cluster.deliver()
    assert isinstance(await operator.once(), Wait)
    assert operator.condition("AllowlistApplied") != ("False", "NameConflict")
    operator.works_again()
    await operator.work(5)
    assert operator.body(ALLOW) == made
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_service_whose_policy_was_made_anew_unheard_is_not_let_go() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    cluster, held = operator.cluster, operator.body(SERVICE)
    cluster.immediate = False
    gone = cluster.remove(KIND, NAMESPACE, "shop")
    cluster.create(policy(allowed=["192.0.2.0/24"]))
    cluster.store.policies.drop(gone)
    assert await operator.once() == Wait("the view was out of date", 0.0)
    assert operator.body(SERVICE) == held
    cluster.deliver()
    await operator.work(5)
    assert operator.body(SERVICE) == held
    assert ingress(operator.body(ALLOW))[0]["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


async def test_a_child_that_is_gone_unheard_is_made_anew_at_once() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")
    operator.edit(STATUS, lambda body: body["spec"].update(allowedCIDRs=[entry("192.0.2.0/24")]))
    operator.cluster.deliver(KIND)
    outcome = await operator.once()
    assert outcome == Wait("the view was out of date", 0.0)
    await operator.work()
    assert ingress(operator.body(ALLOW))[0]["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


async def test_nothing_is_made_for_a_policy_that_went_with_its_child() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    operator.cluster.collect_garbage()
    operator.cluster.deliver("NetworkPolicy")  # the policy's own end comes on another way
    await operator.work(5)
    assert operator.cluster.names("NetworkPolicy") == []
    assert POLICY_LABEL not in (operator.body(SERVICE) or {})["metadata"].get("labels", {})


async def test_a_child_that_vanished_is_made_for_the_policy_as_it_is_now() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.immediate = False
    operator.edit(STATUS, lambda body: body["spec"].update(allowedCIDRs=[entry("192.0.2.0/24")]))
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")
    operator.cluster.deliver("NetworkPolicy")
    seen: list[str] = []
    operator.cluster.lost = lambda *_: seen.append(str(operator.body(ALLOW)))
    await operator.work(5)
    assert [rule["from"] for rule in ingress(operator.body(ALLOW))] == [[{"ipBlock": {"cidr": "192.0.2.0/24"}}]]
    assert not any("10.2.3.4" in each for each in seen), "not even for a moment"


@pytest.mark.parametrize("verb", ["get", "apply_status"])
async def test_a_policy_is_not_gone_because_something_on_the_way_knows_nothing_of_it(verb: str) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-allow")

    def page_not_found(asked: str, kind: str, _: str) -> None:
        if (asked, kind) == (verb, KIND):
            raise NotFound(status=404, reason="Not Found", message="404 page not found")

    operator.cluster.fault = page_not_found
    await operator.work(10)
    assert operator.body(DENY) is not None
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Local"
    operator.works_again()
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_service_that_is_gone_unheard_is_never_created_by_an_apply() -> None:
    operator = Operator(*WORLD)
    operator.cluster.immediate = False
    operator.cluster.remove("Service", NAMESPACE, "shop")
    await operator.work(5)
    assert operator.body(SERVICE) is None
    assert operator.condition("Ready") == ("False", "ServiceNotFound")


# --- what happens when a write fails ---


@pytest.mark.parametrize(
    ("what", "standing"),
    [
        (ALLOW, []),
        (SERVICE, [ALLOW, DENY]),
        (DENY, [ALLOW, SERVICE]),
    ],
)
@pytest.mark.parametrize(
    ("error", "reason", "outcome"),
    [
        (FORBIDDEN, "ApplyForbidden", Wait(FORBIDDEN.message, FORBIDDEN_RETRY_SECONDS)),
        (INVALID, "ApplyRefused", Stalled(INVALID.message)),
        (OUTDATED, "ApplyRefused", Stalled(f"{OUTDATED.message}. {CRD_OUTDATED}")),
        (AWAY, "ApplyFailed", Wait("connection refused", cut_off=True)),
        (TERMINATING, "ApplyFailed", Wait(str(TERMINATING))),
    ],
)
async def test_nothing_is_closed_without_the_allowlist_and_nothing_else_holds_back_the_rest(
    what: str, standing: list[str], error: ApiError, reason: str, outcome: Outcome
) -> None:
    operator = Operator(*WORLD)
    operator.fail(error, what)
    assert await operator.once() == outcome
    written = [ALLOW] * (operator.body(ALLOW) is not None)
    written += [SERVICE] * ((operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Local")
    written += [DENY] * (operator.body(DENY) is not None)
    assert written == standing
    assert operator.condition(CONDITIONS[what]) == ("False", reason)
    assert operator.condition("Ready")[0] == "False"
    operator.works_again()
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_what_an_older_crd_knows_of_a_status_is_written_and_the_rest_once_it_knows_that() -> None:
    operator = Operator(*WORLD)
    apply_status = operator.cluster.apply_status

    async def older(resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        for unknown in ("nodes", "effectiveCIDRs"):
            if unknown in body["status"]:
                message = f"failed to create typed patch object: .status.{unknown}: field not declared in schema"
                raise SchemaOutdated(status=500, reason="InternalError", message=message)
        return await apply_status(resource, namespace=namespace, name=name, body=body)

    operator.cluster.apply_status = older  # type: ignore[method-assign]  # an API server with an older CRD
    assert isinstance(await operator.once(), Stalled)
    told = (operator.body(STATUS) or {})["status"]
    assert not {"nodes", "effectiveCIDRs"} & told.keys()
    assert told["nodePorts"]
    assert operator.condition("Ready") == ("True", "Guarded")
    assert told["conditions"][0]["message"].endswith(CRD_OUTDATED)
    writes = len(operator.cluster.writes())
    await operator.work(5)
    assert len(operator.cluster.writes()) == writes, "what is known stands there already"
    operator.cluster.apply_status = apply_status  # type: ignore[method-assign]  # and with the newer one
    await operator.work(5)
    told = (operator.body(STATUS) or {})["status"]
    assert {"nodes", "effectiveCIDRs"} <= told.keys()
    assert CRD_OUTDATED not in told["conditions"][0]["message"]


async def test_the_failure_of_one_policy_does_not_stop_the_deny_all_of_another() -> None:
    operator = Operator(*WORLD, policy(name="late", created=LATER))
    operator.fail(FORBIDDEN, ALLOW)
    await operator.once()
    assert operator.body("NetworkPolicy/late-deny-all") is not None


@pytest.mark.parametrize("what", [ALLOW, SERVICE, DENY, STATUS])
async def test_a_write_that_the_api_server_wants_put_off_waits_its_time_whatever_happens_meanwhile(what: str) -> None:
    operator = Operator(*WORLD)
    operator.fail(BUSY, what)
    outcome = await operator.once()
    assert outcome == Wait(str(BUSY), at_least=3.0)
    for number in range(29):
        operator.seconds += 0.1
        operator.edit("EndpointSlice/shop-abc", answering(f"n{number}"))
        assert isinstance(await operator.once(), Wait)
    assert operator.writes()[what] == 1
    operator.seconds += 0.09
    outcome = await operator.once()
    assert isinstance(outcome, Wait)
    assert outcome.delay == pytest.approx(0.01), "it comes back when the time is over"
    if what != STATUS:
        assert operator.condition(CONDITIONS[what]) == ("False", "ApplyFailed"), "until then it counts as failed"
    operator.works_again()
    await operator.work(1)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_while_one_write_is_put_off_the_others_are_not() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"))
    operator.fail(BUSY, SERVICE)
    await operator.once()
    operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]))
    await operator.once()
    assert ingress(operator.body(DENY)) == []
    operator.works_again()
    await operator.work(4)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_nobody_is_granted_more_than_half_a_minute() -> None:
    operator = Operator(*WORLD)
    operator.fail(Unreachable(status=429, message="busy", retry_after=86400.0))
    assert await operator.once() == Wait("429 Unreachable: busy", at_least=30.0)
    operator.works_again()
    await operator.work(31)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_permission_that_is_granted_works_within_seconds() -> None:
    operator = Operator(*WORLD)
    operator.fail(FORBIDDEN)
    await operator.work(60)
    tries = sum(1 for _, what in operator.cluster.writes() if what == ALLOW)
    assert 10 <= tries <= 15
    operator.works_again()
    await operator.work(FORBIDDEN_RETRY_SECONDS + 1)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_status_that_is_refused_is_tried_again_and_stops_nothing_else() -> None:
    operator = Operator(*WORLD)
    operator.fail(AWAY, STATUS)
    assert isinstance(await operator.once(), Wait)
    assert planned(operator.cluster) == ()
    operator.works_again()
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


class Stubborn(ModelCluster):
    """Somebody else owns the condition Stalled too, so that no apply without it takes it away."""

    async def apply_status(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        conditions = body["status"]["conditions"]
        if not any(condition["type"] == "Stalled" for condition in conditions):
            stalled = {**conditions[0], "type": "Stalled", "status": "True", "reason": "Odd"}
            body = {**body, "status": {**body["status"], "conditions": [*conditions, stalled]}}
        return await super().apply_status(resource, namespace=namespace, name=name, body=body)


async def test_a_condition_that_cannot_be_removed_says_that_all_is_normal_and_is_not_written_again_and_again() -> None:
    operator = Operator(cluster=Stubborn(*WORLD))
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert operator.condition("Stalled") == ("False", "Guarded")
    written = operator.writes()[STATUS]
    await operator.work(60)
    assert operator.writes()[STATUS] == written


async def test_a_status_is_not_written_on_a_policy_that_has_changed_meanwhile() -> None:
    operator = Operator(*WORLD)
    operator.cluster.immediate = False
    operator.edit(STATUS, lambda body: body["metadata"].update(annotations={"x": "y"}))
    outcome = await operator.once()
    assert isinstance(outcome, Wait)
    assert "status" not in (operator.body(STATUS) or {})
    operator.cluster.deliver()
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_fault_of_our_own_over_one_service_is_told_in_its_policies_and_touches_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumbling(snapshot: Snapshot) -> tuple[Write, ...]:
        if snapshot.key == KEY:
            raise KeyError("of no use to anybody")
        return plan(snapshot)

    other = ServiceKey(NAMESPACE, "other")
    operator = Operator(*WORLD, policy(name="other", service="other"), service(name="other", selector={"app": "other"}))
    await operator.work(5)
    await operator.work(5, key=other)
    assert operator.condition("Ready") == ("True", "Guarded")
    written = operator.writes()[STATUS]
    operator.edit(ALLOW, lambda body: body["spec"].pop("ingress"))
    operator.edit("NetworkPolicy/other-allow", lambda body: body["spec"].pop("ingress"))
    operator.cursed = True
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "plan", stumbling)
        await operator.work(20)
        await operator.work(20, key=other)
    assert operator.condition("Ready") == ("False", "OperatorFailed")
    assert operator.condition("Stalled") == ("True", "OperatorFailed")
    assert operator.condition("AllowlistApplied") == ("True", "Applied")
    assert "ingress" not in (operator.body(ALLOW) or {})["spec"]
    assert operator.condition("Ready", "NodePortAccessPolicy/other") == ("True", "Guarded")
    assert "ingress" in (operator.body("NetworkPolicy/other-allow") or {})["spec"]
    assert operator.writes()[STATUS] == written + 1
    complaints = [record for record in caplog.records if "failed by a fault of the operator" in record.getMessage()]
    assert len(complaints) == 1
    assert complaints[0].exc_info is not None
    operator.cursed = False
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert operator.condition("Stalled") == ("", "")


async def test_a_fault_of_our_own_ends_the_silence_so_that_its_backoff_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator(*WORLD)
    await operator.work()
    operator.edit(SERVICE, open_it)
    operator.press()
    await operator.once()
    assert list(operator.silence.untold) == [KEY]
    operator.cursed = True
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "plan", lambda _snapshot: 1 // 0)
        assert isinstance(await operator.once(), Failed)
    assert list(operator.silence.untold) == []


async def test_a_fault_of_our_own_is_tried_again_also_where_it_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = Operator(*WORLD)
    operator.cursed = True
    operator.fail(AWAY)
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "plan", lambda _snapshot: 1 // 0)
        assert await operator.once() == Failed("ZeroDivisionError('integer division or modulo by zero')")
    operator.works_again()
    await operator.work(5)
    assert operator.condition("Ready") == ("True", "Guarded")


async def test_a_failure_is_complained_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    operator = Operator(*WORLD)
    operator.fail(FORBIDDEN, ALLOW)
    await operator.work(119)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        f"{ALLOW} in web not created: networkpolicies is forbidden"
    ] * 2


@pytest.mark.parametrize("error", [AWAY, BUSY])
async def test_an_api_server_that_answers_nobody_is_complained_of_once_a_minute_and_not_once_for_each_object(
    error: ApiError, caplog: pytest.LogCaptureFixture
) -> None:
    operator = Operator(*WORLD, policy(name="second", service="second"), service(name="second"))
    operator.fail(error)
    for _ in range(119):
        await operator.once()
        await operator.once(ServiceKey(NAMESPACE, "second"))
        operator.seconds += 1
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2, warnings
    assert all(message.endswith(str(error)) for message in warnings)


async def test_each_change_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="nodeport_access.test")
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
    await operator.work(5)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    await operator.work(20)
    lines = [
        record for record in caplog.records if record.levelno == logging.INFO and "Ready" not in record.getMessage()
    ]
    assert [line.getMessage() for line in lines] == [
        f"{ALLOW} created in web",
        f"{SERVICE} updated in web",
        f"{DENY} created in web",
        f"{SERVICE} updated in web",
        f"{SERVICE} released in web",
        f"{DENY} deleted in web",
        f"{ALLOW} deleted in web",
    ]
    assert (vars(lines[3])["writer"], vars(lines[3])["effect"]) == ("argocd", "depends")


# --- the health check port ---


BALANCER = service(type="LoadBalancer")


async def test_a_repair_brings_back_the_port_that_load_balancers_probe() -> None:
    operator = Operator(policy(), BALANCER, *WORLD[2:])
    await operator.work(5)
    assert (operator.body(STATUS) or {})["status"]["healthCheckNodePort"] == 31900
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"))
    assert "healthCheckNodePort" not in (operator.body(SERVICE) or {})["spec"]
    await operator.work(5)
    assert (operator.body(SERVICE) or {})["spec"]["healthCheckNodePort"] == 31900


async def test_local_comes_back_without_the_port_where_another_service_has_it_now() -> None:
    operator = Operator(policy(), BALANCER, *WORLD[2:])
    await operator.work(5)
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"))
    operator.cluster.create(
        service(
            name="thief", type="LoadBalancer", traffic_policy="Local", selector={"app": "x"}, healthCheckNodePort=31900
        )
    )
    await operator.work(5)
    spec = (operator.body(SERVICE) or {})["spec"]
    assert (spec["externalTrafficPolicy"], spec["healthCheckNodePort"]) == ("Local", 31901)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert (operator.body(STATUS) or {})["status"]["healthCheckNodePort"] == 31901


# --- how often ---


def answering(node_name: str) -> Callable[[Body], None]:
    """A change of an EndpointSlice: its only endpoint is on this node."""
    return lambda body: body.update(endpoints=[endpoint(node=node_name)])


async def test_a_status_is_written_at_most_once_a_second_and_ends_with_the_last_word() -> None:
    operator = Operator(*WORLD)
    for number in range(100):
        operator.edit("EndpointSlice/shop-abc", answering(f"n{number}"))
        await operator.work(0.1)
    statuses = operator.writes()[STATUS]
    assert 8 <= statuses <= 11, "ten seconds of changes"
    await operator.work(2)
    nodes = (operator.body(STATUS) or {})["status"]["conditions"]
    assert any("n99" in each["message"] for each in nodes)


async def test_a_writer_that_takes_the_field_back_every_second_is_out_waited_and_named() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before = operator.writes()[SERVICE]
    for _ in range(60):
        operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
        await operator.work(1)
    assert operator.writes()[SERVICE] - before == 6
    assert operator.condition("ClientIPPreserved") == ("False", "ForeignWriter")
    assert operator.condition("Reconciling") == ("True", "ForeignWriter")
    message = next(
        each["message"]
        for each in (operator.body(STATUS) or {})["status"]["conditions"]
        if each["type"] == "ClientIPPreserved"
    )
    assert message.startswith("argocd keeps setting")
    await operator.work(300)
    assert operator.condition("Ready") == ("True", "Guarded")
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Local"


async def test_while_a_writer_is_out_waited_everything_else_is_repaired_at_once() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    for _ in range(3):
        operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
        await operator.work(0.1)
    operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]))
    await operator.work()
    assert ingress(operator.body(DENY)) == []
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Cluster"


async def test_a_fight_is_over_when_the_policy_no_longer_manages_the_field() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    for _ in range(3):
        operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
        await operator.work(5)
    operator.edit(STATUS, lambda body: body["spec"].update(trafficPolicy="Unmanaged"))
    operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
    await operator.work(5)
    assert operator.condition("ClientIPPreserved") == ("False", "ClusterUnmanaged")
    assert operator.condition("Stalled") == ("True", "ClusterUnmanaged")


async def test_a_finalizer_that_comes_back_every_second_is_out_waited_and_denies_nothing() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    before = operator.writes()[DENY]
    for _ in range(60):
        operator.edit(DENY, hold, manager="cni")
        await operator.work(1)
        assert operator.condition("Ready") == ("True", "Guarded")
    assert operator.writes()[DENY] - before == 6
    drift = (operator.body(STATUS) or {})["status"]["lastDrift"]
    assert (drift["field"], drift["writer"]) == ("metadata.finalizers", "cni")
    operator.edit(DENY, admit)
    await operator.work()
    assert ingress(operator.body(DENY)) == [], "what opens access is not out-waited"
    await operator.work(300)
    assert "finalizers" not in (operator.body(DENY) or {})["metadata"]


async def test_a_child_deleted_while_its_finalizer_is_out_waited_is_made_anew_at_once() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    for _ in range(30):
        operator.edit(DENY, hold, manager="cni")
        await operator.work(1)
    operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-deny-all")
    await operator.work()
    assert "deletionTimestamp" not in (operator.body(DENY) or {})["metadata"]


async def test_a_change_of_the_policy_waits_for_no_writer_that_is_out_waited() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    for _ in range(30):
        operator.edit(ALLOW, lambda body: body["metadata"].pop("labels", None), manager="stripper")
        await operator.work(1)
    assert "labels" not in (operator.body(ALLOW) or {})["metadata"], "or this shows nothing"
    operator.edit(STATUS, lambda body: body["spec"].update(allowedCIDRs=[entry("192.0.2.0/24")]))
    await operator.work()
    assert ingress(operator.body(ALLOW))[0]["from"] == [{"ipBlock": {"cidr": "192.0.2.0/24"}}]


@pytest.mark.parametrize(
    "attack",
    [
        lambda operator: operator.edit(DENY, admit),
        lambda operator: operator.edit(DENY, admit_under_control),
        lambda operator: (operator.edit(ALLOW, hold), operator.edit(DENY, admit)),
        lambda operator: operator.cluster.remove("NetworkPolicy", NAMESPACE, "shop-deny-all"),
    ],
)
async def test_who_takes_a_child_back_at_once_is_answered_about_once_a_second_without_end(
    attack: Callable[[Operator], Any],
) -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    wanted, before, undone = operator.body(DENY), operator.writes()[DENY], 0
    assert wanted is not None
    for _ in range(200):  # twenty seconds, ten times a second
        found = operator.body(DENY)
        if found is not None and found["spec"] == wanted["spec"]:
            undone += 1
            attack(operator)
        await operator.work(0.1)
    assert 15 <= undone <= 25
    assert operator.writes()[DENY] - before <= 2 * undone
    assert operator.writes()[STATUS] <= 25


# --- letting go ---


async def test_children_are_left_to_the_garbage_collector_first() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    await operator.work(GARBAGE_COLLECTION_SECONDS - 0.1)
    assert operator.cluster.names("NetworkPolicy") == ["shop-allow", "shop-deny-all"]
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Cluster", "the field goes back at once"
    await operator.work(0.2)
    assert operator.cluster.names("NetworkPolicy") == []
    assert Counter(verb for verb, _ in operator.cluster.writes())["delete"] == 2


async def test_what_the_garbage_collector_took_is_not_deleted_again() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    await operator.work(1)
    operator.cluster.collect_garbage()
    await operator.work(30)
    assert Counter(verb for verb, _ in operator.cluster.writes())["delete"] == 0


async def test_orphans_are_deleted_at_once() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    for what in (ALLOW, DENY):
        operator.edit(what, lambda body: body["metadata"].pop("ownerReferences"), manager="kube-controller-manager")
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    await operator.work()
    assert operator.cluster.names("NetworkPolicy") == []


async def test_an_object_that_changed_since_it_was_seen_is_not_deleted() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.cluster.remove(KIND, NAMESPACE, "shop")
    operator.cluster.immediate = False
    operator.edit(DENY, lambda body: body["metadata"].update(annotations={"mine": "now"}))
    operator.seconds += GARBAGE_COLLECTION_SECONDS + 1
    await operator.once()
    operator.seconds += GARBAGE_COLLECTION_SECONDS + 1
    assert isinstance(await operator.once(), Wait)
    assert operator.body(DENY) is not None


async def test_a_policy_switched_to_audit_lets_go_at_once() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    operator.edit(STATUS, lambda body: body["spec"].update(mode="Audit"))
    await operator.work(2)
    assert operator.cluster.names("NetworkPolicy") == []
    assert (operator.body(SERVICE) or {})["spec"]["externalTrafficPolicy"] == "Cluster"
    assert operator.condition("Ready") == ("False", "AuditMode")


# --- memory ---


def remembered(thing: object, seen: set[int] | None = None) -> list[Any]:
    """Every entry of every container that our own objects hold, the store's and the cluster's aside."""
    seen = set() if seen is None else seen
    found: list[Any] = []
    for name, value in vars(thing).items() if hasattr(thing, "__dict__") else ():
        if id(value) in seen or name in ("_store", "_api", "_metrics", "_log"):
            continue
        seen.add(id(value))
        if isinstance(value, dict | list | set):
            found += value
        elif type(value).__module__.startswith("nodeport_access"):
            found += remembered(value, seen)
    return found


async def test_a_fight_that_is_over_is_forgotten() -> None:
    operator = Operator(*WORLD)
    await operator.work(5)
    for _ in range(2):
        operator.edit(DENY, hold)
        await operator.work(2)
    # When a policy drifted last is kept for as long as it lives.
    last_drifts = id(operator.reconciler._last_drifts)
    assert remembered(operator.reconciler, {last_drifts}), "or this shows nothing"
    operator.seconds += 3600
    await operator.once()
    assert remembered(operator.reconciler, {last_drifts}) == []


async def test_nothing_is_remembered_of_what_is_gone() -> None:
    operator = Operator(*WORLD, policy(name="late", created=LATER))
    operator.fail(FORBIDDEN, ALLOW)
    await operator.work(2)
    operator.works_again()
    await operator.work(10)
    for _ in range(5):
        operator.edit(SERVICE, lambda body: body["spec"].update(externalTrafficPolicy="Cluster"), manager="argocd")
        operator.edit(DENY, lambda body: body["spec"].update(ingress=[{}]))
        await operator.work(0.3)
    assert remembered(operator.reconciler), "or this shows nothing"
    for name in ("shop", "late"):
        operator.cluster.remove(KIND, NAMESPACE, name)
    await operator.work(1)
    operator.cluster.collect_garbage()
    operator.cluster.remove("Service", NAMESPACE, "shop")
    await operator.work(10)
    # What lapses by time is swept by whatever comes next, here another Service.
    operator.seconds += 3600
    operator.cluster.create(policy(name="next", service="next", allowed=[]))
    operator.cluster.remove(KIND, NAMESPACE, "next")
    other = ServiceKey(NAMESPACE, "third")
    operator.cluster.create(policy(name="third", service="third", allowed=[]))
    operator.fail(AWAY)
    await operator.once(other)
    left = [each for each in remembered(operator.reconciler) if "third" not in str(each) and each != API_SERVER]
    assert left == []


# --- any history, with any failures: access is never wider than before or than wanted ---


@dataclass
class Watching:
    """What was open at each moment between two requests."""

    cluster: ModelCluster
    states: list[Any] = field(default_factory=list)

    def note(self, *_: str) -> None:
        self.states.append(access(self.cluster))


FAULTS = st.dictionaries(
    st.sampled_from(
        [
            *(
                f"NetworkPolicy/{name}{suffix}"
                for name in ("elder", "shop", "twin")
                for suffix in ("-allow", "-deny-all")
            ),
            SERVICE,
        ]
    ),
    st.sampled_from([FORBIDDEN, AWAY, INVALID]),
    max_size=4,
)
HISTORIES = st.lists(st.one_of(st.just(SETTLE), st.sampled_from(EVENTS), st.sampled_from(EVENTS)), max_size=8)


@properties(100)
@given(HISTORIES, FAULTS)
@example(story(SETTLE.name, "shop is removed", "elder is created"), {"NetworkPolicy/elder-allow": FORBIDDEN})
@example(story(SETTLE.name, "elder is created", SETTLE.name, "shop is made auditing"), {})
async def test_whatever_fails_pods_that_were_shut_stay_shut_while_a_policy_holds_their_service(
    history: list[Event], faults: dict[str, ApiError]
) -> None:
    cluster = played(history)
    operator = Operator(cluster=cluster)
    pods, watching = promised(cluster, history), Watching(cluster)
    watching.note()

    def fault(verb: str, kind: str, name: str) -> None:
        watching.note()
        if verb != "get" and (error := faults.get(f"{kind}/{name}")) is not None:
            raise error

    cluster.fault = fault
    snapshot = cluster.store.snapshot(KEY, NOW)
    held = snapshot.holder is not None and snapshot.service is not None and bool(snapshot.service.selector)
    await operator.work(GARBAGE_COLLECTION_SECONDS + 1)
    watching.note()
    first, states = watching.states[0], watching.states[1:]
    operator.works_again()
    await operator.work(60)
    assert plan(cluster.store.snapshot(KEY, NOW)) == (), "once nothing fails any more, everything is as wanted"
    last = access(cluster)
    for state in states:
        assert opened_beyond(pods, state, first, last) == []
        if held:
            shut = [way for way in first if first[way].addresses != EVERYONE and last[way].addresses != EVERYONE]
            assert not [way for way in shut if state[way].addresses == EVERYONE]
