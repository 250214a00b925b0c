"""What tests do in a cluster and look at there, in the harness's name: create, read, change, delete, and play kubelet.

There is no kubelet, so `create` writes the status of a Node or Pod along with it, and from a Pod that says it is
running and ready the real EndpointSlice controller makes the real EndpointSlices.

Not its business: what the objects look like (`testbed.objects`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from testbed.api_client import APPLY, MERGE_PATCH, Json
from testbed.control_plane import ControlPlane
from testbed.failure import Failure
from testbed.objects import condition
from testbed.waiting import wait_for

# kind: path of its group and version, plural, namespaced
_KINDS = {
    "ConfigMap": ("/api/v1", "configmaps", True),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "Event": ("/apis/events.k8s.io/v1", "events", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "Namespace": ("/api/v1", "namespaces", False),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", True),
    "Node": ("/api/v1", "nodes", False),
    "NodePortAccessPolicy": ("/apis/nodeport-access.io/v1alpha1", "nodeportaccesspolicies", True),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "ServiceAccount": ("/api/v1", "serviceaccounts", True),
}


class Refused(Failure):
    """The API server refused what the harness asked for. `code` is HTTP's, `answer` its Status object."""

    def __init__(self, *, code: int, answer: Json, request: str) -> None:
        super().__init__(f"{request}: {code} {answer.get('message', answer)}")
        self.code = code
        self.answer = answer


