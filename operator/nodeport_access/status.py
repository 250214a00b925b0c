"""The status of one policy as one server-side-apply body, from what was observed after the writes.

Nothing in it changes on a pass that finds nothing new. Not the business of this module: writing it (``reconcile``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nodeport_access import desired
from nodeport_access.api import API_VERSION, KIND, Body, ConditionType, Effect, Mode, Policy
from nodeport_access.checks import Case
from nodeport_access.conditions import MESSAGE_LIMIT, fails, holds, timestamp, upsert
from nodeport_access.exposure import ready_nodes
from nodeport_access.plan import Write, audit
from nodeport_access.reasons import Reason
from nodeport_access.verdict import judge

PLAN_LIMIT = 16
"""How many writes ``status.plan`` holds; the CRD's bound."""
_KINDS = frozenset(ConditionType)
CRD_OUTDATED = (
    "The installed CustomResourceDefinition is older than the operator, and status lacks what it does not know: apply"
    " the one of the operator's version."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What somebody else last did to an object of ours, as ``status.lastDrift`` tells it."""

    object: str
    field: str
    writer: str
    effect: Effect
    time: str


def status_of(case: Case, *, drift: Drift | None) -> Body:
    """The whole status that we want: each field that we own is in it or is meant to be absent."""
    snapshot, policy = case.snapshot, case.policy
    existing = policy.status
    status: Body = {
        "observedGeneration": policy.generation,
        "conditions": upsert(
            existing.get("conditions") or (), judge(case), generation=policy.generation, now=snapshot.now
        ),
    }
    if (service := snapshot.service) is not None:
        ready, draining = ready_nodes(snapshot)
        status |= {
            "serviceUID": service.uid,
            "nodePorts": list(service.node_ports),
            "effectiveCIDRs": desired.networks_count(case.allowed),
            "nodes": {
                "ready": len(ready),
                "draining": len(draining),
                **({"total": len(snapshot.nodes)} if snapshot.nodes_listed else {}),
                "share": f"{len(ready)}/{len(snapshot.nodes) if snapshot.nodes_listed else '?'}",
            },
        }
        # The number in force, else the one that a repair is to bring back.
        same = existing.get("serviceUID") == service.uid and service.type == "LoadBalancer"
        if number := service.health_check_node_port or (existing.get("healthCheckNodePort", 0) if same else 0):
            status["healthCheckNodePort"] = number
    if drift is not None:
        status["lastDrift"] = {
            "object": drift.object,
            "field": drift.field,
            "writer": drift.writer,
            "effect": str(drift.effect),
            "time": drift.time,
        }
    elif existing.get("lastDrift"):
        status["lastDrift"] = dict(existing["lastDrift"])
    if policy.mode is Mode.AUDIT:
        status["plan"] = _planned(audit(snapshot, policy))
    return status


def drift_of(write: Write, case_time: Any) -> Drift | None:
    """What a write repairs of somebody else's doing; None where it repairs nothing of the kind."""
    if (worst := write.drift) is None:
        return None
    return Drift(
        object=write.object, field=worst.path, writer=worst.writer, effect=worst.effect, time=timestamp(case_time)
    )


def _planned(writes: Sequence[Write]) -> list[Body]:
    return [
        {
            "action": str(write.verb),
            "object": write.object,
            **({"fields": [difference.path for difference in write.differences]} if write.differences else {}),
        }
        for write in writes[:PLAN_LIMIT]
    ]


def status_after_fault(policy: Policy, *, fault: str, now: datetime) -> Body:
    """What is left to say where the operator itself failed over a policy: that, and what was found before. ``fault``
    must be the same for the same fault, or each pass would write anew."""
    found = (fails(ConditionType.READY, Reason.OPERATOR_FAILED), holds(ConditionType.STALLED, Reason.OPERATOR_FAILED))
    told = [replace(condition, message=f"{condition.reason.sentence} ({fault})") for condition in found]
    before: Sequence[Mapping[str, Any]] = policy.status.get("conditions") or ()
    spoken_for = {ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED}
    kept = [one for one in before if one["type"] in _KINDS - spoken_for]
    conditions = upsert(before, told, generation=policy.generation, now=now)
    return {**policy.status, "observedGeneration": policy.generation, "conditions": [*conditions, *kept]}


def as_far_as_known(status: Mapping[str, Any], *, unknown: Collection[str]) -> Body:
    """What is left of a status without the fields that the installed CRD does not know; Ready says what is amiss."""
    ready, *others = status["conditions"]
    ready = {**ready, "message": f"{ready['message']} {CRD_OUTDATED}"[:MESSAGE_LIMIT]}
    return {
        **{name: value for name, value in status.items() if name not in unknown},
        "conditions": [ready, *others],
    }


def status_body(policy: Policy, status: Mapping[str, Any]) -> Body:
    """The apply body, guarded by the observed resourceVersion: a stale view is refused rather than written."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": policy.key.name,
            "namespace": policy.key.namespace,
            "resourceVersion": policy.resource_version,
        },
        "status": dict(status),
    }


def same_status(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether what we want is there already; conditions of other writers are theirs, and not compared."""
    ours = [condition for condition in existing.get("conditions") or () if condition.get("type") in _KINDS]
    by_type = {condition["type"]: condition for condition in ours}
    return {**existing, "conditions": by_type} == {
        **wanted,
        "conditions": {condition["type"]: condition for condition in wanted["conditions"]},
    }
