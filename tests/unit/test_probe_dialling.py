"""One dial, over real sockets on loopback: what the kernel says, and what a probe makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from nodeport_access.probe.attempts import Attempt, Result
from nodeport_access.probe.dialling import Dialling, can_bind, dial
from nodeport_access.probe.plans import Protocol, Target
from tests.unit.probes import plan

LOOPBACK = ip_address("127.0.0.1")
PAYLOAD = b"anybody there?"


def dialled(port: int, protocol: Protocol, *, timeout: float = 2.0, source: str = "") -> Attempt:
    """What becomes of one dial to this port of loopback."""
    where: Target = replace(plan().targets[0], address=LOOPBACK, port=port, protocol=protocol)
    sources = {4: ip_address(source)} if source else {}
    return asyncio.run(dial(where, Dialling(timeout=timeout, payload=PAYLOAD, sources=sources)))


@contextlib.contextmanager
def bound(kind: socket.SocketKind) -> Iterator[tuple[socket.socket, int]]:
    """A socket on a free port of loopback."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((str(LOOPBACK), 0))
        yield sock, sock.getsockname()[1]


def free_port(kind: socket.SocketKind) -> int:
    """A port that nobody has; the kernel hands them out in turn, so it stays free for a while."""
    with bound(kind) as (_, port):
        return port


def test_a_handshake_over_tcp_is_in_whatever_is_said_afterwards() -> None:
    with bound(socket.SOCK_STREAM) as (server, port):
        server.listen()
        attempt = dialled(port, Protocol.TCP)
    assert (attempt.result, attempt.source, attempt.error) == (Result.IN, LOOPBACK, "")


def test_a_reset_is_refused() -> None:
    attempt = dialled(free_port(socket.SOCK_STREAM), Protocol.TCP)
    assert (attempt.result, attempt.error) == (Result.REFUSED, "Connection refused")


def test_a_port_that_takes_nobody_is_silent() -> None:
    with bound(socket.SOCK_STREAM) as (server, port), contextlib.ExitStack() as clients:
        server.listen(0)
        for _ in range(2):  # the queue is full then, and the kernel drops who knocks
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((str(LOOPBACK), port))
        attempt = dialled(port, Protocol.TCP, timeout=0.1)
    assert (attempt.result, attempt.source) == (Result.SILENT, LOOPBACK)


def test_an_answer_over_udp_is_in() -> None:
    with bound(socket.SOCK_DGRAM) as (server, port):
        seen: list[bytes] = []

        def echo() -> None:
            data, client = server.recvfrom(4096)
            seen.append(data)
            server.sendto(data, client)

        thread = threading.Thread(target=echo)
        thread.start()
        attempt = dialled(port, Protocol.UDP)
        thread.join(5)
    assert (attempt.result, attempt.source, seen) == (Result.IN, LOOPBACK, [PAYLOAD])


def test_no_answer_over_udp_is_silence() -> None:
    with bound(socket.SOCK_DGRAM) as (_, port):
        assert dialled(port, Protocol.UDP, timeout=0.1).result is Result.SILENT


def test_icmp_tells_of_a_closed_port_over_udp() -> None:
    attempt = dialled(free_port(socket.SOCK_DGRAM), Protocol.UDP)
    assert (attempt.result, attempt.error) == (Result.REFUSED, "Connection refused")


def held_up(port: int, protocol: Protocol) -> Attempt:
    """What becomes of a dial when its process gets no time of the machine until long after its timeout."""

    async def hold_up() -> Attempt:
        where: Target = replace(plan().targets[0], address=LOOPBACK, port=port, protocol=protocol)
        dialling = asyncio.create_task(dial(where, Dialling(timeout=0.05, payload=PAYLOAD)))
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is what has to stand still
        return await dialling

    return asyncio.run(hold_up())


def test_an_answer_that_came_while_this_process_stood_still_is_no_silence() -> None:
    with bound(socket.SOCK_DGRAM) as (server, port):
        thread = threading.Thread(target=lambda: server.sendto(*server.recvfrom(4096)))
        thread.start()
        over_udp = held_up(port, Protocol.UDP)
        thread.join(5)
    with bound(socket.SOCK_STREAM) as (server, port):
        server.listen()
        over_tcp = held_up(port, Protocol.TCP)
    assert (over_udp.result, over_tcp.result) == (Result.IN, Result.IN)


def test_silence_and_refusals_while_this_process_stood_still_are_told_as_ever() -> None:
    with bound(socket.SOCK_DGRAM) as (_, port):
        assert held_up(port, Protocol.UDP).result is Result.SILENT
    assert held_up(free_port(socket.SOCK_DGRAM), Protocol.UDP).result is Result.REFUSED
    assert held_up(free_port(socket.SOCK_STREAM), Protocol.TCP).result is Result.REFUSED


@pytest.mark.parametrize("protocol", Protocol)
def test_it_dials_under_the_source_that_is_asked_for(protocol: Protocol) -> None:
    kind = socket.SOCK_STREAM if protocol is Protocol.TCP else socket.SOCK_DGRAM
    attempt = dialled(free_port(kind), protocol, source="127.0.0.77")
    assert (attempt.result, attempt.source) == (Result.REFUSED, ip_address("127.0.0.77"))


@pytest.mark.parametrize("protocol", Protocol)
def test_what_cannot_be_sent_is_no_answer_of_the_network(protocol: Protocol) -> None:
    attempt = dialled(1, protocol, source="192.0.2.1")
    assert (attempt.result, attempt.source) == (Result.FAILED, None)
    assert attempt.error == "Cannot assign requested address"


def test_only_an_address_of_this_machine_can_be_a_source() -> None:
    assert can_bind(LOOPBACK)
    assert not can_bind(ip_address("192.0.2.1"))
