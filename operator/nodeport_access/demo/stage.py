"""The operator on the cluster in memory: its own store and its own reconcile code, an API server of ours, and a clock
that goes only when somebody waits.

Not the business of this module: what happens in which order (``show``).
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from nodeport_access.api import Body, Policy, ServiceKey
from nodeport_access.demo.cluster import Cluster, Sent
from nodeport_access.demo.folder import Scenario
from nodeport_access.evaluate import Scene
from nodeport_access.evaluate.bodies import parse_backend_pod
from nodeport_access.inventory.endpoints import endpoint_slices
from nodeport_access.kube import ENDPOINT_SLICES, NETWORK_POLICIES, NODES, PODS, POLICIES, SERVICES, Resource
from nodeport_access.metrics import Metrics
from nodeport_access.observed import Service
from nodeport_access.outcome import Done, Outcome, Wait
from nodeport_access.reconcile import GARBAGE_COLLECTION_SECONDS, Reconciler
from nodeport_access.shelf import Shelf
from nodeport_access.store import Store

USER, SLICES = "kubectl-client-side-apply", "kube-controller-manager"
"""The field managers of what is there before: kubectl apply's, and the controllers'."""

LONGEST = 50
"""Passes that a change may take; a scenario that needs more never comes to rest."""


class DoesNotSettle(Exception):  # noqa: N818 - what it is, as the operator's own outcomes are named
    """The operator goes on and on: a fault of the operator or of the cluster in memory, never of the scenario."""


class Clock:
    """Wall time and monotonic seconds, both from one hand."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._seconds = 0.0

    def now(self) -> datetime:
        """Wall time."""
        return self._start + timedelta(seconds=self._seconds)

    def seconds(self) -> float:
        """Monotonic time."""
        return self._seconds

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self._seconds += seconds


class Stage:
    """A cluster with the objects of a scenario, without its policy, and the operator on it."""

    def __init__(self, scenario: Scenario, *, start: datetime) -> None:
        self.scenario = scenario
        self.clock = Clock(start)
        self.store = Store()
        self._shelves: dict[Resource, Shelf[Any]] = {
            POLICIES: self.store.policies,
            SERVICES: self.store.services,
            NETWORK_POLICIES: self.store.network_policies,
            ENDPOINT_SLICES: self.store.slices,
            NODES: self.store.nodes,
            PODS: self.store.pods,
        }
        self.cluster = Cluster(clock=self.clock.now, on_change=self._changed)
        self._touched: set[ServiceKey] = set()
        self.store.pods.replace([], "0")
        self.store.nodes.replace([], "0")
        self.store.on_touched = self._touched.add
        log = logging.Logger("demo")
        log.addHandler(logging.NullHandler())
        self._reconciler = Reconciler(
            api=self.cluster,
            store=self.store,
            metrics=Metrics(),
            tell=lambda _: None,
            clock=self.clock.now,
            time=self.clock.seconds,
            log=log,
        )
        for resource, body in scenario.bodies:
            self.cluster.create(resource, body, manager=USER)
        for service in [*self.cluster.objects(SERVICES)]:
            for piece in endpoint_slices(service, scenario.of(PODS)):
                self.cluster.create(ENDPOINT_SLICES, piece, manager=SLICES)

    def apply_policy(self) -> None:
        """The user's ``kubectl apply`` of the policy."""
        self.cluster.create(POLICIES, self.scenario.policy, manager=USER)

    async def settle(self) -> list[Sent]:
        """Lets the operator work until it has nothing to do, and returns what it wrote. Raises DoesNotSettle."""
        before = len(self.cluster.sent)
        for _ in range(LONGEST):
            if not self._touched:
                return self.cluster.sent[before:]
            key = min(self._touched)
            self._touched.discard(key)
            delay = _due_soon(await self._reconciler.reconcile(key))
            if delay is not None:
                self.clock.wait(delay)
                self._touched.add(key)
        raise DoesNotSettle(f"after {LONGEST} passes the operator is not done with {sorted(self._touched)}")

    @property
    def service(self) -> Service:
        """The guarded Service as it is now."""
        key = self.scenario.service
        service = self.store.services.get(key.namespace, key.name)
        assert service is not None, "the folder was checked to hold it, and nobody deletes it"
        return service

    @property
    def policy(self) -> Policy | None:
        """The policy as it is now."""
        metadata = self.scenario.policy["metadata"]
        return self.store.policies.get(metadata["namespace"], metadata["name"])

    def scene(self) -> Scene:
        """What decides about the guarded Service now."""
        service = self.service
        return Scene(
            service=service,
            slices=tuple(piece for piece in self.store.slices if piece.service == service.key),
            nodes=tuple(self.store.nodes),
            network_policies=tuple(
                policy for policy in self.store.network_policies if policy.namespace == service.key.namespace
            ),
            pods=tuple(parse_backend_pod(body) for body in self.scenario.of(PODS) if self.scenario.is_backend(body)),
        )

    def _changed(self, resource: Resource, body: Body, gone: bool) -> None:
        """What a watch would tell."""
        shelf = self._shelves[resource]
        (shelf.drop if gone else shelf.put)(body)


def _due_soon(outcome: Outcome) -> float | None:
    """Seconds until the next pass, where the operator has something to do that is not an expiry far away."""
    match outcome:
        case Wait(_, delay):
            return 1.0 if delay is None else delay
        case Done(again) if again is not None and again <= GARBAGE_COLLECTION_SECONDS:
            return again
        case _:
            return None
