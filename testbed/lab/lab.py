"""The lab as a whole: the network, the control plane in its fabric, kube-proxy and engine on every node, the operator.

    lab = Lab(folder=folder, programs=find(CONTROL_PLANE + DATAPLANE))
    lab.arrange(Mode.NFTABLES, Placement.OWN_NODE)
    outcome, = lab.dial([(Dial(address="10.99.0.11", port=31602), "stranger")])

It leaves the machine's network for good: a process that made a lab is of no use for anything else on the network.

Not its business: what is in the cluster to be looked at (`testbed.lab.stage`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.lab import policing, topology
from testbed.lab.backends import Backends
from testbed.lab.dialing import Dial, Outcome, ask, dial, opened
from testbed.lab.namespaces import isolate
from testbed.lab.network import Network
from testbed.lab.policing import Placement, Policing
from testbed.lab.proxies import Mode, Proxies
from testbed.lab.running_loop import RunningLoop
from testbed.lab.topology import Node, Pair
from testbed.operator_process import OperatorProcess, install
from testbed.programs import Programs

MIN_SYNC_PERIOD = "1s"  # kube-proxy's default, written down because what is measured depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of the lab: an object in the API, a namespace, and a server in it if it has ports."""

    namespace: str
    name: str
    node: Node
    addresses: Pair


