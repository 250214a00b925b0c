"""One request from its arrival until its answer is out, through everything that stands in its way.

Not its business: connections with clients (`server`), and with the API server (`upstream`).
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from aiohttp import web

from testbed.fault_proxy.faults import ConnectionCut, EventFault, Reply, RequestFault, StreamFault
from testbed.fault_proxy.gates import Gate
from testbed.fault_proxy.injection import Injected, Trouble
from testbed.fault_proxy.request_info import RequestInfo
from testbed.fault_proxy.upstream import Upstream


class Exchange:
    """Request faults first, the one injected first outermost; then gates; then the API server."""

    def __init__(self, *, request: web.BaseRequest, body: bytes, trouble: Trouble, upstream: Upstream) -> None:
        url = request.rel_url
        self._info = RequestInfo.of(method=request.method, path=url.path, query=url.query, body=body)
        self._request = request
        self._body = body
        self._trouble = trouble
        self._upstream = upstream
        self._gates: list[Gate] = []
        self._asking: asyncio.Task[Reply] | None = None
        self._stream: _WatchStream | None = None

    async def run(self) -> web.StreamResponse:
        """Raises ConnectionCut, aiohttp.ClientError or OSError where the client gets no answer, or none to its end."""
        try:
            return await self._send(await self._meet(self._trouble.standing(RequestFault)))
        finally:
            if self._asking is None:
                self._settle(None)
            else:
                self._asking.add_done_callback(self._settle)

    async def _meet(self, faults: list[Injected[RequestFault]]) -> Reply:
        for number, injected in enumerate(faults, start=1):
            if injected.meets(self._info):
                return await injected.fault.meet(partial(self._meet, faults[number:]), injected.removed)
        return await self._forward()

    async def _forward(self) -> Reply:
        for gate in self._trouble.gates(self._info):
            await gate.admit(self._info)
            self._gates.append(gate)
        if _has_left(self._request):
            raise ConnectionCut
        self._asking = self._upstream.ask(self._request, self._info, self._body)
        await asyncio.wait([self._asking])
        reply = self._asking.result()
        if not isinstance(reply.body, bytes):
            self._stream = _WatchStream(info=self._info, trouble=self._trouble)
            reply.body = self._stream.passed_on(reply.body)
        return reply

    def _settle(self, asked: asyncio.Task[Reply] | None) -> None:
        """The request is over for the client, and for the API server."""
        reply = None if asked is None or asked.cancelled() or asked.exception() else asked.result()
        for gate in self._gates:
            gate.settle(carried_out=reply is not None and reply.code < 300)
        if reply is not None:
            reply.close()

    async def _send(self, reply: Reply) -> web.StreamResponse:
        response: web.StreamResponse
        if isinstance(reply.body, bytes):
            response = web.Response(status=reply.code, headers=reply.headers, body=reply.body)
            await response.prepare(self._request)
        else:
            response = web.StreamResponse(status=reply.code, headers=reply.headers)  # in chunks, if of unknown length
            await response.prepare(self._request)
            if self._stream is None:
                await _write(response, reply.body)
            else:
                await self._stream.run(response, self._request.transport, reply.body)
        await response.write_eof()
        return response


class _WatchStream:
    """A watch stream that is open to a client."""

    def __init__(self, *, info: RequestInfo, trouble: Trouble) -> None:
        self._info = info
        self._trouble = trouble
        self._response: web.StreamResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_ended = False

    async def passed_on(self, lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """What faults leave of the lines."""
        async with aclosing(lines):
            async for line in lines:
                for part in await self._met(line):
                    yield part
            await self._met(b"")

    async def run(
        self, response: web.StreamResponse, transport: asyncio.Transport | None, parts: AsyncGenerator[bytes, None]
    ) -> None:
        """Write the parts until their end, or until a fault ends it."""
        self._response, self._transport = response, transport
        with self._trouble.open_to(self, self._info):
            for injected in self._trouble.standing(StreamFault):
                if injected.meets(self._info, self):
                    await injected.fault.strike(self)
            if self._is_ended:
                return
            self._writing = asyncio.create_task(_write(response, parts))
            try:
                await self._writing
            except asyncio.CancelledError:
                if not self._is_ended:
                    raise

    async def send(self, line: bytes) -> None:
        assert self._response is not None
        await self._response.write(line)

    def end(self) -> None:
        self._is_ended = True
        if self._writing is not None:
            self._writing.cancel()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _met(self, line: bytes) -> list[bytes]:
        parts = [line]
        for injected in self._trouble.standing(EventFault):
            if injected.meets(self._info, self):
                parts = [out for part in parts for out in await injected.fault.pass_on(part, injected.removed)]
        return parts


async def _write(response: web.StreamResponse, parts: AsyncGenerator[bytes, None]) -> None:
    async with aclosing(parts):
        async for part in parts:
            await response.write(part)


def _has_left(request: web.BaseRequest) -> bool:
    """Whether the client has closed its end, by the kernel's word: the loop may not have read it yet, and what a killed
    client had asked for must not be carried out when a gate is opened after its death.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))
