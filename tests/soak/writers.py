"""Who edits at the same time, each in a thread and with a chance of his own: owners of policies, a GitOps tool, a
meddler, those who run Services and pods, and visitors who come under ever new names and leave again.

The chance follows from a seed, so that the same things are asked for in the same order by each of them; when, and what
the others have made of it meanwhile, does not. Not its business: how it is done (`tests.api.histories.stage`).
"""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.api.access import Json
from tests.api.histories.stage import SPOILS, Stage
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
)
from tests.soak.acting import Act, Rows, Writer

VISITORS = 4
"""At most, at the same time."""
WAYS_TO_GO = ("Background", "Background", "Foreground", "Orphan")


class _Acts(ABC):
    """What one of them does, by a chance of his own."""

    def __init__(self, stages: Sequence[Stage], *, random: Random, rows: Rows) -> None:
        self._stages = stages
        self._random = random
        self._rows = rows

    @abstractmethod
    def acts(self) -> dict[Act, float]:
        """All of it, with weights."""

    @property
    def _stage(self) -> Stage:
        return self._random.choice(self._stages)

    def _one(self, *among: Any) -> Any:
        return self._random.choice(among)


def a_spec(random: Random) -> Json:
    """Of a policy, without its Service; mostly one that enforces, with an entry that ends soon now and then."""
    entries = [_ending(random, entry) for entry in random.sample(ENTRIES, random.randint(0, 3))]
    return {
        "allowedCIDRs": entries,
        "allowedPeers": random.sample(PEERS, random.randint(0, 1)),
        "isolation": random.choice(["Service", "Service", "Service", "Namespace"]),
        "trafficPolicy": random.choice(["Local", "Local", "Local", "Unmanaged"]),
        "mode": random.choice(["Enforce", "Enforce", "Enforce", "Enforce", "Audit"]),
    }


