"""The fields of an object, flat, as server-side apply sees them: each leaf by its path, and who owns which.

An object is a mapping from paths to values, so that merging, owning and letting go are set operations (Kubernetes API
reference, Server-Side Apply, "Merge strategy"). Not the business of this module: which writes are refused, and what
the API server adds of its own (``kinds``, ``cluster``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nodeport_access.api import Body

Path = tuple[str, ...]
Fields = dict[Path, Any]


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of managedFields. ``operation`` is Apply or Update."""

    manager: str
    operation: str
    subresource: str = ""

    @property
    def updates(self) -> bool:
        """Whether it wrote by other means than server-side apply."""
        return self.operation == "Update"


KEYED: Mapping[Path, str] = {("metadata", "ownerReferences"): "uid", ("status", "conditions"): "type"}
"""Lists whose items are owned one by one, and the field that tells them apart. All other lists are owned whole."""

WHOLE = frozenset({("spec", "podSelector"), ("spec", "selector")})
"""Mappings that are owned whole (``x-kubernetes-map-type: atomic``)."""

_SERVER_SET = frozenset({"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation"})
"""What names an object or is the API server's alone, in metadata; nobody owns it."""


def leaves(body: Body) -> Fields:
    """Every leaf of what a writer sends, empty lists included: they are owned too."""
    found: Fields = {}
    for name, value in body.items():
        if name == "metadata":
            value = {key: item for key, item in value.items() if key not in _SERVER_SET and key != "managedFields"}
        if name not in ("apiVersion", "kind"):
            _collect(value, (name,), found)
    return found


def _collect(value: Any, path: Path, found: Fields) -> None:
    if path in KEYED:
        for item in value or ():
            found[(*path, f"k:{_key(path, item)}")] = item
    elif isinstance(value, dict) and path not in WHOLE:
        for name, inner in value.items():
            _collect(inner, (*path, name), found)
    elif value is not None:
        found[path] = value


def _key(path: Path, item: Body) -> str:
    return json.dumps({KEYED[path]: item[KEYED[path]]}, separators=(",", ":"))


def assemble(fields: Fields) -> Body:
    """The object that has these leaves, in the order in which they were first written."""
    body: Body = {}
    for path, value in fields.items():
        *parents, last = path
        inner: Any = body
        for depth, step in enumerate(parents, start=1):
            inner = inner.setdefault(step, [] if path[:depth] in KEYED else {})
        if isinstance(inner, list):
            inner.append(value)
        else:
            inner[last] = value
    return body


def fields_v1(paths: Iterable[Path]) -> Body:
    """Paths in the form of managedFields (FieldsV1)."""
    body: Body = {}
    for path in sorted(paths):
        inner = body
        for step in path:
            inner = inner.setdefault(step if step.startswith("k:") else f"f:{step}", {})
    return body


def dotted(path: Path) -> str:
    """A path as conflicts name it, such as ``.spec.externalTrafficPolicy``."""
    return "".join(f".{step}" for step in path)


def merge_patch(target: Any, patch: Any) -> Any:
    """What a JSON merge patch makes of a value (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
