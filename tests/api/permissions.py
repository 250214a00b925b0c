"""What the operator may do, by manifests/rbac.yaml, and what it does, by the API server's audit log.

Not its business: when the two are compared (`conftest`), and what happens where one is missing (`test_permissions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from testbed.audit import Event
from testbed.control_plane import ControlPlane
from testbed.operator_process import NAMESPACE, ROOT, USER

OWN_AGENTS = ("nodeport-access/", "kopf/")
"""Who else asks under the operator's name is the harness."""


class Permission(NamedTuple):
    """One verb on one resource, a subresource included ("nodeportaccesspolicies/status")."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


def granted() -> list[Permission]:
    """Every permission of the ClusterRole, in its order."""
    documents = yaml.safe_load_all((ROOT / "manifests" / "rbac.yaml").read_text())
    (role,) = (one for one in documents if one["kind"] == "ClusterRole")
    return [
        Permission(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def may(control_plane: ControlPlane, permission: Permission) -> bool:
    """Whether RBAC gives it to the operator's ServiceAccount, in all namespaces."""
    resource, _, subresource = permission.resource.partition("/")
    attributes = {
        "group": permission.group,
        "resource": resource,
        "subresource": subresource,
        "verb": permission.verb,
    }
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": USER, "groups": groups, "resourceAttributes": attributes},
    }
    code, answer = control_plane.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert code == 201, answer["message"]
    allowed: bool = answer["status"]["allowed"]
    return allowed


def used(audit_log: Path) -> set[Permission]:
    """Every permission that the operator has asked for on one control plane, granted or not."""
    return {permission for event in _events(audit_log) for permission in _asked_for(event)}


def _events(audit_log: Path) -> Iterator[Event]:
    """Those of the operator's own requests for objects, without bodies: one may be a megabyte."""
    mark = f'"username":"{USER}"'.encode()
    if not audit_log.exists():
        return
    with audit_log.open("rb") as lines:
        for line in lines:
            if mark in line and line.endswith(b"\n"):
                head, body, _ = line.partition(b',"requestObject":')
                event: Event = json.loads(head + b"}" if body else line)
                if event.get("userAgent", "").startswith(OWN_AGENTS) and "resource" in event.get("objectRef", {}):
                    yield event


def _asked_for(event: Event) -> Iterator[Permission]:
    """A server-side apply that creates is a patch in the audit log, and takes the permission to create as well."""
    what = event["objectRef"]
    resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
    yield Permission(what.get("apiGroup", ""), resource, event["verb"])
    if event["verb"] == "patch" and event["responseStatus"]["code"] == 201:
        yield Permission(what.get("apiGroup", ""), resource, "create")
