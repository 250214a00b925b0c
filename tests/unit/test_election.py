"""The election in simulated time: never two who may write, and one in the end, whatever becomes of requests, of
processes and of the Lease.

Not the business of this module: a real API server, and real processes (tests/api/test_failover.py).
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.complaints import Complaints
from nodeport_access.election import RETRY_SECONDS, Election, LeaseLost
from nodeport_access.kube import ApiError, Conflict, Forbidden, NotFound, Resource, Unreachable
from nodeport_access.lease import LONGEST_SECONDS, NAME, record_of
from nodeport_access.tenure import LAST_SECONDS, LEASE_SECONDS, RENEW_SECONDS, Tenure
from tests.unit.strategies import properties

NAMESPACE = "system"
NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
RELEASED = {
    "holderIdentity": "",
    "leaseDurationSeconds": 1,
    "acquireTime": "2026-06-01T12:00:00.000000Z",
    "renewTime": "2026-06-01T12:00:00.000000Z",
}
AWAY = Unreachable(message="https://10.0.0.1 cannot be reached")


def now() -> float:
    return asyncio.get_running_loop().time()


async def at_once(_: str) -> None:
    """A way to the API server without length."""


@dataclass
class Server:
    """Keeps one Lease, with versions, as the API server does."""

    lease: Body | None = None
    versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def put(self, spec: Body | None, *, uid: str = "") -> Body:
        version = next(self.versions)
        kept = uid or f"uid-{version}"
        self.lease = {"metadata": {"name": NAME, "uid": kept, "resourceVersion": str(version)}, "spec": spec}
        return copy.deepcopy(self.lease)

    def edit(self, **changes: Any) -> None:
        """By a stranger, over whatever is there."""
        if self.lease is not None:
            self.put({**(self.lease["spec"] or {}), **changes}, uid=self.lease["metadata"]["uid"])

    @property
    def holder(self) -> str:
        return record_of(self.lease or {}).holder

    # --- what the API server does with a request

    def get(self) -> Body:
        if self.lease is None:
            raise NotFound(status=404, reason="NotFound", message="not found", name=NAME)
        return copy.deepcopy(self.lease)

    def create(self, body: Body) -> Body:
        if self.lease is not None:
            raise Conflict(status=409, reason="AlreadyExists", message="already exists")
        return self.put(body["spec"])

    def replace(self, body: Body) -> Body:
        if self.lease is None or body["metadata"] != self.lease["metadata"]:
            raise Conflict(status=409, reason="Conflict", message="the object has been modified")
        return self.put(body["spec"], uid=body["metadata"]["uid"])


@dataclass
class Way:
    """The way of one replica to the server; ``before`` and ``after`` are awaited around each request, and may raise."""

    server: Server
    before: Callable[[str], Awaitable[None]] = at_once
    after: Callable[[str], Awaitable[None]] = at_once
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def get(self, _: Resource, *, namespace: str | None, name: str) -> Body:
        assert (namespace, name) == (NAMESPACE, NAME)
        return await self._ask("get", self.server.get)

    async def create(self, _: Resource, *, namespace: str | None, body: Body) -> Body:
        assert namespace == NAMESPACE
        return await self._ask("create", lambda: self.server.create(body))

    async def replace(self, _: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        assert (namespace, name) == (NAMESPACE, NAME)
        return await self._ask("replace", lambda: self.server.replace(body))

    async def _ask(self, verb: str, carry_out: Callable[[], Body]) -> Body:
        self.asked.append((now(), verb))
        await self.before(verb)
        answer = carry_out()
        await self.after(verb)
        return answer


class Replica:
    """One process that stands for election from when this is made."""

    def __init__(
        self,
        name: str,
        server: Server,
        *,
        way: Way | None = None,
        time: Callable[[], float] = now,
        clock: Callable[[], datetime] | None = None,
        random: Random | None = None,
    ) -> None:
        self.name = name
        self.way = way or Way(server)
        self.tenure = Tenure(elected=True, time=time)
        self.election = Election(
            leases=self.way,
            namespace=NAMESPACE,
            identity=name,
            tenure=self.tenure,
            clock=clock or (lambda: NOW + timedelta(seconds=now())),
            time=time,
            random=random or Random(0),
            log=logging.getLogger("test.election"),
            complaints=Complaints(time=now),
        )
        self.task = asyncio.create_task(self.election.run(candidate=_no_wait))

    @property
    def leads(self) -> bool:
        return self.tenure.leads

    async def end(self) -> None:
        """Orderly, or as a crash leaves it: without a release it makes no difference to the others."""
        self.task.cancel()
        with suppress(asyncio.CancelledError, LeaseLost):
            await self.task

    async def leads_after(self, *, seconds: float = 120) -> float:
        """Wait until it leads; when it did."""
        async with asyncio.timeout(seconds):
            await self.tenure.wait()
        return now()

    async def lost(self) -> str:
        with pytest.raises(LeaseLost) as lost:
            await self.task
        return str(lost.value)


async def a_leader_and_another() -> tuple[Server, Replica, Replica]:
    """The server, who has taken the released lease, and who stands for it since then."""
    server = Server()
    server.put(RELEASED)
    one = Replica("one", server)
    await one.leads_after()
    return server, one, Replica("other", server)


async def _no_wait() -> None:
    pass


def run(main: Coroutine[Any, Any, None]) -> None:
    """In virtual time that begins at 0."""
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        runner.run(main)


pytestmark = pytest.mark.filterwarnings("error")


# --- who leads, and when ---


@pytest.mark.looptime
async def test_on_a_new_cluster_the_first_one_leads_when_nobody_else_has_shown_up() -> None:
    server = Server()
    one = Replica("one", server)
    begin = now()
    assert LEASE_SECONDS <= await one.leads_after() - begin <= LEASE_SECONDS + RETRY_SECONDS
    assert server.holder == "one"
    await one.end()


@pytest.mark.looptime
async def test_a_lease_that_was_released_is_taken_at_once() -> None:
    server = Server()
    server.put({**RELEASED, "leaseTransitions": 4})
    one = Replica("one", server)
    begin = now()
    assert await one.leads_after() - begin < 0.1
    assert record_of(server.get()).transitions == 5
    await one.end()


@pytest.mark.looptime
async def test_while_a_leader_renews_the_other_one_waits() -> None:
    _, one, other = await a_leader_and_another()
    for _ in range(3_000):
        await asyncio.sleep(0.1)
        assert (one.leads, other.leads) == (True, False)
    assert {verb for _, verb in other.way.asked} == {"get"}
    renewals = [at for at, verb in one.way.asked if verb == "replace"]
    assert max(after - before for before, after in itertools.pairwise(renewals)) <= RETRY_SECONDS
    assert len(one.way.asked) == len(renewals) + 1, "a leader asks once for each renewal"
    await one.end()
    await other.end()


@pytest.mark.looptime
async def test_a_dead_leader_is_waited_for_from_when_its_lease_was_last_seen_to_change() -> None:
    server = Server()
    server.put({"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2026-06-01T12:00:00.000000Z"})
    one = Replica("one", server)
    begin = now()
    assert LEASE_SECONDS <= await one.leads_after() - begin <= LEASE_SECONDS + RETRY_SECONDS
    await one.end()


@pytest.mark.looptime
@pytest.mark.parametrize("hours", [-1_000, 1_000])
async def test_wall_clocks_that_disagree_change_nothing(hours: int) -> None:
    server = Server()
    server.put(RELEASED)
    one = Replica("one", server)
    await one.leads_after()
    other = Replica("other", server, clock=lambda: NOW + timedelta(hours=hours))
    await asyncio.sleep(60)
    assert (one.leads, other.leads) == (True, False)
    await one.end()
    begin = now()
    assert LEASE_SECONDS - RETRY_SECONDS <= await other.leads_after() - begin <= LEASE_SECONDS + RETRY_SECONDS
    await other.end()


@pytest.mark.looptime
async def test_who_ends_in_order_is_followed_within_a_retry_period() -> None:
    server, one, other = await a_leader_and_another()
    await asyncio.sleep(30)
    await one.end()
    await one.election.release()
    assert not one.leads
    assert (server.holder, record_of(server.get()).released) == ("", True)
    begin = now()
    assert await other.leads_after() - begin <= RETRY_SECONDS
    await one.election.release()
    assert server.holder == "other", "what another has taken is not given back"
    await other.end()


@pytest.mark.looptime
async def test_who_only_stood_by_leaves_the_lease_alone_when_it_ends() -> None:
    server = Server()
    server.put({"holderIdentity": "dead", "leaseDurationSeconds": 15})
    one = Replica("one", server)
    await asyncio.sleep(5)
    await one.end()
    asked = len(one.way.asked)
    await one.election.release()
    assert (server.holder, len(one.way.asked)) == ("dead", asked)


@pytest.mark.looptime
async def test_a_lease_that_was_taken_without_knowing_it_is_given_back() -> None:
    server = Server()
    server.put(RELEASED)
    one = Replica("one", server, way=Way(server, after=hanging_after("replace")))
    await asyncio.sleep(1)
    assert (server.holder, one.leads) == ("one", False)
    await one.end()
    one.way.after = at_once
    await one.election.release()
    assert record_of(server.get()).released


def hanging_after(verb: str) -> Callable[[str], Awaitable[None]]:
    """Such requests are carried out, and never answered."""

    async def after(asked: str) -> None:
        if asked == verb:
            await asyncio.sleep(10_000)

    return after


# --- who must not lead any more ---


@pytest.mark.looptime
@pytest.mark.parametrize("how", ["refused", "unanswered", "answer lost"])
async def test_a_leader_that_cannot_renew_writes_for_ten_seconds_and_ends(how: str) -> None:
    server = Server()
    server.put(RELEASED)
    one = Replica("one", server)
    await one.leads_after()
    await asyncio.sleep(30)
    renewed = max(at for at, verb in one.way.asked if verb == "replace")

    async def refuse(_: str) -> None:
        raise AWAY

    async def hang(_: str) -> None:
        await asyncio.sleep(10_000)

    match how:
        case "refused":
            one.way.before = refuse
        case "unanswered":
            one.way.before = hang
        case _:
            one.way.after = hang
    said = await one.lost()
    assert now() - renewed == pytest.approx(RENEW_SECONDS, abs=0.01)
    assert not one.leads
    assert one.tenure.write_seconds() == 0
    assert said.startswith(f"lease {NAMESPACE}/{NAME} was not renewed for 10 s, and this process ends")
    assert ("cannot be reached" if how == "refused" else "did not answer in time") in said


@pytest.mark.looptime
async def test_one_renewal_that_hangs_costs_no_tenure() -> None:
    server = Server()
    server.put(RELEASED)
    one = Replica("one", server)
    await one.leads_after()
    hung = 0

    async def hang_once(_: str) -> None:
        nonlocal hung
        hung += 1
        if hung == 1:
            await asyncio.sleep(10_000)

    one.way.before = hang_once
    for _ in range(300):
        await asyncio.sleep(0.1)
        assert one.leads
    await one.end()


@pytest.mark.looptime
async def test_a_renewal_counts_from_when_it_was_begun_and_one_that_took_too_long_not_at_all() -> None:
    tenure = Tenure(elected=True, time=now)
    await asyncio.sleep(100)
    tenure.prolong(renewed_at=now() - RENEW_SECONDS)
    assert (tenure.leads, tenure.write_seconds()) == (False, 0.0)
    tenure.prolong(renewed_at=now() - 3)
    assert tenure.write_seconds() == RENEW_SECONDS - 3 + LAST_SECONDS
    await asyncio.sleep(RENEW_SECONDS - 3.1)
    assert tenure.write_seconds() == pytest.approx(0.1 + LAST_SECONDS)
    await asyncio.sleep(0.2)
    assert tenure.write_seconds() == 0.0


def test_the_last_write_has_ended_before_another_may_lead_and_clocks_may_differ_by_some_percent() -> None:
    assert (RENEW_SECONDS + LAST_SECONDS) * 1.03 < LEASE_SECONDS * 0.97


@pytest.mark.looptime
async def test_without_an_election_everybody_leads_for_ever() -> None:
    tenure = Tenure(elected=False)
    await tenure.wait()
    assert (tenure.leads, tenure.write_seconds()) == (True, float("inf"))


# --- what strangers do to the Lease ---


@pytest.mark.looptime
@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"holderIdentity": ""},
        {"holderIdentity": "", "leaseDurationSeconds": 15},
        {"holderIdentity": "", "leaseDurationSeconds": 1},
        {"holderIdentity": None, "leaseDurationSeconds": 2**31 - 1},
        {"holderIdentity": "one"},
        {"holderIdentity": "one", "leaseDurationSeconds": 1},
        {"holderIdentity": "one", "leaseDurationSeconds": -1, "leaseTransitions": -7},
        {"holderIdentity": "one", "leaseDurationSeconds": "soon", "leaseTransitions": "many", "acquireTime": 7},
    ],
)
async def test_a_leader_that_nobody_has_replaced_takes_its_lease_back(spec: Body | None) -> None:
    server, one, other = await a_leader_and_another()
    await asyncio.sleep(10)
    assert server.lease is not None
    server.put(spec, uid=server.lease["metadata"]["uid"])
    for _ in range(600):
        await asyncio.sleep(0.1)
        assert (one.leads, other.leads) == (True, False)
    assert server.get()["spec"]["leaseDurationSeconds"] == LEASE_SECONDS
    await one.end()
    await other.end()


@pytest.mark.looptime
async def test_a_lease_that_is_deleted_at_any_pace_stays_the_leaders() -> None:
    server, one, other = await a_leader_and_another()
    for pace in (0.05, 0.5, 1.7, 2.0, 5.0):
        begin = now()
        while now() - begin < 120:
            await asyncio.sleep(pace)
            server.lease = None
            assert not other.leads
            if one.task.done():  # it could not renew, as nothing stood long enough
                break
        if one.task.done():
            break
    assert one.leads or pace < 0.5
    await one.end()
    await other.end()


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("seconds", "waited"),
    [(15, LEASE_SECONDS), (1, LEASE_SECONDS), (0, LEASE_SECONDS), (-3, LEASE_SECONDS), (30, 30), (2**31 - 1, 60.0)],
)
async def test_a_stranger_who_never_renews_is_waited_for_a_bounded_time(seconds: int, waited: float) -> None:
    server, one, other = await a_leader_and_another()
    await asyncio.sleep(10)
    begin = now()
    server.edit(holderIdentity="stranger", leaseDurationSeconds=seconds)
    assert await one.lost() == f"lease {NAMESPACE}/{NAME} is held by stranger now, and this process ends"
    assert now() - begin <= RETRY_SECONDS
    assert waited <= await other.leads_after() - begin <= waited + 2 * RETRY_SECONDS
    assert waited <= LONGEST_SECONDS
    await other.end()


@pytest.mark.looptime
async def test_the_one_that_is_named_by_a_stranger_has_to_wait_like_anybody() -> None:
    server, one, other = await a_leader_and_another()
    await asyncio.sleep(10)
    begin = now()
    server.edit(holderIdentity="other")
    await one.lost()
    assert await other.leads_after() - begin >= LEASE_SECONDS
    await other.end()


@pytest.mark.looptime
async def test_labels_that_come_and_go_are_no_sign_of_life() -> None:
    server = Server()
    server.put({"holderIdentity": "dead", "leaseDurationSeconds": 15})
    one = Replica("one", server)
    begin = now()

    async def touch() -> None:
        while True:
            await asyncio.sleep(1.3)
            server.edit()

    touching = asyncio.create_task(touch())
    assert await one.leads_after() - begin <= LEASE_SECONDS + 3 * RETRY_SECONDS
    touching.cancel()
    await one.end()


@pytest.mark.looptime
async def test_transitions_stop_where_the_api_server_takes_no_more() -> None:
    server = Server()
    server.put({**RELEASED, "leaseTransitions": 2**31 - 1})
    one = Replica("one", server)
    await one.leads_after()
    assert record_of(server.get()).transitions == 2**31 - 1
    await one.end()


# --- what is said ---


@pytest.mark.looptime
async def test_who_waits_says_for_whom_once_and_who_leads_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    server.put({"holderIdentity": "x" * 1_000, "leaseDurationSeconds": 15})
    one = Replica("one", server)
    await one.leads_after()
    await asyncio.sleep(1)
    waiting, leading = [record.message for record in caplog.records]
    assert waiting.startswith("waiting for the lease held by xxx")
    assert (len(waiting) < 400, leading) == (True, "leading")
    await one.end()


@pytest.mark.looptime
async def test_what_is_refused_is_said_once_a_minute_makes_unready_and_works_when_it_is_granted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    server.put(RELEASED)

    async def refuse(_: str) -> None:
        raise Forbidden(status=403, reason="Forbidden", message="no leases for you")

    one = Replica("one", server, way=Way(server, before=refuse))
    await asyncio.sleep(170)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert one.election.unready() == f"lease {NAMESPACE}/{NAME}: 403 Forbidden: no leases for you"
    one.way.before = at_once
    await one.leads_after(seconds=RETRY_SECONDS)
    await asyncio.sleep(0.1)
    assert one.election.unready() == ""
    assert [record.message for record in caplog.records][3:] == [f"lease {NAMESPACE}/{NAME}: works again", "leading"]
    await one.end()


# --- whatever happens ---


class Trouble:
    """What befalls the requests of one process: chance decides for each of them, as long as ``lasts`` says so."""

    def __init__(self, random: Random, *, share: float, lasts: Callable[[], bool]) -> None:
        self.killed = False
        self._random = random
        self._share = share
        self._lasts = lasts

    async def before(self, _: str) -> None:
        """On the way there, or before it has even left: the process may stand still for longer than any lease."""
        await asyncio.sleep(self._random.uniform(0.001, 0.05))
        match self._what():
            case 0:
                await self._stand_still()
            case 1:
                raise AWAY
            case 2:
                await asyncio.sleep(10_000)
            case 3:
                await asyncio.sleep(self._random.uniform(0, 6))

    async def after(self, _: str) -> None:
        """On the way back."""
        match self._what():
            case 0:
                await self._stand_still()
            case 1:
                raise AWAY
            case 2:
                await asyncio.sleep(10_000)
            case 3:
                await asyncio.sleep(self._random.uniform(0, 6))

    def _what(self) -> int:
        return self._random.randrange(4) if self._lasts() and self._random.random() < self._share else -1

    async def _stand_still(self) -> None:
        """Timers that are due meanwhile come when it goes on, before what it waited for, or after that."""
        until, late = now() + self._random.uniform(0.5, 40), False
        while (left := until - now()) > 0.001:  # less would not move the clock of the loop
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if self.killed:
                    raise
                late = True
        if late and self._random.random() < 0.5:
            raise asyncio.CancelledError


EDITS: list[dict[str, Any] | None] = [
    None,
    {"holderIdentity": "stranger", "leaseDurationSeconds": 1},
    {"holderIdentity": "stranger", "leaseDurationSeconds": 2**31 - 1},
    {"holderIdentity": "", "leaseDurationSeconds": 15},
    {"holderIdentity": "", "leaseDurationSeconds": 15, "leaseTransitions": 2**31 - 1},
    {"holderIdentity": "replica-1", "leaseDurationSeconds": 2},
    {"holderIdentity": "replica-2", "leaseDurationSeconds": 1},
    {"renewTime": "2999-01-01T00:00:00.000000Z"},
]
"""What strangers do; None deletes it. All but a forged release, which nobody can tell from a real one."""


@dataclass
class Scene:
    """Replicas, each with a clock of its own, started anew when they end."""

    random: Random
    share: float
    troubled: bool = True
    server: Server = field(default_factory=Server)
    replicas: dict[int, Replica] = field(default_factory=dict)
    troubles: dict[int, Trouble] = field(default_factory=dict)
    last_write_ends: dict[str, float] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    async def live(self, seat: int) -> None:
        """One replica after another at this place; nobody's tenure may begin before all others' writes have ended."""
        rate, offset = self.random.uniform(0.97, 1.03), self.random.uniform(0, 1e6)
        while True:
            name = f"replica-{next(self.numbers)}"
            trouble = Trouble(self.random, share=self.share, lasts=lambda: self.troubled)
            way = Way(self.server, before=trouble.before, after=trouble.after)
            replica = Replica(name, self.server, way=way, time=lambda: offset + rate * now(), random=self.random)
            self.replicas[seat] = replica
            self._watch(replica, rate=rate)
            self.troubles[seat] = trouble
            try:
                await asyncio.wait([replica.task])
            finally:
                trouble.killed = True
                replica.task.cancel()
            with suppress(asyncio.CancelledError, LeaseLost):
                await replica.task
            await asyncio.sleep(self.random.uniform(0.1, 5))

    def _watch(self, replica: Replica, *, rate: float) -> None:
        prolong = replica.tenure.prolong

        def watched(*, renewed_at: float) -> None:
            prolong(renewed_at=renewed_at)
            if replica.leads:
                for name, ends in self.last_write_ends.items():
                    assert name == replica.name or ends <= now(), f"{replica.name} leads, and {name} until {ends}"
                self.last_write_ends[replica.name] = now() + replica.tenure.write_seconds() / rate

        replica.tenure.prolong = watched  # type: ignore[method-assign]

    def leaders(self) -> list[str]:
        return [one.name for one in self.replicas.values() if one.leads]


@properties(10)
@given(
    seed=st.integers(0, 2**32),
    seats=st.integers(2, 3),
    share=st.sampled_from([0.0, 0.05, 0.3]),
    events=st.lists(
        st.tuples(st.sampled_from([0.1, 1.0, 3.0, 8.0, 20.0]), st.sampled_from(["edit", "kill", "release"])),
        max_size=30,
    ),
)
def test_there_are_never_two_and_one_in_the_end(
    seed: int, seats: int, share: float, events: list[tuple[float, str]]
) -> None:
    async def story() -> None:
        scene = Scene(Random(seed), share)
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(scene.live(seat)) for seat in range(seats)]
            await asyncio.sleep(0.1)
            for pause, what in events:
                await asyncio.sleep(pause)
                seat = scene.random.randrange(seats)
                match what:
                    case "edit":
                        edit = scene.random.choice(EDITS)
                        if edit is None:
                            scene.server.lease = None
                        else:
                            scene.server.edit(**edit)
                    case "kill":
                        lives[seat].cancel()
                        lives[seat] = group.create_task(scene.live(seat))
                    case "release":
                        await hand_over(scene, seat)
            scene.troubled = False
            # Who stands still wakes up after 40 s, and a stranger is waited for 60 s.
            await asyncio.sleep(40 + LONGEST_SECONDS + LEASE_SECONDS + 4 * RETRY_SECONDS)
            (leader,) = scene.leaders()
            for _ in range(40):
                await asyncio.sleep(0.5)
                assert scene.leaders() == [leader]
            for life in lives:
                life.cancel()

    run(story())


async def hand_over(scene: Scene, seat: int) -> None:
    """Its work is done, and it ends."""
    replica = scene.replicas[seat]
    scene.troubles[seat].killed = True
    replica.task.cancel()
    await asyncio.wait([replica.task])
    with suppress(asyncio.CancelledError, LeaseLost, ApiError):
        await replica.election.release()
    scene.last_write_ends.pop(replica.name, None)
