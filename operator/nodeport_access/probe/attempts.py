"""What became of one dial, and what all of them are bounded by: types alone.

Not the business of this module: dialling (``dialling``), and what it means (``judging``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nodeport_access.cidrs import Address


class Result(StrEnum):
    """What became of one dial, as the dialling machine sees it."""

    IN = "in"
    """TCP: the handshake was completed. UDP: an answer came."""
    REFUSED = "refused"
    """A reset, or ICMP: port unreachable."""
    UNREACHABLE = "unreachable"
    """ICMP: the host or its network cannot be reached, or it is forbidden; also a neighbour that nobody answers for."""
    SILENT = "no answer"
    """Nothing came back in time."""
    FAILED = "failed"
    """Nothing could be sent from this machine, as where it has no route."""
    CUT_OFF = "cut off"
    """The time limit for the whole probe came before an answer."""
    NOT_DIALLED = "not dialled"
    """The time limit came before its turn."""

    @property
    def is_out(self) -> bool:
        """It was sent, and did not get in."""
        return self in (Result.REFUSED, Result.UNREACHABLE, Result.SILENT)

    @property
    def tells_nothing(self) -> bool:
        """Neither in nor out."""
        return self in (Result.FAILED, Result.CUT_OFF, Result.NOT_DIALLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One dial. source: the address that this machine dialled under, None where it had none. began: seconds since the
    probe began; seconds: how long it took; both None for what was not dialled. error: what the kernel said."""

    result: Result
    source: Address | None = None
    began: float | None = None
    seconds: float | None = None
    error: str = ""


NOT_DIALLED = Attempt(result=Result.NOT_DIALLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """attempts: dials of each target. rate: dials a second. timeout: seconds for one, time_limit: for all."""

    attempts: int
    rate: float
    timeout: float
    time_limit: float

    def seconds(self, targets: int) -> float:
        """How long it takes at least until the last dial is begun."""
        return (targets * self.attempts - 1) / self.rate
