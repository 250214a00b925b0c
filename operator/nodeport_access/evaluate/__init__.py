"""May this client reach this Service by this way in, and by which rule: from objects alone, for new connections.

``routes`` follows the connection to a pod as a proxy would send it, ``placement`` says where it is judged, and
``admission`` holds what arrives there against NetworkPolicy; what none of them can know is in ``unknowns``, and ``cni``
says what is known of one by its name. This module says what all of it comes to, for one client (``evaluate``) or for
all addresses outside the cluster at once (``reach``). Not its business: where the objects come from, or printing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from operator import and_

from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.evaluate.admission import is_in_its_nodes_network, is_peer, isolating, ruling
from nodeport_access.evaluate.cases import Case, Tree, asked, explore, leaves
from nodeport_access.evaluate.hops import Dropped, Hidden, Own, Route
from nodeport_access.evaluate.placement import judgements
from nodeport_access.evaluate.question import (
    Answer,
    BackendPod,
    ByClusterAddress,
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    ByPodAddress,
    Caller,
    Client,
    Entry,
    Frontends,
    Outsiders,
    Possibility,
    Scene,
    Verdict,
)
from nodeport_access.evaluate.routes import route
from nodeport_access.evaluate.unknowns import DEFAULT, Enforcement, Hairpin, Known, Terminating, Unknown
from nodeport_access.observed import ServicePort

__all__ = [
    "DEFAULT",
    "Answer",
    "BackendPod",
    "ByClusterAddress",
    "ByExternalIP",
    "ByLoadBalancer",
    "ByNodePort",
    "ByPodAddress",
    "Caller",
    "Client",
    "Entry",
    "Eventuality",
    "Frontends",
    "Known",
    "Possibility",
    "Reach",
    "Scene",
    "Unknown",
    "Verdict",
    "evaluate",
    "is_peer",
    "reach",
]


def evaluate(scene: Scene, *, client: Client, port: ServicePort, entry: Entry, known: Known = DEFAULT) -> Verdict:
    """What becomes of a new connection of this client to this port of the Service.

    It depends where something that is not in the objects, nor in ``known``, changes the answer; which that is, the
    verdict says. Raises KeyError for a node that is not in the scene.
    """

    def run(case: Case) -> _Outcome:
        return _outcome(scene, client, port, entry, case)

    def answer(outcome: _Outcome) -> Answer:
        return Answer.THROUGH if client.address in outcome.admitted else Answer.REFUSED

    tree, found = explore(run, known=known, alike=answer)
    answers = {answer(outcome) for outcome in found}
    sources = dict.fromkeys(
        outcome.seen for outcome in found if outcome.seen is not None and answer(outcome) is Answer.THROUGH
    )
    if len(answers) == 1:
        return Verdict(answer=answers.pop(), sources=tuple(sources), derivation=next(leaves(tree))[1].steps)
    possibilities = tuple(_possibilities(tree, answer))
    return Verdict(
        answer=Answer.DEPENDS,
        sources=tuple(sources),
        derivation=tuple(_paragraph(possibility) for possibility in possibilities),
        depends_on=asked(tree),
        possibilities=possibilities,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Eventuality:
    """One way that it may turn out, and whom it lets in; ``conditions`` are sentences without the "if" before them."""

    conditions: tuple[str, ...]
    admitted: AddressSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which addresses outside the cluster get in by one way: those in ``surely`` whatever is not known, those in
    ``perhaps`` if it turns out so; each in ``surely`` is in ``perhaps`` too. ``depends_on`` says what the difference
    hangs on, ``derivation`` how it comes about: a sentence a step, or a paragraph for each way it may go.
    ``eventualities`` are those ways, family by family; none of a family of which everything is sure."""

    surely: AddressSet
    perhaps: AddressSet
    derivation: tuple[str, ...]
    depends_on: tuple[Unknown, ...] = ()
    eventualities: tuple[Eventuality, ...] = ()


def reach(
    scene: Scene, *, port: ServicePort, entry: Entry, families: Iterable[Family], known: Known = DEFAULT
) -> Reach:
    """All addresses of these families that get in by this way, for clients that are no node and no pod of the cluster:
    where the list covers some of those, ``evaluate`` says what it means for one.

    Raises KeyError for a node that is not in the scene.
    """
    found = [_reach(scene, Outsiders(family), port, entry, known) for family in families]
    return Reach(
        surely=AddressSet.union(*(each.surely for each in found)),
        perhaps=AddressSet.union(*(each.perhaps for each in found)),
        derivation=tuple(dict.fromkeys(step for each in found for step in each.derivation)),
        depends_on=tuple(dict.fromkeys(unknown for each in found for unknown in each.depends_on)),
        eventualities=tuple(eventuality for each in found for eventuality in each.eventualities),
    )


