"""What the objects of a cluster do not tell.

A closed list of questions with their answers, such as where a CNI gives its verdict, or which proxy serves a node port.
Not the business of this module: who asks what (``outer_ways``, ``admission``), what becomes of an answer that hangs on
it (``cases``), or what a CNI is known for (``cni``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum


class Enforcement(StrEnum):
    """Whether the CNI enforces NetworkPolicy at all."""

    ENFORCED = "enforced"
    IGNORED = "ignored"


class Placement(StrEnum):
    """Where the CNI gives its verdict."""

    EVERY_HOP = "every-hop"
    OWN_NODE = "own-node"
    AFTER_SNAT = "after-snat"


class Proxy(StrEnum):
    """Which proxy serves node ports."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"
    IPVS = "ipvs"
    EBPF = "ebpf"


class Forwarding(StrEnum):
    """Whose address an eBPF proxy sends on to another node."""

    HIDDEN = "hidden"
    KEPT = "kept"


class LocalPods(StrEnum):
    """Which pods kube-proxy takes for its own cluster's (KubeProxyConfiguration, ``detectLocalMode``)."""

    CLUSTER = "cluster"
    NODE = "node"


class PodEgress(StrEnum):
    """Under whose address a pod dials a node."""

    OWN = "own"
    NODE = "node"


class Matching(StrEnum):
    """Whether an ipBlock covers addresses of the cluster's own."""

    MATCHED = "matched"
    PASSED_OVER = "passed-over"


class Hairpin(StrEnum):
    """What a CNI makes of a pod that comes back to itself through its Service."""

    JUDGED = "judged"
    LET_IN = "let-in"


class Terminating(StrEnum):
    """What a CNI does with a pod that terminates and still serves."""

    ISOLATED = "isolated"
    LET_GO = "let-go"


class Routing(StrEnum):
    """Whether the network outside has a route to an address that is meant for the inside."""

    ROUTED = "routed"
    NOT_ROUTED = "not-routed"


class Chance(StrEnum):
    """An answer that no flag gives."""

    YES = "yes"
    NO = "no"


@dataclass(frozen=True, slots=True)
class _Meaning:
    key: str
    about: str
    options: type[StrEnum] | None
    sentences: Mapping[str, str] = field(default_factory=dict, hash=False)


