"""Pods come, go and move under the operator's policy: does the load balancer follow, what do its customers lose, and
does a stranger ever get in meanwhile?
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import pytest

from testbed import objects
from testbed.lab import load_balancer, stage, topology
from testbed.lab.dialing import Dial, Fate
from testbed.lab.lab import MIN_SYNC_PERIOD, Lab
from testbed.lab.load_balancer import UNAWARE, LoadBalancer
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.steady import EVERY, Attempt, steady
from testbed.lab.topology import V4, V6, Node
from testbed.waiting import wait_for
from tests.lab.arrangements import arranged
from tests.lab.guarding import NODES, STRANGER, guard, wait_until_open
from tests.lab.report import Report

pytestmark = arranged()

OLD, OLD_NODE = stage.BACKEND, stage.BACKEND_NODE
NEW, NEW_NODE = "dashboard-1", topology.NODES[2]
CUSTOMER = topology.PARTNER.name
FRONTEND = Dial(address=topology.LOAD_BALANCER.addresses[V4], port=load_balancer.PORT)

FOLLOWS = float(MIN_SYNC_PERIOD.removesuffix("s")) + UNAWARE
"""Seconds in which the load balancer has followed: kube-proxy may wait for its next turn, and a probe has to tell."""
SLACK = 2.0  # seconds that a machine with other work may need on top
IN_FLIGHT = 0.1  # seconds: whoever had begun so long before the end of a pod may have been with it still


@pytest.fixture
def guarded(lab: Lab, mode: Mode, placement: Placement) -> Lab:
    """The lab with a policy in force that admits the load balancer, and nobody else."""
    lab.arrange(mode, placement)
    guard(lab)
    wait_until_open(lab, set())
    return lab


@pytest.fixture
def balancer(lab: Lab) -> Iterator[LoadBalancer]:
    """Not started yet."""
    balancer = LoadBalancer(lab, node_port=stage.NODE_PORT)
    yield balancer
    balancer.stop()


def test_the_load_balancer_finds_by_probing_which_node_has_the_pod(
    lab: Lab, balancer: LoadBalancer, mode: Mode, placement: Placement
) -> None:
    lab.arrange(mode, placement)
    wait_until_open(lab, NODES)
    balancer.start()
    for family in (V4, V6):
        wait_until_up(balancer, NODES, family=family)

    guard(lab)

    for family in (V4, V6):
        wait_until_up(balancer, {OLD_NODE.name}, family=family)
        customer = Dial(address=topology.LOAD_BALANCER.addresses[family], port=load_balancer.PORT)
        outcomes = lab.dial([(customer, CUSTOMER)] * 10)
        assert {(each.fate, each.source) for each in outcomes} == {
            (Fate.THROUGH, topology.LOAD_BALANCER.addresses[family])
        }
    wait_until_open(lab, set(), origin=STRANGER)
    wait_until_open(lab, set(), origin=CUSTOMER)  # who gets in by the load balancer, and by no other way


def test_the_load_balancer_follows_a_pod_that_moves_at_once(
    guarded: Lab, balancer: LoadBalancer, report: Report
) -> None:
    balancer.start()
    with traffic(guarded) as customers:
        replace(guarded, node=NEW_NODE)
        gone = time.monotonic()
        guarded.remove_pod(OLD)
        wait_until_up(balancer, {NEW_NODE.name})
        followed = time.monotonic()
        wait_for_more(customers)

    lost = lost_of(customers, between=(gone, followed))
    report.figure(f"A pod moves at once, {arrangement(guarded)}: {told(lost, customers, since=gone)}.")


@pytest.mark.parametrize("redispatch", [False, True], ids=["no redispatch", "redispatch"])
def test_a_rolling_update_costs_what_the_load_balancer_takes_to_see_it(
    guarded: Lab, balancer: LoadBalancer, redispatch: bool, report: Report
) -> None:
    balancer.start(redispatch=redispatch)
    with traffic(guarded) as customers:
        replace(guarded, node=NEW_NODE)
        wait_until_up(balancer, {OLD_NODE.name, NEW_NODE.name})
        guarded.cluster.terminate(OLD, namespace=stage.NAMESPACE)
        terminating = time.monotonic()
        wait_for_more(customers, seconds=FOLLOWS)
        # Under Local a node whose only pod terminates still sends to it (KEP-1669): no probe of the node port tells.
        assert balancer.servers_up() == {OLD_NODE.name, NEW_NODE.name}
        gone = time.monotonic()
        guarded.remove_pod(OLD)
        wait_until_up(balancer, {NEW_NODE.name})
        followed = time.monotonic()
        wait_for_more(customers)

    lost = lost_of(customers, between=(gone, followed))
    drained = [attempt.outcome.pod for attempt in customers if terminating <= attempt.begun < gone - IN_FLIGHT]
    assert set(drained) == {OLD, NEW}
    if redispatch:
        assert len(lost) <= IN_FLIGHT / EVERY  # those that the old pod had accepted; all others are tried elsewhere
    else:
        endangered = [attempt for attempt in customers if gone - IN_FLIGHT <= attempt.begun <= followed]
        assert 0 < len(lost) <= len(endangered) / 2 + 1  # every other goes to the old node until two probes have failed
    how = "with" if redispatch else "without"
    report.figure(f"A rolling update {how} redispatch, {arrangement(guarded)}: {told(lost, customers, since=gone)}.")


def test_the_load_balancer_follows_a_pod_that_is_replaced_after_its_node_was_lost(
    guarded: Lab, balancer: LoadBalancer, report: Report
) -> None:
    balancer.start()
    try:
        with traffic(guarded) as customers:
            gone = time.monotonic()
            guarded.network.unplug(OLD_NODE)
            wait_until_up(balancer, set())
            set_ready(guarded, OLD_NODE, False)
            guarded.cluster.set_ready(OLD, namespace=stage.NAMESPACE, ready=False)
            stage.add_backend(guarded, NEW, node=NEW_NODE, number=11)
            replaced = time.monotonic()
            wait_until_up(balancer, {NEW_NODE.name})
            followed = time.monotonic()
            wait_for_more(customers)
            guarded.remove_pod(OLD)
    finally:
        guarded.network.plug_in(OLD_NODE)
        set_ready(guarded, OLD_NODE, True)

    lost = lost_of(customers, between=(gone, followed))
    report.figure(
        f"A node is lost and its pod replaced after {replaced - gone:.1f} s, {arrangement(guarded)}:"
        f" {told(lost, customers, since=gone)}."
    )
    stage.add_backend(guarded, "dashboard-2", node=OLD_NODE, number=12)
    wait_until_up(balancer, {OLD_NODE.name, NEW_NODE.name}, seconds=30)  # the node's connections have to recover
    wait_until_open(guarded, set())


# --- what the tests do ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def traffic(lab: Lab) -> Iterator[list[Attempt]]:
    """Customers connect by the load balancer, and a stranger tries every node meanwhile, in vain to the last time."""
    with contextlib.ExitStack() as stack:
        dials = [Dial(address=node.addresses[V4], port=stage.NODE_PORT) for node in topology.NODES]
        tries = [stack.enter_context(steady(lab, request, origin=STRANGER, seconds=0.4)) for request in dials]
        customers = stack.enter_context(steady(lab, FRONTEND, origin=CUSTOMER))
        wait_for_more(customers)
        yield customers
    strangers = [attempt.outcome for at_node in tries for attempt in at_node]
    assert len(strangers) > len(customers)
    assert [outcome for outcome in strangers if outcome.fate is not Fate.REFUSED] == []


def replace(lab: Lab, *, node: Node) -> None:
    """A second pod becomes ready."""
    new = stage.add_backend(lab, NEW, node=node, number=11)
    addresses = [*lab.pods[OLD].addresses, *new.addresses]
    lab.cluster.wait_for_endpoints(stage.SERVICE, namespace=stage.NAMESPACE, ready=addresses)


def set_ready(lab: Lab, node: Node, ready: bool) -> None:
    """What a node controller says of a node."""
    change = {"status": {"conditions": [objects.condition(type="Ready", status=ready)]}}
    lab.cluster.patch("Node", node.name, change, subresource="status")


def wait_until_up(
    balancer: LoadBalancer, nodes: set[str], *, family: int = V4, seconds: float = FOLLOWS + SLACK
) -> None:
    """Wait until the load balancer sends to exactly these nodes."""

    def as_wanted() -> bool:
        seen = balancer.servers_up(family)
        assert seen == nodes, f"it sends to {sorted(seen) or 'no node'}"
        return True

    wait_for(as_wanted, seconds=seconds, what=f"the load balancer to find {sorted(nodes) or 'no node'}", every=0.02)


def wait_for_more(customers: Sequence[Attempt], *, seconds: float = 0.5) -> None:
    """Wait until the customers have gone on for so long, all of whose attempts are over."""
    since = time.monotonic()
    wait_for(
        lambda: any(attempt.begun >= since + seconds for attempt in list(customers)),
        seconds=seconds + 5,
        what="customers to go on",
    )


def lost_of(customers: Sequence[Attempt], *, between: tuple[float, float]) -> list[Attempt]:
    """The connections that were lost: from the end of a pod on until the load balancer has followed, and never else."""
    lost = [attempt for attempt in customers if attempt.outcome.fate is not Fate.THROUGH]
    gone, followed = between
    elsewhen = [attempt for attempt in lost if not gone - IN_FLIGHT <= attempt.begun <= followed]
    assert elsewhen == [], f"the pod was gone at {gone}, and the load balancer had followed at {followed}"
    return lost


def arrangement(lab: Lab) -> str:
    return f"{lab.proxies.mode}, {lab.policing.placement}"


def told(lost: Sequence[Attempt], attempts: Sequence[Attempt], *, since: float) -> str:
    """How many were lost, and for how long since a moment."""
    last = f", the last {lost[-1].begun - since:.1f} s after" if lost else ""
    return f"{len(lost)} of {len(attempts)} connections lost{last}"
