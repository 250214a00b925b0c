"""`plan` and `render` on files: what they print, to where, and what the exit code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeport_access.api import Body
from nodeport_access.cidrs import AddressSet
from nodeport_access.inventory import read
from tests.unit import builders
from tests.unit.command_line import Run

MANIFEST = ("name", "namespace", "labels")


def manifest(body: Body) -> Body:
    metadata = {name: value for name, value in body["metadata"].items() if name in MANIFEST and value}
    return {**body, "metadata": metadata}


def folder(path: Path, *bodies: Body) -> Path:
    path.mkdir(exist_ok=True)
    (path / "all.yaml").write_text("---\n".join(yaml.safe_dump(manifest(body)) for body in bodies), encoding="utf-8")
    return path


# --- render ---


def test_render_prints_what_kubectl_can_apply(run: Run, tmp_path: Path) -> None:
    ran = run("render", "-f", folder(tmp_path / "x", builders.policy(), builders.service()))
    bodies = list(yaml.safe_load_all(ran.out))
    assert (ran.code, ran.err) == (0, "")
    assert [(body["kind"], body["metadata"]["name"]) for body in bodies] == [
        ("NetworkPolicy", "shop-allow"),
        ("Service", "shop"),
        ("NetworkPolicy", "shop-deny-all"),
    ]
    allow, service, deny = bodies
    assert allow["spec"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.2.3.4/32"}}]
    assert service["spec"] == {"externalTrafficPolicy": "Local"}
    assert (deny["spec"]["ingress"], deny["spec"]["egress"]) == ([], [])
    # No API server has given these uids: with such an owner, the objects would be collected as garbage.
    assert not any({"uid", "ownerReferences"} & body["metadata"].keys() for body in bodies)


def test_render_keeps_the_uids_that_files_hold(run: Run, tmp_path: Path) -> None:
    policy, service = builders.policy(), builders.service()
    (tmp_path / "x.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, service]}))
    allow, taken, _ = yaml.safe_load_all(run("render", "-f", tmp_path / "x.json").out)
    assert allow["metadata"]["ownerReferences"][0]["uid"] == policy["metadata"]["uid"]
    assert taken["metadata"]["uid"] == service["metadata"]["uid"]


def test_render_is_the_same_whatever_is_written_already(run: Run, tmp_path: Path) -> None:
    bare = folder(tmp_path / "x", builders.policy(), builders.service())
    once = run("render", "-f", bare).out
    done = [
        *yaml.safe_load_all(once),
        manifest(builders.policy()),
    ]
    service = manifest(builders.held_service())
    (tmp_path / "y.json").write_text(
        json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": [*(one for one in done if one["kind"] != "Service"), service]}
        )
    )
    assert run("render", "-f", tmp_path / "y.json").out == once


def test_render_tells_in_other_forms(run: Run, tmp_path: Path) -> None:
    policy = builders.policy(allowedPeers=[{"podSelector": {}}], isolation="Namespace")
    files = folder(tmp_path / "x", policy, builders.service())
    listed = json.loads(run("render", "-f", files, "-o", "json").out)
    assert (listed["kind"], len(listed["items"])) == ("List", 3)
    header, *rows = run("render", "-f", files, "-o", "table").out.splitlines()
    assert header.split() == ["NAMESPACE", "POLICY", "OBJECT", "WHAT"]
    assert [row.split(maxsplit=3)[2:] for row in rows] == [
        ["NetworkPolicy/shop-allow", "admits 10.2.3.4/32 and 1 kind of pods to 8080/TCP"],
        ["Service/shop", "externalTrafficPolicy Local"],
        ["NetworkPolicy/shop-deny-all", "admits nobody in the whole namespace"],
    ]


def test_render_says_which_policy_it_cannot_carry_out_and_prints_the_others(run: Run, tmp_path: Path) -> None:
    lost = builders.policy(name="lost", service="nothing")
    files = folder(tmp_path / "x", builders.policy(), lost, builders.service())
    ran = run("render", "-f", files)
    assert ran.code == 4
    assert len(list(yaml.safe_load_all(ran.out))) == 3
    assert ran.err.count("\n") == 1
    assert f"{files / 'all.yaml'}, line " in ran.err
    assert "policy web/lost: ServiceNotFound: Service 'nothing' does not exist in this namespace." in ran.err


def test_render_writes_nothing_for_an_audit_policy_and_says_so(run: Run, tmp_path: Path) -> None:
    ran = run("render", "-f", folder(tmp_path / "x", builders.policy(mode="Audit"), builders.service()))
    assert (ran.code, ran.out) == (0, "")
    assert "AuditMode" in ran.err


def test_render_takes_standard_input_in_a_namespace(run: Run) -> None:
    bodies = [manifest(body) for body in (builders.policy(), builders.service())]
    for body in bodies:
        del body["metadata"]["namespace"]
    ran = run("render", "-n", "prod", "-f", "-", stdin="---\n".join(map(yaml.safe_dump, bodies)))
    assert {body["metadata"]["namespace"] for body in yaml.safe_load_all(ran.out)} == {"prod"}


# --- plan ---


def parts(out: str) -> list[str]:
    """The headlines of a plan, one for each object."""
    return [line for line in out.splitlines() if line.endswith((": created", ": changed", ": deleted"))]


def test_plan_shows_what_the_operator_makes_of_files(run: Run, tmp_path: Path) -> None:
    ran = run("plan", "-f", folder(tmp_path / "x", builders.policy(), builders.service()))
    assert (ran.code, ran.err) == (0, "")
    assert parts(ran.out) == [
        "Service web/shop: changed",
        "NetworkPolicy web/shop-allow: created",
        "NetworkPolicy web/shop-deny-all: created",
    ]
    assert "-  externalTrafficPolicy: Cluster\n+  externalTrafficPolicy: Local\n" in ran.out
    assert "+        cidr: 10.2.3.4/32\n" in ran.out
    assert ran.out.endswith(
        "\nObjects: 2 created, 1 changed.\nCallers inside the cluster are left out: no Pod is known.\n"
    )
    for noise in ("managedFields", "uid", "resourceVersion", "status", "\x1b"):
        assert noise not in ran.out


def test_plan_shows_what_changes_between_two_states_of_files(run: Run, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", builders.policy(), builders.service())
    new = folder(tmp_path / "new", builders.policy(allowed=["10.9.9.0/24"]), builders.service())
    ran = run("plan", "--base", old, "-f", new, "--exit-code")
    assert ran.code == 3
    assert parts(ran.out) == ["NetworkPolicy web/shop-allow: changed", "NodePortAccessPolicy web/shop: changed"]
    assert "-        cidr: 10.2.3.4/32\n+        cidr: 10.9.9.0/24\n" in ran.out


def test_plan_shows_what_goes_with_a_policy(run: Run, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", builders.policy(), builders.service())
    new = folder(tmp_path / "new", builders.service())
    ran = run("plan", "--base", old, "-f", new)
    assert parts(ran.out) == [
        "Service web/shop: changed",
        "NetworkPolicy web/shop-allow: deleted",
        "NetworkPolicy web/shop-deny-all: deleted",
        "NodePortAccessPolicy web/shop: deleted",
    ]
    assert "-  externalTrafficPolicy: Local\n+  externalTrafficPolicy: Cluster\n" in ran.out


def test_plan_is_silent_where_nothing_changes(run: Run, tmp_path: Path) -> None:
    files = folder(tmp_path / "x", builders.policy(), builders.service())
    ran = run("plan", "--base", files, "-f", files, "--exit-code")
    assert (ran.code, ran.out, ran.err) == (0, "No object changes. Nobody gains or loses access.\n", "")


def test_a_new_policy_takes_no_service_from_one_that_was_there(run: Run, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", builders.policy(), builders.service())
    new = folder(tmp_path / "new", builders.policy(name="a"), builders.policy(), builders.service())
    ran = run("plan", "--base", old, "-f", new, "--exit-code")
    assert ran.code == 4
    assert parts(ran.out) == ["NetworkPolicy web/a-deny-all: created", "NodePortAccessPolicy web/a: created"]
    assert "ServiceAlreadyClaimed" in ran.out


BLOCKED: dict[str, tuple[list[Body], str, str]] = {
    "no service": ([builders.policy()], "ServiceNotFound", "Service 'shop' does not exist in this namespace."),
    "no node ports": (
        [builders.policy(), builders.service(type="ClusterIP")],
        "ServiceTypeUnsupported",
        "Service 'shop' is of type ClusterIP; only NodePort and LoadBalancer have node ports.",
    ),
    "no selector": ([builders.policy(), builders.service(selector=None)], "SelectorMissing", "has no selector"),
    "an unknown port": (
        [builders.policy(allowed=[builders.entry("10.0.0.0/8", ports=["tls"])]), builders.service()],
        "PortNotFound",
        "Service 'shop' has no port tls; its ports are http (80).",
    ),
    "a second policy": (
        [builders.policy(name="a"), builders.policy(name="b"), builders.service()],
        "ServiceAlreadyClaimed",
        "Service 'shop' is guarded by the older policy 'a'.",
    ),
    "a stranger's object": (
        [builders.policy(), builders.service(), builders.network_policy(name="shop-allow")],
        "NameConflict",
        "NetworkPolicy 'shop-allow' is not the operator's",
    ),
}


@pytest.mark.parametrize("case", BLOCKED)
def test_plan_tells_why_a_policy_is_blocked_and_where_it_stands(run: Run, tmp_path: Path, case: str) -> None:
    bodies, reason, message = BLOCKED[case]
    files = folder(tmp_path / "x", *bodies)
    ran = run("plan", "-f", files)
    assert ran.code == 4
    (row,) = [line for line in ran.out.splitlines() if f" {reason} " in line]
    assert message in row
    assert f"({files / 'all.yaml'}, line " in row
    assert "Policies blocked: 1.\n" in ran.out
    document = json.loads(run("plan", "-f", files, "-o", "json").out)
    assert [one["reason"] for one in document["policies"] if one["blocked"]] == [reason]


def test_an_audit_policy_and_a_warning_block_nothing(run: Run, tmp_path: Path) -> None:
    wide = builders.policy(name="wide", service="wide", allowed=["10.0.0.0/8"])
    audit = builders.policy(mode="Audit")
    other = builders.service(name="wide", selector={"app": "wide"})
    files = folder(tmp_path / "x", wide, audit, builders.service(), other, builders.node())
    ran = run("plan", "-f", files, "--exit-code")
    assert ran.code == 3
    assert "AllowlistCoversNodes" in ran.out
    assert "AuditMode" in ran.out


def test_plan_gives_programs_both_states(run: Run, tmp_path: Path) -> None:
    files = folder(tmp_path / "x", builders.policy(), builders.service())
    as_json = json.loads(run("plan", "-f", files, "-o", "json").out)
    assert as_json == yaml.safe_load(run("plan", "-f", files, "-o", "yaml").out)
    service, allow, _ = as_json["changes"]
    assert (service["change"], service["kind"], service["namespace"], service["name"]) == (
        *("changed", "Service", "web", "shop"),
    )
    assert service["before"]["spec"]["externalTrafficPolicy"] == "Cluster"
    assert service["after"]["spec"]["externalTrafficPolicy"] == "Local"
    assert (allow["before"], allow["after"]["kind"]) == (None, "NetworkPolicy")


# --- who gains and loses access ---


def told(out: str) -> list[list[str]]:
    """The rows about access: what, to which Service and port, by which way, and who."""
    rows = f"\n{out}".partition("\nACCESS ")[2].partition("\n\n")[0].splitlines()[1:]
    return [re.split(r" {2,}", row) for row in rows]


def pod(name: str, *, namespace: str = "web", address: str, node: str = "node-1", **labels: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "x"}]},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
    }


CLUSTER = [
    builders.service(),
    builders.node("node-1", addresses=["10.102.0.1"]),
    builders.node("node-2", addresses=["10.102.0.2"]),
    pod("shop-1", address="10.233.90.7", app="shop"),
    pod("caller", address="10.233.90.8"),
    pod("stranger", namespace="other", address="10.233.91.9", node="node-2"),
]
INSIDERS: list[Body] = [{"podSelector": {}}]


def test_plan_tells_who_loses_access_when_a_service_is_guarded(run: Run, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", *CLUSTER)
    new = folder(tmp_path / "new", *CLUSTER, builders.policy(allowedPeers=INSIDERS))
    port = ["web/shop", "80/TCP"]
    assert told(run("plan", "--base", old, "-f", new).out) == [
        ["loses", *port, "node port", "every IPv4 address but 10.2.3.4/32 outside the cluster"],
        ["loses", *port, "node port", "everybody, probes of load balancers too, by node-2"],
        ["loses", *port, "cluster address", "pod other/stranger"],
    ]
    back = run("plan", "--base", new, "-f", old)
    assert {row[0] for row in told(back.out)} == {"gains"}


def test_plan_tells_who_gains_access_by_a_wider_list(run: Run, tmp_path: Path) -> None:
    old = folder(tmp_path / "old", *CLUSTER, builders.policy())
    new = folder(tmp_path / "new", *CLUSTER, builders.policy(allowed=["10.2.3.0/24"]))
    ran = run("plan", "--base", old, "-f", new, "-o", "json")
    (change,) = json.loads(ran.out)["access"]
    assert (change["change"], change["service"], change["by"]) == ("gains", "shop", "node port")
    gained = AddressSet.from_texts(change["addresses"])
    assert gained == AddressSet.from_texts(["10.2.3.0/24"]) - AddressSet.from_texts(["10.2.3.4/32"])
    assert told(run("plan", "--base", old, "-f", new).out)[0][-1] == "10.2.3.0/24 but 10.2.3.4/32 outside the cluster"


def test_what_is_known_of_the_cluster_makes_a_plan_definite(run: Run, tmp_path: Path) -> None:
    pods = builders.network_policy(name="pods", ingress=[{"from": [{"ipBlock": {"cidr": "10.233.0.0/16"}}]}])
    old = folder(tmp_path / "old", *CLUSTER, builders.policy())
    new = folder(tmp_path / "new", *CLUSTER, builders.policy(), pods)

    def of_pods(*flags: str) -> list[list[str]]:
        return [row for row in told(run("plan", "--base", old, "-f", new, *flags).out) if row[-1].startswith("pod")]

    who = ["web/shop", "80/TCP", "cluster address", "pods other/stranger, web/caller"]
    assert of_pods() == [["may gain", *who]]
    itself = ["may gain", *who[:-1], "pod web/shop-1"]
    assert of_pods("--cni", "calico") == [["gains", *who], itself]
    assert of_pods("--assume", "pods-in-ipblock=passed-over") == []


def test_a_strangers_cidr_with_host_bits_is_read_as_the_api_server_takes_it(run: Run, tmp_path: Path) -> None:
    ingress = [{"from": [{"ipBlock": {"cidr": "203.0.113.7/24"}}]}]
    old = folder(tmp_path / "old", *CLUSTER, builders.policy())
    new = folder(tmp_path / "new", *CLUSTER, builders.policy(), builders.network_policy(name="his", ingress=ingress))
    ran = run("plan", "--base", old, "-f", new)
    assert ran.err == ""
    assert told(ran.out)[0] == ["gains", "web/shop", "80/TCP", "node port", "203.0.113.0/24 outside the cluster"]


def test_a_change_that_changes_nobodys_access_is_told_as_such(run: Run, tmp_path: Path) -> None:
    halves = builders.policy(allowed=["10.2.3.0/25", "10.2.3.128/25"])
    old = folder(tmp_path / "old", *CLUSTER, builders.policy(allowed=["10.2.3.0/24"]))
    new = folder(tmp_path / "new", *CLUSTER, halves)
    ran = run("plan", "--base", old, "-f", new, "--exit-code")
    assert ran.code == 3
    assert ran.out.endswith("Objects: 1 changed. Nobody gains or loses access.\n")


def test_a_pod_that_moves_changes_which_nodes_answer_without_any_object_of_ours(run: Run, tmp_path: Path) -> None:
    moved = [
        pod("shop-1", address="10.233.91.7", node="node-2", app="shop") if one is CLUSTER[3] else one for one in CLUSTER
    ]
    old = folder(tmp_path / "old", *CLUSTER, builders.policy())
    new = folder(tmp_path / "new", *moved, builders.policy())
    ran = run("plan", "--base", old, "-f", new, "--exit-code")
    assert ran.code == 3
    assert [(row[0], row[-1]) for row in told(ran.out) if row[3] == "node port"] == [
        ("gains", "everybody, probes of load balancers too, by node-2"),
        ("loses", "everybody, probes of load balancers too, by node-1"),
    ]
    assert "No object changes." in ran.out


def test_a_namespace_that_is_closed_cuts_callers_of_its_other_services_too(run: Run, tmp_path: Path) -> None:
    other = builders.service(name="inner", type="ClusterIP", selector={"app": "inner"})
    backend = pod("inner-1", address="10.233.90.20", app="inner")
    old = folder(tmp_path / "old", *CLUSTER, other, backend)
    new = folder(tmp_path / "new", *CLUSTER, other, backend, builders.policy(isolation="Namespace"))
    rows = told(run("plan", "--base", old, "-f", new).out)
    (row,) = [row for row in rows if (row[0], row[1]) == ("loses", "web/inner")]
    assert row[3] == "cluster address"
    assert "other/stranger" in row[-1]
    assert "web/caller" in row[-1]


# --- wrong use ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "--base", "x"], "--base compares files with files: give -f with it, and no cluster."),
        (["plan", "--base", "x", "-f", "y", "--cluster"], "--base compares files with files"),
        (["plan", "-n", "a", "-A"], "give -n or -A, not both."),
        (["render", "-f", "x", "--context", "y"], "give -f, or --context and --kubeconfig"),
        (["render", "-f", "nothing"], "nothing does not exist; -f takes a file, a folder, or - for standard input."),
        (["render", "-o", "xml"], "'xml' is not one of 'table', 'yaml', 'json'."),
        (["plan"], "no configuration: give --kubeconfig FILE, or set $KUBECONFIG"),
        (["plan", "--kubeconfig", "nothing"], "kubeconfig nothing does not exist"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("nodeport-access: ")
    assert ran.err.count("\n") == 1
    assert told in ran.err


def test_what_cannot_be_read_is_told_with_file_line_and_field(run: Run, tmp_path: Path) -> None:
    files = folder(tmp_path / "x", builders.policy(allowed=["10.2.3.4/24"]))
    ran = run("plan", "-f", files)
    (line,) = [
        number
        for number, text in enumerate((files / "all.yaml").read_text().splitlines(), start=1)
        if "10.2.3.4/24" in text
    ]
    place = f"{files / 'all.yaml'}, line {line}: NodePortAccessPolicy web/shop: spec.allowedCIDRs[0].cidr: "
    assert ran.code == 2
    assert ran.err.startswith(f"nodeport-access: {place}")


def test_notes_go_to_standard_error(run: Run, tmp_path: Path) -> None:
    files = folder(tmp_path / "x", builders.policy(), builders.service())
    (files / "Chart.yaml").write_text("name: x\n")
    (files / "templates").mkdir()
    ran = run("render", "-f", files)
    assert "templates is passed over" in ran.err
    assert list(yaml.safe_load_all(ran.out))


def test_what_render_prints_can_be_read_again(run: Run, tmp_path: Path) -> None:
    ran = run("render", "-f", folder(tmp_path / "x", builders.policy(allowed=[]), builders.service()))
    found: list[Any] = [key.name for key in read(["-"], stdin=lambda: "---\n".join(
        text for text in ran.out.split("---\n") if "kind: Service" not in text
    )).items if key.resource.kind == "NetworkPolicy"]  # fmt: skip
    assert found == ["shop-allow", "shop-deny-all"]
