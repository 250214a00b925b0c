"""Why a client gets in or not: who he is, what each rule says to him, and what is said where nothing has the name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodeport_access.api import ServiceKey
from nodeport_access.evaluate import DEFAULT, Answer, Known, Unknown
from nodeport_access.explaining import By, Explanation, NotThere, ask, explain, explain_all, find_client
from nodeport_access.explaining.document import document
from nodeport_access.explaining.peers import Word
from nodeport_access.explaining.rulings import RuleTold
from nodeport_access.inventory import Inventory
from tests.unit.audits import BARE, CLOSED, GUARDED, TRAPPED, cluster, network_policy, pod, service

SETTLED: Known = {**DEFAULT, Unknown.PLACEMENT: frozenset({"own-node"}), Unknown.PROXY: frozenset({"iptables"})}


def explained(inventory: Inventory, name: str, who: str, *, known: Known = SETTLED, **asked: Any) -> Explanation:
    return explain(ask(inventory, ServiceKey("web", name), **asked), find_client(inventory, who), known=known)


def rules_of(found: Explanation, policy: str) -> list[RuleTold]:
    told = [each for at in found.rulings for told in at.told for each in told.policies]
    return [rule for each in told if each.name == policy for rule in each.rules]


def ruled(folder: Path, rule: str, who: str, **known: Any) -> RuleTold:
    """What one rule says to this client at the port of a Local Service."""
    texts = (service("shop", 30001), pod("shop", address="10.244.2.11"), network_policy("list", "shop", rule))
    found = explained(cluster(folder, *texts), "shop", who, node="n2", by=[By.NODE_PORT], **known)
    return rules_of(found, "list")[0]


def test_a_listed_client_gets_in_where_a_pod_is_and_the_rule_is_named(tmp_path: Path) -> None:
    found = explained(cluster(tmp_path, *GUARDED), "shop", "203.0.113.5")
    answers = {each.nodes: each.verdict.answer for each in found.answers}
    assert answers == {("n2",): Answer.THROUGH, ("n1", "n3"): Answer.REFUSED}
    (through,) = (each for each in found.answers if each.verdict.answer is Answer.THROUGH)
    assert through.verdict.derivation[-1] == "Rule 1 of NetworkPolicy shop-allow admits 203.0.113.5."


@pytest.mark.parametrize(
    ("rule", "who", "word", "reason"),
    [
        (
            "{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}",
            "203.0.113.5",
            Word.ADMITS,
            "ipBlock 203.0.113.0/24 holds 203.0.113.5",
        ),
        (
            "{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}",
            "198.51.100.7",
            Word.NOT,
            "ipBlock 203.0.113.0/24 does not hold 198.51.100.7",
        ),
        (
            "{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.66/32]}}]}",
            "203.0.113.66",
            Word.NOT,
            "203.0.113.66 is in except 203.0.113.66/32 of ipBlock 203.0.113.0/24",
        ),
        (
            "{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 9090}]}",
            "198.51.100.7",
            Word.NOT,
            "it is for TCP 9090, and the connection arrives at TCP 8080",
        ),
        ("{ports: [{port: 8080}]}", "198.51.100.7", Word.ADMITS, "it has no from, so it admits everyone"),
        (
            "{from: [{podSelector: {}}]}",
            "198.51.100.7",
            Word.NOT,
            "podSelector {} is for pods, which it does not come as",
        ),
        (
            "{from: [{podSelector: {matchLabels: {app: reporter}}}]}",
            "ops/reporter",
            Word.NOT,
            "podSelector {app=reporter} without namespaceSelector is for pods of namespace web alone, and it is of ops",
        ),
        (
            "{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}",
            "ops/reporter",
            Word.ADMITS,
            "namespaceSelector {team=ops} selects it",
        ),
        (
            "{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [ops]}]}}]}",
            "ops/reporter",
            Word.NOT,
            "namespaceSelector {team NotIn (ops)} does not select namespace ops"
            " (kubernetes.io/metadata.name=ops, team=ops)",
        ),
        (
            "{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: x}}}]}",
            "ops/reporter",
            Word.NOT,
            "podSelector {app=x} does not select its labels (app=reporter)",
        ),
        (
            "{from: [{ipBlock: {cidr: 10.244.0.0/16}}]}",
            "ops/reporter",
            Word.MAYBE,
            "ipBlock 10.244.0.0/16 holds 10.244.3.9, if it covers pods",
        ),
        (
            "{from: [{ipBlock: {cidr: 192.168.0.0/16}}]}",
            "192.168.0.3",
            Word.MAYBE,
            "ipBlock 192.168.0.0/16 holds 192.168.0.3, if it covers nodes",
        ),
    ],
)
def test_each_rule_says_why(tmp_path: Path, rule: str, who: str, word: Word, reason: str) -> None:
    known = {**SETTLED, Unknown.POD_EGRESS: frozenset({"own"}), Unknown.LOCAL_PODS: frozenset({"cluster"})}
    said = ruled(tmp_path, rule, who, known=known)
    assert (said.number, said.word, said.reasons) == (1, word, (reason,))


def test_what_nearly_admits_is_told_before_what_is_far_off(tmp_path: Path) -> None:
    blocks = ", ".join(f"{{ipBlock: {{cidr: 10.0.{number}.0/24}}}}" for number in range(9))
    nearly = "{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.66/32]}}"
    said = ruled(tmp_path, f"{{from: [{blocks}, {nearly}]}}", "203.0.113.66")
    assert "in except" in said.reasons[0]


def test_under_cluster_the_rules_are_asked_about_the_nodes_address(tmp_path: Path) -> None:
    found = explained(cluster(tmp_path, *TRAPPED), "trapped", "198.51.100.7", node="n1")
    assert [told.sources for at in found.rulings for told in at.told] == [("10.244.1.0, an address of n1",)]


@pytest.mark.parametrize(
    ("who", "sentence"),
    [
        ("198.51.100.7", "198.51.100.7 is outside the cluster, as far as its objects tell."),
        ("192.168.0.3", "192.168.0.3 is an address of node n3."),
        ("10.244.3.0", "10.244.3.0 is the tunnel's address of node n3."),
        ("10.244.3.9", "10.244.3.9 is pod ops/reporter on node n3."),
        ("ops/reporter", "10.244.3.9 is pod ops/reporter on node n3."),
        ("10.244.3.77", "10.244.3.77 is in the pod range of node n3, but no pod is known to have it."),
    ],
)
def test_an_address_is_recognised(tmp_path: Path, who: str, sentence: str) -> None:
    assert find_client(cluster(tmp_path, *BARE), who).sentence == sentence


@pytest.mark.parametrize(
    ("name", "asked", "sentence"),
    [
        ("nosuch", {}, "there is no Service web/nosuch; there is web/bare."),
        ("bare", {"node": "n9"}, "there is no node n9; there is n1, n2, n3."),
        ("bare", {"port": "https"}, "Service web/bare has no port https; it has http (80)."),
    ],
)
def test_what_is_not_there_is_said_with_what_there_is(
    tmp_path: Path, name: str, asked: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(NotThere) as caught:
        ask(cluster(tmp_path, *BARE), ServiceKey("web", name), **asked)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("who", "sentence"),
    [
        ("nonsense", "'nonsense' is neither an IP address nor NAMESPACE/POD."),
        ("ops/nobody", "there is no pod ops/nobody; there is reporter."),
    ],
)
def test_a_client_that_is_not_there_is_said_so(tmp_path: Path, who: str, sentence: str) -> None:
    with pytest.raises(NotThere) as caught:
        find_client(cluster(tmp_path, *BARE), who)
    assert str(caught.value) == sentence


def test_where_it_depends_each_possibility_is_told(tmp_path: Path) -> None:
    found = explained(cluster(tmp_path, *TRAPPED), "trapped", "198.51.100.7", node="n2", known=DEFAULT)
    (each,) = found.answers
    assert each.verdict.answer is Answer.DEPENDS
    assert Unknown.PLACEMENT in each.verdict.depends_on
    written = document(found, source="files", assumed=())["answers"][0]
    assert {one["answer"] for one in written["possibilities"]} == {"through", "refused"}
    assert all(one["if"] and one["derivation"] for one in written["possibilities"])


def test_without_a_client_everybody_who_gets_in_is_told(tmp_path: Path) -> None:
    inventory = cluster(tmp_path, *GUARDED, *CLOSED)
    found = explain_all(inventory, ask(inventory, ServiceKey("web", "shop")), known=SETTLED)
    (port,) = found.ports
    assert {cell.nodes: bool(cell.surely) for cell in port.cells} == {("n2",): True, ("n1", "n3"): False}
    ((_, inside),) = found.inside
    assert {each.namespace: dict(each.answers) for each in inside} == {
        "ops": {Answer.REFUSED: 1},
        "web": {Answer.REFUSED: 1},
    }
    assert document(found, source="files", assumed=())["inside"][0]["answers"] == {"refused": 1}


def test_through_one_node_the_derivation_is_told_of_that_node(tmp_path: Path) -> None:
    inventory = cluster(tmp_path, *GUARDED)
    found = explain_all(inventory, ask(inventory, ServiceKey("web", "shop"), node="n3"), known=SETTLED)
    ((cell,),) = (port.cells for port in found.ports)
    assert (cell.nodes, cell.derivation) == (
        ("n3",),
        ("Under Local, n3 drops it, because no ready pod of the Service is there: a time-out.",),
    )
