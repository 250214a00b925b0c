"""`nodeport-access probe` on machines outside: a process in their network, a plan, and no kubeconfig.

What it says is held against what is so in the lab, with the Service guarded, set back to Cluster, and with no engine on
the nodes, while every object is in place.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Fate, Protocol
from testbed.lab.lab import Lab
from testbed.lab.namespaces import Namespace
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import HOLE, LOAD_BALANCER, STRANGER, V4, V6, Host
from testbed.waiting import wait_for
from tests.lab.arrangements import arranged
from tests.lab.setups import policy

AGREED, LEAKED, WRONG, UNPROVEN = range(4)
SERVICE = f"{stage.NAMESPACE}/{stage.SERVICE}"
TARGETS = 3 * 2 * 2  # nodes, families, protocols
PATIENTLY = ("--rate", "100", "--timeout", "2")
"""The verdict on a new connection is a program's on each node, which a busy machine holds up."""
NODE_2 = stage.BACKEND_NODE
NODE_NAMES = {node.name for node in topology.NODES}


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe said, and how it ended."""

    code: int
    record: Any
    told: str

    def by(self, verdict: str) -> set[tuple[str, str]]:
        """Node and protocol of the targets with this verdict, over both families alike."""
        found = [
            (target["node"], target["protocol"]) for target in self.record["targets"] if target["verdict"] == verdict
        ]
        assert all(found.count(each) == 2 for each in found), f"{verdict} over one family alone: {self.others(verdict)}"
        return set(found)

    def others(self, verdict: str) -> str:
        """The targets with another verdict, and what became of each attempt."""
        return json.dumps([target for target in self.record["targets"] if target["verdict"] != verdict], indent=1)

    @property
    def findings(self) -> str:
        return " ".join(self.record["findings"])


def both(*nodes: str) -> set[tuple[str, str]]:
    """These nodes by TCP and by UDP."""
    return {(node, protocol) for node in nodes for protocol in ("TCP", "UDP")}


def guard(lab: Lab, *, holds: bool = True) -> None:
    """Have the operator guard the Service, and wait until the nodes follow; without an engine it holds nobody back."""
    stage.guard(lab, policy())
    wait_until_open(lab, {NODE_2.name}, host=LOAD_BALANCER)
    wait_until_open(lab, set() if holds else {NODE_2.name}, host=STRANGER)


def wait_until_open(lab: Lab, nodes: set[str], *, host: Host) -> None:
    """Wait until somebody gets in through exactly these nodes, by either protocol and over both families."""
    ways = [
        (node.name, Dial(address=node.addresses[family], port=stage.NODE_PORT, protocol=protocol))
        for node in topology.NODES
        for family in (V4, V6)
        for protocol in Protocol
    ]

    def as_wanted() -> bool:
        outcomes = lab.dial([(dial, host.name) for _, dial in ways])
        found = [(name, outcome.fate) for (name, _), outcome in zip(ways, outcomes, strict=True)]
        wanted = [(name, Fate.THROUGH if name in nodes else Fate.REFUSED) for name, _ in ways]
        assert found == wanted
        return True

    wait_for(as_wanted, seconds=15, what=f"{host.name} to get in through {sorted(nodes) or 'no node'} only")


def program(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "nodeport_access", "probe", *map(str, words)]


def environ() -> dict[str, str]:
    """Nothing that leads to a cluster."""
    root = Path(__file__).resolve().parents[2]
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(root / "operator"), "HOME": "/nonexistent"}


def export(lab: Lab, folder: Path, *flags: str) -> Path:
    """Whoever has a kubeconfig writes the plan, from the objects as they are now."""
    path = folder / "plan.json"
    words = program(SERVICE, "--kubeconfig", lab.control_plane.admin_kubeconfig, "--export", path, *flags)
    done = subprocess.run(words, env=environ(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return path


def probe(lab: Lab, host: Host, plan: Path, *flags: str) -> Probed:
    """Somebody outside dials what the plan says."""
    words = lab.network[host.name].command(
        *program("--plan", plan, "-o", "json", *PATIENTLY, "--attempts", "2", *flags)
    )
    done = subprocess.run(words, env=environ(), capture_output=True, text=True, timeout=90)
    assert done.returncode in (AGREED, LEAKED, UNPROVEN), done.stderr
    record = json.loads(done.stdout)
    assert record["exitCode"] == done.returncode
    assert len(record["targets"]) == TARGETS
    return Probed(done.returncode, record, done.stderr)


ARRANGEMENTS = arranged((Mode.NFTABLES, Placement.OWN_NODE), (Mode.IPTABLES, Placement.AFTER_SNAT))


@ARRANGEMENTS
def test_everybody_outside_finds_a_guarded_service_as_predicted(
    lab: Lab, tmp_path: Path, mode: Mode, placement: Placement
) -> None:
    lab.arrange(mode, placement)
    guard(lab)
    plan = export(lab, tmp_path)

    found = {host.name: probe(lab, host, plan) for host in topology.OUTSIDE}

    assert {name: (each.code, each.by("agrees")) for name, each in found.items()} == {
        host.name: (AGREED, both(*NODE_NAMES)) for host in topology.OUTSIDE
    }
    assert in_by(found[LOAD_BALANCER.name]) == both(NODE_2.name)
    assert in_by(found[STRANGER.name]) == in_by(found[HOLE.name]) == set()
    assert "NetworkPolicy alone is to refuse 198.51.100.7" in found[STRANGER.name].findings


def in_by(found: Probed) -> set[tuple[str, str]]:
    """Where every attempt got in."""
    return {
        (target["node"], target["protocol"])
        for target in found.record["targets"]
        if {attempt["result"] for attempt in target["attempts"]} == {"in"}
    }


@ARRANGEMENTS
def test_a_service_set_back_to_cluster_is_told_by_a_plan_from_before(
    lab: Lab, tmp_path: Path, mode: Mode, placement: Placement
) -> None:
    lab.arrange(mode, placement)
    guard(lab)
    plan = export(lab, tmp_path)
    with lab.operator.paused():
        stage.set_traffic_policy(lab, "Cluster")
        wait_until_node_2_hides_the_load_balancer(lab)
        stranger, load_balancer = probe(lab, STRANGER, plan), probe(lab, LOAD_BALANCER, plan)
        anew = export(lab, tmp_path, "--assume", f"placement={SPELLED[placement]}", "--proxy-mode", mode.value)
        as_it_is_now = probe(lab, STRANGER, anew)

    if placement is Placement.AFTER_SNAT:
        # Everybody who comes in by the pod's own node looks like that node.
        assert (stranger.code, stranger.by("leaks")) == (LEAKED, both(NODE_2.name))
        assert (load_balancer.code, load_balancer.by("agrees")) == (AGREED, both(*NODE_NAMES))
    else:
        # By the pod's own node the verdict comes before masquerading: nothing has changed for anybody.
        assert (stranger.code, stranger.by("agrees")) == (AGREED, both(*NODE_NAMES))
        assert (load_balancer.code, load_balancer.by("agrees")) == (AGREED, both(*NODE_NAMES))
    assert (as_it_is_now.code, as_it_is_now.by("agrees")) == (AGREED, both(*NODE_NAMES))


SPELLED = {
    Placement.EVERY_HOP: "every-hop",
    Placement.OWN_NODE: "own-node",
    Placement.AFTER_SNAT: "after-snat",
}


def wait_until_node_2_hides_the_load_balancer(lab: Lab) -> None:
    def hidden() -> bool:
        request = Dial(address=NODE_2.addresses[V4], port=stage.NODE_PORT)
        return lab.dial([(request, LOAD_BALANCER.name)])[0].source == NODE_2.addresses[V4]

    wait_for(hidden, seconds=10, what="node-2 to follow")


def test_whoever_has_a_kubeconfig_dials_at_once_and_every_address(lab: Lab) -> None:
    """From the fabric, where the API server is: an address that is no node's, and not allowed."""
    lab.arrange(Mode.NFTABLES, Placement.OWN_NODE)
    guard(lab)
    words = program(SERVICE, "--kubeconfig", lab.control_plane.admin_kubeconfig, "--every-address", "-o", "json")

    done = subprocess.run([*words, *PATIENTLY], env=environ(), capture_output=True, text=True, timeout=90)

    assert done.returncode == AGREED, done.stdout + done.stderr
    targets = json.loads(done.stdout)["targets"]
    assert {target["source"] for target in targets} == set(topology.FABRIC)
    ways = ("node port", "external IP", "load-balancer address")
    assert Counter(target["way"] for target in targets) == dict.fromkeys(ways, TARGETS)


