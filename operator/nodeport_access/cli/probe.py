"""``probe``: dials a Service's node ports from this machine, or writes the plan with which another machine does.

Not the business of this module: the plan (``probe_plans``), the dials (``probe_dials``), and what they mean
(``nodeport_access.probe``).
"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from nodeport_access.cidrs import Address, Family
from nodeport_access.cli.knowledge import knowledge_options
from nodeport_access.cli.options import Source, source_options
from nodeport_access.cli.output import Cell, Ink, Output, output_options
from nodeport_access.cli.probe_dials import LARGEST_PAYLOAD, by_version, own_addresses, payload_of, probed
from nodeport_access.cli.probe_plans import made, of_family, read_plan, refuse_what_a_plan_settles, write_plan
from nodeport_access.evaluate import Known

if TYPE_CHECKING:
    from nodeport_access.probe.records import Probe


class _IPAddress(click.ParamType[Address]):
    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return ip_address(value)
        except ValueError:
            self.fail(f"{value!r} is not an IP address.", param, ctx)


@click.command("probe")
@click.argument("service", metavar="[NS/SERVICE]", required=False)
@click.option(
    "--plan",
    "plan_path",
    metavar="FILE",
    help="Dial what this file says, without a kubeconfig; - for standard input.",
)
@click.option(
    "--export",
    metavar="FILE",
    help="Write the plan there, for --plan, and dial nothing; - for standard output.",
)
@click.option(
    "--for",
    "only_for",
    type=_IPAddress(),
    multiple=True,
    help="Export only what is predicted of this address, for a machine that is to learn no more; may be given more"
    " than once.",
)
@click.option("--every-address", is_flag=True, help="Dial external IPs and load-balancer addresses too.")
@click.option(
    "--family",
    type=click.Choice([str(family) for family in Family]),
    help="Dial addresses of this family only.",
)
@click.option(
    "--source",
    "sources",
    type=_IPAddress(),
    multiple=True,
    help="Dial under this address of this machine, one of each family; else the kernel chooses.",
)
@click.option(
    "--seen-as",
    type=_IPAddress(),
    multiple=True,
    help="The address that the nodes see, where a NAT is between; one of each family.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Dials of each target: there may be several pods behind it.",
)
@click.option("--rate", type=click.FloatRange(0.1, 1000), default=20, show_default=True, help="Dials a second at most.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.05, 60),
    default=3,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0.05, 86400),
    default=60,
    show_default=True,
    help="Seconds for all of it; what was not dialled by then is told.",
)
@click.option(
    "--udp-payload",
    metavar="FILE",
    help=f"Send over UDP what this file holds, {LARGEST_PAYLOAD} bytes at most, instead of a line of text.",
)
@source_options
@knowledge_options
@output_options(default="table")
def probe(
    *,
    service: str | None,
    plan_path: str | None,
    export: str | None,
    only_for: tuple[Address, ...],
    every_address: bool,
    family: str | None,
    sources: tuple[Address, ...],
    seen_as: tuple[Address, ...],
    attempts: int,
    rate: float,
    timeout: float,
    time_limit: float,
    udp_payload: str | None,
    source: Source,
    known: Known,
    output: Output,
) -> None:
    """Dial every node's port from this machine, and hold each answer against what is predicted for its address.

    \b
    probe NS/SERVICE                   ask the cluster for the plan, and dial
    probe NS/SERVICE --export FILE     write the plan alone
    probe --plan FILE                  dial from a machine that knows nothing of the cluster

    A target agrees, leaks (it got in although refused is predicted) or is blocked (the other way round); it depends
    where either was possible. Run it from an address that is allowed and from one that is not: docs/probe.md says why.

    \b
    Exit codes: 0  all answers agree with what is predicted
                1  something leaks
                2  wrong use, an unreadable plan, no access to the cluster
                3  nothing leaks, but something is blocked, depends, or was not answered, dialled or predicted
    """
    from nodeport_access.probe.attempts import Bounds
    from nodeport_access.probe.dialling import Dialling

    if (service is None) == (plan_path is None):
        raise click.UsageError("give NS/SERVICE, or a plan with --plan FILE.")
    if only_for and export is None:
        raise click.UsageError("--for narrows the plan that --export writes: give both.")
    how = Dialling(
        timeout=timeout, payload=payload_of(udp_payload), sources=own_addresses(by_version(sources, "--source"))
    )
    seen = by_version(seen_as, "--seen-as")
    if plan_path is not None:
        refuse_what_a_plan_settles(source, known, every_address=every_address, export=export)
        plan = read_plan(plan_path)
    else:
        plan = made(service or "", source, known, every_address=every_address)
    plan = of_family(plan, None if family is None else Family(family))
    for note in plan.notes:
        click.echo(note, err=True)
    if export is not None:
        write_plan(plan, export, only_for=only_for)
        return
    bounds = Bounds(attempts=attempts, rate=rate, timeout=timeout, time_limit=time_limit)
    done = probed(plan, bounds, how, seen)
    _show(done, output)
    sys.exit(done.exit_code)


_COLORS = {"agrees": "green", "leaks": "red", "blocked": "red"}


def _show(done: Probe, output: Output) -> None:
    from nodeport_access.probe.records import record

    if output.format != "table":
        output.document(record(done))
        return
    rows: list[list[Cell]] = [["NODE", "TARGET", "PREDICTED", "FOUND", "VERDICT", "WHY"]]
    for each in done.judged:
        standing = str(each.standing)
        rows.append(
            [
                each.target.node or str(each.target.way),
                str(each.target),
                str(each.predicted or "-"),
                each.found,
                Ink(standing, _COLORS.get(standing, "yellow")),
                each.why,
            ]
        )
    output.table(rows)
    output.line()
    for sentence in done.findings:
        output.line(sentence)