class Lab:
    """Runs from its making until `close`."""

    def __init__(self, *, folder: Path, programs: Programs) -> None:
        """Start everything but proxies, engines and the operator. Raises Failure and TimedOut."""
        self.folder = folder
        self.pods: dict[str, Pod] = {}
        self._stack = contextlib.ExitStack()
        self._operators = 0
        self._operator: OperatorProcess | None = None
        try:
            self.network = Network(isolate("fabric"))
            self.running = RunningLoop()
            self._stack.callback(self.running.close)
            self.backends = Backends(self.running)
            self._stack.callback(self.backends.close)
            self.control_plane = ControlPlane(
                folder=folder / "control-plane", programs=programs, bind_address="0.0.0.0"
            )
            self._stack.enter_context(self.control_plane)
            self.cluster = Cluster(self.control_plane)
            install(self.control_plane)
            _allow_engines(self.cluster)
            for node in topology.NODES:
                self.cluster.create(objects.node(name=node.name, addresses=node.addresses, pod_cidrs=node.pod_cidrs))
            self.proxies = Proxies(
                network=self.network, control_plane=self.control_plane, program=programs["kube-proxy"], folder=folder
            )
            self._stack.callback(self.proxies.stop)
            self.policing = Policing(
                network=self.network, control_plane=self.control_plane, program=programs["policy-engine"], folder=folder
            )
            self._stack.callback(lambda: self.policing.stop(pods=()))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything. The namespaces end with the process. Safe to repeat."""
        self._stack.close()

    def arrange(self, mode: Mode, placement: Placement | None) -> None:
        """Have the nodes run kube-proxy in this mode, and the engine in this place, or none."""
        if (self.proxies.mode, self.policing.placement) == (mode, placement):
            return
        self.tear_up()
        if placement is not None:
            self.policing.start(placement, pods=self._places())
        self.proxies.start(mode, min_sync_period=MIN_SYNC_PERIOD)

    def tear_up(self) -> None:
        """Take all rules off the nodes; the next `arrange` makes them anew."""
        self.proxies.stop()
        self.policing.stop(pods=self._places())
        for node in topology.NODES:
            self.network[node.name].run("nft", "flush", "ruleset")
            self.network[node.name].run("conntrack", "-F")

    # --- pods ---------------------------------------------------------------------------------------------------------

    def add_pod(
        self,
        namespace: str,
        name: str,
        *,
        node: Node,
        number: int,
        labels: Mapping[str, str] | None = None,
        tcp: Mapping[str, int] | None = None,
        udp: Mapping[str, int] | None = None,
    ) -> Pod:
        """Make a pod that runs and is ready, with the address of this number on its node.

        `tcp` and `udp` are the ports it serves, by their names.
        """
        pod = Pod(namespace=namespace, name=name, node=node, addresses=node.pod(number))
        tcp, udp = tcp or {}, udp or {}
        wired = self.network.add_pod(name, node=node, addresses=pod.addresses)
        self.pods[name] = pod
        self.policing.guard(name, node=node)
        self.backends.start(name, namespace=wired, tcp=list(tcp.values()), udp=list(udp.values()))
        body = objects.pod(
            namespace=namespace, name=name, node=node.name, ips=pod.addresses, labels=labels, ports=tcp, ready=False
        )
        body["spec"]["containers"][0]["ports"] += [
            {"name": port, "containerPort": number, "protocol": "UDP"} for port, number in udp.items()
        ]
        self.cluster.create(body)
        # Ready after its address was told, as it is in a cluster: an address that no engine knows is open to everyone,
        # and kube-proxy must not send anybody there before.
        self.cluster.set_ready(name, namespace=namespace, ready=True)
        return pod

    def remove_pod(self, name: str) -> None:
        """End a pod: first its server, then the object, as an address that no engine knows is open to everyone."""
        pod = self.pods.pop(name)
        self.backends.stop(name)
        self.cluster.remove(name, namespace=pod.namespace)
        self.policing.forget(name)
        self.network.remove_pod(name, node=pod.node)

    def _places(self) -> list[tuple[str, Node]]:
        return [(pod.name, pod.node) for pod in self.pods.values()]

    # --- the operator -------------------------------------------------------------------------------------------------

    @property
    def operator(self) -> OperatorProcess:
        """The one that runs."""
        assert self._operator is not None, "it was not started"
        return self._operator

    def start_operator(self) -> None:
        """Start the operator, or another one in its place that remembers nothing. Raises OperatorFailed."""
        if self._operator is not None:
            self._operator.close()
        self._operators += 1
        self._operator = OperatorProcess(self.control_plane, log=self.folder / f"operator-{self._operators}.log")
        self._stack.callback(self._operator.close)
        self._operator.wait_until_ready()

    def operator_log_lines(self) -> list[str]:
        """What every operator of this lab has logged."""
        return [line for log in self.folder.glob("operator-*.log") for line in log.read_text().splitlines()]

    # --- connections --------------------------------------------------------------------------------------------------

    def dial(self, requests: Sequence[tuple[Dial, str]], *, seconds: float = 0.8) -> list[Outcome]:
        """Dial all of these at once, each from the host, node or pod of the name beside it; the outcomes, in order."""

        async def dialled() -> list[Outcome]:
            return await asyncio.gather(
                *(
                    dial(request, origin=self.network[name], backends=self.backends, seconds=seconds)
                    for request, name in requests
                )
            )

        return self.running.run(dialled())

    def open_session(self, request: Dial, *, origin: str) -> Session:
        """Connect, and stay connected. Raises OSError and TimeoutError where that fails."""
        return Session(self, request, origin)


class Session:
    """A connection, or a flow of datagrams from one port, that can be asked over again."""

    def __init__(self, lab: Lab, request: Dial, origin: str) -> None:
        self._lab, self._request = lab, request
        self._numbers = itertools.count()
        self._socket = opened(request, lab.network[origin])
        try:
            self._lab.running.run(self._connect())
            self.ask()
        except BaseException:
            self.close()
            raise

    def ask(self, *, seconds: float = 1.0) -> str:
        """The address that the pod sees. Raises OSError and TimeoutError where no answer comes."""
        return self._lab.running.run(self._ask(seconds))

    def close(self) -> None:
        self._socket.close()

    async def _connect(self) -> None:
        async with asyncio.timeout(1.0):
            await asyncio.get_running_loop().sock_connect(self._socket, (self._request.address, self._request.port))

    async def _ask(self, seconds: float) -> str:
        token = f"s{id(self)}-{next(self._numbers)}"
        async with asyncio.timeout(seconds):
            if not await ask(self._socket, self._request, token):
                raise ConnectionAbortedError("the pod closed the connection")
        return self._lab.backends.arrivals.pop(token).source


def _allow_engines(cluster: Cluster) -> None:
    """The engine reads what everybody may who has the ClusterRole `view`, and nothing else."""
    group = "rbac.authorization.k8s.io"
    cluster.control_plane.request(
        "POST",
        f"/apis/{group}/v1/clusterrolebindings",
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": policing.USER},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": policing.USER}],
        },
    )
