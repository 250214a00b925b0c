"""A replica that stands by follows everything, is ready and healthy, and does nothing until its tenure begins; then it
works in every namespace whose lists are complete, and in the others as they come.

Not the business of this module: whose tenure it is (test_election.py), and an API server (tests/api/test_failover.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from nodeport_access.api import Body
from nodeport_access.controller import STUCK_SECONDS, Controller
from nodeport_access.kube import POLICIES, Forbidden, Listing, Resource
from nodeport_access.tenure import Tenure
from tests.unit.builders import NOW, entry, policy, service
from tests.unit.controllers import Uneventful, controller_of

WEB, SHOP = "web", "shop"
DRIFTED = NOW - timedelta(minutes=10)
NODES_ASKED_AGAIN = 360.0
"""Seconds after which nodes that were refused have been asked for again."""


def now() -> float:
    return asyncio.get_running_loop().time()


class Quiet(Uneventful):
    """An API server on which nothing happens: it has a policy and its Service in each of two namespaces, takes every
    status, and notes what else is written, which it never answers.

    What is in ``withheld``, a namespace, a kind or a kind in a namespace, may not be listed; lists of what is in
    ``held``, named alike, are answered when that is set.
    """

    def __init__(self, *withheld: str, **spec: Any) -> None:
        self.withheld = set(withheld)
        self.held: dict[str, asyncio.Event] = {}
        self.written: list[str] = []
        drift = {"object": "Service/shop", "effect": "opened", "time": DRIFTED.isoformat()}
        allowed = [entry("10.0.0.0/8", expiresAt="2030-01-01T00:00:00Z")]
        self.policies = {
            name: policy(namespace=name, allowed=allowed, status={"lastDrift": drift}, **spec) for name in (WEB, SHOP)
        }

    def condition(self, namespace: str, type: str) -> str:
        """Status and reason of a policy's condition, empty while nobody has told."""
        told = self.policies[namespace]["status"].get("conditions", ())
        return next((f"{one['status']} {one['reason']}" for one in told if one["type"] == type), "")

    async def list(
        self, resource: Resource, *, namespace: str | None, read: Callable[[Body], Any], **_: Any
    ) -> Listing[Any]:
        names = {resource.plural, namespace or "", f"{namespace}/{resource.plural}"}
        for name in names & self.held.keys():
            await self.held[name].wait()
        if names & self.withheld:
            raise Forbidden(status=403, reason="Forbidden", message="not yours")
        items: list[Body] = []
        for name in (WEB, SHOP) if namespace is None else (namespace,):
            bodies = {"nodeportaccesspolicies": self.policies[name], "services": service(namespace=name)}
            items += [bodies[resource.plural]] if resource.plural in bodies else []
        return Listing(items=tuple(map(read, items)), resource_version="1")

    async def apply(self, resource: Resource, *, namespace: str, name: str, **_: Any) -> None:
        self.written.append(f"{resource.plural} {namespace}/{name}")
        await asyncio.sleep(10_000)

    async def apply_status(self, _: Resource, *, namespace: str, body: Body, **__: Any) -> Body:
        old = self.policies[namespace]
        version = str(int(old["metadata"]["resourceVersion"]) + 1)
        new = old | {"metadata": old["metadata"] | {"resourceVersion": version}, "status": body["status"]}
        self.policies[namespace] = new
        return new


class Clock:
    """Wall time, which runs with the loop's and can be set."""

    def __init__(self) -> None:
        self.set_by = timedelta()

    def __call__(self) -> datetime:
        return NOW + timedelta(seconds=now()) + self.set_by


@asynccontextmanager
async def standing_by(
    server: Quiet, *namespaces: str, clock: Clock | None = None
) -> AsyncIterator[tuple[Controller, Tenure]]:
    """One that runs, for these namespaces or for all, and is a candidate."""
    tenure = Tenure(elected=True, time=now)
    controller = controller_of(client=server, namespaces=namespaces, clock=clock or Clock(), time=now, tenure=tenure)
    for namespace in namespaces or (None,):
        controller.feed.told("watch", POLICIES.path(namespace=namespace), None)  # Kopf's part works
    running = asyncio.create_task(controller.run())
    try:
        async with asyncio.timeout(5):
            await controller.wait_listed()
        yield controller, tenure
    finally:
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])


def lead(tenure: Tenure) -> None:
    """For as long as the test takes."""
    tenure.prolong(renewed_at=now() + 10_000)


@pytest.mark.looptime
@pytest.mark.parametrize("namespaces", [(), (WEB, SHOP)], ids=["all", "listed"])
async def test_who_stands_by_is_ready_and_healthy_and_does_nothing(namespaces: tuple[str, ...]) -> None:
    server, clock = Quiet(), Clock()
    async with standing_by(server, *namespaces, clock=clock) as (controller, _):
        for _ in range(10):
            clock.set_by += timedelta(hours=1)  # whoever works looks at all whose entries end, each time
            await asyncio.sleep(STUCK_SECONDS / 5)
            assert (controller.unready(), controller.unhealthy(), controller.view().queue_depth) == ("", "", 0)
        assert (server.written, controller.view().leads) == ([], False)
        assert await controller.finish(), "nothing is under way"


