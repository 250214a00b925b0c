"""The lab that `make lab` leaves standing: stage, kube-proxy, engine and operator, a policy, and how to look around.

Not its business: the process in the background that owns it (`testbed.playground`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from testbed.kubectl import PROGRAM
from testbed.lab import stage, topology
from testbed.lab.dialing import Dial
from testbed.lab.lab import Lab
from testbed.lab.load_balancer import LoadBalancer
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4
from testbed.operator_process import ROOT
from testbed.programs import CONTROL_PLANE, DATAPLANE, find
from testbed.progress import Progress
from testbed.waiting import wait_for

PROGRAMS = CONTROL_PLANE + DATAPLANE
_POLICY = Path(__file__).with_name("policy.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands: what to tell the person who asked for it, and process ids by the programs' names."""

    message: str
    programs: Mapping[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen of the lab, for a command line."""
    modes, placements = [str(mode) for mode in Mode], [str(placement) for placement in Placement]
    parser.add_argument("--mode", choices=modes, default=Mode.NFTABLES, help="of kube-proxy (default: %(default)s)")
    parser.add_argument(
        "--placement", choices=placements, default=Placement.OWN_NODE, help="of verdicts (default: %(default)s)"
    )


def start(stack: contextlib.ExitStack, *, folder: Path, progress: Progress, arguments: Sequence[str]) -> Standing:
    """Start it; the stack ends it. Raises Failure and TimedOut."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    chosen = parser.parse_args(arguments)
    mode, placement = Mode(chosen.mode), Placement(chosen.placement)
    programs = find(PROGRAMS, progress=progress)
    progress.step("starting three nodes, outside hosts and a control plane")
    lab = Lab(folder=folder, programs=programs)
    stack.callback(lab.close)
    shutil.copy(lab.control_plane.admin_kubeconfig, folder / "kubeconfig")
    _write_entrance(folder)
    progress.step(f"making the Service {stage.NAMESPACE}/{stage.SERVICE} with its pod, and pods that call it")
    stage.create(lab)
    progress.step(f"starting kube-proxy ({mode}) on every node, and policy engines ({placement})")
    lab.arrange(mode, placement)
    progress.step("starting the operator, and applying testbed/lab/policy.yaml")
    lab.start_operator()
    stage.guard(lab, yaml.safe_load(_POLICY.read_text()))
    progress.step("waiting until packets obey it, and HAProxy has found the node that has the pod")
    wait_for(lambda: _obeyed(lab), seconds=30, what="packets to obey the policy")
    balancer = LoadBalancer(lab, node_port=stage.NODE_PORT)
    stack.callback(balancer.stop)
    balancer.start()
    return Standing(
        message=_what_to_type_next(folder, lab, mode, placement),
        programs={**lab.control_plane.process_ids(), "operator": lab.operator.pid},
    )


def _obeyed(lab: Lab) -> bool:
    """Whether kube-proxy and the engines have followed: who is allowed is seen as himself, and nobody else gets in."""
    dials = [
        (Dial(address=node.addresses[V4], port=stage.NODE_PORT), host.name)
        for host in (topology.LOAD_BALANCER, topology.STRANGER)
        for node in topology.NODES
    ]
    through = [(name, outcome.source) for (_, name), outcome in zip(dials, lab.dial(dials), strict=True) if outcome.pod]
    return through == [(topology.LOAD_BALANCER.name, topology.LOAD_BALANCER.addresses[V4])]


def _write_entrance(folder: Path) -> None:
    """The script that runs a command inside: the lab's namespaces have names for its own processes alone."""
    script = f"""\
#!/bin/sh
# in WHERE COMMAND [ARGUMENT]...: run a command in the lab, where this host, node or pod is. Needs root.
[ $# -ge 2 ] || {{ sed -n 2p "$0" >&2; exit 2; }}
where=$1
shift
export KUBECONFIG={shlex.quote(str(folder / "kubeconfig"))} PATH={shlex.quote(str(PROGRAM.parent))}:"$PATH"
exec nsenter --target {os.getpid()} --mount --net ip netns exec "$where" "$@"
"""
    entrance = folder / "in"
    entrance.write_text(script)
    entrance.chmod(0o755)


def _what_to_type_next(folder: Path, lab: Lab, mode: Mode, placement: Placement) -> str:
    inside = os.path.relpath(folder / "in", ROOT)
    node_1, node_2, _ = (f"http://{node.addresses[V4]}:{stage.NODE_PORT}/" for node in topology.NODES)
    flip = """'{"spec": {"externalTrafficPolicy": "Cluster"}}'"""
    return f"""\
A cluster of three nodes stands here, out of network namespaces: kube-proxy in {mode} mode on each, NetworkPolicy
engines behind it (placement: {placement}), and the operator. {inside} runs a command in one of

  {" ".join(lab.network.names())}

Who gets in? The load balancer may, by the node that has the pod; a stranger may not; the pod says whom it saw:

  {inside} load-balancer curl -sm 2 {node_2}
  {inside} load-balancer curl -sm 2 {node_1}
  {inside} stranger curl -sm 2 {node_2}
  {inside} foo-1 curl -sm 2 {node_2}
  {inside} bar-1 curl -sm 2 {node_2}

The load balancer probes the node ports, and serves customers, whoever they are, by the node that answers:

  {inside} stranger curl -sm 2 http://{topology.LOAD_BALANCER.addresses[V4]}/
  {inside} load-balancer tail {shlex.quote(str(lab.folder / "haproxy.log"))}

What is in the cluster, and on a node:

  {inside} fabric kubectl get npap -A -o wide
  {inside} fabric kubectl -n {stage.NAMESPACE} get networkpolicies,service -o wide
  {inside} node-2 nft list ruleset
  {inside} node-2 conntrack -L

Break it, and look again:

  {inside} fabric kubectl -n {stage.NAMESPACE} patch service {stage.SERVICE} -p {flip}
  {inside} fabric kubectl -n {stage.NAMESPACE} delete npap {stage.POLICY}

  make down    ends all of it
"""
