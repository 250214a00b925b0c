"""The HTTP endpoints: ``/metrics`` on one address, ``/healthz`` and ``/readyz`` on another.

Not the business of this module: what is healthy (``controller``), or what the metrics say (``metrics``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from nodeport_access.metrics import Format, Metrics, View
from nodeport_access.settings import BindAddress


class BindError(Exception):
    """An address that cannot be listened on; one sentence."""


def metrics_app(metrics: Metrics, view: Callable[[], View]) -> web.Application:
    """``/metrics``, in the format that is asked for; the view is taken on the loop, the text is made in a thread."""

    async def answer(request: web.Request) -> web.Response:
        format = Format.accepted(request.headers.get("Accept", ""))
        body = await asyncio.to_thread(metrics.render, view(), format=format)
        return web.Response(body=body, headers={"Content-Type": format.value, "Vary": "Accept"})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    return app


def health_app(*, unhealthy: Callable[[], str], unready: Callable[[], str]) -> web.Application:
    """``/healthz`` and ``/readyz``: 200 with ``ok``, or 503 with the reason."""

    def probe(reason: Callable[[], str]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            text = reason()
            return web.Response(text=f"{text or 'ok'}\n", status=503 if text else 200)

        return answer

    app = web.Application()
    app.router.add_get("/healthz", probe(unhealthy))
    app.router.add_get("/readyz", probe(unready))
    return app


@asynccontextmanager
async def serving(app: web.Application, address: BindAddress) -> AsyncIterator[int]:
    """Serves an application until the block ends; gives the port in use. Raises BindError."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            raise BindError(f"cannot listen on {address}: {error.strerror or error}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
