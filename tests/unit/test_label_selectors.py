"""Label selectors select by the rules of the API, and the indexes find what a scan of everything would find."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access.label_selectors import LabelIndex, Labels, SelectorIndex, selects
from tests.unit.strategies import properties


def expression(operator: str, *values: str, key: str = "app") -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ({}, {}, True),
        ({}, {"app": "shop"}, True),
        ({"matchLabels": {}}, {}, True),
        ({"matchLabels": None, "matchExpressions": None}, {}, True),
        ({"matchLabels": {"app": "shop"}}, {"app": "shop", "more": "x"}, True),
        ({"matchLabels": {"app": "shop"}}, {"app": "bar"}, False),
        ({"matchLabels": {"app": "shop"}}, {}, False),
        ({"matchLabels": {"app": "shop", "tier": "web"}}, {"app": "shop"}, False),
        (expression("In", "shop", "bar"), {"app": "bar"}, True),
        (expression("In", "shop"), {"app": "bar"}, False),
        (expression("In", "shop"), {}, False),
        (expression("NotIn", "bar"), {"app": "shop"}, True),
        (expression("NotIn", "bar"), {"app": "bar"}, False),
        (expression("NotIn", "bar"), {}, True),  # an absent label satisfies NotIn
        (expression("Exists"), {"app": ""}, True),
        (expression("Exists"), {}, False),
        (expression("DoesNotExist"), {}, True),
        (expression("DoesNotExist"), {"app": ""}, False),
        (expression("Resembles", "shop"), {"app": "shop"}, False),  # not known, so nothing is taken for selected
        ({"matchLabels": {"app": "shop"}, **expression("Exists", key="tier")}, {"app": "shop"}, False),
        ({"matchLabels": {"app": "shop"}, **expression("Exists", key="tier")}, {"app": "shop", "tier": ""}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, {"app": "shop"}, True),
    ],
)
def test_a_selector_selects_as_the_api_says(selector: dict[str, Any], labels: Labels, selected: bool) -> None:
    assert selects(selector, labels) is selected


LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
NAMES = "0123456789ab"  # more than are looked through one by one
STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "drop"]), st.sampled_from(NAMES), LABELS), max_size=40)
SAME: list[tuple[str, str, Labels]] = [("put", name, {"a": "x"}) for name in NAMES]
DROPPED: list[tuple[str, str, Labels]] = [("drop", name, {}) for name in NAMES]


def played(index: LabelIndex | SelectorIndex, steps: list[tuple[str, str, Labels]]) -> dict[str, Labels]:
    """Carries out steps on an index, and gives what should be in it."""
    model: dict[str, Labels] = {}
    for verb, name, labels in steps:
        if verb == "put":
            index.put(name, labels)
            model[name] = labels
        else:
            index.drop(name)
            model.pop(name, None)
    return model


@properties(100)
@given(STEPS, LABELS)
@example(SAME, {"a": "x"})
@example([*SAME, *DROPPED[:6]], {"a": "x"})
def test_the_index_of_labels_finds_what_a_scan_finds(steps: list[tuple[str, str, Labels]], wanted: Labels) -> None:
    index = LabelIndex()
    model = played(index, steps)
    expected = {name for name, labels in model.items() if selects({"matchLabels": wanted}, labels)}
    assert index.matching(wanted) == expected


@properties(100)
@given(STEPS, LABELS)
def test_the_index_of_selectors_misses_none_that_selects(steps: list[tuple[str, str, Labels]], pod: Labels) -> None:
    index = SelectorIndex()
    model = played(index, steps)
    found = list(index.candidates(pod))
    assert len(found) == len(set(found))
    assert set(found) <= model.keys()
    assert {name for name, labels in model.items() if selects({"matchLabels": labels}, pod)} <= set(found)


@properties(50)
@given(STEPS)
@example(SAME)
@example([*SAME, *DROPPED])
def test_an_index_from_which_everything_was_dropped_holds_nothing(steps: list[tuple[str, str, Labels]]) -> None:
    for index in (LabelIndex(), SelectorIndex()):
        for name in played(index, steps):
            index.drop(name)
        assert not any(getattr(index, field) for field in vars(index))
