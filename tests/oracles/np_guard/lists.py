"""What netpol-analyzer is expected to list for a folder: lines of the form `source => destination : connections`.

Not its business: the folder itself (`folders`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from nodeport_access.cidrs import Address

PROTOCOLS = ("TCP", "UDP")
CONTROLLER = "{ingress-controller}"
EVERY_PORT = ((1, 65535),)

Ranges = tuple[tuple[int, int], ...]
Connections = Mapping[str, Ranges]
"""Ports by protocol, as ranges of first and last."""

NONE: Connections = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Workloads are "namespace/name[Kind]", what is outside is a range of addresses."""

    source: str
    destination: str
    connections: Connections


def parse(text: str) -> Iterator[Line]:
    """The lines of an output as text. Raises ValueError for one that is no list."""
    for each in filter(None, (line.strip() for line in text.splitlines())):
        found = re.fullmatch(r"(\S+) => (\S+) : (.+)", each)
        if found is None:
            raise ValueError(f"not a line of a list: {each}")
        yield Line(source=found[1], destination=found[2], connections=_connections(found[3]))


def _connections(text: str) -> Connections:
    """Such as `All Connections` or `TCP 8080,9000-9010,UDP 53`."""
    if text == "All Connections":
        return dict.fromkeys(PROTOCOLS, EVERY_PORT)
    found: dict[str, Ranges] = {}
    protocol = ""
    for part in text.split(","):
        word, _, ports = part.rpartition(" ")
        protocol = word or protocol
        first, _, last = ports.partition("-")
        found[protocol] = (*found.get(protocol, ()), (int(first), int(last or first)))
    return found


def admitted(connections: Connections, *, protocol: str, port: int) -> bool:
    """Whether a port is among them."""
    return any(first <= port <= last for first, last in connections.get(protocol, ()))


def boundaries(many: Iterable[Connections]) -> set[int]:
    """The ports at and beside every end of a range."""
    ends = {
        value + step
        for each in many
        for ranges in each.values()
        for pair in ranges
        for value in pair
        for step in (-1, 0, 1)
    }
    return {port for port in ends if 1 <= port <= 65535}


def is_range(name: str) -> bool:
    """Whether this is a range of addresses, and no workload."""
    return re.fullmatch(r"[0-9.]+-[0-9.]+", name) is not None


def ends(name: str) -> tuple[IPv4Address, IPv4Address]:
    """First and last address of a range."""
    first, _, last = name.partition("-")
    return IPv4Address(first), IPv4Address(last)


def holds(name: str, address: Address) -> bool:
    """Whether an address is in a range."""
    first, last = ends(name)
    return isinstance(address, IPv4Address) and first <= address <= last
