"""The doors that stay open under the operator's policy, shown with packets, and named by status where the API tells.

`docs/limits.md` says what to do about each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from testbed import objects
from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Fate, Outcome, Protocol
from testbed.lab.lab import Lab, Session
from testbed.lab.namespaces import Namespace
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4, Node
from tests.lab.arrangements import arranged
from tests.lab.guarding import NODES, STRANGER, allow, guard, wait_for_condition, wait_until_open
from tests.lab.setups import LOAD_BALANCER_CIDRS

pytestmark = arranged()

BACKEND_NODE = stage.BACKEND_NODE
OTHER_SERVICE, OTHER_NODE_PORT = "metrics", 31700
WIDE = ("10.0.0.0/8", *LOAD_BALANCER_CIDRS[1:])  # the nodes are in it

GET_IN_BY_OTHER_SERVICE = {
    # The verdict falls on the pod's node, where a client who came in by another node looks like that node.
    (Placement.OWN_NODE, WIDE): NODES - {BACKEND_NODE.name},
    (Placement.OWN_NODE, LOAD_BALANCER_CIDRS): set(),
    # The node that he came in by knows his address, and gives its verdict first.
    (Placement.EVERY_HOP, WIDE): set(),
    (Placement.EVERY_HOP, LOAD_BALANCER_CIDRS): set(),
    # He looks like the pod's own node if he comes in there, and that one is always let in.
    (Placement.AFTER_SNAT, WIDE): NODES,
    (Placement.AFTER_SNAT, LOAD_BALANCER_CIDRS): {BACKEND_NODE.name},
}


def test_a_backend_in_the_host_network_is_open_to_everyone_and_status_says_so(
    lab: Lab, mode: Mode, placement: Placement
) -> None:
    lab.arrange(mode, placement)
    host = topology.NODES[2]
    with host_network_backend(lab, node=host):
        guard(lab)

        wait_until_open(lab, {host.name})
        wait_until_open(lab, {host.name}, port=stage.POD_PORT)  # without the Service
        condition = wait_for_condition(lab, "Enforceable", status="False", reason="HostNetworkBackend")
        assert host.name in condition["message"]
        wait_for_condition(lab, "Ready", status="False", reason="HostNetworkBackend")

    wait_until_open(lab, set())
    wait_for_condition(lab, "Ready", status="True")


@pytest.mark.parametrize("cidrs", [WIDE, LOAD_BALANCER_CIDRS], ids=["wide", "narrow"])
def test_a_second_service_under_cluster_opens_the_pods_as_far_as_it_hides_clients_and_status_names_it(
    lab: Lab, mode: Mode, placement: Placement, cidrs: tuple[str, str]
) -> None:
    lab.arrange(mode, placement)
    with other_service(lab):
        wait_until_open(lab, NODES, port=OTHER_NODE_PORT)
        guard(lab, cidrs)

        wait_until_open(lab, set())
        wait_until_open(lab, GET_IN_BY_OTHER_SERVICE[placement, cidrs], port=OTHER_NODE_PORT)
        condition = wait_for_condition(lab, "Enforceable", status="False", reason="UnguardedClusterService")
        assert f"Service {OTHER_SERVICE} exposes the same pods" in condition["message"]
        wait_for_condition(lab, "Ready", status="False", reason="UnguardedClusterService")


@pytest.mark.parametrize("protocol", Protocol)
def test_who_was_connected_before_the_policy_stays_so_until_conntrack_forgets_him(
    lab: Lab, mode: Mode, placement: Placement, protocol: Protocol
) -> None:
    lab.arrange(mode, placement)
    wait_until_open(lab, NODES)
    with contextlib.ExitStack() as stack:
        requests = [node_port(node, protocol) for node in topology.NODES]
        sessions = [stack.enter_context(open_session(lab, request)) for request in requests]

        guard(lab)
        wait_until_open(lab, set())
        assert all(sees(session) for session in sessions)

        forget_connections(lab, NODES, protocol)
        assert not any(sees(session) for session in sessions)


@pytest.mark.parametrize("protocol", Protocol)
def test_who_was_connected_before_his_entry_ended_stays_so_until_conntrack_forgets_him_where_the_verdict_falls(
    lab: Lab, mode: Mode, placement: Placement, protocol: Protocol
) -> None:
    lab.arrange(mode, placement)
    guard(lab, (*LOAD_BALANCER_CIDRS, f"{topology.STRANGER.addresses[V4]}/32"))
    wait_until_open(lab, {BACKEND_NODE.name})
    with open_session(lab, node_port(BACKEND_NODE, protocol)) as session:
        allow(lab, LOAD_BALANCER_CIDRS)
        wait_until_open(lab, set())
        assert sees(session) == topology.STRANGER.addresses[V4]

        forget_connections(lab, {BACKEND_NODE.name}, protocol)
        if placement is Placement.AFTER_SNAT:  # the pod's own conntrack still knows him
            assert sees(session) == topology.STRANGER.addresses[V4]
            wait_until_open(lab, set())  # until he has acknowledged the answer: sent again, it would revive the session
            forget_connections(lab, {stage.BACKEND}, protocol)
        assert not sees(session)


def test_a_datagram_with_a_forged_address_gets_in_unless_its_way_back_is_checked_where_the_stranger_is_wired(
    lab: Lab, mode: Mode, placement: Placement
) -> None:
    lab.arrange(mode, placement)
    guard(lab)
    wait_until_open(lab, set())
    allowed = topology.LOAD_BALANCER.addresses[V4]
    forged = replace(node_port(BACKEND_NODE, Protocol.UDP), source=allowed)
    lab.network[STRANGER].ip(f"addr add {allowed}/32 dev lo")
    try:
        assert lab.dial([(forged, STRANGER)]) == [Outcome(Fate.ONE_WAY, source=allowed, pod=stage.BACKEND)]

        # The node would answer both over the one interface that it has.
        with strict_reverse_path_filtering(lab.network[BACKEND_NODE.name], "eth0"):
            assert lab.dial([(forged, STRANGER)]) == [Outcome(Fate.ONE_WAY, source=allowed, pod=stage.BACKEND)]
        with strict_reverse_path_filtering(lab.network.fabric, f"to-{STRANGER}"):
            assert lab.dial([(forged, STRANGER)]) == [Outcome(Fate.REFUSED)]
    finally:
        lab.network[STRANGER].ip(f"addr del {allowed}/32 dev lo")


# --- what the tests do ------------------------------------------------------------------------------------------------


def node_port(node: Node, protocol: Protocol) -> Dial:
    return Dial(address=node.addresses[V4], port=stage.NODE_PORT, protocol=protocol)


def open_session(lab: Lab, request: Dial) -> contextlib.closing[Session]:
    """A stranger's, until the block ends."""
    return contextlib.closing(lab.open_session(request, origin=STRANGER))


