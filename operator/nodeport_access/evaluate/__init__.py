"""May this client reach this Service by this way in, and by which rule: from objects alone, for new connections.

``routes`` follows the connection to the pods as kube-proxy would send it, ``admission`` holds what arrives there
against NetworkPolicy, and this module says what all of it comes to. Where the ways differ, the answer is that it
depends. Not its business: where the objects come from, sets of addresses, or printing.
"""

from __future__ import annotations

from nodeport_access.cidrs import Address
from nodeport_access.evaluate.admission import is_peer, rulings
from nodeport_access.evaluate.question import (
    Answer,
    ByClusterAddress,
    ByNodePort,
    Caller,
    Client,
    Entry,
    Scene,
    Verdict,
)
from nodeport_access.evaluate.routes import Settled, Way, ways
from nodeport_access.observed import ServicePort

__all__ = [
    "Answer",
    "ByClusterAddress",
    "ByNodePort",
    "Caller",
    "Client",
    "Entry",
    "Scene",
    "Verdict",
    "evaluate",
    "is_peer",
]


def evaluate(scene: Scene, *, client: Client, port: ServicePort, entry: Entry) -> Verdict:
    """What becomes of a new connection of this client to this port of the Service, with the verdict of NetworkPolicy
    given on the pod's own node before that node masquerades (the placement "own node").

    Under externalTrafficPolicy Cluster this lets an allowed client in on the pod's own node, where its address still
    shows, and refuses it on every other; and it lets everybody in through another node as soon as that node's address
    is in the allowlist. Raises KeyError for a node that is not in the scene.
    """
    found: dict[Verdict, None] = {}
    for way in ways(scene, client=client, port=port, entry=entry):
        found |= dict.fromkeys(_verdicts(scene, way, port))
    answers = {verdict.answer for verdict in found}
    sources = tuple(dict.fromkeys(source for verdict in found for source in verdict.sources))
    if len(answers) == 1:
        return Verdict(answer=answers.pop(), sources=sources, derivation=next(iter(found)).derivation)
    ways_told = (f"On one of its ways: {' '.join(verdict.derivation)}" for verdict in found)
    return Verdict(answer=Answer.DEPENDS, sources=sources, derivation=tuple(ways_told))


def _verdicts(scene: Scene, way: Way, port: ServicePort) -> list[Verdict]:
    if isinstance(way, Settled):
        return [Verdict(answer=way.answer, sources=(), derivation=way.steps)]
    return [
        Verdict(
            answer=ruling.answer,
            sources=_seen(way.seen, ruling.answer),
            derivation=(*way.steps, ruling.step),
        )
        for ruling in rulings(scene, way, port)
    ]


def _seen(source: Address, answer: Answer) -> tuple[Address, ...]:
    return () if answer is Answer.REFUSED else (source,)
