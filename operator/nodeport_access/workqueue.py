"""The work queue: which key to look at next, with the semantics of client-go's workqueue, in one asyncio loop.

- A key is with one worker at a time. Touched meanwhile, it comes once more after `done`, behind those that wait.
- Two lanes, each in the order of entry. An urgent key overtakes all ordinary ones, and stays urgent until it is
  forgotten: a retry overtakes too. Of every few hand-outs one is ordinary all the same, so that nobody can hold up the
  others for ever by keeping keys urgent.
- What was asked for by `add_when_idle` waits until both lanes are empty, or until it is touched or due in another way.
- Any number of touches before a hand-out cost one hand-out: the worker reads the state of the world, not events.
- `add_after` and `retry` promise a hand-out *at the latest* then. Whichever hand-out begins first, by an `add` or by
  an earlier deadline, keeps the promise, and nothing fires later. So each pass must say anew when it wants to be
  back: an event overrides every wait, and client-go's second, needless pass never happens.

Not its business: what a key means, how many workers there are, whether a pass failed, and which writes a caller
holds back. It belongs to one event loop; nothing here may be called from another thread.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
_Entry: TypeAlias = tuple[float, int, K]  # deadline, number of the call, key

_STALE_ENTRIES = 64  # overtaken deadlines that the heap may hold before it is worth a clean-up

URGENT_RUN = 8
"""Urgent hand-outs in a row while ordinary keys wait."""


class ShutDown(Exception):  # noqa: N818 - named like client-go's answer: no error, the end of work
    """Raised by `get` once the queue is shut down: the worker has nothing more to do."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How the ceiling of a retry's delay grows: doubled with every failure in a row. Both bounds in seconds.

    Raises:
        ValueError: unless 0 < initial <= maximum, both finite.
    """

    initial: float = 0.2
    maximum: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.initial <= self.maximum < inf:
            raise ValueError(f"a backoff needs 0 < initial <= maximum, got {self.initial} and {self.maximum}")

    def ceiling(self, failures: int) -> float:
        """Return the longest delay, in seconds, after so many failures in a row (1 or more)."""
        doublings = min(failures - 1, 1_000)  # beyond it a float overflows, and every maximum is long passed
        return min(self.maximum, self.initial * 2.0**doublings)


class WorkQueue(Generic[K]):
    """A queue of keys for any number of workers, each `key = await get()`, then a pass, then always `done(key)`.

    Args:
        time: seconds on a monotonic clock that runs as fast as the loop's (`loop.time` or `time.monotonic`).
        random: a number in [0, 1), for the jitter of `retry`.
        backoff: how `retry` spaces failures in a row.
    """

    def __init__(
        self, *, time: Callable[[], float], random: Callable[[], float], backoff: Backoff | None = None
    ) -> None:
        self._time = time
        self._random = random
        self._backoff = backoff or Backoff()
        # These three say since when.
        self._waiting: OrderedDict[K, float] = OrderedDict()  # a plain dict is slow to pop from the front
        self._hurrying: OrderedDict[K, float] = OrderedDict()  # the other lane
        self._idling: OrderedDict[K, float] = OrderedDict()  # handed out while both lanes are empty
        self._processing: dict[K, float] = {}
        self._again: dict[K, float] = {}  # touched while in processing
        self._urgent: set[K] = set()
        self._urgent_again: set[K] = set()  # touched urgently while in processing
        self._run = 0
        self._failures: dict[K, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()  # one per worker that waits in get()
        self._delayed: dict[K, _Entry[K]] = {}
        self._heap: list[_Entry[K]] = []  # holds overtaken entries too: one counts only while it is in _delayed
        self._sequence = count()  # keys need no order of their own, and equal deadlines keep that of the calls
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = inf
        self._stopped = False

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Have `key` handed out as soon as a worker is free, whatever delay is pending. Ignored after shut-down.

        Once `urgent` it stays so until it is forgotten; a key that waits already changes the lane.
        """
        if self._stopped:
            return
        if key in self._processing:
            self._again.setdefault(key, self._time())
            if urgent:
                self._urgent_again.add(key)
            return
        if urgent:
            self._urgent.add(key)
            if (since := self._waiting.pop(key, None)) is not None:
                self._hurrying[key] = since
        if key not in self._waiting and key not in self._hurrying:
            self._idling.pop(key, None)
            self._enter(key, self._time())

    def add_when_idle(self, key: K) -> None:
        """Have `key` handed out once no other waits, which may be never: a deadline that is pending for it stands. In
        processing it counts as touched. Ignored after shut-down."""
        if key in self._processing:
            self.add(key)
        elif not (self._stopped or key in self._waiting or key in self._hurrying or key in self._idling):
            self._idling[key] = self._time()
            self._wake_one()

    def add_after(self, key: K, delay_seconds: float) -> None:
        """Have `key` handed out in `delay_seconds` at the latest; at once unless that is above zero.

        The earliest deadline wins, and any hand-out that begins before it takes its place. Must be called with the
        loop running. Ignored after shut-down.
        """
        if self._stopped:
            return
        if not delay_seconds > 0:
            self.add(key)
            return
        deadline = self._time() + delay_seconds
        pending = self._delayed.get(key)
        if pending is not None and pending[0] <= deadline:
            return
        entry = self._delayed[key] = (deadline, next(self._sequence), key)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._delayed) + _STALE_ENTRIES:
            self._heap = list(self._delayed.values())
            heapq.heapify(self._heap)
        self._set_timer()

    def retry(self, key: K, *, at_least: float = 0.0, backoff: Backoff | None = None) -> float:
        """Count a failure of `key`, have it handed out again after a backoff, and return the delay in seconds.

        The delay is drawn evenly between zero and the ceiling ("full jitter"), so that keys that failed together do
        not come back together; `at_least` seconds are added to it. An earlier deadline of the key stands. `backoff`
        is for a failure that needs another one than the queue's.
        """
        self._failures[key] = self.failures(key) + 1
        delay = at_least + self._random() * (backoff or self._backoff).ceiling(self._failures[key])
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Let the next failure of `key` count as its first, and the next touch as an ordinary one unless it says
        otherwise. What is pending stays pending."""
        self._failures.pop(key, None)
        self._urgent.discard(key)

    def failures(self, key: K) -> int:
        """Return how often `retry` was called for `key` since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Return the key that has waited longest in the lane whose turn it is, and hold it in processing until `done`.

        Raises:
            ShutDown: the queue was shut down, before or while this call waited.
        """
        while not self.depth:
            if self._stopped:
                raise ShutDown
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(turn)
            try:
                await turn
            except BaseException:
                with suppress(ValueError):
                    self._idle.remove(turn)
                if self.depth and not turn.cancelled():
                    self._wake_one()  # woken, but ended before it could take the key: pass the call on
                raise
        key, _ = self._lane().popitem(last=False)
        self._processing[key] = self._time()
        self._delayed.pop(key, None)
        return key

    def done(self, key: K) -> None:
        """End the processing of `key`; if it was touched meanwhile, it waits again.

        Raises:
            KeyError: `key` is not in processing; the caller called twice, or never got it.
        """
        del self._processing[key]
        if key in self._urgent_again:
            self._urgent_again.remove(key)
            self._urgent.add(key)
        touched = self._again.pop(key, None)
        if touched is not None:
            self._enter(key, touched)

    def caught_up(self, key: K) -> None:
        """Let the touches of `key` until now count as answered: whoever holds it in processing has just read the world
        anew, and nothing is left to do. Later ones count."""
        self._again.pop(key, None)
        self._urgent_again.discard(key)

    def shut_down(self) -> None:
        """End the work: every `get` raises ShutDown, keys in processing may finish, all others are dropped."""
        self._stopped = True
        self._waiting.clear()
        self._hurrying.clear()
        self._idling.clear()
        self._again.clear()
        self._urgent.clear()
        self._urgent_again.clear()
        self._delayed.clear()
        self._heap.clear()
        self._set_timer()
        while self._idle:
            self._wake_one()

    @property
    def depth(self) -> int:
        """How many keys wait to be handed out now; neither those in processing nor those with a delay pending."""
        return len(self._waiting) + len(self._hurrying) + len(self._idling)

    @property
    def in_processing(self) -> int:
        """How many keys are with a worker."""
        return len(self._processing)

    def oldest_age(self) -> float:
        """Return for how many seconds the oldest key has waited or been in processing; 0.0 where there is none.

        A key that waits after `done` counts from the touch that sent it back. A pending delay is no age, and what waits
        for an idle worker waits on purpose.
        """
        groups = (self._waiting, self._hurrying, self._processing)
        since = min(min(group.values(), default=inf) for group in groups)
        return max(0.0, self._time() - since)

    def _enter(self, key: K, since: float) -> None:
        (self._hurrying if key in self._urgent else self._waiting)[key] = since
        self._wake_one()

    def _lane(self) -> OrderedDict[K, float]:
        """The lane whose turn it is; call only where some key waits."""
        if not self._hurrying and not self._waiting:
            return self._idling
        if self._hurrying and (self._run < URGENT_RUN or not self._waiting):
            self._run = self._run + 1 if self._waiting else 0
            return self._hurrying
        self._run = 0
        return self._waiting

    def _wake_one(self) -> None:
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _is_pending(self, entry: _Entry[K]) -> bool:
        return self._delayed.get(entry[2]) is entry

    def _set_timer(self) -> None:
        """Keep the one timer at the earliest deadline that is still pending."""
        while self._heap and not self._is_pending(self._heap[0]):
            heapq.heappop(self._heap)
        deadline = self._heap[0][0] if self._heap else inf
        if self._timer is not None and deadline != self._timer_deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and self._heap:
            self._timer_deadline = deadline
            delay = deadline - self._time()
            self._timer = asyncio.get_running_loop().call_later(delay, self._deadline_reached)

    def _deadline_reached(self) -> None:
        self._timer = None
        # The loop decides that the deadline is reached: a clock that lags by a tick must not set the timer in a spin.
        now = max(self._time(), self._timer_deadline)
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._is_pending(entry):
                key = entry[2]
                del self._delayed[key]
                self.add(key)
        self._set_timer()
