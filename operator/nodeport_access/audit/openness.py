"""How open a way in is: one of four ranks, worst first.

Not the business of this module: which addresses get in (``reaching``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from nodeport_access.cidrs import AddressSet, Family


class Openness(StrEnum):
    """The ranks, worst first; each is also what ``--fail-on`` calls it."""

    OPEN = "open"
    PERHAPS = "perhaps"
    LISTED = "listed"
    NOBODY = "nobody"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return tuple(Openness).index(self)

    @property
    def sentence(self) -> str:
        """What it means."""
        return _SENTENCES[self]


_SENTENCES = {
    Openness.OPEN: "Everyone gets in.",
    Openness.PERHAPS: "Everyone gets in if what is not known here turns out so.",
    Openness.LISTED: "Listed addresses get in.",
    Openness.NOBODY: "Nobody from outside gets in.",
}

_WORLD = {
    Family.IPV4: AddressSet.from_texts(["0.0.0.0/0"]),
    # All that is routed on the Internet: RFC 4291 and the IANA registry of IPv6 unicast addresses.
    Family.IPV6: AddressSet.from_texts(["2000::/3"]),
}


def open_families(addresses: AddressSet) -> tuple[Family, ...]:
    """The families of which more than half of the world is in it. Not only those that are in it whole: everyone except
    for one range is no list."""
    return tuple(
        family for family in Family if 2 * _size(addresses & _WORLD[family], family) > _size(_WORLD[family], family)
    )


def openness(*, surely: AddressSet, perhaps: AddressSet) -> Openness:
    """The rank of a way by which these get in."""
    if open_families(surely):
        return Openness.OPEN
    if open_families(perhaps):
        return Openness.PERHAPS
    return Openness.LISTED if perhaps else Openness.NOBODY


def worst(found: Iterable[Openness]) -> Openness:
    """The worst of them; nobody, where there is none."""
    return min(found, key=lambda one: one.rank, default=Openness.NOBODY)


def _size(addresses: AddressSet, family: Family) -> int:
    return sum(network.num_addresses for network in addresses.restricted_to([family]).networks())
