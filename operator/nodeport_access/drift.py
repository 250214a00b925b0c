"""How an object differs from what is wanted: which fields, whose doing, and what that did to access.

Only what we specify is compared: foreign labels and annotations are not drift. A field that differs and is still ours
by managedFields is a change of what is wanted; one that is no longer ours was written by somebody else. What others put
beside ours and an apply leaves there, although it decides how long a child lives, is told apart as an addition. Not the
business of this module: what to do about it (``plan``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodeport_access import rules
from nodeport_access.api import FIELD_MANAGER, Body, Effect
from nodeport_access.observed import NetworkPolicy, Service, owner_path

TRAFFIC_POLICY = "spec.externalTrafficPolicy"

SERVICE_FIELDS = (TRAFFIC_POLICY, "metadata.labels")
NETWORK_POLICY_FIELDS = (
    "spec.podSelector",
    "spec.policyTypes",
    "spec.ingress",
    "spec.egress",
    "metadata.labels",
    "metadata.ownerReferences",
    "metadata.managedFields",
    "metadata.finalizers",
)
"""Every path that a difference can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field that is not as wanted. ``foreign`` tells somebody else's doing from a change of what is wanted;
    ``writer`` is the field manager that holds the field now, empty where nobody does."""

    path: str
    want: Any
    have: Any
    foreign: bool
    writer: str = ""
    effect: Effect = Effect.NONE


def network_policy_drift(desired: Body, observed: NetworkPolicy) -> tuple[Difference, ...]:
    """What keeps a child from being equal to what is wanted, spec first."""
    want = desired["spec"]
    fields = {
        "spec.podSelector": (want["podSelector"], observed.spec.get("podSelector") or {}),
        "spec.policyTypes": (want["policyTypes"], observed.spec.get("policyTypes") or []),
        "spec.ingress": (want["ingress"], observed.spec.get("ingress") or []),
        "spec.egress": (want["egress"], observed.spec.get("egress") or []),
        "metadata.labels": _subset(desired["metadata"]["labels"], observed.labels),
        "metadata.ownerReferences": (desired["metadata"]["ownerReferences"], _kept_owners(desired, observed)),
    }
    differing = tuple(
        Difference(
            path=path,
            want=wanted,
            have=have,
            foreign=path not in observed.ownership.ours,
            writer=observed.ownership.writer(path),
            effect=_effect(path, want, observed.spec),
        )
        for path, (wanted, have) in fields.items()
        if wanted != have
    )
    return differing if observed.applied_by_us else (*differing, _disowned())


def _disowned() -> Difference:
    """A child of which somebody wiped our entry; without it, our next start would take it for a stranger's."""
    return Difference(path="metadata.managedFields", want=FIELD_MANAGER, have="", foreign=True)


def _subset(want: Mapping[str, str], have: Mapping[str, str]) -> tuple[Body, Body]:
    return dict(want), {name: have[name] for name in want if name in have}


def _kept_owners(desired: Body, observed: NetworkPolicy) -> list[Body]:
    """The owners that our apply rules over: the policy, in whatever form, and what we alone hold (a predecessor of the
    policy), which the apply takes away by itself."""
    uids = {owner["uid"] for owner in desired["metadata"]["ownerReferences"]}
    ours_alone = observed.ownership.ours_alone
    return [owner for owner in observed.owners if owner["uid"] in uids or ours_alone(owner_path(owner["uid"]))]


GARBAGE_COLLECTOR = frozenset({"foregroundDeletion", "orphan"})
"""Finalizers that the API server itself puts on an object with its deletion (metav1.FinalizerDeleteDependents,
metav1.FinalizerOrphanDependents): they say how somebody deleted it, and are no other doing of his."""


def network_policy_additions(desired: Body | None, observed: NetworkPolicy) -> tuple[Difference, ...]:
    """What others put on a child beside what we wrote, and no apply takes off: finalizers, and owners. It changes
    nobody's access, but how long the child lives. Of a child that is to go (``desired`` None) only finalizers count."""
    found = []
    if observed.finalizers:
        found.append(
            Difference(
                path="metadata.finalizers",
                want=[],
                have=list(observed.finalizers),
                foreign=not GARBAGE_COLLECTOR.issuperset(observed.finalizers),
                writer=observed.ownership.writer("metadata.finalizers"),
            )
        )
    if desired is not None and (added := _added_owners(desired, observed)):
        found.append(
            Difference(
                path="metadata.ownerReferences",
                want=desired["metadata"]["ownerReferences"],
                have=list(observed.owners),
                foreign=True,
                writer=observed.ownership.writer(owner_path(added[0]["uid"])),
            )
        )
    return tuple(found)


def _added_owners(desired: Body, observed: NetworkPolicy) -> list[Body]:
    kept = _kept_owners(desired, observed)
    return [owner for owner in observed.owners if owner not in kept]


def has_second_controller(desired: Body, observed: NetworkPolicy) -> bool:
    """Whether our apply would be refused: of all owners only one may be the controller, and the policy is to be it."""
    return any(owner.get("controller") for owner in _added_owners(desired, observed))


def stripped_metadata(desired: Body | None, observed: NetworkPolicy) -> Body:
    """The fields of metadata that have additions, without them; empty where there are none."""
    metadata: Body = {"finalizers": []} if observed.finalizers else {}
    if desired is not None and _added_owners(desired, observed):
        metadata["ownerReferences"] = _kept_owners(desired, observed)
    return metadata


def _effect(path: str, want: Body, have: Body) -> Effect:
    """What the observed value of one field does to access, all other fields being as wanted."""
    section, _, name = path.partition(".")
    if section != "spec" or name == "egress":
        return Effect.NONE
    return rules.change(before=want, after={**want, name: have.get(name) or want[name].__class__()})


def service_drift(desired: Body, observed: Service, *, held_before: bool) -> tuple[Difference, ...]:
    """What keeps the Service from holding the fields that we want in it. On a Service that we never held, whatever it
    says is no foreign doing; a writer that replaces the object whole leaves no trace of ours, hence ``held_before``.

    A value that is as wanted without being ours differs too: only an owner keeps a field when another lets go of it.
    """
    differences = []
    known = held_before or observed.taken
    want = desired["spec"]["externalTrafficPolicy"]
    if observed.external_traffic_policy != want or TRAFFIC_POLICY not in observed.ownership.ours:
        # Cluster hides the client's address: whether that opens depends on the CNI and on the nodes in the allowlist.
        effect = Effect.NONE if observed.external_traffic_policy == want else Effect.DEPENDS
        differences.append(_difference(TRAFFIC_POLICY, want, observed.external_traffic_policy, observed, known, effect))
    (label,) = desired["metadata"]["labels"].values()
    if observed.policy_label != label or "metadata.labels" not in observed.ownership.ours:
        differences.append(_difference("metadata.labels", label, observed.policy_label, observed, known, Effect.NONE))
    return tuple(differences)


def _difference(path: str, want: str, have: str, observed: Service, known: bool, effect: Effect) -> Difference:
    return Difference(
        path=path,
        want=want,
        have=have,
        foreign=known and path not in observed.ownership.ours,
        writer=observed.ownership.writer(path),
        effect=effect,
    )
