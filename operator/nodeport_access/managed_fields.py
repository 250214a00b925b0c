"""What an object's managedFields tell of the fields that we set: which our Apply entry still owns, and who owns those
that it does not (Kubernetes API reference, Server-Side Apply, "Field management").

Not the business of this module: which fields we set (``observed``), or what a change of hands comes to (``drift``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nodeport_access.api import FIELD_MANAGER

NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Of the field paths that we set: which are ours by our Apply entry, and the manager of those that another has
    taken."""

    ours: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=lambda: NOBODY)

    def ours_alone(self, path: str) -> bool:
        """Whether nobody else holds it, so that it goes with our next apply without it."""
        return path in self.ours and path not in self.others

    def writer(self, path: str) -> str:
        """The field manager that holds a path which is not ours; empty where nobody does."""
        return self.others.get(path, "")


def ownership(metadata: Mapping[str, Any], paths: Mapping[str, tuple[str, ...]]) -> Ownership:
    """Reads managedFields for the given paths (our name of a field -> its steps in FieldsV1, without the ``f:``)."""
    ours: set[str] = set()
    others: dict[str, str] = {}
    for entry in sorted(metadata.get("managedFields") or (), key=lambda entry: entry.get("time", "")):
        if entry.get("subresource"):
            continue
        mine = _is_our_apply(entry)
        for name, steps in paths.items():
            if _holds(entry.get("fieldsV1") or {}, steps):
                if mine:
                    ours.add(name)
                else:
                    others[name] = entry.get("manager", "")
    # Sorted, and no set: a handful of strings takes a fifth of the memory so, and it is kept for each object.
    return Ownership(ours=tuple(sorted(ours)), others=others or NOBODY)


def applied_by_us(metadata: Mapping[str, Any]) -> bool:
    """Whether our Apply entry is on the object, whatever it holds."""
    return any(map(_is_our_apply, metadata.get("managedFields") or ()))


def _is_our_apply(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply"


def _holds(fields: Mapping[str, Any], steps: tuple[str, ...]) -> bool:
    for step in steps:
        inner = fields.get(step if step.startswith("k:") else f"f:{step}")
        if inner is None:
            return False
        fields = inner
    return True
