"""Two hundred hand-overs between policies, with latency between operator and API server: while a policy that is alive
and enforces exists, the pods are never without one, and nobody gets in who is in neither list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy, Latency
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT
from testbed.waiting import wait_for
from tests.api.access import Site, next_second
from tests.api.conftest import StartOperator
from tests.api.witness import State, Witness, assert_never_wider, of_one_service

EACH = 50
"""Hand-overs of each kind; there are four kinds."""
LATENCY_SECONDS = 0.05
"""With it, and without the deny-all of the one that waits, every hand-over left the pods open for that long."""
HOLDER, NEXT = ["10.2.3.4/32"], ["198.51.100.0/24"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the holder ``first-N`` goes, and which policy holds the Service in the end."""

    step: Callable[[Site, int], object]
    holder: str
    first: dict[str, Any] = field(default_factory=dict)


def delete(site: Site, number: int) -> None:
    site.delete("NodePortAccessPolicy", f"first-{number}")


def replace(site: Site, number: int) -> None:
    site.delete("NodePortAccessPolicy", f"first-{number}")
    site.create_policy(f"first-{number}", service=f"web-{number}", allowed=HOLDER)


KINDS = {
    "deleted": Kind(step=delete, holder="later"),
    "turned-to-audit": Kind(
        step=lambda site, number: site.edit_policy(f"first-{number}", mode="Audit"), holder="later"
    ),
    "replaced": Kind(step=replace, holder="later"),
    "turned-to-enforce": Kind(
        step=lambda site, number: site.edit_policy(f"first-{number}", mode="Enforce"),
        holder="first",
        first={"mode": "Audit"},
    ),
}


@pytest.fixture
def sites(quiet_control_plane: ControlPlane) -> Iterator[dict[str, Site]]:
    cluster = Cluster(quiet_control_plane)
    for name in KINDS:
        cluster.create_namespace(objects.namespace(name=name))
    yield {name: Site(cluster, name) for name in KINDS}
    for name in KINDS:
        cluster.vacate_namespace(name)


def test_in_a_hand_over_the_pods_are_never_without_a_policy(
    sites: dict[str, Site], quiet_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    with FaultProxy(quiet_control_plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        start_operator(quiet_control_plane, kubeconfig=kubeconfig, namespace=list(KINDS))
        for name, kind in KINDS.items():
            for number in range(EACH):
                labels = {"app": f"web-{number}"}
                sites[name].create_service(f"web-{number}", selector=labels)
                sites[name].create_policy(f"first-{number}", service=f"web-{number}", allowed=HOLDER, **kind.first)
        next_second()
        for site in sites.values():
            for number in range(EACH):
                site.create_policy(f"later-{number}", service=f"web-{number}", allowed=NEXT)
        await_holders(sites, lambda kind: "later" if kind.first else "first")
        next_second()
        witnesses = {name: Witness(site) for name, site in sites.items()}
        with (
            proxy.inject(Latency(seconds=LATENCY_SECONDS), verbs={"create", "patch", "delete"}) as slow,
            ThreadPoolExecutor(len(KINDS)) as threads,
        ):
            list(threads.map(lambda name: [KINDS[name].step(sites[name], n) for n in range(EACH)], KINDS))
            await_holders(sites, lambda kind: kind.holder)
        assert slow.hits >= 4 * EACH
    for witness in witnesses.values():
        states = witness.states()
        for number in range(EACH):
            own = of_one_service(states, number)
            assert_always_claimed(own)
            assert_never_wider(own, service=f"web-{number}", labels={"app": f"web-{number}"})


def await_holders(sites: dict[str, Site], holder: Callable[[Kind], str]) -> None:
    """Wait until every Service is held by the policy that it should be held by, and nothing is left of others."""

    def as_expected() -> bool:
        for name, site in sites.items():
            policies = site.cluster.list("NodePortAccessPolicy", namespace=site.namespace)
            ready = {
                one["metadata"]["name"]
                for one in policies
                if one.get("status", {}).get("conditions", [{}])[0].get("reason") == "Guarded"
            }
            assert ready == {f"{holder(KINDS[name])}-{number}" for number in range(EACH)}, name
            waiting = {
                f"{one['metadata']['name']}-deny-all"
                for one in policies
                if one["metadata"]["name"] not in ready and one["spec"]["mode"] == "Enforce"
            }
            children = {f"{one}-{suffix}" for one in ready for suffix in ("allow", "deny-all")} | waiting
            assert set(site.network_policies()) == children, name
        return True

    wait_for(as_expected, seconds=60, what="all hand-overs", every=0.5)  # a look at everything is dear


def assert_always_claimed(states: list[State]) -> None:
    """What the test is about: at every moment there was a living policy that enforces."""
    assert len(states) > 4
    for state in states:
        modes = [
            one["spec"]["mode"]
            for one in state.objects["NodePortAccessPolicy"].values()
            if "deletionTimestamp" not in one["metadata"]
        ]
        assert "Enforce" in modes