def sees(session: Session) -> str:
    """The address that the pod sees of an open session; empty where no answer comes."""
    try:
        return session.ask(seconds=0.8)
    except OSError:
        return ""


def forget_connections(lab: Lab, places: Iterable[str], protocol: Protocol) -> None:
    """What somebody types who wants open sessions to end, wherever there is one: conntrack fails if it finds none."""
    for place in places:
        lab.network[place].run("conntrack", "-D", "-p", protocol.lower())


@contextlib.contextmanager
def strict_reverse_path_filtering(namespace: Namespace, interface: str) -> Iterator[None]:
    """Let in only whom an answer would reach over the same interface (RFC 3704, 2.2), until the block ends."""
    setting = f"ipv4/conf/{interface}/rp_filter"
    namespace.set({setting: 1})
    try:
        yield
    finally:
        namespace.set({setting: 0})


@contextlib.contextmanager
def host_network_backend(lab: Lab, *, node: Node) -> Iterator[None]:
    """One more pod of the Service, which has its node's network, until the block ends."""
    name = "dashboard-host"
    lab.backends.start(name, namespace=lab.network[node.name], tcp=[stage.POD_PORT], udp=[stage.POD_PORT])
    try:
        lab.cluster.create(
            objects.pod(
                namespace=stage.NAMESPACE,
                name=name,
                node=node.name,
                ips=node.addresses,
                labels=stage.LABELS,
                ports={"tcp": stage.POD_PORT},
                host_network=True,
            )
        )
        yield
    finally:
        lab.backends.stop(name)
        lab.cluster.remove(name, namespace=stage.NAMESPACE)


@contextlib.contextmanager
def other_service(lab: Lab) -> Iterator[None]:
    """A second Service on the same pods, under Cluster, which no policy guards, until the block ends."""
    lab.cluster.create(
        objects.service(
            namespace=stage.NAMESPACE,
            name=OTHER_SERVICE,
            selector=stage.LABELS,
            ports=[{"port": 80, "targetPort": stage.POD_PORT, "nodePort": OTHER_NODE_PORT}],
        )
    )
    try:
        yield
    finally:
        lab.cluster.delete("Service", OTHER_SERVICE, namespace=stage.NAMESPACE)
