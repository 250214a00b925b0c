"""One namespace, and what users and strangers do there. Each does what can be done at that moment: what is not there is
made, what the API server refuses is left, and both are told in the story.

Not its business: which of it happens, and when (`machine`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from testbed import objects
from testbed.api_client import JSON_PATCH, MERGE_PATCH
from testbed.cluster import Cluster, Refused, path
from tests.api.access import LABEL, Json
from tests.api.histories.trail import OwnWrites
from tests.api.histories.vocabulary import CONTAINER_PORTS, FRONT, NODES, POD_ADDRESSES, PODS, Labels

ELSEWHERE = {"matchLabels": {"app": "elsewhere"}}
A_FINALIZER = {"metadata": {"finalizers": ["example.org/hold"]}}
AN_OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "00000000-0000-4000-8000-000000000000"}
SPOILS: Mapping[str, Json | list[Json] | None] = {
    "deletes": None,
    "opens": {"spec": {"ingress": [{}]}},
    "empties": {"spec": {"ingress": None}},
    "points elsewhere": {"spec": {"podSelector": ELSEWHERE}},
    "lets go the way in of": {"spec": {"policyTypes": ["Egress"]}},
    "strips the labels of": {"metadata": {"labels": None}},
    "relabels": {"metadata": {"labels": {LABEL: "second"}}},
    "strips the owner of": {"metadata": {"ownerReferences": None}},
    "puts a finalizer on": A_FINALIZER,
    "puts an owner on": [{"op": "add", "path": "/metadata/ownerReferences/-", "value": AN_OWNER}],
    "opens and disowns": {"metadata": {"labels": None, "ownerReferences": None}, "spec": {"ingress": [{}]}},
}
TYPE_CHANGES: Mapping[str, Json] = {
    "ExternalName": {"externalName": "example.org", "clusterIP": None, "clusterIPs": None},
}


class Stage:
    """A namespace of its own."""

    def __init__(self, cluster: Cluster, *, namespace: str, own: OwnWrites, tell: Callable[[str], None]) -> None:
        """``tell`` takes a line of the story."""
        self.cluster = cluster
        self.namespace = namespace
        self._own = own
        self._tell = tell
        cluster.create_namespace(objects.namespace(name=namespace))

    # --- policies ---------------------------------------------------------------------------------------------------

    def policy(self, name: str, *, service: str, **spec: Any) -> None:
        """Somebody creates a policy, or edits the one that is there, which keeps its Service."""
        if self._find("NodePortAccessPolicy", name) is None:
            body = objects.policy(namespace=self.namespace, name=name, service=service, **spec)
            self._do(f"policy {name} for {service} with {spec}", lambda: self.cluster.create(body))
        else:
            self._patch("NodePortAccessPolicy", name, {"spec": spec}, manager="user", what=f"policy {name} gets {spec}")

    def entry(self, name: str, entry: Json, *, there: bool) -> None:
        """Somebody adds an entry to a policy, or takes it out, and keeps the others."""
        if (found := self._find("NodePortAccessPolicy", name)) is None:
            return
        entries = [one for one in found["spec"].get("allowedCIDRs") or () if one["cidr"] != entry["cidr"]]
        change = {"spec": {"allowedCIDRs": [*entries, entry] if there else entries}}
        what = f"policy {name} {'gets' if there else 'loses'} {entry}"
        self._patch("NodePortAccessPolicy", name, change, manager="user", what=what)

    def turn(self, name: str, *, mode: str) -> None:
        """A policy that is there gets another mode."""
        if self._find("NodePortAccessPolicy", name) is not None:
            self._patch(
                "NodePortAccessPolicy", name, {"spec": {"mode": mode}}, manager="user", what=f"policy {name}: {mode}"
            )

    def delete_policy(self, name: str, *, how: str) -> None:
        """Background, Foreground or Orphan."""
        self._delete("NodePortAccessPolicy", name, propagationPolicy=how)

    def recreate_policy(self, name: str, *, service: str, **spec: Any) -> None:
        """Deleted and made anew at once: another uid under the same name."""
        self.delete_policy(name, how="Background")
        self.policy(name, service=service, **spec)

    # --- Services ---------------------------------------------------------------------------------------------------

    def service(
        self, name: str, *, type: str, selector: Labels | None, ports: Sequence[Json], families: Sequence[str]
    ) -> None:
        """Somebody creates a Service, or changes the one that is there, which keeps its families."""
        if self._find("Service", name) is None:
            body = objects.service(
                namespace=self.namespace,
                name=name,
                type=type,
                selector=selector,
                ports=ports,
                ip_families=families,
                externalName="example.org" if type == "ExternalName" else None,
            )
            self._do(f"Service {name}: {type} {selector} {ports} {families}", lambda: self.cluster.create(body))
            return
        fields = {"type": type, "ports": list(ports), **(TYPE_CHANGES.get(type) or {"externalName": None})}
        self._patch("Service", name, {"spec": fields}, manager="user", what=f"Service {name} becomes {fields}")
        self.select(name, selector=selector)

    def select(self, name: str, *, selector: Labels | None) -> None:
        """The Service selects other pods, and forgets the selector before."""
        patch: Any = [{"op": "add", "path": "/spec/selector", "value": selector and dict(selector)}]
        self._do(
            f"Service {name} selects {selector}",
            lambda: self.cluster.patch(
                "Service", name, patch, namespace=self.namespace, manager="user", content_type=JSON_PATCH
            ),
        )

    def delete_service(self, name: str) -> None:
        self._delete("Service", name)

    def traffic_policy(self, name: str, value: str, *, how: str, manager: str) -> None:
        """Somebody sets externalTrafficPolicy by a merge patch, by server-side apply, or by replacing the Service."""
        what = f"{manager} {how}s Service {name} {value}"
        spec = {"externalTrafficPolicy": value}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": self.namespace}}
        if how == "patch":
            self._patch("Service", name, {"spec": spec}, manager=manager, what=what)
        elif how == "apply":
            if self._find("Service", name) is not None:
                self._do(what, lambda: self.cluster.apply({**body, "spec": spec}, manager=manager, force=True))
        elif (found := self._find("Service", name)) is not None:
            whole = {**body, "spec": {**found["spec"], **spec}}
            self._do(what, lambda: self._replace(whole, manager=manager))

    def strip_service(self, name: str) -> None:
        """Somebody takes our label off a Service."""
        change = {"metadata": {"labels": {LABEL: None}}}
        self._patch("Service", name, change, manager="stranger", what=f"stranger strips the label of Service {name}")

    # --- children and other NetworkPolicies ---------------------------------------------------------------------------

    def spoil(self, child: str, *, how: str) -> None:
        """A stranger's hand on a NetworkPolicy; SPOILS has what it does."""
        change = SPOILS[how]
        if change is None:
            self._delete("NetworkPolicy", child)
            return
        kind = JSON_PATCH if isinstance(change, list) else MERGE_PATCH
        self._do(
            f"stranger {how} {child}",
            lambda: self.cluster.patch(
                "NetworkPolicy", child, change, namespace=self.namespace, manager="stranger", content_type=kind
            ),
        )

    def delete_held(self, child: str) -> None:
        """A stranger deletes a child, which a finalizer of his holds."""
        self.spoil(child, how="puts a finalizer on")
        self._delete("NetworkPolicy", child)

    def network_policy(self, name: str, **spec: Any) -> None:
        """A stranger's own: anew, or in place of what has the name and is his."""
        body = objects.network_policy(namespace=self.namespace, name=name, spec=spec)
        if self._find("NetworkPolicy", name) is None:
            self._do(f"stranger's NetworkPolicy {name}: {spec}", lambda: self.cluster.create(body))
        else:
            self._patch(
                "NetworkPolicy", name, {"spec": spec}, manager="stranger", what=f"stranger's {name} gets {spec}"
            )

    def delete_network_policy(self, name: str) -> None:
        self._delete("NetworkPolicy", name)

    # --- pods -------------------------------------------------------------------------------------------------------

    def pod(self, name: str, *, labels: Labels, ready: bool, node: str, host_network: bool = False) -> None:
        """A pod comes to a node; or the one that is there gets these labels and this readiness."""
        if self._find("Pod", name) is None:
            address = NODES[node] if host_network else POD_ADDRESSES[node].format(10 + PODS.index(name))
            body = objects.pod(
                namespace=self.namespace,
                name=name,
                node=node,
                ips=[address],
                labels=labels,
                ready=ready,
                ports=CONTAINER_PORTS,
                host_network=host_network,
            )
            what = f"pod {name} on {node} with {labels}, {'' if ready else 'not '}ready{', host' * host_network}"
            self._do(what, lambda: self.cluster.create(body))
            return
        self.label_pod(name, labels=labels)

        def change() -> Json:
            self.cluster.set_ready(name, namespace=self.namespace, ready=ready)
            return {}

        self._do(f"pod {name} is {'' if ready else 'not '}ready", change)

    def label_pod(self, name: str, *, labels: Labels) -> None:
        """A pod that is there gets other labels."""
        patch: Any = [{"op": "add", "path": "/metadata/labels", "value": dict(labels)}]
        self._do(
            f"pod {name} gets {labels}",
            lambda: self.cluster.patch("Pod", name, patch, namespace=self.namespace, content_type=JSON_PATCH),
        )

    def front_pods(self) -> None:
        """All pods come to the front that were not there, and those that were leave it; each stays a pod of its app."""
        for pod in self.cluster.list("Pod", namespace=self.namespace):
            labels = pod["metadata"].get("labels", {})
            others = {key: value for key, value in labels.items() if key not in FRONT}
            self.label_pod(pod["metadata"]["name"], labels=others if others != labels else {**labels, **FRONT})

    def move_pod(self, name: str, *, labels: Labels, node: str) -> None:
        """It ends, and at once another of its name comes to this node."""
        self.end_pod(name, at_once=True)
        self.pod(name, labels=labels, ready=True, node=node)

    def end_pod(self, name: str, *, at_once: bool) -> None:
        """A pod vanishes, or goes on serving while it terminates."""
        self._delete("Pod", name, gracePeriodSeconds=0 if at_once else 3600)

    # --- how --------------------------------------------------------------------------------------------------------

    def _find(self, kind: str, name: str) -> Json | None:
        return self.cluster.find(kind, name, namespace=self.namespace)

    def _patch(self, kind: str, name: str, change: object, *, manager: str, what: str) -> None:
        self._do(what, lambda: self.cluster.patch(kind, name, change, namespace=self.namespace, manager=manager))

    def _replace(self, body: Json, *, manager: str) -> Json:
        address = path(kind=body["kind"], namespace=self.namespace, name=body["metadata"]["name"])
        code, answer = self.cluster.control_plane.request("PUT", f"{address}?fieldManager={manager}", body)
        if code >= 300:
            raise Refused(code=code, answer=answer, request=f"PUT {address}")
        return answer

    def _delete(self, kind: str, name: str, **options: object) -> None:
        if (found := self._find(kind, name)) is None:
            return
        uid = found["metadata"]["uid"]
        # The operator may put another in its place at any moment, which is not the one to delete.
        only_this = {**options, "preconditions": {"uid": uid}}

        def delete() -> Json:
            self._own.deleted.add(uid)
            self.cluster.delete(kind, name, namespace=self.namespace, options=only_this)
            return {}

        self._do(f"{kind} {name} is deleted {' '.join(map(str, options.values()))}", delete)

    def _do(self, what: str, act: Callable[[], Json]) -> None:
        with self._telling(what):
            answer = act()
            if version := answer.get("metadata", {}).get("resourceVersion"):
                self._own.versions.add(version)

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except Refused as refused:
            self._tell(f"{what}: refused, {refused}")
        else:
            self._tell(what)
