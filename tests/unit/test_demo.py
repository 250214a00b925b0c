"""The demo: the page that people read, the cluster after each step, and what a folder that cannot be used ends in.

golden/demo.txt is the whole page. After a change that is meant, `.venv/bin/python -m tests.unit.test_demo` writes it
anew; read the diff.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from click import unstyle

from nodeport_access import __main__ as entry_point
from nodeport_access.api import Body
from nodeport_access.cli.terminal import may_color
from nodeport_access.demo import access, kubectl_view
from nodeport_access.demo.folder import PACKAGED, Scenario, ScenarioError, read
from nodeport_access.demo.paper import WIDTH, Paper
from nodeport_access.demo.show import show
from nodeport_access.demo.stage import Stage
from nodeport_access.evaluate import Answer, ByClusterAddress, Client, evaluate
from nodeport_access.kube import NETWORK_POLICIES, POLICIES, SERVICES

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden" / "demo.txt"
START = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
NAMESPACE, SERVICE, POLICY = "tekton-pipelines", "tekton-dashboard", "dashboard"
ALLOW, DENY = "dashboard-allow", "dashboard-deny-all"
LETTERS = {Answer.THROUGH: "y", Answer.REFUSED: "-", Answer.DEPENDS: "?"}


def page(scenario: Scenario, *, start: datetime = START, color: bool = False) -> str:
    """All that the demo prints."""
    lines: list[str] = []
    paper = Paper(write=lines.append, color=color)
    asyncio.run(show(scenario, start=start, paper=paper, origin="scenario"))
    return "\n".join(lines) + "\n"


def edited(folder: Path, **texts: tuple[str, str]) -> Path:
    """A copy of the scenario in which, by file, one text is replaced by another."""
    copy = folder / "scenario"
    shutil.copytree(PACKAGED, copy)
    for name, (old, new) in texts.items():
        (path,) = copy.glob(f"*-{name}.yaml")
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    return copy


def test_the_page_is_the_one_that_people_have_read() -> None:
    assert page(read(PACKAGED)) == GOLDEN.read_text(encoding="utf-8")


def test_the_page_is_the_same_at_any_time() -> None:
    assert page(read(PACKAGED), start=datetime(2031, 2, 3, 4, 5, 6, 7, tzinfo=UTC)) == page(read(PACKAGED))


def test_the_page_fits_a_terminal_and_is_plain_text_without_colour() -> None:
    text = page(read(PACKAGED))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "\x1b" not in text
    assert text == "".join(line.rstrip() + "\n" for line in text.splitlines())


def test_colour_changes_nothing_but_the_colour() -> None:
    colored = page(read(PACKAGED), color=True)
    assert "\x1b" in colored
    assert unstyle(colored) == page(read(PACKAGED))


# --- the cluster, step by step ---


class Tale:
    """The steps of the story, without the page."""

    def __init__(self, folder: Path = PACKAGED) -> None:
        self.scenario = read(folder)
        self.stage = Stage(self.scenario, start=START)

    async def guarded(self) -> list[str]:
        self.stage.apply_policy()
        return await self.settle()

    async def settle(self) -> list[str]:
        """What the operator wrote, a word for each."""
        self.stage.clock.wait(10)
        sent = await self.stage.settle()
        return [f"{'status of ' if write.subresource else ''}{write.name} {write.verb}" for write in sent]

    def service(self) -> Body:
        return next(body for body in self.stage.cluster.objects(SERVICES) if body["metadata"]["name"] == SERVICE)

    def set_to_cluster(self) -> None:
        patch = {"spec": {"externalTrafficPolicy": "Cluster"}}
        self.stage.cluster.patch(SERVICES, namespace=NAMESPACE, name=SERVICE, patch=patch, manager="kubectl-edit")

    def delete_allowlist(self) -> None:
        self.stage.cluster.remove(NETWORK_POLICIES, namespace=NAMESPACE, name=ALLOW)

    def children(self) -> list[str]:
        return sorted(body["metadata"]["name"] for body in self.stage.cluster.objects(NETWORK_POLICIES))

    def status(self) -> Body:
        status: Body = next(self.stage.cluster.objects(POLICIES))["status"]
        return status

    def ready(self) -> tuple[str, str]:
        found = {item["type"]: item for item in self.status()["conditions"]}["Ready"]
        return found["status"], found["reason"]

    def row(self, client: Client) -> str:
        """A letter for each node entered, in the order of the folder."""
        scene = self.stage.scene()
        (port,) = scene.service.ports
        verdicts = (
            evaluate(scene, client=client, port=port, entry=entry, known=access.KNOWN)
            for entry in access.by_nodes(scene)
        )
        return "".join(LETTERS[verdict.answer] for verdict in verdicts)

    def open_to(self) -> dict[str, str]:
        """By client: outside ones by each node, pods by the cluster address."""
        scene = self.stage.scene()
        (port,) = scene.service.ports
        found = {asker.name: self.row(asker.client) for asker in access.outsiders(self.scenario)}
        for asker in access.callers(self.scenario):
            verdict = evaluate(scene, client=asker.client, port=port, entry=ByClusterAddress(), known=access.KNOWN)
            found[asker.name] = LETTERS[verdict.answer]
        return found


GUARDED = {"load-balancer": "-y-", "stranger": "---", "foo/reporter": "y", "bar/crawler": "-"}


async def test_at_first_everybody_gets_in_and_the_operator_does_nothing() -> None:
    tale = Tale()
    assert await tale.settle() == []
    assert tale.service()["spec"]["externalTrafficPolicy"] == "Cluster"
    assert tale.open_to() == {"load-balancer": "yyy", "stranger": "yyy", "foo/reporter": "y", "bar/crawler": "y"}


async def test_the_policy_is_carried_out_in_four_writes_in_the_closing_order_and_then_nothing_is_left_to_do() -> None:
    tale = Tale()
    assert await tale.guarded() == [
        f"{ALLOW} created",
        f"{SERVICE} updated",
        f"{DENY} created",
        f"status of {POLICY} updated",
    ]
    assert await tale.settle() == []
    assert tale.service()["spec"]["externalTrafficPolicy"] == "Local"
    assert tale.service()["metadata"]["labels"] == {"nodeport-access.io/policy": POLICY}
    assert tale.children() == [ALLOW, DENY]
    assert tale.ready() == ("True", "Guarded")
    assert tale.open_to() == GUARDED


async def test_set_to_cluster_the_load_balancer_is_cut_off_and_one_write_repairs_it() -> None:
    tale = Tale()
    await tale.guarded()
    tale.set_to_cluster()
    assert tale.open_to() == GUARDED
    assert await tale.settle() == [f"{SERVICE} updated", f"status of {POLICY} updated"]
    assert tale.service()["spec"]["externalTrafficPolicy"] == "Local"
    drift = tale.status()["lastDrift"]
    assert (drift["object"], drift["field"]) == (f"Service/{SERVICE}", "spec.externalTrafficPolicy")
    assert (drift["writer"], drift["effect"]) == ("kubectl-edit", "depends")
    assert tale.ready() == ("True", "Guarded")


async def test_a_status_that_has_to_wait_its_second_is_written_all_the_same() -> None:
    tale = Tale()
    tale.stage.apply_policy()
    await tale.stage.settle()
    written = tale.stage.clock.seconds()
    tale.set_to_cluster()
    await tale.stage.settle()
    assert tale.status()["lastDrift"]["writer"] == "kubectl-edit"
    assert tale.stage.clock.seconds() - written == pytest.approx(1)


async def test_without_the_allowlist_it_stays_shut_and_one_write_repairs_it() -> None:
    tale = Tale()
    await tale.guarded()
    before = next(body["spec"] for body in tale.stage.cluster.objects(NETWORK_POLICIES))
    tale.delete_allowlist()
    assert set(tale.open_to().values()) == {"---", "-"}
    assert await tale.settle() == [f"{ALLOW} created", f"status of {POLICY} updated"]
    assert before in [body["spec"] for body in tale.stage.cluster.objects(NETWORK_POLICIES)]
    assert tale.status()["lastDrift"]["effect"] == "closed"
    assert tale.open_to() == GUARDED


async def test_a_deleted_policy_hands_everything_back() -> None:
    tale = Tale()
    await tale.guarded()
    tale.stage.cluster.remove(POLICIES, namespace=NAMESPACE, name=POLICY)
    assert tale.children() == []
    assert await tale.settle() == [f"{SERVICE} updated"]
    assert tale.service()["spec"]["externalTrafficPolicy"] == "Cluster"
    assert "labels" not in tale.service()["metadata"]
    assert await tale.settle() == []


def test_the_obvious_fix_fails_both_ways() -> None:
    tale = Tale()
    tale.stage.apply_policy()
    scene, policy = tale.stage.scene(), tale.stage.policy
    assert policy is not None
    stranger, balancer = (Client(ip_address(address)) for address in ("198.51.100.7", "10.2.3.4"))

    def row(client: Client, *, with_nodes: bool) -> str:
        wrong = access.naive(scene, policy, START, with_nodes=with_nodes)
        (port,) = wrong.service.ports
        verdicts = (
            evaluate(wrong, client=client, port=port, entry=entry, known=access.KNOWN)
            for entry in access.by_nodes(wrong)
        )
        return "".join(LETTERS[verdict.answer] for verdict in verdicts)

    assert (row(balancer, with_nodes=False), row(stranger, with_nodes=False)) == ("-y-", "---")
    assert (row(balancer, with_nodes=True), row(stranger, with_nodes=True)) == ("yyy", "y-y")


# --- edited scenarios ---


async def test_a_wide_list_lets_strangers_in_while_the_service_is_cluster(tmp_path: Path) -> None:
    tale = Tale(edited(tmp_path, policy=("10.2.3.4/32", "10.0.0.0/8")))
    await tale.guarded()
    assert tale.open_to()["stranger"] == "---"
    tale.set_to_cluster()
    assert tale.open_to()["stranger"] == "y-y"
    await tale.settle()
    assert tale.open_to()["stranger"] == "---"


async def test_an_audit_policy_writes_status_only(tmp_path: Path) -> None:
    tale = Tale(edited(tmp_path, policy=("spec:\n", "spec:\n  mode: Audit\n")))
    assert await tale.guarded() == [f"status of {POLICY} updated"]
    assert [step["object"] for step in tale.status()["plan"]] == [
        f"NetworkPolicy/{ALLOW}",
        f"Service/{SERVICE}",
        f"NetworkPolicy/{DENY}",
    ]


async def test_a_load_balancer_gets_its_health_check_port_back(tmp_path: Path) -> None:
    tale = Tale(edited(tmp_path, dashboard=("type: NodePort", "type: LoadBalancer")))
    await tale.guarded()
    number = tale.service()["spec"]["healthCheckNodePort"]
    tale.set_to_cluster()
    assert "healthCheckNodePort" not in tale.service()["spec"]
    await tale.settle()
    assert tale.service()["spec"]["healthCheckNodePort"] == number


VARIANTS = {
    "audit": {"policy": ("spec:\n", "spec:\n  mode: Audit\n")},
    "unmanaged": {"policy": ("spec:\n", "spec:\n  trafficPolicy: Unmanaged\n")},
    "namespace": {"policy": ("spec:\n", "spec:\n  isolation: Namespace\n")},
    "wide": {"policy": ("10.2.3.4/32", "10.0.0.0/8")},
    "expired": {"policy": ("description: edge load balancer", "expiresAt: 2020-01-01T00:00:00Z")},
    "not ready": {"dashboard": ('"True"', '"False"')},
    "in its node's network": {"dashboard": ("podIP: 10.233.96.32", "podIP: 10.102.123.104")},
    "target by number": {"dashboard": ("targetPort: http, ", "")},
    "IPv6 client": {"clients": ("198.51.100.7", "2001:db8::7")},
    "a node less": {"nodes": ("kind: Node\nmetadata:\n  name: node3", "kind: Namespace\nmetadata:\n  name: node3")},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_story_of_an_edited_scenario_comes_to_its_end(tmp_path: Path, variant: str) -> None:
    text = page(read(edited(tmp_path, **VARIANTS[variant])))
    assert [line for line in text.splitlines() if line[:1].isdigit()][-1].startswith("8. ")
    assert text.endswith("make up\n")


def test_a_backend_in_its_nodes_network_is_told_to_be_open_against_the_policy(tmp_path: Path) -> None:
    text = page(read(edited(tmp_path, **VARIANTS["in its node's network"])))
    after = text.partition("5. After")[2].partition("6. Somebody")[0]
    assert "In against the policy: stranger by node2; bar/crawler by the cluster address." in after


# --- the command ---


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code of the command line."""
    monkeypatch.setattr(sys, "argv", ["nodeport-access", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry_point.main()
    return ended.value.code


def test_the_command_shows_the_packaged_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(PACKAGED.parent)
    assert run(monkeypatch, "demo") == 0
    assert capsys.readouterr().out == GOLDEN.read_text(encoding="utf-8")


def test_the_command_shows_a_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = edited(tmp_path, nodes=("name: node3", "name: the-third"))
    assert run(monkeypatch, "demo", "--scenario", str(folder), "--no-color") == 0
    assert "the-third" in capsys.readouterr().out


def replaced(name: str, old: str, new: str) -> Callable[[Path], Path]:
    return lambda folder: edited(folder, **{name: (old, new)})


def without(name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        copy = edited(folder)
        (path,) = copy.glob(f"*-{name}.yaml")
        path.unlink()
        return copy

    return build


def added(text: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        copy = edited(folder)
        (copy / "06-more.yaml").write_text(text, encoding="utf-8")
        return copy

    return build


SECOND = (PACKAGED / "05-policy.yaml").read_text(encoding="utf-8").replace("name: dashboard\n", "name: second\n")
BAD: dict[str, tuple[Callable[[Path], Path], Sequence[str]]] = {
    "no folder": (lambda folder: folder / "nothing", ["nothing is no folder"]),
    "a file": (lambda folder: edited(folder) / "05-policy.yaml", ["05-policy.yaml is no folder"]),
    "an empty folder": (lambda folder: folder, ["holds no YAML"]),
    "no YAML": (added("a: [1,\nb: {"), ["06-more.yaml, line 3: this is not YAML"]),
    "a tab": (added("a:\n\tb: 1\n"), ["06-more.yaml, line 2: this is not YAML"]),
    "a control character": (added("a: \x00"), ["06-more.yaml cannot be read"]),
    "a list": (added("---\n- a\n"), ["06-more.yaml, line 2: this is no Kubernetes object, it has no kind."]),
    "an unknown kind": (
        added("# a comment\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"),
        ["06-more.yaml, line 2: kind Deployment is not known here", "NodePortAccessPolicy"],
    ),
    "another version": (
        replaced("policy", "/v1alpha1", "/v2"),
        ["line 2: NodePortAccessPolicy tekton-pipelines/dashboard: apiVersion of a NodePortAccessPolicy must be"],
    ),
    "no name": (added("{apiVersion: v1, kind: Node, metadata: {}}"), ["line 1: this Node has no metadata.name"]),
    "the same twice": (
        added("{apiVersion: v1, kind: Node, metadata: {name: node1}}"),
        ["06-more.yaml, line 1: Node node1 is in ", "01-nodes.yaml, line 6 already"],
    ),
    "no policy": (without("policy"), ["holds no NodePortAccessPolicy"]),
    "two policies": (added(SECOND), ["06-more.yaml, line 2: a second NodePortAccessPolicy"]),
    "host bits": (
        replaced("policy", "10.2.3.4/32", "10.2.3.4/24"),
        ["05-policy.yaml, line 10: ", "spec.allowedCIDRs[0].cidr: ", "10.2.3.0/24"],
    ),
    "no service reference": (
        replaced("policy", "serviceRef: {name: tekton-dashboard}", "serviceRef: {}"),
        ["serviceRef"],
    ),
    "no such service": (
        replaced("policy", "{name: tekton-dashboard}", "{name: x}"),
        ["no file holds the policy's Service"],
    ),
    "no node ports": (
        replaced("dashboard", "type: NodePort", "type: ClusterIP"),
        ["must be of type NodePort or LoadB"],
    ),
    "a Service without port": (
        replaced("dashboard", "name: http, port: 9097, targetPort", "name: http, targetPort"),
        ["03-dashboard.yaml, line 12: Service tekton-pipelines/tekton-dashboard: spec.ports[0].port: is missing"],
    ),
    "ports that are none": (
        replaced("dashboard", "- {name: http, port: 9097, targetPort: http, nodePort: 31602}", "- 5"),
        ["03-dashboard.yaml, line 12: ", "spec.ports[0]: 5 is not an object"],
    ),
    "a spec that is none": (
        added("{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: 5}"),
        ["line 1: Pod x: spec: 5 is not an object"],
    ),
    "containers that are none": (
        replaced("dashboard", "    - name: dashboard\n", "    - 5\n    - x:\n"),
        ["spec.containers[0]: 5 is not an object"],
    ),
    "a label that is no text": (
        replaced("namespaces", "{region: foo}", "{region: yes}"),
        ["02-namespaces.yaml, line 11: ", "metadata.labels.region: true is not a string; quote it"],
    ),
    "no such namespace": (without("namespaces"), ["is in a namespace that no file holds"]),
    "no clients": (without("clients"), ["holds no ConfigMap external-clients"]),
    "another ConfigMap": (replaced("clients", "name: external-clients", "name: other"), ["the only ConfigMap"]),
    "a client without address": (
        replaced("clients", "198.51.100.7", "some host"),
        ["the client stranger has no IP address"],
    ),
    "a pod without address": (
        replaced("clients", "podIP: 10.233.90.21", "podIP: nowhere"),
        ['status.podIP: "nowhere" is not an IP address'],
    ),
    "no nodes": (without("nodes"), ["holds no Node"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_be_used_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str
) -> None:
    build, told = BAD[case]
    assert run(monkeypatch, "demo", "--scenario", str(build(tmp_path))) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("nodeport-access: ")
    assert printed.err.count("\n") == 1
    for part in told:
        assert part in printed.err


def test_a_time_is_read_as_kubectl_reads_it(tmp_path: Path) -> None:
    scenario = read(edited(tmp_path, **VARIANTS["expired"]))
    assert scenario.policy["spec"]["allowedCIDRs"][0]["expiresAt"] == "2020-01-01T00:00:00Z"
    with pytest.raises(ScenarioError, match="no time zone"):
        read(edited(tmp_path / "x", policy=("description: edge load balancer", "expiresAt: 2020-01-01T00:00:00")))


@pytest.mark.parametrize(
    ("is_terminal", "environ", "colors"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colours_are_for_terminals_and_not_for_those_who_want_none(
    is_terminal: bool, environ: dict[str, str], colors: bool
) -> None:
    assert may_color(is_terminal=is_terminal, environ=environ) is colors


def test_the_whole_process_takes_less_than_five_seconds_of_processor_time() -> None:
    """Time on the wall is this machine's business; what it cannot be is less than that."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [sys.executable, "-m", "nodeport_access", "demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "8. The policy is deleted" in ran.stdout
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 5


# --- kubectl's view ---


def test_the_columns_are_those_of_the_crd() -> None:
    (path,) = (ROOT / "crds").glob("*.yaml")
    (version,) = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["versions"]
    columns = [column for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert [(column["name"], column["jsonPath"]) for column in columns] == list(kubectl_view.COLUMNS)


def test_a_value_that_is_not_there_is_printed_as_nothing() -> None:
    body: Body = {
        "metadata": {"name": "x", "creationTimestamp": "2026-06-01T11:00:00Z"},
        "spec": {"serviceRef": {"name": "y"}},
    }
    assert kubectl_view.get(body, now=START)[1] == ["x", "y", "", "", "", "", "", "60m"]
    with_other = {**body, "status": {"conditions": [{"type": "Other", "status": "True"}]}}
    assert kubectl_view.get(with_other, now=START)[1] == ["x", "y", "", "", "", "", "", "60m"]


if __name__ == "__main__":
    GOLDEN.write_text(page(read(PACKAGED)), encoding="utf-8")
