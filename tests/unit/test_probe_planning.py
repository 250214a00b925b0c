"""What a probe dials, what is predicted of it, and the file that carries both to a machine without a kubeconfig."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import ServiceKey
from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate import Answer, Eventuality
from nodeport_access.evaluate.cni import settle
from nodeport_access.probe import plan_file
from nodeport_access.probe.plan_file import PlanError
from nodeport_access.probe.planning import NothingToDial, narrowed
from nodeport_access.probe.plans import Assumption, Doubt, Plan, Prediction, Protocol, Target, Way
from tests.unit import builders, probes
from tests.unit.builders import NOW, port
from tests.unit.probes import HTTP, LOAD_BALANCER, POD, STRANGER, plan, scene, target
from tests.unit.strategies import properties

UDP = port(53, name="dns", node=31653, protocol="UDP")


def dialled(found: Plan) -> list[str]:
    return [f"{each.node} {each}" for each in found.targets]


# --- targets ---


def test_every_port_of_every_node_is_dialled_on_every_address_of_the_families() -> None:
    found = plan(scene(ports=(HTTP, UDP), families=["IPv4", "IPv6"]))

    assert dialled(found) == [
        f"node-{number} {address}:{number_and_protocol}"
        for number in (1, 2, 3)
        for number_and_protocol in ("31602/TCP", "31653/UDP")
        for address in (f"10.99.0.{number}", f"[fd00:99::{number}]")
    ]
    assert {each.way for each in found.targets} == {Way.NODE_PORT}


def test_addresses_of_other_families_and_of_tunnels_are_not_dialled() -> None:
    tunnelled = builders.node(
        "node-1",
        addresses=["10.99.0.1", "fd00:99::1"],
        annotations={"projectcalico.org/IPv4IPIPTunnelAddr": "10.244.1.1"},
    )
    assert dialled(plan(scene(nodes=[tunnelled]))) == ["node-1 10.99.0.1:31602/TCP"]


def test_what_is_not_dialled_is_noted() -> None:
    ports = (HTTP, port(81, name="signals", protocol="SCTP"), {**port(82, name="plain"), "nodePort": 0})
    nodes = (*probes.NODES, builders.node("node-4", addresses=["fd00:99::4"]))

    assert plan(scene(ports=ports, nodes=nodes)).notes == (
        "Port signals is of protocol SCTP, which is not dialled.",
        "Port plain has no node port, so no node is dialled for it.",
        "Node node-4 has no address of the Service's families, so it is not dialled.",
    )


@pytest.mark.parametrize(
    ("tweaks", "sentence"),
    [
        ({"type": "ClusterIP"}, "Service web/shop is of type ClusterIP, which has no node ports"),
        ({"nodes": ()}, "No Node is known by its address"),
        ({"ports": (port(81, name="signals", protocol="SCTP"),)}, "Service web/shop has nothing to dial. Port signals"),
    ],
)
def test_a_service_with_nothing_to_dial_has_no_plan(tweaks: dict[str, Any], sentence: str) -> None:
    with pytest.raises(NothingToDial, match=sentence):
        plan(scene(**tweaks))


def test_other_addresses_are_dialled_where_they_are_asked_for() -> None:
    found = scene(type="LoadBalancer", externalIPs=["192.0.2.80"])
    assert len(plan(found).targets) == 3
    *_, external = plan(found, every_address=True).targets
    assert (external.way, external.node, str(external)) == (Way.EXTERNAL_IP, "", "192.0.2.80:80/TCP")


# --- predictions ---


def answers(found: Plan, source: Any) -> list[Answer | None]:
    return [found.answer(each, source) for each in found.targets]


def test_under_local_only_the_node_with_the_pod_lets_the_allowed_in() -> None:
    assert answers(plan(), LOAD_BALANCER) == [Answer.REFUSED, Answer.THROUGH, Answer.REFUSED]
    assert answers(plan(), STRANGER) == [Answer.REFUSED] * 3


def test_networkpolicy_is_put_to_the_test_where_it_alone_keeps_somebody_out() -> None:
    def tested(source: Any) -> list[str]:
        return [each.node for each in plan().targets if each.prediction.hangs_on_enforcement(source)]

    assert tested(STRANGER) == ["node-2"]
    assert tested(LOAD_BALANCER) == []


def test_nothing_is_predicted_for_the_clusters_own_addresses() -> None:
    found = plan()
    for source in ("10.99.0.3", "10.244.3.9", str(POD)):
        assert answers(found, ip_address(source)) == [None] * 3


def test_what_is_not_known_makes_the_prediction_depend_on_it() -> None:
    found = plan(scene(traffic_policy="Cluster"), known=settle(proxy_mode="iptables"))
    by_pods_node = target(found, "node-2").prediction

    assert by_pods_node.answer(STRANGER) is Answer.DEPENDS
    assert "where the CNI gives its verdict" in {doubt.about for doubt in by_pods_node.doubts}
    letting_in = [each.conditions for each in by_pods_node.eventualities if STRANGER in each.admitted]
    assert letting_in == [("the CNI gives its verdict after masquerading, at the pod's interface",)]


def test_which_node_takes_an_external_ip_is_not_known_either() -> None:
    *_, external = plan(scene(externalIPs=["192.0.2.80"]), every_address=True).targets
    prediction = external.prediction

    assert prediction.answer(LOAD_BALANCER) is Answer.DEPENDS
    assert prediction.answer(STRANGER) is Answer.REFUSED
    assert [doubt.about for doubt in prediction.doubts] == ["which node the network sends it to"]
    assert [each.conditions for each in prediction.eventualities] == [
        ("it comes in by node-1 or node-3",),
        ("it comes in by node-2",),
    ]


def test_without_networkpolicies_nothing_is_refused_by_them() -> None:
    found = plan(scene(policies=(), traffic_policy="Cluster"))
    assert answers(found, STRANGER) == [Answer.THROUGH] * 3


def test_a_narrowed_plan_predicts_the_same_of_its_addresses_and_nothing_of_others() -> None:
    whole = plan()
    found = narrowed(whole, AddressSet.from_texts([f"{STRANGER}/32"]))

    assert answers(found, STRANGER) == answers(whole, STRANGER)
    assert answers(found, LOAD_BALANCER) == [None] * 3
    for mine, all_of_it in zip(found.targets, whole.targets, strict=True):
        assert mine.prediction.hangs_on_enforcement(STRANGER) == all_of_it.prediction.hangs_on_enforcement(STRANGER)


def test_a_narrowed_plan_tells_neither_the_list_nor_the_ranges_nor_the_pods() -> None:
    text = plan_file.write(narrowed(plan(), AddressSet.from_texts([f"{STRANGER}/32"])))
    assert str(STRANGER) in text
    assert not [secret for secret in (str(LOAD_BALANCER), "10.244.", "allow") if secret in text]


# --- the file ---

ADDRESS_SETS = st.lists(
    st.sampled_from(["10.2.3.4/32", "203.0.113.0/24", "2001:db8::/48", "0.0.0.0/0", "::/0"]), max_size=3
).map(AddressSet.from_texts)
SENTENCES = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3).map(tuple)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    surely = draw(ADDRESS_SETS)
    return Prediction(
        surely=surely,
        perhaps=surely | draw(ADDRESS_SETS),
        unenforced=draw(ADDRESS_SETS),
        derivation=draw(SENTENCES),
        doubts=tuple(Doubt(about=text, key=text[:1]) for text in draw(SENTENCES)),
        eventualities=tuple(Eventuality(conditions=(text,), admitted=draw(ADDRESS_SETS)) for text in draw(SENTENCES)),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    target = st.builds(
        Target,
        way=st.sampled_from(Way),
        node=st.sampled_from(["", "node-1"]),
        address=st.ip_addresses(),
        port=st.integers(1, 65535),
        protocol=st.sampled_from(Protocol),
        service_port=st.sampled_from(["http", "80"]),
        prediction=predictions(),
    )
    return Plan(
        service=ServiceKey("web", "shop"),
        made=NOW,
        program=draw(st.sampled_from(["0.1.0", ""])),
        assumptions=tuple(
            Assumption(key=f"key-{number}", answers=texts)
            for number, texts in enumerate(draw(st.lists(SENTENCES, max_size=2)))
        ),
        nodes=draw(ADDRESS_SETS),
        pods=draw(ADDRESS_SETS),
        only_for=draw(st.none() | ADDRESS_SETS),
        targets=tuple(draw(st.lists(target, min_size=1, max_size=3))),
        notes=draw(SENTENCES),
    )


@properties(60)
@given(plans())
def test_a_plan_comes_out_of_its_file_as_it_went_in(plan: Plan) -> None:
    assert plan_file.read(plan_file.write(plan)) == plan


def test_address_sets_that_many_targets_share_stand_in_the_file_once() -> None:
    body = json.loads(plan_file.write(plan(scene(families=["IPv4", "IPv6"]))))
    texts = [json.dumps(each) for each in body["addressSets"].values()]
    assert len(texts) == len(set(texts)) < len(body["targets"]) * 3


MISSING = object()


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("kind",), "List", "it is no plan of a probe (kind: 'nodeport-access probe plan'); write one with --export."),
        (("version",), 2, "it is of version 2, and this program reads version 1; export it with the same release."),
        (("service", "name"), MISSING, "service.name is missing; export the plan anew."),
        (("service",), "web/shop", "service must be an object with fields; export the plan anew."),
        (("made",), "2026-06-01T12:00:00", "made must be a time with its zone, as in RFC 3339; export the plan anew."),
        (("targets",), [], "targets must be a list with at least 1; export the plan anew."),
        (("targets", 1, "port"), 0, "targets[1].port must be a number from 1 to 65535; export the plan anew."),
        (("targets", 1, "port"), True, "targets[1].port must be a number from 1 to 65535; export the plan anew."),
        (("targets", 0, "address"), "node-1", "targets[0].address must be an IP address; export the plan anew."),
        (("targets", 0, "protocol"), "SCTP", "targets[0].protocol must be one of TCP, UDP; export the plan anew."),
        (
            ("targets", 2, "surely"),
            "all",
            "targets[2].surely must be the name of one of addressSets; export the plan anew.",
        ),
        (("addressSets", "set-1"), ["10.0.0.1"], "addressSets.set-1 must be a list of CIDRs; export the plan anew."),
        (("notes",), "none", "notes must be a list; export the plan anew."),
        (("targets", 0, "derivation"), [1], "targets[0].derivation[0] must be a text; export the plan anew."),
    ],
)
def test_a_file_that_is_no_such_plan_is_refused_with_its_field(
    path: tuple[Any, ...], value: object, sentence: str
) -> None:
    body = json.loads(plan_file.write(plan()))
    *steps, last = path
    inner = body
    for step in steps:
        inner = inner[step]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    with pytest.raises(PlanError) as refused:
        plan_file.read(json.dumps(body))
    assert str(refused.value) == sentence


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "apiVersion: v1"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="write one with --export"):
        plan_file.read(text)


def test_more_surely_than_perhaps_is_refused() -> None:
    body = json.loads(plan_file.write(plan()))
    body["addressSets"] |= {"all": ["0.0.0.0/0"], "none": []}
    body["targets"][0] |= {"surely": "all", "perhaps": "none"}
    with pytest.raises(PlanError, match=r"targets\[0\]\.surely must be a part of what perhaps names"):
        plan_file.read(json.dumps(body))
