"""The dials of a probe: the flags that say how, and the dials themselves.

Not the business of this module: what is dialled (``probe_plans``), and a single dial (``nodeport_access.probe``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeport_access import __version__
from nodeport_access.cidrs import Address
from nodeport_access.cli.terminal import Progress

if TYPE_CHECKING:
    from nodeport_access.probe.attempts import Attempt, Bounds
    from nodeport_access.probe.dialling import Dialling
    from nodeport_access.probe.plans import Plan, Target
    from nodeport_access.probe.records import Probe

LARGEST_PAYLOAD = 1200
"""Bytes that fit into one packet on every way (RFC 8200, 5: 1,280 with all headers)."""
PAYLOAD = b"nodeport-access probe\n"


def by_version(addresses: Iterable[Address], flag: str) -> dict[int, Address]:
    """Addresses that a flag names, by IP version. Raises UsageError for two of one."""
    found: dict[int, Address] = {}
    for address in addresses:
        if found.setdefault(address.version, address) != address:
            raise click.UsageError(
                f"{flag} takes one address of each family, not both {found[address.version]} and {address}."
            )
    return found


def own_addresses(sources: Mapping[int, Address]) -> Mapping[int, Address]:
    """The addresses, each of which this machine has. Raises ClickException."""
    from nodeport_access.probe.dialling import can_bind

    for address in sources.values():
        if not can_bind(address):
            raise click.ClickException(
                f"--source {address} is none of this machine's addresses; --seen-as says what a NAT makes of them."
            )
    return sources


def payload_of(path: str | None) -> bytes:
    """What is sent over UDP. Raises ClickException."""
    if path is None:
        return PAYLOAD
    try:
        payload = Path(path).read_bytes()
    except OSError as error:
        raise click.ClickException(f"--udp-payload {path}: cannot be read: {error.strerror}.") from error
    if len(payload) > LARGEST_PAYLOAD:
        raise click.ClickException(f"--udp-payload {path}: {len(payload)} bytes, more than {LARGEST_PAYLOAD}.")
    return payload


def probed(plan: Plan, bounds: Bounds, how: Dialling, seen_as: Mapping[int, Address]) -> Probe:
    """Dials all targets, and judges what came of it."""
    from nodeport_access.probe.judging import judge
    from nodeport_access.probe.records import Probe

    dials, began = len(plan.targets) * bounds.attempts, datetime.now(UTC)
    if (seconds := bounds.seconds(len(plan.targets))) > bounds.time_limit:
        click.echo(
            f"{dials} dials take {seconds:.0f} s at this rate, and the time limit is {bounds.time_limit:g} s: raise"
            " --rate or --time-limit.",
            err=True,
        )
    attempts, took = asyncio.run(_dialled(plan.targets, bounds, how))
    judged = tuple(
        judge(plan, target, made, seen_as=seen_as) for target, made in zip(plan.targets, attempts, strict=True)
    )
    return Probe(plan=plan, judged=judged, began=began, seconds=took, program=__version__, bounds=bounds)


async def _dialled(
    targets: tuple[Target, ...], bounds: Bounds, how: Dialling
) -> tuple[list[tuple[Attempt, ...]], float]:
    from nodeport_access.probe.dialling import dial
    from nodeport_access.probe.pacing import dial_all

    loop, ended = asyncio.get_running_loop(), 0
    began = loop.time()
    with Progress() as progress:

        def told() -> None:
            nonlocal ended
            ended += 1
            progress.say(f"dialling, {ended} of {len(targets) * bounds.attempts} answered or timed out")

        progress.say("dialling")
        made = await dial_all(targets, dial=lambda target: dial(target, how), bounds=bounds, told=told)
    return made, loop.time() - began
