"""Makes the plan of a probe: every node's port on every address, and what the evaluator predicts of each.

Not the business of this module: where the objects come from (``inventory``), or the prediction itself (``evaluate``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import reduce
from ipaddress import ip_address
from operator import and_

from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.evaluate import (
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    Entry,
    Eventuality,
    Known,
    Reach,
    Scene,
    Unknown,
    reach,
)
from nodeport_access.evaluate.unknowns import Enforcement
from nodeport_access.observed import Node, ServicePort
from nodeport_access.probe.plans import Assumption, Doubt, Plan, Prediction, Protocol, Target, Way

WHICH_NODE = Doubt(about="which node the network sends it to")


class NothingToDial(Exception):  # noqa: N818 - it says what is the case
    """The Service has nothing that a probe could dial: one sentence."""


def plan_of(
    scene: Scene,
    *,
    known: Known,
    made: datetime,
    program: str,
    pods: AddressSet = AddressSet.EMPTY,
    every_address: bool = False,
) -> Plan:
    """The plan for a Service: its node ports, and with ``every_address`` its external IPs and load-balancer addresses.

    pods: addresses of pods, beside those of the scene and the nodes' ranges. Raises NothingToDial.
    """
    service = scene.service
    if not service.has_node_ports and not (every_address and service.external_ips):
        raise NothingToDial(
            f"Service {service.key} is of type {service.type}, which has no node ports: there is nothing to dial."
        )
    if not any(node.addresses for node in scene.nodes):
        raise NothingToDial(
            "No Node is known by its address, so there is nothing to dial: ask the cluster for the plan."
        )
    ports = tuple(port for port in service.ports if port.target.protocol in tuple(Protocol))
    targets = [*_node_ports(scene, ports, known)] if service.has_node_ports else []
    if every_address:
        targets += _other_addresses(scene, ports, known)
    notes = tuple(_notes(scene))
    if not targets:
        raise NothingToDial(" ".join((f"Service {service.key} has nothing to dial.", *notes)))
    return Plan(
        service=service.key,
        made=made,
        program=program,
        assumptions=tuple(
            Assumption(key=unknown.key, answers=tuple(sorted(map(str, answers)))) for unknown, answers in known.items()
        ),
        nodes=AddressSet.union(*(node.addresses for node in scene.nodes)),
        pods=AddressSet.union(
            pods,
            *(node.pod_ranges for node in scene.nodes),
            *(pod.addresses for pod in scene.pods),
            *(endpoint.addresses for piece in scene.slices for endpoint in piece.endpoints),
        ),
        targets=tuple(targets),
        notes=notes,
    )


def narrowed(plan: Plan, addresses: AddressSet) -> Plan:
    """The plan for these addresses alone: whoever gets it learns what is predicted of them by each target, and neither
    whom the list admits besides, nor the cluster's ranges, nor how the prediction comes about."""
    return replace(
        plan,
        nodes=plan.nodes & addresses,
        pods=plan.pods & addresses,
        only_for=addresses,
        targets=tuple(
            replace(
                target,
                prediction=replace(
                    target.prediction,
                    surely=target.prediction.surely & addresses,
                    perhaps=target.prediction.perhaps & addresses,
                    unenforced=target.prediction.unenforced & addresses,
                    derivation=(),
                    eventualities=(),
                ),
            )
            for target in plan.targets
        ),
    )


def _notes(scene: Scene) -> Iterator[str]:
    for port in scene.service.ports:
        name = port.name or port.port
        if port.target.protocol not in tuple(Protocol):
            yield f"Port {name} is of protocol {port.target.protocol}, which is not dialled."
        elif scene.service.has_node_ports and not port.node_port:
            yield f"Port {name} has no node port, so no node is dialled for it."
    for node in scene.nodes:
        if not _dialled(node, scene.service.families):
            yield f"Node {node.name} has no address of the Service's families, so it is not dialled."


def _dialled(node: Node, families: Iterable[Family]) -> tuple[Address, ...]:
    """A tunnel's address belongs to the CNI; what is dialled is what the network outside knows."""
    own = (node.addresses - node.tunnels).restricted_to(tuple(families))
    return tuple(address for network in own.networks() for address in network if not address.is_link_local)


# --- node ports ---


