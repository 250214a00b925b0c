"""What may happen, and how often: the rules from which Hypothesis makes histories.

A history goes on in several namespaces side by side, under one operator: they race with each other, and share what
takes its time. Nothing is waited for between two steps, so that they race with the operator too; now and then all is
let come to rest, from where on access can be judged sharply.

Not its business: how it is done (`stage`, `world`), and what must be true (`guarding`, `expected`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar, cast

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.api.access import Json
from tests.api.histories.stage import SPOILS, Stage
from tests.api.histories.troubles import WITH_WATCHES, WITH_WRITES
from tests.api.histories.vocabulary import (
    ENTRIES,
    FOREIGN_CIDRS,
    FRONT,
    NODES,
    PEERS,
    POD_LABELS,
    PODS,
    POLICIES,
    PORTS,
    SELECTORS,
    SERVICES,
    TYPES,
    Labels,
)
from tests.api.histories.world import World

NAMESPACES = 6
STRETCH = 12
"""The fewest steps between two that take a second or more; all others take some milliseconds."""
TAKEN = 4
"""How often the same thing is taken from the operator in a history, so that no repair waits for more than 8 s."""

places = st.integers(0, NAMESPACES - 1)
services = st.sampled_from(SERVICES)
policies = st.sampled_from(POLICIES)
children = st.builds("{}-{}".format, policies, st.sampled_from(["allow", "deny-all"]))
pods = st.sampled_from(PODS)
nodes = st.sampled_from(sorted(NODES))
labels = st.sampled_from(POD_LABELS)
selectors = st.sampled_from(SELECTORS)
managers = st.sampled_from(["kubectl-edit", "gitops"])


@st.composite
def specs(draw: st.DrawFn) -> Json:
    """A policy without its Service, mostly one that enforces. ``seconds`` stands for an expiry so far ahead."""
    chosen = draw(st.lists(st.sampled_from(ENTRIES), max_size=3, unique_by=lambda one: one["cidr"]))
    entries = [dict(one, seconds=draw(st.sampled_from([None, None, None, 0.5, 1.5]))) for one in chosen]
    return {
        "allowedCIDRs": entries,
        "allowedPeers": draw(st.lists(st.sampled_from(PEERS), max_size=1)),
        "isolation": draw(st.sampled_from(["Service", "Service", "Namespace"])),
        "trafficPolicy": draw(st.sampled_from(["Local", "Local", "Local", "Unmanaged"])),
        "mode": draw(st.sampled_from(["Enforce", "Enforce", "Enforce", "Audit"])),
    }


def due(spec: Json) -> Json:
    """The same with the moment at which each entry ends."""
    entries = []
    for entry in spec["allowedCIDRs"]:
        seconds = entry["seconds"]
        left = {key: value for key, value in entry.items() if key != "seconds"}
        if seconds is not None:
            end = datetime.now(UTC) + timedelta(seconds=seconds)
            left["expiresAt"] = end.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entries.append(left)
    return {**spec, "allowedCIDRs": entries}


@st.composite
def foreign_rules(draw: st.DrawFn) -> Json:
    """A stranger's NetworkPolicy: for some pods or all, it opens to everyone or to some, or admits nobody."""
    selector: Any = draw(
        st.sampled_from(
            [
                {},
                {"matchLabels": {"app": "red"}},
                {"matchLabels": {"app": "blue"}},
                {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["red"]}]},
            ]
        )
    )
    sources: Any = draw(
        st.sampled_from([None, [{}], *([{"from": [{"ipBlock": {"cidr": cidr}}]}] for cidr in FOREIGN_CIDRS)])
    )
    ports: Any = draw(st.sampled_from([None, [{"port": 8080, "protocol": "TCP"}]]))
    rules = None if sources is None else [{**one, **({"ports": ports} if ports else {})} for one in sources]
    return {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": rules}


Step = TypeVar("Step", bound=Callable[..., None])


def happening(**arguments: Any) -> Callable[[Step], Any]:
    """A rule. The world is told of its failure: Hypothesis would replay it, find another course of events, and report
    that instead."""

    def decorate(step: Step) -> Any:
        @functools.wraps(step)
        def telling(self: Histories, **values: Any) -> None:
            self.steps += 1
            with self.world.remembering():
                step(self, **values)

        return cast(Any, rule)(**arguments)(telling)

    return decorate


class Histories(RuleBasedStateMachine):
    """One history. Hypothesis makes them by the class, so the world in which they happen belongs to the class."""

    world: ClassVar[World]
    long: ClassVar[bool]

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.calm = False
        """Whether nothing fails: a new operator, or a new list, would make up for what was forgotten."""
        self.times: dict[str, int] = {}
        self.taken: dict[tuple[int, str], int] = {}
        self.stages: Sequence[Stage] = ()

    @initialize(
        spec=specs(),
        type=st.sampled_from(TYPES[:2]),
        labels=labels,
        calm=st.booleans(),
        crowded=st.booleans(),
        number=st.integers(0, 99),
    )
    def begins_guarded(self, spec: Json, type: str, labels: Labels, calm: bool, crowded: bool, number: int) -> None:
        """Every namespace begins with one policy in force, so that there is something to lose. Where it is crowded,
        another Service and a stranger's NetworkPolicy concern some of the same pods, by a label that may come and go.
        """
        # Hypothesis begins with the simplest choice everywhere, which is the same step again and again.
        assume(number > 0)
        self.stages = self.world.begin(namespaces=NAMESPACES)
        self.calm = calm
        with self.world.remembering():
            self._begin_guarded(spec, type, labels, crowded=crowded)

    def _begin_guarded(self, spec: Json, type: str, labels: Labels, *, crowded: bool) -> None:
        for stage in self.stages:
            if crowded:
                stage.service(SERVICES[1], type=type, selector=FRONT, ports=PORTS[0], families=("IPv4",))
                stage.network_policy("guest", podSelector={"matchLabels": dict(FRONT)}, ingress=[{}])
                stage.pod(PODS[1], labels={**labels, **FRONT}, ready=True, node="node2")
            stage.service(SERVICES[0], type=type, selector={"app": labels["app"]}, ports=PORTS[0], families=("IPv4",))
            stage.pod(PODS[0], labels=labels, ready=True, node="node1")
            stage.policy(POLICIES[1], service=SERVICES[0], **due(spec))
        self.world.settle()

    def teardown(self) -> None:
        if self.stages and self.world.failure is None:
            with self.world.remembering():
                self.world.end()

    # --- users --------------------------------------------------------------------------------------------------------

    @happening(place=places, name=policies, service=services, spec=specs())
    def policy(self, place: int, name: str, service: str, spec: Json) -> None:
        self.stages[place].policy(name, service=service, **due(spec))

    @happening(place=places, name=policies, field=st.sampled_from(["allowedCIDRs", "isolation", "mode"]), spec=specs())
    def policy_edit(self, place: int, name: str, field: str, spec: Json) -> None:
        self.stages[place].policy(name, service=SERVICES[0], **{field: due(spec)[field]})

    @happening(place=places, name=policies, how=st.sampled_from(["Background", "Foreground", "Orphan", "Orphan"]))
    def policy_deletion(self, place: int, name: str, how: str) -> None:
        self.stages[place].delete_policy(name, how=how)

    @happening(place=places, name=policies, service=services, spec=specs())
    def policy_anew(self, place: int, name: str, service: str, spec: Json) -> None:
        self.stages[place].recreate_policy(name, service=service, **due(spec))

    @happening(place=places, name=policies, to=policies, spec=specs())
    def policy_renamed(self, place: int, name: str, to: str, spec: Json) -> None:
        self.stages[place].rename_policy(name, to=to, service=SERVICES[0], **due(spec))

    @happening(
        place=places,
        name=services,
        type=st.sampled_from(["NodePort", "NodePort", *TYPES]),
        selector=selectors,
        ports=st.sampled_from(PORTS),
        families=st.sampled_from([("IPv4",), ("IPv4",), ("IPv4", "IPv6")]),
    )
    def service(
        self, place: int, name: str, type: str, selector: Labels | None, ports: tuple[Json, ...], families: Any
    ) -> None:
        self.stages[place].service(name, type=type, selector=selector, ports=ports, families=families)

    @happening(place=places, name=services, selector=selectors)
    def service_selector(self, place: int, name: str, selector: Labels | None) -> None:
        self.stages[place].select(name, selector=selector)

    @happening(place=places, name=services)
    def service_deletion(self, place: int, name: str) -> None:
        self.stages[place].delete_service(name)

    @happening(place=places, name=services, type=st.sampled_from(TYPES), selector=selectors)
    def service_anew(self, place: int, name: str, type: str, selector: Labels | None) -> None:
        self.stages[place].delete_service(name)
        self.stages[place].service(name, type=type, selector=selector, ports=PORTS[1], families=("IPv4",))

    @happening(place=places, name=pods, labels=labels, ready=st.booleans(), node=nodes, host=st.booleans())
    def pod(self, place: int, name: str, labels: Labels, ready: bool, node: str, host: bool) -> None:
        # One of its three pods at the most: where a host network pod is, little else counts.
        self.stages[place].pod(name, labels=labels, ready=ready, node=node, host_network=host and name == PODS[-1])

    @happening(place=places, name=pods, labels=labels)
    def pod_labels(self, place: int, name: str, labels: Labels) -> None:
        self.stages[place].label_pod(name, labels=labels)

    @happening(place=places, name=pods, front=st.booleans())
    def pod_comes_to_the_front(self, place: int, name: str, front: bool) -> None:
        self.stages[place].label_pod(name, labels={"app": "red", **(FRONT if front else {})})

    @happening(place=places, name=pods, labels=labels, node=nodes)
    def pod_move(self, place: int, name: str, labels: Labels, node: str) -> None:
        self.stages[place].move_pod(name, labels=labels, node=node)

    @happening(place=places, name=pods, at_once=st.booleans())
    def pod_end(self, place: int, name: str, at_once: bool) -> None:
        self.stages[place].end_pod(name, at_once=at_once)

    # --- strangers ----------------------------------------------------------------------------------------------------

    @happening(
        place=places,
        name=services,
        value=st.sampled_from(["Cluster", "Cluster", "Local"]),
        how=st.sampled_from(["patch", "apply", "replace"]),
        manager=managers,
    )
    def traffic_policy(self, place: int, name: str, value: str, how: str, manager: str) -> None:
        if self._again_and_again(place, name):
            self.stages[place].traffic_policy(name, value, how=how, manager=manager)

    @happening(place=places, name=services)
    def service_stripped(self, place: int, name: str) -> None:
        if self._again_and_again(place, name):
            self.stages[place].strip_service(name)

    def _again_and_again(self, place: int, name: str) -> bool:
        """Whether it may be taken once more: each repair waits twice as long as the one before."""
        taken = self.taken[place, name] = self.taken.get((place, name), 0) + 1
        return taken <= TAKEN

    @happening(place=places, child=children, how=st.sampled_from(sorted(SPOILS)))
    def child_spoilt(self, place: int, child: str, how: str) -> None:
        if self._again_and_again(place, child):
            self.stages[place].spoil(child, how=how)

    @happening(place=places, child=children)
    def child_deleted_and_held(self, place: int, child: str) -> None:
        if self._again_and_again(place, child):
            self.stages[place].delete_held(child)

    @happening(place=places, name=st.sampled_from(["guest", "other"]), spec=foreign_rules())
    def network_policy(self, place: int, name: str, spec: Json) -> None:
        self.stages[place].network_policy(name, **spec)

    @happening(place=places, child=children, spec=foreign_rules())
    def name_taken(self, place: int, child: str, spec: Json) -> None:
        self.stages[place].delete_network_policy(child)
        self.stages[place].network_policy(child, **spec)

    @happening(place=places, name=st.one_of(st.sampled_from(["guest", "other"]), children))
    def network_policy_deletion(self, place: int, name: str) -> None:
        self.stages[place].delete_network_policy(name)

    # --- the operator and the controllers -----------------------------------------------------------------------------

    @happening(kill=st.booleans(), start=st.booleans())
    def operator_ends(self, kill: bool, start: bool) -> None:
        if self._may_fail("the operator"):
            self.world.machinery.end_operator(kill=kill)
            if start:
                self.world.machinery.start_operator()

    @happening()
    def operator_starts(self) -> None:
        self.world.machinery.start_operator()

    @happening(pause=st.booleans())
    def operator_pauses(self, pause: bool) -> None:
        if pause:
            self.world.machinery.pause_operator()
        else:
            self.world.machinery.resume_operator()

    @happening(name=st.sampled_from(sorted(WITH_WATCHES)) | st.sampled_from(sorted(WITH_WRITES)))
    def trouble(self, name: str) -> None:
        if self._may_fail(name):
            self.world.machinery.trouble(name)

    @happening(away=st.booleans())
    def network(self, away: bool) -> None:
        if not away:
            self.world.machinery.find_network()
        elif self._may_fail("the network"):
            self.world.machinery.lose_network()

    @happening(stop=st.booleans())
    def controllers(self, stop: bool) -> None:
        if not stop:
            self.world.machinery.start_controllers()
        elif self._may_fail("the controllers"):
            self.world.machinery.stop_controllers()

    @happening(kill=st.booleans())
    def api_server_restarts(self, kill: bool) -> None:
        if self.long and "the API server" not in self.times and self._may_fail("the API server"):
            self.world.restart_api_server(kill=kill)

    @happening()
    def settles(self) -> None:
        if self._is_time_for("quiet"):
            self.world.settle()

    def _may_fail(self, what: str) -> bool:
        return not self.calm and self._is_time_for(what)

    def _is_time_for(self, what: str) -> bool:
        """Whether what takes its time was long enough ago."""
        long_ago = self.steps - self.times.get(what, 0) >= STRETCH
        if long_ago:
            self.times[what] = self.steps
        return long_ago


def histories_in(world: World, *, long: bool) -> type[Histories]:
    """Histories that happen in this world. In ``long`` ones the API server is restarted, too, which takes some 5 s."""

    class Here(Histories):
        pass

    Here.world, Here.long = world, long
    return Here
