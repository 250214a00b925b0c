"""At no moment is access wider than the wider of before and after: the rule, as it can be asked of a history in which
everything races.

Between two quiet moments the operator may have seen each object in any of its versions, and each a little later than
another. So it may act on any combination of them, and what it may admit is what some combination asks for. What holds
in *all* of them it has to honour at every moment:

- a policy that has guarded the same pods in every version since the last quiet (*firmly*), and of which at least one
  NetworkPolicy isolates them at this moment, keeps them shut: after whatever somebody else than the harness writes or
  deletes, nobody newly gets in whom no version of a policy for these pods allows;
- a Service that every version of every policy wants Local, one of them firmly, does not stop being Local by anybody
  else's write;
- no such write touches a NetworkPolicy that is not the operator's;
- and the other way round: whom every version of every policy that may hold the Service allows, no such write cuts off,
  be it in a hand-over between them.

Where nothing ever is quiet, a moment takes its place of which it is known that the operator has seen what was then:
what was over before it, is forgotten (`Guarding.forget`).

Not its business: what is right in the end (`expected`), and how it is found out who gets in (`Admitting`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from tests.api.access import MANAGER, Json, after
from tests.api.histories import admission
from tests.api.histories.admission import (
    Access,
    beyond,
    enforcing,
    has_node_ports,
    isolates,
    selector_of,
)
from tests.api.histories.seen import KIND
from tests.api.histories.trail import KINDS
from tests.api.histories.vocabulary import POD_LABELS, Labels


class Admitting(Protocol):
    """Who gets in to pods: the module `admission`, or another opinion of the same."""

    def admitted(self, network_policies: Iterable[Json], labels: Labels, /) -> Access:
        """Who gets at pods with these labels."""

    def allowed(
        self, policy: Json, service: Json | None, /, *, expiring: bool = True
    ) -> Iterable[tuple[str, int | str]]:
        """Whom a policy allows at the pods of a Service; by an entry that ends, too, unless not ``expiring``."""


@dataclass(slots=True)
class _Versions:
    """What the policies or the Services of a namespace were, as far back as it matters; None where one was not
    there."""

    seen: dict[str, list[Json | None]] = field(default_factory=dict)
    begun: dict[str, list[float]] = field(default_factory=dict)
    """Since when each of them."""

    def add(self, name: str, version: Json | None, *, at: float) -> None:
        self.seen.setdefault(name, [None]).append(version)
        self.begun.setdefault(name, [-inf]).append(at)

    def forget(self, before: float) -> None:
        """What was over before this moment."""
        for name, begun in [*self.begun.items()]:
            over = sum(next_begun < before for next_begun in begun[1:])
            del begun[:over], self.seen[name][:over]
            if self.seen[name] == [None]:
                del self.seen[name], self.begun[name]

    def of(self, name: str) -> list[Json | None]:
        return self.seen.get(name, [None])

    def there(self, name: str) -> list[Json]:
        """Without the moments when it was not there."""
        return [one for one in self.of(name) if one is not None]

    def begin(self, now: Mapping[str, Json]) -> None:
        self.seen = {name: [version] for name, version in now.items()}
        self.begun = {name: [-inf] for name in now}


class Guarding:
    """One namespace, held to the rule."""

    def __init__(self, admitting: Admitting = admission) -> None:
        self._admitting = admitting
        self._objects: dict[str, dict[str, Json]] = {kind: {} for kind in KINDS}
        self._policies = _Versions()
        self._services = _Versions()
        self._touched: dict[str, float] = {}

    def quiet(self) -> None:
        """What was before this moment, the operator no longer acts upon."""
        self._policies.begin(self._objects["NodePortAccessPolicy"])
        self._services.begin(self._objects["Service"])
        self._touched.clear()

    def forget(self, before: float) -> None:
        """What was over before this moment (``at`` of `take`), the operator no longer acts upon."""
        self._policies.forget(before)
        self._services.forget(before)
        self._touched = {name: at for name, at in self._touched.items() if at >= before}

    def resume(self, objects: Mapping[str, Mapping[str, Json]]) -> None:
        """Goes on from this state, of which it is not known how it came about: nothing has been all the time."""
        self._objects = {kind: dict(objects[kind]) for kind in KINDS}
        for name in self._policies.seen:
            self._policies.add(name, None, at=inf)

    def take(self, event: Json, *, own: bool, at: float = 0.0) -> str | None:
        """Goes on by one event, of which it is known that it was over ``at`` this moment, on whichever clock; ``own``
        where it is the harness's doing. A sentence where the rule was broken."""
        kind, name = event["object"]["kind"], event["object"]["metadata"]["name"]
        before = self._objects[kind]
        self._objects[kind] = after(before, event)
        match kind:
            case "NodePortAccessPolicy":
                self._policies.add(name, self._objects[kind].get(name), at=at)
            case "Service":
                broken = None if own else self._no_longer_local(name, before)
                self._services.add(name, self._objects[kind].get(name), at=at)
                return broken and f"after {_told(event)}, {broken}"
            case "NetworkPolicy" if own:
                self._touched[name] = at
            case "NetworkPolicy":
                if name in before and not _ours(before[name]):
                    return f"after {_told(event)}, a stranger's NetworkPolicy is not as he left it"
                for labels in POD_LABELS:
                    if broken := self._wider(labels, before) or self._cut_off(event, labels, before):
                        return f"after {_told(event)}, {broken}"
        return None

    def keeps_shut(self, labels: Labels) -> bool:
        """Whether pods with these labels are kept shut at this moment, so that the rule can be broken."""
        return bool(self._guards(labels, self._objects["NetworkPolicy"]))

    def _guards(self, labels: Labels, network_policies: Mapping[str, Json]) -> list[str]:
        return [name for name in self._firm(labels, network_policies) if _stands(name, network_policies, labels)]

    def _wider(self, labels: Labels, before: Mapping[str, Json]) -> str | None:
        got_in = beyond(self._admitted(before, labels), self._admitted(self._objects["NetworkPolicy"], labels))
        if not got_in:
            return None
        guards = self._guards(labels, before)
        if not guards or not (more := beyond(self._asked_for(labels), got_in)):
            return None
        some = sorted(more, key=str)[:5]
        return f"{len(more)} got in to pods {dict(labels)} whom nobody allows, among them {some}; {guards} guarded them"

    def _cut_off(self, event: Json, labels: Labels, before: Mapping[str, Json]) -> str | None:
        """An allowlist that stood is the only thing that such a write could take somebody's access by."""
        name = event["object"]["metadata"]["name"]
        policy, was = name.removesuffix("-allow"), before.get(name)
        if policy == name or was is None or not _is_guard(was, labels) or self._may_be_collected(event["object"]):
            return None
        now = self._admitted(self._objects["NetworkPolicy"], labels)
        lost = beyond(now, self._admitted({name: was}, labels))
        if not lost or not (cut_off := lost & self._always_allowed(policy, labels)):
            return None
        return f"{sorted(cut_off, key=str)[:5]} were cut off from pods {dict(labels)} whom all that may hold them allow"

    def _may_be_collected(self, child: Json) -> bool:
        """Whether the garbage collector may take it, at any moment."""
        policies = self._objects["NodePortAccessPolicy"].values()
        living = {one["metadata"]["uid"] for one in policies if "deletionTimestamp" not in one["metadata"]}
        owners = child["metadata"].get("ownerReferences") or ()
        return any(one["uid"] not in living for one in owners if one["kind"] == KIND)

    def _always_allowed(self, name: str, labels: Labels) -> Access:
        """Whom each version of each policy that may hold the Service of this one admits, by each version of that; while
        one of them is there all the time, so that there is always a holder."""
        service = _service_of(self._policies.of(name))
        every = self._policies.seen.items()
        firm = [one for _, one in every if _living(one) and _service_of(one) == service and self._selects(one, labels)]
        if not firm:
            return frozenset()
        last = min(_claim_order(one) for versions in firm for one in self._naming(versions, service))
        holding = {
            other: found
            for other, versions in every
            if (
                found := [
                    one for one in self._naming(versions, service) if enforcing(one) and _claim_order(one) <= last
                ]
            )
        }
        if holding.keys() != {name} and not self._can_hand_over(holding, service):
            return frozenset()
        whom = [
            frozenset(self._admitting.allowed(policy, one, expiring=False))
            for versions in holding.values()
            for policy in versions
            for one in self._services.of(service)
            if selector_of(one)
        ]
        return frozenset.intersection(*whom) if whom else frozenset()

    def _can_hand_over(self, names: Iterable[str], service: str) -> bool:
        """Whether nobody but the operator has a say in it: what a stranger does to an allowlist, it need not have seen
        yet, and without a selector none can be made."""
        children = {f"{name}-allow" for name in names}
        standing = [one for name, one in self._objects["NetworkPolicy"].items() if name in children]
        return (
            children.isdisjoint(self._touched)
            and all(map(_ours, standing))
            and all(map(selector_of, self._services.of(service)))
            and all(
                one["spec"]["serviceRef"]["name"] == service for name in names for one in self._policies.there(name)
            )
        )

    def _firm(self, labels: Labels, network_policies: Mapping[str, Json]) -> list[str]:
        """The names of policies that guard pods with these labels in every version since the last quiet."""
        return [
            name
            for name, versions in self._policies.seen.items()
            if _living(versions)
            and (self._selects(versions, labels) or self._selects_all(name, versions, network_policies))
        ]

    def _selects(self, versions: list[Json | None], labels: Labels) -> bool:
        """Where its Service is gone or has no selector, the policy holds on to what it guarded."""
        selectors = [selector for one in self._services.of(_service_of(versions)) if (selector := selector_of(one))]
        return all(selector.items() <= labels.items() for selector in selectors)

    def _selects_all(self, name: str, versions: list[Json | None], network_policies: Mapping[str, Json]) -> bool:
        """Isolation Namespace, and no other policy for the Service, which might have to wait. The deny-all alone
        isolates the whole namespace: what a stranger does to it, the operator need not have seen yet, and while a
        stranger's object has its name, there is none."""
        deny_name = f"{name}-deny-all"
        standing = network_policies.get(deny_name)
        if deny_name in self._touched or (standing is not None and not _ours(standing)):
            return False
        service = _service_of(versions)
        alone = all(
            other is versions or not any(map(enforcing, self._naming(other, service)))
            for other in self._policies.seen.values()
        )
        return alone and all(one is not None and one["spec"].get("isolation") == "Namespace" for one in versions)

    @staticmethod
    def _naming(versions: list[Json | None], service: str) -> Iterator[Json]:
        yield from (one for one in versions if one is not None and one["spec"]["serviceRef"]["name"] == service)

    def _asked_for(self, labels: Labels) -> Access:
        """Whom any version of any policy admits by any version of a Service for these pods."""
        return frozenset(
            one
            for versions in self._policies.seen.values()
            for policy in versions
            if policy is not None and enforcing(policy)
            for service in self._services.of(policy["spec"]["serviceRef"]["name"])
            if (selector := selector_of(service)) and selector.items() <= labels.items()
            for one in self._admitting.allowed(policy, service)
        )

    def _admitted(self, network_policies: Mapping[str, Json], labels: Labels) -> Access:
        return self._admitting.admitted(network_policies.values(), labels)

    def _no_longer_local(self, name: str, before: Mapping[str, Json]) -> str | None:
        was, now = before.get(name), self._objects["Service"].get(name)
        if was is None or now is None or _local(now) or not _local(was):
            return None
        naming = [
            versions for versions in self._policies.seen.values() if any(True for _ in self._naming(versions, name))
        ]
        firm = any(_living(versions) for versions in naming)
        every = [one for versions in naming for one in self._naming(versions, name) if enforcing(one)]
        with_node_ports = all(one is not None and has_node_ports(one) for one in self._services.of(name))
        if firm and with_node_ports and all(one["spec"].get("trafficPolicy", "Local") == "Local" for one in every):
            return f"Service {name} is no longer Local, which every policy has wanted all the time"
        return None