def _node_ports(scene: Scene, ports: Iterable[ServicePort], known: Known) -> Iterator[Target]:
    ports = tuple(port for port in ports if port.node_port)
    for node in sorted(scene.nodes, key=lambda node: node.name):
        for port in ports:
            found: dict[Family, Prediction] = {}
            for address in _dialled(node, scene.service.families):
                family = _family(address)
                if family not in found:
                    found[family] = _prediction(scene, port, ByNodePort(node.name), family, known)
                yield _target(Way.NODE_PORT, node.name, address, port.node_port, port, found[family])


def _prediction(scene: Scene, port: ServicePort, entry: Entry, family: Family, known: Known) -> Prediction:
    found = reach(scene, port=port, entry=entry, families=[family], known=known)
    return Prediction(
        surely=found.surely,
        perhaps=found.perhaps,
        unenforced=_unenforced(scene, port, entry, family, known),
        derivation=found.derivation,
        doubts=_doubts(found),
        eventualities=found.eventualities,
    )


def _unenforced(scene: Scene, port: ServicePort, entry: Entry, family: Family, known: Known) -> AddressSet:
    ignored: Known = {**known, Unknown.ENFORCEMENT: frozenset({Enforcement.IGNORED})}
    return reach(scene, port=port, entry=entry, families=[family], known=ignored).surely


def _doubts(found: Reach) -> tuple[Doubt, ...]:
    return tuple(
        Doubt(about=unknown.about, key=unknown.key if unknown.can_be_known else "") for unknown in found.depends_on
    )


def _target(way: Way, node: str, address: Address, number: int, port: ServicePort, prediction: Prediction) -> Target:
    return Target(
        way=way,
        node=node,
        address=address,
        port=number,
        protocol=Protocol(port.target.protocol),
        service_port=port.name or str(port.port),
        prediction=prediction,
    )


def _family(address: Address) -> Family:
    return Family.IPV4 if address.version == 4 else Family.IPV6


# --- addresses that the network outside sends to some node ---


def _other_addresses(scene: Scene, ports: Iterable[ServicePort], known: Known) -> Iterator[Target]:
    ports = tuple(ports)
    external = tuple(ip_address(text) for text in scene.service.external_ips)
    balanced = tuple(address for network in scene.frontends.load_balancer.networks() for address in network)
    ways: tuple[tuple[Way, tuple[Address, ...], Callable[[str], Entry]], ...] = (
        (Way.EXTERNAL_IP, external, ByExternalIP),
        (Way.LOAD_BALANCER, balanced, ByLoadBalancer),
    )
    for way, addresses, entry in ways:
        for port in ports:
            found: dict[Family, Prediction] = {}
            for address in addresses:
                family = _family(address)
                if family not in scene.service.families:
                    continue
                if family not in found:
                    found[family] = _by_any_node(scene, port, entry, family, known)
                yield _target(way, "", address, port.port, port, found[family])


def _by_any_node(
    scene: Scene, port: ServicePort, entry: Callable[[str], Entry], family: Family, known: Known
) -> Prediction:
    """Nodes that let the same clients in are told together."""
    each = {node.name: _prediction(scene, port, entry(node.name), family, known) for node in scene.nodes}
    alike: dict[tuple[AddressSet, AddressSet], list[str]] = {}
    for name, prediction in each.items():
        alike.setdefault((prediction.surely, prediction.perhaps), []).append(name)
    unenforced = reduce(and_, (prediction.unenforced for prediction in each.values()))
    if len(alike) == 1:
        return replace(next(iter(each.values())), unenforced=unenforced)
    groups = [(names, each[names[0]]) for names in alike.values()]
    told = [(f"it comes in by {_listed(names)}", prediction) for names, prediction in groups]
    return Prediction(
        surely=reduce(and_, (prediction.surely for _, prediction in groups)),
        perhaps=AddressSet.union(*(prediction.perhaps for _, prediction in groups)),
        unenforced=unenforced,
        derivation=tuple(f"If {where}: {' '.join(prediction.derivation)}" for where, prediction in told),
        doubts=tuple(dict.fromkeys((WHICH_NODE, *(doubt for _, found in groups for doubt in found.doubts)))),
        eventualities=tuple(
            Eventuality(conditions=(where, *inner.conditions), admitted=inner.admitted)
            for where, prediction in told
            for inner in prediction.eventualities or (Eventuality(conditions=(), admitted=prediction.perhaps),)
        ),
    )


def _listed(names: list[str]) -> str:
    """Some of them: a cluster may have thousands."""
    shown, more = sorted(names)[:5], len(names) - 5
    return f"{', '.join(shown)} or one of {more} more" if more > 0 else " or ".join(shown)
