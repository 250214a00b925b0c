"""A soak: tens of policies under two replicas, edited by several at once, in adversity, for as long as one likes.

Held is:

- after every write, that nobody gets in whom no policy allows (`judge`);
- at the end, that everything is as it should be within a bounded time, and that nothing is written from then on
  (`ending`);
- of each replica that lived long enough, that it has not grown (`steadiness`).

Not its business: who edits (`writers`), and what befalls the operator (`adversity`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import USER
from testbed.waiting import TimedOut, wait_for
from tests.api.access import WRITING
from tests.api.histories.stage import Stage
from tests.api.histories.trail import OwnWrites
from tests.api.histories.vocabulary import POD_LABELS, PODS, POLICIES, PORTS, SERVICES
from tests.soak import ending
from tests.soak.acting import Writer
from tests.soak.adversity import Adversity
from tests.soak.judge import Judge
from tests.soak.replicas import Replica
from tests.soak.sight import Sight
from tests.soak.steadiness import SHORT_SECONDS, Growth, Sample, growth, sample
from tests.soak.writers import a_spec, writers

JUDGED_EVERY = 0.5
SAMPLED_EVERY = 1.0
TOLD_EVERY = 60.0
BEGIN_SECONDS = 90.0
REST_SECONDS = 120.0
"""Within which all is as it should be, once nobody edits any more and nothing is in the way: a lease runs out, a
replica starts, a repair that was out-waited comes."""
LAST_WORD = 3.0
"""Seconds after which nothing more may be written: a status that differs in a message only comes that late."""
SILENCE = 4.0
"""Seconds for which nothing may be written then."""
TOLD = 60
"""Lines of the story of a namespace."""


class Broken(AssertionError):  # noqa: N818 - it says what happened
    """Something is not as it has to be; the text tells what, and what came before."""


class Soak:
    """One of them, on a control plane of its own."""

    def __init__(self, control_plane: ControlPlane, *, folder: Path, seed: int, seconds: float, bug: str = "") -> None:
        """``bug`` is one of `tests.api.histories.planted`; without it the operator is itself."""
        self._control_plane = control_plane
        self._cluster = Cluster(control_plane)
        self._seconds = seconds
        self._random = Random(f"{seed} soak")
        self._over = threading.Event()
        self._stories: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=TOLD))
        self._written: Counter[str] = Counter()
        self._lives: dict[str, list[Sample]] = defaultdict(list)
        own, self._sight = OwnWrites(), Sight()
        self._namespaces = [f"soak-{letter}" for letter in "abcdefghi"]
        self._replicas = [Replica(control_plane, name=name, folder=folder, bug=bug) for name in ("a", "b")]
        self._adversity = Adversity(
            self._replicas,
            sight=self._sight,
            random=Random(f"{seed} adversity"),
            half=lambda: time.monotonic() > self._begin + self._seconds / 2,
            over=self._over,
            tell=self._tell_all,
        )
        self._judge = Judge(
            self._cluster,
            namespaces=self._namespaces,
            own=own,
            settled=self._await_writers,
            seen_until=self._sight.seen_until,
        )
        self._stages = [
            Stage(self._cluster, namespace=name, own=own, tell=self._teller(name)) for name in self._namespaces
        ]
        self._writers = writers(self._stages, seed=seed, over=self._over)
        self._begin = time.monotonic()

    def run(self) -> None:
        """All of it. Raises Broken, and whatever a writer failed by."""
        self._set_the_stage()
        self._begin = time.monotonic()
        threads: list[Writer | Adversity] = [*self._writers, self._adversity]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads)
        finally:
            self._end(threads)
        self._assert_alive(threads)
        self._assert_no_breach()
        self._await_rest()
        self._assert_silence()
        self._assert_steady()

    def close(self) -> None:
        """Ends the replicas."""
        self._over.set()
        for replica in self._replicas:
            replica.close()

    def logs(self) -> Iterator[Path]:
        """Of all operators that ran."""
        for replica in self._replicas:
            yield from replica.logs()

    def report(self) -> str:
        """What happened so far, in a few lines."""
        refused = sum(count for name, count in self._written.items() if name.endswith(" refused"))
        done = {name: count for name, count in sorted(self._written.items()) if not name.endswith(" refused")}
        lines = [
            f"{time.monotonic() - self._begin:.0f} s; writes by {_listed(done)}; {refused} refused",
            f"checked: {_listed(self._judge.counts)}",
            f"ends of replicas: {_listed(self._adversity.ends)}",
            *(f"by itself {one}" for replica in self._replicas for one in replica.ended),
            f"faults that struck: {sum(self._adversity.struck.values())} ({_listed(self._adversity.struck)})",
            *(f"{who}: {found}" for who, found in self._growths()),
        ]
        return "\n".join(lines)

    # --- the way there ------------------------------------------------------------------------------------------------

    def _set_the_stage(self) -> None:
        """Each namespace with two Services, their pods and three policies, and all of it in force."""
        for number, stage in enumerate(self._stages):
            for name, app in zip(SERVICES, ("red", "blue"), strict=True):
                ports = PORTS[number % 2]
                stage.service(name, type="NodePort", selector={"app": app}, ports=ports, families=("IPv4",))
            for name, labels in zip(PODS, POD_LABELS, strict=False):
                stage.pod(name, labels=labels, ready=True, node=f"node{1 + number % 3}")
            for name, service in zip(POLICIES, (*SERVICES, SERVICES[0]), strict=True):
                stage.policy(name, service=service, **{**a_spec(self._random), "mode": "Enforce"})
        for replica in self._replicas:
            replica.start()
        self._await_expected(seconds=BEGIN_SECONDS)
        self._assert_no_breach()
        self._judge.quiet()

    def _watch(self, threads: list[Writer | Adversity]) -> None:
        sampled, told = 0.0, self._begin
        while (now := time.monotonic()) < self._begin + self._seconds:
            self._assert_no_breach()
            self._assert_alive(threads)
            if now - sampled >= SAMPLED_EVERY and self._sight.is_clear(now):
                sampled = now
                self._sample(now)
            if now - told >= TOLD_EVERY:
                told = now
                print(self.report().splitlines()[0])
            time.sleep(JUDGED_EVERY)

    def _await_writers(self) -> None:
        """Returns once what they were doing is done, and written down as theirs."""
        for writer in self._writers:
            writer.between_acts()

    @staticmethod
    def _assert_alive(threads: list[Writer | Adversity]) -> None:
        for thread in threads:
            if thread.failure is not None:
                raise thread.failure

    def _end(self, threads: list[Writer | Adversity]) -> None:
        self._over.set()
        for thread in threads:
            thread.join()
        for replica in self._replicas:
            replica.resume()
        self._tell_all("nobody edits any more, and nothing is in the way")

    def _sample(self, now: float) -> None:
        for replica in self._replicas:
            process, role = replica.running, replica.role
            if process is None or not role:
                continue
            if (seen := sample(process.pid, at=now, objects=self._judge.objects.total())) is not None:
                self._lives[f"process {process.pid}, which {role}"].append(seen)

    # --- what is held -------------------------------------------------------------------------------------------------

    def _assert_no_breach(self) -> None:
        if (breach := self._judge.breach()) is not None:
            namespace, sentence = breach
            raise self._broken(namespace, [sentence])

    def _await_rest(self) -> None:
        for replica in self._replicas:
            replica.start()
        self._await_expected(seconds=REST_SECONDS)
        self._assert_no_breach()

    def _await_expected(self, *, seconds: float) -> None:
        def as_expected() -> bool:
            for replica in self._replicas:
                replica.start()
            wrong = [
                *ending.ends_to_come(self._cluster),
                *ending.differences(self._cluster, self._namespaces),
                *ending.left_to_write(self._cluster),
            ]
            assert not wrong, wrong
            return True

        try:
            wait_for(as_expected, seconds=seconds, what="everything to be as it should be", every=0.5)
        except TimedOut as timed_out:
            names = [name for name in self._namespaces if f"{name}: " in str(timed_out)]
            raise self._broken(names[0] if names else "", [str(timed_out)]) from None

    def _assert_silence(self) -> None:
        time.sleep(LAST_WORD)
        mark = self._control_plane.audit_mark()
        time.sleep(SILENCE)
        events = [
            (event["verb"], event["objectRef"])
            for event in self._control_plane.audit_events(since=mark, user=USER)
            if event["verb"] in WRITING and event["objectRef"]["resource"] not in ("leases", "events")
        ]
        written = [f"{verb} {what['resource']} {what['namespace']}/{what['name']}" for verb, what in events]
        if written:
            raise self._broken("", [f"written after all was as it should be: {one}" for one in written])

    def _assert_steady(self) -> None:
        grown = [f"{who}, grew in {one}" for who, found in self._growths() for one in found.complaints()]
        if grown:
            raise self._broken("", grown)
        if self._seconds >= SHORT_SECONDS and not self._growths():
            raise self._broken("", ["no replica lived long enough to say whether it grows"])

    def _growths(self) -> list[tuple[str, Growth]]:
        return [(who, found) for who, life in self._lives.items() if (found := growth(life)) is not None]

    # --- the story ----------------------------------------------------------------------------------------------------

    def _teller(self, namespace: str) -> Callable[[str], None]:
        def tell(what: str) -> None:
            thread = threading.current_thread()
            who = "the stage" if thread is threading.main_thread() else thread.name
            self._written[f"{who} refused" if ": refused, " in what else who] += 1
            self._stories[namespace].append(f"{_now()} {who}: {what}")

        return tell

    def _tell_all(self, what: str) -> None:
        for namespace in self._namespaces:
            self._stories[namespace].append(f"{_now()} --- {what}")

    def _broken(self, namespace: str, wrong: list[str]) -> Broken:
        story = [f"  {line}" for line in self._stories.get(namespace, ())]
        return Broken("\n".join([f"in {namespace or 'all of it'}, after", *story, "this is wrong:", *wrong]))


def _now() -> str:
    return datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3]


def _listed(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
