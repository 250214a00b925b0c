"""What befalls the operator while others edit: its replicas are killed, told to end and stood still, and their way to
the API server is troubled, one thing after another, by a chance that follows from a seed.

In the first half of a soak replicas come and go. In the second they stay, so that it can be seen whether they grow.
Not its business: the replicas themselves (`replicas`), and what must be true meanwhile (`judge`).
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from testbed.fault_proxy import Answer, Latency, SlowAnswer
from tests.api.histories.troubles import TROUBLES, Trouble
from tests.soak.replicas import Replica
from tests.soak.sight import Sight

FOR_ALL: Mapping[str, Trouble] = {
    "nobody is known": Trouble(fault=Answer(code=401), verbs=frozenset()),
    "nothing may be written": Trouble(fault=Answer(code=403)),
    "everything has to wait": Trouble(fault=Answer(code=429, retry_after=1), verbs=frozenset()),
    "everything fails": Trouble(fault=Answer(code=500), verbs=frozenset()),
    "everything takes its time": Trouble(fault=Latency(seconds=0.3), verbs=frozenset()),
    "lists dribble": Trouble(fault=SlowAnswer(bytes_per_second=50_000), verbs=frozenset({"list"})),
}
"""Beside those of histories."""
AWAY = "the network is away"
LASTING_SECONDS = (1.0, 5.0)
"""How long a trouble lasts: less than a lease."""
REST_SECONDS = (0.5, 3.0)
"""After it."""
CALM_SECONDS = (25.0, 35.0)
LIFE_SECONDS = (3.0, 25.0)
"""Between two ends of replicas."""
PAST_THE_LEASE = 18.0
SHORT_OF_THE_LEASE = 5.0


class Adversity(threading.Thread):
    """Strikes until it is told that all is over; then everything runs again and nothing is in the way."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        sight: Sight,
        random: Random,
        half: Callable[[], bool],
        over: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        """``half`` says whether the second half has begun; ``tell`` takes what happens, in words."""
        super().__init__(name="adversity", daemon=True)
        self.failure: Exception | None = None
        self.struck: Counter[str] = Counter()
        """How many requests and streams each trouble has met."""
        self.ends: Counter[str] = Counter()
        """How often each end came to a replica."""
        self._replicas = replicas
        self._sight = sight
        self._random = random
        self._half = half
        self._over = over
        self._tell = tell

    def run(self) -> None:
        try:
            while not self._over.is_set():
                for strike, rest in self._in_turns():
                    strike()
                    for replica in self._replicas:
                        replica.start()
                    if self._over.wait(self._random.uniform(*rest)):
                        return
        except Exception as failure:
            self.failure = failure

    def _in_turns(self) -> Iterator[tuple[Callable[[], None], tuple[float, float]]]:
        """Each with the bounds of the rest after it. Replicas are ended one after another, or left in peace; and then
        comes in a row what troubles their sight, so that it is clear for a while each time."""
        if self._half():
            yield self._nothing, CALM_SECONDS
        for end in self._random.sample([self._kill, self._kill, self._stop, self._kill_both], 4):
            if not self._half():
                yield end, LIFE_SECONDS
        hard = self._pause if self._half() else self._random.choice([self._pause, self._stand_still])
        for trouble in self._random.sample([self._trouble, self._trouble, hard], 3):
            yield trouble, REST_SECONDS

    def _nothing(self) -> None:
        self._tell("calm")

    # --- replicas -----------------------------------------------------------------------------------------------------

    def _kill(self) -> None:
        self._end("SIGKILL", self._random.choice(self._replicas), Replica.kill)

    def _stop(self) -> None:
        self._end("SIGTERM", self._leader(), Replica.stop)

    def _kill_both(self) -> None:
        for replica in self._replicas:
            self._end("SIGKILL", replica, Replica.kill)

    def _end(self, how: str, replica: Replica, end: Callable[[Replica], None]) -> None:
        self._tell(f"{how} for {replica.name}{', which leads' if replica.leads else ''}")
        self.ends[how] += 1
        end(replica)

    def _stand_still(self) -> None:
        """Past its lease: when it goes on, another leads."""
        self._stop_and_go(self._leader(), seconds=PAST_THE_LEASE)

    def _pause(self) -> None:
        self._stop_and_go(self._random.choice(self._replicas), seconds=SHORT_OF_THE_LEASE)

    def _stop_and_go(self, replica: Replica, *, seconds: float) -> None:
        self._tell(f"SIGSTOP for {replica.name} for {seconds:g} s{', which leads' if replica.leads else ''}")
        self.ends[f"SIGSTOP {seconds:g} s"] += 1
        with self._sight.troubled():
            replica.pause()
            self._over.wait(seconds)
            replica.resume()

    def _leader(self) -> Replica:
        return next((one for one in self._replicas if one.leads), self._replicas[0])

    # --- their way to the API server ----------------------------------------------------------------------------------

    def _trouble(self) -> None:
        name = self._random.choice([*TROUBLES, *[*FOR_ALL, AWAY] * 3])
        whom = self._random.choice([self._replicas, [self._leader()]])
        self._tell(f"{name}, for {' and '.join(one.name for one in whom)}")
        with self._sight.troubled(), contextlib.ExitStack() as until:
            if name == AWAY:
                self.struck[name] += len(whom)
                for replica in whom:
                    until.enter_context(replica.proxy.network_away())
            met = [] if name == AWAY else [{**TROUBLES, **FOR_ALL}[name].befall(one.proxy, until) for one in whom]
            self._over.wait(self._random.uniform(*LASTING_SECONDS))
            self.struck[name] += sum(one.hits for one in met)
        self._tell(f"{name}, no more")
