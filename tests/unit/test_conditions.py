"""Conditions change as metav1.Condition demands: the time moves with the status alone, and the order never does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import Body, ConditionType
from nodeport_access.conditions import (
    ABNORMAL_TRUE,
    MESSAGE_LIMIT,
    Condition,
    Status,
    denied,
    fails,
    holds,
    is_true,
    listed,
    timestamp,
    unknown,
    upsert,
)
from nodeport_access.reasons import Reason
from tests.unit.builders import NOW
from tests.unit.strategies import properties

EARLIER = "2026-01-01T00:00:00Z"


def existing(kind: ConditionType, status: str = "True", **fields: Any) -> Body:
    return {
        "type": str(kind),
        "status": status,
        "reason": "Guarded",
        "message": "old",
        "observedGeneration": 1,
        "lastTransitionTime": EARLIER,
        **fields,
    }


def only(found: Condition, *before: Body, generation: int = 2, now: datetime = NOW) -> Body:
    (condition,) = upsert(before, [found], generation=generation, now=now)
    return condition


READY = holds(ConditionType.READY, Reason.GUARDED, "as wanted")
NOT_READY = fails(ConditionType.READY, Reason.NOT_APPLIED, "not as wanted")


def test_a_condition_is_written_whole() -> None:
    assert only(READY) == {
        "type": "Ready",
        "status": "True",
        "reason": "Guarded",
        "message": "as wanted",
        "observedGeneration": 2,
        "lastTransitionTime": "2026-06-01T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("before", "moved"),
    [
        ([], True),
        ([existing(ConditionType.READY, "True")], False),
        ([existing(ConditionType.READY, "True", reason="Other", message="other", observedGeneration=9)], False),
        ([existing(ConditionType.READY, "False")], True),
        ([existing(ConditionType.READY, "Unknown")], True),
        ([existing(ConditionType.REACHABLE, "True")], True),
        ([existing(ConditionType.READY, "True", lastTransitionTime="")], True),
    ],
)
def test_the_transition_time_moves_only_when_the_status_changes(before: list[Body], moved: bool) -> None:
    assert only(READY, *before)["lastTransitionTime"] == ("2026-06-01T12:00:00Z" if moved else EARLIER)


def test_the_generation_is_that_of_the_policy_now_even_where_nothing_else_changed() -> None:
    assert only(READY, existing(ConditionType.READY), generation=5)["observedGeneration"] == 5


def test_what_is_not_found_any_more_is_removed() -> None:
    before = [existing(ConditionType.RECONCILING), existing(ConditionType.STALLED), existing(ConditionType.READY)]
    assert [condition["type"] for condition in upsert(before, [READY], generation=1, now=NOW)] == ["Ready"]


def test_an_abnormal_condition_that_says_false_is_somebody_elses_too_and_left_as_it_is() -> None:
    before = [existing(ConditionType.STALLED, "False", reason="Odd"), existing(ConditionType.READY)]
    assert [condition["type"] for condition in upsert(before, [READY], generation=1, now=NOW)] == ["Ready", "Stalled"]
    assert upsert(before, [READY], generation=1, now=NOW)[1] == before[0]


def test_an_abnormal_condition_that_an_apply_leaves_standing_is_denied_in_the_words_of_ready() -> None:
    wanted = upsert([], [READY], generation=1, now=NOW)
    written = {
        "conditions": [*wanted, existing(ConditionType.STALLED), existing(ConditionType.REACHABLE), {"type": "Odd"}]
    }
    assert denied(written, wanted) == [{**wanted[0], "type": "Stalled", "status": "False"}]
    assert denied({"conditions": wanted}, wanted) == denied({}, wanted) == []


def test_an_abnormal_condition_that_comes_back_counts_from_then() -> None:
    stalled = holds(ConditionType.STALLED, Reason.NAME_CONFLICT)
    once = upsert([], [stalled], generation=1, now=NOW)
    gone = upsert(once, [], generation=1, now=NOW)
    (again,) = upsert(gone, [stalled], generation=1, now=NOW + timedelta(hours=1))
    assert again["lastTransitionTime"] == "2026-06-01T13:00:00Z"


@properties(50)
@given(st.permutations(list(ConditionType)), st.permutations(list(ConditionType)))
def test_the_order_is_that_of_the_types_however_they_were_found(
    found: list[ConditionType], before: list[ConditionType]
) -> None:
    conditions = upsert(
        [existing(kind) for kind in before],
        [holds(kind, Reason.GUARDED) for kind in found],
        generation=1,
        now=NOW,
    )
    assert [condition["type"] for condition in conditions] == list(map(str, ConditionType))


FOUND = st.lists(
    st.builds(
        Condition,
        st.sampled_from([kind for kind in ConditionType if kind not in ABNORMAL_TRUE]),
        st.sampled_from(Status),
        st.sampled_from([Reason.GUARDED, Reason.NOT_APPLIED]),
        st.sampled_from(["one", "other"]),
    ),
    max_size=6,
    unique_by=lambda condition: condition.type,
)


@properties(100)
@given(st.lists(FOUND, min_size=1, max_size=6))
def test_over_any_history_the_time_is_that_of_the_last_change_of_status(history: list[list[Condition]]) -> None:
    conditions: list[Body] = []
    since: dict[str, tuple[str, str]] = {}
    for minute, found in enumerate(history):
        now = NOW + timedelta(minutes=minute)
        conditions = upsert(conditions, found, generation=minute, now=now)
        for condition in found:
            if since.get(condition.type, ("", ""))[0] != condition.status:
                since[condition.type] = (condition.status, timestamp(now))
        since = {condition.type: since[condition.type] for condition in found}
        assert {item["type"]: (item["status"], item["lastTransitionTime"]) for item in conditions} == since
        assert upsert(conditions, found, generation=minute, now=now + timedelta(days=1)) == conditions


def test_a_message_is_cut_at_what_the_api_takes() -> None:
    assert len(only(holds(ConditionType.READY, Reason.GUARDED, "x" * 99_999))["message"]) == MESSAGE_LIMIT


def test_a_condition_without_a_message_says_the_sentence_of_its_reason() -> None:
    assert holds(ConditionType.READY, Reason.GUARDED).message == Reason.GUARDED.sentence
    assert fails(ConditionType.READY, Reason.NOT_APPLIED).message == Reason.NOT_APPLIED.sentence


def test_what_cannot_be_judged_gives_the_cause_and_is_neither_true_nor_false() -> None:
    condition = unknown(ConditionType.REACHABLE, NOT_READY)
    assert (condition.type, condition.status) == (ConditionType.REACHABLE, Status.UNKNOWN)
    assert (condition.reason, condition.message) == (Reason.NOT_APPLIED, "not as wanted")
    assert not condition.holds


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (list("abcde"), "a, b, c, d, e"), (list("abcdefg"), "a, b, c, d, e and 2 more")],
)
def test_a_message_lists_the_first_names_and_counts_the_rest(names: list[str], text: str) -> None:
    assert listed(names) == text


@pytest.mark.parametrize(
    ("status", "true"),
    [
        ({}, False),
        ({"conditions": None}, False),
        ({"conditions": [existing(ConditionType.READY)]}, True),
        ({"conditions": [existing(ConditionType.READY, "False")]}, False),
        ({"conditions": [existing(ConditionType.READY, "Unknown")]}, False),
        ({"conditions": [existing(ConditionType.REACHABLE)]}, False),
    ],
)
def test_a_raw_status_tells_whether_a_condition_is_true(status: Body, true: bool) -> None:
    assert is_true(status, ConditionType.READY) is true


def test_times_are_written_in_utc_with_whole_seconds() -> None:
    time = datetime(2026, 6, 1, 14, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert timestamp(time) == "2026-06-01T12:00:00Z"
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
