"""The running operator without its shell: watches fill the store, touched Services go through the queue, workers
carry out passes.

Nothing is reconciled before every list is complete: an unprimed start would write what the next list takes back. Of
several namespaces each has its own lists, and waits for no other. Only pods and nodes may stay unlisted, where that is
refused: the guard does not depend on them, and status says what nobody knows. Not the business of this module: what a
pass does (``reconcile``), signals and Kopf (``handlers``, ``__main__``), or serving what it tells (``server``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from logging import Logger
from random import Random
from typing import Any

from nodeport_access.api import Body, ServiceKey
from nodeport_access.complaints import Complaints
from nodeport_access.events import Recorder
from nodeport_access.feed import Feed
from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NETWORK_POLICIES,
    NODES,
    POLICIES,
    SERVICES,
    Client,
    NotFound,
    Resource,
)
from nodeport_access.metrics import Metrics, View
from nodeport_access.outcome import Done, Failed, Stalled, Wait
from nodeport_access.pod_watches import WATCHES_LIMIT, PodWatches
from nodeport_access.reconcile import AGAIN_SECONDS, Reconciler
from nodeport_access.shelf import ScopedSink, Shelf
from nodeport_access.silence import Silence
from nodeport_access.store import Store
from nodeport_access.survey import Survey
from nodeport_access.tenure import Tenure
from nodeport_access.views import covering_views, policy_view
from nodeport_access.wall_clock import WallClock
from nodeport_access.watches import Roster, Watch
from nodeport_access.workers import Workers
from nodeport_access.workqueue import Backoff, WorkQueue

STALLED = Backoff(initial=5.0, maximum=300.0)
"""When a Stalled Service is looked at again: an event brings it back at once, but a webhook that refused it and has
been mended sends none."""
FINISH_SECONDS = 1.5
"""What passes under way get to finish when the process ends."""
SILENT_SECONDS = 90.0
"""A watch without a word for longer is not trusted; bookmarks come about 61 s apart."""
ROSTER_SILENT_SECONDS = 390.0
"""The roster of policies is taken every 300 s."""
STUCK_SECONDS = 300.0
"""Without the end of a pass while one is due: nothing moves any more. A pass that nobody answers takes a minute."""
PODS_POLL_SECONDS = 0.05


class Controller:
    """Owns the store, the watches, the queue, the workers and the recorder of Events. ``namespaces`` empty means all;
    ``instance`` names this process in its Events. Outside of a ``tenure`` it follows everything, and does nothing."""

    def __init__(
        self,
        *,
        client: Client,
        namespaces: tuple[str, ...],
        metrics: Metrics,
        clock: Callable[[], datetime],
        time: Callable[[], float],
        random: Random,
        instance: str,
        log: Logger,
        complaints: Complaints,
        tenure: Tenure,
    ) -> None:
        self.store = Store()
        self._survey = Survey()
        self._metrics = metrics
        self._clock = clock
        self._time = time
        self._log = log
        self._tenure = tenure
        self._queue: WorkQueue[ServiceKey] = WorkQueue(time=time, random=random.random, backoff=Backoff())
        self._recorder = Recorder(
            client=client, metrics=metrics, clock=clock, time=time, random=random, instance=instance, log=log
        )
        self._silence = Silence(time=time)
        self._reconciler = Reconciler(
            api=client,
            store=self.store,
            metrics=metrics,
            tell=self._recorder.tell,
            clock=clock,
            time=time,
            log=log,
            complaints=complaints,
            caught_up=self._queue.caught_up,
            silence=self._silence,
        )
        shared: dict[str, Any] = {
            "client": client,
            "time": time,
            "random": random,
            "log": log,
            "complaints": complaints,
        }
        self._scopes = scopes = namespaces or (None,)
        shelves: tuple[tuple[Resource, Shelf[Any]], ...] = (
            (SERVICES, self.store.services),
            (NETWORK_POLICIES, self.store.network_policies),
            (ENDPOINT_SLICES, self.store.slices),
        )
        self._watches: list[Watch] = [
            Watch(resource=resource, namespace=scope, sink=ScopedSink(shelf, scope), **shared)
            for resource, shelf in shelves
            for scope in scopes
        ]
        # Nodes are in no namespace, so no Role gives them: who serves some namespaces only may have to do without.
        self._nodes = Watch(
            resource=NODES,
            namespace=None,
            sink=ScopedSink(self.store.nodes, None),
            dispensable=bool(namespaces),
            **shared,
        )
        self._rosters = [
            Roster(resource=POLICIES, namespace=scope, sink=ScopedSink(self.store.policies, scope), **shared)
            for scope in scopes
        ]
        self._pods = PodWatches(shelf=self.store.pods, limit=None if namespaces else WATCHES_LIMIT, **shared)
        for watch in (*self._watches, self._nodes):
            watch.on_interrupted = self._call_roll
        for source in (*self._watches, self._nodes, *self._rosters):
            source.on_recovered = self._resume
        self.feed = Feed(resource=POLICIES, namespaces=scopes, time=time, log=log, complaints=complaints)
        self.feed.on_gap = self._call_roll
        self.feed.on_heard = partial(self._call_roll, at_once=True)
        self.store.on_namespaces = self._pods.want
        self.store.on_touched = self._look_at
        self.store.on_opened = self._hurry
        self._pods.on_listed = self._look_again
        self._wall_clock = WallClock(clock=clock, time=time, stepped=self._look_at_the_time, log=log)
        self._workers = Workers(queue=self._queue, carry_out=self._pass, time=time)
        self._working: asyncio.Task[None] | None = None
        self._listed, self._untold = asyncio.Event(), asyncio.Event()
        self._primed: set[str | None] = set()

    async def wait_for_policies(self) -> None:
        """Returns once the policies have been listed, which proves that their CRD is served and that we may read them;
        of several namespaces, wherever we may, and in one at least."""
        for roster in self._rosters:
            await roster.wait_decided()
        listed = [asyncio.create_task(roster.wait_synced()) for roster in self._rosters]
        try:
            await asyncio.wait(listed, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in listed:
                each.cancel()

    async def wait_listed(self) -> None:
        """Returns once every list is complete, of several namespaces in one at least: from then on all that is missing
        is the tenure."""
        await self._listed.wait()

    def policies_are_gone(self) -> bool:
        """Whether the API server does not serve policies (any more), by the last roster."""
        return any(isinstance(roster.refused, NotFound) for roster in self._rosters)

    async def run(self) -> None:
        """Watches, and reconciles wherever every list is complete, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in (*self._watches, self._nodes):
                group.create_task(watch.run())
            for roster in self._rosters:
                group.create_task(roster.run())
            group.create_task(self._follow_pods())
            group.create_task(self._recorder.run())
            group.create_task(self._wall_clock.run())
            group.create_task(self._tell_what_is_untold())
            for scope in self._scopes:
                group.create_task(self._prime(scope))
            await self._tenure.wait()
            self._working = group.create_task(self._workers.run())
            for scope in self._primed:
                self._look_at_all_in(scope)

    async def _follow_pods(self) -> None:
        """Begins once what stands open is known: there may be a list, and a connection, for each of many namespaces."""
        await self._listed.wait()
        await self._pods.run()

    async def _tell_what_is_untold(self) -> None:
        """Sees to it soon after the last of many Services was repaired; whatever drifts meanwhile goes first."""
        while True:
            await self._untold.wait()
            while self._silence.untold:
                await asyncio.sleep(AGAIN_SECONDS)
                if not self._silence.is_pressed:
                    for key in self._silence.untold:
                        self._queue.add_when_idle(key)
            self._untold.clear()

    async def _prime(self, scope: str | None) -> None:
        for listed in (*self._watches, *self._rosters):
            if listed.namespace == scope:
                await listed.wait_synced()
        await self._nodes.wait_decided()
        self._primed.add(scope)
        self._look_at_all_in(scope)
        self._listed.set()
        await self._pods.wait_answered(scope)
        self._log.info(
            "all lists are complete",
            extra={
                "policies": len(self.store.policies),
                "services": len(self.store.services),
                **({"namespace": scope} if scope else {}),
            },
        )
        if not self._nodes.synced:
            await self._nodes.wait_synced()
            self._look_at_all_in(scope)

    def _look_at_all_in(self, scope: str | None) -> None:
        for key in self.store.service_keys():
            if scope in (None, key.namespace):
                self._look_at(key, urgent=self.store.may_be_open(key))

    def _look_at(self, key: ServiceKey, *, urgent: bool = False) -> None:
        """Puts a Service into the queue, once there is a tenure and all that bears on it has been listed; whichever of
        them comes last looks at everything."""
        if self._working is not None and (None in self._primed or key.namespace in self._primed):
            self._queue.add(key, urgent=urgent)

    def _hurry(self, key: ServiceKey) -> None:
        self._look_at(key, urgent=True)

    def drain(self) -> None:
        """Begins nothing new; passes under way go on."""
        self._queue.shut_down()

    async def finish(self) -> bool:
        """Begins nothing new, and lets passes under way end, if they do soon; whether they have."""
        self.drain()
        if self._working is not None:
            await asyncio.wait([self._working], timeout=FINISH_SECONDS)
        return self._working is None or self._working.done()

    def _call_roll(self, *, at_once: bool = False) -> None:
        for roster in self._rosters:
            roster.trigger(at_once=at_once)

    def _resume(self) -> None:
        """What failed while the API server was away or refused us need not wait for its next try."""
        for key in self.store.service_keys():
            if self._queue.failures(key):
                self._queue.add(key)

    def _look_again(self, namespaces: Collection[str]) -> None:
        """Nobody knew which pods there are."""
        for key in self.store.service_keys():
            if key.namespace in namespaces:
                self._look_at(key)

    def _look_at_the_time(self) -> None:
        """Entries may have ended, or be in force again."""
        for policy in self.store.policies:
            if any(entry.expires_at is not None for entry in policy.allowed):
                self._look_at(policy.service)

    async def _pass(self, key: ServiceKey) -> None:
        # What status says hangs on the pods; what is shut does not.
        pods_known = self._pods.answered_in(key.namespace) or key.namespace not in self.store.policy_namespaces()
        if not pods_known and not self.store.may_be_open(key):
            self._queue.add_after(key, PODS_POLL_SECONDS)
            return
        begun = self._time()
        outcome = await self._reconciler.reconcile(key, telling=pods_known)
        self._metrics.passed(outcome=type(outcome).__name__, seconds=self._time() - begun)
        if self._silence.untold:
            self._untold.set()
        match outcome:
            case Done(again):
                self._queue.forget(key)
                if again is not None:
                    self._queue.add_after(key, again)
            case Wait(reason, None, at_latest, cut_off, at_least):
                delay = self._queue.retry(key, at_least=at_least)
                if cut_off:
                    # The roster finds out and says what is wrong, and when it is over: streams may stay open meanwhile.
                    self._call_roll()
                if at_latest is not None:
                    self._queue.add_after(key, at_latest)
                self._log.debug("service %s is tried again in %.1f s: %s", key, delay, reason)
            case Wait(_, delay) if delay is not None:
                self._queue.add_after(key, delay)
            case Failed(reason):
                delay = self._queue.retry(key)
                self._log.debug("service %s is tried again in %.1f s: %s", key, delay, reason)
            case Stalled(reason):
                delay = self._queue.retry(key, backoff=STALLED)
                self._log.debug("service %s is stalled, and looked at again in %.0f s: %s", key, delay, reason)

    def put_policy(self, body: Body) -> None:
        """Takes a policy as it is now, from a live event."""
        self.store.policies.hear(body)

    def drop_policy(self, body: Body) -> None:
        """Takes the deletion of a policy, from a live event."""
        self.store.policies.drop(body)

    def unready(self) -> str:
        """Why the operator cannot be relied on now; empty where it can."""
        sources = [source for source in self._sources() if not source.withheld]
        for source in sources:
            if source.refused is not None:
                return f"{source}: {source.refused}"
        if self.feed.refused is not None:
            return f"{self.feed}: {self.feed.refused}"
        for source in sources:
            if not source.synced:
                return f"{source}: not listed yet"
            limit = ROSTER_SILENT_SECONDS if isinstance(source, Roster) else SILENT_SECONDS
            if (age := self._time() - source.last_word) > limit:
                return f"{source}: no word for {age:.0f} s"
        return "" if len(self._primed) == len(self._scopes) else "not all lists are complete yet"

    def _sources(self) -> tuple[Watch | Roster, ...]:
        return (*self._watches, self._nodes, *self._rosters, *self._pods.sources)

    def unhealthy(self) -> str:
        """Why only a new start can help; empty where all is well."""
        seconds = self._workers.stuck()
        return f"no pass has ended for {seconds:.0f} s" if seconds > STUCK_SECONDS else ""

    def view(self) -> View:
        """What metrics show, at this instant."""
        unguarded: dict[str, int] = {}
        for service in self.store.services:
            if service.has_node_ports and not self.store.guarded(service.key):
                unguarded[service.key.namespace] = unguarded.get(service.key.namespace, 0) + 1
        now = self._clock()
        return View(
            policies=tuple(
                policy_view(policy, now, self._reconciler.last_drifts(policy)) for policy in self.store.policies
            ),
            unguarded=tuple(sorted(unguarded.items())),
            contended=tuple((key.namespace, key.name, count) for key, count in self._reconciler.fights()),
            covering_nodes=partial(covering_views, self._survey, self.store.cluster()),
            queue_depth=self._queue.depth,
            oldest_key_age=self._queue.oldest_age(),
            watches=tuple(
                (str(source.resource), source.namespace or "", self._time() - source.last_word)
                for source in self._sources()
                if not source.withheld
            ),
            leads=self._tenure.leads,
        )
