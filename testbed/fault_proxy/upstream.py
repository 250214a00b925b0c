"""The proxy as a client of the API server.

Requests and answers go as they are, except for what belongs to one connection only (RFC 9110, 7.6.1). Watches are
passed on line by line, so they must be in JSON.

Not its business: the client at the other end (`exchange`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterable, Set

import aiohttp
from aiohttp import web
from yarl import URL

from testbed.fault_proxy.closing import Sockets, ended
from testbed.fault_proxy.faults import Reply
from testbed.fault_proxy.request_info import RequestInfo

_OF_ONE_CONNECTION = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_COMPUTED = _OF_ONE_CONNECTION | {"host", "content-length"}
_AUTOMATIC = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # aiohttp would add what the client left out


class Upstream:
    """One API server, asked over kept connections."""

    def __init__(self, *, url: str, tls: ssl.SSLContext) -> None:
        self.writes: list[RequestInfo] = []
        """What it has carried out, in the order of its answers."""
        self._url = url
        self._asking: set[asyncio.Task[Reply]] = set()
        self._sockets = Sockets()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0, socket_factory=self._sockets.create),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
        )

    def ask(self, request: web.BaseRequest, info: RequestInfo, body: bytes) -> asyncio.Task[Reply]:
        """Its answer, by a task that goes on when the client leaves: what is under way to an API server arrives there,
        and `writes` knows of it. Raises aiohttp.ClientError where there is no answer.
        """
        task = asyncio.create_task(self._ask(request, info, body))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def close(self) -> None:
        await ended(self._asking)
        await self._session.close()
        await self._sockets.shut()

    async def _ask(self, request: web.BaseRequest, info: RequestInfo, body: bytes) -> Reply:
        answer = await self._session.request(
            request.method,
            URL(self._url + request.raw_path, encoded=True),
            headers=_without(_COMPUTED, request.headers.items()),
            data=body or None,
            allow_redirects=False,
        )
        if info.is_write and answer.ok:
            self.writes.append(info)
        headers = _without(_OF_ONE_CONNECTION, answer.headers.items())
        if info.verb == "watch" and answer.ok:
            return Reply(code=answer.status, headers=headers, body=_lines(answer.content), close=answer.close)
        async with answer:
            return Reply(code=answer.status, headers=headers, body=await answer.read())


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Whole lines, each an event; last what is there without its end. Without a limit: an event may have 1.5 MB."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest


def _without(names: Set[str], headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]
