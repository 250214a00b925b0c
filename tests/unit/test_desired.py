"""What a policy becomes: whole bodies against files that people read, and properties over generated policies.

Every file of golden/desired holds a policy, a Service and an instant, and under `becomes` the bodies that are written
first, in order. After a change that is meant, `.venv/bin/python -m tests.unit.test_desired` writes `becomes` anew;
read the diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from ipaddress import collapse_addresses, ip_address, ip_network
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access import desired
from nodeport_access.api import Body, Policy
from nodeport_access.cidrs import Address
from nodeport_access.observed import Service, TargetPort, parse_service
from nodeport_access.plan import plan
from nodeport_access.policy_body import parse_policy
from tests.unit import builders
from tests.unit.builders import NOW, snapshot_of
from tests.unit.strategies import policies, properties, services

GOLDEN = Path(__file__).parent / "golden" / "desired"
MARK = "becomes:\n"


def becomes(case: Mapping[str, Any]) -> list[Body]:
    """The bodies that are applied for the policy where nothing has been written yet."""
    kinds: dict[str, Body] = {"policy": {"kind": "NodePortAccessPolicy"}, "service": {"kind": "Service"}}
    bodies = [{**kind, **case[name]} for name, kind in kinds.items()]
    target = parse_service(case["service"])
    if case.get("waiting"):
        bodies.append(
            builders.policy(namespace=target.key.namespace, name="first", service=target.key.name, created="")
        )
    snapshot = snapshot_of(*bodies, key=target.key, now=datetime.fromisoformat(case["now"]))
    key = parse_policy(case["policy"]).key
    return [write.body for write in plan(snapshot) if write.policy == key and write.body is not None]


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_policy_becomes_what_people_have_read(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert becomes(case) == case["becomes"]


def rewrite_all() -> None:
    """Writes what the code makes of every case in place of what is expected."""
    for path in sorted(GOLDEN.glob("*.yaml")):
        head = path.read_text(encoding="utf-8").partition(MARK)[0]
        tail = yaml.dump(
            becomes(yaml.safe_load(head)), Dumper=_NoAliases, sort_keys=False, default_flow_style=False, width=120
        )
        path.write_text(head + MARK + tail, encoding="utf-8")


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature of yaml
        return True


# --- properties ---


def rules(body: Body) -> list[Body]:
    return list(body["spec"]["ingress"])


def blocks(rule: Body) -> list[str]:
    return [peer["ipBlock"]["cidr"] for peer in rule["from"] if "ipBlock" in peer]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Body, Body]:
    return draw(policies()), draw(services())


@properties(100)
@given(cases())
def test_no_rule_has_empty_peers_or_ports(case: tuple[Body, Body]) -> None:
    policy, service = map_case(case)
    for rule in rules(desired.allow_body(policy, service, NOW)):
        assert rule["from"]
        assert rule["ports"]
        assert all(rule["from"]), "an empty peer is everyone"
        assert all(port.get("port") for port in rule["ports"]), "a port without a number is every port"
    for holder in (True, False):
        assert rules(desired.deny_body(policy, service, holder=holder)) == []


@properties(100)
@given(cases())
def test_the_blocks_of_a_rule_are_canonical_disjoint_and_as_few_as_can_be(case: tuple[Body, Body]) -> None:
    policy, service = map_case(case)
    for rule in rules(desired.allow_body(policy, service, NOW)):
        assert not any("except" in peer.get("ipBlock", {}) for peer in rule["from"])
        networks = [ip_network(text) for text in blocks(rule)]
        assert [str(network) for network in networks] == blocks(rule)
        assert not any(one.overlaps(other) for one, other in combinations(networks, 2))
        for version in (4, 6):
            mine: list[Any] = [network for network in networks if network.version == version]
            assert mine == list(collapse_addresses(mine))


def admitted_by_entries(policy: Body, service: Body, address: Address, target: tuple[str, int | str]) -> bool:
    """The oracle: reads the bodies alone, entry by entry, without any of the operator's code."""
    family = f"IPv{address.version}"
    if family not in service["spec"]["ipFamilies"]:
        return False
    for entry in policy["spec"]["allowedCIDRs"]:
        refs = entry.get("ports")
        leads_there = any(
            (port["protocol"], port["targetPort"]) == target
            and (refs is None or port["name"] in refs or port["port"] in refs)
            for port in service["spec"]["ports"]
        )
        inside = address in ip_network(entry["cidr"]) and not any(
            address in ip_network(text) for text in entry.get("except", ())
        )
        ends = entry.get("expiresAt")
        if leads_there and inside and (ends is None or datetime.fromisoformat(ends) > NOW):
            return True
    return False


