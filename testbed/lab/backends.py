"""Servers in pods: they tell each client, in plain HTTP or in a datagram, which address they saw, and keep a record.

    $ curl http://10.99.0.12:30080/anything
    dashboard-0 saw 10.99.0.12

A request names a token as its path, a datagram is one. The record says from which address each token came, so that it
shows what got in even where the answer did not get out.

Not its business: who may reach them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from testbed.lab.namespaces import Namespace
from testbed.lab.running_loop import RunningLoop

_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a server saw of a client: from which address, and in which pod."""

    source: str
    pod: str


class Backends:
    """All servers of the lab, and the record of what has arrived at any of them."""

    def __init__(self, running: RunningLoop) -> None:
        self._running = running
        self._stop: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}
        self.arrivals: dict[str, Arrival] = {}

    def start(self, pod: str, *, namespace: Namespace, tcp: Sequence[int], udp: Sequence[int]) -> None:
        """Serve these ports in a pod, on both families, until `stop`."""
        self._running.run(self._start(pod, namespace, tcp, udp))

    def stop(self, pod: str) -> None:
        """End a server with its open connections. Nothing happens if it has none."""
        if pod in self._stop:
            self._running.run(self._end(pod))

    def close(self) -> None:
        """End all servers. Safe to repeat."""
        for pod in list(self._stop):
            self.stop(pod)

    async def _start(self, pod: str, namespace: Namespace, tcp: Sequence[int], udp: Sequence[int]) -> None:
        loop, clients = asyncio.get_running_loop(), set[asyncio.StreamWriter]()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            clients.add(writer)
            try:
                await self._converse(pod, reader, writer)
            finally:
                clients.discard(writer)
                writer.close()

        servers: list[asyncio.Server] = []
        datagrams: list[asyncio.DatagramTransport] = []
        for family in _ANY:
            for port in tcp:
                listener = _bound(namespace, family, socket.SOCK_STREAM, port)
                servers.append(await asyncio.start_server(serve, sock=listener, backlog=1024))
            for port in udp:
                sock = _bound(namespace, family, socket.SOCK_DGRAM, port)
                transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(pod, self), sock=sock)
                datagrams.append(transport)

        def accept_no_more() -> None:
            for server in servers:
                for listening in server.sockets:
                    loop.remove_reader(listening)

        def stop() -> None:
            for server in servers:
                server.close()
            for transport in datagrams:
                transport.abort()
            for writer in clients:
                cast(asyncio.Transport, writer.transport).abort()

        self._stop[pod] = accept_no_more, stop

    async def _end(self, pod: str) -> None:
        for step in self._stop.pop(pod):
            step()
            for _ in range(5):  # the turns in which whoever was accepted becomes a client; what was aborted, closed
                await asyncio.sleep(0)

    async def _converse(self, pod: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = writer.get_extra_info("peername")[0]
        # Cancelled when the loop ends, which asyncio's server would report as a failure of the conversation.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                token = head.split(b" ", 2)[1].removeprefix(b"/").decode("ascii", "replace")
                self.arrivals[token] = Arrival(source, pod)
                body = f"{pod} saw {source}\n".encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
                if b" HTTP/1.0\r\n" in head:
                    return


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, pod: str, backends: Backends) -> None:
        self._pod, self._backends = pod, backends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # the loop's own class does not derive from it

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        source = address[0]
        self._backends.arrivals[data.decode("ascii", "replace")] = Arrival(source, self._pod)
        self._transport.sendto(f"{self._pod} saw {source}\n".encode(), address)


def _bound(namespace: Namespace, family: socket.AddressFamily, kind: socket.SocketKind, port: int) -> socket.socket:
    made = namespace.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind((_ANY[family], port))
    return made
