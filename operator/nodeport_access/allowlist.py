"""``spec.allowedCIDRs`` as it was read: its entries, and whom they admit at an instant.

Not the business of this module: how an entry is read (``policy_body``), which ports of a Service a reference stands
for, and what is emitted (``desired``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from nodeport_access.cidrs import AddressSet, Network, admitted

PortRef = str | int
"""A Service port's name or number, as a policy's ``ports`` holds it."""

Admitted = Mapping[tuple[PortRef, ...], AddressSet]
"""Who comes in, by the references to ports; none of them means every port of the Service."""

BEGINNING, END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCIDR:
    """One entry of ``spec.allowedCIDRs``; ``ports`` empty means every port of the Service."""

    cidr: Network
    excepts: tuple[Network, ...] = ()
    ports: tuple[PortRef, ...] = ()
    expires_at: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        """An entry ends at ``expiresAt`` itself: at that instant it no longer admits."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Period:
    """From ``since`` until just before ``until`` the same entries are in force."""

    since: datetime
    until: datetime
    admitted: Admitted


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class Allowlist:
    """All entries that could be read, and ``problems``, what could not.

    It remembers whom it admits in the period that was asked for last, because a pass asks many times; when it goes,
    that goes too.
    """

    entries: tuple[AllowedCIDR, ...] = ()
    problems: tuple[str, ...] = ()
    _last: list[_Period] = field(default_factory=list, init=False, repr=False, compare=False)

    def admitted(self, now: datetime) -> Admitted:
        """What each entry in force allows and does not except. An address that one excepts may come in by another."""
        if not self._last or not self._last[0].since <= now < self._last[0].until:
            self._last[:] = [self._period(now)]
        return self._last[0].admitted

    def _period(self, now: datetime) -> _Period:
        parts: defaultdict[tuple[PortRef, ...], list[AddressSet]] = defaultdict(list)
        for entry in self.entries:
            if entry.in_force(now):
                parts[entry.ports].append(admitted(entry.cidr, entry.excepts))
        ends = [entry.expires_at for entry in self.entries if entry.expires_at is not None]
        return _Period(
            since=max((end for end in ends if end <= now), default=BEGINNING),
            until=min((end for end in ends if now < end), default=END),
            admitted={ports: AddressSet.union(*sets) for ports, sets in parts.items()},
        )
