"""What an audit finds: who gets in where, what guards it, and the traps."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeport_access.api import ServiceKey
from nodeport_access.audit import Openness, Report, ServiceReport, audit
from nodeport_access.audit.document import document
from nodeport_access.audit.openness import openness
from nodeport_access.audit.reaching import entry_of
from nodeport_access.audit.report import TrapKind
from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate import DEFAULT, Unknown, reach
from nodeport_access.inventory import read
from nodeport_access.inventory.scenes import scene
from tests.unit.audits import (
    ALL,
    AUDITED,
    BARE,
    CLOSED,
    ENTRIES,
    GUARDED,
    HOST,
    NO_FROM,
    NOW,
    SHARED,
    STALLED,
    TRAPPED,
    cluster,
    network_policy,
    pod,
    policy,
    service,
    write,
)


def audited(folder: Path, *texts: str, nodes: bool = True, known: object = None) -> Report:
    return audit(cluster(folder, *texts, nodes=nodes), now=NOW, source="files", known=known or DEFAULT)  # type: ignore[arg-type]


def one(report: Report, name: str) -> ServiceReport:
    return next(each for each in report.services if each.key.name == name)


@pytest.mark.parametrize(
    ("texts", "name", "rank", "who"),
    [
        (BARE, "bare", Openness.OPEN, ("0.0.0.0/0",)),
        (HOST, "agent", Openness.OPEN, ("0.0.0.0/0",)),
        (NO_FROM, "wide", Openness.OPEN, ("0.0.0.0/0",)),
        (AUDITED, "watched", Openness.OPEN, ("0.0.0.0/0",)),
        (TRAPPED, "trapped", Openness.PERHAPS, ("192.168.0.0/24",)),
        (ENTRIES, "dated", Openness.LISTED, ("198.51.100.2/32",)),
        (CLOSED, "closed", Openness.NOBODY, ()),
    ],
)
def test_each_service_is_ranked_by_who_gets_in(
    tmp_path: Path, texts: tuple[str, ...], name: str, rank: Openness, who: tuple[str, ...]
) -> None:
    (port,) = one(audited(tmp_path, *texts), name).ports
    assert (port.openness, port.surely.texts()) == (rank, who)


def test_the_worst_comes_first_and_services_without_policy_are_there(tmp_path: Path) -> None:
    report = audited(tmp_path, *ALL)
    ranks = [port.openness.rank for _, port in report.rows]
    assert ranks == sorted(ranks)
    assert {service.key.name for service in report.services if service.guard is None} == {
        "agent",
        "back-door",
        "bare",
        "trapped",
        "wide",
    }


def test_a_service_that_is_not_exposed_is_left_out(tmp_path: Path) -> None:
    inside = service("inside", 0).replace("type: NodePort", "type: ClusterIP").replace(", nodePort: 0", "")
    inside = inside.replace("  externalTrafficPolicy: Local\n", "")
    assert not audited(tmp_path, inside, pod("inside", address="10.244.2.9")).services


@pytest.mark.parametrize(
    ("texts", "name", "kinds"),
    [
        (GUARDED, "shop", set()),
        (TRAPPED, "trapped", {TrapKind.NODE_ADDRESSES_ALLOWED, TrapKind.CLUSTER_UNDER_ALLOWLIST}),
        (SHARED, "front", {TrapKind.SHARED_BACKENDS, TrapKind.NODE_ADDRESSES_ALLOWED, TrapKind.POLICY_STALLED}),
        (SHARED, "back-door", {TrapKind.CLUSTER_UNDER_ALLOWLIST}),
        (HOST, "agent", {TrapKind.HOST_NETWORK_BACKEND}),
        (NO_FROM, "wide", {TrapKind.RULE_WITHOUT_FROM}),
        (ENTRIES, "dated", {TrapKind.EXPIRED_ENTRY, TrapKind.ENTRY_EXPIRES_SOON}),
        (AUDITED, "watched", {TrapKind.POLICY_IN_AUDIT_MODE}),
        (STALLED, "bad", {TrapKind.POLICY_STALLED}),
    ],
)
def test_each_trap_is_found_where_it_is_set_and_nowhere_else(
    tmp_path: Path, texts: tuple[str, ...], name: str, kinds: set[TrapKind]
) -> None:
    assert {trap.kind for trap in one(audited(tmp_path, *texts), name).traps} == kinds


def test_every_trap_occurs_names_its_object_and_says_what_to_do(tmp_path: Path) -> None:
    traps = audited(tmp_path, *ALL).all_traps
    assert {trap.kind for trap in traps} == set(TrapKind)
    lines = (tmp_path / "cluster.yaml").read_text(encoding="utf-8").splitlines()
    for trap in traps:
        assert trap.way_out.endswith(".")
        assert trap.object.rpartition("/")[2] in trap.message
        assert lines[trap.place.line - 1].strip(), trap


def test_a_trap_stands_at_the_line_of_its_field(tmp_path: Path) -> None:
    report = audited(tmp_path, *ENTRIES)
    lines = (tmp_path / "cluster.yaml").read_text(encoding="utf-8").splitlines()
    assert ["expiresAt" in lines[trap.place.line - 1] for trap in report.all_traps] == [True, True]


def test_a_policy_without_a_service_is_told_of(tmp_path: Path) -> None:
    lost = policy("lost", "[]", service="nowhere").replace("mode: Enforce", "mode: Audit")
    assert [trap.kind for trap in audited(tmp_path, lost).traps] == [TrapKind.POLICY_IN_AUDIT_MODE]


def test_the_guard_has_the_condition_ready_of_the_holder(tmp_path: Path) -> None:
    report = audited(tmp_path, *GUARDED, *STALLED)
    shop, bad = one(report, "shop").guard, one(report, "bad").guard
    assert shop is not None
    assert bad is not None
    assert (shop.policy.name, shop.ready, shop.reason) == ("shop", True, "Guarded")
    assert (bad.ready, bad.reason) == (False, "PortNotFound")


def test_nodes_that_no_rule_tells_apart_share_a_cell(tmp_path: Path) -> None:
    (port,) = one(audited(tmp_path, *CLOSED, *GUARDED), "shop").ports
    assert [cell.nodes for cell in port.cells] == [("n2",), ("n1", "n3")]
    assert [cell.has_pod for cell in port.cells] == [True, False]


def test_every_way_in_has_its_cells(tmp_path: Path) -> None:
    exposed = service("lb", 30020, policy="Cluster", extra="  externalIPs: [203.0.113.9]").replace(
        "type: NodePort", "type: LoadBalancer"
    )
    exposed += "  loadBalancerSourceRanges: [198.51.100.0/24]\nstatus: {loadBalancer: {ingress: [{ip: 203.0.113.8}]}}\n"
    (port,) = one(audited(tmp_path, exposed, pod("lb", address="10.244.2.30")), "lb").ports
    by_way = {cell.way: cell.surely.texts() for cell in port.cells}
    assert by_way == {
        "node-port": ("0.0.0.0/0",),
        "external-ip": ("0.0.0.0/0",),
        "load-balancer": ("198.51.100.0/24",),
    }


def test_what_somebody_knows_settles_what_is_perhaps(tmp_path: Path) -> None:
    known = {
        **DEFAULT,
        Unknown.PROXY: frozenset({"iptables"}),
        Unknown.PLACEMENT: frozenset({"own-node"}),
        Unknown.NODES_IN_IPBLOCK: frozenset({"matched"}),
    }
    (port,) = one(audited(tmp_path, *TRAPPED, known=known), "trapped").ports
    assert (port.openness, port.perhaps.texts()) == (Openness.LISTED, ("192.168.0.0/24",))
    assert (port.surely, port.depends_on) == (port.perhaps, ())


def test_without_nodes_two_stand_in(tmp_path: Path) -> None:
    text = service("shop", 30001) + "---" + policy("shop", "[{cidr: 203.0.113.0/24}]")
    report = audited(tmp_path, text, nodes=False)
    (port,) = one(report, "shop").ports
    assert {cell.nodes for cell in port.cells} == {("a node with a ready pod",), ("a node without a ready pod",)}
    assert (port.openness, report.nodes) == (Openness.LISTED, ())


@pytest.mark.parametrize(
    ("texts", "rank"),
    [
        (["0.0.0.0/0"], Openness.OPEN),
        (["0.0.0.0/1", "192.0.0.0/2"], Openness.OPEN),
        (["0.0.0.0/1"], Openness.LISTED),
        (["2000::/3"], Openness.OPEN),
        (["fc00::/7"], Openness.LISTED),
        ([], Openness.NOBODY),
    ],
)
def test_more_than_half_of_a_family_is_everyone(texts: list[str], rank: Openness) -> None:
    addresses = AddressSet.from_texts(texts)
    assert openness(surely=addresses, perhaps=addresses) is rank


NODES_OF_PODS = st.lists(st.sampled_from(["n1", "n2", "n3"]), min_size=0, max_size=4)
RULES = st.lists(
    st.sampled_from(
        [
            "{from: [{ipBlock: {cidr: 192.168.0.1/32}}]}",
            "{from: [{ipBlock: {cidr: 10.244.0.0/16}}]}",
            "{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.2.0/24]}}]}",
            "{from: [{ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: 8080}]}",
        ]
    ),
    max_size=3,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(placed=NODES_OF_PODS, rules=RULES, traffic=st.sampled_from(["Local", "Cluster"]))
def test_a_cell_says_of_each_of_its_nodes_what_the_whole_scene_says(
    tmp_path: Path, placed: list[str], rules: list[str], traffic: str
) -> None:
    pods = [
        pod("shop", node=node, address=f"10.244.{node[1]}.{number + 20}").replace(f"shop-{node}", f"shop-{number}")
        for number, node in enumerate(placed)
    ]
    texts = (service("shop", 30001, policy=traffic), network_policy("list", "shop", ", ".join(rules)), *pods)
    inventory = read([write(tmp_path, *texts)])
    whole = scene(inventory, ServiceKey("web", "shop"))
    (port,) = whole.service.ports
    ((_, row),) = audit(inventory, now=NOW, source="files").rows
    assert sorted(chain.from_iterable(cell.nodes for cell in row.cells)) == ["n1", "n2", "n3"]
    for cell in row.cells:
        for node in cell.nodes:
            full = reach(whole, port=port, entry=entry_of(cell.way, node), families=whole.service.families)
            assert (cell.surely, cell.perhaps) == (full.surely, full.perhaps)


def test_the_document_has_its_version_and_nothing_that_yaml_cannot_hold(tmp_path: Path) -> None:
    found = document(audited(tmp_path, *ALL))
    assert (found["apiVersion"], found["kind"]) == ("audit.nodeport-access.io/v1", "NodePortAudit")
    assert found["summary"] == {"open": 4, "perhaps": 2, "listed": 3, "nobody": 2, "traps": 12}
    plain = (str, int, bool, list, dict, type(None))
    pending: list[object] = [found]
    while pending:
        value = pending.pop()
        assert type(value) in plain, value
        pending += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
