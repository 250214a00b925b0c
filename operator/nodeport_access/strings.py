"""Equal strings kept once, in what is kept of thousands of objects that say the same.

JSON makes a new string of each value. Not the business of this module: what is kept.
"""

from __future__ import annotations

import sys
from typing import Any


def once(value: Any) -> Any:
    """A copy of a JSON value in which each string is the one that an equal value has."""
    match value:
        case str():
            return sys.intern(value)
        case dict():
            return {sys.intern(name): once(inner) for name, inner in value.items()}
        case list():
            return [once(inner) for inner in value]
        case _:
            return value