def edges(policy: Body) -> Iterator[Address]:
    """The addresses on both sides of every boundary in the policy."""
    for entry in policy["spec"]["allowedCIDRs"]:
        for text in (entry["cidr"], *entry.get("except", ())):
            network = ip_network(text)
            for value in (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1):
                if 0 <= value < 2**network.max_prefixlen:
                    yield ip_address(value.to_bytes(network.max_prefixlen // 8, "big"))


@properties(100)
@given(cases())
def test_an_address_gets_in_exactly_where_an_entry_in_force_lets_it_in(case: tuple[Body, Body]) -> None:
    policy_body, service_body = case
    policy, service = map_case(case)
    emitted = rules(desired.allow_body(policy, service, NOW))
    for target in {(port["protocol"], port["targetPort"]) for port in service_body["spec"]["ports"]}:
        port = {"protocol": target[0], "port": target[1]}
        reaching = [ip_network(text) for rule in emitted if port in rule["ports"] for text in blocks(rule)]
        for address in edges(policy_body):
            got_in = any(address in network for network in reaching)
            assert got_in == admitted_by_entries(policy_body, service_body, address, target), (address, target)


@properties(100)
@given(cases())
def test_peers_get_every_port_of_the_service_and_no_other(case: tuple[Body, Body]) -> None:
    policy, service = map_case(case)
    every = {(port["protocol"], port["targetPort"]) for port in case[1]["spec"]["ports"]}
    with_peers = [
        rule
        for rule in rules(desired.allow_body(policy, service, NOW))
        if any("ipBlock" not in peer for peer in rule["from"])
    ]
    assert len(with_peers) == (1 if policy.peers else 0)
    for rule in with_peers:
        assert {(port["protocol"], port["port"]) for port in rule["ports"]} == every
        assert [peer for peer in rule["from"] if "ipBlock" not in peer] == list(policy.peers)


@properties(100)
@given(cases(), st.booleans())
def test_bodies_always_carry_ingress_egress_and_policy_types(case: tuple[Body, Body], holder: bool) -> None:
    policy, service = map_case(case)
    for body in (desired.allow_body(policy, service, NOW), desired.deny_body(policy, service, holder=holder)):
        assert set(body["spec"]) == {"podSelector", "policyTypes", "ingress", "egress"}
        assert body["spec"]["egress"] == []
        assert body["spec"]["policyTypes"] == ["Ingress"]
        assert body["metadata"]["ownerReferences"][0]["uid"] == policy.uid
        assert "blockOwnerDeletion" not in body["metadata"]["ownerReferences"][0]


CHILDREN = st.lists(
    st.builds(
        builders.network_policy,
        name=st.sampled_from([f"{builders.NAME}-allow", f"{builders.NAME}-deny-all"]),
        ingress=st.sampled_from([(), ({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]},), ({},)]),
        pod_selector=st.sampled_from([None, {}, {"matchLabels": {"app": "other"}}]),
        labels=st.sampled_from([{}, {"nodeport-access.io/policy": builders.NAME, "foreign": "label"}]),
        managed=st.sampled_from([(builders.ours("spec.podSelector"),), (builders.ours(*builders.CHILD_FIELDS),)]),
    ),
    max_size=2,
    unique_by=lambda body: str(body["metadata"]["name"]),
)


@properties(100)
@given(cases(), CHILDREN)
def test_bodies_never_depend_on_what_stands_there(case: tuple[Body, Body], children: list[Body]) -> None:
    fresh = {write.name: write.body for write in plan(snapshot_of(*case))}
    for write in plan(snapshot_of(*case, *children)):
        if write.body is not None and write.body["kind"] == "NetworkPolicy":
            made = fresh[write.name]
            assert made is not None
            uid = {"uid": write.uid} if write.uid else {}
            assert write.body == {**made, "metadata": {**made["metadata"], **uid}}


@properties(100)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_entries_and_ports_does_not_matter(case: tuple[Body, Body], random: Any) -> None:
    policy, service = map_case(case)
    spec, ports = case[0]["spec"], case[1]["spec"]["ports"]
    shuffled = case[0] | {
        "spec": {**spec, "allowedCIDRs": random.sample(spec["allowedCIDRs"], len(spec["allowedCIDRs"]))}
    }
    turned = case[1] | {"spec": {**case[1]["spec"], "ports": random.sample(ports, len(ports))}}
    assert desired.allow_body(*map_case((shuffled, turned)), NOW) == desired.allow_body(policy, service, NOW)


def map_case(case: tuple[Body, Body]) -> tuple[Policy, Service]:
    return parse_policy(case[0]), parse_service(case[1])


# --- the small parts ---


@pytest.mark.parametrize(
    ("refs", "expected"),
    [
        ((), {8080, "admin"}),
        (("http",), {8080}),
        ((80,), {8080}),
        (("http", 9000), {8080, "admin"}),
        (("nowhere",), set()),
        ((8080,), set()),  # a target port is not a Service port
        (("80",), set()),
    ],
)
def test_ports_are_found_by_name_or_number_of_the_service_port(refs: tuple[Any, ...], expected: set[Any]) -> None:
    body = builders.service(ports=[builders.port(), builders.port(9000, name="admin-ui", target="admin")])
    assert {target.port for target in desired.target_ports(parse_service(body), refs)} == expected


def test_unknown_ports_are_named_once_and_in_order() -> None:
    policy = builders.policy(
        allowed=[builders.entry("10.0.0.1/32", ports=["b", 7]), builders.entry("10.0.0.2/32", ports=["a", "b", "http"])]
    )
    assert desired.unknown_ports(parse_policy(policy), parse_service(builders.service())) == ("b", 7, "a")


def test_the_service_is_released_by_a_body_without_any_field_but_guarded_by_its_uid() -> None:
    service = parse_service(builders.held_service(uid="service-uid"))
    assert desired.released_service_body(service) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": builders.NAME, "namespace": builders.NAMESPACE, "uid": "service-uid"},
    }


def test_numbers_sort_before_names_within_a_protocol() -> None:
    targets = [TargetPort(protocol=protocol, port=port) for protocol in ("UDP", "TCP") for port in ("web", 8080, 80)]
    ordered = sorted(targets, key=TargetPort.sort_key)
    assert [(target.protocol, target.port) for target in ordered] == [
        *(("TCP", port) for port in (80, 8080, "web")),
        *(("UDP", port) for port in (80, 8080, "web")),
    ]


if __name__ == "__main__":
    rewrite_all()
