"""Pods of the namespaces that are wanted, one by one and, where they are many, by one watch of the whole cluster: on
real connections, against an API server that misbehaves on request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeport_access.pod_watches import PodWatches
from nodeport_access.shelf import Shelf
from tests.unit.endless import FAST, eventually, running
from tests.unit.misbehaving_api_server import ServiceWorld, connected, cut, refusing, serving

LOG = logging.getLogger("test.pods")


@dataclass(frozen=True)
class Pod:
    namespace: str
    name: str
    version: str


class Pods:
    """A cluster of pods, and what it was asked for."""

    def __init__(self, *names: str) -> None:
        self.world = ServiceWorld(*names)
        self.streams: list[str] = []
        self.hold: dict[str, asyncio.Event] = {}
        """Lists by the namespace they are of, empty for all, that are answered only later."""
        self.held: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        assert "PartialObjectMetadata" in request.headers["Accept"]
        assert request.path.endswith("/pods")
        namespace = request.path.partition("/namespaces/")[2].partition("/")[0]
        if "watch" not in request.query:
            if namespace in self.hold:
                self.held.append(namespace)
                await self.hold[namespace].wait()
            return await self.world(request)
        self.streams.append(namespace)
        try:
            return await self.world(request)
        finally:
            self.streams.remove(namespace)

    def of(self, *namespaces: str) -> dict[str, str]:
        return {name: at for name, at in self.world.state.items() if name.split("/")[0] in namespaces}


class Following:
    """Pod watches that run, and what is known by them."""

    def __init__(self, watches: PodWatches, shelf: Shelf[Pod]) -> None:
        self.watches, self.shelf = watches, shelf
        self.listed: list[str] = []
        watches.on_listed = self.listed.extend

    @property
    def known(self) -> dict[str, str]:
        return {f"{pod.namespace}/{pod.name}": pod.version for pod in self.shelf}

    async def want(self, *namespaces: str) -> None:
        self.watches.want(namespaces)
        await asyncio.wait_for(self.watches.wait_answered(), 10)


def parse(body: dict[str, Any]) -> Pod:
    metadata = body["metadata"]
    return Pod(metadata["namespace"], metadata["name"], metadata["resourceVersion"])


@asynccontextmanager
async def following(pods: Pods, *, limit: int | None = None) -> AsyncIterator[Following]:
    shelf = Shelf(parse=parse, changed=lambda _, __: None)
    async with serving(pods) as url, connected(url) as client:
        watches = PodWatches(
            client=client,
            shelf=shelf,
            limit=limit,
            time=time.monotonic,
            random=Random(1),
            log=LOG,
            pace=FAST,
        )
        async with running(watches.run()):
            yield Following(watches, shelf)


@asynccontextmanager
async def listing_all(pods: Pods, *namespaces: str) -> AsyncIterator[Following]:
    """These namespaces are wanted, and the list of all pods is under way until ``pods.hold`` lets go of it."""
    pods.hold[""] = asyncio.Event()
    async with following(pods, limit=1) as it:
        it.watches.want(namespaces)
        await eventually(lambda: pods.held == [""])
        yield it


either_way = pytest.mark.parametrize("limit", [None, 1], ids=["one by one", "by one watch"])


@either_way
async def test_pods_are_known_in_the_namespaces_wanted_and_forgotten_in_all_others(limit: int | None) -> None:
    pods = Pods("a/x", "b/y", "c/z")
    async with following(pods, limit=limit) as it:
        await it.want()
        await it.want("a", "b")
        assert it.known == pods.of("a", "b")
        await it.want("b", "c")
        await pods.world.put("a/unheard")
        await pods.world.put("b/new")
        await eventually(lambda: it.known == pods.of("b", "c"))
        await it.want("a", "b", "c")
        assert it.known == pods.of("a", "b", "c")
        await pods.world.delete("a/unheard")
        await pods.world.put("a/x")
        await eventually(lambda: it.known == pods.of("a", "b", "c"))
        assert all(map(it.watches.answered_in, "abc"))
        assert not it.watches.answered_in("d")
        assert sorted(it.listed) == ["a", "a", "b", "c"]


async def test_a_few_namespaces_are_watched_one_by_one_and_the_others_go_on_undisturbed() -> None:
    pods = Pods("a/x", "b/y", "c/z")
    async with following(pods, limit=2) as it:
        await it.want("a", "b")
        await eventually(lambda: sorted(pods.streams) == ["a", "b"])
        await it.want("b", "c")
        await eventually(lambda: sorted({source.namespace or "" for source in it.watches.sources}) == ["b", "c"])
        assert pods.world.asked.count("list") == 3


async def test_many_namespaces_take_one_list_and_one_stream() -> None:
    pods = Pods("a/x", "b/y", "c/z", "d/other")
    async with following(pods, limit=2) as it:
        await it.want("a", "b", "c")
        assert it.known == pods.of("a", "b", "c")
        assert pods.world.asked.count("list") == 1
        await eventually(lambda: pods.streams == [""])


async def test_watches_of_single_namespaces_end_when_there_are_many_and_what_they_knew_stays() -> None:
    pods = Pods("a/x", "b/y", "c/z")
    async with following(pods, limit=2) as it:
        await it.want("a", "b")
        pods.hold[""] = asyncio.Event()
        it.watches.want("abc")
        await eventually(lambda: [source.namespace for source in it.watches.sources] == [None])
        assert it.known == pods.of("a", "b")
        assert [name for name in "abc" if it.watches.answered_in(name)] == ["a", "b"]
        pods.hold[""].set()
        await it.want(*"abc")
        assert it.known == pods.of("a", "b", "c")
        await it.want("a")
        assert it.known == pods.of("a")
        assert [source.namespace for source in it.watches.sources] == [None]


async def test_a_namespace_wanted_while_all_are_listed_is_listed_by_itself_afterwards() -> None:
    pods = Pods("a/x", "b/y", "c/z")
    async with listing_all(pods, "a", "b") as it:
        it.watches.want("abc")
        await asyncio.sleep(0.1)
        assert not any(map(it.watches.answered_in, "abc"))
        await pods.world.delete("c/z")
        await pods.world.put("c/later")
        pods.hold[""].set()
        await it.want(*"abc")
        await eventually(lambda: it.known == pods.of("a", "b", "c"))
        await eventually(lambda: [source.namespace for source in it.watches.sources] == [None])


async def test_a_namespace_that_nobody_wants_any_more_is_not_in_the_list_that_was_under_way() -> None:
    pods = Pods("a/x", "b/y", "c/z")
    async with listing_all(pods, "a", "b") as it:
        it.watches.want("a")
        await asyncio.sleep(0.1)
        pods.hold[""].set()
        await it.want("a")
        assert (it.known, it.listed) == (pods.of("a"), ["a"])


@either_way
async def test_what_happened_while_no_stream_was_open_is_made_up_for(limit: int | None) -> None:
    pods = Pods("a/x", "b/y", "b/lost", "c/z")
    async with following(pods, limit=limit) as it:
        pods.world.watch_faults = [cut] * 6
        await it.want("a", "b")
        pods.world.lose("b/lost")
        await pods.world.put("c/unheard")
        await it.want("a", "b", "c")
        await eventually(lambda: it.known == pods.of("a", "b", "c"))


@either_way
async def test_what_is_not_allowed_holds_up_nobody_and_is_told_of_once_it_is(limit: int | None) -> None:
    pods = Pods("a/x", "b/y")
    pods.world.list_faults = [refusing(403, reason="Forbidden", message="no")] * 1000
    async with following(pods, limit=limit) as it:
        await it.want("a", "b")
        assert [it.watches.answered_in(namespace) for namespace in "abc"] == [True, True, False]
        assert {str(source.refused) for source in it.watches.sources} == {"403 Forbidden: no"}
        assert it.listed == []
        pods.world.list_faults.clear()
        await eventually(lambda: sorted(it.listed) == ["a", "b"])
        assert it.known == pods.of("a", "b")


async def test_whoever_waits_for_pods_waits_for_the_namespaces_wanted_by_then() -> None:
    pods = Pods("a/x", "b/y")
    pods.hold["b"] = asyncio.Event()
    async with following(pods) as it:
        it.watches.want("ab")
        waiting = [asyncio.create_task(it.watches.wait_answered()) for _ in range(2)]
        await eventually(lambda: it.known == pods.of("a"))
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        it.watches.want("a")
        await asyncio.wait_for(asyncio.gather(*waiting), 10)


@either_way
async def test_a_crash_in_one_namespace_ends_them_all(limit: int | None) -> None:
    def crash(body: dict[str, Any]) -> Pod:
        raise ZeroDivisionError(body)

    shelf = Shelf(parse=crash, changed=lambda _, __: None)
    async with serving(Pods("a/x", "b/y")) as url, connected(url) as client:
        watches = PodWatches(client=client, shelf=shelf, limit=limit, time=time.monotonic, random=Random(1), log=LOG)
        task = asyncio.create_task(watches.run())
        watches.want("ab")
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.wait_for(task, 20)
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


NAMESPACES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.frozensets(NAMESPACES)),
        st.tuples(st.just("put"), st.tuples(NAMESPACES, st.sampled_from("xyz"))),
        st.tuples(st.just("delete"), st.tuples(NAMESPACES, st.sampled_from("xyz"))),
        st.tuples(st.just("cut"), st.none()),
        st.tuples(st.just("wait"), st.floats(0, 0.02)),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, limit=st.sampled_from([None, 0, 1, 2]))
def test_whatever_happens_the_pods_wanted_are_known_in_the_end_and_no_others(
    steps: list[tuple[str, Any]], limit: int | None
) -> None:
    async def live() -> None:
        pods = Pods("a/x", "b/y", "c/z")
        async with following(pods, limit=limit) as it:
            wanted: frozenset[str] = frozenset()
            for what, value in steps:
                match what:
                    case "want":
                        wanted = value
                        it.watches.want(wanted)
                    case "put":
                        await pods.world.put("/".join(value))
                    case "delete" if "/".join(value) in pods.world.services:
                        await pods.world.delete("/".join(value))
                    case "cut":
                        pods.world.watch_faults.append(cut)
                    case "wait":
                        await asyncio.sleep(value)
            await it.want(*wanted)
            await eventually(lambda: it.known == pods.of(*wanted))

    asyncio.run(live())
