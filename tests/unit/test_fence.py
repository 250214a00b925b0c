"""Writes of a process that must not write (any more) are not sent, and those it has sent end in time on both sides.

Not the business of this module: until when it may write (test_election.py), and real processes that are stopped
(tests/api/test_failover.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from nodeport_access.kube import LEASES, NETWORK_POLICIES, POLICIES, SERVICES, Client, Fenced, Unreachable
from tests.unit.misbehaving_api_server import connected, serving

OBJECT: dict[str, Any] = {"metadata": {"name": "shop", "namespace": "web", "uid": "1", "resourceVersion": "1"}}
WHERE: dict[str, Any] = {"namespace": "web", "name": "shop"}
SEEN = {"uid": "1", "resource_version": "1"}

WRITES: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "apply": lambda client: client.apply(SERVICES, **WHERE, body=OBJECT, force=True),
    "status": lambda client: client.apply_status(POLICIES, **WHERE, body=OBJECT),
    "create": lambda client: client.create(NETWORK_POLICIES, namespace="web", body=OBJECT),
    "replace": lambda client: client.replace(NETWORK_POLICIES, **WHERE, body=OBJECT),
    "patch": lambda client: client.replace_metadata(NETWORK_POLICIES, **WHERE, **SEEN, metadata={}),
    "delete": lambda client: client.delete(NETWORK_POLICIES, **WHERE, **SEEN),
}
OTHERS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "get": lambda client: client.get(SERVICES, **WHERE),
    "list": lambda client: client.list(SERVICES),
    "a lease that is made": lambda client: client.create(LEASES, namespace="web", body=OBJECT),
    "a lease that is renewed": lambda client: client.replace(LEASES, **WHERE, body=OBJECT),
}
write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


class Server:
    """Takes everything, after ``seconds``."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.asked: list[web.Request] = []
        self._seconds = seconds

    async def __call__(self, request: web.Request) -> web.Response:
        await request.read()
        self.asked.append(request)
        await asyncio.sleep(self._seconds)
        return web.json_response({**OBJECT, "metadata": {**OBJECT["metadata"], "resourceVersion": "2"}, "items": []})


def answers(*seconds: float) -> Callable[[], float]:
    """A fence that answers so, one after another, and then the last again and again."""
    left: Iterator[float] = iter(seconds)
    last = seconds[-1]
    return lambda: next(left, last)


@write
async def test_a_write_without_a_tenure_never_leaves(write: Callable[[Client], Awaitable[Any]]) -> None:
    server = Server()
    async with serving(server) as url, connected(url, fence=answers(0.0)) as client:
        with pytest.raises(Fenced, match="does not hold the lease"):
            await write(client)
    assert server.asked == []


@write
@pytest.mark.parametrize("warm", [False, True])
async def test_a_tenure_that_ends_while_a_write_waits_to_be_sent_keeps_it_back(
    write: Callable[[Client], Awaitable[Any]], warm: bool
) -> None:
    server = Server()
    async with serving(server) as url, connected(url, fence=answers(5.0, 0.0)) as client:
        if warm:  # there is a connection already
            await client.list(SERVICES)
            server.asked.clear()
        with pytest.raises(Fenced, match="does not hold the lease"):
            await write(client)
        await asyncio.sleep(0)
        assert server.asked == []
        await client.list(SERVICES)
        assert len(server.asked) == 1, "who only reads goes on"


@pytest.mark.parametrize("request_", OTHERS.values(), ids=OTHERS)
async def test_who_reads_or_renews_needs_no_tenure(request_: Callable[[Client], Awaitable[Any]]) -> None:
    server = Server()
    async with serving(server) as url, connected(url, fence=answers(0.0)) as client:
        await request_(client)
    assert len(server.asked) == 1
    assert "timeout" not in server.asked[0].query


@write
async def test_a_write_ends_on_both_sides_before_another_may_lead(write: Callable[[Client], Awaitable[Any]]) -> None:
    server = Server(seconds=30)
    async with serving(server) as url, connected(url, fence=answers(0.2)) as client:
        begin = monotonic()
        with pytest.raises(Unreachable, match="did not answer in time") as failed:
            await write(client)
        assert 0.1 < monotonic() - begin < 2
        assert not isinstance(failed.value, Fenced), "it was sent, and nobody knows what became of it"
    assert [request.query["timeout"] for request in server.asked] == ["200ms"]


@write
async def test_without_an_election_a_write_says_nothing_of_time(write: Callable[[Client], Awaitable[Any]]) -> None:
    server = Server()
    async with serving(server) as url, connected(url) as client:
        await write(client)
    assert [request.query.get("timeout") for request in server.asked] == [None]
