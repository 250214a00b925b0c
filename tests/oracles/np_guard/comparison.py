"""np-guard's expectations of one folder held against the product's evaluator, connection by connection.

What is compared is who gets in to a pod: from every address at and around a boundary of ranges and ipBlocks, and from
every workload, to every port at and around a boundary, by TCP and UDP. Where a policy restricts the egress of the
source, what is expected is less than what the destination admits: then only what np-guard admits, we must admit. A
whole folder that speaks of something else is left out, by a named reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nodeport_access.api import Body
from nodeport_access.cidrs import Address
from nodeport_access.label_selectors import selects
from tests.oracles import product
from tests.oracles.case import NODE_ADDRESSES, Case, Question, addresses_of, blocks_of, key_of, ports_of, rules_of
from tests.oracles.generate import outsiders
from tests.oracles.np_guard import lists
from tests.oracles.np_guard.folders import ADMIN_KINDS, Folder, read

OUTPUTS = Path("test_outputs", "connlist")
SUFFIX = "_connlist_output.txt"

NO_LIST = "no list of connections as text is expected of it (differences, exposure, explanations, bad input)"
ADMIN = "AdminNetworkPolicy or BaselineAdminNetworkPolicy decide there, which the evaluator does not read"
EMPTY = "there is no workload to get in to"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one folder: left out for a reason, or questions, how many of them np-guard admits, and differences.

    ``one_way`` are questions from a source whose egress is restricted; ``outbound`` and ``by_controller`` are expected
    lines to addresses outside, and from an ingress controller that no manifest shows: neither is about NetworkPolicy at
    the destination.
    """

    name: str
    left_out: str = ""
    questions: int = 0
    admitted: int = 0
    one_way: int = 0
    outbound: int = 0
    by_controller: int = 0
    differences: list[str] = field(default_factory=list)


def compare(tests: Path) -> Iterator[Outcome]:
    """The outcome of every folder of np-guard's `tests`, whose expected outputs lie beside it."""
    for path in sorted(each for each in tests.iterdir() if each.is_dir()):
        expected = tests.parent / OUTPUTS / f"{path.name}{SUFFIX}"
        if not expected.exists():
            yield Outcome(name=path.name, left_out=NO_LIST)
            continue
        folder = read(path)
        if folder.kinds & ADMIN_KINDS:
            yield Outcome(name=path.name, left_out=ADMIN)
        elif not folder.pods:
            yield Outcome(name=path.name, left_out=EMPTY)
        else:
            yield _compared(path.name, folder, list(lists.parse(expected.read_text(encoding="utf-8"))))


def _compared(name: str, folder: Folder, lines: Sequence[lists.Line]) -> Outcome:
    outcome = Outcome(name=name)
    outcome.by_controller = sum(line.source == lists.CONTROLLER for line in lines)
    outcome.outbound = sum(lists.is_range(line.destination) for line in lines)
    inward = [line for line in lines if line.source != lists.CONTROLLER and not lists.is_range(line.destination)]
    ranges = {line.source for line in inward if lists.is_range(line.source)}
    case = Case(namespaces=folder.namespaces, pods=tuple(folder.pods.values()), policies=folder.policies, questions=())
    clients = _clients(folder, ranges)
    for destination, pod in folder.pods.items():
        mine = [line for line in inward if line.destination == destination]
        for protocol in lists.PROTOCOLS:
            for port in sorted(_ports(folder, pod, mine)):
                _ask(outcome, case, mine, clients, destination=destination, pod=pod, protocol=protocol, port=port)
    return outcome


def _ask(
    outcome: Outcome,
    case: Case,
    lines: Sequence[lists.Line],
    clients: Sequence[Client],
    *,
    destination: str,
    pod: Body,
    protocol: str,
    port: int,
) -> None:
    scene = None
    for client in clients:
        if client.name == destination:
            continue
        question = Question(
            source=client.source, address=client.address, destination=key_of(pod), protocol=protocol, port=port
        )
        scene = scene or product.scene_for(case, question)
        ours = product.admits(case, question, scene=scene)
        theirs = any(
            lists.admitted(line.connections, protocol=protocol, port=port) for line in lines if client.is_in(line)
        )
        outcome.questions += 1
        outcome.admitted += theirs
        outcome.one_way += client.restricted
        if ours != theirs and not (client.restricted and ours):
            says = "admits" if theirs else "refuses"
            outcome.differences.append(f"np-guard {says} {client.name} to {protocol} {port} of {destination}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who asks: an address outside, or the pod "namespace/name" of a workload, whose egress may be ``restricted``."""

    name: str
    address: Address
    source: str = ""
    restricted: bool = False

    def is_in(self, line: lists.Line) -> bool:
        """Whether a line is about this client."""
        if self.source or not lists.is_range(line.source):
            return line.source == self.name
        return lists.holds(line.source, self.address)


def _clients(folder: Folder, ranges: set[str]) -> list[Client]:
    """Pods ask by an address that no IPv4 block holds, because to np-guard no ipBlock selects a pod."""
    addresses = {address for name in ranges for address in lists.ends(name)}
    addresses |= {each for each in outsiders(list(blocks_of(folder.policies))) if each.version == 4}
    outside = sorted(address for address in addresses if str(address) not in NODE_ADDRESSES)
    return [
        *(Client(name=str(address), address=address) for address in outside),
        *(
            Client(
                name=name, address=addresses_of(pod)[1], source=key_of(pod), restricted=_egress_restricted(folder, pod)
            )
            for name, pod in folder.pods.items()
        ),
    ]


def _egress_restricted(folder: Folder, pod: Body) -> bool:
    """Whether a policy that selects the pod is of type Egress, by its policyTypes or, without any, by its rules."""
    metadata = pod["metadata"]
    return any(
        selects(policy["spec"].get("podSelector") or {}, metadata["labels"])
        and "Egress" in (policy["spec"].get("policyTypes") or (["Egress"] if "egress" in policy["spec"] else []))
        for policy in folder.policies
        if policy["metadata"]["namespace"] == metadata["namespace"]
    )


def _ports(folder: Folder, pod: Body, lines: Sequence[lists.Line]) -> set[int]:
    """At and beside every port that the pod, the policies of its namespace or the expectation name; and one more."""
    ruled = [
        port[end]
        for policy in folder.policies
        if policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
        for rule in rules_of(policy)
        for port in rule.get("ports") or ()
        for end in ("port", "endPort")
        if isinstance(port.get(end), int)
    ]
    named = {number: ((number, number),) for number in (*ruled, *(each["containerPort"] for each in ports_of(pod)))}
    limited = [
        line.connections for line in lines if line.connections != dict.fromkeys(lists.PROTOCOLS, lists.EVERY_PORT)
    ]
    return lists.boundaries([*limited, *({"TCP": pair} for pair in named.values())]) | {40000}
