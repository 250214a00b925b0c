"""Namespaces side by side in which histories happen, and what is held to be true of all of them.

Not its business: what happens in a namespace (`stage`) and around it (`machinery`), and when (`machine`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import USER
from testbed.waiting import wait_for
from tests.api.access import Json
from tests.api.histories import expected
from tests.api.histories.guarding import Guarding
from tests.api.histories.machinery import Machinery
from tests.api.histories.seen import LOOKED_AT, Seen
from tests.api.histories.stage import Stage
from tests.api.histories.trail import KINDS, OwnWrites, Trail

WRITING = ("create", "update", "patch", "delete", "deletecollection")
PATIENCE = 12.0
"""Seconds without any progress after which it counts as stuck. Longest waits: 5 s for the garbage collector, 8 s before
a field that was taken back four times is repaired again."""
CONTROLLERS = 40.0
"""Seconds from their start until they certainly do their work; on a machine under load the garbage collector takes its
time to find all kinds."""
RESTLESS = 90.0
"""Seconds after which it must have come to rest, however much still moves."""
PASSES = "nodeport_access_reconcile_total"
WAITING = "nodeport_access_workqueue_depth "
LAST_WORD = 3.0
"""Seconds after which nothing more may be written: an entry may end up to 1.5 s after the quiet, and a status that
differs in a message only, which is not waited for, comes up to a second after the one before."""
STEADY = 0.15
"""Seconds for which nothing may move once all is as it has to be: what the operator still had to hear of is on its way
for some milliseconds."""


class Broken(AssertionError):  # noqa: N818 - it says what happened
    """A history after which something is not as it has to be; the text tells the history."""


_worlds = itertools.count(1)


class World:
    """Lives longer than one batch. Raises Broken."""

    def __init__(self, control_plane: ControlPlane, *, folder: Path, bug: str = "") -> None:
        """``bug`` is one of `planted`; without it the operator is itself."""
        self.control_plane = control_plane
        self.cluster = Cluster(control_plane)
        self.batches = 0
        self.failure: Exception | None = None
        self._name = f"world-{next(_worlds)}"
        self._own = OwnWrites()
        self._trail = Trail(self.cluster, place=self._name)
        self._guardings: dict[str, Guarding] = {}
        self._ended: dict[str, datetime] = {}
        self._mark = control_plane.audit_mark()
        self._stories: dict[str, list[str]] = {}
        self._stages: list[Stage] = []
        self.machinery = Machinery(control_plane, folder=folder, bug=bug, tell=self._tell_all)
        self.machinery.start()

    # --- a history --------------------------------------------------------------------------------------------------

    def begin(self, *, namespaces: int) -> Sequence[Stage]:
        """Fresh namespaces, side by side. After a failure there are no others: Hypothesis would try the same again to
        be sure, and in a world that races it never is the same."""
        if self.failure is not None:
            raise self.failure
        self.batches += 1
        self._stages = []
        for letter in "abcdefghijkl"[:namespaces]:
            name = f"{self._name}-{self.batches}{letter}"
            self._guardings[name] = Guarding()
            story = self._stories[name] = []
            self._stages.append(Stage(self.cluster, namespace=name, own=self._own, tell=story.append))
        return self._stages

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """Keeps the first failure."""
        try:
            yield
        except Exception as failure:
            if self.failure is None:
                self.failure = failure
                if not isinstance(failure, Broken):
                    failure.add_note("\n".join(line for stage in self._stages for line in self._told(stage.namespace)))
            raise

    def _tell_all(self, what: str) -> None:
        """A line in the story of every namespace of this batch."""
        for stage in self._stages:
            self._stories[stage.namespace].append(f"--- {what}")

    def settle(self) -> None:
        """Has everything run, and waits until all is quiet and as it has to be; from here on the rule of `guarding`
        begins anew."""
        self.machinery.mend()
        self._tell_all("quiet")
        self._await_expected()
        self._judge()
        for stage in self._stages:
            self._guardings[stage.namespace].quiet()

    def end(self) -> None:
        """The end of a batch: quiet, and from now on nothing may be written there any more."""
        self.settle()
        self._assert_nothing_more_is_written("written after the quiet")
        quiet = datetime.now(UTC) + timedelta(seconds=LAST_WORD)
        self._ended |= {stage.namespace: quiet for stage in self._stages}

    def restart_api_server(self, *, kill: bool) -> None:
        """What happens meanwhile, nobody sees."""
        self._judge()
        self.machinery.restart_api_server(kill=kill)
        self._trail.skip()
        objects = self._objects(KINDS)
        for namespace, guarding in self._guardings.items():
            guarding.resume(objects[namespace])

    def close(self) -> None:
        """Ends the operator, whatever became of it, and empties the namespaces."""
        self.machinery.close()
        for name in (self._name, *self._guardings):
            self.cluster.vacate_namespace(name)

    # --- what is held -----------------------------------------------------------------------------------------------

    def assert_a_fresh_operator_writes_nothing(self) -> None:
        """In all namespaces of all batches that have ended, an operator that knows nothing of them finds nothing to
        write."""
        wait_for(self._all_is_said, seconds=2 * LAST_WORD, what="the last status to be written")
        self._assert_nothing_more_is_written("written after the quiet")
        self.machinery.end_operator(kill=False)
        self.machinery.start_operator()
        self.machinery.operator.wait_until_ready()
        self._await_a_pass_over_everything()
        self._assert_nothing_more_is_written("written by a fresh operator")

    def _all_is_said(self) -> bool:
        return all(quiet < datetime.now(UTC) for quiet in self._ended.values())

    def _await_a_pass_over_everything(self) -> None:
        policies = self.cluster.list("NodePortAccessPolicy")
        services = {(one["metadata"]["namespace"], one["spec"]["serviceRef"]["name"]) for one in policies}

        def looked() -> bool:
            lines = self.machinery.operator.metrics().splitlines()
            passes = sum(float(line.split()[-1]) for line in lines if line.startswith(PASSES))
            waiting = sum(float(line.split()[-1]) for line in lines if line.startswith(WAITING))
            assert passes >= len(services), f"{passes} of {len(services)}"
            assert waiting == 0, f"{waiting} wait"
            return True

        wait_for(looked, seconds=60, what="a pass over every Service that a policy names")

    def _assert_nothing_more_is_written(self, what: str) -> None:
        """By the operator, in namespaces whose history has ended, since the last time."""
        mark = self.control_plane.audit_mark()
        broken: dict[str, list[str]] = {}
        for event in self.control_plane.audit_events(since=self._mark, user=USER):
            reference = event.get("objectRef", {})
            quiet = self._ended.get(reference.get("namespace", ""))
            if event["verb"] in WRITING and quiet and quiet < datetime.fromisoformat(event["requestReceivedTimestamp"]):
                line = f"{what}: {event['verb']} {reference['resource']} {reference.get('name')}"
                broken.setdefault(reference["namespace"], []).append(f"{line} {event.get('requestObject')}")
        self._mark = mark
        if broken:
            raise self._broken(broken)

    def _await_expected(self) -> None:
        """Raises Broken where nothing moves any more and something is not as it has to be."""
        self.machinery.operator.wait_until_ready()
        last: Any = None
        begin = moved = monotonic()
        while True:
            versions, wrong = self._look()
            now = monotonic()
            if versions != last:
                last, moved = versions, now
            if not wrong and now - moved >= STEADY:
                return
            if wrong and now > max(moved + PATIENCE, self.machinery.controllers_started + CONTROLLERS):
                self._judge()
                raise self._broken(wrong)
            if now - begin > RESTLESS:
                raise self._broken({stage.namespace: ["it never comes to rest", *wrong] for stage in self._stages})
            sleep(0.03)

    def _look(self) -> tuple[Any, dict[str, list[str]]]:
        """The versions of everything, and by namespace what is not as it has to be."""
        nodes, objects = tuple(self.cluster.list("Node")), self._objects(LOOKED_AT)
        now = datetime.now(UTC)
        own = {stage.namespace: objects[stage.namespace] for stage in self._stages}
        seen = {name: Seen(objects=found, nodes=nodes, now=now) for name, found in own.items()}
        wrong = {name: found for name, one in seen.items() if (found := expected.differences(one))}
        versions = [
            (kind, item["metadata"]["uid"], item["metadata"]["resourceVersion"])
            for found in own.values()
            for kind, items in found.items()
            for item in items.values()
        ]
        return versions, wrong

    def _objects(self, kinds: Iterable[str]) -> dict[str, dict[str, dict[str, Json]]]:
        """All objects of these kinds, by namespace, kind and name."""
        found: dict[str, dict[str, dict[str, Json]]] = {name: {kind: {} for kind in kinds} for name in self._guardings}
        for kind in kinds:
            for item in self.cluster.list(kind):
                metadata = item["metadata"]
                if metadata["namespace"] in found:
                    found[metadata["namespace"]][kind][metadata["name"]] = {**item, "kind": kind}
        return found

    def _judge(self) -> None:
        """Holds everything since the last time to the rule that access is never wider than before and after."""
        broken: dict[str, list[str]] = {}
        for event in self._trail.events():
            namespace = event["object"]["metadata"]["namespace"]
            if namespace in self._guardings:
                sentence = self._guardings[namespace].take(event, own=self._own.made(event))
                if sentence:
                    broken.setdefault(namespace, []).append(sentence)
        if broken:
            raise self._broken(broken)

    def _broken(self, wrong: dict[str, list[str]]) -> Broken:
        lines: list[str] = []
        for namespace, findings in wrong.items():
            lines += [*self._told(namespace), "  this is wrong:", *(f"    {line}" for line in findings)]
        return Broken("\n".join(lines))

    def _told(self, namespace: str) -> list[str]:
        return [f"in {namespace}, after", *(f"    {line}" for line in self._stories.get(namespace, ()))]
