"""Several policies for one Service: who holds it, who waits, and that a hand-over never opens the pods.

Not the business of this module: policies on different Services with the same pods (`test_conditions`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.operator_process import OperatorProcess
from tests.api.access import LABELS, Site, next_second, until
from tests.api.witness import Witness

# The name decides between policies of the same second, so the holder's comes first in the alphabet.
HOLDER, WAITING = "first", "later"
LISTS = {HOLDER: ["10.2.3.4/32"], WAITING: ["198.51.100.0/24"]}
STEADY = ("first-allow", "first-deny-all", "later-deny-all")


def create_both(site: Site, **waiting: str) -> None:
    site.create_service()
    site.create_pod()
    site.create_policy(HOLDER, allowed=LISTS[HOLDER])
    site.await_ready(HOLDER)
    site.create_policy(WAITING, allowed=LISTS[WAITING], **waiting)
    site.await_condition("Ready", "False ServiceAlreadyClaimed", WAITING)


def test_a_later_policy_waits_with_its_own_deny_all_in_place_and_names_the_holder(site: Site) -> None:
    create_both(site, isolation="Namespace")

    assert site.conditions(WAITING)["Stalled"] == "True ServiceAlreadyClaimed"
    assert site.conditions(WAITING)["AllowlistApplied"] == "False ServiceAlreadyClaimed"
    assert site.conditions(WAITING)["DefaultDenyApplied"] == "True Applied"
    message = site.await_condition("Stalled", "True ServiceAlreadyClaimed", WAITING)
    assert message == "Service 'web' is guarded by the older policy 'first'."
    children = site.network_policies()
    assert sorted(children) == list(STEADY)
    own = children["later-deny-all"]
    assert own["spec"]["podSelector"] == {"matchLabels": LABELS}, (
        "the rest of the namespace is none of its business yet"
    )
    assert [owner["name"] for owner in own["metadata"]["ownerReferences"]] == [WAITING]
    assert site.guard_of() == ("Local", HOLDER)
    assert site.conditions(HOLDER)["Ready"] == "True Guarded"


def delete_the_holder(site: Site) -> None:
    site.delete("NodePortAccessPolicy", HOLDER)


def turn_the_holder_to_audit(site: Site) -> None:
    site.edit_policy(HOLDER, mode="Audit")


def orphan_the_children_of_the_holder(site: Site) -> None:
    site.delete("NodePortAccessPolicy", HOLDER, propagationPolicy="Orphan")


@pytest.mark.parametrize("step_back", [delete_the_holder, turn_the_holder_to_audit, orphan_the_children_of_the_holder])
def test_the_waiting_policy_takes_over_without_a_gap(step_back: Callable[[Site], None], site: Site) -> None:
    create_both(site)
    witness = Witness(site)

    step_back(site)

    assert_taken_over(site)
    witness.assert_never_wider()


def test_the_waiting_policy_keeps_the_pods_shut_while_the_operator_is_away(
    site: Site, shared_operator: OperatorProcess
) -> None:
    create_both(site)
    witness = Witness(site)

    shared_operator.pause()
    try:
        site.delete("NodePortAccessPolicy", HOLDER)
        # The garbage collector does it too, and may be faster.
        site.kubectl("delete", "--ignore-not-found", "networkpolicy", "first-allow", "first-deny-all")
        assert sorted(site.network_policies()) == ["later-deny-all"]
    finally:
        shared_operator.resume()

    assert_taken_over(site)
    witness.assert_never_wider()


def assert_taken_over(site: Site) -> None:
    site.await_ready(WAITING)
    site.await_network_policies("later-allow", "later-deny-all")
    assert site.allowlist(WAITING) == {"TCP/8080": LISTS[WAITING]}
    assert site.guard_of() == ("Local", WAITING)
    assert "Stalled" not in site.conditions(WAITING)
    assert "lastDrift" not in site.status(WAITING), "a hand-over is nobody's interference"


def test_a_holder_that_is_only_kept_by_a_finalizer_counts_as_gone(site: Site) -> None:
    create_both(site)
    witness = Witness(site)
    site.edit("NodePortAccessPolicy", HOLDER, metadata={"finalizers": ["example.org/hold"]})

    site.delete("NodePortAccessPolicy", HOLDER)

    site.await_ready(WAITING)
    assert site.guard_of() == ("Local", WAITING)
    assert site.policy(HOLDER)["metadata"]["deletionTimestamp"]
    site.edit("NodePortAccessPolicy", HOLDER, metadata={"finalizers": None})
    assert_taken_over(site)
    witness.assert_never_wider()


def test_a_holder_that_is_made_anew_has_to_wait(site: Site) -> None:
    create_both(site)
    next_second()
    witness = Witness(site)

    site.delete("NodePortAccessPolicy", HOLDER)
    site.create_policy(HOLDER, allowed=LISTS[HOLDER])

    site.await_ready(WAITING)
    message = site.await_condition("Stalled", "True ServiceAlreadyClaimed", HOLDER)
    assert message == "Service 'web' is guarded by the older policy 'later'."
    site.await_network_policies("first-deny-all", "later-allow", "later-deny-all")
    assert site.guard_of() == ("Local", WAITING)
    witness.assert_never_wider()


def test_an_older_policy_that_turns_to_enforce_takes_the_service_without_a_gap(site: Site) -> None:
    site.create_service()
    site.create_policy(HOLDER, allowed=LISTS[HOLDER], mode="Audit")
    next_second()
    site.create_policy(WAITING, allowed=LISTS[WAITING])
    site.await_ready(WAITING)
    witness = Witness(site)

    site.edit_policy(HOLDER, mode="Enforce")

    site.await_ready(HOLDER)
    site.await_condition("Stalled", "True ServiceAlreadyClaimed", WAITING)
    site.await_network_policies(*STEADY)
    assert site.guard_of() == ("Local", HOLDER)
    witness.assert_never_wider()


def test_a_waiting_policy_that_goes_takes_only_its_own_with_it(site: Site) -> None:
    create_both(site)
    before = {name: one["metadata"]["resourceVersion"] for name, one in site.network_policies().items()}

    site.delete("NodePortAccessPolicy", WAITING)
    site.await_network_policies("first-allow", "first-deny-all")

    after = {name: one["metadata"]["resourceVersion"] for name, one in site.network_policies().items()}
    assert after == {name: before[name] for name in after}
    assert site.guard_of() == ("Local", HOLDER)
    assert site.conditions(HOLDER)["Ready"] == "True Guarded"


def test_of_several_that_wait_the_oldest_takes_over_and_the_others_name_it(site: Site) -> None:
    create_both(site)
    site.create_policy("third", allowed=LISTS[HOLDER])
    site.await_condition("Stalled", "True ServiceAlreadyClaimed", "third")

    site.delete("NodePortAccessPolicy", HOLDER)

    site.await_ready(WAITING)
    until(
        lambda: "'later'" in site.await_condition("Stalled", "True ServiceAlreadyClaimed", "third"),
        "the new holder's name at the third",
    )
    site.await_network_policies("later-allow", "later-deny-all", "third-deny-all")


def test_a_policy_in_audit_claims_nothing_and_plans_as_if_it_did(site: Site) -> None:
    site.create_service()
    site.create_policy(HOLDER, mode="Audit")
    site.create_policy(WAITING)
    site.await_ready(WAITING)

    site.await_network_policies("later-allow", "later-deny-all")
    assert site.guard_of() == ("Local", WAITING)
    wanted = ["create NetworkPolicy/first-allow", "create NetworkPolicy/first-deny-all", "update Service/web"]

    def planned() -> list[str]:
        return [f"{write['action']} {write['object']}" for write in site.status(HOLDER)["plan"]]

    # Its status is written at most once a second, and so may still tell of the moment before.
    until(lambda: planned() == wanted, f"the plan {wanted}")
