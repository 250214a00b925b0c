"""The page of all conditions and reasons: what each means comes from the code, what to do about it stands here.

Not its business: when a reason applies (`nodeport_access.checks`, `nodeport_access.exposure`).
"""

from __future__ import annotations

from collections.abc import Mapping

from nodeport_access.api import ConditionType
from nodeport_access.reasons import Reason, Weight

HEAD = """# Conditions and reasons

Made by `make docs`. `kubectl describe npap` shows every condition with its reason and a message that names what is
concerned. Where several things are wrong, `Ready` carries the one that needs a person before one that passes by itself.

"""

TYPES: Mapping[ConditionType, str] = {
    ConditionType.READY: "The guard is in force, observed at the API: all below that matters holds.",
    ConditionType.SERVICE_RESOLVED: "The Service exists, has node ports, a selector, and every port that is named.",
    ConditionType.CLIENT_IP_PRESERVED: "`externalTrafficPolicy: Local` is in force.",
    ConditionType.ALLOWLIST_APPLIED: "The NetworkPolicy `<policy>-allow` is there and equal to what is wanted.",
    ConditionType.DEFAULT_DENY_APPLIED: "The NetworkPolicy `<policy>-deny-all` is, too.",
    ConditionType.REACHABLE: "At least one node has a ready pod of the Service. `Ready` does not hang on it.",
    ConditionType.EXCLUSIVE: "No other NetworkPolicy opens these pods to addresses outside the allowlist.",
    ConditionType.ENFORCEABLE: "Nothing was found that a NetworkPolicy cannot hold back.",
    ConditionType.RECONCILING: "Something is wrong that passes by itself; absent otherwise.",
    ConditionType.STALLED: "Something is wrong that only a person can mend; absent otherwise.",
}

WEIGHTS = {
    Weight.GOOD: "nothing is wrong",
    Weight.WARNING: "a warning: Ready stays as it is",
    Weight.ASKED: "not Ready, as asked for",
    Weight.PASSING: "not Ready; passes by itself: Reconciling",
    Weight.LASTING: "not Ready until a person mends it: Stalled",
}

TO_DO: Mapping[Reason, str] = {
    Reason.GUARDED: "Nothing. Prove it once by [`probe`](probe.md).",
    Reason.AUDIT_MODE: "Read `status.plan`; set `mode: Enforce` when it is what you want"
    " ([how](how-to/look-before-you-switch-it-on.md)).",
    Reason.SERVICE_FOUND: "Nothing.",
    Reason.SERVICE_NOT_FOUND: "Create the Service, or correct the name: `serviceRef` is immutable, so delete the policy"
    " and create another.",
    Reason.SERVICE_TYPE_UNSUPPORTED: "Set the Service's `type`, or delete the policy: there is no node port to guard.",
    Reason.EXTERNAL_NAME_SERVICE: "Delete the policy, and guard the Service that the name leads to.",
    Reason.SELECTOR_MISSING: "Give the Service a selector. Endpoints that are written by hand cannot be guarded.",
    Reason.PORT_NOT_FOUND: "The message lists the ports that there are: correct `ports` in the entry, or the Service.",
    Reason.SERVICE_ALREADY_CLAIMED: "Nothing, if a hand-over is meant: delete the older policy, which the message"
    " names. Else delete this one.",
    Reason.INVALID_SPEC: "The message names the field. Apply the CRD of this release, then correct the value.",
    Reason.OPERATOR_FAILED: "Look into the operator's log for this policy, and report what stands there.",
    Reason.LOCAL_IN_FORCE: "Nothing.",
    Reason.CLUSTER_IN_FORCE: "Wait a second. If it stays, the other conditions or the operator's `/readyz` say why it"
    " cannot be written.",
    Reason.CLUSTER_UNMANAGED: "Set the Service to `Local` yourself, or leave it to the operator: `trafficPolicy:"
    " Local`.",
    Reason.FOREIGN_WRITER: "Find the writer that the message names, and take `externalTrafficPolicy: Cluster` out of"
    " its files.",
    Reason.APPLIED: "Nothing.",
    Reason.NOT_APPLIED: "Wait a second. If it stays, look at the operator: `/readyz` and its log.",
    Reason.ALLOWLIST_TOO_LONG: "Use wider entries or fewer exceptions. What was in force before stays until then.",
    Reason.NAME_CONFLICT: "Look whose object it is (`kubectl get networkpolicy -o yaml`). Delete it, or give the"
    " policy another name.",
    Reason.APPLY_FORBIDDEN: "Grant what the message names, or apply `manifests/` again. If it has the words of an"
    " admission policy or of a quota, that is what refuses. It goes on by itself.",
    Reason.APPLY_REFUSED: "Correct the field that the message names, in the Service or in the policy. If neither is"
    " wrong, report it.",
    Reason.APPLY_FAILED: "Wait. If it stays, the message and the operator's log have the API server's answer.",
    Reason.NODES_ANSWER: "Nothing. Have the load balancer probe: the message says which nodes answer.",
    Reason.NO_READY_ENDPOINTS: "Look at the pods: none is ready. Until one is, the Service answers nobody.",
    Reason.NO_OTHER_OPENING: "Nothing.",
    Reason.OPENED_BY_OTHER_POLICY: "Delete or narrow the NetworkPolicy that the message names, or put its clients into"
    " the list ([how](how-to/move-an-ipblock-policy.md)).",
    Reason.PODS_NOT_LISTED: "Grant the operator `list` and `watch` on pods; `/readyz` has the API server's words.",
    Reason.NODES_NOT_LISTED: "Nothing, where the operator has Roles only; else grant it `list` and `watch` on nodes."
    " What it cannot see, `nodeport-access audit` tells with your own rights.",
    Reason.NOTHING_BYPASSES: "Nothing.",
    Reason.HOST_NETWORK_BACKEND: "Take `hostNetwork` off the pods, or filter in front of the nodes, on the node port"
    " and on the pod's own.",
    Reason.UNGUARDED_CLUSTER_SERVICE: "Give the Service that the message names a policy of its own, make it `Local`, or"
    " take its node ports away.",
    Reason.OTHER_POLICY_COVERS_NODES: "Move that NetworkPolicy over ([how](how-to/move-an-ipblock-policy.md)).",
    Reason.UNGUARDED_SERVICE: "Give that Service a policy of its own: nobody keeps it `Local`.",
    Reason.ALLOWLIST_COVERS_NODES: "Replace the wide entry by the clients themselves.",
}


def page() -> str:
    """The whole page, reasons in the order of the enum. A reason or a type without words here is a KeyError."""
    types = "".join(f"| `{type}` | {TYPES[type]} |\n" for type in ConditionType)
    reasons = "".join(
        f"| `{reason}` | {reason.sentence} | {TO_DO[reason]} | {WEIGHTS[reason.weight]} |\n" for reason in Reason
    )
    return (
        f"{HEAD}## Conditions\n\n| condition | True means |\n|---|---|\n{types}\n"
        "## Reasons\n\n| reason | what it means | what to do | when it is the worst finding |\n"
        f"|---|---|---|---|\n{reasons}"
    )