class Unknown(Enum):
    """A closed list. ``key`` is how a flag spells it, ``about`` names it in a sentence, ``sentences`` says what each
    answer means, after "if"."""

    ENFORCEMENT = _Meaning(
        "enforcement",
        "whether the CNI enforces NetworkPolicy",
        Enforcement,
        {
            Enforcement.ENFORCED: "the CNI enforces NetworkPolicy",
            Enforcement.IGNORED: "the CNI does not enforce NetworkPolicy",
        },
    )
    PLACEMENT = _Meaning(
        "placement",
        "where the CNI gives its verdict",
        Placement,
        {
            Placement.EVERY_HOP: "the CNI gives its verdict on every node that forwards the connection",
            Placement.OWN_NODE: "the CNI gives its verdict on the pod's own node, before that node masquerades",
            Placement.AFTER_SNAT: "the CNI gives its verdict after masquerading, at the pod's interface",
        },
    )
    PROXY = _Meaning(
        "proxy-mode",
        "which proxy serves node ports",
        Proxy,
        {
            Proxy.IPTABLES: "kube-proxy serves node ports by iptables",
            Proxy.NFTABLES: "kube-proxy serves node ports by nftables",
            Proxy.IPVS: "kube-proxy serves node ports by IPVS",
            Proxy.EBPF: "an eBPF proxy serves node ports",
        },
    )
    FORWARDING = _Meaning(
        "ebpf-forwarding",
        "whose address the eBPF proxy sends on to another node",
        Forwarding,
        {
            Forwarding.HIDDEN: "the eBPF proxy hides the client behind its node's address (SNAT)",
            Forwarding.KEPT: "the eBPF proxy keeps the client's address on the way to another node (DSR)",
        },
    )
    LOCAL_PODS = _Meaning(
        "local-pods",
        "kube-proxy's detectLocalMode",
        LocalPods,
        {
            LocalPods.CLUSTER: "detectLocalMode takes the pods of every node for local (ClusterCIDR)",
            LocalPods.NODE: "detectLocalMode takes the node's own pods alone for local",
        },
    )
    POD_EGRESS = _Meaning(
        "pod-egress",
        "whether the CNI masquerades what a pod sends to a node",
        PodEgress,
        {
            PodEgress.OWN: "a pod that dials a node keeps its own address",
            PodEgress.NODE: "a pod that dials a node is masqueraded to the address of its own node",
        },
    )
    PODS_IN_IPBLOCK = _Meaning(
        "pods-in-ipblock",
        "whether an ipBlock covers pods",
        Matching,
        {
            Matching.MATCHED: "an ipBlock covers the addresses of pods",
            Matching.PASSED_OVER: "an ipBlock does not cover the addresses of pods",
        },
    )
    NODES_IN_IPBLOCK = _Meaning(
        "nodes-in-ipblock",
        "whether an ipBlock covers nodes",
        Matching,
        {
            Matching.MATCHED: "an ipBlock covers the addresses of nodes",
            Matching.PASSED_OVER: "an ipBlock does not cover the addresses of nodes",
        },
    )
    HAIRPIN = _Meaning(
        "hairpin",
        "what the CNI makes of a pod that comes back to itself through its Service",
        Hairpin,
        {
            Hairpin.JUDGED: "the CNI judges a pod that comes back to itself as it does others",
            Hairpin.LET_IN: "the CNI lets a pod come back to itself",
        },
    )
    TERMINATING = _Meaning(
        "terminating-pods",
        "whether the CNI still isolates a pod that terminates",
        Terminating,
        {
            Terminating.ISOLATED: "the CNI isolates a pod until it is gone",
            Terminating.LET_GO: "the CNI lets go of a pod that terminates",
        },
    )
    CLUSTER_ADDRESS = _Meaning(
        "cluster-address",
        "whether a cluster address is routed from outside",
        Routing,
        {
            Routing.ROUTED: "the network outside routes cluster addresses to this node",
            Routing.NOT_ROUTED: "the network outside has no route to cluster addresses",
        },
    )
    POD_ADDRESS = _Meaning(
        "pod-address",
        "whether pod addresses are routed from outside",
        Routing,
        {
            Routing.ROUTED: "the network outside routes pod addresses",
            Routing.NOT_ROUTED: "the network outside has no route to pod addresses",
        },
    )
    NAMED_PORT = _Meaning(
        "named-port",
        "which port of the pod bears a name",
        Chance,
        {
            Chance.YES: "the port that the rule names is this one at the pod",
            Chance.NO: "the port that the rule names is another one at the pod",
        },
    )
    HIDDEN_ADDRESS = _Meaning(
        "hidden-address",
        "the nodes' addresses, which are not known here",
        Chance,
        {
            Chance.YES: "a rule covers the node's address",
            Chance.NO: "no rule covers the node's address",
        },
    )
    CALLER_NODE = _Meaning(
        "caller-node",
        "which node the calling pod runs on",
        Chance,
        {
            Chance.YES: "the calling pod runs on the node that it dials",
            Chance.NO: "the calling pod runs on another node than it dials",
        },
    )
    NODE_ADDRESS = _Meaning("node-address", "which of its addresses the node masquerades with", None)
    BACKEND = _Meaning("backend", "which pod the connection is sent to", None)

    @property
    def key(self) -> str:
        """Its name on the command line and in outputs for programs."""
        return self.value.key

    @property
    def about(self) -> str:
        """What it is, as the end of "depends on"."""
        return self.value.about

    @property
    def options(self) -> tuple[str, ...]:
        """Every answer; none where the answers are other ones in every cluster."""
        return tuple(self.value.options) if self.value.options else ()

    @property
    def can_be_known(self) -> bool:
        """Whether somebody who knows the cluster can answer it once for all connections."""
        return self.value.options not in (None, Chance)

    def sentence(self, *options: str) -> str:
        """What one of these answers means, after "if"."""
        if len(options) > 1:
            return f"{self.key} is {', '.join(options[:-1])} or {options[-1]}"
        (option,) = options
        told: str | None = self.value.sentences.get(option)
        if told is None and self is Unknown.NODE_ADDRESS:
            return f"the node masquerades with {option}"
        return told or f"it goes to {option}"


Known = Mapping[Unknown, frozenset[str]]
"""The answers that are left, of the unknowns of which anything is known."""

DEFAULT: Known = {Unknown.ENFORCEMENT: frozenset({Enforcement.ENFORCED})}
"""Every verdict takes NetworkPolicy for enforced unless somebody says otherwise, and ``probe`` finds out."""
