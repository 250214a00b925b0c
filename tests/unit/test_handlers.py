"""What is made of what Kopf leaves behind at the very end of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kopf._cogs.clients import watching

from nodeport_access.handlers import pass_over_cut_streams


async def of_our_own() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("generator", "is_told"),
    [(watching.infinite_watch(settings=None, resource=None, namespace=None), False), (of_our_own(), True)],  # type: ignore[arg-type]  # it never runs
    ids=["Kopf's", "our own"],
)
def test_a_stream_that_is_cut_when_the_loop_closes_is_told_of_unless_it_is_kopfs(
    generator: Any, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    pass_over_cut_streams(loop, {"message": "an error occurred during closing", "asyncgen": generator})
    loop.close()
    assert bool(caplog.records) is is_told


def test_what_else_nobody_has_handled_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    pass_over_cut_streams(loop, {"message": "a task was destroyed", "exception": ValueError("x")})
    loop.close()
    assert "a task was destroyed" in caplog.text
