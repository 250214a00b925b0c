"""Watches against an API server that misbehaves: whatever happens, the sink ends up with the world as it is.

The same against a real one, stopped and started again, is in `tests/api/test_client.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from nodeport_access.kube import (
    SERVICES,
    ApiError,
    Client,
    Forbidden,
    Gone,
    Listing,
    NotFound,
    Unreachable,
    WatchEvent,
)
from nodeport_access.watches import Pace, Roster, Watch
from tests.unit.endless import FAST, eventually, running
from tests.unit.misbehaving_api_server import (
    Handler,
    ServiceWorld,
    answering,
    connected,
    cut,
    expired,
    half_a_line,
    opened,
    refusing,
    send,
    serving,
    silent,
)

LOG = logging.getLogger("test.watches")


class Recorder:
    """A sink that holds what a store would hold."""

    def __init__(self) -> None:
        self.state: dict[str, str] = {}
        self.lists = 0

    def reader(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda body: body

    def replace(self, objects: Sequence[dict[str, Any]], resource_version: str) -> None:
        assert resource_version
        self.lists += 1
        self.state = {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in objects}

    def put(self, body: dict[str, Any]) -> None:
        self.state[body["metadata"]["name"]] = body["metadata"]["resourceVersion"]

    def drop(self, body: dict[str, Any]) -> None:
        del self.state[body["metadata"]["name"]]


class Following:
    """A watch of Services that runs, and what it does to the world outside of it."""

    def __init__(self, *, client: Client, pace: Pace, clock: Callable[[], float]) -> None:
        self.sink = Recorder()
        self.interruptions = 0
        self.watch = Watch(
            client=client,
            resource=SERVICES,
            namespace=None,
            sink=self.sink,
            time=clock,
            random=Random(1),
            log=LOG,
            pace=pace,
        )
        self.watch.on_interrupted = self.interrupted

    def interrupted(self) -> None:
        self.interruptions += 1


@asynccontextmanager
async def following(
    url: str, *, pace: Pace = FAST, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Following]:
    async with connected(url) as client:
        it = Following(client=client, pace=pace, clock=clock)
        async with running(it.watch.run()):
            yield it


async def follows(it: Following, world: ServiceWorld) -> None:
    await eventually(lambda: it.sink.state == world.state)


# --- what goes as it should


async def test_it_lists_once_and_then_hears_of_every_change() -> None:
    world = ServiceWorld("a", "b", "c")
    async with serving(world) as url, following(url) as it:
        assert not it.watch.synced
        await it.watch.wait_synced()
        assert it.watch.synced
        assert it.sink.state == world.state
        await world.put("d")
        await world.put("a")
        await world.delete("b")
        await follows(it, world)
    assert sorted(it.sink.state) == ["a", "c", "d"]
    assert (it.sink.lists, it.watch.restarts, it.interruptions, it.watch.refused) == (1, 0, 0, None)


async def test_a_planned_end_leads_to_a_new_stream_from_the_version_last_seen_and_not_to_a_list() -> None:
    world = ServiceWorld("a", "b")
    world.stream_seconds, world.bookmark_seconds = 0.4, 60
    async with serving(world) as url, following(url) as it:
        await eventually(lambda: len(world.asked) == 2)
        listed = world.version
        await world.put("c")
        seen = world.version
        await eventually(lambda: len(world.asked) == 5)
        await world.delete("a")
        await follows(it, world)
    assert world.asked[:5] == ["list", f"watch {listed}", *[f"watch {seen}"] * 3]
    assert (it.sink.lists, it.watch.restarts, it.interruptions, it.watch.refused) == (1, 0, 0, None)


async def test_bookmarks_move_the_version_so_that_a_quiet_watch_does_not_grow_old() -> None:
    world = ServiceWorld("a")
    world.stream_seconds = 0.2
    async with serving(world) as url, following(url) as it:
        await it.watch.wait_synced()
        heard = it.watch.last_word
        await eventually(lambda: it.watch.last_word > heard)
        world.version += 1000  # other kinds of objects change
        await eventually(lambda: world.asked[-1] == f"watch {world.version}")
        assert it.sink.lists == 1


async def test_a_stream_is_asked_to_last_between_four_and_six_minutes() -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            asked.append(int(request.query["timeoutSeconds"]))
        return await world(request)

    world = ServiceWorld("a")
    world.stream_seconds = 0.02
    async with serving(handler) as url, following(url):
        await eventually(lambda: len(asked) >= 20)
    assert all(240 <= seconds <= 360 for seconds in asked)
    assert len(set(asked)) > 10


async def test_more_than_one_chunk_is_one_list() -> None:
    world = ServiceWorld(*(f"s{number:04}" for number in range(1200)))
    async with serving(world) as url, following(url) as it:
        await follows(it, world)
    assert world.asked[:3] == ["list"] * 3
    assert it.sink.lists == 1


# --- streams that are lost


async def error_410(request: web.Request) -> web.StreamResponse:
    response = await opened(request)
    await send(response, expired())
    return response


async def error_500(request: web.Request) -> web.StreamResponse:
    response = await opened(request)
    await send(response, {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcd"}})
    return response


async def unknown_event(request: web.Request) -> web.StreamResponse:
    response = await opened(request)
    await send(response, {"type": "RENAMED", "object": {"metadata": {"resourceVersion": "1000"}}})
    return response


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(error_410, id="an ERROR event 410"),
        pytest.param(refusing(410, reason="Expired", message="too old"), id="HTTP 410"),
        pytest.param(error_500, id="an ERROR event 500"),
        pytest.param(cut, id="a connection that drops"),
        pytest.param(half_a_line, id="an end in the middle of a line"),
        pytest.param(silent, id="silence"),
        pytest.param(unknown_event, id="an event of an unknown type"),
    ],
)
async def test_a_lost_stream_leads_to_a_list_that_finds_what_was_deleted_meanwhile(fault: Handler) -> None:
    world = ServiceWorld("a", "b")

    async def deletion_unheard(request: web.Request) -> web.StreamResponse:
        world.lose("a")
        return await fault(request)

    world.watch_faults = [deletion_unheard]
    async with serving(world) as url, following(url) as it:
        await eventually(lambda: sorted(it.sink.state) == ["a", "b"])
        await eventually(lambda: sorted(it.sink.state) == ["b"])
        await world.put("c")
        await follows(it, world)
        assert (it.sink.lists, it.watch.restarts, it.interruptions) == (2, 1, 1)
        await eventually(lambda: it.watch.refused is None)


async def test_a_continue_token_that_expires_begins_the_list_again() -> None:
    world = ServiceWorld(*(f"s{number:04}" for number in range(1200)))

    async def first_chunk_then_compaction(request: web.Request) -> web.Response:
        response = await world.list(request)
        world.lose("s0001")
        world.forget()
        return response

    world.list_faults = [first_chunk_then_compaction]
    async with serving(world) as url, following(url) as it:
        await follows(it, world)
    assert len(it.sink.state) == 1199
    assert it.sink.lists == 1, "the half of a list never reaches the sink"


async def test_a_token_that_expires_again_and_again_is_waited_out() -> None:
    world = ServiceWorld(*(f"s{number:04}" for number in range(600)))

    async def first_chunk_then_compaction(request: web.Request) -> web.Response:
        response = await world.list(request)
        world.forget()
        return response

    world.list_faults = [first_chunk_then_compaction, world.list] * 6
    async with serving(world) as url, following(url) as it:
        await eventually(lambda: isinstance(it.watch.refused, Gone))
        await follows(it, world)
        await eventually(lambda: it.watch.refused is None)


async def test_what_was_deleted_during_an_outage_is_found_when_the_api_server_is_back() -> None:
    world = ServiceWorld("a", "b")
    async with serving(world) as url:
        port = urlsplit(url).port or 0
        async with following(url) as it:
            pass
    async with connected(url) as client:
        it = Following(client=client, pace=FAST, clock=time.monotonic)
        async with running(it.watch.run()):
            async with serving(world, port=port):
                await follows(it, world)
                await eventually(lambda: world.asked[-1].startswith("watch"))
            await eventually(lambda: isinstance(it.watch.refused, Unreachable))
            assert sorted(it.sink.state) == ["a", "b"], "an outage takes nothing away"
            assert it.watch.synced
            world.lose("a")
            async with serving(world, port=port):
                await follows(it, world)
                await eventually(lambda: it.watch.refused is None)
    assert it.interruptions >= 1


# --- refusals

REFUSALS = [
    pytest.param(answering(429), Unreachable, "429 Too Many Requests", id="429"),
    pytest.param(answering(503), Unreachable, "503 Service Unavailable", id="503"),
    pytest.param(answering(200, text="<html>"), Unreachable, "the answer is not JSON", id="a login page"),
    pytest.param(cut, Unreachable, "cannot be reached", id="a connection that drops"),
    pytest.param(
        answering(404, text="404 page not found"),
        NotFound,
        "the API server does not serve it (is its CustomResourceDefinition there?)",
        id="a 404 that is not JSON",
    ),
    pytest.param(
        refusing(403, reason="Forbidden", message='User "x" cannot list resource "services"'),
        Forbidden,
        'not allowed to list services: User "x" cannot list resource "services"',
        id="403",
    ),
]


@pytest.mark.parametrize(("fault", "kind", "words"), REFUSALS)
async def test_a_refused_list_is_said_once_with_its_reason_and_works_soon_after_it_is_granted(
    fault: Handler, kind: type[Exception], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    world = ServiceWorld("a")
    world.list_faults = [fault] * 5
    async with serving(world) as url, following(url) as it:
        await eventually(lambda: isinstance(it.watch.refused, kind))
        assert not it.watch.synced
        await follows(it, world)
        await eventually(lambda: it.watch.refused is None)
    complaint, relief = (record for record in caplog.records if record.name == LOG.name)
    assert (complaint.levelname, relief.levelname) == ("WARNING", "INFO")
    assert complaint.getMessage().startswith("services: ")
    assert words in complaint.getMessage()
    assert "list services" in complaint.getMessage()
    assert relief.getMessage() == "services: works again"
    assert complaint.__dict__["resource"] == "services"
    assert it.interruptions == 0


async def test_a_refused_watch_is_tried_again_without_listing_everything_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = ServiceWorld("a")
    world.watch_faults = [refusing(403, reason="Forbidden", message="User x cannot watch services")] * 5
    async with serving(world) as url, following(url) as it:
        await eventually(lambda: isinstance(it.watch.refused, Forbidden))
        await world.put("b")
        await follows(it, world)
        await eventually(lambda: it.watch.refused is None)
        assert it.sink.lists == 1
    said = [record.getMessage() for record in caplog.records if record.name == LOG.name]
    assert said == ["services: not allowed to watch services: User x cannot watch services"]


async def test_an_api_server_that_names_a_time_is_given_it_within_reason() -> None:
    world = ServiceWorld("a")
    world.list_faults = [answering(429, headers={"Retry-After": "3600"})]
    started = time.monotonic()
    async with serving(world) as url, following(url) as it:
        await follows(it, world)
    assert 0.4 <= time.monotonic() - started < 15


# --- pauses, at their real length, on a clock that does not wait


class ScriptedClient:
    """Answers each list and each opening of a watch with the next of its script, and notes when it was asked."""

    def __init__(self, *script: ApiError | float) -> None:
        """An error refuses; a number is a list, or a stream that lasts so many seconds and then, if below 0, drops."""
        self.script = list(script)
        self.asked: list[float] = []
        self.lists = 0

    def _next(self) -> float:
        self.asked.append(asyncio.get_running_loop().time())
        answer = self.script.pop(0) if self.script else 1e6
        if isinstance(answer, ApiError):
            raise answer
        return answer

    async def list(self, *_: object, **__: object) -> Listing[Any]:
        self._next()
        self.lists += 1
        return Listing(items=(), resource_version="1")

    @asynccontextmanager
    async def watch(self, *_: object, **__: object) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        async with aclosing(self._stream(self._next())) as events:
            yield events

    async def _stream(self, lasts: float) -> AsyncGenerator[WatchEvent, None]:
        seconds = abs(lasts)
        while seconds > 60:
            await asyncio.sleep(60)
            seconds -= 60
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "2"}})
        await asyncio.sleep(seconds)
        if lasts < 0:
            raise BUSY

    @property
    def pauses(self) -> tuple[float, ...]:
        return tuple(later - earlier for earlier, later in pairwise(self.asked))


BUSY = Unreachable(status=503, reason="Service Unavailable", message="busy")
DENIED = Forbidden(status=403, reason="Forbidden", message="no")


async def play(client: ScriptedClient, *, seconds: float, dispensable: bool = False) -> Watch:
    loop = asyncio.get_running_loop()
    watch = Watch(
        client=cast(Client, client),
        resource=SERVICES,
        namespace=None,
        sink=Recorder(),
        time=loop.time,
        random=Random(1),
        log=LOG,
        dispensable=dispensable,
    )
    async with running(watch.run()):
        await asyncio.sleep(seconds)
    return watch


@pytest.mark.looptime
async def test_pauses_grow_to_ten_seconds_while_the_api_server_is_away() -> None:
    client = ScriptedClient(*[BUSY] * 200)
    await play(client, seconds=600)
    assert all(0.5 <= pause <= 10 for pause in client.pauses)
    assert client.pauses[0] <= 1
    assert max(client.pauses) > 8
    assert len({round(pause, 3) for pause in client.pauses}) > 50, "no two instances knock at the same time"


@pytest.mark.looptime
async def test_a_stream_that_lasted_ends_the_row_of_failures_and_one_that_did_not_goes_on_with_it() -> None:
    lasted = ScriptedClient(*[BUSY] * 12, 0, -11, 0, -11, 0, -11)
    await play(lasted, seconds=600)
    assert all(pause <= 12 for pause in lasted.pauses[-6:])
    short = ScriptedClient(*[BUSY] * 12, *[0, -2] * 20)
    await play(short, seconds=600)
    assert max(short.pauses[13:]) > 10, "2 s of stream and 8 s of pause, and more"


@pytest.mark.looptime
async def test_a_stream_that_ends_as_soon_as_it_is_open_is_not_opened_again_in_a_hot_loop() -> None:
    client = ScriptedClient(*[0] * 1000)
    watch = await play(client, seconds=60)
    assert all(0.5 <= pause <= 10 for pause in client.pauses[1:])
    assert (client.lists, watch.restarts) == (1, 0), "nothing was lost"
    assert isinstance(watch.refused, Unreachable)


@pytest.mark.looptime
async def test_a_permission_that_is_granted_has_its_effect_within_five_seconds() -> None:
    client = ScriptedClient(*[DENIED] * 100)
    watch = await play(client, seconds=200)
    assert all(2 <= pause <= 5 for pause in client.pauses)
    assert watch.refused is DENIED
    assert not watch.synced


@pytest.mark.looptime
async def test_what_may_be_withheld_is_asked_for_every_few_minutes_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    client = ScriptedClient(*[DENIED] * 100)
    watch = await play(client, seconds=2000, dispensable=True)
    assert len(client.pauses) >= 5
    assert all(240 <= pause <= 360 for pause in client.pauses)
    assert (watch.withheld, watch.synced) == (True, False)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "services: done without: no")
    ]


@pytest.mark.looptime
async def test_what_was_withheld_and_is_granted_works_and_is_missed_when_it_is_taken_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    client = ScriptedClient(DENIED, 0, 20, *[DENIED] * 100)
    watch = await play(client, seconds=600, dispensable=True)
    assert watch.synced
    assert watch.refused is DENIED
    assert not watch.withheld
    assert all(2 <= pause <= 5 for pause in client.pauses[3:])
    assert caplog.messages[:3] == [
        "services: done without: no",
        "services: works again",
        "services: not allowed to watch services: no",
    ]


@pytest.mark.looptime
async def test_an_outage_does_not_decide_whether_there_is_a_list_and_a_refusal_does() -> None:
    decided = {}
    for answer in (BUSY, DENIED, 0.0):
        watch = await play(ScriptedClient(*[answer] * 1000), seconds=30, dispensable=True)
        decided[answer] = watch._decided.is_set()
        assert not (watch.withheld and answer is not DENIED)
    assert decided == {BUSY: False, DENIED: True, 0.0: True}


@pytest.mark.looptime
async def test_it_complains_once_a_minute_and_not_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    await play(ScriptedClient(*[DENIED] * 100), seconds=200)
    assert caplog.messages == ["services: not allowed to list services: no"] * 4


@pytest.mark.looptime
async def test_a_watch_that_comes_and_goes_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    watch = await play(ScriptedClient(*[0, -3] * 100), seconds=300)
    assert watch.restarts > 30
    assert 8 <= len(caplog.messages) <= 10, "a complaint and a relief a minute"


@pytest.mark.looptime
async def test_a_version_that_grew_too_old_is_no_reason_to_complain(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    old = Gone(status=410, reason="Expired", message="too old")
    watch = await play(ScriptedClient(0, old), seconds=60)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert (watch.restarts, watch.refused) == (1, None)


@pytest.mark.looptime
async def test_nor_is_it_after_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=LOG.name)
    old = Gone(status=410, reason="Expired", message="too old")
    watch = await play(ScriptedClient(0, BUSY, BUSY, old), seconds=60)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert "too old" in caplog.records[1].getMessage()
    assert "works again" in caplog.records[2].getMessage()
    assert watch.refused is None


@pytest.mark.looptime
async def test_a_version_that_is_too_old_again_and_again_is_one(caplog: pytest.LogCaptureFixture) -> None:
    old = Gone(status=410, reason="Expired", message="too old")
    caplog.set_level(logging.INFO, logger=LOG.name)
    await play(ScriptedClient(0, old, 0, old, 0, old), seconds=15)
    assert [record.levelname for record in caplog.records][:2] == ["INFO", "WARNING"]


@pytest.mark.looptime
async def test_bookmarks_a_minute_apart_keep_a_stream_alive_and_silence_ends_it_after_ninety_seconds() -> None:
    client = ScriptedClient(0, 3600)
    watch = await play(client, seconds=3000)
    assert (len(client.asked), watch.restarts) == (2, 0)

    class Silent(ScriptedClient):
        async def _stream(self, lasts: float) -> AsyncGenerator[WatchEvent, None]:
            await asyncio.sleep(lasts)
            yield WatchEvent("BOOKMARK", {})

    client = Silent()
    watch = await play(client, seconds=95)
    assert (len(client.asked), watch.restarts) == (4, 1)
    assert 90 <= client.pauses[1] <= 91
    assert watch.refused is None


# --- crashes, and the end


async def test_a_crash_of_the_sink_ends_the_watch_with_that_crash() -> None:
    class Crashing(Recorder):
        def put(self, body: dict[str, Any]) -> None:
            raise TimeoutError(body["metadata"]["name"])  # of all errors the one that looks like a failing network

    world = ServiceWorld("a")
    async with serving(world) as url, connected(url) as client:
        watch = Watch(
            client=client,
            resource=SERVICES,
            namespace=None,
            sink=Crashing(),
            time=time.monotonic,
            random=Random(1),
            log=LOG,
            pace=FAST,
        )
        task = asyncio.create_task(watch.run())
        await watch.wait_synced()
        await world.put("b")
        with pytest.raises(TimeoutError, match="b"):
            await asyncio.wait_for(task, 20)


async def test_a_watch_ends_at_once_when_it_is_cancelled() -> None:
    world = ServiceWorld("a")
    async with serving(world) as url, following(url) as it:
        await it.watch.wait_synced()
        started = time.monotonic()
    assert time.monotonic() - started < 3


# --- the roster


@asynccontextmanager
async def listing(url: str) -> AsyncIterator[tuple[Roster, Recorder]]:
    async with connected(url) as client:
        sink = Recorder()
        roster = Roster(
            client=client,
            resource=SERVICES,
            namespace=None,
            sink=sink,
            time=time.monotonic,
            random=Random(1),
            log=LOG,
            pace=FAST,
        )
        async with running(roster.run()):
            yield roster, sink


async def test_the_roster_is_taken_at_the_start_and_whenever_somebody_asks() -> None:
    world = ServiceWorld("a", "b")
    async with serving(world) as url, listing(url) as (roster, sink):
        await asyncio.wait_for(roster.wait_synced(), 20)
        assert sink.state == world.state
        first = roster.last_word
        world.lose("a")
        roster.trigger()
        await eventually(lambda: sorted(sink.state) == ["b"])
        assert roster.last_word > first
        assert sink.lists == 2
    assert set(world.asked) == {"list"}


async def test_a_question_during_a_list_leads_to_another_list() -> None:
    world = ServiceWorld("a", "b")

    async def deletion_after_the_list(request: web.Request) -> web.Response:
        response = await world.list(request)
        world.lose("a")
        roster.trigger()
        return response

    world.list_faults = [deletion_after_the_list]
    async with serving(world) as url, listing(url) as (roster, sink):
        await eventually(lambda: sorted(sink.state) == ["b"])


@pytest.mark.looptime
async def test_the_roster_is_taken_every_five_minutes_though_nobody_asks() -> None:
    client = ScriptedClient()
    async with calling(client):
        await asyncio.sleep(1000)
    assert [round(at) for at in client.asked] == [0, 300, 600, 900]


@pytest.mark.looptime
async def test_a_roster_that_was_asked_for_is_taken_at_once_and_the_next_five_minutes_later() -> None:
    client = ScriptedClient()
    async with calling(client) as roster:
        await asyncio.sleep(100)
        roster.trigger()
        await asyncio.sleep(500)
    assert [round(at) for at in client.asked] == [0, 100, 400]


@pytest.mark.looptime
async def test_who_cannot_wait_for_others_to_ask_has_a_list_at_once_also_while_they_are_waited_for() -> None:
    client = ScriptedClient()
    async with calling(client) as roster:
        await asyncio.sleep(10)
        roster.trigger(at_once=True)
        await asyncio.sleep(10)
        roster.trigger()
        await asyncio.sleep(0.2)
        roster.trigger(at_once=True)
        await asyncio.sleep(10)
    assert [round(at, 3) for at in client.asked] == [0, 10, 20.2]


@pytest.mark.looptime
async def test_many_questions_at_once_are_one_list() -> None:
    client = ScriptedClient()
    async with calling(client) as roster:
        await asyncio.sleep(10)
        for _ in range(4):
            roster.trigger()
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
    assert [round(at) for at in client.asked] == [0, 10]


@asynccontextmanager
async def calling(client: ScriptedClient) -> AsyncIterator[Roster]:
    """The roster at its real pace, on a clock that does not wait."""
    roster = Roster(
        client=cast(Client, client),
        resource=SERVICES,
        namespace=None,
        sink=Recorder(),
        time=asyncio.get_running_loop().time,
        random=Random(1),
        log=LOG,
    )
    async with running(roster.run()):
        yield roster


async def test_a_roster_waits_for_a_crd_that_is_not_there_yet() -> None:
    world = ServiceWorld("a")
    world.list_faults = [answering(404, text="404 page not found")] * 3
    async with serving(world) as url, listing(url) as (roster, sink):
        await eventually(lambda: isinstance(roster.refused, NotFound))
        assert not roster.synced
        await eventually(lambda: roster.synced)
        assert (sink.state, roster.refused) == (world.state, None)


async def test_whoever_waits_for_the_end_of_an_outage_is_told_once() -> None:
    world = ServiceWorld("a")
    world.list_faults = [answering(503)] * 3
    recovered: list[str] = []
    async with serving(world) as url, listing(url) as (roster, sink):
        roster.on_recovered = lambda: recovered.append("again")
        await eventually(lambda: recovered == ["again"])
        assert (sink.state, roster.refused) == (world.state, None)
        roster.trigger()
        await eventually(lambda: sink.lists == 2)
        assert recovered == ["again"]
