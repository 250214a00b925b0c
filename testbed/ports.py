"""TCP ports of 127.0.0.1 that nobody else takes: neither another instance, nor an outgoing connection.

Ports come from a range below the one from which Linux takes the local ports of outgoing connections
(net.ipv4.ip_local_port_range, 32768 by default) and below the node ports (30000). "Bind to port 0" would give one of
the former: while a server is stopped for a test, a connection of somebody else could take its port, and a client that
keeps dialling a closed port of that range sooner or later connects to itself.

Not its business: who listens on a port.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from random import Random

from testbed.failure import Failure

_FIRST, _LAST = 15000, 29999
_BLOCK = 50


class NoFreePorts(Failure):
    """Every block of ports is taken."""


class PortBlock:
    """Some ports that are this process's own until `close` or its end."""

    def __init__(self, *, lock: int, ports: list[int]) -> None:
        self._lock = lock
        self._free = ports

    @staticmethod
    def claim(*, random: Random, folder: Path | None = None) -> PortBlock:
        """Claim a block that no other process holds; `folder` keeps the locks, by default one for all of this user's.

        Raises NoFreePorts.
        """
        folder = folder or Path(tempfile.gettempdir()) / f"nodeport-access-testbed-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        starts = list(range(_FIRST, _LAST + 1, _BLOCK))
        random.shuffle(starts)  # not the block that an instance left a second ago: its clients may still dial it
        for start in starts:
            lock = os.open(folder / str(start), os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            ports = [port for port in range(start, start + _BLOCK) if _is_free(port)]
            if len(ports) > _BLOCK // 2:
                return PortBlock(lock=lock, ports=ports)
            os.close(lock)
        raise NoFreePorts(f"no block of {_BLOCK} ports is free between {_FIRST} and {_LAST}")

    def take(self) -> int:
        """A port of the block that nobody took. Raises NoFreePorts."""
        while self._free:
            port = self._free.pop(0)
            if _is_free(port):
                return port
        raise NoFreePorts("every port of this block is taken")

    def give_back(self, port: int) -> None:
        """The port may be taken again, after all others."""
        self._free.append(port)

    def close(self) -> None:
        """Give the block up. Safe to repeat."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            self._free = []


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection that lingers in TIME_WAIT does not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
