"""Who gains and who loses access from one inventory to the other: clients outside the cluster as sets of addresses,
load balancers that probe the nodes among them, and pods one by one.

Asked are the Services on which anything differs. Not the business of this module: what becomes of one connection
(``evaluate``), and of objects (``diff``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from nodeport_access.api import ServiceKey
from nodeport_access.audit.reaching import Reaching
from nodeport_access.audit.report import Way
from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.conditions import listed
from nodeport_access.evaluate import (
    Answer,
    ByClusterAddress,
    Client,
    Known,
    Scene,
    evaluate,
    is_peer,
)
from nodeport_access.inventory import Inventory
from nodeport_access.inventory.scenes import CallingPod, Scenes, callers
from nodeport_access.kube import SERVICES
from nodeport_access.observed import ServicePort
from nodeport_access.rules import on_any_port

WAYS = {
    Way.NODE_PORT: "node port",
    Way.EXTERNAL_IP: "external IP",
    Way.LOAD_BALANCER: "load-balancer address",
}
INSIDE = "cluster address"


class Gain(StrEnum):
    """What becomes of somebody's access. It ``may`` where the answer depends on what no object tells."""

    GAINS = "gains"
    MAY_GAIN = "may gain"
    LOSES = "loses"
    MAY_LOSE = "may lose"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessChange:
    """Who gains or loses access to one port of a Service by one way.

    Either ``addresses`` outside the cluster by at least one node, or ``pods`` by name, or everybody by these ``nodes``.
    """

    gain: Gain
    service: ServiceKey
    port: str
    way: str
    addresses: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    who: str


def access_changes(
    before: Inventory, after: Inventory, *, known: Known, told: Callable[[str], None]
) -> tuple[AccessChange, ...]:
    """All changes, by Service, port and way; ``told`` hears which Service is being looked at."""
    pods = [{pod.name: pod for pod in callers(inventory)} for inventory in (before, after)]
    known_scenes = [Scenes(inventory) for inventory in (before, after)]
    keys = {key for key in (*before.items, *after.items) if key.resource == SERVICES}
    found: list[AccessChange] = []
    for key in sorted(keys, key=lambda key: key.order):
        name = ServiceKey(key.namespace, key.name)
        scenes = [
            of[name] if key in inventory.items else None
            for inventory, of in zip((before, after), known_scenes, strict=True)
        ]
        if scenes[0] == scenes[1] and pods[0] == pods[1]:
            continue
        told(f"comparing access to {name}")
        for port in _ports(scenes):
            found += _of_port(name, port, scenes, pods, known)
    return tuple(found)


def _ports(scenes: Iterable[Scene | None]) -> dict[str, ServicePort]:
    """The ports of both, by the name that people know them by."""
    return {_label(port): port for each in scenes if each is not None for port in each.service.ports}


def _label(port: ServicePort) -> str:
    return f"{port.port}/{port.target.protocol}"


def _of_port(
    name: ServiceKey, label: str, scenes: list[Scene | None], pods: list[dict[str, CallingPod]], known: Known
) -> Iterator[AccessChange]:
    ports = [
        next((port for port in each.service.ports if _label(port) == label), None) if each is not None else None
        for each in scenes
    ]
    families = sorted({family for each in scenes if each is not None for family in each.service.families})
    # Each state has rules of its own, of which a Reaching remembers what it was told.
    before, after = (_outside(each, port, Reaching(known)) for each, port in zip(scenes, ports, strict=True))
    for kind, way in WAYS.items():
        old, new = before[kind], after[kind]
        for gain, addresses in _compared(_total(old), _total(new)):
            who = f"{_named(addresses, families)} outside the cluster"
            yield AccessChange(gain=gain, service=name, port=label, way=way, addresses=addresses.texts(), who=who)
        yield from _by_node(name, label, way, old, new)
    yield from _pods(name, label, scenes, ports, pods, known)


@dataclass(frozen=True, slots=True)
class _Sets:
    """Who gets in surely, and who perhaps, which those in ``surely`` do too."""

    surely: AddressSet
    perhaps: AddressSet


NOBODY = _Sets(AddressSet.EMPTY, AddressSet.EMPTY)


def _outside(each: Scene | None, port: ServicePort | None, reaching: Reaching) -> Mapping[Way, Mapping[str, _Sets]]:
    """Who gets in by each way and each node."""
    found: dict[Way, dict[str, _Sets]] = {way: {} for way in Way}
    if each is not None and port is not None:
        for cell in reaching.cells(each, port):
            found[cell.way] |= dict.fromkeys(cell.nodes, _Sets(cell.surely, cell.perhaps))
    return found


def _total(by_node: Mapping[str, _Sets]) -> _Sets:
    return _Sets(
        AddressSet.union(*(sets.surely for sets in by_node.values())),
        AddressSet.union(*(sets.perhaps for sets in by_node.values())),
    )


def _compared(old: _Sets, new: _Sets) -> Iterator[tuple[Gain, AddressSet]]:
    """The sets of those for whom it changes, empty ones left out."""
    gains = new.surely - old.perhaps
    may_gain = (new.perhaps - old.perhaps - gains) | ((new.surely & old.perhaps) - old.surely)
    loses = old.surely - new.perhaps
    may_lose = (old.perhaps - new.perhaps - loses) | ((old.surely & new.perhaps) - new.surely)
    for gain, addresses in zip(Gain, (gains, may_gain, loses, may_lose), strict=True):
        if addresses:
            yield gain, addresses


