"""The pods of those namespaces that have policies: a watch for each, which comes and goes with them; above some number
of namespaces one watch of the whole cluster, of which only their pods are kept.

Not its business: how one watch follows its resource (``watches``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from logging import Logger
from random import Random
from typing import Any, NoReturn

from nodeport_access.api import Body
from nodeport_access.complaints import Complaints
from nodeport_access.kube import PODS, Client
from nodeport_access.shelf import Reading, ScopedSink, Shelf
from nodeport_access.watches import Pace, Roster, Watch

WATCHES_LIMIT = 32
"""Namespaces that are watched one by one. Each costs a connection with its buffers and, at a start, a list; all of them
together may still be little beside the pods of a whole cluster."""


class PodWatches:
    """Metadata-only watches of Pods for a set of namespaces that changes. ``on_listed`` is told of the namespaces
    whose pods are all known from now on."""

    def __init__(
        self,
        *,
        client: Client,
        shelf: Shelf[Any],
        time: Callable[[], float],
        random: Random,
        log: Logger,
        limit: int | None = None,
        pace: Pace | None = None,
        complaints: Complaints | None = None,
    ) -> None:
        """Of more namespaces than ``limit`` (None: of any number, where we may not watch the whole cluster) one watch
        takes over, and stays."""
        self._shelf = shelf
        self._limit = limit
        self._shared: dict[str, Any] = {
            "client": client,
            "resource": PODS,
            "metadata_only": True,
            "time": time,
            "random": random,
            "log": log,
            "pace": pace,
            "complaints": complaints,
        }
        self.on_listed: Callable[[Collection[str]], None] = lambda _: None
        self._wanted: frozenset[str] = frozenset()
        self._followed: frozenset[str] = frozenset()
        self._known: set[str] = set()
        self._missed: set[str] = set()
        self._changed = asyncio.Event()
        self._progress = asyncio.Event()
        self._whole: Watch | None = None
        self._sources: dict[str, Watch | Roster] = {}
        self._tasks: dict[str, tuple[asyncio.Task[None], ...]] = {}

    @property
    def sources(self) -> tuple[Watch | Roster, ...]:
        """Those that run now."""
        return (*([self._whole] if self._whole is not None else ()), *self._sources.values())

    def answered_in(self, namespace: str) -> bool:
        """Whether the pods of this namespace are followed, and have been listed, or it is known why not."""
        if namespace in self._known:
            return True
        source = self._sources.get(namespace)
        if source is None and self._whole is not None and not self._whole.synced and namespace in self._followed:
            source = self._whole
        return source is not None and source.answered

    async def wait_answered(self, namespace: str | None = None) -> None:
        """Returns once that is so in every namespace that is wanted by then, or in this one, if it is."""
        while not all(self.answered_in(wanted) for wanted in self._wanted if namespace in (None, wanted)):
            self._progress.clear()
            await self._progress.wait()

    def want(self, namespaces: Iterable[str]) -> None:
        """Says the pods of which namespaces are to be known from now on, and of no others."""
        self._wanted = frozenset(namespaces)
        self._changed.set()
        self._progress.set()

    async def run(self) -> NoReturn:
        """Holds the watches until it is cancelled; a crash of one of them ends all, as an ExceptionGroup."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                self._follow_what_is_wanted(group)
                await self._changed.wait()

    def _follow_what_is_wanted(self, group: asyncio.TaskGroup) -> None:
        for name in self._followed - self._wanted:
            self._end(name)
            self._known.discard(name)
            self._missed.discard(name)
            self._shelf.clear(name)
        new = self._wanted - self._followed
        self._followed = self._wanted
        if self._whole is None and self._limit is not None and len(self._followed) > self._limit:
            for name in tuple(self._tasks):
                self._end(name)
            self._watch_whole(group)
        elif self._whole is None:
            for name in new:
                self._begin(group, name, Watch(namespace=name, sink=ScopedSink(self._shelf, name), **self._shared))
        elif self._whole.synced:
            for name in new | self._missed:
                self._end(name)
                self._begin(group, name, Roster(namespace=name, sink=ScopedSink(self._shelf, name), **self._shared))
            self._missed.clear()

    def _watch_whole(self, group: asyncio.TaskGroup) -> None:
        sink = _SinkOfSome(self._shelf, followed=lambda: self._followed, listed=self._take_whole)
        self._whole = whole = Watch(namespace=None, sink=sink, **self._shared)
        group.create_task(whole.run())
        group.create_task(self._tell_when_answered(whole))

    def _begin(self, group: asyncio.TaskGroup, name: str, source: Watch | Roster) -> None:
        self._sources[name] = source
        self._tasks[name] = (group.create_task(source.run()), group.create_task(self._attend(name, source)))

    def _end(self, name: str) -> None:
        for task in self._tasks.pop(name, ()):
            task.cancel()
        self._sources.pop(name, None)

    async def _tell_when_answered(self, source: Watch | Roster) -> None:
        await source.wait_answered()
        self._progress.set()

    async def _attend(self, name: str, source: Watch | Roster) -> None:
        await self._tell_when_answered(source)
        await source.wait_synced()
        self._know({name})
        if isinstance(source, Roster):
            # One list was what the watch of the whole cluster could not give; this task goes with it.
            self._end(name)

    def _know(self, names: Collection[str]) -> None:
        self._known.update(names)
        self._progress.set()
        self.on_listed(names)

    def _take_whole(self, listed: frozenset[str]) -> None:
        self._know(listed - self._known)
        # Followed only since that list had begun: it said nothing of them, and its stream begins after it.
        self._missed |= self._followed - listed
        if self._missed:
            self._changed.set()


class _SinkOfSome(ScopedSink):
    """A shelf as a watch of all namespaces sees it that keeps what is in some of them. A list speaks of those that were
    followed when it began and still are; ``listed`` is told which."""

    def __init__(
        self,
        shelf: Shelf[Any],
        *,
        followed: Callable[[], frozenset[str]],
        listed: Callable[[frozenset[str]], None],
    ) -> None:
        super().__init__(shelf, None)
        self._followed = followed
        self._told = listed
        self._of_list: frozenset[str] = frozenset()

    def reader(self) -> Callable[[Body], Reading[Any] | None]:
        self._of_list = of_list = self._followed()
        return lambda body: self._shelf.read(body) if _namespace(body) in of_list else None

    def replace(self, objects: Sequence[Reading[Any] | None], resource_version: str) -> None:
        listed = self._of_list & self._followed()
        kept = [each for each in objects if each is not None and each.key[0] in listed]
        self._take(kept, resource_version, namespaces=listed)
        self._told(listed)

    def put(self, body: Body) -> None:
        if _namespace(body) in self._followed():
            super().put(body)

    def drop(self, body: Body) -> None:
        if _namespace(body) in self._followed():
            super().drop(body)


def _namespace(body: Body) -> str:
    return str(body["metadata"]["namespace"])
