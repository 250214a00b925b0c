"""The proxy as a server: listening, and the connections with clients.

A client gets an answer from the API server or from a fault, and otherwise none: its connection is closed, as if nobody
listened. The listener is our own and not aiohttp's, because connections in their handshake must be broken too.

Not its business: what is answered (`exchange`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import aiohttp
from aiohttp import web

from testbed.fault_proxy.closing import Sockets
from testbed.fault_proxy.exchange import Exchange
from testbed.fault_proxy.faults import ConnectionCut
from testbed.fault_proxy.injection import Trouble
from testbed.fault_proxy.upstream import Upstream


class Server:
    """Serves one port of 127.0.0.1 while it is open."""

    def __init__(self, *, port: int, tls: ssl.SSLContext, trouble: Trouble, upstream: Upstream) -> None:
        self.crashes: list[Exception] = []
        """Faults of the proxy that nobody injected."""
        self._port = port
        self._tls = tls
        self._trouble = trouble
        self._upstream = upstream
        self._http = web.Server(self._handle, handler_cancellation=True, access_log=None, auto_decompress=False)
        self._listener: socket.socket | None = None
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sockets = Sockets()

    async def open(self) -> None:
        """Listen. Raises OSError."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def close(self) -> None:
        """Listen no more, and break every connection, at once. It may be opened again."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._sockets.shut()

    def _accept(self, listener: socket.socket) -> None:
        # Not by a task with `sock_accept`: one that is cancelled as a client arrives loses the socket.
        try:
            connection, _ = listener.accept()
        except OSError:  # the client has left already
            return
        connection.setblocking(False)
        self._sockets.add(connection)
        handshake = asyncio.create_task(self._shake_hands(connection))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the client left, or does not trust us
            await loop.connect_accepted_socket(self._http, connection, ssl=self._tls)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await request.content.read()
            exchange = Exchange(request=request, body=body, trouble=self._trouble, upstream=self._upstream)
            return await exchange.run()
        except (ConnectionCut, aiohttp.ClientError, OSError):
            pass  # a fault, or no answer, or nobody left to hear it
        except Exception as error:
            self.crashes.append(error)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
