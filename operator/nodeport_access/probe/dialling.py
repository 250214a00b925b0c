"""One dial to one target, over a socket of its own.

Each dial has a port of the kernel's choice, so that it is a new connection to conntrack. Not the business of this
module: how many dials there are and when (``pacing``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from nodeport_access.cidrs import Address
from nodeport_access.probe.attempts import Attempt, Result
from nodeport_access.probe.plans import Protocol, Target

_REFUSED = frozenset({errno.ECONNREFUSED, errno.ECONNRESET})
_UNREACHABLE = frozenset(
    {
        errno.EACCES,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EPROTO,
    }
)
"""What ICMP and ICMPv6 come to (net/ipv4/icmp.c, icmp_err_convert; net/ipv6/icmp.c, icmpv6_err_convert)."""

_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialling:
    """How to dial. timeout: seconds to wait for an answer. payload: what is sent over UDP. sources: addresses of this
    machine to dial under, by IP version (4, 6)."""

    timeout: float
    payload: bytes
    sources: Mapping[int, Address] = field(default_factory=dict)


async def dial(target: Target, how: Dialling) -> Attempt:
    """Dials once. Cancelled, it leaves no socket behind."""
    with _opened(target) as sock:
        steps = _Steps()
        try:
            async with _timeout(how.timeout):
                await _reach(sock, target, how, steps)
            result, error = Result.IN, ""
        except TimeoutError:
            result, error = Result.SILENT, ""
        except OSError as refusal:
            result, error = _result(refusal, sent=steps.sent), os.strerror(refusal.errno or 0)
        return Attempt(result=result, source=_source(sock), error=error)


def can_bind(address: Address) -> bool:
    """Whether this machine has the address."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((str(address), 0))
        except OSError:
            return False
        return True


@dataclass(slots=True)
class _Steps:
    """``sent``: the machine has a way to the target, so that what comes later comes from the network."""

    sent: bool = False


def _opened(target: Target) -> socket.socket:
    kind = socket.SOCK_STREAM if target.protocol is Protocol.TCP else socket.SOCK_DGRAM
    sock = socket.socket(_family(target.address), kind)
    sock.setblocking(False)
    if target.protocol is Protocol.UDP and sys.platform == "linux":
        # Without it a datagram's sender hears of "port unreachable" alone, of all that ICMP says (ip(7), IP_RECVERR).
        if target.address.version == 4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    return sock


@contextlib.asynccontextmanager
async def _timeout(seconds: float) -> AsyncIterator[None]:
    """As ``asyncio.timeout``, but what has come by then counts. On a busy machine the process may stand still from
    before the answer until after the timeout, and sees both in one turn of the loop: so the timeout takes the next."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(seconds, lambda: limit.reschedule(loop.time()))
        try:
            yield
        finally:
            timer.cancel()


async def _reach(sock: socket.socket, target: Target, how: Dialling, steps: _Steps) -> None:
    """Raises OSError for whatever does not get in."""
    loop = asyncio.get_running_loop()
    source, address = how.sources.get(target.address.version), (str(target.address), target.port)
    if target.protocol is Protocol.TCP:
        _see_a_route(target, source)
        steps.sent = True
        _bind(sock, source)
        await loop.sock_connect(sock, address)
        return
    _bind(sock, source)
    await loop.sock_connect(sock, address)
    await loop.sock_sendall(sock, how.payload)
    steps.sent = True
    await loop.sock_recv(sock, 1)


def _see_a_route(target: Target, source: Address | None) -> None:
    """Raises OSError where this machine itself has no way to the target: over TCP the network may say the same in the
    same words, and before connect returns. Connecting a datagram socket sends nothing."""
    with socket.socket(_family(target.address), socket.SOCK_DGRAM) as sock:
        _bind(sock, source)
        sock.connect((str(target.address), target.port))


def _bind(sock: socket.socket, source: Address | None) -> None:
    if source is not None:
        sock.bind((str(source), 0))


def _result(refusal: OSError, *, sent: bool) -> Result:
    """Before anything is sent, the machine itself uses the words of ICMP, as where it has no route."""
    if not sent:
        return Result.FAILED
    if refusal.errno in _REFUSED:
        return Result.REFUSED
    if refusal.errno in _UNREACHABLE:
        return Result.UNREACHABLE
    return Result.SILENT if refusal.errno == errno.ETIMEDOUT else Result.FAILED


def _source(sock: socket.socket) -> Address | None:
    """The address that the kernel has chosen, none where it has no way to the target."""
    address = ip_address(sock.getsockname()[0])
    return None if address.is_unspecified else address


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
