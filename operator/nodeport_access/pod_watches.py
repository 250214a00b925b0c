"""The pods of those namespaces that have policies: a watch for each, which comes and goes with them.

Not its business: how one watch follows its resource (``watches``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from logging import Logger
from random import Random
from typing import NoReturn

from nodeport_access.complaints import Complaints
from nodeport_access.kube import PODS, Client
from nodeport_access.watches import Pace, Sink, Watch


class PodWatches:
    """One metadata-only watch of Pods for each namespace of a set that changes. ``on_listed`` is told of each namespace
    whose pods are all known from now on."""

    def __init__(
        self,
        *,
        client: Client,
        sink: Callable[[str], Sink],
        forget: Callable[[str], None],
        time: Callable[[], float],
        random: Random,
        log: Logger,
        pace: Pace | None = None,
        complaints: Complaints | None = None,
    ) -> None:
        """``sink`` makes the sink of a namespace; ``forget`` is told of a namespace that is no longer watched."""
        self._client = client
        self._sink = sink
        self._forget = forget
        self._time = time
        self._random = random
        self._log = log
        self._pace = pace
        self._complaints = complaints
        self.on_listed: Callable[[str], None] = lambda _: None
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._progress = asyncio.Event()
        self._watches: dict[str, Watch] = {}
        self._tasks: dict[str, tuple[asyncio.Task[None], ...]] = {}

    @property
    def watches(self) -> tuple[Watch, ...]:
        """Those that run now."""
        return tuple(self._watches.values())

    def answered_in(self, namespace: str) -> bool:
        """Whether the pods of this namespace are watched, and have been listed, or it is known why not."""
        return namespace in self._watches and self._watches[namespace].answered

    async def wait_answered(self, namespace: str | None = None) -> None:
        """Returns once that is so in every namespace that is wanted by then, or in this one, if it is."""
        while not all(self.answered_in(wanted) for wanted in self._wanted if namespace in (None, wanted)):
            self._progress.clear()
            await self._progress.wait()

    def want(self, namespaces: Iterable[str]) -> None:
        """Says which namespaces are to be watched from now on, and no others."""
        self._wanted = frozenset(namespaces)
        self._changed.set()
        self._progress.set()

    async def run(self) -> NoReturn:
        """Holds the watches until it is cancelled; a crash of one of them ends all, as an ExceptionGroup."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for name in self._tasks.keys() - self._wanted:
                    for task in self._tasks.pop(name):
                        task.cancel()
                    del self._watches[name]
                    self._forget(name)
                for name in self._wanted - self._tasks.keys():
                    watch = self._watches[name] = self._watch(name)
                    self._tasks[name] = (group.create_task(watch.run()), group.create_task(self._report(name, watch)))
                await self._changed.wait()

    async def _report(self, namespace: str, watch: Watch) -> None:
        await watch.wait_answered()
        self._progress.set()
        await watch.wait_synced()
        self.on_listed(namespace)

    def _watch(self, namespace: str) -> Watch:
        return Watch(
            client=self._client,
            resource=PODS,
            namespace=namespace,
            metadata_only=True,
            sink=self._sink(namespace),
            time=self._time,
            random=self._random,
            log=self._log,
            pace=self._pace,
            complaints=self._complaints,
        )