def _reach(scene: Scene, clients: Outsiders, port: ServicePort, entry: Entry, known: Known) -> Reach:
    def run(case: Case) -> _Outcome:
        return _outcome(scene, clients, port, entry, case)

    tree, found = explore(run, known=known, alike=lambda outcome: outcome.admitted)
    sets = [outcome.admitted for outcome in found]
    told = [(conditions, outcome) for conditions, outcome in leaves(tree)]
    steps = (
        told[0][1].steps if len(told) == 1 else tuple(_told(conditions, *outcome.steps) for conditions, outcome in told)
    )
    return Reach(
        surely=reduce(and_, sets),
        perhaps=AddressSet.union(*sets),
        derivation=steps,
        depends_on=asked(tree),
        eventualities=tuple(
            Eventuality(conditions=_sentences(conditions), admitted=outcome.admitted)
            for conditions, outcome in told
            if conditions
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What comes of a connection in one case: which clients get in, what the pod sees as their address (None: their
    own, or one that is not known), and why."""

    admitted: AddressSet
    seen: Address | None
    steps: tuple[str, ...]


def _outcome(scene: Scene, client: Client | Outsiders, port: ServicePort, entry: Entry, case: Case) -> _Outcome:
    way = route(scene, client=client, port=port, entry=entry, case=case)
    if isinstance(way, Dropped):
        return _Outcome(admitted=AddressSet.EMPTY, seen=None, steps=way.steps)
    everyone = AddressSet.everyone([client.family])
    admitted, steps = everyone if way.only is None else everyone & way.only, list(way.steps)
    if way.only is not None and not (admitted and (not isinstance(client, Client) or client.address in admitted)):
        steps.append(f"kube-proxy drops it, because loadBalancerSourceRanges are {', '.join(way.only.texts())}.")
        return _Outcome(admitted=AddressSet.EMPTY, seen=None, steps=tuple(steps))
    for limit, step in _limits(scene, way, port, case):
        admitted &= limit
        steps.append(step)
        if not admitted:
            break
    return _Outcome(admitted=admitted, seen=_seen(way), steps=tuple(steps))


def _limits(scene: Scene, way: Route, port: ServicePort, case: Case) -> Iterable[tuple[AddressSet, str]]:
    """Whom each verdict of NetworkPolicy on the way lets pass, with the sentence that says why."""
    everyone = AddressSet.everyone(Family)
    if is_in_its_nodes_network(scene, way.target):
        yield everyone, "The pod is in its node's network, where NetworkPolicy does not apply."
        return
    policies = isolating(scene, way.target)
    if not policies:
        yield everyone, "No NetworkPolicy selects the pod, so it takes everything."
        return
    if case.ask(Unknown.ENFORCEMENT) == Enforcement.IGNORED:
        yield everyone, "The CNI does not enforce NetworkPolicy, so the pod takes everything."
        return
    if way.sent and way.entered == way.target.endpoint.node:
        name = way.source.address if isinstance(way.source, Hidden) else way.entered
        yield everyone, f"{name or way.entered} is the pod's own node, which NetworkPolicy always lets in."
        return
    if way.inside:
        yield everyone, "It never leaves the pod."
        return
    if way.target.endpoint.draining and case.ask(Unknown.TERMINATING) == Terminating.LET_GO:
        yield everyone, "The CNI has let go of the pod, which terminates, so it takes everything."
        return
    if way.itself and case.ask(Unknown.HAIRPIN) == Hairpin.LET_IN:
        yield everyone, "The CNI lets a pod come back to itself."
        return
    found = tuple(judgements(way, case.ask(Unknown.PLACEMENT)))
    for judgement in found:
        ruled = ruling(scene, policies=policies, judgement=judgement, target=way.target, port=port, case=case)
        yield ruled.admitted, f"On {judgement.node}: {ruled.step}" if len(found) > 1 else ruled.step


def _seen(way: Route) -> Address | None:
    match way.source:
        case Own(client=Client(address=address)) | Hidden(address=address):
            return address
        case _:
            return None


def _possibilities(tree: Tree[_Outcome], answer: Callable[[_Outcome], Answer]) -> Iterable[Possibility]:
    for conditions, outcome in leaves(tree):
        yield Possibility(conditions=_sentences(conditions), answer=answer(outcome), derivation=outcome.steps)


def _paragraph(possibility: Possibility) -> str:
    return f"If {', and '.join(possibility.conditions)}: {possibility.answer}. {' '.join(possibility.derivation)}"


def _told(conditions: Iterable[tuple[Unknown, tuple[str, ...]]], *steps: str) -> str:
    return f"If {', and '.join(_sentences(conditions))}: {' '.join(steps)}"


def _sentences(conditions: Iterable[tuple[Unknown, tuple[str, ...]]]) -> tuple[str, ...]:
    return tuple(unknown.sentence(*options) for unknown, options in conditions)
