"""``audit``: every exposed Service, with what the world can reach, worst first.

Not the business of this module: what is found (``nodeport_access.audit``).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeport_access.cli.knowledge import knowledge_options
from nodeport_access.cli.options import Source, source_options
from nodeport_access.cli.output import FORMATS, Cell, Ink, Output, output_options, to_json
from nodeport_access.cli.program import FAILED
from nodeport_access.cli.subject import planned_option, subject_of
from nodeport_access.cli.terminal import Progress

if TYPE_CHECKING:
    from nodeport_access.audit import Report
    from nodeport_access.evaluate import Known

BARS = ("open", "perhaps", "listed", "high-trap", "trap")


@click.command("audit")
@source_options
@planned_option
@knowledge_options
@click.option(
    "--fail-on",
    "bars",
    type=click.Choice(BARS),
    multiple=True,
    help="Exit with 1 where a port is open to everyone (open), may be (perhaps: or is), lets in listed addresses"
    " (listed: or more), or where there is a trap (high-trap: of severity high). May be given more than once.",
)
@click.option(
    "--output-file", type=click.Path(dir_okay=False), metavar="FILE", help="Write there, not to the terminal."
)
@output_options(
    default="table",
    formats=(*FORMATS, "html", "sarif"),
    meaning="A table for people, YAML or JSON for programs, one HTML page to hand on, SARIF for code scanning.",
)
def audit(
    *,
    source: Source,
    planned: bool | None,
    known: Known,
    bars: tuple[str, ...],
    output_file: str | None,
    output: Output,
) -> None:
    """List which node ports are open to whom.

    Every port that a Service opens to the outside, guarded or not: by node port, load-balancer address or external IP,
    through each node; who gets in, what guards it, and the traps that are set there. It speaks of new connections.

    \b
    Exit codes: 0  nothing of what --fail-on names was found
                1  something of it was found
                2  wrong use, unreadable files, no access to the cluster
    """
    from nodeport_access.audit import audit as audited

    now = datetime.now(UTC)
    subject = subject_of(source, planned=planned, now=now)
    namespaces = [source.namespace] if source.namespace and not source.all_namespaces else []
    with Progress() as progress:
        report = audited(
            subject.inventory,
            now=now,
            source=subject.source,
            known=known,
            namespaces=namespaces,
            progress=progress.say,
        )
    if output_file is None:
        _write(output, report)
    else:
        _write_file(Path(output_file), output, report)
    if found := _failures(report, bars):
        click.echo(f"--fail-on: {'; '.join(found)}.", err=True)
        sys.exit(FAILED)


def _write_file(path: Path, output: Output, report: Report) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            _write(replace(output, file=file, color=False), report)
    except OSError as error:
        raise click.ClickException(f"--output-file: {path} cannot be written: {error.strerror}.") from error


def _write(output: Output, report: Report) -> None:
    match output.format:
        case "table":
            _show(output, report)
        case "html":
            from nodeport_access.audit.page import page

            output.line(page(report))
        case "sarif":
            from nodeport_access.audit.sarif import sarif

            output.line(to_json(sarif(report)))
        case _:
            from nodeport_access.audit.document import document

            output.document(document(report))


_COLORS = {"open": "red", "perhaps": "yellow", "high": "red", "medium": "yellow"}


def _show(output: Output, report: Report) -> None:
    from nodeport_access.audit import wording
    from nodeport_access.audit.report import CLAIM

    rows: list[list[Cell]] = [["SERVICE", "PORT", "NODE PORT", "WHO GETS IN", "THROUGH", "GUARD", "TRAPS"]]
    for service, port in report.rows:
        rows.append(
            [
                str(service.key),
                str(port),
                wording.number(port),
                _inked(wording.who(port), str(port.openness)),
                wording.through(port),
                wording.guard(service.guard),
                str(len(service.traps) or "-"),
            ]
        )
    if len(rows) > 1:
        output.table(rows)
    else:
        output.line(f"No Service is exposed in {report.source}.")
    if report.all_traps:
        output.line()
        output.line("Traps", bold=True)
        for trap in report.all_traps:
            output.line(f"{trap.severity}  {trap.kind}: {trap.message} {trap.way_out} ({trap.place})")
    output.line()
    depends = {unknown: None for _, port in report.rows for unknown in port.depends_on}
    if depends:
        keys = [unknown.key for unknown in depends if unknown.can_be_known]
        hint = f" Settle it by --cni, or --assume with {', '.join(keys)}." if keys else ""
        output.line(f"What is perhaps depends on {', '.join(unknown.about for unknown in depends)}.{hint}")
    if report.assumed:
        output.line(f"Taken for granted: {'; '.join(report.assumed)}.")
    output.line(f"Made of {report.source}. {CLAIM}")


def _inked(text: str, level: str) -> Cell:
    return Ink(text, _COLORS[level]) if level in _COLORS else text


def _failures(report: Report, bars: tuple[str, ...]) -> list[str]:
    from nodeport_access.audit import Openness, Severity

    found = []
    for bar in dict.fromkeys(bars):
        if bar in ("trap", "high-trap"):
            traps = [trap for trap in report.all_traps if bar == "trap" or trap.severity is Severity.HIGH]
            if traps:
                found.append(f"{len(traps)} of {bar}")
        else:
            ports = [port for _, port in report.rows if port.openness.rank <= Openness(bar).rank]
            if ports:
                found.append(f"{len(ports)} of {bar}" + (" or worse" if bar != "open" else ""))
    return found
