"""What was seen of the cluster, indexed by what depends on what: gathers the Snapshot of a Service, and says which
Services a change touches.

Not the business of this module: which version of an object counts (``shelf``), how it was fetched (``watches``), when
a touched key is looked at (``workqueue``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from nodeport_access import covering, opening
from nodeport_access.api import ALLOW_SUFFIX, DENY_SUFFIX, SERVICE_LABEL, Policy, PolicyKey, ServiceKey, TrafficPolicy
from nodeport_access.cidrs import AddressSet
from nodeport_access.label_selectors import LabelIndex, Labels, SelectorIndex, selects
from nodeport_access.observed import (
    EndpointSlice,
    NetworkPolicy,
    Node,
    Pod,
    Service,
    parse_endpoint_slice,
    parse_network_policy,
    parse_node,
    parse_pod,
    parse_service,
)
from nodeport_access.policy_body import parse_policy
from nodeport_access.shelf import Shelf
from nodeport_access.snapshot import Snapshot, claim_order
from nodeport_access.survey import Cluster

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Namespace:
    """The indexes of one namespace; NetworkPolicies never reach beyond theirs."""

    pods: LabelIndex = field(default_factory=LabelIndex)
    selectors: LabelIndex = field(default_factory=LabelIndex)
    services: SelectorIndex = field(default_factory=SelectorIndex)
    network_policies: SelectorIndex = field(default_factory=SelectorIndex)
    policies: dict[str, Policy] = field(default_factory=dict)
    enforcing: frozenset[str] | None = None

    def __bool__(self) -> bool:
        return any((self.pods, self.selectors, self.services, self.network_policies, self.policies))

    def enforcing_names(self) -> frozenset[str]:
        if self.enforcing is None:
            self.enforcing = frozenset(name for name, policy in self.policies.items() if policy.enforcing)
        return self.enforcing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nodes:
    """All nodes, and what they cover together: there may be thousands."""

    by_name: tuple[Node, ...]
    addresses: AddressSet
    ranges: AddressSet

    def __bool__(self) -> bool:
        return bool(self.by_name)


class Store:
    """All that is known. ``on_touched`` is told of each Service that has to be looked at again, ``on_opened`` of those
    among them that somebody else may just have opened, ``on_namespaces`` of the namespaces that hold policies, whenever
    that set changes."""

    def __init__(self) -> None:
        self.on_touched: Callable[[ServiceKey], None] = lambda _: None
        self.on_opened: Callable[[ServiceKey], None] = lambda _: None
        self.on_namespaces: Callable[[frozenset[str]], None] = lambda _: None
        self.policies: Shelf[Policy] = Shelf(parse=parse_policy, changed=self._policy_changed)
        self.services: Shelf[Service] = Shelf(parse=parse_service, changed=self._service_changed)
        self.network_policies: Shelf[NetworkPolicy] = Shelf(
            parse=parse_network_policy,
            changed=self._network_policy_changed,
            succeeding=NetworkPolicy.succeeding,
        )
        self.slices: Shelf[EndpointSlice] = Shelf(parse=parse_endpoint_slice, changed=self._slice_changed)
        self.nodes: Shelf[Node] = Shelf(parse=parse_node, changed=self._node_changed)
        self.pods: Shelf[Pod] = Shelf(parse=parse_pod, changed=self._pod_changed)
        self._namespaces: defaultdict[str, _Namespace] = defaultdict(_Namespace)
        # Asked for in every pass, and changed rarely: in a pass only what bears on its Service may cost anything.
        self._policy_namespaces: frozenset[str] = frozenset()
        self._nodes: _Nodes | None = None
        # Tuples, as most have one or two members, and a set of one takes four times as much.
        self._claimants: dict[ServiceKey, tuple[PolicyKey, ...]] = {}
        self._made_for: dict[ServiceKey, tuple[str, ...]] = {}
        self._children_of: dict[PolicyKey, tuple[str, ...]] = {}
        self._slices_of: dict[ServiceKey, tuple[str, ...]] = {}

    def service_keys(self) -> frozenset[ServiceKey]:
        """Every Service that has to be looked at when nothing is known of what happened before."""
        taken = {service.key for service in self.services if service.taken}
        return frozenset(taken | self._claimants.keys() | self._made_for.keys())

    def policy_namespaces(self) -> frozenset[str]:
        """The namespaces that hold policies."""
        return self._policy_namespaces

    def guarded(self, key: ServiceKey) -> bool:
        """Whether a living Enforce policy keeps this Service Local."""
        holder = next((policy for policy in self.policies_of(key) if policy.enforcing), None)
        return holder is not None and holder.traffic_policy is TrafficPolicy.LOCAL

    def may_be_open(self, key: ServiceKey) -> bool:
        """Whether somebody else may have opened this Service while nobody looked (see ``opening``)."""
        policies = self.policies_of(key)
        service = self.services.get(key.namespace, key.name)
        return opening.may_be_open(service, policies=policies, children=self._children(key, policies))

    def snapshot(self, key: ServiceKey, now: datetime) -> Snapshot:
        """All that bears on one Service, at one instant."""
        known, service = self._known(key.namespace), self.services.get(key.namespace, key.name)
        policies = self.policies_of(key)
        children = self._children(key, policies)
        labels = self._pod_labels(service)
        nodes = self._all_nodes()
        return Snapshot(
            key=key,
            now=now,
            policies=policies,
            service=service,
            children=children,
            others=tuple(
                other
                for other in self._selecting(key.namespace, labels)
                if not (other.name in children and other.claims)
            ),
            slices=tuple(
                piece
                for name in sorted(self._slices_of.get(key, ()))
                if (piece := self.slices.get(key.namespace, name))
            ),
            nodes=nodes.by_name,
            node_addresses=nodes.addresses,
            node_ranges=nodes.ranges,
            sharing=tuple((other, self.guarded(other.key)) for other in self._sharing(key, labels) if other.exposed),
            pods_listed=self.pods.listed(key.namespace),
            nodes_listed=self.nodes.listed(""),
            enforcing_names=known.enforcing_names(),
        )

    def _all_nodes(self) -> _Nodes:
        if self._nodes is None:
            by_name = tuple(sorted(self.nodes, key=lambda node: node.name))
            addresses = AddressSet.union(*(node.addresses for node in by_name))
            self._nodes = _Nodes(by_name=by_name, addresses=addresses, ranges=covering.ranges(by_name))
        return self._nodes

    def cluster(self) -> Cluster:
        """All that is known, at one instant; nothing is looked at, so it costs next to nothing."""
        return Cluster(
            services=tuple(self.services),
            network_policies=tuple(self.network_policies),
            slices=tuple(self.slices),
            nodes=tuple(self.nodes),
            pods=tuple(self.pods),
        )

    def _known(self, namespace: str) -> _Namespace:
        """The indexes of a namespace, to read: one of which nothing is known is not remembered for having been asked
        for."""
        known = self._namespaces.get(namespace)
        return known if known is not None else _Namespace()

    def _forget_empty(self, namespace: str) -> None:
        if not self._known(namespace):
            self._namespaces.pop(namespace, None)

    def policies_of(self, key: ServiceKey) -> tuple[Policy, ...]:
        """Every policy that names this Service, in the order of claims."""
        policies = (self.policies.get(name.namespace, name.name) for name in self._claimants.get(key, ()))
        return tuple(sorted((policy for policy in policies if policy is not None), key=claim_order))

    def _children(self, key: ServiceKey, policies: Iterable[Policy]) -> dict[str, NetworkPolicy]:
        """What stands under a child's name of these policies, and what of ours was made for the Service."""
        names = {name for policy in policies for name in (policy.allow_name, policy.deny_name)}
        return {
            name: child
            for name in names.union(self._made_for.get(key, ()))
            if (child := self.network_policies.get(key.namespace, name)) is not None
        }

    def _pod_labels(self, service: Service | None) -> list[Labels]:
        """Labels of the Service's pods; while there are none, those that a pod must at least carry."""
        if service is None or not service.selector:
            return []
        namespace = service.key.namespace
        names = self._known(namespace).pods.matching(service.selector)
        pods = (self.pods.get(namespace, name) for name in names)
        return [pod.labels for pod in pods if pod is not None] or [service.selector]

    def _selecting(self, namespace: str, labels: list[Labels]) -> Iterator[NetworkPolicy]:
        index, found = self._known(namespace).network_policies, dict[str, NetworkPolicy]()
        for pod in labels:
            for name in index.candidates(pod):
                policy = self.network_policies.get(namespace, name)
                if name not in found and policy and selects(policy.spec.get("podSelector") or {}, pod):
                    found[name] = policy
        yield from found.values()

    def _services_of(self, namespace: str, labels: Labels) -> Iterator[Service]:
        for name in self._known(namespace).services.candidates(labels):
            service = self.services.get(namespace, name)
            if service and service.selector and selects({"matchLabels": service.selector}, labels):
                yield service

    def _sharing(self, key: ServiceKey, labels: list[Labels]) -> list[Service]:
        """The other Services that select one of these pods, by name."""
        found = {service.key: service for pod in labels for service in self._services_of(key.namespace, pod)}
        return [found[other] for other in sorted(found) if other != key]

    def _touch(self, key: ServiceKey) -> None:
        service = self.services.get(key.namespace, key.name)
        if key in self._claimants or key in self._made_for or (service is not None and service.taken):
            self.on_touched(key)

    def _touch_sharing(self, service: Service | None) -> None:
        """Touches the Services that share pods with this one, and those without pods that would."""
        if service is None or not service.selector:
            return
        for other in self._sharing(service.key, self._pod_labels(service)):
            self._touch(other.key)
        for name in self._known(service.key.namespace).selectors.matching(service.selector):
            self._touch(ServiceKey(service.key.namespace, name))

    def _policy_changed(self, old: Policy | None, new: Policy | None) -> None:
        for policy in (old, new):
            if policy is not None:
                self._namespaces[policy.key.namespace].policies.pop(policy.key.name, None)
                _discard(self._claimants, policy.service, policy.key)
                self.on_touched(policy.service)
        if new is not None:
            self._namespaces[new.key.namespace].policies[new.key.name] = new
            _add(self._claimants, new.service, new.key)
        for policy in (old, new):
            if policy is not None and _standing(old) != _standing(new):
                self._touch_sharing(self.services.get(policy.service.namespace, policy.service.name))
                self._touch_children_of(policy)
        for namespace in {policy.key.namespace for policy in (old, new) if policy is not None}:
            if (old is not None and old.enforcing) != (new is not None and new.enforcing):
                self._namespaces[namespace].enforcing = None
            self._forget_empty(namespace)
            if (namespace in self._policy_namespaces) != bool(self._known(namespace).policies):
                self._policy_namespaces ^= {namespace}
                self.on_namespaces(self._policy_namespaces)

    def _touch_children_of(self, policy: Policy) -> None:
        """Children that were made for another Service, for which an earlier policy of this name stood."""
        for name in self._children_of.get(policy.key, ()):
            if (child := self.network_policies.get(policy.key.namespace, name)) is not None:
                self._touch_as_child(child)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        self._touch_sharing(old)
        if old is not None:
            self._namespaces[old.key.namespace].services.drop(old.key.name)
            self._namespaces[old.key.namespace].selectors.drop(old.key.name)
        if new is not None and new.selector:
            self._namespaces[new.key.namespace].services.put(new.key.name, new.selector)
            self._namespaces[new.key.namespace].selectors.put(new.key.name, new.selector)
        self._touch_sharing(new)
        for service in (old, new):
            if service is not None:
                self._touch(service.key)
                self._forget_empty(service.key.namespace)
        if old is not None and new is not None and opening.service_opened(old, new) and self.guarded(new.key):
            self.on_opened(new.key)

    def _network_policy_changed(self, old: NetworkPolicy | None, new: NetworkPolicy | None) -> None:
        for policy in (old, new):
            if policy is not None:
                self._unfile(policy)
        if new is not None:
            selector = new.spec.get("podSelector") or {}
            self._namespaces[new.namespace].network_policies.put(new.name, selector.get("matchLabels") or {})
            if new.claims:
                _add(self._made_for, _home(new), new.name)
            for claim in new.claims:
                _add(self._children_of, PolicyKey(new.namespace, claim), new.name)
        for policy in (old, new):
            if policy is not None:
                self._touch_by_network_policy(policy)
                self._forget_empty(policy.namespace)
        if old is not None:
            self._tell_if_opened(old, new)

    def _tell_if_opened(self, old: NetworkPolicy, new: NetworkPolicy | None) -> None:
        parent = self._parent_of(old)
        if parent is None or not parent.enforcing or not old.is_child_of(parent.key.name):
            return
        if new is not None and new.deleting == old.deleting:
            opened = opening.edit_opened(old, new)
        else:
            policies = self.policies_of(parent.service)
            children = self._children(parent.service, policies)
            opened = opening.deletion_opened(old.name, policies=policies, children=children)
        if opened:
            self.on_opened(parent.service)

    def _parent_of(self, policy: NetworkPolicy) -> Policy | None:
        """The policy whose child's name it bears."""
        known = self._known(policy.namespace).policies
        for suffix in (ALLOW_SUFFIX, DENY_SUFFIX):
            if policy.name.endswith(suffix):
                return known.get(policy.name.removesuffix(suffix))
        return None

    def _unfile(self, policy: NetworkPolicy) -> None:
        self._namespaces[policy.namespace].network_policies.drop(policy.name)
        _discard(self._made_for, _home(policy), policy.name)
        for claim in policy.claims:
            _discard(self._children_of, PolicyKey(policy.namespace, claim), policy.name)

    def _touch_as_child(self, policy: NetworkPolicy) -> None:
        """Touches the Service that it was made for, and that of the policy whose child's name it bears."""
        if policy.claims:
            self.on_touched(_home(policy))
        if (parent := self._parent_of(policy)) is not None:
            self._touch(parent.service)

    def _touch_by_network_policy(self, policy: NetworkPolicy) -> None:
        """As a child, and as a rule: every Service whose pods it selects, unless it admits nobody."""
        self._touch_as_child(policy)
        known = self._known(policy.namespace)
        if policy.spec.get("ingress"):
            selector = policy.spec.get("podSelector") or {}
            for name in known.pods.matching(selector.get("matchLabels") or {}):
                pod = self.pods.get(policy.namespace, name)
                if pod is not None and selects(selector, pod.labels):
                    self._touch_services_of(policy.namespace, pod.labels)
            for name in known.selectors.matching(selector.get("matchLabels") or {}):
                self._touch(ServiceKey(policy.namespace, name))

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        if old is not None:
            _discard(self._slices_of, old.service, old.name)
        if new is not None:
            _add(self._slices_of, new.service, new.name)
        for piece in (old, new):
            if piece is not None:
                self._touch(piece.service)

    def _node_changed(self, _old: Node | None, _new: Node | None) -> None:
        self._nodes = None
        for key in self._claimants:
            self.on_touched(key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None:
                self._namespaces[pod.namespace].pods.drop(pod.name)
        if new is not None:
            self._namespaces[new.namespace].pods.put(new.name, new.labels)
        for pod in (old, new):
            if pod is not None:
                self._touch_services_of(pod.namespace, pod.labels)
                self._forget_empty(pod.namespace)

    def _touch_services_of(self, namespace: str, labels: Labels) -> None:
        for service in self._services_of(namespace, labels):
            self._touch(service.key)


def _add(index: dict[K, tuple[V, ...]], key: K, value: V) -> None:
    """Files a value that is not filed there yet."""
    index[key] = (*index.get(key, ()), value)


def _discard(index: dict[K, tuple[V, ...]], key: K, value: V) -> None:
    """Takes a value out, and the key with its last value."""
    if left := tuple(other for other in index.get(key, ()) if other != value):
        index[key] = left
    else:
        index.pop(key, None)


def _standing(policy: Policy | None) -> tuple[ServiceKey, bool, TrafficPolicy] | None:
    """What other Services on the same pods need to know of a policy."""
    if policy is None:
        return None
    return (policy.service, policy.enforcing, policy.traffic_policy)


def _home(policy: NetworkPolicy) -> ServiceKey:
    """The Service that a child was made for; where a stranger stripped the label, a key that names none."""
    return ServiceKey(policy.namespace, policy.labels.get(SERVICE_LABEL, ""))
