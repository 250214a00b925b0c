"""The work queue hands out every touched key, to one worker at a time, no later than promised and no oftener than due.

Time is virtual: minutes of delays pass in milliseconds, and whole seconds are exact.
"""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import looptime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeport_access.workqueue import URGENT_RUN, Backoff, ShutDown, WorkQueue

T = TypeVar("T")

# No deadline and no complaint about slow drawing: both measure the machine, not the code.
properties = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` in a loop of virtual time that starts at 0; what has not ended after an hour of it fails at once."""

    async def bounded() -> T:
        async with asyncio.timeout(3_600):
            return await main()

    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0)) as runner:
        return runner.run(bounded())


def now() -> float:
    return asyncio.get_running_loop().time()


def queue(*, random: float = 0.5, backoff: Backoff | None = None) -> WorkQueue[str]:
    return WorkQueue(time=now, random=lambda: random, backoff=backoff)


async def settled() -> None:
    """Let everything run that is due now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def next_within(work: WorkQueue[str], seconds: float) -> str | None:
    """The next key, or None if there is none for so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await work.get()
    return None


# --- against a model that is too simple to be wrong: exact order, counts and ages, one step at a time ---

KEYS = ("a", "b", "c")
BACKOFF = Backoff(initial=2.0, maximum=16.0)  # with random() == 0.5: delays of 1, 2, 4, 8, 8 ... seconds


@dataclass
class Model:
    now: float = 0.0
    waiting: list[tuple[str, float]] = field(default_factory=list)
    hurrying: list[tuple[str, float]] = field(default_factory=list)
    idling: list[tuple[str, float]] = field(default_factory=list)
    run: int = 0
    processing: dict[str, float] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)
    urgent: set[str] = field(default_factory=set)
    urgent_again: set[str] = field(default_factory=set)
    delayed: list[tuple[float, str]] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))

    def add(self, key: str, *, urgent: bool = False) -> None:
        if key in self.processing:
            self.again.setdefault(key, self.now)
            self.urgent_again |= {key} if urgent else set()
            return
        self.urgent |= {key} if urgent else set()
        if key not in dict(self.waiting + self.hurrying):
            self.enter(key, self.now)
            self.idling = [entry for entry in self.idling if entry[0] != key]
        elif urgent and key in dict(self.waiting):
            entry = next(entry for entry in self.waiting if entry[0] == key)
            self.waiting.remove(entry)
            self.hurrying.append(entry)

    def add_when_idle(self, key: str) -> None:
        if key in self.processing:
            self.add(key)
        elif key not in dict(self.all_waiting()):
            self.idling.append((key, self.now))

    def all_waiting(self) -> list[tuple[str, float]]:
        return self.hurrying + self.waiting + self.idling

    def enter(self, key: str, since: float) -> None:
        (self.hurrying if key in self.urgent else self.waiting).append((key, since))

    def forget(self, key: str) -> None:
        self.failures[key] = 0
        self.urgent.discard(key)

    def add_after(self, key: str, delay: float) -> None:
        if delay <= 0:
            self.add(key)
        elif all(deadline > self.now + delay for deadline, delayed in self.delayed if delayed == key):
            self.delayed = [entry for entry in self.delayed if entry[1] != key] + [(self.now + delay, key)]

    def retry(self, key: str) -> float:
        self.failures[key] += 1
        delay = min(16.0, 2.0 ** self.failures[key]) / 2
        self.add_after(key, delay)
        return delay

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        for deadline, key in sorted((entry for entry in self.delayed if entry[0] <= end), key=lambda entry: entry[0]):
            self.now = deadline
            self.delayed.remove((deadline, key))
            self.add(key)
        self.now = end

    def get(self) -> str:
        if not self.hurrying and not self.waiting:
            return self.begin(*self.idling.pop(0))
        ordinary = not self.hurrying or (bool(self.waiting) and self.run == URGENT_RUN)
        self.run = self.run + 1 if self.waiting and not ordinary else 0
        return self.begin(*(self.waiting if ordinary else self.hurrying).pop(0))

    def begin(self, key: str, _: float) -> str:
        self.processing[key] = self.now
        self.delayed = [entry for entry in self.delayed if entry[1] != key]
        return key

    def done(self, key: str) -> None:
        del self.processing[key]
        self.urgent |= self.urgent_again & {key}
        self.urgent_again.discard(key)
        if key in self.again:
            self.enter(key, self.again.pop(key))

    def oldest_age(self) -> float:
        since = [*dict(self.hurrying + self.waiting).values(), *self.processing.values()]
        return max((self.now - one for one in since), default=0)


STEPS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(KEYS), st.booleans()),
    st.tuples(st.just("add_when_idle"), st.sampled_from(KEYS)),
    st.tuples(st.just("add_after"), st.sampled_from(KEYS), st.integers(-1, 9)),
    st.tuples(st.just("retry"), st.sampled_from(KEYS)),
    st.tuples(st.just("forget"), st.sampled_from(KEYS)),
    st.tuples(st.just("advance"), st.integers(1, 6)),
    st.tuples(st.just("get")),
    st.tuples(st.just("done"), st.integers(0, 2)),
)


async def step(work: WorkQueue[str], model: Model, action: tuple[Any, ...]) -> None:
    match action:
        case ("add", key, urgent):
            work.add(key, urgent=urgent)
            model.add(key, urgent=urgent)
        case ("add_when_idle", key):
            work.add_when_idle(key)
            model.add_when_idle(key)
        case ("add_after", key, delay):
            work.add_after(key, delay)
            model.add_after(key, delay)
        case ("retry", key):
            assert work.retry(key) == model.retry(key)
        case ("forget", key):
            work.forget(key)
            model.forget(key)
        case ("advance", seconds):
            await asyncio.sleep(seconds)
            await settled()
            model.advance(seconds)
        case ("get",) if model.all_waiting():
            assert await next_within(work, 1) == model.get()
        case ("done", index) if model.processing:
            key = list(model.processing)[index % len(model.processing)]
            work.done(key)
            model.done(key)
    assert now() == model.now
    assert (work.depth, work.in_processing) == (len(model.all_waiting()), len(model.processing))
    assert work.oldest_age() == model.oldest_age()
    assert {key: work.failures(key) for key in KEYS} == model.failures


@properties
@given(st.lists(STEPS, max_size=50))
def test_the_queue_agrees_with_the_model_after_every_step(actions: list[tuple[Any, ...]]) -> None:
    async def scenario() -> None:
        work, model = queue(backoff=BACKOFF), Model()
        for action in actions:
            await step(work, model, action)
        while model.all_waiting() or model.processing or model.delayed:
            for action in [("done", 0)] * 3 + [("advance", 9)] + [("get",)] * 3:
                await step(work, model, action)

    run(scenario)


# --- with real workers: nothing is lost, nothing is late, nothing is for nothing, never two on one key ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """A call that asks for a hand-out of `key` by `deadline`."""

    key: str
    deadline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    key: str
    at: float
    previous_end: float  # when the pass before it over the same key ended


class House:
    """A queue with workers whose passes take the given times, and a journal of what was asked for and handed out."""

    def __init__(self, *, workers: int, passes: list[tuple[int, str, int]]) -> None:
        self.queue = queue(backoff=BACKOFF)
        self.workers = workers
        self.passes = iter(passes)
        self.journal: list[Touch | Begin] = []
        self.busy: set[str] = set()
        self.ended: dict[str, float] = {}

    def call(self, what: str, key: str, delay: float) -> None:
        match what:
            case "add" | "add urgently":
                self.queue.add(key, urgent=what != "add")
                delay = 0
            case "add when idle":
                self.queue.add_when_idle(key)
                delay = 0
            case "add_after":
                self.queue.add_after(key, delay)
            case "retry":
                delay = self.queue.retry(key)
            case _:
                self.queue.forget(key)
                return
        self.journal.append(Touch(key=key, deadline=now() + delay))

    async def work(self) -> None:
        while True:
            key = await self.queue.get()
            assert key not in self.busy, "two workers on one key"
            self.busy.add(key)
            self.journal.append(Begin(key=key, at=now(), previous_end=self.ended.get(key, 0.0)))
            seconds, what, delay = next(self.passes, (0, "forget", 0))
            await asyncio.sleep(seconds)
            self.call(what, key, delay)
            self.busy.remove(key)
            self.ended[key] = now()
            self.queue.done(key)

    async def run(self, calls: list[tuple[int, str, str, int]]) -> None:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self.work()) for _ in range(self.workers)]
            for pause, what, key, delay in calls:
                await asyncio.sleep(pause)
                self.call(what, key, delay)
            await asyncio.sleep(600)  # longer than all passes and delays together
            for worker in workers:
                worker.cancel()

    def begins_after(self, index: int, key: str) -> list[Begin]:
        return [entry for entry in self.journal[index + 1 :] if isinstance(entry, Begin) and entry.key == key]


WAYS = ["add", "add urgently", "add when idle", "add_after", "retry", "forget"]
CALLS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(WAYS),
        st.sampled_from(KEYS),
        st.integers(0, 9),
    ),
    max_size=20,
)
PASSES = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(WAYS), st.integers(0, 9)),
    max_size=10,
)


@properties
@given(st.integers(1, 4), PASSES, CALLS)
def test_no_call_is_lost_or_late_and_no_hand_out_is_without_a_call(
    workers: int, passes: list[tuple[int, str, int]], calls: list[tuple[int, str, str, int]]
) -> None:
    house = House(workers=workers, passes=passes)
    run(lambda: house.run(calls))

    for index, entry in enumerate(house.journal):
        if isinstance(entry, Touch):
            begins = house.begins_after(index, entry.key)
            assert begins, f"{entry} was lost"
            if workers >= len(KEYS):  # so that a worker is always free: only a pass over the same key may hold it up
                assert begins[0].at <= max(entry.deadline, begins[0].previous_end), f"{entry} was kept waiting"

    for key in KEYS:
        mine = [entry for entry in house.journal if entry.key == key]
        asked = False
        for entry in mine:
            assert isinstance(entry, Touch) or asked, f"{entry} came without a call since the one before"
            asked = isinstance(entry, Touch)


# --- single rules ---


def test_a_key_touched_in_processing_comes_once_more_after_done_and_behind_the_others() -> None:
    async def scenario() -> None:
        work = queue()
        work.add("a")
        assert await work.get() == "a"
        for key in ("a", "b", "a", "a"):
            work.add(key)
        assert (work.depth, work.in_processing) == (1, 1)
        assert await work.get() == "b"
        work.done("b")
        assert await next_within(work, 100) is None
        work.done("a")
        assert await work.get() == "a"
        work.done("a")
        assert await next_within(work, 100) is None

    run(scenario)


async def handed_out(work: WorkQueue[str]) -> list[str]:
    """All that waits, in the order of its hand-out, each done before the next."""
    keys = []
    while work.depth:
        keys.append(await work.get())
        work.done(keys[-1])
    return keys


def test_touches_that_the_worker_has_caught_up_with_bring_the_key_back_no_more() -> None:
    async def main() -> None:
        work = queue()
        work.add("a")
        assert await work.get() == "a"
        work.add("a", urgent=True)
        work.caught_up("a")
        work.done("a")
        assert await next_within(work, 60) is None
        work.add("a")
        assert await work.get() == "a"
        work.add("a")
        work.caught_up("a")
        work.add("a")
        work.done("a")
        assert await next_within(work, 0.1) == "a"

    run(main)


def test_urgent_keys_overtake_those_that_wait_and_keep_their_own_order() -> None:
    async def scenario() -> None:
        work = queue()
        for key in ("a", "b", "c", "d"):
            work.add(key)
        work.add("e", urgent=True)
        work.add("c", urgent=True)
        work.add("e")
        assert work.depth == 5
        assert await handed_out(work) == ["e", "c", "a", "b", "d"]

    run(scenario)


def test_a_key_that_is_touched_urgently_in_processing_comes_back_urgent_whatever_its_pass_says() -> None:
    async def scenario() -> None:
        work = queue()
        for key in ("a", "b", "c"):
            work.add(key)
        assert await work.get() == "a"
        work.add("a", urgent=True)
        work.forget("a")
        work.done("a")
        assert await handed_out(work) == ["a", "b", "c"]

    run(scenario)


@pytest.mark.parametrize(("forgotten", "expected"), [(False, ["a", "b"]), (True, ["b", "a"])])
def test_an_urgent_key_is_urgent_again_after_a_failure_but_not_after_it_was_forgotten(
    forgotten: bool, expected: list[str]
) -> None:
    async def scenario() -> None:
        work = queue()
        work.add("a", urgent=True)
        assert await work.get() == "a"
        work.retry("a")
        if forgotten:
            work.forget("a")
        work.done("a")
        work.add("b")
        work.add("a")
        assert await handed_out(work) == expected

    run(scenario)


def test_keys_that_are_urgent_for_ever_do_not_keep_an_ordinary_one_waiting() -> None:
    async def scenario() -> None:
        work = queue()
        for number in range(20):
            work.add(f"hot-{number}", urgent=True)
        work.add("ordinary")
        for turn in range(100):
            key = await work.get()
            if key == "ordinary":
                assert turn == URGENT_RUN
                return
            work.add(key, urgent=True)
            work.done(key)
        raise AssertionError("the ordinary key never had its turn")

    run(scenario)


def test_what_can_wait_for_idle_workers_is_overtaken_by_all_that_comes_meanwhile() -> None:
    async def scenario() -> None:
        work = queue()
        for key in ("told later", "touched meanwhile", "due meanwhile"):
            work.add_when_idle(key)
        work.add_after("due meanwhile", 5)
        await asyncio.sleep(9)
        for key in ("new", "touched meanwhile"):
            work.add(key)
        work.add("hot", urgent=True)
        order = ["hot", "due meanwhile", "new", "touched meanwhile", "told later"]
        assert [await next_within(work, 1) for _ in order] == order
        assert work.depth == 0

    run(scenario)


def test_an_idle_worker_gets_at_once_what_waits_for_one() -> None:
    async def scenario() -> None:
        work = queue()
        worker = asyncio.create_task(work.get())
        await settled()
        work.add_when_idle("a")
        await settled()
        assert worker.done()
        assert worker.result() == "a"

    run(scenario)


def test_an_event_overrides_a_pending_delay_which_then_never_fires() -> None:
    async def scenario() -> None:
        work = queue()
        work.add_after("a", 10)
        work.add("a")
        assert await next_within(work, 0.1) == "a"
        work.done("a")
        assert await next_within(work, 1_000) is None

    run(scenario)


def test_an_event_during_a_failing_pass_overrides_its_backoff() -> None:
    async def scenario() -> None:
        work = queue()
        work.add("a")
        await work.get()
        work.add("a")
        work.retry("a")
        work.done("a")
        assert await next_within(work, 0.05) == "a"
        work.done("a")
        assert await next_within(work, 1_000) is None
        assert work.failures("a") == 1

    run(scenario)


@pytest.mark.parametrize("delays", [(3, 10), (10, 3), (10, 3, 7)])
def test_the_earliest_deadline_wins_and_fires_once(delays: tuple[float, ...]) -> None:
    async def scenario() -> None:
        work = queue()
        for delay in delays:
            work.add_after("a", delay)
        assert await work.get() == "a"
        assert now() == 3
        work.done("a")
        assert await next_within(work, 1_000) is None

    run(scenario)


def test_a_deadline_that_passes_during_processing_brings_the_key_back_after_done() -> None:
    async def scenario() -> None:
        work = queue()
        work.add("a")
        await work.get()
        work.add_after("a", 2)
        assert await next_within(work, 5) is None
        work.done("a")
        assert await next_within(work, 0.1) == "a"

    run(scenario)


@pytest.mark.parametrize("delay", [0.0, -1.0, float("nan")])
def test_a_delay_that_is_not_above_zero_means_at_once(delay: float) -> None:
    async def scenario() -> None:
        work = queue()
        work.add_after("a", delay)
        assert work.depth == 1

    run(scenario)


def test_deadlines_pass_in_order_also_for_keys_without_an_order() -> None:
    async def scenario() -> None:
        first, second, third = object(), object(), object()
        work: WorkQueue[object] = WorkQueue(time=now, random=lambda: 0.5)
        work.add_after(third, 2)
        work.add_after(first, 1)
        work.add_after(second, 1)
        assert [await work.get() for _ in range(3)] == [first, second, third]
        assert now() == 2

    run(scenario)


def test_the_backoff_doubles_up_to_its_maximum_and_starts_anew_when_forgotten() -> None:
    async def scenario() -> None:
        work = queue(random=1.0, backoff=Backoff(initial=0.2, maximum=60))
        delays = [work.retry("a") for _ in range(11)]
        assert delays == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60])
        assert (work.failures("a"), work.failures("b")) == (11, 0)
        work.forget("a")
        work.forget("never seen")
        assert work.failures("a") == 0
        assert work.retry("a") == pytest.approx(0.2)

    run(scenario)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_the_jitter_is_full_from_zero_to_the_ceiling(share: float) -> None:
    async def scenario() -> None:
        assert queue(random=share, backoff=Backoff(initial=8, maximum=60)).retry("a") == 8 * share

    run(scenario)


def test_a_retry_that_has_to_wait_for_somebody_is_jittered_after_that() -> None:
    async def scenario() -> None:
        work = queue(random=0.5, backoff=Backoff(initial=8, maximum=60))
        assert work.retry("a", at_least=3) == 7

    run(scenario)


def test_a_retry_can_have_a_backoff_of_its_own() -> None:
    async def scenario() -> None:
        work = queue(random=1.0, backoff=Backoff(initial=0.2, maximum=60))
        work.retry("a")
        slow = Backoff(initial=5, maximum=300)
        assert [work.retry("a", backoff=slow) for _ in range(7)] == [10, 20, 40, 80, 160, 300, 300]

    run(scenario)


def test_a_key_that_fails_for_ever_stays_at_the_maximum() -> None:
    assert Backoff(initial=0.2, maximum=60).ceiling(1_000_000) == 60


@pytest.mark.parametrize(("initial", "maximum"), [(0, 1), (-1, 1), (2, 1), (1, float("inf")), (float("nan"), 1)])
def test_a_backoff_without_sensible_bounds_is_refused(initial: float, maximum: float) -> None:
    with pytest.raises(ValueError, match="0 < initial <= maximum"):
        Backoff(initial=initial, maximum=maximum)


def test_shut_down_wakes_idle_workers_lets_busy_ones_finish_and_drops_the_rest() -> None:
    async def scenario() -> None:
        work = queue()
        work.add("busy")
        assert await work.get() == "busy"
        idle = [asyncio.create_task(work.get()) for _ in range(3)]
        work.add_after("delayed", 5)
        await settled()
        work.add("busy")
        work.shut_down()
        for outcome in await asyncio.gather(*idle, return_exceptions=True):
            assert isinstance(outcome, ShutDown)
        assert work.in_processing == 1
        work.done("busy")
        assert (work.depth, work.in_processing) == (0, 0)
        work.add("late")
        work.add_after("late", 1)
        work.add_after("late", 0)
        work.retry("late")
        await asyncio.sleep(100)
        assert (work.depth, work.in_processing) == (0, 0)
        for _ in range(2):
            with pytest.raises(ShutDown):
                await work.get()
            work.shut_down()

    run(scenario)


def test_shut_down_drops_keys_that_wait_although_a_worker_is_free() -> None:
    async def scenario() -> None:
        work = queue()
        worker = asyncio.create_task(work.get())
        await settled()
        work.add("a")
        work.shut_down()
        with pytest.raises(ShutDown):
            await worker

    run(scenario)


def test_a_worker_that_is_cancelled_when_woken_leaves_the_key_to_another() -> None:
    async def scenario() -> None:
        work = queue()
        first, second = asyncio.create_task(work.get()), asyncio.create_task(work.get())
        await settled()
        work.add("a")
        first.cancel()
        async with asyncio.timeout(10):
            assert await second == "a"
        assert first.cancelled()

    run(scenario)


def test_a_worker_whose_coroutine_is_closed_leaves_the_key_to_another() -> None:
    async def scenario() -> None:
        work = queue()
        closed = work.get()
        closed.send(None)
        other = asyncio.create_task(work.get())
        await settled()
        closed.close()
        work.add("a")
        async with asyncio.timeout(10):
            assert await other == "a"

    run(scenario)


def test_workers_that_gave_up_waiting_take_no_key_with_them() -> None:
    async def scenario() -> None:
        work = queue()
        waiting = [asyncio.create_task(work.get()) for _ in range(3)]
        await settled()
        for task in waiting[:2]:
            task.cancel()
        work.add("a")
        async with asyncio.timeout(10):
            assert await waiting[2] == "a"

    run(scenario)


def test_each_key_wakes_a_worker_of_its_own() -> None:
    async def scenario() -> None:
        work = queue()
        workers = [asyncio.create_task(work.get()) for _ in range(3)]
        await settled()
        for key in KEYS:
            work.add(key)
        async with asyncio.timeout(1):
            assert sorted(await asyncio.gather(*workers)) == list(KEYS)

    run(scenario)


def test_a_key_that_comes_back_at_done_wakes_an_idle_worker() -> None:
    async def scenario() -> None:
        work = queue()
        work.add("a")
        await work.get()
        idle = asyncio.create_task(work.get())
        await settled()
        work.add("a")
        work.done("a")
        async with asyncio.timeout(10):
            assert await idle == "a"

    run(scenario)


def test_done_for_a_key_that_is_not_in_processing_is_an_error() -> None:
    work: WorkQueue[str] = WorkQueue(time=time.monotonic, random=lambda: 0.5)
    work.add("a")
    with pytest.raises(KeyError):
        work.done("a")
    assert work.depth == 1


def test_the_oldest_age_counts_waiting_and_processing_but_no_delay_and_no_wait_for_idle_workers() -> None:
    async def scenario() -> None:
        work = queue()
        work.add_when_idle("patient")
        assert work.oldest_age() == 0.0
        work.add_after("later", 50)
        await asyncio.sleep(10)
        assert work.oldest_age() == 0.0
        work.add("a")
        await asyncio.sleep(4)
        assert work.oldest_age() == 4
        await work.get()
        assert work.oldest_age() == 0
        await asyncio.sleep(3)
        work.add("a")
        await asyncio.sleep(2)
        work.add("a")
        assert work.oldest_age() == 5
        work.done("a")
        assert work.oldest_age() == 2  # since the first of the two touches
        work.add("patient")
        await work.get()
        assert await work.get() == "patient"
        assert work.oldest_age() == 0

    run(scenario)


def test_a_clock_that_lags_behind_the_loop_delays_nothing_for_ever() -> None:
    async def scenario() -> None:
        work: WorkQueue[str] = WorkQueue(time=lambda: 0.0, random=lambda: 0.5)
        work.add_after("a", 3)
        assert await next_within(work, 4) == "a"

    run(scenario)


class Name(str):
    """A key that, unlike a plain string, can be weakly referenced: so one can see whether the queue still holds it."""

    __slots__ = ("__weakref__",)


def test_deadlines_that_events_overtake_for_weeks_do_not_pile_up() -> None:
    async def scenario() -> None:
        work: WorkQueue[Name] = WorkQueue(time=now, random=lambda: 0.5)
        names = []
        work.add_after(Name("b"), 3_600)
        for _ in range(2_000):
            name = Name("a")
            names.append(weakref.ref(name))
            work.add_after(name, 30 * 24 * 3_600)
            work.add(name)
            work.done(await work.get())
        gc.collect()
        assert sum(name() is not None for name in names) < 200

    run(scenario)


def test_shut_down_lets_go_of_all_that_was_pending() -> None:
    async def scenario() -> None:
        work: WorkQueue[Name] = WorkQueue(time=now, random=lambda: 0.5)
        waiting, delayed, late, idling = Name("a"), Name("b"), Name("c"), Name("d")
        names = [weakref.ref(waiting), weakref.ref(delayed), weakref.ref(late), weakref.ref(idling)]
        work.add(waiting)
        work.add_when_idle(idling)
        work.add_after(delayed, 3_600)
        work.shut_down()
        work.add_after(late, 3_600)
        work.add_when_idle(late)
        del waiting, delayed, late, idling
        gc.collect()
        assert [name() for name in names] == [None] * 4

    run(scenario)


def test_ten_thousand_keys_do_not_cost_more_per_key_than_ten() -> None:
    """Measured 0.4 s on a busy machine; a step that is linear in the number of keys takes far more than the bound."""

    async def scenario() -> None:
        work: WorkQueue[int] = WorkQueue(time=now, random=lambda: 0.5)
        for key in range(10_000):
            work.add(key)
            work.add_after(key, 10_000 - key)
        for _ in range(10_000):
            key = await work.get()
            work.retry(key)
            work.done(key)

    started = time.process_time()
    run(scenario)
    assert time.process_time() - started < 2.0


def test_it_works_in_real_time_too() -> None:
    async def scenario() -> None:
        work = queue()
        started = now()
        work.add_after("later", 0.05)
        work.add("at once")
        assert [await work.get(), await work.get()] == ["at once", "later"]
        assert 0.045 <= now() - started < 5

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(scenario())
