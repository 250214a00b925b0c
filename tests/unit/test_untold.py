"""Repairs that are not told of while one Service after the other stands open, in a controller that runs: status follows
soon after the last of them.

Not the business of this module: which pass tells, and which does not (test_reconcile.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodeport_access.api import Body
from nodeport_access.controller import Controller
from nodeport_access.kube import POLICIES, Applied, Listing, Resource
from nodeport_access.metrics import Metrics
from nodeport_access.silence import LONGEST_SECONDS, PRESS
from tests.unit.builders import NAMESPACE, policy, service
from tests.unit.controllers import Uneventful, controller_of
from tests.unit.endless import eventually
from tests.unit.model_cluster import ModelCluster

COUNT = 160
"""Services that are opened at once: sixteen workers have them in turns, one right after the other."""
ANSWER_SECONDS = 0.1
"""What a write takes."""


class Server(Uneventful):
    """An API server that can be listed and written to, and of which no event is heard."""

    def __init__(self, *bodies: Body) -> None:
        self.cluster = ModelCluster(*bodies)

    def count(self, verb: str) -> int:
        return sum(each == verb for each, _ in self.cluster.requests)

    async def list(self, resource: Resource, *, read: Callable[[Body], Any], **_: Any) -> Listing[Any]:
        return Listing(items=tuple(map(read, self.cluster.bodies(resource.kind))), resource_version="1")

    async def get(self, *what: Any, **how: Any) -> Body:
        return await self.cluster.get(*what, **how)

    async def apply(self, *what: Any, **how: Any) -> Applied:
        await asyncio.sleep(ANSWER_SECONDS)
        return await self.cluster.apply(*what, **how)

    async def apply_status(self, *what: Any, **how: Any) -> Body:
        await asyncio.sleep(ANSWER_SECONDS)
        return await self.cluster.apply_status(*what, **how)

    async def create(self, *_: Any, body: Body, **__: Any) -> Body:
        return body  # an Event


class Passes(Metrics):
    """Counts them."""

    count = 0

    def passed(self, *, outcome: str, seconds: float) -> None:
        super().passed(outcome=outcome, seconds=seconds)
        self.count += 1


@asynccontextmanager
async def guarding(server: Server, *, metrics: Metrics | None = None) -> AsyncIterator[Controller]:
    """One that runs, and has told of everything."""
    loop = asyncio.get_running_loop()
    controller = controller_of(client=server, time=loop.time, metrics=metrics)
    controller.feed.told("watch", POLICIES.path(), None)  # Kopf's part works
    running = asyncio.create_task(controller.run())
    try:
        await eventually(lambda: server.count("apply_status") == COUNT)
        yield controller
    finally:
        running.cancel()
        await asyncio.wait([running])


def open_all(server: Server, controller: Controller) -> None:
    def open_it(body: Body) -> None:
        body["spec"]["externalTrafficPolicy"] = "Cluster"

    for name in server.cluster.names("Service"):
        controller.store.services.hear(server.cluster.edit("Service", NAMESPACE, name, open_it, manager="olga"))


def world() -> Server:
    return Server(
        *(policy(name=f"p{number}", service=f"s{number}") for number in range(COUNT)),
        *(service(name=f"s{number}", selector={"app": f"s{number}"}) for number in range(COUNT)),
    )


@pytest.mark.looptime
async def test_all_that_stood_open_is_told_of_within_seconds_after_the_last_of_it_was_shut() -> None:
    server, passes = world(), Passes()
    async with guarding(server, metrics=passes) as controller:
        written, told = server.count("apply"), server.count("apply_status")
        passes.count = 0
        open_all(server, controller)
        await eventually(lambda: server.count("apply") == written + COUNT)
        shut_at = asyncio.get_running_loop().time()
        assert server.count("apply_status") < told + PRESS, "the first are single events as yet"
        await eventually(lambda: server.count("apply_status") == told + COUNT)
        assert asyncio.get_running_loop().time() - shut_at < LONGEST_SECONDS / 2
        await asyncio.sleep(2 * LONGEST_SECONDS)
        assert (server.count("apply"), server.count("apply_status")) == (written + COUNT, told + COUNT)
        assert passes.count <= 2 * COUNT + PRESS, "one to repair, and one to tell"


@pytest.mark.looptime
async def test_what_is_shut_out_while_the_others_are_told_of_does_not_wait_for_them() -> None:
    server = world()
    async with guarding(server) as controller:
        told = server.count("apply_status")
        open_all(server, controller)
        await eventually(lambda: server.count("apply_status") > told + PRESS)
        repaired = [what for verb, what in server.cluster.requests if verb == "apply"]
        last = repaired[-1].replace("Service/s", "p") + "-allow"  # the last to be told of
        controller.store.network_policies.drop(server.cluster.remove("NetworkPolicy", NAMESPACE, last))
        deleted_at = asyncio.get_running_loop().time()
        await eventually(lambda: last in server.cluster.names("NetworkPolicy"))
        assert asyncio.get_running_loop().time() - deleted_at < 4 * ANSWER_SECONDS
        assert server.count("apply_status") < told + COUNT
        await eventually(lambda: server.count("apply_status") >= told + COUNT)
