"""The NodePortAccessPolicy API as the operator reads it: names, condition types, reasons, and a body parsed into a
frozen Policy.

The schema itself (bounds, defaults, CEL rules) is written once, in ``crds/``. Not the business of this module: what a
policy becomes (``desired``), whether it holds (``checks``), or how it is fetched (``kube``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from nodeport_access.cidrs import Network, parse_network

GROUP = "nodeport-access.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "NodePortAccessPolicy"
PLURAL = "nodeportaccesspolicies"

FIELD_MANAGER = "nodeport-access-operator"
POLICY_LABEL = f"{GROUP}/policy"
SERVICE_LABEL = f"{GROUP}/service"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

Body = dict[str, Any]
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True, order=True)
class PolicyKey:
    """Names one NodePortAccessPolicy."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """Names one Service: the unit of work, because a Service is what policies compete for."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Isolation(StrEnum):
    """Which pods the deny-all selects."""

    SERVICE = "Service"
    NAMESPACE = "Namespace"


class TrafficPolicy(StrEnum):
    """Who owns the Service's externalTrafficPolicy."""

    LOCAL = "Local"
    UNMANAGED = "Unmanaged"


class Mode(StrEnum):
    """Whether the policy acts or only reports."""

    ENFORCE = "Enforce"
    AUDIT = "Audit"


class ConditionType(StrEnum):
    """The closed list of condition types, in the order in which status carries them."""

    READY = "Ready"
    SERVICE_RESOLVED = "ServiceResolved"
    CLIENT_IP_PRESERVED = "ClientIPPreserved"
    ALLOWLIST_APPLIED = "AllowlistApplied"
    DEFAULT_DENY_APPLIED = "DefaultDenyApplied"
    REACHABLE = "Reachable"
    EXCLUSIVE = "Exclusive"
    ENFORCEABLE = "Enforceable"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


class Effect(StrEnum):
    """What a change by somebody else did to access."""

    OPENED = "opened"
    CLOSED = "closed"
    DEPENDS = "depends"
    NONE = "none"


PortRef = str | int
"""A Service port's name or number, as a policy's ``ports`` holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCIDR:
    """One entry of ``spec.allowedCIDRs``; ``ports`` empty means every port of the Service."""

    cidr: Network
    excepts: tuple[Network, ...] = ()
    ports: tuple[PortRef, ...] = ()
    expires_at: datetime | None = None

    def in_force(self, now: datetime) -> bool:
        """An entry ends at ``expiresAt`` itself: at that instant it no longer admits."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A NodePortAccessPolicy as observed; ``status`` is the raw status last seen, ``problems`` what could not be read
    of the spec."""

    key: PolicyKey
    uid: str
    resource_version: str = field(compare=False)
    generation: int
    created: str
    deleting: bool
    service: ServiceKey
    allowed: tuple[AllowedCIDR, ...]
    peers: tuple[Body, ...]
    isolation: Isolation
    traffic_policy: TrafficPolicy
    mode: Mode
    problems: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def enforcing(self) -> bool:
        """Living and in mode Enforce; a policy with a deletionTimestamp counts as gone."""
        return self.mode is Mode.ENFORCE and not self.deleting

    @property
    def allow_name(self) -> str:
        """The name of its allowlist NetworkPolicy."""
        return f"{self.key.name}{ALLOW_SUFFIX}"

    @property
    def deny_name(self) -> str:
        """The name of its deny-all NetworkPolicy."""
        return f"{self.key.name}{DENY_SUFFIX}"


ALLOW_SUFFIX = "-allow"
DENY_SUFFIX = "-deny-all"


def parse_policy(body: Mapping[str, Any]) -> Policy:
    """Reads a policy's body. Never raises on a bad spec, because a policy that is dropped would release its Service:
    what cannot be read admits nobody and is named in ``problems``."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    problems: list[str] = []
    entries = (_parse_entry(index, item, problems) for index, item in enumerate(spec.get("allowedCIDRs") or ()))
    service_name = (spec.get("serviceRef") or {}).get("name")
    if not service_name:
        problems.append("spec.serviceRef.name is missing")
    return Policy(
        key=PolicyKey(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        service=ServiceKey(metadata["namespace"], service_name or ""),
        allowed=tuple(entry for entry in entries if entry is not None),
        peers=tuple(spec.get("allowedPeers") or ()),
        isolation=_choice(Isolation, spec.get("isolation"), Isolation.SERVICE, "spec.isolation", problems),
        traffic_policy=_choice(
            TrafficPolicy, spec.get("trafficPolicy"), TrafficPolicy.LOCAL, "spec.trafficPolicy", problems
        ),
        mode=_choice(Mode, spec.get("mode"), Mode.ENFORCE, "spec.mode", problems),
        problems=tuple(problems),
        status=body.get("status") or {},
    )


def _parse_entry(index: int, item: Mapping[str, Any], problems: list[str]) -> AllowedCIDR | None:
    try:
        expires = item.get("expiresAt")
        return AllowedCIDR(
            cidr=parse_network(item["cidr"]),
            excepts=tuple(parse_network(text) for text in item.get("except") or ()),
            ports=tuple(item.get("ports") or ()),
            expires_at=_parse_time(expires) if expires is not None else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"spec.allowedCIDRs[{index}]: {error}")
        return None


def _parse_time(text: str) -> datetime:
    """RFC 3339, as the CRD's ``format: date-time``; a time without zone is refused rather than guessed."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"expiresAt {text!r} has no time zone")
    return time.astimezone(UTC)


def _choice(kind: type[Choice], value: object, default: Choice, path: str, problems: list[str]) -> Choice:
    if value is None:
        return default
    try:
        return kind(str(value))
    except ValueError:
        problems.append(f"{path}: {value!r} is not known to this operator")
        return default
