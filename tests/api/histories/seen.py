"""A namespace as it is seen at one moment, and what can be said of it before anything is judged.

Not its business: what it has to be (`expected`, `told`).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.api.access import LABEL, MANAGER, Json
from tests.api.histories.admission import enforcing, selector_of

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KIND = "NodePortAccessPolicy"
LOOKED_AT = (KIND, "Service", "NetworkPolicy", "EndpointSlice", "Pod")
SERVICE_LABEL = "nodeport-access.io/service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A namespace at one moment: objects by kind and name; and the cluster's nodes."""

    objects: Mapping[str, Mapping[str, Json]]
    nodes: tuple[Json, ...]
    now: datetime

    def policies_of(self, service: str) -> list[Json]:
        """Those that name a Service, in the order of claims: the oldest first, then by name."""
        found = [one for one in self.objects[KIND].values() if one["spec"]["serviceRef"]["name"] == service]
        return sorted(found, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))

    def holder_of(self, service: str) -> Json | None:
        """The oldest that enforces."""
        return next((one for one in self.policies_of(service) if enforcing(one)), None)


def applied_by_us(item: Json) -> bool:
    """Whether managedFields know the operator."""
    return any(
        entry["manager"] == MANAGER and entry["operation"] == "Apply" and not entry.get("subresource")
        for entry in item["metadata"].get("managedFields") or ()
    )


def claims_of(child: Json) -> set[str]:
    """The policies that an object of ours belongs to, by label or owner."""
    if not applied_by_us(child):
        return set()
    owners = {one["name"] for one in child["metadata"].get("ownerReferences") or () if one["kind"] == KIND}
    label = child["metadata"].get("labels", {}).get(LABEL)
    return owners | ({label} if label else set())


def children_of(seen: Seen, policy: Json) -> dict[str, Json]:
    """What stands under the names of its children."""
    names = (f"{policy['metadata']['name']}{suffix}" for suffix in ("-allow", "-deny-all"))
    return {name: found for name in names if (found := seen.objects["NetworkPolicy"].get(name)) is not None}


def conflicting(seen: Seen, policy: Json) -> list[str]:
    """Names of its children that are somebody else's."""
    name = policy["metadata"]["name"]
    return [
        child
        for child, item in children_of(seen, policy).items()
        if not applied_by_us(item) or (claims_of(item) and name not in claims_of(item))
    ]


class Guard:
    """One Service and the policies that name it."""

    def __init__(self, seen: Seen, name: str) -> None:
        self.seen = seen
        self.name = name
        self.service = seen.objects["Service"].get(name)
        self.selector = selector_of(self.service)
        self.policies = seen.policies_of(name)
        self.holder = seen.holder_of(name)

    def allow(self, policy: Json) -> dict[str, list[str]]:
        """The rules of the allowlist: who, by ports."""
        sets: dict[str, list[Network]] = {}
        for entry in policy["spec"].get("allowedCIDRs") or ():
            if (ports := self.ports(entry.get("ports"))) and self.in_force(entry):
                sets.setdefault(ports, []).extend(_subtracted(entry))
        rules = {ports: _collapsed(networks, self.families) for ports, networks in sets.items()}
        peers = [json.dumps(peer, sort_keys=True) for peer in policy["spec"].get("allowedPeers") or ()]
        if peers and (every := self.ports(None)):
            rules[every] = rules.get(every, []) + peers
        return {ports: who for ports, who in rules.items() if who}

    def ports(self, refs: Iterable[str | int] | None) -> str:
        """The target ports behind these names and numbers of the Service's, as one text; None stands for all."""
        ports = (self.service or {"spec": {}})["spec"].get("ports") or ()
        chosen = {
            f"{port.get('protocol', 'TCP')}/{port['targetPort']}"
            for port in ports
            if refs is None or port.get("name") in refs or port["port"] in refs
        }
        return " ".join(sorted(chosen))

    def in_force(self, entry: Json) -> bool:
        """Whether it has not ended yet."""
        return "expiresAt" not in entry or self.seen.now < datetime.fromisoformat(entry["expiresAt"])

    @property
    def families(self) -> list[str]:
        """IPv4, IPv6 or both."""
        return list((self.service or {"spec": {}})["spec"].get("ipFamilies") or ("IPv4", "IPv6"))


def _subtracted(entry: Json) -> list[Network]:
    """The networks of an entry without its exceptions."""
    left: list[Any] = [ipaddress.ip_network(entry["cidr"])]
    for text in entry.get("except") or ():
        gone: Any = ipaddress.ip_network(text)
        left = [part for one in left for part in (one.address_exclude(gone) if gone.subnet_of(one) else [one])]
    return left


def _collapsed(networks: Iterable[Network], families: Iterable[str]) -> list[str]:
    """The fewest networks that hold the same addresses, IPv4 first."""
    found: list[str] = []
    for family, version in (("IPv4", 4), ("IPv6", 6)):
        if family in families:
            own: list[Any] = [one for one in networks if one.version == version]
            found += map(str, sorted(ipaddress.collapse_addresses(own)))
    return found
