"""Controllers for unit tests: whole, and on their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from random import Random
from typing import Any, cast

from nodeport_access.complaints import Complaints
from nodeport_access.controller import Controller
from nodeport_access.kube import WatchEvent
from nodeport_access.metrics import Metrics
from nodeport_access.tenure import Tenure
from tests.unit.builders import NOW


def controller_of(
    *,
    client: object = None,
    namespaces: tuple[str, ...] = (),
    clock: Callable[[], datetime] = lambda: NOW,
    time: Callable[[], float] = lambda: 0.0,
    tenure: Tenure | None = None,
    metrics: Metrics | None = None,
) -> Controller:
    """One that leads, unless it has a tenure; without a client it must not run."""
    return Controller(
        client=cast(Any, client),
        namespaces=namespaces,
        metrics=metrics or Metrics(),
        clock=clock,
        time=time,
        random=Random(0),
        instance="test",
        log=logging.getLogger("test.controller"),
        complaints=Complaints(time=time),
        tenure=tenure or Tenure(elected=False),
    )


class Uneventful:
    """The watches of an API server on which nothing happens; bookmarks come every minute."""

    @asynccontextmanager
    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        yield self._bookmarks()

    async def _bookmarks(self) -> AsyncIterator[WatchEvent]:
        while True:
            await asyncio.sleep(60)
            yield WatchEvent(type="BOOKMARK", object={"metadata": {"resourceVersion": "1"}})
