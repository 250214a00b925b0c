"""Kubernetes Events about policies: what is worth one, and the one task that posts them, best effort.

A pass hands an Event over and goes on; what cannot be posted is counted and gone. Not the business of this module:
when something happened (``reconcile``, ``reporter``), and counting drifts (``metrics``) or keeping the last one
(``status``), neither of which ever misses one.

Sources: Kubernetes API reference, Event of events.k8s.io/v1, with the bounds that the API server holds to
(pkg/apis/core/validation/events.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from logging import Logger
from random import Random
from typing import Protocol

from nodeport_access.api import API_VERSION, GROUP, KIND, Body, Effect, Policy
from nodeport_access.complaints import Complaints
from nodeport_access.conditions import Status
from nodeport_access.kube import EVENTS, NETWORK_POLICIES, SERVICES, ApiError, Forbidden, Invalid, Resource
from nodeport_access.metrics import Metrics
from nodeport_access.outcome import Kind
from nodeport_access.plan import DELETED, OPENING, Write
from nodeport_access.status import Drift
from nodeport_access.wall_clock import micro_time

CONTROLLER = f"{GROUP}/operator"
QUEUE_LIMIT = 256
"""Events that may wait. They are posted one after another beside 16 workers, so that a storm of drifts is told of at
a small part of what its repair takes, and not for long after it."""
NOTE_LIMIT = 1024
"""Bytes of a note."""
INSTANCE_LIMIT = 128
NAME_LIMIT = 200
"""Characters of the policy's name in an Event's, of the 253 that the two may have together."""

RESOURCES: dict[Kind, Resource] = {Kind.NETWORK_POLICY: NETWORK_POLICIES, Kind.SERVICE: SERVICES}

CONSEQUENCES = {
    Effect.OPENED: "which opened access",
    Effect.DEPENDS: "which may have opened access, depending on the CNI",
    Effect.CLOSED: "which closed access",
    Effect.NONE: "which left access as it was",
}


class Type(StrEnum):
    """How much an Event matters."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is to be told about a policy. Of those with the same ``topic`` one a minute is told, without one each."""

    policy: Policy
    type: Type
    reason: str
    action: str
    note: str
    related: Body | None = None
    topic: Hashable = None


Tell = Callable[[Event], None]
"""Takes an Event, never waits and never fails."""


def drift_repaired(policy: Policy, write: Write, drift: Drift) -> Event:
    """A write has repaired what somebody else did. Of several fields of one object the worst is told, as in status."""
    what = drift.object if drift.field == DELETED else f"{drift.field} of {drift.object}"
    done, repair = ("deleted", "made again") if drift.field == DELETED else ("changed", "set back")
    who = drift.writer or "a writer whom the API does not tell"
    related = {
        "apiVersion": RESOURCES[write.kind].api_version,
        "kind": str(write.kind),
        "namespace": write.namespace,
        "name": write.name,
        **({"uid": write.uid} if write.uid else {}),
    }
    return Event(
        policy=policy,
        type=Type.WARNING if drift.effect in OPENING else Type.NORMAL,
        reason="DriftRepaired",
        action="Repair",
        note=f"{what} was {done} by {who}, {CONSEQUENCES[drift.effect]}; it is {repair}.",
        related=related,
        topic=(policy.uid, drift.object, drift.field, drift.writer),
    )


def ready_changed(policy: Policy, ready: Body) -> Event:
    """The condition Ready of a policy, which is another than before."""
    return Event(
        policy=policy,
        type=Type.NORMAL if ready["status"] == Status.TRUE else Type.WARNING,
        reason=ready["reason"],
        action="Check",
        note=ready["message"],
    )


class Creator(Protocol):
    """What posting an Event needs of the API server: ``kube.Client``."""

    async def create(self, resource: Resource, *, namespace: str | None, body: Body) -> Body:
        """Creates one object."""


class Recorder:
    """Takes Events at any time, and posts them one after another for as long as it runs; then the rest is dropped.

    ``clock`` is wall time, ``time`` monotonic seconds; ``instance`` names this process among others of its kind.
    """

    def __init__(
        self,
        *,
        client: Creator,
        metrics: Metrics,
        clock: Callable[[], datetime],
        time: Callable[[], float],
        random: Random,
        instance: str,
        log: Logger,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._instance = instance[:INSTANCE_LIMIT]
        self._log = log
        self._told = Complaints(time=time)
        self._complaints = Complaints(time=time)
        self._queue: asyncio.Queue[tuple[Event, Body]] = asyncio.Queue(QUEUE_LIMIT)

    def tell(self, event: Event) -> None:
        """Has an Event posted soon, unless the same was told within a minute, or too many wait."""
        if self._queue.full():
            self._metrics.told(outcome="dropped")
        elif event.topic is None or self._told.due(event.topic):
            self._queue.put_nowait((event, self._body(event)))

    async def run(self) -> None:
        """Posts what is told, until it is cancelled. An Event that fails is not tried again."""
        while True:
            event, body = await self._queue.get()
            try:
                await self._client.create(EVENTS, namespace=event.policy.key.namespace, body=body)
            except ApiError as error:
                self._metrics.told(outcome="failed")
                self._complain(event, error)
            else:
                self._metrics.told(outcome="posted")
                self._complaints.settle("refused")

    def _complain(self, event: Event, error: ApiError) -> None:
        """Says what only a person can mend; what passes by itself (an outage, a namespace that goes) others say."""
        mendable = isinstance(error, Invalid) or (isinstance(error, Forbidden) and not error.namespace_terminating)
        if mendable and self._complaints.due("refused"):
            self._log.warning(
                "event about policy %s not posted: %s",
                event.policy.key,
                error.message,
                extra={"namespace": event.policy.key.namespace, "policy": event.policy.key.name},
            )

    def _body(self, event: Event) -> Body:
        policy = event.policy
        name = policy.key.name[:NAME_LIMIT].rstrip("-.")  # a DNS subdomain even where it was cut
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{name}.{self._random.getrandbits(64):016x}",
                "namespace": policy.key.namespace,
            },
            "eventTime": micro_time(self._clock()),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "type": str(event.type),
            "reason": event.reason,
            "action": event.action,
            "note": cut(event.note),
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": policy.key.namespace,
                "name": policy.key.name,
                "uid": policy.uid,
            },
            **({"related": event.related} if event.related else {}),
        }


def cut(note: str) -> str:
    """The note in at most NOTE_LIMIT bytes of UTF-8, with a mark where something is missing."""
    encoded = note.encode(errors="replace")
    if len(encoded) <= NOTE_LIMIT:
        return note
    mark = "..."
    return encoded[: NOTE_LIMIT - len(mark)].decode(errors="ignore") + mark
