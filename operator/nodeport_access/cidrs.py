"""Address sets: what a list of CIDRs with exceptions admits, and the CIDRs that say exactly that.

An `ipBlock` may carry `except`, but engines pool the exceptions of one rule, or refuse overlapping elements. So the
allowed addresses are computed here as a set, and leave it as the fewest disjoint CIDRs, without exceptions.

Not its business: which entry has expired, which ports belong to which set, what a policy or a Service looks like.
No clock, no client, no knowledge of Kubernetes objects beyond the spelling of a CIDR and of an IP family.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain
from operator import itemgetter
from typing import ClassVar, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

_Interval: TypeAlias = tuple[int, int]  # first and last address, both inside
_Intervals: TypeAlias = tuple[_Interval, ...]  # ascending, disjoint, never adjacent: one spelling for one set

_SHAPE = re.compile(r"[0-9A-Fa-f.:]+/(?:0|[1-9][0-9]{0,2})")
_first = itemgetter(0)


class Family(StrEnum):
    """An IP family, spelled as in `spec.ipFamilies` of the Service API."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


def parse_network(text: str) -> Network:
    """Return the network that `text` names: an address, a slash, a prefix length in decimal, no host bits.

    The rule is CEL's `isCIDR` and canonical form together, so bare addresses, netmasks, leading zeros and zones are
    refused, and any case or abbreviation of IPv6 is taken. An IPv4-mapped IPv6 network is just an IPv6 network.

    Raises:
        ValueError: one sentence with the text, and with the canonical form where only host bits are in the way.
    """
    network = _parsed(text, strict=True)
    if network is not None:
        return network
    canonical = _parsed(text, strict=False)
    if canonical is not None:
        raise ValueError(f"{text!r} has bits set beyond its prefix length; the canonical form is {canonical}")
    raise ValueError(f"{text!r} is not a CIDR such as 192.0.2.0/24 or 2001:db8::/32")


def _parsed(text: str, *, strict: bool) -> Network | None:
    if not _SHAPE.fullmatch(text):
        return None
    try:
        return IPv6Network(text, strict=strict) if ":" in text else IPv4Network(text, strict=strict)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, repr=False)
