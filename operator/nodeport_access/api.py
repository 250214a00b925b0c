"""The NodePortAccessPolicy API as the operator reads it: names, condition types, reasons, and a body parsed into a
frozen Policy.

The schema itself (bounds, defaults, CEL rules) is written once, in ``crds/``. Not the business of this module: what a
policy becomes (``desired``), whether it holds (``checks``), or how it is fetched (``kube``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, StrEnum, auto
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


class Weight(Enum):
    """What a reason, where it is the worst that was found, comes to."""

    GOOD = auto()
    """Nothing is wrong."""
    WARNING = auto()
    """Worth knowing; the guard holds all the same, so Ready stays as it is."""
    ASKED = auto()
    """Not Ready, because that was asked for."""
    PASSING = auto()
    """Not Ready, and ends without a person: Reconciling."""
    LASTING = auto()
    """Not Ready, and only a person can mend it: Stalled."""


class Reason(StrEnum):
    """The closed list of condition reasons, each with its weight, and a sentence that says what it means and, where
    one is due, the way out."""

    weight: Weight
    sentence: str

    def __new__(cls, value: str, weight: Weight, sentence: str) -> Reason:
        """Makes a member; only the value is compared and written."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.weight = weight
        member.sentence = sentence
        return member

    GUARDED = (
        "Guarded",
        Weight.GOOD,
        "New connections from outside get in only from the allowlist, as far as the API can tell.",
    )
    AUDIT_MODE = (
        "AuditMode",
        Weight.ASKED,
        "The policy only reports; set spec.mode to Enforce to act on status.plan.",
    )

    SERVICE_FOUND = (
        "ServiceFound",
        Weight.GOOD,
        "The Service exists, has node ports, a selector, and every port that the policy names.",
    )
    SERVICE_NOT_FOUND = (
        "ServiceNotFound",
        Weight.PASSING,
        "There is no such Service in this namespace yet; the policy takes it once it exists.",
    )
    SERVICE_TYPE_UNSUPPORTED = (
        "ServiceTypeUnsupported",
        Weight.LASTING,
        "The Service has no node ports; make it NodePort or LoadBalancer.",
    )
    EXTERNAL_NAME_SERVICE = (
        "ExternalNameService",
        Weight.LASTING,
        "An ExternalName Service is a DNS alias without pods; there is nothing to guard.",
    )
    SELECTOR_MISSING = (
        "SelectorMissing",
        Weight.LASTING,
        "The Service has no selector, so no NetworkPolicy can select its pods; give it one.",
    )
    PORT_NOT_FOUND = (
        "PortNotFound",
        Weight.LASTING,
        "The policy names a port that the Service does not have; that entry admits nobody on it.",
    )
    SERVICE_ALREADY_CLAIMED = (
        "ServiceAlreadyClaimed",
        Weight.LASTING,
        "An older policy guards this Service; this one waits with its deny-all in place.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        Weight.LASTING,
        "A value of the spec cannot be read, so it admits nobody; the installed CRD may be out of date.",
    )

    LOCAL_IN_FORCE = (
        "LocalInForce",
        Weight.GOOD,
        "externalTrafficPolicy is Local: pods see the client's own address.",
    )
    CLUSTER_IN_FORCE = (
        "ClusterInForce",
        Weight.PASSING,
        "externalTrafficPolicy is Cluster: kube-proxy may hide the client's address.",
    )
    CLUSTER_UNMANAGED = (
        "ClusterUnmanaged",
        Weight.LASTING,
        "externalTrafficPolicy is Cluster and spec.trafficPolicy is Unmanaged; set one of the two to Local.",
    )
    FOREIGN_WRITER = (
        "ForeignWriter",
        Weight.PASSING,
        "Another writer keeps taking externalTrafficPolicy back; change it at its source.",
    )

    APPLIED = (
        "Applied",
        Weight.GOOD,
        "The NetworkPolicy is there and equal to what is wanted.",
    )
    NOT_APPLIED = (
        "NotApplied",
        Weight.PASSING,
        "The NetworkPolicy is absent or differs from what is wanted.",
    )
    ALLOWLIST_TOO_LONG = (
        "AllowlistTooLong",
        Weight.LASTING,
        "The allowlist comes to more networks than fit into a NetworkPolicy; use fewer exceptions or wider entries.",
    )
    NAME_CONFLICT = (
        "NameConflict",
        Weight.LASTING,
        "An object of somebody else has the name of a child; delete it, or give the policy another name.",
    )
    APPLY_FORBIDDEN = (
        "ApplyForbidden",
        Weight.LASTING,
        "The API server forbids the write; grant the operator the permission that the message names.",
    )
    APPLY_REFUSED = (
        "ApplyRefused",
        Weight.LASTING,
        "The API server finds the write invalid; the message says which field.",
    )
    APPLY_FAILED = (
        "ApplyFailed",
        Weight.PASSING,
        "The write did not succeed and is tried again.",
    )

    NODES_ANSWER = (
        "NodesAnswer",
        Weight.GOOD,
        "At least one node has a ready endpoint of its own and answers on the node port.",
    )
    NO_READY_ENDPOINTS = (
        "NoReadyEndpoints",
        Weight.WARNING,
        "No node has a ready endpoint, so no node answers under Local.",
    )

    NO_OTHER_OPENING = (
        "NoOtherOpening",
        Weight.GOOD,
        "No other NetworkPolicy admits addresses outside the allowlist to these pods.",
    )
    OPENED_BY_OTHER_POLICY = (
        "OpenedByOtherPolicy",
        Weight.LASTING,
        "Another NetworkPolicy admits addresses outside the allowlist to these pods.",
    )

    NOTHING_BYPASSES = (
        "NothingBypasses",
        Weight.GOOD,
        "Nothing that a NetworkPolicy cannot hold back was found.",
    )
    HOST_NETWORK_BACKEND = (
        "HostNetworkBackend",
        Weight.LASTING,
        "A backend runs in its node's network, where NetworkPolicy does not apply.",
    )
    UNGUARDED_CLUSTER_SERVICE = (
        "UnguardedClusterService",
        Weight.LASTING,
        "Another Service under Cluster opens these pods to clients whose address is hidden; guard it or make it Local.",
    )
    UNGUARDED_SERVICE = (
        "UnguardedService",
        Weight.WARNING,
        "Another Service exposes these pods and no policy keeps it Local; guard it with a policy of its own.",
    )
    ALLOWLIST_COVERS_NODES = (
        "AllowlistCoversNodes",
        Weight.WARNING,
        "The allowlist covers node, tunnel or pod addresses, behind which hidden clients would walk in; narrow it.",
    )


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
