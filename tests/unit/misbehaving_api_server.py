"""An API server on loopback that keeps Services, speaks list and watch as the real one does, and misbehaves on demand.

It is for what a real API server does not do when asked: a continue token that expires, a stream that breaks in the
middle of a line, silence. What the real one answers is tested on the real one (`tests/api`).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from nodeport_access.kube import Client, Observer
from nodeport_access.kube.wire import Fence, unfenced

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = dict[str, Any]


@asynccontextmanager
async def serving(handler: Handler, *, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Every request goes to the handler; yields the URL."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ConnectionResetError:  # whoever watched has left
            return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def configuration_for(url: str, *, token: str = "good") -> Configuration:
    """As the loader makes it."""
    configuration = Configuration(client_session_kwargs={"trust_env": False}, connection_pool_maxsize=48)
    configuration.host = url
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    return configuration


@asynccontextmanager
async def connected(
    url: str,
    *,
    load: Callable[[], Awaitable[Configuration]] | None = None,
    observer: Observer = lambda *_: None,
    time: Callable[[], float] | None = None,
    fence: Fence = unfenced,
) -> AsyncIterator[Client]:
    """A client of the server; its first token is "good"."""

    async def same() -> Configuration:
        return configuration_for(url)

    clock = {"time": time} if time else {}
    client = Client(configuration=configuration_for(url), load=load or same, observer=observer, fence=fence, **clock)
    try:
        yield client
    finally:
        await client.close()


def status(code: int, *, reason: str = "", message: str = "", **more: Any) -> web.Response:
    """A refusal as the API server words it."""
    return web.json_response(
        {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, **more}, status=code
    )


class ServiceWorld:
    """Services (or what is asked for in their stead) by name or namespace/name, with versions, a history, and faults
    that stand in for one answer each."""

    def __init__(self, *names: str) -> None:
        self.version = 100
        self.services: dict[str, Body] = {}
        self.forgotten = 0
        """Up to this version the history is lost: watches from there, and continue tokens, are Gone."""
        self.list_faults: list[Handler] = []
        self.watch_faults: list[Handler] = []
        self.asked: list[str] = []
        """"list", or "watch" and the version it was asked from."""
        self.bookmark_seconds = 0.05
        self.stream_seconds: float | None = None
        """How long a stream lasts; None: as long as it was asked for."""
        self._history: list[tuple[int, Body]] = []
        self._changed = asyncio.Condition()
        for name in names:
            self._record("ADDED", name)

    # --- what happens in the cluster

    @property
    def state(self) -> dict[str, str]:
        """Names and versions: what whoever follows must end up with."""
        return {name: body["metadata"]["resourceVersion"] for name, body in self.services.items()}

    async def put(self, name: str) -> None:
        self._record("MODIFIED" if name in self.services else "ADDED", name)
        await self._tell()

    async def delete(self, name: str) -> None:
        self._record("DELETED", name)
        await self._tell()

    def forget(self) -> None:
        """As after a compaction, or a restart: nothing up to now can be watched from."""
        self.version += 1
        self.forgotten = self.version
        self._history.clear()

    def lose(self, name: str) -> None:
        """Deletes without an event, as seen from a stream that is gone or dead."""
        self.version += 1
        del self.services[name]

    def _record(self, kind: str, name: str) -> None:
        self.version += 1
        namespace, _, short = name.rpartition("/")
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": short, "namespace": namespace or "web", "resourceVersion": str(self.version)},
        }
        self._history.append((self.version, {"type": kind, "object": body}))
        if kind == "DELETED":
            self.services.pop(name)
        else:
            self.services[name] = body

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # --- what is answered

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            self.asked.append(f"watch {request.query['resourceVersion']}")
            return await (self.watch_faults.pop(0) if self.watch_faults else self.watch)(request)
        self.asked.append("list")
        return await (self.list_faults.pop(0) if self.list_faults else self.list)(request)

    async def list(self, request: web.Request) -> web.Response:
        """Chunks of `limit`; a token is the version of the first chunk and an offset."""
        at, _, offset = request.query.get("continue", f"{self.version}/0").partition("/")
        if int(at) < self.forgotten:
            return status(410, reason="Expired", message="The provided continue parameter is too old")
        names = sorted(name for name, body in self.services.items() if _is_asked_for(request, body))
        end = int(offset) + int(request.query["limit"])
        metadata = {"resourceVersion": at} | ({"continue": f"{at}/{end}"} if end < len(names) else {})
        items = [{"metadata": self.services[name]["metadata"]} for name in names[int(offset) : end]]
        return web.json_response({"kind": "ServiceList", "metadata": metadata, "items": items})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Events since the version asked for, bookmarks when there are none, until the time is over."""
        since = int(request.query["resourceVersion"])
        response = await opened(request)
        if since < self.forgotten:
            await send(response, expired())
            return response
        seconds = self.stream_seconds or float(request.query["timeoutSeconds"])
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            for version, event in [*self._history]:
                if version > since:
                    since = version
                    if _is_asked_for(request, event["object"]):
                        await send(response, event)
            try:
                async with asyncio.timeout(min(left, self.bookmark_seconds)), self._changed:
                    if not self._history or self._history[-1][0] <= since:
                        await self._changed.wait()
            except TimeoutError:
                since = max(since, self.version)
                await send(response, bookmark(since))
        return response


def _is_asked_for(request: web.Request, body: Body) -> bool:
    """Whether a path with a namespace names the object's."""
    _, _, below = request.path.partition("/namespaces/")
    return not below or below.split("/")[0] == body["metadata"]["namespace"]


async def opened(request: web.Request) -> web.StreamResponse:
    """The head of a stream."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def send(response: web.StreamResponse, event: Body) -> None:
    """One event, one line."""
    await response.write(json.dumps(event).encode() + b"\n")


def bookmark(version: int) -> Body:
    """The API server's way to say that nothing happened up to this version."""
    return {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": {"resourceVersion": str(version)}}}


def expired() -> Body:
    """The ERROR event with which a watch from a version that is too old begins, and ends."""
    return {
        "type": "ERROR",
        "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"},
    }


async def silent(request: web.Request) -> web.StreamResponse:
    """Opens the stream and never says a word."""
    response = await opened(request)
    await asyncio.sleep(60)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    """Opens the stream and drops the connection, as a crash or a firewall does."""
    response = await opened(request)
    assert request.transport is not None
    request.transport.abort()
    return response


async def half_a_line(request: web.Request) -> web.StreamResponse:
    """Ends the stream, politely, in the middle of an event."""
    response = await opened(request)
    await response.write(b'{"type": "ADDED", "object": {"metadata": {"resourceV')
    return response


def answering(code: int, *, text: str = "", headers: dict[str, str] | None = None) -> Handler:
    """An answer that is not a metav1.Status, such as a proxy gives."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=code, text=text, headers=headers)

    return handler


def refusing(code: int, *, reason: str, message: str) -> Handler:
    """A refusal as the API server words it, each time."""

    async def handler(_: web.Request) -> web.Response:
        return status(code, reason=reason, message=message)

    return handler
