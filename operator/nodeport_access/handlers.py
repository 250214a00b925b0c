"""Kopf's part: live events of policies. No other handler, so no finalizers, no annotations, and no second write for
each change.

Kopf ends the process over a line that is no JSON, an error event, a status that it does not expect; here it is started
again instead (docs/decisions/0012). It tells nothing of what was deleted during an outage: the roster of policies
(``watches``) does. Not the business of this module: anything that is decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import kopf

from nodeport_access.api import GROUP, PLURAL, VERSION, Body
from nodeport_access.feed import STREAM_SECONDS, Feed
from nodeport_access.kube import Client, Lent, is_object

LEAVE_SECONDS = 0.4
"""What Kopf's tasks get to end; they take a tenth of that."""
SETTLED_SECONDS = 2.0
"""Kopf that has lasted so long is started again after the first and shortest pause: each start costs a list, and a
millisecond for each policy. A roster of policies is taken meanwhile, and says whether their CRD is still there."""
KOPF = str(Path(kopf.__file__).parent)
GONE_SECONDS = 5.0
"""For so long the CRD has to be absent: whatever stands before an API server answers 404 at times."""
IDLE_SECONDS = 0.1
"""For so long Kopf keeps the task that handled an event of a policy, in case of another."""
LOOK_SECONDS = 1.0
"""Between two looks at whether Kopf is still asking."""


class SilenceError(Exception):
    """Kopf has fallen silent: it has ended without an error, or asks for policies no more."""


class NothingHandled(kopf.DiffBaseStorage):
    """For handlers of events only: no state of an object is kept as the one that was handled last, to be compared with.

    Kopf would make a deep copy of each object for that, a tenth of all that the operator computes in a storm."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


class EndlessBackoffs:
    """Seconds between Kopf's attempts at a request, and ours at Kopf, without end: an absent API server or permission
    is waited for.

    An iterable that is new at every use and has no length, because Kopf adds one attempt to a length."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3)
        while True:
            yield 5


async def run(
    *,
    client: Client,
    put: Callable[[Body], None],
    drop: Callable[[Body], None],
    feed: Feed,
    started: Callable[[], None],
    gone: Callable[[], bool],
    clean_up: Callable[[], Awaitable[None]],
    namespaces: tuple[str, ...],
    stop: asyncio.Event,
) -> None:
    """Runs Kopf until ``stop``, on sessions that the client lends, and starts it again when it breaks off or falls
    silent, unless policies are ``gone`` from the API. ``started`` is called whenever Kopf has installed its signal
    handlers; ``clean_up`` ends all our own tasks, while Kopf's end.

    Raises what broke Kopf off when the policies were gone, and what ``put`` and ``drop`` raise, which Kopf would log
    and pass over.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(pass_over_cut_streams)
    time = loop.time
    crashes: list[Exception] = []

    def crashed(error: Exception) -> None:
        crashes.append(error)
        stop.set()

    take = _taking(put=put, drop=drop, garbled=feed.on_gap, crashed=crashed)
    stopped, pauses = asyncio.create_task(stop.wait()), iter(EndlessBackoffs())
    try:
        while not stop.is_set():
            begun = time()
            registry = _registry(lend=client.lender(told=feed.told, listed=feed.paths).lend, take=take)
            listening = asyncio.create_task(_listen(registry, feed=feed, started=started, namespaces=namespaces))
            await asyncio.wait([listening, stopped], return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                listening.cancel()
                await asyncio.gather(clean_up(), listening, return_exceptions=True)
                break
            error = cast(Exception, listening.exception())
            feed.broke_off(error)
            if time() - begun >= SETTLED_SECONDS:
                pauses = iter(EndlessBackoffs())
            await asyncio.wait([stopped], timeout=next(pauses))
            if gone() and not stop.is_set():
                await asyncio.wait([stopped], timeout=GONE_SECONDS)
                if gone() and not stop.is_set():
                    raise error
    finally:
        stopped.cancel()
    if crashes:
        raise crashes[0]


def pass_over_cut_streams(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handles what nobody else has. A stream of Kopf's that is cut at the very end is nothing to tell of."""
    code = getattr(context.get("asyncgen"), "ag_code", None)
    if code is None or not code.co_filename.startswith(KOPF):
        loop.default_exception_handler(context)


def _registry(*, lend: Callable[[], Awaitable[Lent]], take: Callable[..., Awaitable[None]]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(_login(lend))
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(take)
    return registry


async def _listen(
    registry: kopf.OperatorRegistry, *, feed: Feed, started: Callable[[], None], namespaces: tuple[str, ...]
) -> None:
    """Runs Kopf until it breaks off, raises why, and leaves no task of Kopf's.

    Not by ``kopf.operator``: at its end it waits 5 s for every other task in the loop, and cancels it.
    """
    feed.begins()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=_settings(),
        # Else Kopf asks for the name of the user, which a container that runs under a bare number has not.
        identity=cast(Any, "nodeport-access"),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )
    # Before the loop goes on: a signal would end Kopf, and nothing else.
    started()
    try:
        ended: set[asyncio.Task[Any]] = set()
        while not ended:
            ended, _ = await asyncio.wait(tasks, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not ended and feed.overdue():
                raise SilenceError("it does not ask for policies")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
    for task in ended:
        if not task.cancelled():
            task.result()
    raise SilenceError("it has ended without an error")


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # The CRD is there before Kopf starts, and its deletion is meant to end the process.
    settings.scanning.disabled = True
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 15
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = STREAM_SECONDS
    settings.queueing.exit_timeout = 0.3
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.persistence.diffbase_storage = NothingHandled()
    # After its tasks have been cancelled, Kopf would kill this thread, and with it the process.
    settings.process.ultimate_exiting_timeout = None
    return settings


def _taking(
    *,
    put: Callable[[Body], None],
    drop: Callable[[Body], None],
    garbled: Callable[[], None],
    crashed: Callable[[Exception], None],
) -> Callable[..., Awaitable[None]]:
    async def policy_seen(event: kopf.RawEvent, **_: Any) -> None:
        body: Body = dict(event["object"])
        if not is_object(body):
            garbled()
            return
        try:
            (drop if event["type"] == "DELETED" else put)(body)
        except Exception as error:
            crashed(error)

    return policy_seen


def _login(lend: Callable[[], Awaitable[Lent]]) -> Callable[..., Awaitable[kopf.AiohttpSession]]:
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        """Called again after a 401, and when Kopf takes the connection for broken."""
        lent = await lend()
        return kopf.AiohttpSession(server=lent.server, aiohttp_session=lent.session)

    return log_in