class Cluster:
    """The objects of one control plane, read and written as the harness, which may do everything.

    Every method raises Refused where the API server does not do it, and ApiUnavailable where it does not answer.
    """

    def __init__(self, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane

    def create(self, body: Mapping[str, Any]) -> Json:
        """Create an object, with its status if it has one; the object as it is then."""
        kind, metadata = body["kind"], body["metadata"]
        created = self._ask("POST", path(kind=kind, namespace=metadata.get("namespace")), body)
        if "status" not in body:
            return created
        address = path(
            kind=kind, namespace=metadata.get("namespace"), name=created["metadata"]["name"], subresource="status"
        )
        return self._ask("PATCH", address, {"status": body["status"]}, content_type=MERGE_PATCH)

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Json:
        return self._ask("GET", path(kind=kind, namespace=namespace, name=name))

    def find(self, kind: str, name: str, *, namespace: str | None = None) -> Json | None:
        """Like `get`, but None where there is no such object."""
        try:
            return self.get(kind, name, namespace=namespace)
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def list(self, kind: str, *, namespace: str | None = None, selector: str = "") -> Sequence[Json]:
        """All objects of a kind, of one namespace or of all; `selector` is a label selector."""
        query = f"?labelSelector={selector}" if selector else ""
        items: Sequence[Json] = self._ask("GET", path(kind=kind, namespace=namespace) + query)["items"]
        return items

    def patch(
        self,
        kind: str,
        name: str,
        change: object,
        *,
        namespace: str | None = None,
        subresource: str = "",
        manager: str = "testbed",
        content_type: str = MERGE_PATCH,
    ) -> Json:
        """Change an object by a JSON merge patch, or by another kind of patch, under this field manager."""
        address = path(kind=kind, namespace=namespace, name=name, subresource=subresource)
        return self._ask("PATCH", f"{address}?fieldManager={manager}", change, content_type=content_type)

    def apply(self, body: Mapping[str, Any], *, manager: str, force: bool = False) -> Json:
        """Server-side apply."""
        metadata = body["metadata"]
        address = path(kind=body["kind"], namespace=metadata.get("namespace"), name=metadata["name"])
        query = f"?fieldManager={manager}&force={str(force).lower()}"
        return self._ask("PATCH", address + query, body, content_type=APPLY)

    def delete(
        self, kind: str, name: str, *, namespace: str | None = None, options: Mapping[str, object] | None = None
    ) -> None:
        """Delete an object. `options` are fields of DeleteOptions (propagationPolicy, gracePeriodSeconds, ...)."""
        self._ask("DELETE", path(kind=kind, namespace=namespace, name=name), dict(options or {}))

    def delete_all(self, kind: str, *, namespace: str) -> None:
        """Delete every object of a kind in a namespace, without grace."""
        self._ask("DELETE", path(kind=kind, namespace=namespace), {"gracePeriodSeconds": 0})

    # --- what a kubelet would do ------------------------------------------------------------------------------------

    def set_ready(self, name: str, *, namespace: str, ready: bool) -> None:
        """Make a Pod ready, or not ready."""
        seen = self.get("Pod", name, namespace=namespace)["status"]
        conditions = [item for item in seen["conditions"] if item["type"] not in ("ContainersReady", "Ready")]
        conditions += [condition(type=kind, status=ready) for kind in ("ContainersReady", "Ready")]
        containers = [{**container, "ready": ready} for container in seen["containerStatuses"]]
        change = {"status": {"conditions": conditions, "containerStatuses": containers}}
        self.patch("Pod", name, change, namespace=namespace, subresource="status")

    def terminate(self, name: str, *, namespace: str, seconds: int = 3600) -> None:
        """Make a Pod terminate: it keeps serving until `remove`, as nobody stops its containers."""
        self.delete("Pod", name, namespace=namespace, options={"gracePeriodSeconds": seconds})

    def remove(self, name: str, *, namespace: str) -> None:
        """Make a Pod vanish at once."""
        self.delete("Pod", name, namespace=namespace, options={"gracePeriodSeconds": 0})

    # --- namespaces -------------------------------------------------------------------------------------------------

    def create_namespace(self, body: Mapping[str, Any]) -> None:
        """Create a namespace, and wait for its ServiceAccount: no Pod is admitted before."""
        self.create(body)
        name = body["metadata"]["name"]
        wait_for(
            lambda: self.find("ServiceAccount", "default", namespace=name),
            seconds=60,
            what=f"the default ServiceAccount of namespace {name}",
            every=0.01,
        )

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace with all that is in it, and do not wait for its end (about 5 s)."""
        everything = path(kind="Pod", namespace=name)  # with the default grace they would wait for a kubelet
        self._ask("DELETE", everything, {"gracePeriodSeconds": 0})
        self.delete("Namespace", name)

    def vacate_namespace(self, name: str) -> None:
        """Delete what an operator could see in a namespace that nobody needs any more, and leave it standing: its end
        would cost the API server a hundred requests.
        """
        for kind in ("NodePortAccessPolicy", "Service", "NetworkPolicy", "Pod"):
            self.delete_all(kind, namespace=name)

    # --- what there is ----------------------------------------------------------------------------------------------

    def endpoints(self, service: str, *, namespace: str) -> Sequence[Json]:
        """The endpoints of a Service from all of its EndpointSlices."""
        selector = f"kubernetes.io/service-name={service}"
        slices = self.list("EndpointSlice", namespace=namespace, selector=selector)
        return [endpoint for one in slices for endpoint in one.get("endpoints") or ()]

    def wait_for_endpoints(self, service: str, *, namespace: str, ready: Iterable[str], seconds: float = 10) -> None:
        """Wait until exactly these addresses are the ready endpoints of a Service."""
        wanted = sorted(ready)

        def as_wanted() -> bool:
            found = self.endpoints(service, namespace=namespace)
            seen = sorted(ip for one in found if one["conditions"].get("ready") for ip in one["addresses"])
            assert seen == wanted, f"ready are {seen}"
            return True

        wait_for(as_wanted, seconds=seconds, what=f"{wanted} as the ready endpoints of {namespace}/{service}")

    def _ask(self, method: str, path: str, body: object = None, *, content_type: str = "application/json") -> Json:
        """Where a definition has just changed, the API server says for a moment that it is shutting down, and means
        what it answered by before."""

        def ask() -> tuple[int, Json]:
            code, answer = self.control_plane.request(method, path, body, content_type=content_type)
            assert code != 503 or "apiserver is shutting down" not in str(answer), answer
            return code, answer

        code, answer = wait_for(ask, seconds=10, what=f"an answer to {method} {path}")
        if code >= 300:
            raise Refused(code=code, answer=answer, request=f"{method} {path}")
        return answer


def path(*, kind: str, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
    """The path of an object, or of a kind's collection: of one namespace, or of the whole cluster."""
    group, plural, namespaced = _KINDS[kind]
    parts = [group]
    if namespaced and namespace:
        parts += ["namespaces", namespace]
    parts += [part for part in (plural, name, subresource) if part]
    return "/".join(parts)