def _by_node(
    name: ServiceKey, label: str, way: str, old: Mapping[str, _Sets], new: Mapping[str, _Sets]
) -> Iterator[AccessChange]:
    """Nodes that begin to answer, or go dark for everybody, which a load balancer finds by probing. Where no node
    answers before or after, it has been said already."""
    lit = [{node for node, sets in each.items() if sets.perhaps} for each in (old, new)]
    if not all(lit):
        return
    for gain, nodes in ((Gain.GAINS, lit[1] - lit[0]), (Gain.LOSES, lit[0] - lit[1])):
        if named := tuple(sorted(nodes)):
            who = f"everybody, probes of load balancers too, by {listed(named)}"
            yield AccessChange(gain=gain, service=name, port=label, way=way, nodes=named, who=who)


def _pods(
    name: ServiceKey,
    label: str,
    scenes: list[Scene | None],
    ports: list[ServicePort | None],
    pods: list[dict[str, CallingPod]],
    known: Known,
) -> Iterator[AccessChange]:
    """Pods that are there before and after; what is new or gone has no access to gain or lose."""
    changed: dict[Gain, list[str]] = {gain: [] for gain in Gain}
    insides = [_Inside(each, port, known) for each, port in zip(scenes, ports, strict=True)]
    for pod in sorted(pods[0].keys() & pods[1].keys()):
        for gain, _ in _compared(*(inside.ask(named[pod]) for inside, named in zip(insides, pods, strict=True))):
            changed[gain].append(pod)
    for gain, names in changed.items():
        if names:
            who = f"pod{'s' if len(names) > 1 else ''} {listed(names)}"
            yield AccessChange(gain=gain, service=name, port=label, way=INSIDE, pods=tuple(names), who=who)


ANYBODY = AddressSet.everyone([Family.IPV4])


class _Inside:
    """The answers to pods at one port, in the form of sets: all or nothing. Pods that nothing in the scene tells apart
    get one answer, because a cluster has thousands."""

    def __init__(self, each: Scene | None, port: ServicePort | None, known: Known) -> None:
        self._scene = each
        self._port = port
        self._known = known
        self._answers: dict[object, Answer] = {}
        specs = [policy.spec for policy in (each.network_policies if each else ())]
        peers = [peer for spec in specs for rule in spec.get("ingress") or () for peer in rule.get("from") or ()]
        self._peers = [peer for peer in peers if "ipBlock" not in peer]
        self._sets = [*(part for spec in specs for part in on_any_port(spec)), *(_addresses(each) if each else ())]

    def ask(self, pod: CallingPod) -> _Sets:
        """What becomes of the pod's connections, under any of its addresses."""
        if self._scene is None or self._port is None:
            return NOBODY
        answers = {self._answer(client) for client in pod.clients if client.family in self._scene.service.families}
        surely = Answer.THROUGH in answers
        perhaps = surely or Answer.DEPENDS in answers
        return _Sets(ANYBODY if surely else AddressSet.EMPTY, ANYBODY if perhaps else AddressSet.EMPTY)

    def _answer(self, client: Client) -> Answer:
        assert self._scene is not None, "asked before"
        assert self._port is not None, "asked before"
        pod, namespace = client.pod, self._scene.service.key.namespace
        assert pod is not None, "it is a pod that calls"
        alike = (
            client.family,
            pod.node,
            tuple(is_peer(peer, pod, namespace) for peer in self._peers),
            tuple(client.address in addresses for addresses in self._sets),
        )
        if alike not in self._answers:
            entry = ByClusterAddress()
            verdict = evaluate(self._scene, client=client, port=self._port, entry=entry, known=self._known)
            self._answers[alike] = verdict.answer
        return self._answers[alike]


def _addresses(each: Scene) -> Iterator[AddressSet]:
    """The addresses that a client may have in common with something of the scene."""
    for node in each.nodes:
        yield from (node.addresses, node.pod_ranges)
    for piece in each.slices:
        yield from (endpoint.addresses for endpoint in piece.endpoints)
    for pod in each.pods:
        yield pod.addresses


def _named(addresses: AddressSet, families: Iterable[Family]) -> str:
    """Addresses as a sentence names them: one by one, or all of a network but the others, whichever is shorter."""
    if AddressSet.everyone(families) <= addresses:
        return "everybody"
    parts = (addresses.restricted_to([family]) for family in Family)
    return " and ".join(_named_alike(part) for part in parts if part)


def _named_alike(addresses: AddressSet) -> str:
    networks = addresses.networks()
    hull = networks[0]
    while networks[-1].broadcast_address not in hull:
        hull = hull.supernet()
    others = AddressSet.of(hull) - addresses
    if not others or others.count() >= addresses.count():
        return listed(addresses.texts())
    everybody = f"every {Family.IPV4 if hull.version == 4 else Family.IPV6} address"
    return f"{hull if hull.prefixlen else everybody} but {listed(others.texts())}"