def test_a_deleted_allowlist_is_told_as_blocked(lab: Lab, tmp_path: Path) -> None:
    lab.arrange(Mode.NFTABLES, Placement.OWN_NODE)
    guard(lab)
    plan = export(lab, tmp_path)
    with lab.operator.paused():
        lab.cluster.delete("NetworkPolicy", f"{stage.POLICY}-allow", namespace=stage.NAMESPACE)
        wait_until_open(lab, set(), host=LOAD_BALANCER)
        found = probe(lab, LOAD_BALANCER, plan)

    assert found.code == UNPROVEN
    assert found.by("blocked") == {(NODE_2.name, "TCP")}
    assert found.by("inconclusive") == {(NODE_2.name, "UDP")}
    assert "Perhaps the network between, a firewall or a NAT is in the way" in found.findings


@pytest.mark.parametrize("mode", Mode, ids=str)
def test_where_nothing_enforces_networkpolicy_a_stranger_is_told_so(lab: Lab, tmp_path: Path, mode: Mode) -> None:
    lab.arrange(mode, None)
    guard(lab, holds=False)  # every object is in place, and Ready is True
    plan = export(lab, tmp_path)

    stranger, hole, load_balancer = (probe(lab, host, plan) for host in (STRANGER, HOLE, LOAD_BALANCER))

    for found, address in ((stranger, STRANGER.addresses[V4]), (hole, HOLE.addresses[V4])):
        assert (found.code, found.by("leaks")) == (LEAKED, both(NODE_2.name))
        assert found.by("agrees") == both(*NODE_NAMES - {NODE_2.name})  # Local drops it there, engine or not
        assert f"NetworkPolicy is not enforced on this path: {address}" in found.findings
    assert (load_balancer.code, load_balancer.by("agrees")) == (AGREED, both(*NODE_NAMES))
    assert "No answer here shows whether NetworkPolicy is enforced" in load_balancer.findings

    only_for = [word for address in STRANGER.addresses for word in ("--for", address)]
    narrowed = probe(lab, STRANGER, export(lab, tmp_path, *only_for))
    assert (narrowed.code, narrowed.by("leaks"), narrowed.by("agrees")) == (
        stranger.code,
        stranger.by("leaks"),
        stranger.by("agrees"),
    )


