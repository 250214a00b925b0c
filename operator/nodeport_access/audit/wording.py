"""The short texts by which every form of a report says who gets in, through which nodes, and what guards.

Not the business of this module: what is found, and layout.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodeport_access.audit.openness import Openness, open_families
from nodeport_access.audit.report import Cell, Guard, PortReport
from nodeport_access.cidrs import AddressSet

NAMED = 3
"""How many names or networks a short text lists before it counts the rest."""


def who(found: PortReport | Cell) -> str:
    """Who gets in, in a few words."""
    match found.openness:
        case Openness.OPEN:
            return _everyone(found.surely)
        case Openness.PERHAPS:
            return f"perhaps {_everyone(found.perhaps)}"
        case Openness.LISTED:
            return _listed(found.surely, found.perhaps)
        case Openness.NOBODY:
            return "nobody"


def _everyone(addresses: AddressSet) -> str:
    families = open_families(addresses)
    whole = [family for family in families if AddressSet.everyone([family]) <= addresses]
    names = " and ".join(f"{family}" if family in whole else f"most of {family}" for family in families)
    return f"everyone ({names})"


def _listed(surely: AddressSet, perhaps: AddressSet) -> str:
    more = perhaps - surely
    parts = [few(surely.texts())] if surely else []
    if more:
        parts.append(f"perhaps {few(more.texts())}")
    return "; ".join(parts)


def few(names: Iterable[str], *, most: int = NAMED, separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + rest


def why(found: PortReport | Cell) -> str:
    """What it depends on; empty where it does not."""
    if not found.depends_on:
        return ""
    return "depends on " + " and ".join(unknown.about for unknown in found.depends_on)


def through(port: PortReport) -> str:
    """The nodes that let anybody in."""
    nodes = {node for cell in port.cells for node in cell.nodes}
    letting = {node for cell in port.cells if cell.openness is not Openness.NOBODY for node in cell.nodes}
    if letting == nodes and len(nodes) > 1:
        return f"all {len(nodes)} nodes"
    return few(sorted(letting), most=2) or "no node"


def guard(found: Guard | None) -> str:
    """The policy and whether it is in force."""
    if found is None:
        return "none"
    return f"{found.policy.name}: {'Ready' if found.ready else found.reason}"


def number(port: PortReport) -> str:
    """The node port, where there is one."""
    return f"{port.node_port}/{port.protocol}" if port.node_port else f"-/{port.protocol}"
