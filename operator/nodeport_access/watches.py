"""Watches: list and diff, then watch, so that a store hears of every change, and of what vanished meanwhile.

One ``Watch`` follows one resource, in one namespace or in all, for as long as the process lives. A ``Roster`` is the
list half alone, taken when asked: for policies, whose live events come by Kopf, which after an outage does not mention
what was deleted.

What brings on a fresh list: a version that is too old, a stream that broke, a stream that fell silent. The planned end
of a stream does not, nor does a refusal to open one: the version last seen is still good. Nothing here ends by itself,
except by a crash of the sink, which is never swallowed. Not its business: what the objects mean (``store``), which
namespaces have their pods watched (``pod_watches``), what a request looks like on the wire and what its failure means
(``kube``), how well Kopf hears (``feed``).

Sources: Kubernetes API concepts,
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes, and KEP-956 (bookmarks).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging import Logger
from random import Random
from typing import Any, NoReturn, Protocol

from nodeport_access.api import Body
from nodeport_access.complaints import API_SERVER, Complaints
from nodeport_access.kube import (
    ApiError,
    Client,
    Forbidden,
    Gone,
    NotFound,
    Resource,
    Unreachable,
    WatchEvent,
)


class Sink(Protocol):
    """Where a watch puts what it hears. None of it may await: an event is in the store before the next is read."""

    def reader(self) -> Callable[[Body], Any]:
        """A list begins: what is to be kept of each of its objects, while the rest is still to come."""

    def replace(self, objects: Sequence[Any], resource_version: str, /) -> None:
        """Takes a complete list of what the watch follows, each object as it was read, as of a version: what is not in
        it is gone."""

    def put(self, body: Body, /) -> None:
        """Takes an object as it is now."""

    def drop(self, body: Body, /) -> None:
        """Takes the last state of an object that was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things take, in seconds. Pairs are the least and the most, between which chance decides."""

    stream: tuple[int, int] = (240, 360)
    """What a stream may last, so that the load moves to API servers that came later."""
    shortest_stream: float = 1.0
    """A stream that ends sooner, though as if by plan, counts as a failure: it must not be opened in a hot loop."""
    silence: float = 90.0
    """Without an event or a bookmark (about 61 s apart) a stream is taken for dead."""
    backoff: tuple[float, float] = (0.5, 10.0)
    """Waited after an unreachable API server or a broken stream; the upper end doubles with every failure in a row."""
    refused: tuple[float, float] = (2.0, 5.0)
    """Waited for a permission or a CRD: a person who grants it expects an effect within seconds."""
    withheld: tuple[float, float] = (240.0, 360.0)
    """Waited for a permission that we do without."""
    longest_retry_after: float = 30.0
    """The most that an API server may ask us to wait."""
    settled: float = 10.0
    """A stream that lasted this long ends the row of failures."""
    complaint: float = 60.0
    """Between two warnings of one watch."""
    roster: float = 300.0
    """Between two rosters for which nobody asked."""


class _Source:
    """A resource as the API server has it, and how well we hear it."""

    def __init__(
        self,
        *,
        client: Client,
        resource: Resource,
        namespace: str | None,
        sink: Sink,
        time: Callable[[], float],
        random: Random,
        log: Logger,
        metadata_only: bool = False,
        dispensable: bool = False,
        pace: Pace | None = None,
        complaints: Complaints | None = None,
    ) -> None:
        """``time`` is monotonic, in seconds. A source that is ``dispensable`` may be withheld from us. Sources that
        share ``complaints`` speak with one voice of what concerns all of them."""
        self.resource = resource
        self.namespace = namespace
        self.last_word = time()
        self.refused: ApiError | None = None
        self.restarts = 0
        self.on_interrupted: Callable[[], None] = lambda: None
        self.on_recovered: Callable[[], None] = lambda: None
        self._version: str | None = None
        self._asked, self._pressed = asyncio.Event(), asyncio.Event()
        self._client = client
        self._metadata_only = metadata_only
        self._dispensable = dispensable
        self._sink = sink
        self._time = time
        self._random = random
        self._log = log
        self._pace = pace or Pace()
        self._answered = asyncio.Event()
        self._decided = asyncio.Event()
        self._synced = asyncio.Event()
        self._failures = 0
        self._gone = False
        self._complained = False
        self._complaints = complaints or Complaints(time=time, every=self._pace.complaint)

    @property
    def synced(self) -> bool:
        """Whether a complete list has arrived, ever."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Returns once a complete list has arrived."""
        await self._synced.wait()

    @property
    def answered(self) -> bool:
        """Whether a complete list has arrived, or why there is none, ever."""
        return self._answered.is_set()

    async def wait_answered(self) -> None:
        """Returns once a complete list has arrived, or why there is none."""
        await self._answered.wait()

    async def wait_decided(self) -> None:
        """Returns once a complete list has arrived, or we were told that we may not have one: an outage tells
        neither."""
        await self._decided.wait()

    @property
    def withheld(self) -> bool:
        """Whether we do without it: refused from the start, which is by arrangement where it is dispensable. What was
        granted once and is refused later is missed."""
        return self._dispensable and not self.synced and isinstance(self.refused, Forbidden)

    async def _relist(self) -> str:
        listing = await self._client.list(
            self.resource, namespace=self.namespace, metadata_only=self._metadata_only, read=self._sink.reader()
        )
        self._sink.replace(listing.items, listing.resource_version)
        self.last_word = self._time()
        self._answered.set()
        self._decided.set()
        self._synced.set()
        return listing.resource_version

    def _works(self) -> None:
        if self._complained:
            self._log.info("%s: works again", self, extra=self._labels())
        recovered = self.refused is not None
        self.refused = None
        self._complained = False
        if recovered:
            self.on_recovered()

    async def _wait_out(self, error: ApiError, *, verb: str) -> None:
        """Says why nothing is heard, and waits as long as it makes sense to wait for that."""
        self._failures += 1
        again, self._gone = self._gone, isinstance(error, Gone)
        if self._gone and not again:
            self._log.info("%s: the version last seen is too old, listing again", self, extra=self._labels())
        else:
            self.refused = error
            self._answered.set()
            if isinstance(error, Forbidden):
                self._decided.set()
            self._complain(error, verb=verb)
        await asyncio.sleep(self._delay(error))

    def _complain(self, error: ApiError, *, verb: str) -> None:
        if self.withheld:
            if not self._complained:
                self._log.info("%s: done without: %s", self, error.message, extra=self._labels())
            self._complained = True
            return
        # A refusal concerns the kind in all namespaces as a rule, of which there may be hundreds.
        if not self._complaints.due(API_SERVER if isinstance(error, Unreachable) else str(self.resource)):
            return
        self._complained = True
        self._log.warning("%s: %s", self, why_not(error, verb=verb, resource=self.resource), extra=self._labels())

    def _delay(self, error: ApiError) -> float:
        if self.withheld:
            return self._random.uniform(*self._pace.withheld)
        if not isinstance(error, Unreachable | Gone):
            return self._random.uniform(*self._pace.refused)
        least, most = self._pace.backoff
        delay = self._random.uniform(least, min(most, least * 2 ** min(self._failures, 16)))
        asked = error.retry_after if isinstance(error, Unreachable) and error.retry_after else 0.0
        return max(delay, min(asked, self._pace.longest_retry_after))

    def _labels(self) -> dict[str, str]:
        labels = {"resource": str(self.resource)}
        return labels | {"namespace": self.namespace} if self.namespace else labels

    def __str__(self) -> str:
        return f"{self.resource} in {self.namespace}" if self.namespace else str(self.resource)