def _ending(random: Random, entry: Json) -> Json:
    if random.random() > 0.25:
        return entry
    end = datetime.now(UTC) + timedelta(seconds=random.choice([0.5, 2, 8]))
    return {**entry, "expiresAt": end.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


class Owners(_Acts):
    """Those to whom the policies belong."""

    def acts(self) -> dict[Act, float]:
        return {self.entry: 8, self.spec: 2, self.mode: 1, self.create: 3, self.delete: 1, self.recreate: 0.5}

    def entry(self) -> None:
        self._stage.entry(
            self._one(*POLICIES), _ending(self._random, self._one(*ENTRIES)), there=self._one(True, True, False)
        )

    def spec(self) -> None:
        field = self._one("allowedCIDRs", "allowedPeers", "isolation", "trafficPolicy")
        self._stage.policy(self._one(*POLICIES), service=self._one(*SERVICES), **{field: a_spec(self._random)[field]})

    def mode(self) -> None:
        self._stage.turn(self._one(*POLICIES), mode=self._one("Enforce", "Enforce", "Audit"))

    def create(self) -> None:
        """Or turn the one that is there round."""
        self._stage.policy(self._one(*POLICIES), service=self._one(*SERVICES), **a_spec(self._random))

    def delete(self) -> None:
        self._stage.delete_policy(self._one(*POLICIES), how=self._one(*WAYS_TO_GO))

    def recreate(self) -> None:
        self._stage.recreate_policy(self._one(*POLICIES), service=self._one(*SERVICES), **a_spec(self._random))


class GitOps(_Acts):
    """A tool that applies Services again and again, mostly as they are, and sometimes as they were before."""

    def acts(self) -> dict[Act, float]:
        return {self.apply: 1}

    def apply(self) -> None:
        stage, name = self._stage, self._one(*SERVICES)
        value = self._one("Local", "Local", "Cluster")
        if value == "Local" or self._rows.may_take(stage.namespace, name):
            stage.traffic_policy(name, value, how="apply", manager="gitops")


class Meddler(_Acts):
    """Whoever has more rights than he should."""

    def acts(self) -> dict[Act, float]:
        return {
            self.flip: 4,
            self.strip: 1,
            self.spoil: 6,
            self.delete_held: 1,
            self.network_policy: 2,
            self.take_name: 0.5,
            self.delete_network_policy: 2,
        }

    def flip(self) -> None:
        stage, name = self._stage, self._one(*SERVICES)
        how = self._one("patch", "replace")
        if self._rows.may_take(stage.namespace, name):
            stage.traffic_policy(name, "Cluster", how=how, manager="kubectl-edit")

    def strip(self) -> None:
        stage, name = self._stage, self._one(*SERVICES)
        if self._rows.may_take(stage.namespace, name):
            stage.strip_service(name)

    def spoil(self) -> None:
        stage, child, how = self._stage, self._child(), self._one(*SPOILS)
        if self._rows.may_take(stage.namespace, child):
            stage.spoil(child, how=how)

    def delete_held(self) -> None:
        stage, child = self._stage, self._child()
        if self._rows.may_take(stage.namespace, child):
            stage.delete_held(child)

    def network_policy(self) -> None:
        self._stage.network_policy(self._one("guest", "other"), **self._rules())

    def take_name(self) -> None:
        """For a while."""
        stage, child = self._stage, self._child()
        stage.delete_network_policy(child)
        stage.network_policy(child, **self._rules())

    def delete_network_policy(self) -> None:
        """His own, or what has taken the name of a child, or that child."""
        stage, name = self._stage, self._one("guest", "other", self._child())
        if self._rows.may_take(stage.namespace, name):
            stage.delete_network_policy(name)

    def _child(self) -> str:
        return f"{self._one(*POLICIES)}-{self._one('allow', 'deny-all')}"

    def _rules(self) -> Json:
        selector = self._one(
            {}, {"matchLabels": {"app": "red"}}, {"matchLabels": {"app": "blue"}}, {"matchLabels": FRONT}
        )
        cidrs = [{"from": [{"ipBlock": {"cidr": cidr}}]} for cidr in FOREIGN_CIDRS]
        return {
            "podSelector": selector,
            "policyTypes": ["Ingress"],
            "ingress": self._one(None, [{}], *([one] for one in cidrs)),
        }


class Runners(_Acts):
    """Those who run Services and pods, of which the EndpointSlices follow."""

    def acts(self) -> dict[Act, float]:
        return {
            self.service: 2,
            self.select: 1,
            self.delete_service: 0.5,
            self.service_anew: 0.5,
            self.pod: 3,
            self.label_pod: 2,
            self.move_pod: 3,
            self.end_pod: 1,
        }

    def service(self) -> None:
        self._make_service(self._stage, self._one(*SERVICES))

    def select(self) -> None:
        self._stage.select(self._one(*SERVICES), selector=self._one(*SELECTORS))

    def delete_service(self) -> None:
        self._stage.delete_service(self._one(*SERVICES))

    def service_anew(self) -> None:
        stage, name = self._stage, self._one(*SERVICES)
        stage.delete_service(name)
        self._make_service(stage, name)

    def _make_service(self, stage: Stage, name: str) -> None:
        stage.service(
            name,
            type=self._one("NodePort", "NodePort", "NodePort", *TYPES),
            selector=self._one(*SELECTORS),
            ports=self._one(*PORTS),
            families=self._one(("IPv4",), ("IPv4",), ("IPv4", "IPv6")),
        )

    def pod(self) -> None:
        self._stage.pod(
            self._one(*PODS),
            labels=self._one(*POD_LABELS),
            ready=self._one(True, True, False),
            node=self._one(*NODES),
        )

    def label_pod(self) -> None:
        self._stage.label_pod(self._one(*PODS), labels=self._one(*POD_LABELS))

    def move_pod(self) -> None:
        self._stage.move_pod(self._one(*PODS), labels=self._one(*POD_LABELS), node=self._one(*NODES))

    def end_pod(self) -> None:
        self._stage.end_pod(self._one(*PODS), at_once=self._one(True, True, False))


class Visitors(_Acts):
    """Services with a policy under names that nobody had before and nobody gets again: whoever keeps something of each
    of them, grows."""

    def __init__(self, stages: Sequence[Stage], *, random: Random, rows: Rows) -> None:
        super().__init__(stages, random=random, rows=rows)
        self._numbers = itertools.count(1)
        self._here: deque[tuple[Stage, str]] = deque()

    def acts(self) -> dict[Act, float]:
        return {self.come_and_go: 1}

    def come_and_go(self) -> None:
        if len(self._here) == VISITORS:
            stage, name = self._here.popleft()
            stage.delete_policy(name, how="Background")
            stage.delete_service(name)
        stage, name = self._stage, f"visitor-{next(self._numbers)}"
        self._here.append((stage, name))
        stage.service(name, type="NodePort", selector={"app": name}, ports=PORTS[0], families=("IPv4",))
        stage.policy(name, service=name, **{**a_spec(self._random), "isolation": "Service"})


def writers(stages: Sequence[Stage], *, seed: int, over: threading.Event) -> list[Writer]:
    """All of them, who have not started yet."""
    rows = Rows()
    kinds: Iterable[tuple[str, type[_Acts], float]] = (
        ("owner-1", Owners, 0.4),
        ("owner-2", Owners, 0.4),
        ("gitops", GitOps, 0.4),
        ("meddler", Meddler, 0.5),
        ("runner", Runners, 0.5),
        ("visitor", Visitors, 2.0),
    )
    found = []
    for name, kind, pause in kinds:
        random = Random(f"{seed} {name}")
        acts = kind(stages, random=random, rows=rows).acts()
        found.append(Writer(name, acts, pause=pause, random=random, over=over))
    return found
