"""An audit as one HTML page that needs nothing else: no network, no script to be read, light or dark, printable.

The Content-Security-Policy lets it load nothing, and run and style itself by what has the hash that was made here. What
comes from a cluster is text to the template, whatever it holds. Not the business of this module: what is found.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import jinja2

from nodeport_access.audit import wording
from nodeport_access.audit.openness import Openness, worst
from nodeport_access.audit.report import CLAIM, Cell, PortReport, Report, ServiceReport, Severity

MOST_COLUMNS = 16
"""How many groups of nodes the matrix shows side by side; where there are more, the list below says it for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One port, with what the matrix shows of it: for each group of nodes the cells, the worst first."""

    number: int
    service: ServiceReport
    port: PortReport
    matrix: tuple[tuple[int, Cell] | None, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that no row tells apart."""

    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        """In a few words."""
        return wording.few(self.nodes, most=2)


def page(report: Report) -> str:
    """The page. The same report gives the same text."""
    rows = report.rows
    groups = _groups(rows)
    style, script = _part("page.css"), _part("page.js")
    return _template().render(
        report=report,
        claim=CLAIM,
        groups=groups if len(groups) <= MOST_COLUMNS else (),
        group_count=len(groups),
        rows=[
            Row(number=number, service=service, port=port, matrix=tuple(_in_matrix(port, group) for group in groups))
            for number, (service, port) in enumerate(rows)
        ],
        counts={one: sum(port.openness is one for _, port in rows) for one in Openness},
        severities=tuple(Severity),
        wording=wording,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _groups(rows: tuple[tuple[ServiceReport, PortReport], ...]) -> tuple[Group, ...]:
    cells = defaultdict[str, list[tuple[int, int]]](list)
    for number, (_, port) in enumerate(rows):
        for index, cell in enumerate(port.cells):
            for node in cell.nodes:
                cells[node].append((number, index))
    alike = defaultdict[tuple[tuple[int, int], ...], list[str]](list)
    for node, places in sorted(cells.items()):
        alike[tuple(places)].append(node)
    return tuple(Group(tuple(nodes)) for nodes in alike.values())


def _in_matrix(port: PortReport, group: Group) -> tuple[int, Cell] | None:
    found = [(index, cell) for index, cell in enumerate(port.cells) if group.nodes[0] in cell.nodes]
    rank = worst(cell.openness for _, cell in found)
    return next(((index, cell) for index, cell in found if cell.openness is rank), None)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_part("page.html.j2"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source expression of CSP 3 for an inline element with exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
