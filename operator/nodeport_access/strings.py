"""Equal strings kept once, in what is kept of thousands of objects that say the same.

JSON makes a new string of each value. Not the business of this module: what is kept.
"""

from __future__ import annotations

import sys
from typing import Any


def once(value: Any) -> Any:
    """A copy of a JSON value in which each string is the one that an equal value has."""
    kind = type(value)  # JSON makes no subclasses, and this is asked hundreds of times for each object
    if kind is str:
        return sys.intern(value)
    if kind is dict:
        return {sys.intern(name): once(inner) for name, inner in value.items()}
    if kind is list:
        return [once(inner) for inner in value]
    return value
