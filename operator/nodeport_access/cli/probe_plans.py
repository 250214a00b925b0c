"""The plan of a probe: made of objects, read from a file, written to one.

Not the business of this module: what is in it (``nodeport_access.probe``).
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nodeport_access import __version__
from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.cli.options import Source, inventory_of
from nodeport_access.evaluate import DEFAULT, Known

if TYPE_CHECKING:
    from nodeport_access.probe.plans import Plan


def made(service: str, source: Source, known: Known, *, every_address: bool) -> Plan:
    """The plan for NS/SERVICE from files or the cluster. Raises ClickException."""
    from nodeport_access.api import ServiceKey
    from nodeport_access.evaluate.bodies import parse_backend_pod
    from nodeport_access.inventory.scenes import scene
    from nodeport_access.kube import PODS
    from nodeport_access.probe.planning import NothingToDial, plan_of

    namespace, _, name = service.rpartition("/")
    namespace = namespace or source.namespace
    if not namespace or not name or "/" in namespace:
        raise click.UsageError(f"{service!r} is not NS/SERVICE, and -n gives no namespace.")
    inventory = inventory_of(source if source.all_namespaces else replace(source, namespace=namespace))
    try:
        return plan_of(
            scene(inventory, ServiceKey(namespace, name)),
            known=known,
            made=datetime.now(UTC),
            program=__version__,
            pods=AddressSet.union(*(parse_backend_pod(body).addresses for body in inventory.bodies(PODS))),
            every_address=every_address,
        )
    except KeyError as error:
        raise click.ClickException(f"there is no Service {namespace}/{name}.") from error
    except NothingToDial as error:
        raise click.ClickException(str(error)) from error


def refuse_what_a_plan_settles(source: Source, known: Known, *, every_address: bool, export: str | None) -> None:
    """Raises UsageError for flags that say what a plan says already."""
    given = source != Source() or known != DEFAULT or every_address or export is not None
    if given:
        raise click.UsageError(
            "--plan brings the objects and what is known of the cluster along: give -f, -n, -A, --context,"
            " --kubeconfig, --cni, --proxy-mode, --assume and --every-address when you --export it."
        )


def read_plan(path: str) -> Plan:
    """Raises ClickException."""
    from nodeport_access.probe.plan_file import PlanError, read

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return read(text)
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path}: it is not UTF-8; write a plan with --export.") from error
    except PlanError as error:
        raise click.ClickException(f"{'standard input' if path == '-' else path}: {error}") from error


def of_family(plan: Plan, family: Family | None) -> Plan:
    """The plan with the targets of this family alone. Raises ClickException."""
    if family is None:
        return plan
    version = 4 if family is Family.IPV4 else 6
    targets = tuple(target for target in plan.targets if target.address.version == version)
    if not targets:
        raise click.ClickException(f"Service {plan.service} has no {family} address to dial.")
    return replace(plan, targets=targets)


def write_plan(plan: Plan, path: str, *, only_for: Collection[Address]) -> None:
    """Writes all of it, or what is for these addresses. Raises ClickException."""
    from nodeport_access.probe.plan_file import write
    from nodeport_access.probe.planning import narrowed

    if only_for:
        plan = narrowed(plan, AddressSet.of(*map(ip_network, only_for)))
    if path == "-":
        click.echo(write(plan), nl=False)
        return
    try:
        Path(path).write_text(write(plan), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}.") from error
