"""Ends of tasks and sockets, so that nothing of them is left to the garbage collector.

Not its business: what they are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection
from typing import Any
from weakref import WeakSet

import aiohttp

_SECONDS = 5.0  # for what takes milliseconds


class Sockets:
    """Sockets whose transports are out of reach: aiohttp forgets a TLS connection when it begins to close it, and then
    its end waits for the other side.
    """

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def create(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """A new one; for aiohttp.TCPConnector(socket_factory=...)."""
        family, kind, protocol, *_ = address
        created = socket.socket(family, kind, protocol)
        self.add(created)
        return created

    def add(self, other: socket.socket) -> None:
        self._sockets.add(other)

    async def shut(self) -> None:
        """Break all connections, and wait until their transports have noticed and closed them."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):  # not connected, or not any more
                each.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(_SECONDS):
            while any(each.fileno() >= 0 for each in list(self._sockets)):  # noqa: ASYNC110 - no transport tells of its end
                await asyncio.sleep(0.001)


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, and wait until they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_SECONDS)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # looked at, or asyncio complains that nobody did
