"""All that the operators of a run asked of their API servers, by the audit logs, and what is wrong with it.

- Every permission that was asked for is in manifests/rbac.yaml; and each one there was asked for, if all tests ran.
- No rule that was sent had an empty `from` or `ports`, which to the API means everyone; and rules were sent.

Hundreds of situations are a better witness than a scenario made up for the purpose, and no test can forget to look.
Not its business: when a log is complete, and how the parts of a run come together (`conftest`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from testbed.audit import Event
from testbed.operator_process import USER
from tests.api.permissions import Permission, granted

OWN_AGENTS = ("nodeport-access/", "kopf/")
"""Who else asks under the operator's name is the harness."""


@dataclass(slots=True)
class Audited:
    """What was asked for so far. `whole` says whether all tests were to run, in each process of the run."""

    permissions: set[Permission] = field(default_factory=set)
    rules: int = 0
    open_rules: list[str] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)

    def read(self, audit_log: Path) -> None:
        """Add what happened on one control plane."""
        for event in _own_requests(audit_log):
            self.permissions.update(_asked_for(event))
            if event["objectRef"]["resource"] == "networkpolicies" and event["verb"] == "patch":
                self._look_at_rules(event)

    def told(self) -> dict[str, Any]:
        """All of it in plain types, for another process."""
        return {**asdict(self), "permissions": [tuple(one) for one in self.permissions]}

    def take(self, told: dict[str, Any]) -> None:
        """Add what another process has told."""
        self.permissions.update(Permission(*one) for one in told["permissions"])
        self.rules += told["rules"]
        self.open_rules += told["open_rules"]
        self.whole += told["whole"]

    def wrong(self, *, passed: bool) -> list[str]:
        """What is wrong, a sentence each. `passed` says that no test has failed."""
        permitted = set(granted())
        wrong = [
            f"the operator asks for {one}, which manifests/rbac.yaml does not give"
            for one in self.permissions - permitted
        ]
        wrong += self.open_rules
        if passed and self.whole and all(self.whole):
            wrong += [f"manifests/rbac.yaml gives {one}, which no test needs" for one in permitted - self.permissions]
            wrong += [] if self.rules else ["no test has made the operator send a rule"]
        return sorted(wrong)

    def _look_at_rules(self, event: Event) -> None:
        where = event["objectRef"]
        for rule in (event.get("requestObject") or {}).get("spec", {}).get("ingress") or ():
            self.rules += 1
            if not rule.get("from") or not rule.get("ports"):
                self.open_rules.append(
                    f"NetworkPolicy {where['namespace']}/{where['name']} was sent with a rule for everyone: {rule}"
                )


def _own_requests(audit_log: Path) -> Iterator[Event]:
    """The operator's own requests for objects."""
    mark = f'"username":"{USER}"'.encode()
    if not audit_log.exists():
        return
    with audit_log.open("rb") as lines:
        for line in lines:
            if mark in line and line.endswith(b"\n"):
                # Bodies of policies may be a megabyte, and only those of NetworkPolicies matter.
                head, body, _ = line.partition(b',"requestObject":')
                event: Event = json.loads(line if b'"resource":"networkpolicies"' in head or not body else head + b"}")
                if event.get("userAgent", "").startswith(OWN_AGENTS) and "resource" in event.get("objectRef", {}):
                    yield event


def _asked_for(event: Event) -> Iterator[Permission]:
    """A server-side apply that creates is a patch in the audit log, and takes the permission to create as well."""
    what = event["objectRef"]
    resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
    yield Permission(what.get("apiGroup", ""), resource, event["verb"])
    if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
        yield Permission(what.get("apiGroup", ""), resource, "create")
