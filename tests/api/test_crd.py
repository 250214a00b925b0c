"""How policies behave on a real API server, and what a user sees of them: defaults, what cannot be changed, several
appliers, `kubectl explain`, `get` and `describe`, and the biggest policy that the bounds allow.

Not the business of this module: every single bound and rule (`test_crd_rules`), and what the operator does.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from testbed.api_client import APPLY, MERGE_PATCH, Json
from testbed.control_plane import ControlPlane
from testbed.waiting import wait_for
from tests.api.wording import wording_of

CRDS = Path(__file__).resolve().parents[2] / "crds"
GROUP = "/apis/nodeport-access.io/v1alpha1"
NOW = "2026-11-22T12:00:00Z"
CONDITIONS = {
    "Ready": ("True", "Guarded", "Only the allowlist gets in."),
    "ServiceResolved": ("True", "ServiceFound", ""),
    "ClientIPPreserved": ("True", "LocalInForce", ""),
    "AllowlistApplied": ("True", "Applied", ""),
    "DefaultDenyApplied": ("True", "Applied", ""),
    "Reachable": ("True", "NodesAnswer", "1 of 3 nodes answers."),
    "Exclusive": ("True", "NoOtherOpening", ""),
    "Enforceable": ("Unknown", "ServiceNotFound", ""),
    "Reconciling": ("True", "Progressing", ""),
    "Stalled": ("True", "ServiceAlreadyClaimed", ""),
}
STATUS = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": kind,
            "status": status,
            "observedGeneration": 1,
            "lastTransitionTime": NOW,
            "reason": reason,
            "message": message,
        }
        for kind, (status, reason, message) in CONDITIONS.items()
    ],
    "serviceUID": "6f5e4d3c-0000-4000-8000-000000000000",
    "nodePorts": [31602, 31603],
    "healthCheckNodePort": 30932,
    "effectiveCIDRs": 8,
    "nodes": {"ready": 1, "draining": 0, "total": 3, "share": "1/3"},
    "lastDrift": {
        "object": "Service/tekton-dashboard",
        "field": "spec.externalTrafficPolicy",
        "writer": "kubectl-edit",
        "effect": "opened",
        "time": NOW,
    },
    "plan": [{"action": "create", "object": "NetworkPolicy/dashboard-allow", "fields": []}],
}


def policy(*, namespace: str, name: str = "dashboard", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "nodeport-access.io/v1alpha1",
        "kind": "NodePortAccessPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"serviceRef": {"name": "tekton-dashboard"}, **spec},
    }


def path(namespace: str, name: str = "") -> str:
    return f"{GROUP}/namespaces/{namespace}/nodeportaccesspolicies{name and '/'}{name}"


def create(control_plane: ControlPlane, body: Mapping[str, Any]) -> Json:
    code, answer = control_plane.request("POST", path(body["metadata"]["namespace"]), body)
    assert code == 201, answer["message"]
    return answer


def apply(control_plane: ControlPlane, body: Mapping[str, Any], *, manager: str) -> tuple[int, Json]:
    metadata = body["metadata"]
    address = f"{path(metadata['namespace'], metadata['name'])}?fieldManager={manager}"
    return control_plane.request("PATCH", address, body, content_type=APPLY)


def apply_status(control_plane: ControlPlane, namespace: str, status: Mapping[str, Any]) -> tuple[int, Json]:
    body = {key: value for key, value in policy(namespace=namespace).items() if key != "spec"} | {"status": status}
    address = f"{path(namespace, 'dashboard')}/status?fieldManager=status-writer&force=true"
    return control_plane.request("PATCH", address, body, content_type=APPLY)


def in_one_order(status: Mapping[str, Any]) -> dict[str, Any]:
    """An operator that runs beside these tests may have brought its conditions in an order of its own."""
    return {**status, "conditions": sorted(status["conditions"], key=lambda item: item["type"])}


def refused(control_plane: ControlPlane, *arguments: str, body: Mapping[str, Any] | None = None) -> str:
    """What kubectl says, word for word, where it fails."""
    text = None if body is None else json.dumps(body)
    result = control_plane.kubectl(*arguments, input=text, check=False)
    assert result.returncode == 1, result.stdout
    return result.stderr.strip()


# --- the spec -------------------------------------------------------------------------------------------------------


def test_what_is_left_out_gets_the_careful_default(control_plane: ControlPlane, namespace: str) -> None:
    spec = create(control_plane, policy(namespace=namespace))["spec"]

    assert spec == {
        "serviceRef": {"name": "tekton-dashboard"},
        "isolation": "Service",
        "trafficPolicy": "Local",
        "mode": "Enforce",
    }


def test_an_applier_does_not_own_the_defaults(control_plane: ControlPlane, namespace: str) -> None:
    apply(control_plane, policy(namespace=namespace), manager="first")

    code, answer = apply(control_plane, policy(namespace=namespace, mode="Audit"), manager="second")

    assert (code, answer["spec"]["mode"]) == (200, "Audit")


def test_null_means_absent_as_everywhere_in_kubernetes(control_plane: ControlPlane, namespace: str) -> None:
    entry = {"cidr": "10.0.0.0/8", "ports": None, "expiresAt": None, "except": None}

    spec = create(control_plane, policy(namespace=namespace, allowedCIDRs=[entry], allowedPeers=None))["spec"]

    assert spec["allowedCIDRs"] == [{"cidr": "10.0.0.0/8"}]
    assert "allowedPeers" not in spec


def test_a_policy_cannot_be_pointed_at_another_service(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, policy(namespace=namespace))
    change = json.dumps({"spec": {"serviceRef": {"name": "other"}}})

    said = refused(control_plane, "patch", "npap", "dashboard", "-n", namespace, "--type=merge", "-p", change)

    worded = wording_of(control_plane)
    assert worded(said) == worded(
        'The NodePortAccessPolicy "dashboard" is invalid: spec.serviceRef: Invalid value: '
        "serviceRef cannot be changed: delete this policy and create another one for the other Service"
    )


def test_kubectl_shows_every_error_of_a_policy_on_a_line_of_its_own(
    control_plane: ControlPlane, namespace: str
) -> None:
    entries = [{"cidr": "10.2.3.4/24"}, {"cidr": "10.0.0.0/8", "except": ["192.168.0.0/16"]}]

    said = refused(control_plane, "create", "-f", "-", body=policy(namespace=namespace, allowedCIDRs=entries))

    first, *rest = said.splitlines()
    assert first.strip() == 'The NodePortAccessPolicy "dashboard" is invalid:'
    worded = wording_of(control_plane)
    assert [worded(line) for line in rest] == [
        worded(
            '* spec.allowedCIDRs[0].cidr: Invalid value: "10.2.3.4/24": bits are set after the prefix: '
            "write the network's first address, 10.2.3.0/24 instead of 10.2.3.4/24, or a single address as 10.2.3.4/32"
        ),
        worded(
            "* spec.allowedCIDRs[1].except: Invalid value: every network in except must lie inside cidr: "
            "correct it, or move it to the entry that contains it"
        ),
    ]


def test_a_misspelt_field_is_refused_and_never_silently_dropped(control_plane: ControlPlane, namespace: str) -> None:
    entry = {"cidr": "10.0.0.0/8", "port": [80]}

    said = refused(control_plane, "apply", "-f", "-", body=policy(namespace=namespace, allowedCIDRs=[entry]))

    assert 'strict decoding error: unknown field "spec.allowedCIDRs[0].port"' in said


def test_a_peer_holds_no_ip_block(control_plane: ControlPlane, namespace: str) -> None:
    peer = {"podSelector": {}, "ipBlock": {"cidr": "0.0.0.0/0"}}

    said = refused(control_plane, "create", "-f", "-", body=policy(namespace=namespace, allowedPeers=[peer]))

    assert 'strict decoding error: unknown field "spec.allowedPeers[0].ipBlock"' in said


def test_two_appliers_own_entries_of_their_own(control_plane: ControlPlane, namespace: str) -> None:
    office, partner = {"cidr": "10.2.3.0/24", "ports": [80]}, {"cidr": "203.0.113.0/24"}

    assert apply(control_plane, policy(namespace=namespace, allowedCIDRs=[office]), manager="office")[0] == 201
    code, both = apply(control_plane, policy(namespace=namespace, allowedCIDRs=[partner]), manager="partner")
    assert (code, both["spec"]["allowedCIDRs"]) == (200, [office, partner])

    code, left = apply(control_plane, policy(namespace=namespace), manager="office")
    assert (code, left["spec"]["allowedCIDRs"]) == (200, [partner])


def test_two_appliers_of_one_entry_do_not_add_up_their_ports(control_plane: ControlPlane, namespace: str) -> None:
    def entry(port: int) -> dict[str, Any]:
        return policy(namespace=namespace, allowedCIDRs=[{"cidr": "10.2.3.0/24", "ports": [port]}])

    assert apply(control_plane, entry(80), manager="office")[0] == 201
    code, answer = apply(control_plane, entry(22), manager="partner")

    assert code == 409
    assert answer["message"] == (
        'Apply failed with 1 conflict: conflict with "office": .spec.allowedCIDRs[cidr="10.2.3.0/24"].ports'
    )


def test_the_biggest_policy_is_taken_by_server_side_apply(control_plane: ControlPlane, namespace: str) -> None:
    networks = [f"2001:1db8:1111:2222:3333:4444:{0x1000 + index:x}" for index in range(1000)]
    entries = [
        {
            "cidr": f"{network}:0/112",
            "except": [f"{network}:{0x1000 + index:x}/128" for index in range(16)],
            "description": "a" * 256,
            "ports": ["https", 8443],
            "expiresAt": "2026-12-31T00:00:00Z",
        }
        for network in networks
    ]
    body = json.dumps(policy(namespace=namespace, name="biggest", allowedCIDRs=entries))

    control_plane.kubectl("apply", "--server-side", "-f", "-", input=body)

    code, stored = control_plane.request("GET", path(namespace, "biggest"))
    assert (code, stored["spec"]["allowedCIDRs"]) == (200, entries)


# --- the status -----------------------------------------------------------------------------------------------------


def test_a_status_with_everything_in_it_is_stored_as_it_was_sent(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, policy(namespace=namespace))

    code, answer = apply_status(control_plane, namespace, STATUS)

    assert code == 200, answer["message"]
    assert in_one_order(answer["status"]) == in_one_order(STATUS)


def test_a_status_field_that_the_schema_does_not_know_is_refused(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, policy(namespace=namespace))

    code, answer = apply_status(control_plane, namespace, {"observedGeneration": 1, "phase": "Running"})

    assert code == 500
    assert answer["message"].endswith(".status.phase: field not declared in schema")


def test_a_merge_patch_of_an_unknown_status_field_leaves_nothing(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, policy(namespace=namespace, mode="Audit"))
    address = f"{path(namespace, 'dashboard')}/status"
    change = {"status": {"phase": "Running"}}

    code, answer = control_plane.request("PATCH", address, change, content_type=MERGE_PATCH)

    assert code == 200
    assert "phase" not in answer.get("status", {})


def test_spec_and_status_are_written_apart(control_plane: ControlPlane, namespace: str) -> None:
    created = create(control_plane, {**policy(namespace=namespace), "status": {"effectiveCIDRs": 77}})
    assert created["status"] == {"observedGeneration": 0}

    address = f"{path(namespace, 'dashboard')}/status"
    change = {"spec": {"isolation": "Namespace"}, "status": {"effectiveCIDRs": 78}}
    _, answer = control_plane.request("PATCH", address, change, content_type=MERGE_PATCH)

    assert (answer["spec"]["isolation"], answer["status"]["effectiveCIDRs"]) == ("Service", 78)


# --- what a user sees -----------------------------------------------------------------------------------------------


def crd_fields(schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """The paths of all fields below a schema, as `kubectl explain` takes them."""
    for name, below in schema.get("properties", {}).items():
        yield f"{at}{name}"
        yield from crd_fields(below.get("items", below), f"{at}{name}.")


def explain(control_plane: ControlPlane, *arguments: str) -> str:
    """What `kubectl explain` says. The API server publishes a new CRD to discovery, and then its schema, some moments
    after it has begun to serve it."""

    def said() -> str:
        run = control_plane.kubectl("explain", *arguments, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout

    return wait_for(said, seconds=30, what="kubectl explain")


def test_every_field_is_explained(control_plane: ControlPlane) -> None:
    explain(control_plane, "npap")
    _, document = control_plane.request("GET", "/openapi/v3/apis/nodeport-access.io/v1alpha1")
    schema = document["components"]["schemas"]["io.nodeport-access.v1alpha1.NodePortAccessPolicy"]
    assert list(undescribed(schema)) == []


def undescribed(schema: Mapping[str, Any], at: str = "npap") -> Iterator[str]:
    if not schema.get("description"):
        yield at
    for name, below in schema.get("properties", {}).items():
        yield from undescribed(below, f"{at}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from undescribed(schema[keyword], f"{at}[]")


def test_explain_shows_every_field_of_the_crd(control_plane: ControlPlane) -> None:
    crd = yaml.safe_load((CRDS / "nodeportaccesspolicies.yaml").read_text(encoding="utf-8"))
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    expected = [f"{part}.{field}" for part in ("spec", "status") for field in crd_fields(properties[part])]

    shown: list[str] = []
    way: list[str] = []
    for line in explain(control_plane, "npap", "--recursive").partition("FIELDS:")[2].splitlines():
        if field := re.match(r"( +)(\w+)\t", line):
            way = [*way[: len(field[1]) // 2 - 1], field[2]]
            shown.append(".".join(way))

    assert sorted(name for name in shown if name.startswith(("spec.", "status."))) == sorted(expected)


def test_explain_teaches(control_plane: ControlPlane) -> None:
    said = explain(control_plane, "npap.spec.allowedCIDRs.except")

    assert "FIELD: except <[]string>" in said
    assert "Networks inside cidr that this entry does not let in. Absent or empty: no exceptions." in " ".join(
        said.split()
    )


def test_get_and_describe_show_what_the_status_says(own_control_plane: ControlPlane) -> None:
    # A control plane without an operator, which would write a status of its own.
    create(own_control_plane, policy(namespace="default"))
    create(own_control_plane, policy(namespace="default", name="new", mode="Audit"))
    assert apply_status(own_control_plane, "default", STATUS)[0] == 200

    def columns(*arguments: str) -> list[list[str]]:
        lines = own_control_plane.kubectl("get", "npap", *arguments).stdout.splitlines()
        return [re.split(r"   +", re.sub(r"\b\d+s\b", "1s", line).strip()) for line in lines]

    assert columns() == [
        ["NAME", "SERVICE", "CIDRS", "LOCAL", "NODES", "READY", "REASON", "AGE"],
        ["dashboard", "tekton-dashboard", "8", "True", "1/3", "True", "Guarded", "1s"],
        ["new", "tekton-dashboard", "1s"],
    ]
    header, dashboard, _ = columns("-o", "wide")
    assert header[7:] == ["AGE", "MODE", "NODE PORTS", "MESSAGE"]
    assert dashboard[7:] == ["1s", "Enforce", "[31602,31603]", "Only the allowlist gets in."]

    described = own_control_plane.kubectl("describe", "npap", "dashboard").stdout
    pairs = {tuple(part.strip() for part in line.split(":", 1)) for line in described.splitlines() if ":" in line}
    assert {
        ("Service Ref", ""),
        ("Name", "tekton-dashboard"),
        ("Effective CIDRs", "8"),
        ("Health Check Node Port", "30932"),
        ("Share", "1/3"),
        ("Type", "ClientIPPreserved"),
        ("Reason", "LocalInForce"),
        ("Writer", "kubectl-edit"),
        ("Effect", "opened"),
    } <= pairs


def test_policies_can_be_found_by_their_service(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, policy(namespace=namespace))
    other = policy(namespace=namespace, name="other") | {"spec": {"serviceRef": {"name": "other"}}}
    create(control_plane, other)

    found = control_plane.kubectl(
        "get", "npap", "-n", namespace, "-o", "name", "--field-selector", "spec.serviceRef.name=tekton-dashboard"
    )

    assert found.stdout.split() == ["nodeportaccesspolicy.nodeport-access.io/dashboard"]


# --- the definition -------------------------------------------------------------------------------------------------


def test_the_folder_can_be_applied_again_and_again(control_plane: ControlPlane) -> None:
    name = "customresourcedefinition.apiextensions.k8s.io/nodeportaccesspolicies.nodeport-access.io"
    control_plane.kubectl("apply", "-f", CRDS)

    assert control_plane.kubectl("apply", "-f", CRDS).stdout.strip() == f"{name} unchanged"
    difference: subprocess.CompletedProcess[str] = control_plane.kubectl("diff", "-f", CRDS, check=False)
    assert (difference.returncode, difference.stdout) == (0, "")


def test_the_api_server_has_nothing_to_say_against_the_definition(control_plane: ControlPlane) -> None:
    address = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/nodeportaccesspolicies.nodeport-access.io"

    conditions = control_plane.request("GET", address)[1]["status"]["conditions"]

    # NonStructuralSchema and KubernetesAPIApprovalPolicyConformant are there only where something is wrong.
    assert {item["type"]: item["status"] for item in conditions} == {"NamesAccepted": "True", "Established": "True"}
