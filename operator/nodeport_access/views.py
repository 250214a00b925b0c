"""From what is known of the cluster to what metrics show of it, in series whose number is bounded.

Not the business of this module: how they are counted and served (``metrics``, ``server``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from nodeport_access.api import ConditionType, Effect, Mode, Policy
from nodeport_access.conditions import ABNORMAL_TRUE, Status, is_true
from nodeport_access.metrics import CoveringView, PolicyView
from nodeport_access.reasons import Reason
from nodeport_access.survey import Cluster, Survey

COVERING_LIMIT = 10_000
"""Pairs of a Service and a NetworkPolicy that covers nodes which one scrape tells: in a namespace where every
NetworkPolicy selects every pod, there are as many as the product of both."""

OTHER_CONDITIONS = frozenset(ConditionType) - {ConditionType.READY}
STATUSES = frozenset(Status)
REASONS = frozenset(Reason)
UNKNOWN_REASON = "Other"


def covering_views(survey: Survey, cluster: Cluster) -> list[CoveringView]:
    """The first pairs of a Service and a NetworkPolicy that covers nodes, up to what one scrape tells."""
    return [
        CoveringView(
            namespace=service.key.namespace,
            service=service.key.name,
            network_policy=policy.name,
            external_traffic_policy=service.external_traffic_policy,
        )
        for service, policy in islice(survey.covering_nodes(cluster), COVERING_LIMIT)
    ]


def policy_view(policy: Policy, now: datetime, drifts: Mapping[Effect, datetime]) -> PolicyView:
    """A policy at an instant, by its own status, and when its objects last drifted."""
    expiries = [entry.expires_at for entry in policy.allowed if entry.expires_at is not None and entry.in_force(now)]
    return PolicyView(
        namespace=policy.key.namespace,
        name=policy.key.name,
        service=policy.service.name,
        ready=is_true(policy.status, ConditionType.READY),
        deviating=tuple(_deviating(policy.status.get("conditions") or ())),
        next_expiry=min(expiries).timestamp() if expiries else None,
        last_drifts=tuple((str(effect), time.timestamp()) for effect, time in drifts.items()),
        planned_writes=len(policy.status.get("plan") or ()) if policy.mode is Mode.AUDIT else None,
    )


def _deviating(conditions: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Types, statuses and reasons from our own closed lists: whoever may write status could think of any number."""
    for condition in conditions:
        type, status, reason = condition["type"], condition["status"], condition.get("reason")
        if type in OTHER_CONDITIONS and (status == Status.TRUE) == (type in ABNORMAL_TRUE):
            known = str(reason) if reason in REASONS else UNKNOWN_REASON
            yield str(type), str(status) if status in STATUSES else str(Status.UNKNOWN), known
