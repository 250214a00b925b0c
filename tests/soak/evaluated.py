"""Who gets in to pods, by the operator's own evaluator: the opinion that the soak holds every write against.

The pods need not be there: a pod with these labels on one of the nodes is made up, behind a Service that is Local, and
asked is who gets in from outside by that node's port. So the answer hangs on NetworkPolicies alone; it is the whole of
whom any CNI may let in. Not its business: whether that is right (`tests.api.histories.guarding`).
"""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Iterable, Iterator

from nodeport_access.api import ServiceKey
from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.evaluate import BackendPod, ByNodePort, Scene, reach
from nodeport_access.managed_fields import Ownership
from nodeport_access.observed import (
    Endpoint,
    EndpointSlice,
    Node,
    Service,
    ServicePort,
    TargetPort,
    parse_network_policy,
)
from tests.api.access import Json
from tests.api.histories import admission
from tests.api.histories.admission import PROBES, Access
from tests.api.histories.vocabulary import CONTAINER_PORTS, Labels

ADDRESSES = {probe: ipaddress.ip_address(probe) for probe in PROBES}
PORTS = tuple(sorted({int(CONTAINER_PORTS.get(str(one), one)) for one in admission.PORTS}))
"""At the pod, by number: one that has a name has a number too."""
NODE = Node(name="node", addresses=AddressSet.from_texts(["172.31.0.1/32", "fd00::1/128"]), pod_ranges=AddressSet.EMPTY)
POD = AddressSet.from_texts(["172.31.7.7/32", "fd00:7::7/128"])
BACKEND = Endpoint(addresses=POD, node=NODE.name, ready=True, draining=False)


def admitted(network_policies: Iterable[Json], labels: Labels) -> Access:
    """Who gets at pods with these labels from outside the cluster."""
    specs = sorted(json.dumps(one["spec"], sort_keys=True) for one in network_policies)
    return _admitted(tuple(specs), tuple(sorted(labels.items())))


def allowed(policy: Json, service: Json | None, *, expiring: bool = True) -> Iterator[tuple[str, int | str]]:
    """As `admission.allowed` has it, at ports by their numbers."""
    for who, port in admission.allowed(policy, service, expiring=expiring):
        yield who, CONTAINER_PORTS.get(str(port), port)


@functools.lru_cache(maxsize=4096)  # most writes leave what most pods see as it was
def _admitted(specs: tuple[str, ...], labels: tuple[tuple[str, str], ...]) -> Access:
    scene = _scene(specs, dict(labels))
    found = {
        port.port: reach(scene, port=port, entry=ByNodePort(NODE.name), families=Family).perhaps
        for port in scene.service.ports
    }
    return frozenset(
        (probe, port) for port, whom in found.items() for probe, address in ADDRESSES.items() if address in whom
    )


def _scene(specs: Iterable[str], labels: Labels) -> Scene:
    key = ServiceKey("soak", "any")
    ports = tuple(
        ServicePort(name=str(one), port=one, node_port=30000 + index, target=TargetPort(protocol="TCP", port=one))
        for index, one in enumerate(PORTS)
    )
    service = Service(
        key=key,
        uid="",
        type="NodePort",
        selector=labels,
        ports=ports,
        families=tuple(Family),
        external_traffic_policy="Local",
        health_check_node_port=0,
        external_ips=(),
        policy_label="",
        ownership=Ownership(),
        allocates_node_ports=True,
    )
    piece = EndpointSlice(
        namespace=key.namespace,
        name="any",
        service=key,
        endpoints=(BACKEND,),
        ports=tuple(("TCP", port.name, port.port) for port in ports),
    )
    metadata = {"namespace": key.namespace, "uid": "", "resourceVersion": ""}
    return Scene(
        service=service,
        slices=(piece,),
        nodes=(NODE,),
        network_policies=tuple(
            parse_network_policy({"metadata": {**metadata, "name": str(number)}, "spec": json.loads(spec)})
            for number, spec in enumerate(specs)
        ),
        pods=(
            BackendPod(
                labels=labels,
                addresses=POD,
                ports={("TCP", name): number for name, number in CONTAINER_PORTS.items()},
            ),
        ),
    )
