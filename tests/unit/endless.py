"""Tasks that run for as long as a test does, at a pace for tests, and waiting for what they come to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from nodeport_access.watches import Pace

FAST = Pace(
    shortest_stream=0.01,
    silence=1.0,
    backoff=(0.01, 0.05),
    refused=(0.03, 0.05),
    longest_retry_after=0.4,
    settled=0.2,
    roster=60,
)
"""Real time, but little of it."""


@asynccontextmanager
async def running(endless: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """The task runs while the block does, and must not have ended by itself."""
    task = asyncio.ensure_future(endless)
    try:
        yield task
    finally:
        assert not task.done() or task.exception(), "it ended by itself"
        task.cancel()
        await asyncio.wait([task], timeout=5)
    assert task.cancelled(), task.exception()


async def eventually(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        await asyncio.sleep(0.005)
