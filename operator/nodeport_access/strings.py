"""Values of JSON as they are kept of thousands of objects that say the same: equal strings once, and the names of
fields once for all objects that have the same ones.

JSON makes a new string of each value, and a table of names for each object. Not the business of this module: what is
kept.
"""

from __future__ import annotations

import sys
from typing import Any

SHAPES_LIMIT = 512
"""How many sets of names are remembered. What an API defines has some dozens; the keys of labels are anybody's."""

_shapes: dict[tuple[str, ...], type] = {}


def once(value: Any) -> Any:
    """A copy of a JSON value that takes half of the memory; not to be changed. Each string in it is the one that an
    equal value has."""
    kind = type(value)  # JSON makes no subclasses, and this is asked hundreds of times for each object
    if kind is str:
        return sys.intern(value)
    if kind is dict:
        copy = _empty(tuple(value))
        for name, inner in value.items():
            copy[sys.intern(name)] = once(inner)
        return copy
    if kind is list:
        return [once(inner) for inner in value]
    return value


def _empty(names: tuple[str, ...]) -> dict[str, Any]:
    """For these names in this order: the ``__dict__`` of an instance shares its table of names with those of all other
    instances of its class (PEP 412)."""
    shape = _shapes.get(names)
    if shape is None:
        if len(_shapes) >= SHAPES_LIMIT:
            return {}
        shape = _shapes[names] = type("Shape", (), {})
    empty: dict[str, Any] = shape().__dict__
    return empty
