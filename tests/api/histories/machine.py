"""What may happen, and how often: the rules from which Hypothesis makes histories.

A history goes on in several namespaces side by side, under one operator: they race with each other, and share what
takes its time. Nothing is waited for between two steps, so that they race with the operator too; now and then all is
let come to rest, from where on access can be judged sharply. In some histories that is so often that next to nothing
happens in between: whoever was not told of a thing is told of nothing else either.

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
RESTS = (NAMESPACES, 2 * NAMESPACES, 6 * NAMESPACES)
"""Steps between two moments at which all comes to rest; in the shortest of these times one thing happens in each
namespace."""
TAKEN = 4
"""How often the same thing is taken from the operator in a history, so that no repair waits for more than 8 s."""

places = st.integers(0, NAMESPACES - 1)
services = st.sampled_from(SERVICES)
policies = st.sampled_from(POLICIES)
edited = st.sampled_from([POLICIES[1], *POLICIES])
"""Mostly the one that is there from the beginning."""
children = st.builds("{}-{}".format, policies, st.sampled_from(["allow", "deny-all"]))
pods = st.sampled_from(PODS)
nodes = st.sampled_from(sorted(NODES))
labels = st.sampled_from(POD_LABELS)
selectors = st.sampled_from(SELECTORS)
ways_to_go = st.sampled_from(["Background", "Foreground", "Orphan"])
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
                {"matchLabels": FRONT},
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


def _merged(*specs: Json) -> list[Json]:
    """The entries of all these policies, one for each network."""
    return list({one["cidr"]: one for spec in reversed(specs) for one in spec["allowedCIDRs"]}.values())


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
                if self.steps % self.rests == 0:
                    self.world.settle()

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
        self.rests = RESTS[-1]
        self.times: dict[str, int] = {}
        self.taken: dict[tuple[int, str], int] = {}
        self.stages: Sequence[Stage] = ()

    @initialize(
        spec=specs(),
        heir=specs(),
        type=st.sampled_from(TYPES[:2]),
        labels=labels,
        calm=st.booleans(),
        crowded=st.booleans(),
        rests=st.sampled_from(RESTS),
        number=st.integers(0, 99),
    )
    def begins_guarded(
        self, spec: Json, heir: Json, type: str, labels: Labels, calm: bool, crowded: bool, rests: int, number: int
    ) -> None:
        """Every namespace begins with one policy in force, so that there is something to lose; in half of the histories
        with others besides, so that what becomes of one concerns another."""
        # Hypothesis begins with the simplest choice everywhere, which is the same step again and again.
        assume(number > 0)
        self.stages = self.world.begin(namespaces=NAMESPACES)
        # A trouble needs time to strike: it ends when all comes to rest.
        self.calm, self.rests = calm, rests if self.long and calm else RESTS[-1]
        with self.world.remembering():
            for stage in self.stages:
                self._begin_guarded(stage, spec, type, labels)
                if crowded:
                    self._crowd(stage, {**heir, "allowedCIDRs": _merged(spec, heir), "mode": "Enforce"})
            self.world.settle()

    def _begin_guarded(self, stage: Stage, spec: Json, type: str, labels: Labels) -> None:
        stage.service(SERVICES[0], type=type, selector={"app": labels["app"]}, ports=PORTS[0], families=("IPv4",))
        stage.pod(PODS[0], labels=labels, ready=True, node="node1")
        stage.policy(POLICIES[1], service=SERVICES[0], **due(spec))

    def _crowd(self, stage: Stage, heir: Json) -> None:
        """A policy waits for the Service; and another Service and a stranger's NetworkPolicy concern its pods, by a
        label that they get and lose."""
        stage.policy(POLICIES[2], service=SERVICES[0], **due(heir))
        stage.service(SERVICES[1], type="NodePort", selector=FRONT, ports=PORTS[0], families=("IPv4",))
        stage.network_policy(
            "guest", podSelector={"matchLabels": FRONT}, policyTypes=["Ingress"], ingress=[{"ports": [{"port": 8080}]}]
        )

    def teardown(self) -> None:
        if self.stages and self.world.failure is None:
            with self.world.remembering():
                self.world.end()

    # --- users --------------------------------------------------------------------------------------------------------

    @happening(place=places, name=policies, service=services, spec=specs())
    def policy(self, place: int, name: str, service: str, spec: Json) -> None:
        self.stages[place].policy(name, service=service, **due(spec))

    @happening(place=places, name=edited, field=st.sampled_from(["allowedCIDRs", "isolation"]), spec=specs())
    def policy_edit(self, place: int, name: str, field: str, spec: Json) -> None:
        self.stages[place].policy(name, service=SERVICES[0], **{field: due(spec)[field]})

    @happening(name=edited, mode=st.sampled_from(["Enforce", "Audit"]))
    def policy_modes(self, name: str, mode: str) -> None:
        """Everywhere, as where they happen to be different policies take over."""
        for stage in self.stages:
            stage.turn(name, mode=mode)

    @happening(place=places, name=edited, entry=st.sampled_from(ENTRIES), there=st.booleans())
    def policy_entry(self, place: int, name: str, entry: Json, there: bool) -> None:
        self.stages[place].entry(name, entry, there=there)

    @happening(place=places, name=policies, how=ways_to_go)
    def policy_deletion(self, place: int, name: str, how: str) -> None:
        self.stages[place].delete_policy(name, how=how)

    @happening(place=places, name=policies, how=ways_to_go)
    def policy_deletion_unseen(self, place: int, name: str, how: str) -> None:
        """What the controllers make of it, the operator finds already done."""
        self.world.machinery.pause_operator()
        self.stages[place].delete_policy(name, how=how)

    @happening(place=places, name=policies, service=services, spec=specs())
    def policy_anew(self, place: int, name: str, service: str, spec: Json) -> None:
        self.stages[place].recreate_policy(name, service=service, **due(spec))

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

    @happening()
    def pod_fronts(self) -> None:
        """Everywhere, as in most namespaces nothing depends on it at most times."""
        for stage in self.stages:
            stage.front_pods()

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

    def _may_fail(self, what: str) -> bool:
        return not self.calm and self._is_time_for(what)

    def _is_time_for(self, what: str) -> bool:
        """Whether what takes its time was long enough ago."""
        long_ago = self.steps - self.times.get(what, 0) >= STRETCH
        if long_ago:
            self.times[what] = self.steps
        return long_ago


def histories_in(world: World, *, long: bool) -> type[Histories]:
    """Histories that happen in this world. In ``long`` ones there is time for the API server to be restarted, which
    takes some 5 s, and for all to come to rest at every turn."""

    class Here(Histories):
        pass

    Here.world, Here.long = world, long
    return Here
