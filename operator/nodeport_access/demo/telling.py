"""The demo's objects and verdicts in words: cells, summaries, titles.

Not the business of this module: which of them are told, and in which order (``show``).
"""

from __future__ import annotations

from nodeport_access.api import Body
from nodeport_access.cidrs import AddressSet
from nodeport_access.demo.access import Attempt
from nodeport_access.demo.cluster import Sent
from nodeport_access.demo.paper import Cell, Ink
from nodeport_access.evaluate import Answer
from nodeport_access.kube import SERVICES
from nodeport_access.label_selectors import Labels
from nodeport_access.observed import Node

MARK = "!"
"""Behind what gets in against the policy."""


def cell(attempt: Attempt, *, source: bool = True) -> Cell:
    """What becomes of an attempt, and the address that the pod sees."""
    verdict = attempt.verdict
    mark = MARK if attempt.against else ""
    seen = f" {'/'.join(map(str, verdict.sources))}" if source and verdict.sources else ""
    if verdict.answer is Answer.REFUSED:
        return str(verdict.answer)
    return Ink(f"{verdict.answer}{mark}{seen}", "red" if attempt.against else "green")


def summary(found: list[Attempt]) -> str:
    """Who gets in, or may get in, although the policy names it not, and where."""
    against = [attempt for attempt in found if attempt.against]
    if not against:
        return "Nobody gets in whom the policy does not name."
    places: dict[str, list[str]] = {}
    for attempt in against:
        sure = "" if attempt.verdict.answer is Answer.THROUGH else " (depends)"
        places.setdefault(attempt.asker.name, []).append(f"{attempt.place}{sure}")
    told = (f"{name} by {', '.join(dict.fromkeys(ways))}" for name, ways in places.items())
    return f"In against the policy: {'; '.join(told)}."


def reasons(found: list[Attempt]) -> list[list[Cell]]:
    """For each client, why: of its ways in, the one that gets furthest."""
    furthest: dict[str, Attempt] = {}
    for attempt in found:
        known = furthest.get(attempt.asker.name)
        if known is None or len(attempt.verdict.derivation) > len(known.verdict.derivation):
            furthest[attempt.asker.name] = attempt
    rows: list[list[Cell]] = [["CLIENT", "BY", "WHY"]]
    rows += ([name, attempt.place, " ".join(attempt.verdict.derivation)] for name, attempt in furthest.items())
    return rows


def title(write: Sent) -> str:
    """What was written, and what that did to it."""
    what = f"{write.resource.kind} {write.name}"
    return f"status of {what}" if write.subresource else f"{what} {write.verb}"


def told(write: Sent) -> str:
    """What a write to the Service sets; one that sets nothing lets go of what was set before."""
    if write.resource != SERVICES:
        return ""
    fields = write.body.get("spec", {}).items()
    return f": {', '.join(f'{name}: {value}' for name, value in fields) or 'what was set before is let go'}"


def trimmed(body: Body) -> Body:
    """A body without what a reader of the demo can do without."""
    labels = body["metadata"].get("labels")
    metadata = {"name": body["metadata"]["name"], **({"labels": labels} if labels else {})}
    return {"kind": body["kind"], "metadata": metadata, **({"spec": body["spec"]} if "spec" in body else {})}


def about_node(node: Node) -> str:
    """A node's addresses and the range of its pods."""
    tunnel = f", tunnel {addresses(node.tunnels)}" if node.tunnels else ""
    return f"{addresses(node.addresses - node.tunnels)}, pods {', '.join(node.pod_ranges.texts())}{tunnel}"


def addresses(known: AddressSet) -> str:
    """Single addresses, one after the other."""
    return ", ".join(str(address) for network in known.networks() for address in network)


def about_namespace(found: Labels) -> str:
    """A namespace's labels, but for those that every namespace has."""
    told = ", ".join(f"{key} {value}" for key, value in found.items() if key != "kubernetes.io/metadata.name")
    return f"namespace with {told}" if told else "namespace without labels"
