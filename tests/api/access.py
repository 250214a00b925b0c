"""One namespace with a Service and what guards it, as tests see it: builders with the usual values, and readers of the
state of the world.

Not its business: what that state should be, which every test says for itself.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from testbed import objects
from testbed.cluster import Cluster, path
from testbed.control_plane import ControlPlane
from testbed.operator_process import USER, OperatorProcess
from testbed.waiting import wait_for

T = TypeVar("T")
Json = dict[str, Any]

WEB = "web"
LABELS = {"app": WEB}
HTTP = {"name": "http", "port": 80, "targetPort": 8080}
ALLOWED = ("10.2.3.4/32", "203.0.113.0/24")
MANAGER = "nodeport-access-operator"
LABEL = "nodeport-access.io/policy"
WRITING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
SECONDS = 30.0  # for what takes milliseconds, or a second; a machine may be busy with other things


def until(predicate: Callable[[], T], what: str, *, seconds: float = SECONDS) -> T:
    """Wait for a state of the world; asserts in the predicate mean "not yet"."""
    return wait_for(predicate, seconds=seconds, what=what)


def next_second() -> None:
    """creationTimestamps have whole seconds, and within one the name decides."""
    time.sleep(1.05 - datetime.datetime.now(datetime.UTC).microsecond / 1e6)


@dataclass(frozen=True, slots=True)
class Site:
    """One namespace. Names default to `web`: the Service, the policy on it, and the pods' label."""

    cluster: Cluster
    namespace: str

    # --- doing ------------------------------------------------------------------------------------------------------

    def create_service(self, name: str = WEB, *, selector: Mapping[str, str] | None = LABELS, **spec: Any) -> Json:
        """A NodePort Service on port 80 ("http"), which arrives at 8080."""
        return self.cluster.create(
            objects.service(namespace=self.namespace, name=name, selector=selector, **{"ports": [HTTP], **spec})
        )

    def create_pod(
        self, name: str = "web-0", *, node: str = "node2", ips: Sequence[str] = ("10.233.96.32",), **more: Any
    ) -> None:
        self.cluster.create(
            objects.pod(namespace=self.namespace, name=name, node=node, ips=ips, **{"labels": LABELS, **more})
        )

    def create_policy(
        self, name: str = WEB, *, service: str = WEB, allowed: Iterable[str | Json] = ALLOWED, **spec: Any
    ) -> Json:
        return self.cluster.create(
            objects.policy(namespace=self.namespace, name=name, service=service, allowedCIDRs=entries(allowed), **spec)
        )

    def create_network_policy(self, name: str, **spec: Any) -> Json:
        return self.cluster.create(objects.network_policy(namespace=self.namespace, name=name, spec=spec))

    def edit(self, kind: str, name: str = WEB, *, manager: str = "kubectl-edit", **change: Any) -> Json:
        """A JSON merge patch under a field manager's name."""
        return self.cluster.patch(kind, name, change, namespace=self.namespace, manager=manager)

    def edit_policy(self, name: str = WEB, **spec: Any) -> Json:
        return self.edit("NodePortAccessPolicy", name, spec=spec)

    def edit_service(self, name: str = WEB, *, manager: str = "kubectl-edit", **spec: Any) -> Json:
        return self.edit("Service", name, manager=manager, spec=spec)

    def delete(self, kind: str, name: str = WEB, **options: object) -> None:
        self.cluster.delete(kind, name, namespace=self.namespace, options=options)

    def kubectl(self, *words: str, stdin: Mapping[str, Any] | None = None) -> str:
        text = None if stdin is None else json.dumps(stdin)
        return self.cluster.control_plane.kubectl("-n", self.namespace, *words, input=text).stdout

    # --- seeing -----------------------------------------------------------------------------------------------------

    def service(self, name: str = WEB) -> Json:
        return self.cluster.get("Service", name, namespace=self.namespace)

    def policy(self, name: str = WEB) -> Json:
        return self.cluster.get("NodePortAccessPolicy", name, namespace=self.namespace)

    def status(self, name: str = WEB) -> Json:
        """The status of a policy; an AssertionError while the operator has not seen its latest spec."""
        policy = self.policy(name)
        status: Json = policy.get("status", {})
        assert status.get("observedGeneration") == policy["metadata"]["generation"], f"status is {status}"
        return status

    def conditions(self, name: str = WEB) -> dict[str, str]:
        """Status and reason of every condition of a policy, as "True Guarded"."""
        return {one["type"]: f"{one['status']} {one['reason']}" for one in self.status(name).get("conditions", ())}

    def network_policies(self) -> dict[str, Json]:
        """Every NetworkPolicy of the namespace, by name."""
        return {one["metadata"]["name"]: one for one in self.cluster.list("NetworkPolicy", namespace=self.namespace)}

    def allowlist(self, name: str = WEB) -> dict[str, list[str]]:
        """What the allowlist of a policy admits, see `admissions`; an AssertionError while there is none."""
        found = self.cluster.find("NetworkPolicy", f"{name}-allow", namespace=self.namespace)
        assert found is not None, f"{name}-allow is absent"
        return admissions(found)

    def guard_of(self, service: str = WEB) -> tuple[str | None, str | None]:
        """externalTrafficPolicy of a Service, and our label on it."""
        found = self.service(service)
        return found["spec"].get("externalTrafficPolicy"), found["metadata"].get("labels", {}).get(LABEL)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def await_condition(self, type: str, expected: str, name: str = WEB) -> str:
        """Wait until a condition has this status and reason ("False ServiceNotFound"); its message."""

        def message() -> str:
            found = {one["type"]: one for one in self.status(name).get("conditions", ())}
            assert type in found, f"conditions are {found}"
            assert f"{found[type]['status']} {found[type]['reason']}" == expected, f"it is {found[type]}"
            return str(found[type]["message"])

        return until(message, f"{type} {expected} of policy {name}")

    def await_ready(self, name: str = WEB) -> None:
        self.await_condition("Ready", "True Guarded", name)

    def await_allowlist(self, expected: dict[str, list[str]], name: str = WEB) -> None:
        """Wait until the allowlist of a policy admits exactly this."""

        def as_expected() -> bool:
            assert self.allowlist(name) == expected
            return True

        until(as_expected, f"the allowlist of policy {name}")

    def await_network_policies(self, *names: str) -> None:
        """Wait until the namespace has exactly these NetworkPolicies."""

        def as_expected() -> bool:
            assert sorted(self.network_policies()) == sorted(names)
            return True

        until(as_expected, f"NetworkPolicies {names}")

    def await_guard(self, traffic_policy: str | None, label: str | None, *, service: str = WEB) -> None:
        """Wait until a Service has this externalTrafficPolicy and this value of our label."""

        def as_expected() -> bool:
            assert self.guard_of(service) == (traffic_policy, label)
            return True

        until(as_expected, f"{traffic_policy} and {label} on Service {service}")

    # --- what was in between ----------------------------------------------------------------------------------------

    def moment(self, kind: str) -> Moment:
        """The objects of a kind as they are now, to look back to with `history`."""
        _, answer = self.cluster.control_plane.request("GET", path(kind=kind, namespace=self.namespace))
        objects_now = {one["metadata"]["name"]: one for one in answer["items"]}
        return Moment(kind=kind, revision=answer["metadata"]["resourceVersion"], objects=objects_now)

    def requests(self, *, since: int) -> list[Json]:
        """What the operator asked for since a mark in the audit log that changes something here, as events of that log
        in the order of arrival; without the Events that it posts beside its passes."""
        events = [
            event
            for event in self.cluster.control_plane.audit_events(since=since, user=USER)
            if event["verb"] in WRITING
            and event["objectRef"].get("namespace") == self.namespace
            and event["objectRef"]["resource"] != "events"
        ]
        return sorted(events, key=lambda event: str(event["requestReceivedTimestamp"]))

    def writes(self, *, since: int) -> list[str]:
        """The same requests, each as "patch networkpolicies web-allow" or "patch nodeportaccesspolicies/status web"."""
        return [_named(event["verb"], event["objectRef"]) for event in self.requests(since=since)]

    def sent_allowlists(self, *, since: int) -> dict[str, set[str]]:
        """For each NetworkPolicy that the operator has written since a mark in the audit log: every CIDR that any of
        these writes let in. The log outlives the API server, which looks back no further than its own start."""
        found: dict[str, set[str]] = {}
        for event in self.requests(since=since):
            if event["objectRef"]["resource"] == "networkpolicies":
                found.setdefault(event["objectRef"]["name"], set()).update(
                    peer["ipBlock"]["cidr"]
                    for rule in (event.get("requestObject") or {}).get("spec", {}).get("ingress") or ()
                    for peer in rule["from"]
                    if "ipBlock" in peer
                )
        return found

    def history(self, *moments: Moment) -> list[list[dict[str, Json]]]:
        """For each moment: every state that the objects of its kind went through since, by name (takes a second)."""
        return [_states(moment, events) for moment, events in zip(moments, self.events(*moments), strict=True)]

    def events(self, *moments: Moment) -> list[list[Json]]:
        """For each moment: every watch event of its kind since, in order (takes a second)."""
        with ThreadPoolExecutor() as threads:
            return list(threads.map(self._events, moments))

    def _events(self, since: Moment) -> list[Json]:
        query = f"?watch=true&resourceVersion={since.revision}&timeoutSeconds=1"
        lines = self.kubectl("get", "--raw", path(kind=since.kind, namespace=self.namespace) + query).splitlines()
        events = [json.loads(line) for line in lines]
        assert {event["type"] for event in events} <= {"ADDED", "MODIFIED", "DELETED"}, events
        return events


