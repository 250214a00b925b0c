"""kube-proxy on every node, in one of its modes.

Not its business: what else filters there (`testbed.lab.policing`).
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path

import urllib3
import yaml

from testbed.control_plane import ControlPlane
from testbed.lab import topology
from testbed.lab.network import Network
from testbed.lab.topology import Node
from testbed.processes import ProcessFailed, SupervisedProcess, tail
from testbed.waiting import wait_for

_HEALTH_PORT = 10256


class Mode(StrEnum):
    """How kube-proxy talks to the kernel."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"


class Proxies:
    """Three of them, which run between `start` and `stop`."""

    def __init__(self, *, network: Network, control_plane: ControlPlane, program: Path, folder: Path) -> None:
        self._network, self._control_plane, self._program, self._folder = network, control_plane, program, folder
        self._kubeconfig = control_plane.kubeconfig(user="system:kube-proxy", url=control_plane.advertised_url)
        self._processes: dict[str, SupervisedProcess] = {}
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(2))
        self.mode: Mode | None = None

    def start(self, mode: Mode, *, min_sync_period: str) -> None:
        """Start one on each node, and wait until each has written its rules. Raises ProcessFailed and TimedOut.

        `min_sync_period`, a duration as in "1s", is the shortest time between two changes of the rules.
        """
        self.mode = mode
        for node in topology.NODES:
            configuration = self._folder / f"{node.name}.yaml"
            configuration.write_text(yaml.safe_dump(self._configuration(node, mode, min_sync_period), sort_keys=False))
            command = self._network[node.name].command(self._program, f"--config={configuration}", "--v=2")
            self._processes[node.name] = SupervisedProcess(
                command=["env", f"XTABLES_LOCKFILE={self._folder / node.name}.lock", *command],
                log=self._folder / f"kube-proxy-{node.name}.log",
                hold=[self._control_plane.lock],
            )
        for node in topology.NODES:
            wait_for(partial(self._is_ready, node), seconds=60, what=f"kube-proxy on {node.name}", every=0.05)

    def stop(self) -> None:
        """End them. Their rules stay, as in a cluster. Safe to repeat."""
        self.mode = None
        for process in self._processes.values():
            process.kill()
        self._processes.clear()

    def _is_ready(self, node: Node) -> bool:
        process = self._processes[node.name]
        if process.exit_code() is not None:
            raise ProcessFailed(f"kube-proxy on {node.name} ended:\n{tail(process.log)}")
        try:
            answer = self._http.request("GET", f"http://{node.addresses[topology.V4]}:{_HEALTH_PORT}/healthz")
        except urllib3.exceptions.HTTPError:
            return False
        return answer.status == 200

    def _configuration(self, node: Node, mode: Mode, min_sync_period: str) -> dict[str, object]:
        """KubeProxyConfiguration of kubeproxy.config.k8s.io/v1alpha1.

        The limits of conntrack are the machine's, which a namespace cannot set: kube-proxy ends when it is to try.
        """
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": mode.value,
            "hostnameOverride": node.name,
            "clientConnection": {"kubeconfig": str(self._kubeconfig)},
            "clusterCIDR": ",".join(topology.POD_NETWORKS),
            "detectLocalMode": "ClusterCIDR",
            "nodePortAddresses": list(topology.NODE_NETWORKS),
            "healthzBindAddress": f"0.0.0.0:{_HEALTH_PORT}",
            "metricsBindAddress": "127.0.0.1:10249",
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
                "udpTimeout": "0s",
                "udpStreamTimeout": "0s",
            },
            "iptables": {"localhostNodePorts": False, "minSyncPeriod": min_sync_period},
            "nftables": {"minSyncPeriod": min_sync_period},
        }
