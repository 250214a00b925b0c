"""What a CNI is known for: the unknowns that its name settles, each with the place where it is said.

Settled is only what holds for every way in which it can be set up; for the rest, ``--assume`` is there. Not the
business of this module: what an answer does to a verdict (``routes``, ``placement``, ``admission``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nodeport_access.evaluate.unknowns import DEFAULT, Enforcement, Known, Matching, Placement, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Cni:
    """A CNI by the name that a flag gives it; ``sources`` are where what is settled is said."""

    name: str
    settled: Mapping[Unknown, str]
    sources: tuple[str, ...]


CNIS: tuple[Cni, ...] = (
    Cni(
        name="calico",
        settled={
            Unknown.PLACEMENT: Placement.OWN_NODE,
            Unknown.PODS_IN_IPBLOCK: Matching.MATCHED,
            Unknown.NODES_IN_IPBLOCK: Matching.MATCHED,
        },
        # EntityRule, nets: "Match packets with an IP in any of the listed CIDRs", whoever has it.
        sources=(
            "https://docs.tigera.io/calico/latest/reference/resources/networkpolicy#entityrule",
            "https://docs.tigera.io/calico/latest/reference/resources/workloadendpoint",
        ),
    ),
    Cni(
        name="cilium",
        settled={Unknown.PLACEMENT: Placement.OWN_NODE, Unknown.PODS_IN_IPBLOCK: Matching.PASSED_OVER},
        # CIDR rules pass over whatever Cilium manages; for nodes, policy-cidr-match-mode decides.
        sources=("https://docs.cilium.io/en/stable/security/policy/language/#ip-cidr-based",),
    ),
    Cni(
        name="flannel",
        settled={Unknown.ENFORCEMENT: Enforcement.IGNORED},
        sources=("https://github.com/flannel-io/flannel#networking-details",),
    ),
    Cni(
        name="kindnet",
        settled={Unknown.PLACEMENT: Placement.EVERY_HOP},
        sources=("https://github.com/kubernetes-sigs/kube-network-policies",),
    ),
    Cni(
        name="kube-router",
        settled={Unknown.PLACEMENT: Placement.OWN_NODE},
        sources=("https://github.com/cloudnativelabs/kube-router/pull/315",),
    ),
)


def settle(
    *, cni: str = "", proxy_mode: str = "", assumptions: Iterable[tuple[Unknown, str]] = (), known: Known = DEFAULT
) -> Known:
    """What is known of a cluster from these flags; a later one wins over an earlier one, and over what a CNI is known
    for. Raises ValueError for a name or an answer that is not there."""
    found = dict(known)
    if cni:
        settled = next((each.settled for each in CNIS if each.name == cni), None)
        if settled is None:
            raise ValueError(
                f"{cni!r} is none of the CNIs that are known here: {', '.join(each.name for each in CNIS)}"
            )
        found |= {unknown: frozenset({answer}) for unknown, answer in settled.items()}
    if proxy_mode:
        assumptions = ((Unknown.PROXY, proxy_mode), *assumptions)
    for unknown, answer in assumptions:
        if not unknown.can_be_known or answer not in unknown.options:
            raise ValueError(f"{answer!r} is no answer to {unknown.key}; it is one of {', '.join(unknown.options)}")
        found[unknown] = frozenset({answer})
    return found
