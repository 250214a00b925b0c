"""What must become of every cell, worked out from the API's text and kube-proxy's documented behaviour alone.

It shares no code with the operator, nor with the engine: a packet that does otherwise fails the run.

Not its business: what packets did (`tests.lab.test_tables`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from testbed.lab import stage
from testbed.lab.dialing import Fate, Outcome, Protocol
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4, Entry, Node
from tests.lab.cells import BACKEND, Cell, Client, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whom the NetworkPolicies that select the pod admit, taken together."""

    cidrs: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides about a connection. `admission` None: no NetworkPolicy selects the pod."""

    mode: Mode
    local: bool = False
    admission: Admission | None = None
    placement: Placement | None = None


@dataclass(frozen=True, slots=True)
class _Passage:
    """A place where a verdict can be given: on a node that forwards, or at the pod's interface (`node` None)."""

    node: Node | None
    source: str


def expected(situation: Situation, cell: Cell) -> Outcome:
    """What must become of a new connection."""
    if _dropped_by_proxy(situation, cell):
        return Outcome(Fate.REFUSED)
    if cell.client == BACKEND and cell.entry is Entry.POD:  # it never leaves the pod
        return _arrived(Fate.THROUGH, cell.client.addresses[cell.family])
    own, source = stage.BACKEND_NODE, _source(situation, cell)
    for passage in _passages(cell, source):
        if _is_judged(situation, passage) and not _admits(situation.admission, passage, cell.client, own):
            return Outcome(Fate.REFUSED)
    if _is_martian(cell, source):
        return Outcome(Fate.REFUSED)
    if _answer_goes_astray(cell, source):
        return _arrived(Fate.ONE_WAY, source) if cell.protocol is Protocol.UDP else Outcome(Fate.REFUSED)
    return _arrived(Fate.THROUGH, source)


def _arrived(fate: Fate, source: str) -> Outcome:
    return Outcome(fate, source=source, pod=BACKEND.name)


def _dropped_by_proxy(situation: Situation, cell: Cell) -> bool:
    """ "'Local' [...] drops the traffic if there are no node-local endpoints" (ServiceSpec v1, externalTrafficPolicy:
    node ports, external IPs and load-balancer addresses), but "traffic sent [...] from within the cluster will always
    get 'Cluster' semantics" (the same). A node's own traffic counts as from within on that node alone.
    """
    return situation.local and _is_external(cell) and not _from_within(cell) and cell.node != stage.BACKEND_NODE


def _source(situation: Situation, cell: Cell) -> str:
    """The address that the pod sees: the client's, or that of the node that masqueraded it.

    Under Cluster whatever comes by an external address is masqueraded; to a cluster address, what is not from a pod
    (detectLocalMode ClusterCIDR); always, what the node itself sends, and what a pod sends to itself. The last is done
    on every node in iptables mode, and on the pod's own alone in nftables mode ("Add local endpoints to the hairpin
    set", pkg/proxy/nftables/proxier.go).
    """
    client, address = cell.client, cell.client.addresses[cell.family]
    if cell.entry is Entry.POD:
        return address
    hides = not situation.local or cell.is_own if _is_external(cell) else client.kind is not Kind.POD
    return cell.node.addresses[cell.family] if hides or _is_hairpin(situation, cell) else address


def _passages(cell: Cell, source: str) -> Iterator[_Passage]:
    """Where the connection passes, in order, with the address it carries there before that node masquerades."""
    forwarded_from = cell.client.addresses[cell.family]
    if not cell.is_own:  # a node's own packets are sent, not forwarded
        yield _Passage(cell.node, forwarded_from)
    if cell.node != stage.BACKEND_NODE:
        yield _Passage(stage.BACKEND_NODE, source)
    yield _Passage(None, source)


def _is_judged(situation: Situation, passage: _Passage) -> bool:
    match situation.placement:
        case Placement.EVERY_HOP:
            return passage.node is not None
        case Placement.OWN_NODE:
            return passage.node == stage.BACKEND_NODE
        case Placement.AFTER_SNAT:
            return passage.node is None
        case None:
            return False


def _admits(admission: Admission | None, passage: _Passage, client: Client, own: Node) -> bool:
    """ "Traffic is allowed to a pod if there are no NetworkPolicies selecting the pod [...], OR if the traffic source
    is the pod's local node, OR if the traffic matches at least one ingress rule across all of the NetworkPolicy
    objects whose podSelector matches the pod." (NetworkPolicySpec v1 networking.k8s.io, ingress)

    The second is done by where verdicts are given: what the node sends is not forwarded, and at the pod's interface its
    address is exempt. A node's address on its way through another node is just an address.
    """
    if admission is None:
        return True
    if passage.node is None and passage.source in own.addresses:
        return True
    address = ip_address(passage.source)
    if client.kind is Kind.POD and passage.source in client.addresses and client.namespace in admission.namespaces:
        return True
    if any(address in ip_network(cidr) for cidr in admission.excepted):
        return False
    return any(address in ip_network(cidr) for cidr in admission.cidrs)


def _answer_goes_astray(cell: Cell, source: str) -> bool:
    """A pod that dials a third node's port under its own address is answered past that node, by the pod's address."""
    client = cell.client
    return (
        cell.entry is Entry.NODE_PORT
        and client.kind is Kind.POD
        and source in client.addresses
        and cell.node not in (client.node, stage.BACKEND_NODE)
    )


def _is_hairpin(situation: Situation, cell: Cell) -> bool:
    """Whether this node's kube-proxy knows the connection for one that comes back to its pod."""
    everywhere = situation.mode is Mode.IPTABLES
    return cell.client == BACKEND and (everywhere or cell.node == stage.BACKEND_NODE)


def _is_martian(cell: Cell, source: str) -> bool:
    """Linux drops an IPv4 packet that comes in under an address of its own (RFC 1812, 5.3.7), and no IPv6 packet."""
    return cell.client == BACKEND and cell.family == V4 and source in BACKEND.addresses


def _is_external(cell: Cell) -> bool:
    return cell.entry in (Entry.NODE_PORT, Entry.EXTERNAL_IP, Entry.LOAD_BALANCER)


def _from_within(cell: Cell) -> bool:
    return cell.client.kind is Kind.POD or cell.is_own
