"""Where on its way to the pod a connection is judged, and under whose address it comes there.

Three placements are in the field (docs/lab.md shows what each lets through): on every node that forwards, on the pod's
own node alone, and after masquerading, at the pod's interface. Not the business of this module: the way itself
(``routes``), and the judgement (``admission``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nodeport_access.evaluate.hops import Route, Source
from nodeport_access.evaluate.unknowns import Placement


@dataclass(frozen=True, slots=True)
class Judgement:
    """A place where a verdict is given: on which node, what the connection carries there, and whether that place is the
    pod's interface."""

    node: str
    source: Source
    at_interface: bool = False


def judgements(route: Route, placement: str) -> Iterator[Judgement]:
    """Every place where a verdict is given, in the order of the way. A node's own packets are sent, not forwarded, and
    masquerading is the last that a node does to what it forwards."""
    own = route.target.endpoint.node
    if placement == Placement.AFTER_SNAT:
        yield Judgement(own, route.source, at_interface=True)
        return
    if not route.sent and (placement == Placement.EVERY_HOP or route.entered == own):
        yield Judgement(route.entered, route.arriving)
    if route.entered != own:
        yield Judgement(own, route.source)