def _living(versions: list[Json | None]) -> bool:
    """One and the same policy all the time, enforcing."""
    there = [one for one in versions if one is not None]
    uids = {one["metadata"]["uid"] for one in there}
    return len(there) == len(versions) and len(uids) == 1 and all(map(enforcing, there))


def _service_of(versions: list[Json | None]) -> str:
    return next((str(one["spec"]["serviceRef"]["name"]) for one in versions if one is not None), "")


def _stands(policy: str, network_policies: Mapping[str, Json], labels: Labels) -> bool:
    """Whether a child of the policy isolates pods with these labels."""
    children = (network_policies.get(f"{policy}{suffix}") for suffix in ("-allow", "-deny-all"))
    return any(child is not None and _is_guard(child, labels) for child in children)


def _is_guard(child: Json, labels: Labels) -> bool:
    """The operator's, and in force for pods with these labels."""
    return _ours(child) and isolates(child, labels)


def _ours(child: Json) -> bool:
    return any(entry["manager"] == MANAGER for entry in child["metadata"].get("managedFields") or ())


def _claim_order(policy: Json) -> tuple[str, str]:
    return policy["metadata"]["creationTimestamp"], policy["metadata"]["name"]


def _local(service: Json) -> bool:
    return bool(service["spec"].get("externalTrafficPolicy") == "Local")


def _told(event: Json) -> str:
    found = event["object"]
    managers = found["metadata"].get("managedFields") or [{}]
    last = max(managers, key=lambda entry: entry.get("time", "")).get("manager", "nobody")
    return f"{event['type']} {found['kind']}/{found['metadata']['name']} (last written by {last})"
