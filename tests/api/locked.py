"""A control plane under the lock-down of manifests/overlays/lock-down: who is who there, and what they are told.

Not its business: what should be refused, which `test_lock_down` says.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed import objects
from testbed.api_client import MERGE_PATCH
from testbed.cluster import path
from testbed.control_plane import ControlPlane
from testbed.operator_process import NAMESPACE, ROOT, USER
from tests.api.access import LABEL, Json, Site, a_site, until

OVERLAY = ROOT / "manifests" / "overlays" / "lock-down"
POLICIES = ("nodeport-access-services", "nodeport-access-network-policies")
VALIDATING = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
PARAMETERS = "nodeport-access-lock-down"
BREAK_GLASS = "nodeport-access:break-glass"
EVERYTHING = "test:everything"
"""A group to which RBAC refuses nothing, so that whatever is refused, admission has refused."""

KUBE_SYSTEM = "system:serviceaccount:kube-system:"
USERS: Mapping[str, tuple[str, str]] = {
    "owner": ("olga", EVERYTHING),
    "root": ("root", "system:masters"),
    "on-call": ("otto", BREAK_GLASS),
    "operator": (USER, EVERYTHING),
    "garbage collector": (f"{KUBE_SYSTEM}generic-garbage-collector", EVERYTHING),
    "namespace controller": (f"{KUBE_SYSTEM}namespace-controller", EVERYTHING),
    "load balancer controller": (f"{KUBE_SYSTEM}service-controller", EVERYTHING),
}
"""User name and group of everybody who tries something."""

_numbers = itertools.count(1)


def lock_down(plane: ControlPlane) -> None:
    """Switch it on as a user would, and wait until it holds."""
    plane.kubectl("apply", "-k", OVERLAY)
    await_lock_down(plane)


def await_lock_down(plane: ControlPlane) -> None:
    """Give RBAC's permission for all to USERS, and wait until the lock-down that was applied holds."""
    groups = [f"--group={EVERYTHING}", f"--group={BREAK_GLASS}"]
    plane.kubectl("create", "clusterrolebinding", "everything", "--clusterrole=cluster-admin", *groups)
    await_refusing(plane, refusing=True)


def await_refusing(plane: ControlPlane, *, refusing: bool) -> None:
    """Wait until both halves of the lock-down refuse a stranger, or neither: the API server takes a moment to hear of a
    change."""
    labelled = {"metadata": {"labels": {LABEL: "nobody"}}}
    forged = (
        objects.changed(objects.service(namespace="default", name="forged", selector=None), labelled),
        objects.changed(objects.network_policy(namespace="default", name="forged", spec={"podSelector": {}}), labelled),
    )

    def as_wanted() -> bool:
        answers = [request(plane, "owner", "POST", path(kind=one["kind"], namespace="default"), one) for one in forged]
        assert [answer.refused for answer in answers] == [refusing] * 2, answers
        return True

    until(as_wanted, f"a lock-down that refuses: {refusing}", seconds=30)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said to one request."""

    code: int
    message: str

    @property
    def refused(self) -> bool:
        """By the lock-down, and nobody else; an AssertionError where somebody else did."""
        if self.code < 300:
            return False
        assert self.code == 403, self
        assert "ValidatingAdmissionPolicy 'nodeport-access-" in self.message, self
        return True

    @property
    def sentence(self) -> str:
        """What our expression told, without the API server's own words before it."""
        return self.message.rpartition("denied request: ")[2]


def request(
    plane: ControlPlane,
    who: str,
    method: str,
    address: str,
    body: object = None,
    *,
    content_type: str = "application/json",
    dry: bool = True,
) -> Answer:
    """Ask for something as one of USERS; `dry` leaves the world as it is."""
    if dry and method == "DELETE":
        body = {"dryRun": ["All"]}  # with a body, the query does not count
    elif dry:
        address += ("&" if "?" in address else "?") + "dryRun=All"
    user, group = USERS[who]
    headers = {"Impersonate-User": user, "Impersonate-Group": group}
    code, answer = plane.request(method, address, body, content_type=content_type, headers=headers)
    return Answer(code, str(answer.get("message", "")))


def patch(
    site: Site,
    who: str,
    kind: str,
    name: str,
    change: object,
    *,
    subresource: str = "",
    content_type: str = MERGE_PATCH,
    dry: bool = False,
) -> Answer:
    """Patch an object of a site as one of USERS."""
    address = path(kind=kind, namespace=site.namespace, name=name, subresource=subresource)
    plane = site.cluster.control_plane
    return request(plane, who, "PATCH", address, change, content_type=content_type, dry=dry)


def empty_site(plane: ControlPlane) -> Site:
    """A namespace."""
    return a_site(plane, f"locked-{next(_numbers)}")


def guarded_site(plane: ControlPlane, **service: Any) -> Site:
    """A namespace with a Service that is guarded by the policy of the same name, `web`, and Ready."""
    site = empty_site(plane)
    site.create_service(**service)
    site.create_pod()
    site.create_policy()
    site.await_ready()
    return site


def set_parameters(plane: ControlPlane, **data: str | None) -> None:
    """Change the ConfigMap; None takes a key out."""
    plane.kubectl("-n", NAMESPACE, "patch", "configmap", PARAMETERS, "--type=merge", "-p", json.dumps({"data": data}))


def expression_warnings(plane: ControlPlane, name: str) -> list[Json]:
    """What type checking found, once it is done; an AssertionError before."""
    _, answer = plane.request("GET", f"{VALIDATING}/{name}")
    status = answer.get("status", {})
    assert status.get("observedGeneration") == answer["metadata"]["generation"], status
    assert "typeChecking" in status, status
    found: list[Json] = status["typeChecking"].get("expressionWarnings", [])
    return found
