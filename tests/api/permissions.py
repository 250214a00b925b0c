"""What the operator may do, by the roles in manifests/ and by RBAC.

Not its business: what it does (`audited`), and what happens where a permission is missing (`test_permissions`).
"""

from __future__ import annotations

from typing import NamedTuple

import yaml

from testbed.control_plane import ControlPlane
from testbed.operator_process import NAMESPACE, ROOT, USER


class Permission(NamedTuple):
    """One verb on one resource, a subresource included ("nodeportaccesspolicies/status")."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


CLUSTER_ROLE = "manifests/base/rbac.yaml"
ROLE = "manifests/components/namespaced/role/role.yaml"
LEASE_ROLE = "manifests/components/high-availability/rbac.yaml"


def granted(file: str = CLUSTER_ROLE) -> list[Permission]:
    """Every permission of the one role in this file, in its order."""
    documents = yaml.safe_load_all((ROOT / file).read_text())
    (role,) = (one for one in documents if one["kind"] in ("ClusterRole", "Role"))
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
