"""The running operator without its shell: watches fill the store, touched Services go through the queue, workers
carry out passes.

Nothing is reconciled before every list is complete: an unprimed start would write what the next list takes back. Only
pods may stay unlisted, where that is refused: the guard does not depend on them, and status says what nobody knows. Not
the business of this module: what a pass does (``reconcile``), signals and Kopf (``handlers``, ``__main__``), or
serving what it tells (``server``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from logging import Logger
from random import Random
from typing import Any

from nodeport_access.api import Body, ConditionType, Policy, ServiceKey
from nodeport_access.complaints import Complaints
from nodeport_access.conditions import ABNORMAL_TRUE, Status, is_true
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
from nodeport_access.metrics import Metrics, PolicyView, View
from nodeport_access.outcome import Done, Failed, Stalled, Wait
from nodeport_access.reconcile import Reconciler
from nodeport_access.shelf import ScopedSink, Shelf
from nodeport_access.store import Store
from nodeport_access.wall_clock import WallClock
from nodeport_access.watches import PodWatches, Roster, Watch
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
    ``instance`` names this process in its Events."""

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
    ) -> None:
        self.store = Store()
        self._metrics = metrics
        self._clock = clock
        self._time = time
        self._log = log
        self._queue: WorkQueue[ServiceKey] = WorkQueue(time=time, random=random.random, backoff=Backoff())
        self._recorder = Recorder(
            client=client, metrics=metrics, clock=clock, time=time, random=random, instance=instance, log=log
        )
        complaints = Complaints(time=time)
        self._reconciler = Reconciler(
            api=client,
            store=self.store,
            metrics=metrics,
            tell=self._recorder.tell,
            clock=clock,
            time=time,
            log=log,
            complaints=complaints,
        )
        shared: dict[str, Any] = {
            "client": client,
            "time": time,
            "random": random,
            "log": log,
            "complaints": complaints,
        }
        scopes = namespaces or (None,)
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
        self._watches.append(Watch(resource=NODES, namespace=None, sink=ScopedSink(self.store.nodes, None), **shared))
        self._rosters = [
            Roster(resource=POLICIES, namespace=scope, sink=ScopedSink(self.store.policies, scope), **shared)
            for scope in scopes
        ]
        self._pods = PodWatches(
            sink=lambda namespace: ScopedSink(self.store.pods, namespace), forget=self.store.pods.clear, **shared
        )
        for watch in self._watches:
            watch.on_interrupted = self._call_roll
        for source in (*self._watches, *self._rosters):
            source.on_recovered = self._resume
        self.feed = Feed(resource=POLICIES, namespaces=scopes, time=time, log=log, complaints=complaints)
        self.feed.on_gap = self._call_roll
        self.store.on_namespaces = self._pods.want
        self._wall_clock = WallClock(clock=clock, time=time, stepped=self._look_at_the_time, log=log)
        self._workers = Workers(queue=self._queue, carry_out=self._pass, time=time)
        self._working: asyncio.Task[None] | None = None
        self._primed = False

    async def wait_for_policies(self) -> None:
        """Returns once the policies have been listed, which proves that their CRD is served and that we may read
        them."""
        for roster in self._rosters:
            await roster.wait_synced()

    def policies_are_gone(self) -> bool:
        """Whether the API server does not serve policies (any more), by the last roster."""
        return any(isinstance(roster.refused, NotFound) for roster in self._rosters)

    async def run(self) -> None:
        """Watches, waits until every list is complete, then reconciles until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(watch.run())
            for roster in self._rosters:
                group.create_task(roster.run())
            group.create_task(self._pods.run())
            group.create_task(self._recorder.run())
            group.create_task(self._wall_clock.run())
            for listed in (*self._watches, *self._rosters):
                await listed.wait_synced()
            await self._pods.wait_answered()
            self._prime()
            self._working = group.create_task(self._workers.run())

    def _prime(self) -> None:
        self._primed = True
        self.store.on_touched = self._queue.add
        self.store.on_opened = self._hurry
        self._pods.on_listed = self._look_at_all_of
        for key in self.store.service_keys():
            self._queue.add(key, urgent=self.store.may_be_open(key))
        self._log.info(
            "all lists are complete",
            extra={"policies": len(self.store.policies), "services": len(self.store.services)},
        )

    def _hurry(self, key: ServiceKey) -> None:
        self._queue.add(key, urgent=True)

    def drain(self) -> None:
        """Begins nothing new; passes under way go on."""
        self._queue.shut_down()

    async def finish(self) -> None:
        """Begins nothing new, and lets passes under way end, if they do soon."""
        self.drain()
        if self._working is not None:
            await asyncio.wait([self._working], timeout=FINISH_SECONDS)

    def _call_roll(self) -> None:
        for roster in self._rosters:
            roster.trigger()

    def _resume(self) -> None:
        """What failed while the API server was away or refused us need not wait for its next try."""
        for key in self.store.service_keys():
            if self._queue.failures(key):
                self._queue.add(key)

    def _look_at_all_of(self, namespace: str) -> None:
        """Nobody knew which pods there are."""
        for key in self.store.service_keys():
            if key.namespace == namespace:
                self._queue.add(key)

    def _look_at_the_time(self) -> None:
        """Entries may have ended, or be in force again."""
        for policy in self.store.policies:
            if any(entry.expires_at is not None for entry in policy.allowed):
                self._queue.add(policy.service)

    async def _pass(self, key: ServiceKey) -> None:
        if not self._pods.answered_in(key.namespace) and key.namespace in self.store.policy_namespaces():
            self._queue.add_after(key, PODS_POLL_SECONDS)
            return
        begun = self._time()
        outcome = await self._reconciler.reconcile(key)
        self._metrics.passed(outcome=type(outcome).__name__, seconds=self._time() - begun)
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
        self.store.policies.put(body)

    def drop_policy(self, body: Body) -> None:
        """Takes the deletion of a policy, from a live event."""
        self.store.policies.drop(body)

    def unready(self) -> str:
        """Why the operator cannot be relied on now; empty where it can."""
        sources = (*self._watches, *self._rosters, *self._pods.watches)
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
        return "" if self._primed else "not all lists are complete yet"

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
            policies=tuple(_policy_view(policy, now) for policy in self.store.policies),
            unguarded=tuple(sorted(unguarded.items())),
            queue_depth=self._queue.depth,
            oldest_key_age=self._queue.oldest_age(),
            watches=tuple(
                (str(source.resource), source.namespace or "", self._time() - source.last_word)
                for source in (*self._watches, *self._rosters, *self._pods.watches)
            ),
        )


def _policy_view(policy: Policy, now: datetime) -> PolicyView:
    expiries = [entry.expires_at for entry in policy.allowed if entry.expires_at is not None and entry.in_force(now)]
    return PolicyView(
        namespace=policy.key.namespace,
        name=policy.key.name,
        service=policy.service.name,
        ready=is_true(policy.status, ConditionType.READY),
        deviating=tuple(
            (condition["type"], condition["status"], str(condition.get("reason", "")))
            for condition in policy.status.get("conditions") or ()
            if condition["type"] != ConditionType.READY
            and (condition["status"] == Status.TRUE) == (condition["type"] in ABNORMAL_TRUE)
        ),
        next_expiry=min(expiries).timestamp() if expiries else None,
    )
