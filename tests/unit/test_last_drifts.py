"""When a policy last drifted is known by effect: a harmless change hides none that opened, and nothing is kept of what
is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nodeport_access.api import Effect, Policy
from nodeport_access.last_drifts import LastDrifts
from nodeport_access.policy_body import parse_policy
from tests.unit.builders import policy as body

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def policy(**tweaks: Any) -> Policy:
    return parse_policy(body(**tweaks))


def told(effect: str, time: str) -> dict[str, Any]:
    return {"lastDrift": {"object": "Service/shop", "effect": effect, "time": time}}


def test_a_later_drift_hides_no_other_effect() -> None:
    drifts, one = LastDrifts(), policy()
    drifts.note(one, Effect.OPENED, now=NOW)
    drifts.note(one, Effect.NONE, now=LATER)
    assert drifts.of(one) == {Effect.OPENED: NOW, Effect.NONE: LATER}
    drifts.note(one, Effect.OPENED, now=LATER)
    assert drifts.of(one) == {Effect.OPENED: LATER, Effect.NONE: LATER}


def test_what_status_tells_counts_too_where_it_is_the_later() -> None:
    drifts, one = LastDrifts(), policy(status=told("depends", "2026-01-01T00:00:30Z"))
    between = NOW + timedelta(seconds=30)
    assert drifts.of(one) == {Effect.DEPENDS: between}
    drifts.note(one, Effect.DEPENDS, now=NOW)
    assert drifts.of(one) == {Effect.DEPENDS: between}
    drifts.note(one, Effect.DEPENDS, now=LATER)
    assert drifts.of(one) == {Effect.DEPENDS: LATER}


@pytest.mark.parametrize(
    "status",
    [
        {},
        told("wide open", "2026-01-01T00:00:00Z"),
        told("opened", "yesterday"),
        {"lastDrift": {"effect": "opened"}},
        {"lastDrift": {"effect": "opened", "time": 7}},
        {"lastDrift": "opened"},
    ],
)
def test_what_cannot_be_read_in_status_tells_nothing(status: dict[str, Any]) -> None:
    assert LastDrifts().of(policy(status=status)) == {}


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert LastDrifts().of(policy(status=told("opened", "2026-01-01T00:00:00"))) == {Effect.OPENED: NOW}


def test_a_policy_created_anew_under_an_old_name_begins_anew() -> None:
    drifts, old, new = LastDrifts(), policy(uid="old"), policy(uid="new")
    drifts.note(old, Effect.OPENED, now=NOW)
    assert drifts.of(new) == {}


def test_nothing_is_kept_of_a_policy_that_is_gone() -> None:
    drifts, gone, there = LastDrifts(), policy(uid="gone"), policy(uid="there")
    for one in (gone, there):
        drifts.note(one, Effect.OPENED, now=NOW)
    drifts.tidy(gone.service, [there])
    assert (drifts.of(gone), drifts.of(there)) == ({}, {Effect.OPENED: NOW})
    drifts.tidy(gone.service, [])
    assert drifts.of(there) == {}
