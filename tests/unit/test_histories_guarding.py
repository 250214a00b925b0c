"""The rule by which histories and the soak judge the operator: what it must not do is told, and what it may do is not,
whichever of the two opinions it is that says who gets in.

The histories themselves are in tests/api, the soak is in tests/soak.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from testbed import objects
from tests.api.access import MANAGER
from tests.api.histories import admission
from tests.api.histories.guarding import Admitting, Guarding
from tests.api.histories.vocabulary import HTTP, POD_LABELS
from tests.soak import evaluated

Json = dict[str, Any]
NAMESPACE = "a"
RED, BLUE = {"matchLabels": {"app": "red"}}, {"matchLabels": {"app": "blue"}}
ALLOWED = "10.2.3.4/32"
LIST = [{"from": [{"ipBlock": {"cidr": ALLOWED}}], "ports": [{"port": 8080, "protocol": "TCP"}]}]
EVERYONE = [{"ports": [{"port": 8080, "protocol": "TCP"}]}]


class History:
    """Events of one namespace, and what the rule says to the last of them."""

    def __init__(self, admitting: Admitting = admission) -> None:
        self.guarding = Guarding(admitting)
        self.now = 0.0
        self._revisions = itertools.count(1)
        self._there: set[tuple[str, str]] = set()

    def seen(self, body: Json, *, own: bool = False, uid: str = "", **metadata: Any) -> str | None:
        """An object as it is now."""
        kind, name = body["kind"], body["metadata"]["name"]
        event = "MODIFIED" if (kind, name) in self._there else "ADDED"
        self._there.add((kind, name))
        return self._take(event, body, own=own, uid=uid or name, **metadata)

    def gone(self, body: Json, *, own: bool = False) -> str | None:
        self._there.discard((body["kind"], body["metadata"]["name"]))
        return self._take("DELETED", body, own=own, uid=body["metadata"]["name"])

    def _take(self, event: str, body: Json, *, own: bool, uid: str, **metadata: Any) -> str | None:
        versioned = {"uid": uid, "resourceVersion": str(next(self._revisions)), "creationTimestamp": "2026", **metadata}
        found = {**body, "metadata": {**body["metadata"], **versioned}}
        return self.guarding.take({"type": event, "object": found}, own=own, at=self.now)


def child(name: str, selector: Json, ingress: list[Json] | None = None, *, manager: str = MANAGER) -> Json:
    spec = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress or []}
    body = objects.network_policy(namespace=NAMESPACE, name=name, spec=spec)
    body["metadata"]["managedFields"] = [{"manager": manager, "operation": "Apply"}]
    return body


def policy(name: str = "first", **spec: Any) -> Json:
    return objects.policy(
        namespace=NAMESPACE, name=name, service="web", **{"allowedCIDRs": [{"cidr": ALLOWED}], **spec}
    )


def service(selector: Json | None = RED, traffic_policy: str = "Local") -> Json:
    labels = selector and selector["matchLabels"]
    return objects.service(
        namespace=NAMESPACE, name="web", selector=labels, ports=[HTTP], externalTrafficPolicy=traffic_policy
    )


ALLOW, DENY = child("first-allow", RED, LIST), child("first-deny-all", RED)


@pytest.fixture(params=[admission, evaluated], ids=["by the API's text", "by the evaluator"])
def history(request: pytest.FixtureRequest) -> History:
    """One policy in force, and all quiet."""
    history = History(request.param)
    for body in (service(), policy()):
        assert history.seen(body, own=True) is None
    for body in (ALLOW, DENY):
        assert history.seen(body) is None
    history.guarding.quiet()
    return history


def test_a_rule_for_everyone_is_told(history: History) -> None:
    assert "got in" in (history.seen(child("first-allow", RED, EVERYONE)) or "")


def test_an_address_that_no_version_of_the_policy_has_is_told(history: History) -> None:
    wide = [{**LIST[0], "from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]
    assert "got in" in (history.seen(child("first-allow", RED, wide)) or "")
    assert history.seen(ALLOW) is None
    history.seen(policy(allowedCIDRs=[{"cidr": "203.0.113.0/24"}]), own=True)
    assert history.seen(child("first-allow", RED, wide)) is None, "now one has"


def test_both_children_deleted_is_told_and_one_of_them_is_not(history: History) -> None:
    assert history.gone(DENY) is None
    assert "got in" in (history.gone(ALLOW) or "")


def test_an_allowlist_that_is_deleted_to_be_made_anew_is_told(history: History) -> None:
    assert "cut off" in (history.gone(ALLOW) or "")


def test_an_allowlist_that_loses_whom_the_policy_has_always_allowed_is_told(history: History) -> None:
    assert "cut off" in (history.seen(child("first-allow", RED)) or "")


def test_what_the_harness_does_itself_is_not_told(history: History) -> None:
    assert history.seen(child("first-allow", RED, EVERYONE), own=True) is None
    assert history.gone(ALLOW, own=True) is None
    assert history.gone(DENY, own=True) is None


def test_the_children_of_a_policy_that_is_gone_may_go(history: History) -> None:
    history.gone(policy(), own=True)
    assert history.gone(DENY) is None
    assert history.gone(ALLOW) is None


def test_the_children_of_a_policy_that_was_made_anew_may_go(history: History) -> None:
    history.gone(policy(), own=True)
    history.seen(policy(), own=True, uid="another")
    assert history.gone(DENY) is None
    assert history.gone(ALLOW) is None
    history.seen(ALLOW)
    history.guarding.quiet()
    assert "got in" in (history.gone(ALLOW) or ""), "from the next quiet on it counts"


SECOND_ALLOW, SECOND_DENY = child("second-allow", RED, LIST), child("second-deny-all", RED)


@pytest.fixture
def waiting(history: History) -> History:
    """A second policy, with the same list, waits for the Service; and all quiet."""
    history.seen(policy("second"), own=True)
    history.seen(SECOND_DENY)
    history.guarding.quiet()
    return history


def test_a_policy_that_turns_to_audit_may_let_go_and_one_that_waits_may_not(waiting: History) -> None:
    waiting.seen(policy(mode="Audit"), own=True)
    for body in (SECOND_ALLOW, service()):
        assert waiting.seen(body) is None
    for body in (ALLOW, DENY):
        assert waiting.gone(body) is None
    waiting.gone(SECOND_ALLOW, own=True)
    assert "got in" in (waiting.gone(SECOND_DENY) or "")


def test_a_hand_over_that_lets_go_before_the_next_has_its_allowlist_is_told(waiting: History) -> None:
    waiting.seen(policy(mode="Audit"), own=True)
    assert waiting.gone(DENY) is None
    assert "cut off" in (waiting.gone(ALLOW) or "")


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param(
            lambda history: (history.seen(SECOND_ALLOW), history.gone(SECOND_ALLOW, own=True)),
            id="a stranger's deletion may be unseen",
        ),
        pytest.param(lambda history: history.seen(service(None), own=True), id="it may not know what to select"),
        pytest.param(
            lambda history: history.seen(policy("second", allowedCIDRs=[]), own=True), id="it no longer allows them"
        ),
    ],
)
def test_a_hand_over_may_cut_off_where_the_next_cannot_let_them_in(
    meanwhile: Callable[[History], object], waiting: History
) -> None:
    meanwhile(waiting)
    waiting.seen(policy(mode="Audit"), own=True)
    assert waiting.gone(ALLOW) is None


def test_what_the_garbage_collector_may_take_is_not_told(waiting: History) -> None:
    owners = [{"kind": "NodePortAccessPolicy", "name": "first", "uid": "first"}]
    waiting.seen(ALLOW, ownerReferences=owners)
    waiting.gone(policy(), own=True)
    assert waiting.gone({**ALLOW, "metadata": {**ALLOW["metadata"], "ownerReferences": owners}}) is None


def test_pods_that_the_service_no_longer_selects_may_be_open(history: History) -> None:
    history.seen(service(BLUE), own=True)
    assert history.seen(child("first-allow", BLUE, LIST)) is None
    assert history.seen(child("first-deny-all", BLUE)) is None


@pytest.mark.parametrize("gone", [True, False])
def test_pods_whose_service_is_gone_or_names_none_stay_shut(gone: bool, history: History) -> None:
    if gone:
        history.gone(service(), own=True)
    else:
        history.seen(service(None), own=True)
    assert history.gone(DENY) is None
    assert "got in" in (history.gone(ALLOW) or "")


def test_a_namespace_stays_shut_while_its_only_policy_isolates_it() -> None:
    history = History()
    everything = child("first-deny-all", {})
    history.seen(service(), own=True)
    history.seen(policy(isolation="Namespace"), own=True)
    for body in (ALLOW, everything):
        history.seen(body)
    history.guarding.quiet()
    assert "got in" in (history.seen(DENY) or ""), "blue pods"
    history.seen(everything)
    history.seen(DENY, own=True)
    history.seen(service(BLUE), own=True)
    assert history.seen(child("first-allow", BLUE, LIST)) is None, "what a stranger did to the deny-all may be unseen"


def test_a_namespace_where_a_stranger_s_object_has_the_deny_all_s_name_is_not_kept_shut() -> None:
    history = History()
    guest = child("first-deny-all", {"matchLabels": {"app": "green"}}, manager="guest")
    for body in (service(), policy(isolation="Namespace"), guest):
        history.seen(body, own=True)
    history.seen(ALLOW)
    history.guarding.quiet()
    history.seen(service(BLUE), own=True)
    assert history.seen(child("first-allow", BLUE, LIST)) is None, "the pods that it leaves have nothing else"
    history.guarding.quiet()
    assert "got in" in (history.seen(child("first-allow", BLUE, EVERYONE)) or ""), "its own it keeps shut all the same"


def test_a_stranger_s_network_policy_is_never_touched(history: History) -> None:
    guest = child("guest", BLUE, manager="guest")
    history.seen(guest, own=True)
    assert "stranger" in (history.seen({**guest, "metadata": {**guest["metadata"], "labels": {"a": "b"}}}) or "")
    assert "stranger" in (history.gone(guest) or "")


def test_a_service_that_every_policy_wants_local_stays_so(history: History) -> None:
    assert "no longer Local" in (history.seen(service(traffic_policy="Cluster")) or "")


@pytest.mark.parametrize("change", [{"trafficPolicy": "Unmanaged"}, {"mode": "Audit"}])
def test_a_service_may_go_back_when_its_policy_lets_it_go(change: Json, history: History) -> None:
    history.seen(policy(**change), own=True)
    assert history.seen(service(traffic_policy="Cluster")) is None


def test_after_a_gap_in_what_was_seen_nothing_counts_until_the_next_quiet(history: History) -> None:
    now = {"NodePortAccessPolicy": {"first": policy()}, "Service": {"web": service()}}
    now["NodePortAccessPolicy"]["first"]["metadata"]["uid"] = "first"
    history.guarding.resume({**now, "NetworkPolicy": {"first-allow": ALLOW, "first-deny-all": DENY}})
    assert history.seen(child("first-allow", RED, EVERYONE)) is None
    history.seen(ALLOW)
    history.guarding.quiet()
    assert "got in" in (history.seen(child("first-allow", RED, EVERYONE)) or "")


def test_what_was_over_before_the_operator_saw_the_world_it_may_not_act_upon(history: History) -> None:
    wide = [{**LIST[0], "from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]
    for history.now, cidr in ((1.0, "203.0.113.0/24"), (2.0, ALLOWED)):
        history.seen(policy(allowedCIDRs=[{"cidr": cidr}]), own=True)
    history.guarding.forget(1.5)
    assert history.seen(child("first-allow", RED, wide)) is None, "the last one was still in force then"
    assert history.seen(ALLOW) is None
    history.guarding.forget(2.5)
    assert "got in" in (history.seen(child("first-allow", RED, wide)) or "")


def test_a_new_policy_keeps_pods_shut_once_the_operator_has_seen_it(history: History) -> None:
    red = POD_LABELS[0]
    history.now = 1.0
    history.gone(policy(), own=True)
    history.seen(policy(), own=True)
    for body in (ALLOW, DENY):
        history.seen(body)
    history.guarding.forget(1.0)
    assert not history.guarding.keeps_shut(red), "there was none just before"
    history.guarding.forget(1.5)
    assert history.guarding.keeps_shut(red)
    assert "got in" in (history.seen(child("first-allow", RED, EVERYONE)) or "")
