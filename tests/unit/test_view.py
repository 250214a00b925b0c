"""What a scrape shows of the policies that are known: nothing that a stranger could make any number of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from nodeport_access.metrics import PolicyView
from tests.unit.builders import NOW, policy
from tests.unit.controllers import controller_of


def view_of(**tweaks: Any) -> PolicyView:
    """One policy, as a controller that knows it shows it."""
    controller = controller_of()
    controller.store.policies.put(policy(**tweaks))
    (only,) = controller.view().policies
    return only


def condition(type: str, status: str, reason: str) -> dict[str, str]:
    return {"type": type, "status": status, "reason": reason, "message": ""}


def test_conditions_are_shown_where_they_deviate() -> None:
    conditions = [
        condition("Ready", "False", "OpenedByOtherPolicy"),
        condition("ClientIPPreserved", "True", "LocalInForce"),
        condition("Exclusive", "False", "OpenedByOtherPolicy"),
        condition("Enforceable", "Unknown", "PodsNotListed"),
        condition("Reconciling", "False", "OpenedByOtherPolicy"),
        condition("Stalled", "True", "OpenedByOtherPolicy"),
    ]
    shown = view_of(status={"conditions": conditions})
    assert not shown.ready
    assert shown.deviating == (
        ("Exclusive", "False", "OpenedByOtherPolicy"),
        ("Enforceable", "Unknown", "PodsNotListed"),
        ("Stalled", "True", "OpenedByOtherPolicy"),
    )


def test_what_a_stranger_writes_into_status_adds_no_words_of_his_own() -> None:
    conditions = [
        condition("Exclusive", "Perhaps", "MadeUp17"),
        *(condition(f"Strange{number}", "False", f"MadeUp{number}") for number in range(100)),
    ]
    assert view_of(status={"conditions": conditions}).deviating == (("Exclusive", "Unknown", "Other"),)


def test_only_a_policy_in_mode_audit_has_a_plan() -> None:
    plan = [{"action": "create", "object": "NetworkPolicy/shop-allow"}]
    assert view_of(mode="Audit", status={"plan": plan}).planned_writes == 1
    assert view_of(mode="Audit").planned_writes == 0
    assert view_of(status={"plan": plan}).planned_writes is None


def test_the_last_drift_in_status_is_shown_by_a_process_that_saw_none() -> None:
    drift = {"object": "Service/shop", "effect": "depends", "time": "2026-01-01T00:00:00Z"}
    seconds = datetime.fromisoformat(drift["time"]).timestamp()
    assert view_of(status={"lastDrift": drift}).last_drifts == (("depends", seconds),)
    assert view_of().last_drifts == ()


def test_the_next_expiry_is_that_of_an_entry_in_force() -> None:
    ends = [(NOW + timedelta(hours=hours)).isoformat() for hours in (-1, 2, 1)]
    allowed = [{"cidr": f"10.0.0.{number}/32", "expiresAt": end} for number, end in enumerate(ends)]
    assert view_of(allowed=allowed).next_expiry == (NOW + timedelta(hours=1)).timestamp()
