"""``plan``: what changes, object by object, who gains and loses access, and which policies cannot be carried out.

Not the business of this module: how objects differ (``diff``), who gets in (``access``), and what is said of policies
(``findings``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from nodeport_access.cli.knowledge import knowledge_options
from nodeport_access.cli.options import Source, from_cluster, from_files, source_options
from nodeport_access.cli.output import Cell, Ink, Output, output_options
from nodeport_access.cli.program import BLOCKED, CHANGES
from nodeport_access.cli.terminal import Progress

if TYPE_CHECKING:
    from nodeport_access.access_changes import AccessChange
    from nodeport_access.cli.diff import Change
    from nodeport_access.cli.findings import Finding
    from nodeport_access.evaluate import Known
    from nodeport_access.inventory import Inventory


@click.command("plan")
@source_options
@click.option(
    "--base",
    type=click.Path(),
    multiple=True,
    metavar="PATH",
    help="Files as they were before, such as a checkout of the target branch; may be given more than once.",
)
@click.option(
    "--cluster",
    is_flag=True,
    help="With -f: lay the files over the cluster, as kubectl apply would. --context and --kubeconfig mean it too.",
)
@click.option("--exit-code", is_flag=True, help="Tell by the exit code whether anything changes.")
@knowledge_options
@output_options(default="table")
def plan(
    *, source: Source, base: tuple[str, ...], cluster: bool, exit_code: bool, known: Known, output: Output
) -> None:
    """Show what changes: objects as a diff, and who gains and loses access.

    \b
    plan -f NEW                what the operator makes of the files
    plan --base OLD -f NEW     what changes from one state of the files to the other
    plan -f NEW --cluster      what changes on the cluster once the files are applied
    plan                       what the operator still has to do on the cluster

    The diff is of Services, NetworkPolicies and policies. Access is compared for every Service on which anything
    differs: of clients outside the cluster as sets of addresses, of nodes that begin or cease to answer, and of the
    pods that are known. It is new connections that are compared. Nothing is written.

    \b
    Exit codes: 0  nothing changes, or --exit-code is not given
                2  wrong use, unreadable files, no access to the cluster
                3  with --exit-code: something changes
                4  a policy is blocked
    """
    from nodeport_access.access_changes import access_changes
    from nodeport_access.cli.diff import changes
    from nodeport_access.cli.findings import findings
    from nodeport_access.kube import PODS

    now = datetime.now(UTC)
    before, after = _states(source, base=base, cluster=cluster or source.names_cluster, now=now)
    with Progress() as progress:
        progress.say("comparing objects")
        result = _Result(
            changed=changes(before, after),
            access=access_changes(before, after, known=known, told=progress.say),
            told=findings(after, now),
            pods_known=bool(before.bodies(PODS) or after.bodies(PODS)),
        )
    if output.format == "table":
        _show(output, result)
    else:
        output.document(_document(result))
    if any(one.blocked for one in result.told):
        sys.exit(BLOCKED)
    if exit_code and (result.changed or result.access):
        sys.exit(CHANGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """All that a plan has to say. ``pods_known``: callers inside the cluster could be asked about."""

    changed: tuple[Change, ...]
    access: tuple[AccessChange, ...]
    told: tuple[Finding, ...]
    pods_known: bool


def _states(source: Source, *, base: tuple[str, ...], cluster: bool, now: datetime) -> tuple[Inventory, Inventory]:
    """What is compared: before, and after the operator has done its work."""
    from nodeport_access.inventory import converged, overlay, succeeding

    if base and (cluster or not source.files):
        raise click.UsageError("--base compares files with files: give -f with it, and no cluster.")
    if not source.files:
        before = from_cluster(source)
        return before, converged(before, now).inventory
    change = from_files(source.files, namespace=source.namespace)
    if base:
        old = from_files(base, namespace=source.namespace)
        return converged(old, now).inventory, converged(succeeding(old, change), now).inventory
    if cluster:
        stated = {key: item for key, item in change.items.items() if not item.origin.derived}
        new = {key.name for key in stated if key.resource.kind == "Namespace"}
        before = from_cluster(source, also={key.namespace for key in stated if key.namespace}, may_lack=new)
        return before, converged(overlay(before, change), now).inventory
    return change, converged(change, now).inventory


COLORS = {"+": "green", "-": "red", "@": "cyan"}


def _show(output: Output, result: _Result) -> None:
    for change in result.changed:
        output.line(f"{change.key}: {change.kind}", bold=True)
        for line in change.lines():
            color = COLORS.get(line[:1])
            if color:
                output.line(line, fg=color)
            else:
                output.line(line)
        output.line()
    if result.access:
        _show_access(output, result.access)
    if result.told:
        rows: list[list[Cell]] = [["POLICY", "REASON", "MESSAGE"]]
        for one in result.told:
            reason = Ink(str(one.reason), "red" if one.blocked else "yellow")
            rows.append([str(one.policy), reason, f"{one.message} ({one.place})"])
        output.table(rows)
        output.line()
    output.line(_summary(result))
    if result.changed and not result.pods_known:
        output.line("Callers inside the cluster are left out: no Pod is known.")


def _show_access(output: Output, access: tuple[AccessChange, ...]) -> None:
    rows: list[list[Cell]] = [["ACCESS", "SERVICE", "PORT", "BY", "WHO"]]
    for one in access:
        gain = Ink(str(one.gain), "green" if "gain" in one.gain else "red")
        rows.append([gain, str(one.service), one.port, one.way, one.who])
    output.table(rows)
    output.line()


def _summary(result: _Result) -> str:
    changed, told = result.changed, result.told
    counts = {kind: sum(change.kind == kind for change in changed) for kind in ("created", "changed", "deleted")}
    parts = [f"{count} {kind}" for kind, count in counts.items() if count]
    sentences = [f"Objects: {', '.join(parts)}." if parts else "No object changes."]
    if not result.access:
        sentences.append("Nobody gains or loses access.")
    if blocked := len({one.policy for one in told if one.blocked}):
        sentences.append(f"Policies blocked: {blocked}.")
    return " ".join(sentences)


def _document(result: _Result) -> dict[str, Any]:
    return {
        "changes": [
            {
                "change": str(change.kind),
                "kind": change.key.resource.kind,
                "namespace": change.key.namespace,
                "name": change.key.name,
                "before": change.before,
                "after": change.after,
            }
            for change in result.changed
        ],
        "access": [
            {
                "change": str(one.gain),
                "namespace": one.service.namespace,
                "service": one.service.name,
                "port": one.port,
                "by": one.way,
                "addresses": list(one.addresses),
                "pods": list(one.pods),
                "nodes": list(one.nodes),
            }
            for one in result.access
        ],
        "podsKnown": result.pods_known,
        "policies": [
            {
                "namespace": one.policy.namespace,
                "name": one.policy.name,
                "reason": str(one.reason),
                "message": one.message,
                "place": one.place,
                "blocked": one.blocked,
            }
            for one in result.told
        ],
    }
