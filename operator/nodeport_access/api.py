"""The NodePortAccessPolicy API as the operator knows it: names, condition types, and a policy as it was observed.

The schema itself (bounds, defaults, CEL rules) is written once, in ``crds/``. Not the business of this module: how a
body is read (``policy_body``), whom its entries admit (``allowlist``), what a policy becomes (``desired``), whether it
holds (``checks``), or how it is fetched (``kube``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nodeport_access.allowlist import AllowedCIDR, Allowlist

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
    allowlist: Allowlist
    peers: tuple[Body, ...]
    isolation: Isolation
    traffic_policy: TrafficPolicy
    mode: Mode
    problems: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def allowed(self) -> tuple[AllowedCIDR, ...]:
        """The entries of its allowlist."""
        return self.allowlist.entries

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
