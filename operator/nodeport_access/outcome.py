"""What one pass over a Service comes to, as values: ``Done | Wait | Stalled | Failed``, and why a write failed.

Exceptions exist only at the edge (``kube``); from there on a failure is one of these. Not the business of this
module: which delay a retry takes (``workqueue``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from nodeport_access.reasons import Reason


class Kind(StrEnum):
    """The kinds that the operator writes, policies' status aside."""

    NETWORK_POLICY = "NetworkPolicy"
    SERVICE = "Service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A write that did not succeed; ``message`` is one sentence for status and log. A lasting one only a person can
    mend. ``retry_after`` seconds is how long the API server has asked to be left alone with it."""

    reason: Reason
    message: str
    retry_after: float = 0.0

    @property
    def lasting(self) -> bool:
        """Whether trying again soon is no use."""
        return self.reason is not Reason.APPLY_FAILED


Failures = Mapping[str, Failure]
"""Failures of the last pass by ``Write.object``."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do, until ``again`` seconds have passed where something is due then (an expiry)."""

    again: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Something is left to do: after ``delay`` seconds, or after the queue's backoff where that is None, but then not
    before ``at_least`` seconds, and after ``at_latest`` seconds where something else is due (an expiry). ``cut_off``:
    the API server did not answer, or does not know us."""

    reason: str
    delay: float | None = None
    at_latest: float | None = None
    cut_off: bool = False
    at_least: float = 0.0


@dataclass(frozen=True, slots=True)
class Stalled:
    """Only a person can go on; it is looked at again after an event, or slowly."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The operator itself is at fault, over this Service at least; it is tried again after the queue's backoff."""

    reason: str


Outcome = Done | Wait | Stalled | Failed
