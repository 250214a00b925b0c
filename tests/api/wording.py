"""What an API server of another version says in other words: the same error, made comparable.

Not the business of this module: which errors there are (`test_crd`, `test_crd_rules`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from testbed.building import KUBERNETES
from testbed.control_plane import ControlPlane

_VALUE = re.compile(r'Invalid value: (?:"(?:[^"\\]|\\.)*"|null|-?\d+): ')
_TOO_LONG = re.compile(r"may not be more than (\d+) bytes")
_GO_TYPE = re.compile(r"map\[string\]interface \{\}(?=\{)")


def wording_of(control_plane: ControlPlane) -> Callable[[str], str]:
    """What to do to sentences, expected ones and said ones alike, before they are compared: nothing where the API
    server is the newest, whose words the tests have. Older ones name the type of a value in place of the value
    ("string"), count no bytes, and let Go's names for types show."""
    _, version = control_plane.request("GET", "/version")
    newest = next(iter(KUBERNETES))
    return str if f"v{version['major']}.{version['minor']}" == newest else _without_values


def _without_values(sentence: str) -> str:
    bare = _VALUE.sub("Invalid value: ", sentence)
    return _GO_TYPE.sub("", _TOO_LONG.sub(r"may not be longer than \1", bare))
