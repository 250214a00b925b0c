"""The evaluator against the hand-worked model of the lab, cell by cell, in every set-up, mode and placement.

The model shares no code with the product, and every run of the lab holds it against packets. Not the business of this
module: packets (`tests/lab/test_tables.py`, which holds the evaluator against them too).
"""

from __future__ import annotations

import pytest

from nodeport_access.api import Body
from nodeport_access.evaluate import BackendPod, Caller, Scene
from nodeport_access.evaluate.bodies import parse_frontends
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_service
from testbed.lab import stage, topology
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4, V6
from tests.lab.cells import BACKEND, CELLS, CLIENTS, Kind
from tests.lab.evaluated import agrees, asked, known
from tests.lab.expected import Admission
from tests.lab.setups import SET_UPS, SetUp
from tests.unit import builders
from tests.unit.builders import endpoint, endpoint_slice, network_policy

NODES = tuple(
    parse_node(builders.node(node.name, addresses=node.addresses, pod_cidrs=node.pod_cidrs)) for node in topology.NODES
)
CALLERS = {
    client.name: Caller(
        namespace=client.namespace,
        namespace_labels={"region": client.namespace},
        labels={},
        node=client.node.name,
    )
    for client in CLIENTS
    if client.kind is Kind.POD and client.node is not None
}


def service(*, local: bool) -> Body:
    """The Service of the lab."""
    ports = [
        {
            "name": protocol.lower(),
            "protocol": protocol,
            "port": stage.SERVICE_PORT,
            "targetPort": stage.POD_PORT,
            "nodePort": stage.NODE_PORT,
        }
        for protocol in ("TCP", "UDP")
    ]
    body = builders.service(
        type="LoadBalancer",
        selector=stage.LABELS,
        ports=ports,
        families=["IPv4", "IPv6"],
        traffic_policy="Local" if local else "Cluster",
        externalIPs=[address for node in topology.NODES for address in node.external_ips],
    )
    addresses = [address for node in topology.NODES for address in node.load_balancer_ips]
    return body | {"status": {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}}


def allowlist(admission: Admission) -> Body:
    """A NetworkPolicy that admits whom the model admits."""
    blocks = [{"ipBlock": {"cidr": cidr, "except": excepted(cidr, admission)}} for cidr in admission.cidrs]
    peers = [{"namespaceSelector": {"matchLabels": {"region": name}}} for name in admission.namespaces]
    ingress = [{"from": [*blocks, *peers]}] if blocks or peers else []
    return network_policy(pod_selector={"matchLabels": stage.LABELS}, ingress=ingress)


def excepted(cidr: str, admission: Admission) -> list[str]:
    """The exceptions of the same family; those outside take nothing away."""
    return [one for one in admission.excepted if (":" in one) == (":" in cidr)]


def scene(set_up: SetUp) -> Scene:
    """What the set-up comes to, as objects."""
    body = service(local=set_up.local)
    ports = [{"name": name.lower(), "protocol": name, "port": stage.POD_PORT} for name in ("TCP", "UDP")]
    backends = [endpoint(BACKEND.addresses[family], node=stage.BACKEND_NODE.name, ready=True) for family in (V4, V6)]
    slices = [
        endpoint_slice(backend, name=f"slice-{number}") | {"ports": ports} for number, backend in enumerate(backends)
    ]
    policies = [] if set_up.admission is None else [allowlist(set_up.admission)]
    return Scene(
        service=parse_service(body),
        slices=tuple(map(parse_endpoint_slice, slices)),
        nodes=NODES,
        network_policies=tuple(map(parse_network_policy, policies)),
        pods=(BackendPod(labels=stage.LABELS),),
        frontends=parse_frontends(body),
    )


@pytest.mark.parametrize("placement", Placement, ids=str)
@pytest.mark.parametrize("mode", Mode, ids=str)
@pytest.mark.parametrize("set_up", SET_UPS, ids=str)
def test_the_evaluator_says_of_every_cell_what_the_model_says(set_up: SetUp, mode: Mode, placement: Placement) -> None:
    found, told = scene(set_up), known(mode, placement)
    differing = []
    for cell, outcome in zip(CELLS, set_up.expected(mode, placement), strict=True):
        verdict = asked(found, cell, CALLERS, told)
        if not agrees(outcome, verdict):
            differing.append(f"{cell}: {outcome}, but {verdict.answer} {verdict.sources}: {verdict.derivation}")
    assert not differing, "\n".join(differing)
