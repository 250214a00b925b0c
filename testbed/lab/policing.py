"""sig-network's NetworkPolicy engine behind NFQUEUE on every node, in one of three places that CNIs use.

Where the verdict is given decides what it sees, because kube-proxy masquerades in between:

    every hop    where a node forwards, before masquerading, also on the node that a client came in through (kindnet)
    own node     where the pod's own node forwards, before masquerading there (Calico, kube-router, Cilium)
    after SNAT   at the pod's interface, after masquerading; the node's own address is always let in, or probes of its
                 kubelet would not get through (CNIs that decide at the veth)

Not its business: the verdict (`testbed/programs/policy-engine`).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path

from testbed.control_plane import ControlPlane
from testbed.lab import topology
from testbed.lab.namespaces import Namespace
from testbed.lab.network import Network
from testbed.lab.topology import V4, V6, Node, Pair
from testbed.processes import ProcessFailed, SupervisedProcess, tail
from testbed.waiting import wait_for

_QUEUE = 100
_RESTORE = {V4: "iptables-restore", V6: "ip6tables-restore"}
USER = "policy-engine"


class Placement(StrEnum):
    """Where the verdict is given."""

    EVERY_HOP = "every hop"
    OWN_NODE = "own node"
    AFTER_SNAT = "after SNAT"


class Policing:
    """The engines of the lab, and the rules that hand packets to them."""

    def __init__(self, *, network: Network, control_plane: ControlPlane, program: Path, folder: Path) -> None:
        self._network, self._control_plane, self._program, self._folder = network, control_plane, program, folder
        self._kubeconfig = control_plane.kubeconfig(user=USER, url=control_plane.advertised_url)
        self._processes: dict[str, SupervisedProcess] = {}
        self.placement: Placement | None = None

    def start(self, placement: Placement, *, pods: Sequence[tuple[str, Node]]) -> None:
        """Have all packets to pods judged there. Raises ProcessFailed and TimedOut.

        `pods` are those that there are; `guard` is for those that come later.
        """
        self.placement = placement
        if placement is Placement.AFTER_SNAT:
            for name, node in pods:
                self.guard(name, node=node)
            return
        for node in topology.NODES:
            target = node.pod_cidrs if placement is Placement.OWN_NODE else None
            self._judge(self._network[node.name], chain="FORWARD", target=target)
            self._run(node.name, node=node)
        self._wait()

    def guard(self, pod: str, *, node: Node) -> None:
        """See to a new pod, where the verdict is given at its interface."""
        if self.placement is Placement.AFTER_SNAT:
            self._judge(self._network[pod], chain="INPUT -i eth0", exempt=node.addresses)
            self._run(pod, node=node, netns=self._network[pod].path)
            self._wait()

    def forget(self, pod: str) -> None:
        """A pod goes."""
        if process := self._processes.pop(pod, None):
            process.kill()

    def stop(self, *, pods: Sequence[tuple[str, Node]]) -> None:
        """End the engines, and take the rules of the pods away; those of the nodes are the caller's."""
        if self.placement is Placement.AFTER_SNAT:
            for name, _ in pods:
                self._network[name].run("nft", "flush", "ruleset")
        self.placement = None
        for process in self._processes.values():
            process.kill()
        self._processes.clear()

    def _judge(
        self, namespace: Namespace, *, chain: str, target: Pair | None = None, exempt: Pair | None = None
    ) -> None:
        for family, restore in _RESTORE.items():
            to = f"-d {target[family]} " if target else ""
            rules = [f"-A {chain} -s {exempt[family]} -j ACCEPT"] if exempt else []
            rules += [
                f"-A {chain} {to}-p {protocol} -m conntrack --ctstate NEW -j NFQUEUE --queue-num {_QUEUE}"
                for protocol in ("tcp", "udp")
            ]
            namespace.run(restore, "--noflush", input="\n".join(["*mangle", *rules, "COMMIT", ""]))

    def _run(self, name: str, *, node: Node, netns: Path | None = None) -> None:
        flags = [f"-kubeconfig={self._kubeconfig}", f"-node={node.name}", f"-queue={_QUEUE}"]
        flags += [f"-netns={netns}"] if netns else []
        log = self._folder / f"policy-engine-{name}.log"
        log.unlink(missing_ok=True)  # what it says is looked for there
        command = self._network[node.name].command(self._program, *flags)
        self._processes[name] = SupervisedProcess(command=command, log=log, hold=[self._control_plane.lock])

    def _wait(self) -> None:
        for name, process in self._processes.items():
            wait_for(partial(_is_ready, process), seconds=60, what=f"the policy engine of {name}", every=0.02)


def _is_ready(process: SupervisedProcess) -> bool:
    if process.exit_code() is not None:
        raise ProcessFailed(f"a policy engine ended:\n{tail(process.log)}")
    return "ready\n" in process.log.read_text()
