"""Who gets in, at every moment of a test: an oracle of its own, from the API's text, over every state that a namespace
went through.

    witness = Witness(site)
    ...                                 # something changes
    witness.assert_never_wider()        # at no moment more than before and after together

It asks of addresses outside the cluster only, and of new connections. Not its business: what the right state is, and
what packets do.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.api.access import LABELS, WEB, Json, Site, after

KINDS = ("NetworkPolicy", "Service", "NodePortAccessPolicy")
Port = int | str
STRANGERS = ("198.18.0.99", "2001:db8:ffff::99")
UNNAMED_PORT = 9
"""A port that no rule of any test names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One moment: the objects by kind and name, and the event that led here, None for the beginning."""

    objects: Mapping[str, Mapping[str, Json]]
    event: Json | None = None

    def __str__(self) -> str:
        if self.event is None:
            return "the beginning"
        found = self.event["object"]
        managers = found["metadata"].get("managedFields") or [{}]
        last = max(managers, key=lambda entry: entry.get("time", "")).get("manager", "nobody")
        return f"{self.event['type']} {found['kind']}/{found['metadata']['name']} (last written by {last})"


class Witness:
    """Looks back, from the moment when it was made."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._moments = [site.moment(kind) for kind in KINDS]

    def states(self) -> list[State]:
        """Every state of the namespace since, in the order of etcd's revisions, which all kinds of it share."""
        events = [event for one in self._site.events(*self._moments) for event in one]
        events.sort(key=lambda event: int(event["object"]["metadata"]["resourceVersion"]))
        states = [State(objects={moment.kind: moment.objects for moment in self._moments})]
        for event in events:
            kind = event["object"]["kind"]
            objects = states[-1].objects
            states.append(State(objects={**objects, kind: after(objects[kind], event)}, event=event))
        return states

    def assert_never_wider(self) -> None:
        """See `assert_never_wider`, for the one Service of the site."""
        assert_never_wider(self.states())


def assert_never_wider(states: list[State], *, service: str = WEB, labels: Mapping[str, str] = LABELS) -> None:
    """At no moment did anybody get at the pods with these labels who gets there neither in the first state nor in the
    last; nor was the Service anything but Local where it is that in both."""
    probes, ports = tuple(addresses(states)), tuple(ports_of(states))

    def admitted(state: State) -> frozenset[tuple[str, Port]]:
        specs = [one["spec"] for one in state.objects["NetworkPolicy"].values()]
        selecting = [spec for spec in specs if selected(spec.get("podSelector") or {}, labels)]
        return frozenset((one, port) for one in probes for port in ports if admits(selecting, one, port))

    allowed = admitted(states[0]) | admitted(states[-1])
    hidden = hides_clients(states[0], service) or hides_clients(states[-1], service)
    for state in states:
        assert not (more := admitted(state) - allowed), f"after {state}, {sorted(more, key=str)} got in"
        assert hidden or not hides_clients(state, service), f"after {state}, Service {service} was not Local"


def of_one_service(states: Iterable[State], number: int) -> list[State]:
    """The states as far as objects go whose names have this number in them, among many that are numbered alike."""

    def is_its_own(name: str) -> bool:
        return str(number) in name.split("-")

    return [
        State(
            objects={
                kind: {name: one for name, one in objects.items() if is_its_own(name)}
                for kind, objects in state.objects.items()
            },
            event=state.event,
        )
        for state in states
        if state.event is None or is_its_own(state.event["object"]["metadata"]["name"])
    ]


def hides_clients(state: State, service: str) -> bool:
    """Whether the Service has node ports under another externalTrafficPolicy than Local."""
    found = state.objects["Service"].get(service)
    return found is not None and found["spec"].get("externalTrafficPolicy", "Local") != "Local"


def admits(specs: Iterable[Json], address: str, port: Port) -> bool:
    """Whether a pod that is selected by NetworkPolicies with these specs takes a new TCP connection.

    "Traffic is allowed to a pod if there are no NetworkPolicies selecting the pod (and cluster policy otherwise allows
    the traffic), OR if the traffic source is the pod's local node, OR if the traffic matches at least one ingress rule
    across all of the NetworkPolicy objects whose podSelector matches the pod." (NetworkPolicySpec, ingress)
    """
    isolating = [spec for spec in specs if "Ingress" in spec.get("policyTypes", ["Ingress"])]
    if not isolating:
        return True
    rules = [rule for spec in isolating for rule in spec.get("ingress") or ()]
    return any(_from(rule, address) and _to(rule, port) for rule in rules)


def _from(rule: Json, address: str) -> bool:
    peers = rule.get("from") or ()
    return not peers or any(_in_block(peer["ipBlock"], address) for peer in peers if "ipBlock" in peer)


def _in_block(block: Json, address: str) -> bool:
    return _inside(address, block["cidr"]) and not any(_inside(address, cidr) for cidr in block.get("except") or ())


@functools.cache
def _inside(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)


def _to(rule: Json, port: Port) -> bool:
    return not rule.get("ports") or any(_is(one, port) for one in rule["ports"])


def _is(found: Json, port: Port) -> bool:
    if found.get("protocol", "TCP") != "TCP":
        return False
    if "port" not in found:
        return True
    if "endPort" in found and isinstance(port, int):
        return bool(found["port"] <= port <= found["endPort"])
    return bool(found["port"] == port)


def selected(selector: Json, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches (LabelSelector, meta/v1)."""
    meets: dict[str, Callable[[str, Any], bool]] = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return (selector.get("matchLabels") or {}).items() <= labels.items() and all(
        meets[one["operator"]](one["key"], one.get("values")) for one in selector.get("matchExpressions") or ()
    )


def addresses(states: Iterable[State]) -> Iterator[str]:
    """For every network that any rule or policy names: its first and last address and the neighbours of both; and
    strangers."""
    yield from STRANGERS
    for text in sorted({cidr for state in states for cidr in _cidrs(state)}):
        network = ipaddress.ip_network(text, strict=False)
        for number in {int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1}:
            if 0 <= number < 2**network.max_prefixlen:
                yield str(ipaddress.ip_address(number) if network.version == 4 else ipaddress.IPv6Address(number))


def _cidrs(state: State) -> Iterator[str]:
    for one in state.objects["NetworkPolicy"].values():
        for rule in one["spec"].get("ingress") or ():
            for peer in rule.get("from") or ():
                if "ipBlock" in peer:
                    yield from (peer["ipBlock"]["cidr"], *peer["ipBlock"].get("except", ()))
    for one in state.objects["NodePortAccessPolicy"].values():
        for entry in one["spec"].get("allowedCIDRs") or ():
            yield from (entry["cidr"], *entry.get("except", ()))


def ports_of(states: Iterable[State]) -> Iterator[Port]:
    """Every port that any rule names, and one that none does."""
    yield UNNAMED_PORT
    yield from {
        port["port"]
        for state in states
        for one in state.objects["NetworkPolicy"].values()
        for rule in one["spec"].get("ingress") or ()
        for port in rule.get("ports") or ()
        if "port" in port
    }
