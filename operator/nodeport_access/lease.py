"""What the Lease says by which replicas elect their leader, and what is to be written there: bodies in, bodies out.

The semantics are those of client-go's ``tools/leaderelection``, with two differences. Durations outside of sane bounds,
which anybody who may write the Lease can put there, are not believed. And a Lease without a holder is nobody's only
where its holder has released it: else somebody may have taken his name off, who does not know of it yet.

Not the business of this module: when it is read and written (``election``), and what it means for writes (``tenure``).

Source: Kubernetes API reference, Lease of coordination.k8s.io/v1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nodeport_access.api import Body
from nodeport_access.kube import LEASES
from nodeport_access.tenure import LEASE_SECONDS
from nodeport_access.wall_clock import micro_time

NAME = "nodeport-access-operator"
LONGEST_SECONDS = 60.0
"""The most that a holder is waited for, whatever duration the Lease names."""
RELEASED_SECONDS = 1
"""By this duration, no holder, and one time for both of its times, client-go's election releases a lease, and so does
ours. Who only takes off the holder's name has released nothing."""
MOST_TRANSITIONS = 2**31 - 1
"""The API server refuses what does not fit into an int32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a Lease says. ``holder`` is empty where nobody is named; ``seconds`` is what its holder is waited for, from
    when the Lease was last seen to change; ``acquired`` is empty where it is not known."""

    holder: str
    seconds: float
    released: bool
    transitions: int
    acquired: str


def record_of(lease: Body) -> Record:
    """Reads a Lease, whatever stands in it."""
    spec: Body = lease.get("spec") or {}
    holder, acquired = str(spec.get("holderIdentity") or ""), str(spec.get("acquireTime") or "")
    seconds = _number(spec.get("leaseDurationSeconds"))
    return Record(
        holder=holder,
        seconds=min(max(float(seconds), LEASE_SECONDS), LONGEST_SECONDS),
        released=not holder and seconds == RELEASED_SECONDS and acquired != "" and acquired == spec.get("renewTime"),
        transitions=_number(spec.get("leaseTransitions")),
        acquired=acquired,
    )


def _number(value: object) -> int:
    return max(0, value) if isinstance(value, int) else 0


def unheld(*, namespace: str) -> Body:
    """A new Lease, of nobody: whoever wants it has to see it unchanged for its whole duration first, as there may have
    been another that somebody deleted, and whose holder does not know of that yet."""
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"leaseDurationSeconds": int(LEASE_SECONDS), "leaseTransitions": 0},
    }


def held(lease: Body, *, by: str, now: datetime) -> Body:
    """The Lease as it was seen, taken or renewed by a holder; it can be written over that version only."""
    before, time = record_of(lease), micro_time(now)
    stays = before.holder == by
    return {
        **lease,
        "spec": {
            "holderIdentity": by,
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "acquireTime": (stays and before.acquired) or time,
            "renewTime": time,
            "leaseTransitions": before.transitions if stays else min(before.transitions + 1, MOST_TRANSITIONS),
        },
    }


def released(lease: Body, *, now: datetime) -> Body:
    """The Lease as it was seen, given back by its holder: anybody may take it at once."""
    time = micro_time(now)
    return {
        **lease,
        "spec": {
            "holderIdentity": "",
            "leaseDurationSeconds": RELEASED_SECONDS,
            "acquireTime": time,
            "renewTime": time,
            "leaseTransitions": record_of(lease).transitions,
        },
    }
