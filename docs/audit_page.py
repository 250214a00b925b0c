"""The table of traps in `audit.md`, and the sample of the page that `audit -o html` writes.

Not its business: how the page looks (`nodeport_access.audit.page`), and the sample's cluster, which is the tests'.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from docs import markers
from nodeport_access.audit import audit
from nodeport_access.audit.page import page
from nodeport_access.audit.report import Report, TrapKind
from tests.unit.audits import ALL, NOW, cluster

FILE = "cluster.yaml"


def filled(text: str) -> str:
    """The page with the part between its markers made anew. Raises ValueError where a marker is missing."""
    return markers.filled(text, {"traps": "".join(f"{line}\n" for line in _rows())}, name="audit.md")


def sample() -> str:
    """A page with every rank and every trap."""
    return page(_report()) + "\n"


def _rows() -> Iterator[str]:
    yield "| id | severity | what it is | for example | way out |"
    yield "|---|---|---|---|---|"
    traps = _report().all_traps
    for kind in TrapKind:
        found = [trap for trap in traps if trap.kind is kind]
        severities = ", ".join(dict.fromkeys(f"`{trap.severity}`" for trap in found))
        yield f"| `{kind}` | {severities} | {kind.sentence} | {found[0].message} | {found[0].way_out} |"


def _report() -> Report:
    with tempfile.TemporaryDirectory() as folder:
        report = audit(cluster(Path(folder), *ALL), now=NOW, source=f"{FILE}, once the operator has done its work")
    services = tuple(
        replace(
            service,
            traps=tuple(replace(trap, place=replace(trap.place, source=FILE)) for trap in service.traps),
            place=replace(service.place, source=FILE),
        )
        for service in report.services
    )
    return replace(report, services=services)