def a_site(plane: ControlPlane, namespace: str) -> Site:
    """A namespace of this name on a control plane that is not the session's; nobody removes it."""
    cluster = Cluster(plane)
    cluster.create_namespace(objects.namespace(name=namespace))
    return Site(cluster, namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The objects of one kind at one resourceVersion."""

    kind: str
    revision: str
    objects: dict[str, Json]


def _states(moment: Moment, events: Iterable[Json]) -> list[dict[str, Json]]:
    states = [dict(moment.objects)]
    for event in events:
        states.append(after(states[-1], event))
    return states


def after(state: Mapping[str, Json], event: Json) -> dict[str, Json]:
    """Objects of one kind by name, after a watch event."""
    state, found = dict(state), event["object"]
    if event["type"] == "DELETED":
        del state[found["metadata"]["name"]]
    else:
        state[found["metadata"]["name"]] = found
    return state


def _named(verb: str, reference: Json) -> str:
    resource = "/".join(part for part in (reference["resource"], reference.get("subresource")) if part)
    return f"{verb} {resource} {reference['name']}"


def entries(allowed: Iterable[str | Json]) -> list[Json]:
    """Entries of allowedCIDRs, where an address may stand for itself."""
    return [{"cidr": one} if isinstance(one, str) else one for one in allowed]


def admissions(network_policy: Json) -> dict[str, list[str]]:
    """Who gets in by the rules of a NetworkPolicy, by ports ("TCP/8080 TCP/https"): CIDRs, and peers as JSON."""
    found = {}
    for rule in network_policy["spec"].get("ingress", ()):
        ports = " ".join(f"{port['protocol']}/{port['port']}" for port in rule["ports"])
        assert ports not in found, f"two rules for {ports}"
        found[ports] = [
            peer["ipBlock"]["cidr"] if peer.get("ipBlock", {}).keys() == {"cidr"} else json.dumps(peer, sort_keys=True)
            for peer in rule["from"]
        ]
    return found


def isolated(labels: Mapping[str, str], network_policies: Iterable[Json]) -> bool:
    """Whether any NetworkPolicy isolates pods with these labels. It knows the selectors that the operator writes."""
    return any(
        "Ingress" in one["spec"]["policyTypes"]
        and one["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
        for one in network_policies
    )


def await_told(site: Site, name: str, **expected: str) -> None:
    """Wait until `lastDrift` of a policy says this, and with a time."""

    def told() -> bool:
        drift = dict(site.status(name).get("lastDrift", {}))
        assert drift.pop("time", "").endswith("Z"), "nothing is told"
        assert drift == {"writer": "", **expected}
        return True

    until(told, f"{expected} in lastDrift of {name}")


def drifts(operator: OperatorProcess, kind: str, field: str, effect: str) -> int:
    """How many such drifts /metrics counts."""
    name = f'nodeport_access_drift_total{{effect="{effect}",field="{field}",kind="{kind}"}} '
    return next((int(float(line[len(name) :])) for line in operator.metrics().splitlines() if line.startswith(name)), 0)
