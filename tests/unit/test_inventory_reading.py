"""Reading files into an inventory: what is found, what is filled in, and the sentence about what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeport_access.api import Body, ServiceKey
from nodeport_access.inventory import InputError, Inventory, ObjectKey, invented_uid, read, store
from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
)
from nodeport_access.observed import parse_network_policy, parse_service
from tests.unit import builders

POLICY = """\
apiVersion: nodeport-access.io/v1alpha1
kind: NodePortAccessPolicy
metadata:
  name: shop
  namespace: web
spec:
  serviceRef: {name: shop}
  allowedCIDRs:
    - cidr: 10.2.3.4/32
    - cidr: 10.2.4.0/24
      ports: [http]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: shop
  namespace: web
spec:
  type: NodePort
  selector: {app: shop}
  ports:
    - port: 80
      targetPort: http
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: shop-1, namespace: web, labels: {app: shop}}
spec:
  nodeName: node-1
  containers: [{name: shop, ports: [{name: http, containerPort: 8080}]}]
status:
  phase: Running
  podIP: 10.233.90.7
  conditions: [{type: Ready, status: "True"}]
"""


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def from_text(text: str) -> Inventory:
    return read(["-"], stdin=lambda: text)


def names(inventory: Inventory) -> list[str]:
    return [str(key) for key, item in inventory.items.items() if not item.origin.derived]


def one(inventory: Inventory, resource: Any, name: str = "shop") -> Body:
    body = inventory.get(resource, namespace="web", name=name)
    assert body is not None
    return body


# --- what is found ---


def test_a_folder_is_read_with_all_in_it_and_each_file_once(tmp_path: Path) -> None:
    written(tmp_path, policy=POLICY)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "service.yml").write_text(SERVICE, encoding="utf-8")
    (tmp_path / "deep" / "node.json").write_text('{\n\t"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}')
    inventory = read([str(tmp_path), str(tmp_path / "policy.yaml"), str(tmp_path / "deep")])
    assert names(inventory) == ["Node n", "Service web/shop", "NodePortAccessPolicy web/shop"]


def test_what_is_no_object_of_ours_is_passed_over(tmp_path: Path) -> None:
    written(
        tmp_path,
        values="image: x\nService: a name that is mentioned\n",
        kustomization="resources: [service.yaml]\n",
        deployment="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: Service}\n",
        knative="apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: x}\n",
        template="kind: {{ .Values.kind }}\n",
        service=f"# first\n---\n---\n{SERVICE}",
    )
    (tmp_path / ".git").mkdir()
    written(tmp_path / ".git", broken="kind: Service\n  a: [")
    assert names(read([str(tmp_path)])) == ["Service web/shop"]


def test_the_templates_of_a_chart_are_passed_over_and_a_note_says_so(tmp_path: Path) -> None:
    (tmp_path / "chart" / "templates").mkdir(parents=True)
    written(tmp_path / "chart", Chart="name: x\n")
    written(tmp_path / "chart" / "templates", service="kind: Service\nmetadata: {{ x }}\n")
    written(tmp_path, service=SERVICE)
    inventory = read([str(tmp_path)])
    assert names(inventory) == ["Service web/shop"]
    (note,) = inventory.notes
    assert note.startswith(f"{tmp_path / 'chart' / 'templates'} is passed over")


@pytest.mark.parametrize("kind", ["List", "ServiceList"])
def test_a_list_holds_objects_with_lines_of_their_own(kind: str) -> None:
    item = yaml.safe_load(SERVICE)
    if kind == "ServiceList":
        del item["kind"], item["apiVersion"]
    text = yaml.safe_dump({"apiVersion": "v1", "items": [item], "kind": kind}, sort_keys=False)
    inventory = from_text(text)
    assert names(inventory) == ["Service web/shop"]
    lines = text.splitlines()
    (key,) = [key for key in inventory.items if key.resource == SERVICES]
    line = int(inventory.place(key, "spec.ports[0].targetPort").rpartition(" ")[2])
    assert "targetPort" in lines[line - 1]


def test_the_empty_list_of_kubectl_is_no_object() -> None:
    with pytest.raises(InputError, match="standard input holds no Kubernetes object"):
        from_text("apiVersion: v1\nkind: List\nitems: []\n")


def test_each_field_has_its_line(tmp_path: Path) -> None:
    path = str(written(tmp_path, policy=f"---\n{POLICY}") / "policy.yaml")
    inventory, key = read([path]), ObjectKey(POLICIES, "web", "shop")
    lines = {
        "": 2,
        "metadata.name": 5,
        "spec.allowedCIDRs[1].cidr: wrong": 11,
        "spec.allowedCIDRs[1].ports: wrong": 12,
        "spec.allowedCIDRs[1].except: missing": 11,
        "spec.mode is missing": 7,
        "spec.allowedCIDRs[7]": 9,
    }
    assert {path: inventory.place(key, path) for path in lines} == {
        field: f"{path}, line {line}" for field, line in lines.items()
    }


def test_a_key_with_dots_has_its_line() -> None:
    text = POD.replace("{app: shop}", "\n  {app: shop,\n  app.kubernetes.io/name: x}")
    inventory = from_text(text)
    assert inventory.place(ObjectKey(PODS, "web", "shop-1"), "metadata.labels.app.kubernetes.io/name").endswith(
        "line 5"
    )


def test_an_object_without_namespace_is_in_the_one_asked_for(tmp_path: Path) -> None:
    folder = written(tmp_path, service=SERVICE.replace("  namespace: web\n", ""))
    assert names(read([str(folder)])) == ["Service default/shop"]
    assert names(read([str(folder)], namespace="web")) == ["Service web/shop"]


# --- what is filled in ---


def test_a_service_gets_what_the_api_server_would_give_it() -> None:
    body = one(from_text(SERVICE), SERVICES)
    assert body["spec"]["externalTrafficPolicy"] == "Cluster"
    assert body["spec"]["ipFamilies"] == ["IPv4"]
    assert body["spec"]["ports"] == [{"port": 80, "targetPort": "http", "protocol": "TCP"}]
    service = parse_service(body)
    assert (service.uid, service.node_ports) == (invented_uid(ObjectKey(SERVICES, "web", "shop")), ())
    assert not service.taken


@pytest.mark.parametrize(
    ("changes", "families"),
    [
        ({}, ["IPv4"]),
        ({"ipFamilies": ["IPv6"]}, ["IPv6"]),
        ({"clusterIP": "2001:db8::1"}, ["IPv6"]),
        ({"clusterIP": "None"}, ["IPv4"]),
        ({"clusterIPs": ["10.0.0.1", "2001:db8::1"], "clusterIP": "10.0.0.1"}, ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, ["IPv4", "IPv6"]),
        ({"ipFamilyPolicy": "SingleStack"}, ["IPv4"]),
    ],
)
def test_the_families_of_a_service_are_those_it_would_get(changes: Mapping[str, Any], families: list[str]) -> None:
    body = yaml.safe_load(SERVICE)
    body["spec"] |= changes
    assert one(from_text(json.dumps(body)), SERVICES)["spec"]["ipFamilies"] == families


def test_the_nodes_tell_the_first_family_of_the_cluster() -> None:
    node = json.dumps(builders.node(addresses=["2001:db8::9"]))
    assert one(from_text(f"{SERVICE}---\n{node}"), SERVICES)["spec"]["ipFamilies"] == ["IPv6"]


def test_a_service_without_node_ports_keeps_nothing_that_only_they_have() -> None:
    body = yaml.safe_load(SERVICE)
    body["spec"] |= {"type": "ClusterIP", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}
    body["spec"]["ports"][0]["nodePort"] = 30000
    spec = one(from_text(json.dumps(body)), SERVICES)["spec"]
    assert not {"externalTrafficPolicy", "healthCheckNodePort"} & spec.keys()
    assert "nodePort" not in spec["ports"][0]


def test_services_get_their_slices_from_the_pods() -> None:
    inventory = from_text(f"{SERVICE}---\n{POD}")
    (piece,) = inventory.bodies(ENDPOINT_SLICES)
    assert piece["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    assert piece["endpoints"][0]["addresses"] == ["10.233.90.7"]
    snapshot = store(inventory).snapshot(ServiceKey("web", "shop"), builders.NOW)
    assert [endpoint.ready for one in snapshot.slices for endpoint in one.endpoints] == [True]


@pytest.mark.parametrize(
    ("old", "new", "ready"),
    [
        ("phase: Running", "phase: Succeeded", []),
        ('"True"', '"False"', [False]),
        ("name: shop-1,", "name: shop-1, deletionTimestamp: '2026-01-01T00:00:00Z',", [False]),
        ("{app: shop}", "{app: other}", []),
        ("  podIP: 10.233.90.7\n", "", []),
    ],
)
def test_pods_that_have_ended_are_no_endpoints_and_those_that_terminate_not_ready(
    old: str, new: str, ready: list[bool]
) -> None:
    inventory = from_text(f"{SERVICE}---\n{POD.replace(old, new)}")
    endpoints = [endpoint for piece in inventory.bodies(ENDPOINT_SLICES) for endpoint in piece["endpoints"]]
    assert [endpoint["conditions"]["ready"] for endpoint in endpoints] == ready


def test_pods_that_number_a_named_port_otherwise_are_in_slices_of_their_own() -> None:
    other = POD.replace("shop-1", "shop-2").replace("8080", "9090").replace("90.7", "90.8")
    inventory = from_text(f"{SERVICE}---\n{POD}---\n{other}")
    assert [
        (piece["ports"][0]["port"], [endpoint["addresses"] for endpoint in piece["endpoints"]])
        for piece in inventory.bodies(ENDPOINT_SLICES)
    ] == [(8080, [["10.233.90.7"]]), (9090, [["10.233.90.8"]])]


def test_slices_that_are_there_are_left_alone() -> None:
    piece = builders.endpoint_slice(builders.endpoint("10.9.9.9"))
    inventory = from_text(f"{SERVICE}---\n{POD}---\n{json.dumps(piece)}")
    assert [item["metadata"]["name"] for item in inventory.bodies(ENDPOINT_SLICES)] == ["shop-abc"]


def test_the_namespaces_of_objects_are_there_with_the_label_that_each_has() -> None:
    given = "apiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {region: bar}}\n"
    inventory = from_text(f"{SERVICE}---\n{given}")
    assert {body["metadata"]["name"]: body["metadata"]["labels"] for body in inventory.bodies(NAMESPACES)} == {
        "other": {"region": "bar", "kubernetes.io/metadata.name": "other"},
        "web": {"kubernetes.io/metadata.name": "web"},
    }


def test_what_the_operator_wrote_is_known_as_its_own_without_managed_fields() -> None:
    """`kubectl get -o yaml` leaves them out."""
    service = builders.held_service()
    child = builders.stored(builders.network_policy(name="shop-allow"), managed=[])
    child["metadata"]["labels"] = {
        "app.kubernetes.io/managed-by": "nodeport-access-operator",
        "nodeport-access.io/policy": "shop",
    }
    for body in (service, child):
        del body["metadata"]["managedFields"]
    inventory = from_text(f"{json.dumps(service)}\n---\n{json.dumps(child)}")
    assert parse_service(one(inventory, SERVICES)).taken
    assert parse_network_policy(one(inventory, NETWORK_POLICIES, "shop-allow")).is_child_of("shop")


def test_reading_gives_the_same_every_time(tmp_path: Path) -> None:
    folder = str(written(tmp_path, a=POLICY, b=SERVICE, c=POD))
    assert read([folder]) == read([folder])


# --- what cannot be read ---

BAD: dict[str, tuple[str, str]] = {
    "host bits": (
        POLICY.replace("10.2.4.0/24", "10.2.4.9/24"),
        "line 10: NodePortAccessPolicy web/shop: spec.allowedCIDRs[1].cidr: ",
    ),
    "an unknown field": (
        POLICY.replace("ports:", "port:"),
        "line 11: NodePortAccessPolicy web/shop: spec.allowedCIDRs[1].port: ",
    ),
    "no service": (
        POLICY.replace("{name: shop}", "{}"),
        "line 7: NodePortAccessPolicy web/shop: spec.serviceRef.name is missing.",
    ),
    "another version": (
        POLICY.replace("v1alpha1", "v1"),
        "line 1: NodePortAccessPolicy web/shop: apiVersion of a NodePortAccessPolicy must be nodeport-access.io/"
        'v1alpha1, not "nodeport-access.io/v1".',
    ),
    "no version": (
        SERVICE.replace("apiVersion: v1\n", ""),
        "line 1: Service web/shop: apiVersion of a Service must be v1, not null.",
    ),
    "no name": (SERVICE.replace("  name: shop\n", ""), "line 3: Service web: metadata.name: is missing."),
    "no metadata": ("apiVersion: v1\nkind: Pod\n", "line 1: Pod: metadata is missing, and with it the name."),
    "a port that is a text": (
        SERVICE.replace("port: 80", "port: '80'"),
        'line 10: Service web/shop: spec.ports[0].port: "80" is not a whole number.',
    ),
    "a label that is no text": (
        SERVICE.replace("app: shop", "app: yes"),
        "line 8: Service web/shop: spec.selector.app: true is not a string; quote it.",
    ),
    "a field that stands there twice": (
        POLICY + "  mode: Audit\n  mode: Enforce\n",
        "line 12: NodePortAccessPolicy web/shop: spec.mode stands there twice; keep one.",
    ),
    "an address that is none": (
        POD.replace("10.233.90.7", "nowhere"),
        'line 9: Pod web/shop-1: status.podIP: "nowhere" is not an IP address.',
    ),
    "a spec that is none": (
        SERVICE.partition("spec:")[0] + "spec: 5\n",
        "line 6: Service web/shop: spec: 5 is not an object.",
    ),
    "no YAML": ("kind: Service\na: [\n", "line 3: this is not YAML: "),
    "no object": ("a: 1\n", "line 1: this is no Kubernetes object, it has no kind."),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_one_sentence_with_file_line_and_field(tmp_path: Path, case: str) -> None:
    text, told = BAD[case]
    path = written(tmp_path, x=text) / "x.yaml"
    with pytest.raises(InputError) as refused:
        read([str(path)])
    sentence = str(refused.value)
    assert sentence.startswith(f"{path}, {told}")
    assert sentence.endswith(".")
    assert "\n" not in sentence


NETWORK_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: x}
spec:
  podSelector: {}
  ingress:
    - from:
        - ipBlock:
            cidr: 10.0.0.0/8
            except: [10.1.0.0/16]
        - podSelector: {matchExpressions: [{key: a, operator: In, values: [b]}]}
      ports:
        - {port: 80}
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("10.0.0.0/8", "ten", 9, "spec.ingress[0].from[0].ipBlock.cidr"),
        ("10.1.0.0/16", "5", 10, "spec.ingress[0].from[0].ipBlock.except[0]"),
        ("operator: In", "operator: in", 11, "spec.ingress[0].from[1].podSelector.matchExpressions[0].operator"),
        ("port: 80", "port: 1.5", 13, "spec.ingress[0].ports[0].port"),
        ("podSelector: {}", "podSelector: []", 5, "spec.podSelector"),
    ],
)
def test_a_network_policy_is_refused_by_the_field(old: str, new: str, line: int, field: str) -> None:
    with pytest.raises(InputError, match=f"^standard input, line {line}: NetworkPolicy x: ") as refused:
        from_text(NETWORK_POLICY.replace(old, new))
    assert f": {field}: " in str(refused.value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (
            builders.node() | {"status": {"addresses": [{"type": "InternalIP"}]}},
            "status.addresses[0].address: is missing",
        ),
        (builders.node() | {"spec": {"podCIDRs": ["x"]}}, 'spec.podCIDRs[0]: "x" is not a CIDR'),
        (builders.endpoint_slice() | {"endpoints": 5}, "endpoints: 5 is not a list"),
        (builders.endpoint_slice() | {"ports": [{"port": "x"}]}, 'ports[0].port: "x" is not a whole number'),
    ],
)
def test_nodes_and_slices_are_refused_by_the_field(body: Body, field: str) -> None:
    with pytest.raises(InputError) as refused:
        from_text(json.dumps(body))
    assert f": {field}." in str(refused.value)


def test_the_same_object_twice_is_told_with_both_places(tmp_path: Path) -> None:
    written(tmp_path, a=SERVICE, b=f"{POLICY}---\n{SERVICE}")
    with pytest.raises(InputError) as refused:
        read([str(tmp_path)])
    assert f"{tmp_path / 'b.yaml'}, line 13: Service web/shop is in {tmp_path / 'a.yaml'}, line 1 already" in str(
        refused.value
    )
    assert "kustomize build" in str(refused.value)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nothing", "does not exist; -f takes a file, a folder, or - for standard input."),
        ("empty.yaml", "holds no Kubernetes object."),
        ("binary.yaml", "cannot be read: "),
        ("folder", "holds no file named *.yaml, *.yml, *.json."),
    ],
)
def test_a_path_that_cannot_be_used_is_one_sentence(tmp_path: Path, path: str, told: str) -> None:
    written(tmp_path, empty="# nothing\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as refused:
        read([str(tmp_path / path)])
    assert str(refused.value).startswith(str(tmp_path / path))
    assert told in str(refused.value)


def test_anchors_merge_keys_and_aliases_in_themselves_do_no_harm() -> None:
    text = SERVICE + "common: &common {type: NodePort}\nloop: &loop [*loop]\n"
    merged = text.replace(
        "spec:\n  type: NodePort\n", "spec:\n  <<: {type: ClusterIP, clusterIP: None}\n  type: NodePort\n"
    )
    assert one(from_text(merged), SERVICES)["spec"]["type"] == "NodePort"


def test_a_file_nested_beyond_measure_is_one_sentence() -> None:
    with pytest.raises(InputError, match="standard input"):
        from_text("[" * 5000 + "]" * 5000)


def test_nodes_are_in_no_namespace() -> None:
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: n, namespace: x}\n"
    assert from_text(node).get(NODES, namespace="", name="n") is not None
