"""All that the operators of a run asked of their API servers, by the audit logs, and what is wrong with it.

- Every permission that was asked for is in a role in manifests/; and each one there was asked for, if all ran. Of those
  that were asked for in a single namespace, the same is so of the Role of manifests/components/namespaced.
- No rule that was sent had an empty `from` or `ports`, which to the API means everyone; and rules were sent.
- No Service was set to another externalTrafficPolicy than Local.

Hundreds of situations are a better witness than a scenario made up for the purpose, and no test can forget to look.
Not its business: when a log is complete, and how the parts of a run come together (`conftest`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from testbed.api_client import Json
from testbed.audit import Event
from testbed.operator_process import USER
from tests.api.permissions import CLUSTER_ROLE, LEASE_ROLE, ROLE, Permission, granted

OWN_AGENTS = ("nodeport-access/", "kopf/")
"""Who else asks under the operator's name is the harness."""


@dataclass(slots=True)
class Audited:
    """What was asked for so far. `whole` says whether all tests were to run, in each process of the run."""

    permissions: set[Permission] = field(default_factory=set)
    in_namespaces: set[Permission] = field(default_factory=set)
    """Those of them that were asked for in a single namespace."""
    rules: int = 0
    opened: list[str] = field(default_factory=list)
    """What let everyone in, a sentence each."""
    whole: list[bool] = field(default_factory=list)

    def read(self, audit_log: Path) -> None:
        """Add what happened on one control plane."""
        for event in _own_requests(audit_log):
            asked = set(_asked_for(event))
            self.permissions |= asked
            if event["objectRef"].get("namespace"):
                self.in_namespaces |= asked
            spec = (event.get("requestObject") or {}).get("spec") or {}
            match event["objectRef"]["resource"], event["verb"]:
                case "networkpolicies", "patch":
                    self._look_at_rules(spec.get("ingress") or (), where=event["objectRef"])
                case "services", "patch" if spec.get("externalTrafficPolicy", "Local") != "Local":
                    self.opened.append(f"{_name(event['objectRef'])} was set to {spec['externalTrafficPolicy']}")

    def told(self) -> dict[str, Any]:
        """All of it in plain types, for another process."""
        asked = {"permissions": self.permissions, "in_namespaces": self.in_namespaces}
        return {**asdict(self), **{name: [tuple(one) for one in found] for name, found in asked.items()}}

    def take(self, told: dict[str, Any]) -> None:
        """Add what another process has told."""
        self.permissions.update(Permission(*one) for one in told["permissions"])
        self.in_namespaces.update(Permission(*one) for one in told["in_namespaces"])
        self.rules += told["rules"]
        self.opened += told["opened"]
        self.whole += told["whole"]

    def wrong(self, *, passed: bool) -> list[str]:
        """What is wrong, a sentence each. `passed` says that no test has failed."""
        lease = {one for one in self.permissions if one.resource == "leases"}
        seen = {CLUSTER_ROLE: self.permissions - lease, ROLE: self.in_namespaces - lease, LEASE_ROLE: lease}
        wrong = [
            f"the operator asks for {one}, which {file} does not give"
            for file, asked in seen.items()
            for one in asked - set(granted(file))
        ]
        wrong += self.opened
        if passed and self.whole and all(self.whole):
            wrong += [
                f"{file} gives {one}, which no test needs"
                for file, asked in seen.items()
                for one in set(granted(file)) - asked
            ]
            wrong += [] if self.rules else ["no test has made the operator send a rule"]
        return sorted(wrong)

    def _look_at_rules(self, rules: Iterable[Json], *, where: Json) -> None:
        for rule in rules:
            self.rules += 1
            if not rule.get("from") or not rule.get("ports"):
                self.opened.append(f"{_name(where)} was sent with a rule for everyone: {rule}")


def _name(where: Json) -> str:
    return f"{where['resource']} {where['namespace']}/{where['name']}"


def _own_requests(audit_log: Path) -> Iterator[Event]:
    """The operator's own requests for objects."""
    mark = f'"username":"{USER}"'.encode()
    if not audit_log.exists():
        return
    with audit_log.open("rb") as lines:
        for line in lines:
            if mark in line and line.endswith(b"\n"):
                # Bodies of policies may be a megabyte, and are of no interest.
                head, body, _ = line.partition(b',"requestObject":')
                is_dear = body and b'"resource":"nodeportaccesspolicies"' in head
                event: Event = json.loads(head + b"}" if is_dear else line)
                if event.get("userAgent", "").startswith(OWN_AGENTS) and "resource" in event.get("objectRef", {}):
                    yield event


def _asked_for(event: Event) -> Iterator[Permission]:
    """A server-side apply that creates is a patch in the audit log, and takes the permission to create as well."""
    what = event["objectRef"]
    resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
    yield Permission(what.get("apiGroup", ""), resource, event["verb"])
    if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
        yield Permission(what.get("apiGroup", ""), resource, "create")
