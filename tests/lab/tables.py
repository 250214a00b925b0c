"""What became of the cells of a set-up, as a table that people read: whom the pod saw, by a mark for each way in.

    -   refused                          >   got in, and no answer came back (datagrams)
    c   through under the client's own address
    1   through under node-1's address; 2 and 3 likewise
    .   no such way: a pod's or node's own node takes every address of the Service

Tables show TCP over IPv4; where another protocol, family or mode of kube-proxy does otherwise, a line below says so.

Not its business: which outcomes are right (`tests.lab.expected`), and pictures (`docs/lab_pictures.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from testbed.lab import stage, topology
from testbed.lab.dialing import Fate, Outcome, Protocol
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4, V6, Entry
from tests.lab.cells import CELLS, CLIENTS, Cell, Client

REFUSED, ONE_WAY, ITSELF, NO_SUCH_WAY = "-", ">", "c", "."
LEGEND = {
    REFUSED: "refused",
    ITSELF: "through, and the pod saw the client's own address",
    "1, 2, 3": "through, and the pod saw the address of that node",
    ONE_WAY: "a datagram got in, and no answer came back",
    NO_SUCH_WAY: "no such way",
}

P = TypeVar("P")  # of placements, or what else a set-up is tried under

Marks = Mapping[Mode, str]
"""Of all CELLS, in their order, a letter each, by mode of kube-proxy."""


def marks(outcomes: Sequence[Outcome]) -> str:
    """The marks of all CELLS, in their order."""
    return "".join(mark(cell, outcome) for cell, outcome in zip(CELLS, outcomes, strict=True))


def mark(cell: Cell, outcome: Outcome) -> str:
    """The mark of one cell."""
    if outcome.fate is Fate.REFUSED:
        return REFUSED
    if outcome.fate is Fate.ONE_WAY:
        return ONE_WAY
    masqueraded = [node.name[-1] for node in topology.NODES if outcome.source in node.addresses]
    # A node that dials under its own address was not hidden by anybody.
    return masqueraded[0] if masqueraded and outcome.source not in cell.client.addresses else ITSELF


Variant = tuple[Protocol, int, Mode]
Row = tuple[Client, Entry]


@dataclass(frozen=True, slots=True)
class Table:
    """Marks by client and way in, those of nodes 1 to 3 side by side, and what differs from them."""

    rows: Mapping[Row, str]
    otherwise: tuple[str, ...]


def table(found: Marks) -> Table:
    """The table of a set-up in one placement."""
    by_place = {
        (cell.client, cell.entry, cell.node, (cell.protocol, cell.family, mode)): letter
        for mode, letters in found.items()
        for cell, letter in zip(CELLS, letters, strict=True)
    }

    def row(client: Client, entry: Entry, variant: Variant) -> str:
        if entry is Entry.POD:
            node = client.node or stage.BACKEND_NODE
            return by_place[client, entry, node, variant]
        return "".join(by_place.get((client, entry, node, variant), NO_SUCH_WAY) for node in topology.NODES)

    shown, *others = itertools.product(Protocol, (V4, V6), found)
    rows = {(client, entry): row(client, entry, shown) for client in CLIENTS for entry in Entry}
    differing: dict[tuple[Row, str], list[Variant]] = {}
    for variant in others:
        for (client, entry), usual in rows.items():
            if (there := row(client, entry, variant)) != usual:
                differing.setdefault(((client, entry), there), []).append(variant)
    return Table(rows=rows, otherwise=tuple(_otherwise(differing, others)))


def _otherwise(differing: Mapping[tuple[Row, str], list[Variant]], others: Sequence[Variant]) -> Iterator[str]:
    """A line for each set of variants: which rows are what there."""
    lines: dict[str, dict[tuple[Entry, str], list[str]]] = {}
    for ((client, entry), letters), variants in differing.items():
        places = lines.setdefault(_variants(variants, others), {})
        places.setdefault((entry, " ".join(letters)), []).append(client.name)
    for words, places in lines.items():
        told = (f"{letters} for {', '.join(clients)} by {entry}" for (entry, letters), clients in places.items())
        yield f"{words}: {'; '.join(told)}"


def _variants(variants: Sequence[Variant], others: Sequence[Variant]) -> str:
    """In words, in which of all others but the one that is shown."""
    but_shown = [other for other in others if other[:2] != (Protocol.TCP, V4)]
    if list(variants) == but_shown:
        return "UDP, and IPv6"
    protocols, families, modes = (dict.fromkeys(values) for values in zip(*variants, strict=True))
    if len(protocols) * len(families) * len(modes) != len(variants):
        return " and ".join(f"{protocol} over {_FAMILY[family]} in {mode} mode" for protocol, family, mode in variants)
    words = [str(next(iter(protocols)))] if len(protocols) == 1 else ["TCP and UDP"]
    words += [f"over {_FAMILY[next(iter(families))]}"] if len(families) == 1 else []
    words += [f"in {next(iter(modes))} mode"] if len(modes) == 1 else []
    return " ".join(words)


_FAMILY = {V4: "IPv4", V6: "IPv6"}


def as_text(found: Table) -> str:
    """For a terminal."""
    lines = [f"{'':14}" + "".join(f"{entry:<22}" for entry in Entry)]
    for client in CLIENTS:
        lines.append(f"{client.name:14}" + "".join(f"{' '.join(found.rows[client, e]):<22}" for e in Entry))
    return "\n".join(line.rstrip() for line in [*lines, *found.otherwise])


def as_markdown(found: Table) -> str:
    """For a document. The three nodes of an entry are side by side."""
    heads = [f"{entry} 1 2 3" if entry is not Entry.POD else str(entry) for entry in Entry]
    lines = [f"| client | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for client in CLIENTS:
        shown = (f"`{' '.join(found.rows[client, entry])}`" for entry in Entry)
        lines.append(f"| {client.name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n" + "".join(f"\n{line}.\n" for line in found.otherwise)


def merged(tables: Mapping[P, Marks]) -> Mapping[tuple[P, ...], Table]:
    """The tables of a set-up, placements that are alike drawn together."""
    found: dict[tuple[tuple[Mode, str], ...], list[P]] = {}
    for placement, letters in tables.items():
        found.setdefault(tuple(letters.items()), []).append(placement)
    return {tuple(placements): table(dict(letters)) for letters, placements in found.items()}
