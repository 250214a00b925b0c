"""What is kept of JSON is equal to what was read, in half of the memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access import strings
from nodeport_access.strings import once
from tests.unit.strategies import properties

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=8)
)
SPEC = {
    "podSelector": {"matchLabels": {"app": "web"}},
    "policyTypes": ["Ingress"],
    "ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 8080, "protocol": "TCP"}]}],
}


@properties(200)
@given(JSON)
@example({"a": {"b": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}})
def test_what_is_kept_is_equal_down_to_the_order_of_fields(value: Any) -> None:
    kept = once(value)
    assert kept == value
    assert json.dumps(kept) == json.dumps(value)
    assert kept is not value or not isinstance(value, dict | list), "what was read may still be changed"


def test_equal_strings_are_kept_once() -> None:
    first, second = (once(json.loads('{"name": "a long name of something"}')) for _ in range(2))
    assert first["name"] is second["name"]


def test_it_takes_half_of_the_memory_at_most() -> None:
    text = json.dumps(SPEC)
    plain, kept = taken(lambda: json.loads(text)), taken(lambda: once(json.loads(text)))
    assert kept < plain / 2


def test_any_number_of_sets_of_names_is_kept_and_only_some_are_remembered() -> None:
    for number in range(2 * strings.SHAPES_LIMIT):
        labels = {f"label-{number}": "yes"}
        assert once(labels) == labels
    assert len(strings._shapes) <= strings.SHAPES_LIMIT
    names = [next(iter(once(json.loads('{"a name that none has a table of": 1}')))) for _ in range(2)]
    assert names[0] is names[1]


def taken(make: Callable[[], Any], *, times: int = 200) -> int:
    """Bytes that the results take together."""
    make()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = [make() for _ in range(times)]
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(found) == times
    return after - before
