"""managedFields as far as the operator's own entry goes: which fields it holds, and what others hold less by that.

The rule is Server-Side Apply's ("Field management" in the Kubernetes API reference). Not the business of this module:
what is written (``carrying_out``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from nodeport_access.api import FIELD_MANAGER, Body
from nodeport_access.observed import NETWORK_POLICY_PATHS, SERVICE_PATHS, owner_steps

Steps = tuple[str, ...]
"""A field in FieldsV1, without the ``f:``."""


def service_fields(*, label: bool, local: bool, health_check: bool = False) -> Iterator[Steps]:
    """The fields of a Service that we hold."""
    if label:
        yield SERVICE_PATHS["metadata.labels"]
    if local:
        yield SERVICE_PATHS["spec.externalTrafficPolicy"]
    if health_check:
        yield SERVICE_PATHS["spec.healthCheckNodePort"]


def network_policy_fields(*, owners: Iterable[str]) -> Iterator[Steps]:
    """The fields of a child that we hold, with its owners by uid."""
    for name, steps in NETWORK_POLICY_PATHS.items():
        if name not in ("metadata.ownerReferences", "metadata.finalizers"):
            yield steps
    for uid in owners:
        yield owner_steps(uid)


def our_entry(fields: Iterable[Steps]) -> Body:
    """The entry of managedFields for what we have applied."""
    held: Body = {}
    for steps in fields:
        inner = held
        for step in steps:
            inner = inner.setdefault(_field(step), {})
    return {
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "fieldsType": "FieldsV1",
        "fieldsV1": held,
    }


def is_ours(entry: Body) -> bool:
    """Whether it is our Apply entry."""
    return (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply") and not entry.get("subresource")


def taken_from_others(entries: Iterable[Body], fields: Iterable[Steps]) -> list[Body]:
    """The entries of all others without these fields, which a forced apply has changed."""
    kept = [copy.deepcopy(entry) for entry in entries if not is_ours(entry)]
    for entry in kept:
        for steps in fields:
            _discard(entry.get("fieldsV1") or {}, steps)
    return kept


def _discard(fields: dict[str, Any], steps: Steps) -> None:
    *around, last = steps
    inner: Any = fields
    for step in around:
        inner = inner.get(_field(step))
        if inner is None:
            return
    inner.pop(_field(last), None)


def _field(step: str) -> str:
    return step if step.startswith("k:") else f"f:{step}"