def test_the_table_says_it_too(lab: Lab, tmp_path: Path) -> None:
    lab.arrange(Mode.NFTABLES, None)
    guard(lab, holds=False)
    plan = export(lab, tmp_path)
    words = lab.network[STRANGER.name].command(*program("--plan", plan, *PATIENTLY))

    done = subprocess.run(words, env=environ(), capture_output=True, text=True, timeout=90)

    assert (done.returncode, done.stderr) == (LEAKED, "")
    leaking = [line for line in done.stdout.splitlines() if f"{NODE_2.addresses[V4]}:{stage.NODE_PORT}/TCP" in line]
    assert [line.split()[2:5] for line in leaking] == [["refused", "in", "leaks"]]
    assert "\nNetworkPolicy is not enforced on this path: 198.51.100.7 and 2001:db8:51::7 got in" in done.stdout


def test_a_machine_whose_address_is_not_what_the_nodes_see_says_what_they_see(lab: Lab, tmp_path: Path) -> None:
    """The stranger takes himself for the load balancer: what he is then to be let in by, he is not."""
    lab.arrange(Mode.NFTABLES, Placement.OWN_NODE)
    guard(lab)
    plan = export(lab, tmp_path)

    seen_as = [word for address in LOAD_BALANCER.addresses for word in ("--seen-as", address)]
    found = probe(lab, STRANGER, plan, *seen_as)

    assert (found.code, found.by("blocked")) == (UNPROVEN, {(NODE_2.name, "TCP")})


def test_on_a_node_nothing_is_predicted(lab: Lab, tmp_path: Path) -> None:
    lab.arrange(Mode.NFTABLES, Placement.OWN_NODE)
    guard(lab)
    plan = export(lab, tmp_path)
    node_1 = Host(name="node-1", addresses=topology.NODES[0].addresses)

    found = probe(lab, node_1, plan)

    assert (found.code, found.by("not predicted")) == (UNPROVEN, both(*NODE_NAMES))
    assert "dial from a machine outside" in found.findings


GONE = {4: "10.99.1.99", 6: "fd00:99:1::99"}


def leading_nowhere(plan: Path) -> Path:
    """The plan with addresses that nobody has."""
    body = json.loads(plan.read_text())
    for target in body["targets"]:
        target["address"] = GONE[ip_address(target["address"]).version]
    plan.write_text(json.dumps(body))
    return plan


@contextlib.contextmanager
def unreachable_by(router: Namespace) -> Iterator[None]:
    """Within, this machine has no way there."""
    router.ip(*(f"route add unreachable {address}" for address in GONE.values()))
    try:
        yield
    finally:
        router.ip(*(f"route del unreachable {address}" for address in GONE.values()))


def test_icmp_tells_of_a_host_that_cannot_be_reached(lab: Lab, tmp_path: Path) -> None:
    plan = leading_nowhere(export(lab, tmp_path))
    with unreachable_by(lab.network.fabric):
        # The kernel that hears it while it still connects, as on this wire over IPv6, tells of it a packet later: 1 s.
        found = probe(lab, STRANGER, plan)

    # A router tells so a few times a second at most (icmp(7), icmp_ratelimit); the rest is silence.
    told = {
        (target["protocol"], target["address"])
        for target in found.record["targets"]
        if "unreachable" in {attempt["result"] for attempt in target["attempts"]}
    }
    assert told == {(protocol, address) for protocol in ("TCP", "UDP") for address in GONE.values()}


def test_a_machine_without_a_route_has_dialled_nothing(lab: Lab, tmp_path: Path) -> None:
    plan = leading_nowhere(export(lab, tmp_path))
    with unreachable_by(lab.network[STRANGER.name]):
        found = probe(lab, STRANGER, plan)

    results = {attempt["result"] for target in found.record["targets"] for attempt in target["attempts"]}
    assert (found.code, results) == (UNPROVEN, {"failed"})
    assert {target["verdict"] for target in found.record["targets"]} == {"inconclusive"}
    assert "dialled from no address" in found.findings
