"""One connection from a namespace to an address, and what became of it.

Refused is whatever did not get in: a reset, an ICMP answer, or silence, which is what most set-ups give. So a dial that
expects nothing waits its whole time; dial many at once.

Not its business: what should have become of it.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from testbed.lab.backends import Backends
from testbed.lab.namespaces import Namespace

_numbers = itertools.count(1)

# A packet from a port that was used before, to the same address, belongs to the connection from then for as long as
# conntrack remembers it, refused or not: up to 120 s. It goes the way that was open then. A dial is to be a new
# connection. The kernel gives ports out again within half a minute; in turn they last longer.
_ports: defaultdict[tuple[str, str], Iterator[int]] = defaultdict(lambda: itertools.cycle(range(20000, 60001)))


class Protocol(StrEnum):
    """What is spoken, in the API's words."""

    TCP = "TCP"
    UDP = "UDP"


class Fate(StrEnum):
    """What became of one connection."""

    THROUGH = "through"
    ONE_WAY = "one way"
    """It got in, and no answer came back."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one connection, and which address the pod saw where it got in."""

    fate: Fate
    source: str = ""
    pod: str = ""

    def __str__(self) -> str:
        return f"{self.fate} as {self.source}" if self.source else str(self.fate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """To whom, how, and from where if not from anywhere. `tos`: see `testbed.lab.topology.Node`."""

    address: str
    port: int
    protocol: Protocol = Protocol.TCP
    tos: int = 0
    source: str = ""
    source_port: int = 0


async def dial(request: Dial, *, origin: Namespace, backends: Backends, seconds: float) -> Outcome:
    """Dial once, and wait for an answer for at most so long."""
    token = f"t{next(_numbers)}"
    with opened(request, origin) as sock:
        answered = await _answered(sock, request, token, seconds)
    arrival = backends.arrivals.pop(token, None)
    if arrival is None:
        return Outcome(Fate.REFUSED)
    return Outcome(Fate.THROUGH if answered else Fate.ONE_WAY, source=arrival.source, pod=arrival.pod)


def opened(request: Dial, origin: Namespace) -> socket.socket:
    """A socket for this dial, not connected yet."""
    ipv6 = ip_address(request.address).version == 6
    kind = socket.SOCK_STREAM if request.protocol is Protocol.TCP else socket.SOCK_DGRAM
    made = origin.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind)
    if ipv6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, request.tos)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, request.tos)
    made.bind((request.source, request.source_port or next(_ports[origin.name, request.protocol])))
    return made


async def ask(sock: socket.socket, request: Dial, token: str) -> bytes:
    """Send a token over a connected socket, and wait for what the pod says. Raises OSError; empty: it was closed."""
    loop = asyncio.get_running_loop()
    words = f"GET /{token} HTTP/1.1\r\n\r\n" if request.protocol is Protocol.TCP else token
    await loop.sock_sendall(sock, words.encode())
    return await loop.sock_recv(sock, 4096)


async def _answered(sock: socket.socket, request: Dial, token: str, seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            await loop.sock_connect(sock, (request.address, request.port))
            return bool(await ask(sock, request, token))
    except (TimeoutError, OSError):
        return False
