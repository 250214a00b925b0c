"""What each rule of each NetworkPolicy that selects a pod says to whoever comes there, and why.

Not the business of this module: the verdict (``evaluate``), which takes all rules together, and where they are asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nodeport_access import rules
from nodeport_access.evaluate import Entry, Known, Scene, Unknown
from nodeport_access.evaluate.admission import isolating, spellings_at
from nodeport_access.evaluate.backends import Target
from nodeport_access.evaluate.cases import Case, explore
from nodeport_access.evaluate.hops import Dropped, Hidden, Source
from nodeport_access.evaluate.placement import judgements
from nodeport_access.evaluate.question import Client
from nodeport_access.evaluate.routes import route
from nodeport_access.explaining.peers import Face, Word, peer_word
from nodeport_access.observed import NetworkPolicy, ServicePort


@dataclass(frozen=True, slots=True)
class RuleTold:
    """One ingress rule, by its number from 1, and why it says so: a clause for each peer, or one for its ports."""

    number: int
    word: Word
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyTold:
    """One NetworkPolicy; without rules it admits nobody."""

    name: str
    rules: tuple[RuleTold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is said where a connection is judged: at which pods, under which addresses it comes there, and what the
    policies that select the pods say."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    policies: tuple[PolicyTold, ...]


def told(
    scene: Scene, *, client: Client, port: ServicePort, entries: Iterable[Entry], known: Known
) -> tuple[Told, ...]:
    """What is said at every place to which these ways may lead; places where the same is said stand together."""
    together: dict[tuple[PolicyTold, ...], tuple[dict[str, None], dict[str, None]]] = {}
    for target, source in _places(scene, client, port, entries, known):
        policies = isolating(scene, target)
        words = tuple(_policy(scene, policy, source, target, port, known) for policy in policies)
        targets, sources = together.setdefault(words, ({}, {}))
        targets[str(target)] = None
        sources[_called(source)] = None
    return tuple(
        Told(targets=tuple(targets), sources=tuple(sources), policies=words)
        for words, (targets, sources) in together.items()
    )


def _places(
    scene: Scene, client: Client, port: ServicePort, entries: Iterable[Entry], known: Known
) -> Iterable[tuple[Target, Source]]:
    """Every pod and the address under which a connection is judged there, each once."""
    places: dict[str, tuple[Target, Source]] = {}
    for entry in entries:

        def run(case: Case, entry: Entry = entry) -> None:
            way = route(scene, client=client, port=port, entry=entry, case=case)
            if not isinstance(way, Dropped) and isolating(scene, way.target):
                for judgement in judgements(way, case.ask(Unknown.PLACEMENT)):
                    places.setdefault(repr((way.target, judgement.source)), (way.target, judgement.source))

        explore(run, known=known, alike=lambda _: None)
    return places.values()


def _called(source: Source) -> str:
    if isinstance(source, Hidden):
        return f"{source.address}, an address of {source.node}" if source.address else f"an address of {source.node}"
    return str(source.client)


def _policy(
    scene: Scene, policy: NetworkPolicy, source: Source, target: Target, port: ServicePort, known: Known
) -> PolicyTold:
    spellings = spellings_at(scene, target, port)
    return PolicyTold(
        name=policy.name,
        rules=tuple(
            _rule(number, rule, policy.namespace, Face.of(scene, source), spellings, known)
            for number, rule in enumerate(policy.spec.get("ingress") or (), start=1)
        ),
    )


def _rule(
    number: int,
    rule: Mapping[str, Any],
    namespace: str,
    face: Face,
    spellings: tuple[set[Any], bool],
    known: Known,
) -> RuleTold:
    targets, names_may_match = spellings
    alone = {"policyTypes": ["Ingress"], "ingress": [{"ports": rule.get("ports") or []}]}
    surely = any(rules.admission(alone, target=target).addresses for target in targets)
    maybe = surely or any(
        rules.admission(alone, target=target, names_may_match=names_may_match).addresses for target in targets
    )
    if not maybe:
        arriving = ", ".join(sorted(f"{target.protocol} {target.port}" for target in targets))
        ports = ", ".join(map(_port, rule["ports"]))
        return RuleTold(number, Word.NOT, (f"it is for {ports}, and the connection arrives at {arriving}",))
    if not rule.get("from"):
        found = [(Word.ADMITS, "it has no from, so it admits everyone")]
    else:
        found = [peer_word(peer, namespace, face, known) for peer in rule["from"]]
    word = next((word for word in Word if any(word is each for each, _ in found)), Word.NOT)
    reasons = tuple(sorted((reason for each, reason in found if each is word), key=_is_far_off))
    if word is Word.ADMITS and not surely:
        return RuleTold(number, Word.MAYBE, (*reasons, "if the port that it names is this one at the pod"))
    return RuleTold(number, word, reasons)


def _is_far_off(reason: str) -> bool:
    """A list may hold a thousand ipBlocks that have nothing to do with the client; what nearly admits him is told
    first."""
    return " does not hold " in reason


def _port(port: Mapping[str, Any]) -> str:
    number = port.get("port")
    last = f" to {port['endPort']}" if port.get("endPort") else ""
    return f"{port.get('protocol', 'TCP')} {'any port' if number is None else number}{last}"
