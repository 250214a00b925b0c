"""HAProxy as the external load balancer: it finds out by probing which nodes answer on the node port.

Every node is a server, whether it has a pod or not, as nobody outside knows where pods are. A probe opens a connection
to the node port, which under `Local` succeeds where a pod is, and nowhere else.

Not its business: who may reach the node ports, and what becomes of the customers' connections (`testbed.lab.steady`).
"""

from __future__ import annotations

import csv
import socket
from pathlib import Path

from testbed.lab import topology
from testbed.lab.lab import Lab
from testbed.lab.topology import V4, V6
from testbed.processes import ProcessFailed, SupervisedProcess, tail
from testbed.waiting import wait_for

PORT = 80
INTERVAL, CONNECT_TIMEOUT, FALL, RISE = 0.3, 0.2, 2, 1  # two times in seconds, two counts of probes
UNAWARE = FALL * (INTERVAL + CONNECT_TIMEOUT)
"""Seconds for which it may still send to a node that no longer answers."""

_BACKEND = {V4: "ipv4", V6: "ipv6"}


class LoadBalancer:
    """Listens on its own addresses between `start` and `stop`, and hands on to a node port of the same family."""

    def __init__(self, lab: Lab, *, node_port: int) -> None:
        self._lab, self._node_port = lab, node_port
        self._socket = Path("/run/load-balancer.sock")  # the lab's own /run: paths of sockets may have 107 letters
        self._process: SupervisedProcess | None = None

    def start(self, *, redispatch: bool = False) -> None:
        """Start it, and wait until it has made up its mind about every node. Raises ProcessFailed and TimedOut.

        A connection that is not made is tried once more: with `redispatch` to another node, without to the same.
        """
        configuration = self._lab.folder / "haproxy.cfg"
        configuration.write_text(self._configuration(redispatch=redispatch))
        self._process = SupervisedProcess(
            command=self._lab.network[topology.LOAD_BALANCER.name].command("haproxy", "-db", "-f", configuration),
            log=self._lab.folder / "haproxy.log",
            hold=[self._lab.control_plane.lock],
        )
        wait_for(self._is_settled, seconds=20, what="HAProxy to probe every node", every=0.02)

    def stop(self) -> None:
        """End it, with its customers' connections. Safe to repeat."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        self._socket.unlink(missing_ok=True)

    def servers_up(self, family: int = V4) -> set[str]:
        """The names of the nodes to which it sends."""
        return {
            server["svname"]
            for server in self._servers()
            if server["pxname"] == _BACKEND[family] and server["status"].startswith("UP")
        }

    def _is_settled(self) -> bool:
        """Not "UP" before the first probe, and not "UP 1/2", on the way down."""
        assert self._process is not None
        if self._process.exit_code() is not None:
            raise ProcessFailed(f"HAProxy ended:\n{tail(self._process.log)}")
        if not self._socket.exists():
            return False
        return all(server["status"] in ("UP", "DOWN") and server["last_chk"] for server in self._servers())

    def _servers(self) -> list[dict[str, str]]:
        """What `show stat` says of servers (4), in all backends (-1). Source: HAProxy Management Guide, 9.3."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as admin:
            admin.settimeout(5)
            admin.connect(str(self._socket))
            admin.sendall(b"show stat -1 4 -1\n")
            with admin.makefile() as answer:
                return list(csv.DictReader(answer.read().strip().removeprefix("# ").splitlines()))

    def _configuration(self, *, redispatch: bool) -> str:
        lines = [
            "global",
            f"    stats socket {self._socket} mode 600 level user",
            "    nbthread 1",
            "    maxconn 2000",
            "    log stdout format raw local0",
            "defaults",
            "    log global",
            "    option tcplog",
            "    mode tcp",
            "    balance roundrobin",
            "    option tcp-check",
            # Once more in any case: a lost packet comes again after a second (RFC 6298), and by then it has given up.
            "    retries 1",
            *(["    option redispatch 1"] if redispatch else []),
            f"    timeout connect {CONNECT_TIMEOUT * 1000:.0f}ms",  # of probes, too
            "    timeout client 5s",
            "    timeout server 5s",
            f"    default-server check inter {INTERVAL * 1000:.0f}ms fall {FALL} rise {RISE}",
        ]
        for family, backend in _BACKEND.items():
            lines += [
                f"listen {backend}",
                f"    bind {_endpoint(topology.LOAD_BALANCER.addresses[family], PORT)}",
                "    tcp-check connect",
                *(
                    f"    server {node.name} {_endpoint(node.addresses[family], self._node_port)}"
                    for node in topology.NODES
                ),
            ]
        return "\n".join([*lines, ""])


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