class AddressSet:
    """An immutable set of IPv4 and IPv6 addresses; equal sets compare and hash equal, however they were made.

    Make one by `of`, `from_texts`, `everyone` or `union`: the constructor trusts its intervals to be ascending,
    disjoint and not adjacent. Every operation is linear in the number of intervals, or better.
    """

    EMPTY: ClassVar[AddressSet]

    _ipv4: _Intervals = ()
    _ipv6: _Intervals = ()

    @classmethod
    def of(cls, *networks: Network) -> AddressSet:
        """Return the addresses that are inside any of `networks`, which may overlap and come in any order."""
        ipv4: list[_Interval] = []
        ipv6: list[_Interval] = []
        for network in networks:
            (ipv4 if network.version == 4 else ipv6).append(_interval(network))
        return cls(_merged(ipv4), _merged(ipv6))

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> AddressSet:
        """Return the addresses that are inside any of the CIDRs. Raises ValueError as `parse_network` does."""
        return cls.of(*map(parse_network, texts))

    @classmethod
    def everyone(cls, families: Iterable[Family]) -> AddressSet:
        """Return every address of `families`."""
        return cls.union(*(_WHOLE[family] for family in families))

    @classmethod
    def union(cls, *parts: AddressSet) -> AddressSet:
        """Return the union of any number of sets in one pass; a chain of `|` over n sets takes n passes."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            _merged(chain.from_iterable(part._ipv4 for part in parts)),
            _merged(chain.from_iterable(part._ipv6 for part in parts)),
        )

    def __or__(self, other: AddressSet) -> AddressSet:
        return AddressSet.union(self, other)

    def __sub__(self, other: AddressSet) -> AddressSet:
        return AddressSet(_without(self._ipv4, other._ipv4), _without(self._ipv6, other._ipv6))

    def __and__(self, other: AddressSet) -> AddressSet:
        return self - (self - other)

    def __bool__(self) -> bool:
        return bool(self._ipv4 or self._ipv6)

    def __contains__(self, address: Address) -> bool:
        value = int(address)
        return _reach(self._ipv4 if address.version == 4 else self._ipv6, value) >= value

    def __le__(self, other: AddressSet) -> bool:
        return self.issubset(other)

    def __repr__(self) -> str:
        return f"AddressSet.from_texts({list(self.texts())!r})"

    def issubset(self, other: AddressSet) -> bool:
        """Tell whether every address of this set is in `other`; the empty set is a subset of every set."""
        return _all_inside(self._ipv4, other._ipv4) and _all_inside(self._ipv6, other._ipv6)

    def overlaps(self, other: AddressSet) -> bool:
        """Tell whether at least one address is in both sets."""
        return _any_shared(self._ipv4, other._ipv4) or _any_shared(self._ipv6, other._ipv6)

    def restricted_to(self, families: Collection[Family]) -> AddressSet:
        """Return the addresses of this set that belong to one of `families`."""
        return AddressSet(
            self._ipv4 if Family.IPV4 in families else (),
            self._ipv6 if Family.IPV6 in families else (),
        )

    def networks(self) -> tuple[Network, ...]:
        """Return the fewest CIDRs that hold exactly this set: disjoint, ascending, IPv4 before IPv6.

        The count can far exceed that of the input: leaving one address out of a /8 takes 24 CIDRs, out of ::/0 128.
        """
        return (
            *(IPv4Network((first, 32 - bits)) for first, bits in _blocks(self._ipv4)),
            *(IPv6Network((first, 128 - bits)) for first, bits in _blocks(self._ipv6)),
        )

    @functools.lru_cache(maxsize=8)  # noqa: B019 - as with texts: asked for often, of a few sets
    def count(self) -> int:
        """Return how many `networks()` there are, without making them."""
        return sum(1 for _ in chain(_blocks(self._ipv4), _blocks(self._ipv6)))

    @functools.lru_cache(maxsize=8)  # noqa: B019 - asked for several times in a pass; the eight sets it keeps are values
    def texts(self) -> tuple[str, ...]:
        """Return `networks()` in the spelling of `ipBlock.cidr`; `from_texts` of it gives this set back."""
        return (
            *(f"{IPv4Address(first)!s}/{32 - bits}" for first, bits in _blocks(self._ipv4)),
            *(f"{IPv6Address(first)!s}/{128 - bits}" for first, bits in _blocks(self._ipv6)),
        )


AddressSet.EMPTY = AddressSet()

_WHOLE: dict[Family, AddressSet] = {
    Family.IPV4: AddressSet(_ipv4=((0, (1 << 32) - 1),)),
    Family.IPV6: AddressSet(_ipv6=((0, (1 << 128) - 1),)),
}


def admitted(cidr: Network, excepts: Iterable[Network]) -> AddressSet:
    """Return the addresses of `cidr` that are in none of `excepts`.

    The rule is that of `ipBlock` in the NetworkPolicy API. An exception outside `cidr`, or of the other family, which
    the API would refuse, takes nothing away.
    """
    return AddressSet.of(cidr) - AddressSet.of(*excepts)


def lies_inside(inner: Network, outer: Network) -> bool:
    """Tell whether every address of `inner` is in `outer`; networks of different families never are."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # both are of one family


def _interval(network: Network) -> _Interval:
    first = int(network.network_address)
    return first, first + (1 << (network.max_prefixlen - network.prefixlen)) - 1


def _merged(intervals: Iterable[_Interval]) -> _Intervals:
    """Return the one ascending, disjoint, non-adjacent spelling of the union of `intervals`."""
    merged: list[_Interval] = []
    reach = -2  # below address 0, and not adjacent to it
    for first, last in sorted(intervals):
        if first > reach + 1:
            merged.append((first, last))
            reach = last
        elif last > reach:
            merged[-1] = (merged[-1][0], last)
            reach = last
    return tuple(merged)


def _blocks(intervals: _Intervals) -> Iterator[tuple[int, int]]:
    """Yield the CIDRs of `intervals`, each by its first address and the number of bits behind its prefix: the largest
    that fits where the one before ended."""
    for first, last in intervals:
        while first <= last:
            bits = (last - first + 1).bit_length() - 1
            if first:
                bits = min(bits, (first & -first).bit_length() - 1)
            yield first, bits
            first += 1 << bits


def _without(kept: _Intervals, taken: _Intervals) -> _Intervals:
    if not taken:
        return kept
    left: list[_Interval] = []
    index = 0
    for first, last in kept:
        while index < len(taken) and taken[index][0] <= last:
            start, end = taken[index]
            if start > first:
                left.append((first, start - 1))
            first = max(first, end + 1)
            if end > last:
                break  # it may reach into the next interval too
            index += 1
        if first <= last:
            left.append((first, last))
    return tuple(left)


def _reach(intervals: _Intervals, value: int) -> int:
    """Return the last address of the nearest interval that starts at `value` or below; -1 where there is none."""
    index = bisect_right(intervals, value, key=_first)
    return intervals[index - 1][1] if index else -1


def _all_inside(inner: _Intervals, outer: _Intervals) -> bool:
    return all(_reach(outer, first) >= last for first, last in inner)


def _any_shared(one: _Intervals, other: _Intervals) -> bool:
    few, many = sorted((one, other), key=len)
    return any(_reach(many, last) >= first for first, last in few)
