"""Histories of a namespace: what people, controllers and the operator did to a Service and its policies, in any order.

Every event does what its name says, and nothing where its object is missing. With `plan` carried out by `carry_out` on
the model cluster, and `access` as the measure, properties can look at every state in between. Not their business: what
must hold there (`test_plan`, `test_reconcile`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from hypothesis import strategies as st

from nodeport_access import rules
from nodeport_access.api import KIND, POLICY_LABEL, Body
from nodeport_access.checks import Case
from nodeport_access.drift import stripped_metadata
from nodeport_access.label_selectors import selects
from nodeport_access.observed import TargetPort
from nodeport_access.plan import Verb, Write, plan
from nodeport_access.rules import EVERYONE, NOBODY, Admission
from nodeport_access.status import status_body, status_of
from tests.unit import builders
from tests.unit.builders import KEY, NAME, NAMESPACE, NOW, entry, port
from tests.unit.model_cluster import OURS, ModelCluster
from tests.unit.strategies import LABELS

POLICY_NAMES = {"elder": "2026-01-01T00:00:00Z", "shop": "2026-02-01T00:00:00Z", "twin": "2026-02-01T00:00:00Z"}
SUFFIXES = ("-allow", "-deny-all")


# --- what the operator does ---


def carry_out(cluster: ModelCluster, write: Write) -> None:
    """One write as the API server would take it."""
    name = (str(write.kind), write.namespace, write.name)
    if write.verb is Verb.STRIP or write.strips_first:
        strip(cluster, write)
    match write.verb:
        case Verb.STRIP:
            pass
        case Verb.DELETE:
            cluster.deleted(name, uid=write.uid, resource_version=write.resource_version)
        case verb:
            assert write.body is not None
            applied = cluster.applied(write.body, force=verb is not Verb.CREATE)
            assert applied.created is (verb is Verb.CREATE)


def strip(cluster: ModelCluster, write: Write) -> None:
    """Takes off what others added, as it stands now."""
    observed = cluster.store.network_policies.get(write.namespace, write.name)
    assert observed is not None
    metadata = stripped_metadata(write.body, observed)
    name = ("NetworkPolicy", write.namespace, write.name)
    cluster.stripped(name, uid=write.uid, resource_version=observed.resource_version, metadata=metadata)


def planned(cluster: ModelCluster) -> tuple[Write, ...]:
    """What is due now."""
    return plan(cluster.store.snapshot(KEY, NOW))


def settle(cluster: ModelCluster) -> None:
    """The operator does all that is due, and writes every status."""
    for write in planned(cluster):
        carry_out(cluster, write)
    for policy in cluster.store.snapshot(KEY, NOW).policies:
        if not policy.deleting:
            case = Case(snapshot=cluster.store.snapshot(KEY, NOW), policy=policy)
            cluster.reported(status_body(policy, status_of(case, drift=None)))


# --- who gets in ---


TARGETS = [
    *(TargetPort(protocol="TCP", port=number) for number in (8080, 8443, "web", 1)),
    TargetPort(protocol="UDP", port=8080),
]


def access(cluster: ModelCluster) -> dict[tuple[int, TargetPort], Admission]:
    """Who gets in, for pods with each set of labels, at each port; everyone where no NetworkPolicy selects the pod."""
    found = {}
    specs = [body["spec"] for body in cluster.bodies("NetworkPolicy")]
    for number, labels in enumerate(LABELS):
        mine = [spec for spec in specs if selects(spec["podSelector"], labels) and rules.isolates(spec)]
        for target in TARGETS:
            total = NOBODY if mine else Admission(addresses=EVERYONE)
            for spec in mine:
                total |= rules.admission(spec, target=target)
            found[number, target] = total
    return found


Access = Mapping[tuple[int, TargetPort], Admission]


def opened_beyond(pods: Collection[int], now: Access, *known: Access) -> list[tuple[Body, TargetPort]]:
    """Where somebody gets in to these pods now who gets in by none of the others."""
    found = []
    for way, admission in now.items():
        total = NOBODY
        for other in known:
            total |= other[way]
        if way[0] in pods and admission.exceeds(total):
            found.append((dict(LABELS[way[0]]), way[1]))
    return found


def pods_of(cluster: ModelCluster) -> set[int]:
    """The pods that the Service selects, each by its place in LABELS."""
    service = cluster.store.services.get(NAMESPACE, NAME)
    if service is None or not service.selector:
        return set()
    return {number for number, labels in enumerate(LABELS) if selects({"matchLabels": service.selector}, labels)}


def promised(cluster: ModelCluster, history: list[Event]) -> set[int]:
    """The pods that may never be open in between. All of them, unless somebody pointed a child of ours at pods of his
    choice: that those were shut was never meant, and they may be open for the moment of the repair."""
    strayed = any("pointed at" in event.name for event in history)
    return pods_of(cluster) if strayed else set(range(len(LABELS)))


# --- what others do ---


@dataclass(frozen=True)
class Event:
    """Something that happens; shown by its name."""

    name: str
    happen: Callable[[ModelCluster], None]

    def __repr__(self) -> str:
        return self.name


def _edit(kind: str, name: str, manager: str, change: Callable[[Body], None]) -> Callable[[ModelCluster], None]:
    def happen(cluster: ModelCluster) -> None:
        if cluster.get_body(kind, NAMESPACE, name) is not None:
            cluster.edit(kind, NAMESPACE, name, change, manager=manager)

    return happen


def _remove(kind: str, name: str) -> Callable[[ModelCluster], None]:
    def happen(cluster: ModelCluster) -> None:
        if cluster.get_body(kind, NAMESPACE, name) is not None:
            cluster.remove(kind, NAMESPACE, name)

    return happen


def _create(body: Body) -> Callable[[ModelCluster], None]:
    def happen(cluster: ModelCluster) -> None:
        if cluster.get_body(body["kind"], NAMESPACE, body["metadata"]["name"]) is None:
            # A uid of its own each time: the same name is not the same object.
            metadata = {key: value for key, value in body["metadata"].items() if key != "uid"}
            cluster.create({**body, "metadata": metadata})

    return happen


def _set(**fields: Any) -> Callable[[Body], None]:
    return lambda body: body["spec"].update(fields)


def _deleting(body: Body) -> None:
    body["metadata"]["deletionTimestamp"] = "2026-06-01T11:59:59Z"


SPECS: dict[str, dict[str, Any]] = {
    "for one": {"allowedCIDRs": [entry("10.2.3.4/32")]},
    "for others": {"allowedCIDRs": [entry("203.0.113.0/24", ports=["http"]), entry("2001:db8::/32")]},
    "for nobody": {"allowedCIDRs": []},
    "for peers": {"allowedCIDRs": [], "allowedPeers": [{"podSelector": {}}]},
    "for a namespace": {"isolation": "Namespace"},
    "for a service": {"isolation": "Service"},
    "unmanaged": {"trafficPolicy": "Unmanaged"},
    "managed": {"trafficPolicy": "Local"},
    "auditing": {"mode": "Audit"},
    "enforcing": {"mode": "Enforce"},
}
OWNER: Body = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "uid": "a-stranger"}


def replace_whole(body: Body) -> None:
    """As by `kubectl replace`, with an object of which every field is another: nothing of ours is left on it."""
    for field in ("labels", "ownerReferences"):
        body["metadata"].pop(field, None)
    body["spec"] = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}


EDITS: dict[str, Callable[[Body], None]] = {
    "opened": _set(ingress=[{}]),
    "opened to one more": _set(ingress=[{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]),
    "closed": _set(ingress=[]),
    "pointed at all": _set(podSelector={}),
    "pointed at others": _set(podSelector={"matchLabels": {"app": "other"}}),
    "made void": _set(policyTypes=["Egress"]),
    "given egress": _set(egress=[{}]),
    "replaced whole and pointed at all": replace_whole,
    "stripped of labels": lambda body: body["metadata"].pop("labels", None),
    "stripped of owners": lambda body: body["metadata"].pop("ownerReferences", None),
    "given a finalizer": lambda body: body["metadata"].update(finalizers=["example.com/hold"]),
    "given an owner": lambda body: body["metadata"].setdefault("ownerReferences", []).append(dict(OWNER)),
    "given another owner": lambda body: body["metadata"].update(ownerReferences=[dict(OWNER)]),
    "given a controller": lambda body: body["metadata"].update(ownerReferences=[OWNER | {"controller": True}]),
    "given a label": lambda body: body["metadata"].setdefault("labels", {}).update(foreign="yes"),
}
SERVICE_EDITS: dict[str, Callable[[Body], None]] = {
    **{f"made {kind}": _set(type=kind) for kind in ("NodePort", "LoadBalancer", "ClusterIP", "ExternalName")},
    **{f"selecting {labels}": _set(selector=labels) for labels in (*LABELS, None)},
    **{f"set to {value}": _set(externalTrafficPolicy=value) for value in ("Cluster", "Local")},
    "given other ports": _set(ports=[port(), port(443, name="https", target="web")]),
    "given both families": _set(ipFamilies=["IPv4", "IPv6"]),
    "stripped of our label": lambda body: body["metadata"].get("labels", {}).pop(POLICY_LABEL, None),
}


def _policy_events() -> Iterator[Event]:
    for name, created in POLICY_NAMES.items():
        yield Event(f"{name} is created", _create(builders.policy(name=name, created=created)))
        auditing = builders.policy(name=name, created=created, mode="Audit", allowed=["198.51.100.0/24"])
        yield Event(f"{name} is created to audit", _create(auditing))
        for words, fields in SPECS.items():
            yield Event(f"{name} is made {words}", _edit(KIND, name, "kubectl-edit", _set(**fields)))
        yield Event(f"{name} is being deleted", _edit(KIND, name, "kubectl-delete", _deleting))
        yield Event(f"{name} is removed", _remove(KIND, name))


def _child_events() -> Iterator[Event]:
    for name in (policy + suffix for policy, suffix in product(POLICY_NAMES, SUFFIXES)):
        yield Event(f"{name} is removed", _remove("NetworkPolicy", name))
        for words, change in EDITS.items():
            yield Event(f"{name} is {words}", _edit("NetworkPolicy", name, "kubectl-edit", change))
        stranger = builders.network_policy(name=name, ingress=[{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}])
        yield Event(f"{name} is created by a stranger", _create(stranger))
        yield Event(f"{name} loses our entry", _disown(name))


def _disown(name: str) -> Callable[[ModelCluster], None]:
    def happen(cluster: ModelCluster) -> None:
        if cluster.get_body("NetworkPolicy", NAMESPACE, name) is not None:
            cluster.forget_owner("NetworkPolicy", NAMESPACE, name, OURS)

    return happen


def _other_events() -> Iterator[Event]:
    yield Event("the service is removed", _remove("Service", NAME))
    yield Event("the service is created", _create(builders.service()))
    for words, change in SERVICE_EDITS.items():
        yield Event(f"the service is {words}", _edit("Service", NAME, "argocd", change))
    other = builders.network_policy(name="other", pod_selector={"matchLabels": {"tier": "web"}})
    yield Event("another network policy is created", _create(other))
    yield Event("garbage is collected", ModelCluster.collect_garbage)


SETTLE = Event("the operator does its work", settle)
EVENTS = [*_policy_events(), *_other_events(), *_child_events()]
"""Simple ones first, towards which a failing history shrinks."""

HISTORIES = st.lists(
    st.one_of(st.just(SETTLE), st.sampled_from(EVENTS), st.sampled_from(EVENTS)), min_size=1, max_size=10
)


def story(*names: str) -> list[Event]:
    """A history by the names of its events."""
    known = {event.name: event for event in [*EVENTS, SETTLE]}
    return [known[name] for name in names]


def played(history: list[Event]) -> ModelCluster:
    """The cluster after a history that begins with an open Service and a policy for it."""
    cluster = ModelCluster(builders.service(), builders.policy(created=POLICY_NAMES[NAME]), builders.pod())
    for event in history:
        event.happen(cluster)
    return cluster
