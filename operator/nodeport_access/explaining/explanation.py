"""The answers to what is asked, node by node, with the word of every rule behind them.

Not the business of this module: how an answer comes about (``evaluate``), or how it is printed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nodeport_access.audit.reaching import Reaching
from nodeport_access.audit.report import PortReport
from nodeport_access.evaluate import Answer, Client, Known, Scene, Verdict, evaluate
from nodeport_access.explaining.asking import Ask, By
from nodeport_access.explaining.clients import Asker
from nodeport_access.explaining.rulings import Told, told
from nodeport_access.inventory import Inventory
from nodeport_access.inventory.scenes import callers
from nodeport_access.observed import ServicePort


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What becomes of the client's connection by one way in, through nodes that are alike; ``verdict`` is told of the
    first. No ``nodes``: the way goes through none that can be chosen."""

    client: Client
    port: ServicePort
    by: By
    nodes: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RulingsAt:
    """What the rules say to the client at one port."""

    client: Client
    port: ServicePort
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The answers for one client."""

    ask: Ask
    asker: Asker
    answers: tuple[Answered, ...]
    rulings: tuple[RulingsAt, ...]

    @property
    def found(self) -> frozenset[Answer]:
        """Every answer that was given."""
        return frozenset(each.verdict.answer for each in self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """What becomes of the connections of a namespace's pods by one way in, through some node: how many get which
    answer."""

    namespace: str
    by: By
    answers: Mapping[Answer, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Everybody:
    """Who gets in: the addresses outside, by way and nodes, and the pods of each namespace."""

    ask: Ask
    ports: tuple[PortReport, ...]
    inside: tuple[tuple[ServicePort, tuple[Inside, ...]], ...]


def explain(asked: Ask, asker: Asker, *, known: Known) -> Explanation:
    """The answers for this client, under each of his addresses."""
    answers, rulings = list[Answered](), list[RulingsAt]()
    classes = tuple(Reaching(known).classes(asked.scene))
    for client in asker.clients:
        if client.family not in asked.scene.service.families and len(asker.clients) > 1:
            continue
        groups = tuple(_groups(asked, client, classes))
        for port in asked.ports:
            by = asked.ways_of(port, inside=asker.inside)
            found = [_answered(asked.scene, client, port, each, nodes, known) for each, nodes in _through(by, groups)]
            answers += found
            entries = [each.by.entry(each.nodes[0] if each.nodes else "") for each in found]
            said = told(asked.scene, client=client, port=port, entries=entries, known=known)
            if said:
                rulings.append(RulingsAt(client=client, port=port, told=said))
    return Explanation(ask=asked, asker=asker, answers=tuple(answers), rulings=tuple(rulings))


def explain_all(inventory: Inventory, asked: Ask, *, known: Known) -> Everybody:
    """Who gets in, from outside and from inside."""
    reaching, scene = Reaching(known), asked.scene
    ports = []
    for port in asked.ports:
        cells = reaching.cells(scene, port, only=asked.nodes)
        ports.append(
            PortReport(
                name=port.name,
                port=port.port,
                protocol=port.target.protocol,
                node_port=port.node_port,
                cells=tuple(cell for cell in cells if not asked.by or By(str(cell.way)) in asked.by),
            )
        )
    inside = tuple((port, tuple(_inside(inventory, asked, port, known))) for port in asked.ports)
    return Everybody(ask=asked, ports=tuple(ports), inside=inside)


def _through(by: tuple[By, ...], groups: tuple[tuple[str, ...], ...]) -> Iterator[tuple[By, tuple[str, ...]]]:
    for each in by:
        if each in (By.CLUSTER_ADDRESS, By.POD_ADDRESS):
            yield each, ()
        else:
            yield from ((each, nodes) for nodes in groups)


def _groups(asked: Ask, client: Client, classes: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, ...]]:
    """The nodes that are asked about, those together that are alike to this client: his own is like no other."""
    own = asked.scene.node_with(client.address)
    apart = {client.pod.node if client.pod is not None else "", own.name if own is not None else ""}
    for nodes in classes:
        wanted = [node for node in nodes if node in asked.nodes]
        yield from ((node,) for node in wanted if node in apart)
        if rest := tuple(node for node in wanted if node not in apart):
            yield rest


def _answered(
    scene: Scene, client: Client, port: ServicePort, by: By, nodes: tuple[str, ...], known: Known
) -> Answered:
    verdict = evaluate(scene, client=client, port=port, entry=by.entry(nodes[0] if nodes else ""), known=known)
    return Answered(client=client, port=port, by=by, nodes=nodes, verdict=verdict)


def _inside(inventory: Inventory, asked: Ask, port: ServicePort, known: Known) -> Iterator[Inside]:
    """By namespace. Pods of one namespace and node with the same labels stand for one another."""
    scene, answers = asked.scene, dict[str, Answer]()
    classes = tuple(Reaching(known).classes(scene))
    counts = defaultdict[str, dict[By, Counter[Answer]]](lambda: defaultdict(Counter))
    for client in _callers(inventory, scene):
        pod = client.pod
        assert pod is not None, "callers are pods"
        for by in (each for each in asked.ways_of(port, inside=True) if each in INSIDE):
            alike = repr((pod.namespace, sorted(pod.labels.items()), client.family, pod.node, by))
            if alike not in answers:
                groups = tuple(_groups(asked, client, classes))
                found = [_answered(scene, client, port, each, nodes, known) for each, nodes in _through((by,), groups)]
                answers[alike] = _best(each.verdict.answer for each in found)
            counts[pod.namespace][by][answers[alike]] += 1
    for namespace, ways in sorted(counts.items()):
        for by, counted in ways.items():
            yield Inside(namespace=namespace, by=by, answers=dict(counted))


INSIDE = (By.CLUSTER_ADDRESS, By.NODE_PORT)
"""The ways in that are told of for pods, where nobody asks for others."""


def _callers(inventory: Inventory, scene: Scene) -> Iterator[Client]:
    """Every pod by its first address, but the Service's own."""
    for caller in callers(inventory):
        client = caller.clients[0]
        if not any(client.address in each.addresses for piece in scene.slices for each in piece.endpoints):
            yield client


def _best(answers: Iterable[Answer]) -> Answer:
    """Through, if by some node; refused, if by every node."""
    found = set(answers)
    if Answer.THROUGH in found:
        return Answer.THROUGH
    return Answer.REFUSED if found == {Answer.REFUSED} else Answer.DEPENDS
