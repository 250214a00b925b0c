"""The closed list of condition reasons: what each means, what it comes to, and the way out.

`docs/conditions.md` is made from it. Not the business of this module: when a reason applies (``checks``, ``exposure``).
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto


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

    OPERATOR_FAILED = (
        "OperatorFailed",
        Weight.LASTING,
        "The operator failed over this policy by a fault of its own; what stands stays, but is not repaired, and no"
        " entry ends. Its log has the details: please report them.",
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

    PODS_NOT_LISTED = (
        "PodsNotListed",
        Weight.PASSING,
        "The namespace's pods cannot be listed, so nobody knows what else bears on them; /readyz says why not.",
    )

    NODES_NOT_LISTED = (
        "NodesNotListed",
        Weight.WARNING,
        "Nodes cannot be listed, so nobody knows whether a backend runs in its node's network, nor whether a list"
        " covers node, tunnel or pod addresses; look yourself, or let the operator list nodes.",
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
    OTHER_POLICY_COVERS_NODES = (
        "OtherPolicyCoversNodes",
        Weight.WARNING,
        "Another NetworkPolicy admits node, tunnel or pod addresses, by which everybody gets in who is hidden behind a"
        " node's address, as all are under Cluster; name the clients in allowedCIDRs, and take those addresses out.",
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
