"""How an object differs from what is wanted: which fields, whose doing, and what that did to access.

Only what we specify is compared: foreign labels and annotations are not drift. A field that differs and is still ours
by managedFields is a change of what is wanted; one that is no longer ours was written by somebody else. Not the
business of this module: what to do about it (``plan``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nodeport_access import rules
from nodeport_access.api import Body, Effect
from nodeport_access.observed import NetworkPolicy, Service

TRAFFIC_POLICY = "spec.externalTrafficPolicy"


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
        "metadata.ownerReferences": _owners(desired["metadata"]["ownerReferences"], observed.owners),
    }
    return tuple(
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


def _subset(want: Mapping[str, str], have: Mapping[str, str]) -> tuple[Body, Body]:
    return dict(want), {name: have[name] for name in want if name in have}


def _owners(want: list[Body], have: tuple[Body, ...]) -> tuple[list[Body], list[Body]]:
    """Ours must be there as we wrote it; what the API server or another adds beside it is not compared."""
    uid = want[0]["uid"]
    mine = next((owner for owner in have if owner.get("uid") == uid), None)
    same = mine is not None and all(mine.get(key) == value for key, value in want[0].items())
    return want, want if same else list(have)


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