@pytest.mark.looptime
async def test_who_leads_looks_at_everything_and_does_not_call_it_done_while_a_write_is_under_way() -> None:
    server = Quiet()
    async with standing_by(server) as (controller, tenure):
        await asyncio.sleep(30)
        assert server.written == []
        lead(tenure)
        await asyncio.sleep(0.1)
        assert sorted(server.written) == [f"networkpolicies {name}/shop-allow" for name in (SHOP, WEB)]
        assert controller.view().leads
        assert not await controller.finish()


@pytest.mark.looptime
@pytest.mark.parametrize("withheld", [SHOP, f"{SHOP}/endpointslices", f"{SHOP}/nodeportaccesspolicies"])
async def test_a_namespace_that_may_not_be_listed_keeps_nobody_from_leading_and_is_worked_on_once_it_may(
    withheld: str,
) -> None:
    server = Quiet(withheld)
    async with standing_by(server, WEB, SHOP) as (controller, tenure):
        lead(tenure)
        await asyncio.sleep(60)
        assert server.written == ["networkpolicies web/shop-allow"]
        assert " in shop: 403 Forbidden: not yours" in controller.unready()
        server.withheld.clear()
        await asyncio.sleep(10)
        assert server.written == ["networkpolicies web/shop-allow", "networkpolicies shop/shop-allow"]
        assert controller.unready() == ""


@pytest.mark.looptime
async def test_who_leads_touches_nothing_in_a_namespace_of_which_he_knows_only_a_part() -> None:
    server = Quiet(f"{SHOP}/endpointslices", f"{SHOP}/nodeportaccesspolicies")
    async with standing_by(server, WEB, SHOP) as (_, tenure):
        lead(tenure)
        await asyncio.sleep(10)
        server.withheld.remove(f"{SHOP}/nodeportaccesspolicies")
        await asyncio.sleep(10)
        assert server.written == ["networkpolicies web/shop-allow"]
        server.withheld.clear()
        await asyncio.sleep(10)
        assert server.written == ["networkpolicies web/shop-allow", "networkpolicies shop/shop-allow"]


@pytest.mark.looptime
async def test_pods_of_a_namespace_that_nobody_tells_of_hold_up_no_other() -> None:
    server = Quiet()
    answer = server.held[f"{SHOP}/pods"] = asyncio.Event()
    async with standing_by(server, WEB, SHOP) as (_, tenure):
        lead(tenure)
        await asyncio.sleep(10)
        assert server.written == ["networkpolicies web/shop-allow"]
        answer.set()
        await asyncio.sleep(1)
        assert server.written == ["networkpolicies web/shop-allow", "networkpolicies shop/shop-allow"]


@pytest.mark.looptime
@pytest.mark.parametrize("turns", range(-12, 13))
async def test_a_namespace_whose_lists_are_complete_as_the_tenure_begins_is_not_lost(turns: int) -> None:
    """So many turns of the loop lie between the two; below zero, the tenure comes first."""
    server = Quiet()
    answer = server.held[SHOP] = asyncio.Event()
    async with standing_by(server, WEB, SHOP) as (_, tenure):
        begins: list[Callable[[], None]] = [answer.set, lambda: lead(tenure)]
        first, second = begins if turns >= 0 else reversed(begins)
        first()
        for _ in range(abs(turns)):
            await asyncio.sleep(0)
        second()
        await asyncio.sleep(1)
        assert sorted(server.written) == [f"networkpolicies {name}/shop-allow" for name in (SHOP, WEB)]


@pytest.mark.looptime
async def test_without_nodes_one_stands_by_and_leads_and_status_tells_of_them_once_they_are_granted() -> None:
    server = Quiet("nodes", mode="Audit")
    async with standing_by(server, WEB, SHOP) as (controller, tenure):
        lead(tenure)
        await asyncio.sleep(60)
        assert [server.condition(name, "Enforceable") for name in (WEB, SHOP)] == ["Unknown NodesNotListed"] * 2
        assert controller.unready() == ""
        server.withheld.clear()
        await asyncio.sleep(NODES_ASKED_AGAIN)
        assert [server.condition(name, "Enforceable") for name in (WEB, SHOP)] == ["True NothingBypasses"] * 2
        assert controller.unready() == ""


@pytest.mark.looptime
async def test_nodes_that_are_granted_make_no_work_for_who_stands_by() -> None:
    server = Quiet("nodes")
    async with standing_by(server, WEB, SHOP) as (controller, _):
        await asyncio.sleep(60)
        server.withheld.clear()
        await asyncio.sleep(NODES_ASKED_AGAIN)
        assert (controller.unready(), controller.view().queue_depth, server.written) == ("", 0, [])


@pytest.mark.looptime
async def test_a_drift_keeps_its_time_when_another_takes_over() -> None:
    """Or an alert about the last few minutes would fire again for a drift of long ago, or go while both can tell."""
    async with standing_by(Quiet(mode="Audit")) as (controller, tenure):
        for _ in ("standing by", "leading"):
            view = controller.view()
            assert [one.last_drifts for one in view.policies] == [(("opened", DRIFTED.timestamp()),)] * 2
            assert view.contended == ()
            lead(tenure)
            await asyncio.sleep(60)
        assert controller.view().leads
