"""``render``: the objects that the operator writes for policies, as something that kubectl can apply.

Not the business of this module: what they are (``plan``, ``desired``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from nodeport_access.cli.options import Source, inventory_of, source_options
from nodeport_access.cli.output import Cell, Output, output_options
from nodeport_access.cli.program import BLOCKED

if TYPE_CHECKING:
    from nodeport_access.api import Body
    from nodeport_access.inventory import Inventory


@click.command("render")
@source_options
@output_options(default="yaml")
def render(*, source: Source, output: Output) -> None:
    """Print what the operator writes for policies.

    For each policy its two NetworkPolicies, and the fields of the Service that it sets, in the order in which they are
    to be written. `kubectl apply -f -` takes them, also with --server-side --force-conflicts; the Service must exist.
    What comes from files has no owner: only a cluster knows the policy's uid. A policy in mode Audit writes nothing.

    \b
    Exit codes: 0  all policies are printed
                2  wrong use, unreadable files, no access to the cluster
                4  a policy is blocked; standard error says why, the others are printed
    """
    from nodeport_access.cli.findings import findings
    from nodeport_access.inventory import converged

    inventory, now = inventory_of(source), datetime.now(UTC)
    bodies = [(policy, body) for policy, body in _rendered(inventory, now)]
    if output.format == "table":
        output.table([["NAMESPACE", "POLICY", "OBJECT", "WHAT"], *(_row(policy, body) for policy, body in bodies)])
    elif output.format == "json":
        output.document({"apiVersion": "v1", "kind": "List", "items": [body for _, body in bodies]})
    else:
        output.stream(body for _, body in bodies)
    told = findings(converged(inventory, now).inventory, now)
    for one in told:
        click.echo(f"{one.place}: policy {one.policy}: {one.reason}: {one.message}", err=True)
    if any(one.blocked for one in told):
        sys.exit(BLOCKED)


def _rendered(inventory: Inventory, now: datetime) -> Iterator[tuple[str, Body]]:
    """The name of each policy, and what would be written for it were nothing written yet."""
    from dataclasses import replace

    from nodeport_access.inventory import store
    from nodeport_access.managed_fields import Ownership
    from nodeport_access.plan import plan

    held = store(inventory)
    for key in sorted({policy.service for policy in held.policies}):
        snapshot = held.snapshot(key, now)
        service = snapshot.service
        if service is not None:
            service = replace(service, external_traffic_policy="", policy_label="", ownership=Ownership())
        for write in plan(replace(snapshot, service=service, children={})):
            if write.policy is not None and write.body is not None:
                yield write.policy.name, applicable(write.body)


def applicable(body: Body) -> Body:
    """A body without the uids that no API server has given: an owner that is not there would have the object collected
    as garbage."""
    from nodeport_access.inventory import ObjectKey, invented_uid
    from nodeport_access.kube import POLICIES, SERVICES

    metadata = dict(body["metadata"])
    namespace = metadata["namespace"]
    if metadata.get("uid") == invented_uid(ObjectKey(SERVICES, namespace, metadata["name"])):
        del metadata["uid"]
    owners = [
        owner
        for owner in metadata.pop("ownerReferences", [])
        if owner["uid"] != invented_uid(ObjectKey(POLICIES, namespace, owner["name"]))
    ]
    if owners:
        metadata["ownerReferences"] = owners
    return {**body, "metadata": metadata}


def _row(policy: str, body: Body) -> list[Cell]:
    return [body["metadata"]["namespace"], policy, f"{body['kind']}/{body['metadata']['name']}", _what(body)]


def _what(body: Body) -> str:
    spec: dict[str, Any] = body.get("spec") or {}
    if body["kind"] == "Service":
        return f"externalTrafficPolicy {spec['externalTrafficPolicy']}"
    rules = spec["ingress"]
    if not rules:
        return "admits nobody to the Service's pods" if spec["podSelector"] else "admits nobody in the whole namespace"
    return "; ".join(f"admits {_peers(rule['from'])} to {_ports(rule['ports'])}" for rule in rules)


def _peers(peers: list[Body]) -> str:
    from nodeport_access.conditions import listed

    blocks = [peer["ipBlock"]["cidr"] for peer in peers if "ipBlock" in peer]
    selected = len(peers) - len(blocks)
    words = [listed(blocks)] if blocks else []
    return " and ".join([*words, *([f"{selected} kind{'s' if selected > 1 else ''} of pods"] if selected else [])])


def _ports(ports: list[Body]) -> str:
    return ", ".join(f"{port['port']}/{port['protocol']}" for port in ports)