def why_not(error: ApiError, *, verb: str, resource: Resource) -> str:
    """What is missing, in words for the person who can mend it."""
    match error:
        case Forbidden():
            return f"not allowed to {verb} {resource}: {error.message}"
        case NotFound():
            return (
                f"cannot {verb} {resource}: the API server does not serve it (is its CustomResourceDefinition there?)"
            )
        case _:
            return f"cannot {verb} {resource}: {error}"


class Watch(_Source):
    """Follows one resource. ``last_word`` is when an event, a bookmark or a list came last (by ``time``).

    ``refused`` says why it does not work now, and is None while it does. ``restarts`` counts the streams that were lost
    otherwise than by their planned end; at each of them ``on_interrupted`` is called.
    """

    async def run(self) -> NoReturn:
        """Listens until it is cancelled; raises only what the sink raises."""
        while True:
            verb = "list"
            try:
                if self._version is None:
                    self._version = await self._relist()
                verb = "watch"
                await self._follow()
            except ApiError as error:
                await self._wait_out(error, verb=verb)

    async def _follow(self) -> None:
        """One stream, from its opening to its planned end."""
        opened_at: float | None = None
        try:
            async with self._client.watch(
                self.resource,
                namespace=self.namespace,
                resource_version=self._version or "",
                metadata_only=self._metadata_only,
                timeout_seconds=self._random.randint(*self._pace.stream),
            ) as events:
                opened_at = self._time()
                self._works()
                await self._listen(events)
        except ApiError as error:
            if opened_at is not None or isinstance(error, Gone):
                self._version = None
                self.restarts += 1
                self.on_interrupted()
            raise
        finally:
            if opened_at is not None and self._time() - opened_at >= self._pace.settled:
                self._failures, self._gone = 0, False
        if self._time() - opened_at < self._pace.shortest_stream:
            raise Unreachable(message="the stream ended as soon as it was open")

    async def _listen(self, events: AsyncIterator[WatchEvent]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._pace.silence) as watchdog:
                async for event in events:
                    self._take(event)
                    self.last_word = self._time()
                    watchdog.reschedule(loop.time() + self._pace.silence)
        except TimeoutError as error:
            if not watchdog.expired():
                raise
            raise Unreachable(message=f"no event and no bookmark for {self._pace.silence:g} s") from error

    def _take(self, event: WatchEvent) -> None:
        match event.type:
            case "ADDED" | "MODIFIED":
                self._sink.put(event.object)
            case "DELETED":
                self._sink.drop(event.object)
            case "BOOKMARK":
                pass
            case _:
                raise Unreachable(message=f"the stream holds an event of an unknown type, {event.type!r}")
        self._version = event.resource_version


class Roster(_Source):
    """A complete list at the start, when somebody asks, and every few minutes; ``last_word`` is when one came last."""

    def trigger(self, *, at_once: bool = False) -> None:
        """Asks for a list that begins after this moment, and not long after, or ``at_once``."""
        self._asked.set()
        if at_once:
            self._pressed.set()

    async def run(self) -> NoReturn:
        """Lists until it is cancelled; raises only what the sink raises."""
        while True:
            self._asked.clear()
            self._pressed.clear()
            try:
                await self._relist()
            except ApiError as error:
                await self._wait_out(error, verb="list")
                continue
            self._works()
            self._failures = 0
            await self._until_asked()

    async def _until_asked(self) -> None:
        """Waits until somebody asks, and then a moment for the others: an outage breaks all streams at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.roster):
                await self._asked.wait()
            async with asyncio.timeout(self._pace.backoff[0]):
                await self._pressed.wait()
