"""The kinds of objects that the operator reads and writes, as the API server addresses them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from nodeport_access.api import GROUP, KIND, PLURAL, VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object as the API server addresses it; ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of a collection (of all namespaces, if none is given) or of one object."""
        path = _collection(self, namespace if self.namespaced else None)
        if name is not None:
            path = f"{path}/{quote(name, safe='')}"
        return path if subresource is None else f"{path}/{subresource}"

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@lru_cache(maxsize=4096)
def _collection(resource: Resource, namespace: str | None) -> str:
    steps = ["apis", resource.group, resource.version] if resource.group else ["api", resource.version]
    if namespace is not None:
        steps += ["namespaces", namespace]
    return "".join(f"/{quote(step, safe='')}" for step in (*steps, resource.plural))


POLICIES = Resource(group=GROUP, version=VERSION, plural=PLURAL, kind=KIND)
SERVICES = Resource(group="", version="v1", plural="services", kind="Service")
NETWORK_POLICIES = Resource(group="networking.k8s.io", version="v1", plural="networkpolicies", kind="NetworkPolicy")
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", version="v1", plural="endpointslices", kind="EndpointSlice")
NODES = Resource(group="", version="v1", plural="nodes", kind="Node", namespaced=False)
PODS = Resource(group="", version="v1", plural="pods", kind="Pod")
NAMESPACES = Resource(group="", version="v1", plural="namespaces", kind="Namespace", namespaced=False)
LEASES = Resource(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
EVENTS = Resource(group="events.k8s.io", version="v1", plural="events", kind="Event")
