"""Kopf's part: it runs the process and brings live events of policies. No other handler, so no finalizers, no
annotations, and no second write for each change.

Kopf tells nothing of what was deleted during an outage: the roster of policies (``watches``) does. Not the business
of this module: anything that is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import kopf

from nodeport_access.api import GROUP, PLURAL, VERSION, Body
from nodeport_access.kube import Lent

LEAVE_SECONDS = 0.4
"""What Kopf gets to end by itself once all our own tasks have; it takes a tenth of that."""


class EndlessBackoffs:
    """Seconds between Kopf's attempts at a request, without end: an absent API server or permission is waited for.

    An iterable that is new at every use and has no length, because Kopf adds one attempt to a length."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3)
        while True:
            yield 5


async def run(
    *,
    lend: Callable[[], Awaitable[Lent]],
    put: Callable[[Body], None],
    drop: Callable[[Body], None],
    started: Callable[[], None],
    clean_up: Callable[[], Awaitable[None]],
    namespaces: tuple[str, ...],
    stop: asyncio.Event,
) -> None:
    """Runs Kopf until ``stop``, on the sessions that ``lend`` gives. ``started`` is called once Kopf has installed its
    signal handlers; ``clean_up`` ends all our own tasks before Kopf looks for those left."""
    registry = kopf.OperatorRegistry()
    kopf.on.startup(registry=registry)(_start_up(started))
    kopf.on.login(registry=registry)(_login(lend))
    kopf.on.cleanup(registry=registry)(_clean_up(clean_up))
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(_event(put, drop))
    stopped = asyncio.create_task(stop.wait())
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=_settings(),
            # Else Kopf asks for the name of the user, which a container that runs under a bare number has not.
            identity=cast(Any, "nodeport-access"),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
    )
    await asyncio.wait([operator, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    await clean_up()
    await asyncio.wait([operator], timeout=LEAVE_SECONDS)
    # A stop that hits Kopf while it starts leaves a task of Kopf's own behind, for which it would wait 5 s.
    if operator.cancel():
        with suppress(asyncio.CancelledError):
            await operator
    else:
        await operator


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # The CRD is there before Kopf starts, and its deletion is meant to end the process.
    settings.scanning.disabled = True
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.connect_timeout = 5
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.queueing.exit_timeout = 0.5
    return settings


def _event(put: Callable[[Body], None], drop: Callable[[Body], None]) -> Callable[..., Awaitable[None]]:
    async def policy_seen(event: kopf.RawEvent, **_: Any) -> None:
        body: Body = dict(event["object"])
        (drop if event["type"] == "DELETED" else put)(body)

    return policy_seen


def _start_up(started: Callable[[], None]) -> Callable[..., Awaitable[None]]:
    async def tell(**_: Any) -> None:
        # Kopf installs its signal handlers in this very turn of the loop, after us.
        asyncio.get_running_loop().call_soon(started)

    return tell


def _clean_up(clean_up: Callable[[], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def end_own_tasks(**_: Any) -> None:
        await clean_up()

    return end_own_tasks


def _login(lend: Callable[[], Awaitable[Lent]]) -> Callable[..., Awaitable[kopf.AiohttpSession]]:
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        """Called again after a 401, and when Kopf takes the connection for broken."""
        lent = await lend()
        return kopf.AiohttpSession(server=lent.server, aiohttp_session=lent.session)

    return log_in
