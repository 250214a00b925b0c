"""Two replicas of the operator with leader election, each with a proxy of its own on its way to the API server.

Not its business: what becomes of them, and when (`adversity`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess

STOP_SECONDS = 10.0
"""After SIGTERM, whatever requests hang: that it takes 2 s as a rule is shown elsewhere."""


class Replica:
    """A place for one operator at a time, as a pod of a Deployment has it: who ended is started anew."""

    def __init__(self, control_plane: ControlPlane, *, name: str, folder: Path, bug: str) -> None:
        """``bug`` is one of `tests.api.histories.planted`, or empty: the operator is itself."""
        self.name = name
        self.process: OperatorProcess | None = None
        self.ended: list[str] = []
        """Whatever it said last when it ended by itself."""
        self.proxy = FaultProxy(control_plane)
        self._control_plane = control_plane
        self._folder = folder
        self._bug = bug
        self._numbers = itertools.count(1)
        self._paused = False
        self.proxy.start()
        self._kubeconfig = self.proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)

    def start(self) -> None:
        """Does not wait until it is ready. Safe to repeat; one that has ended by itself is followed by another."""
        if self.process is not None and self.process.exit_code is not None:
            last = [line for line in self.process.log_lines() if '"ERROR"' in line or "Traceback" in line]
            self.ended.append(f"{self.name} ended with {self.process.exit_code}: {last[-1:]}")
            self._close()
        if self.process is None:
            self.process = OperatorProcess(
                self._control_plane,
                log=self._folder / f"operator-{self.name}{next(self._numbers)}.log",
                kubeconfig=self._kubeconfig,
                flags={"leader_elect": True, "leader_elect_namespace": NAMESPACE},
                module="tests.api.histories.planted" if self._bug else "nodeport_access",
                environment={"PLANTED_BUG": self._bug},
            )

    @property
    def running(self) -> OperatorProcess | None:
        """The one that is there, and neither ended nor paused. For other threads than the one that ends it, too."""
        process = self.process
        return process if process is not None and process.exit_code is None and not self._paused else None

    @property
    def role(self) -> str:
        """Whether it "leads" or "stands by"; empty where nobody says so."""
        metrics = process.metrics() if (process := self.running) is not None else ""
        said = re.search(r"^nodeport_access_leader (\S+)$", metrics, re.M)
        return "" if said is None else "leads" if float(said[1]) else "stands by"

    @property
    def leads(self) -> bool:
        return self.role == "leads"

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process, self._paused = None, False

    def stop(self) -> None:
        """SIGTERM; one that does not listen yet has nothing that it could end in order."""
        process = self.running
        if process is None or process.health()[0] == 0:
            self.kill()
        else:
            process.stop(seconds=STOP_SECONDS)
            self.process = None

    def pause(self) -> None:
        """SIGSTOP, until `resume`."""
        if (process := self.running) is not None:
            process.pause()
            self._paused = True

    def resume(self) -> None:
        if self._paused and self.process is not None:
            self.process.resume()
        self._paused = False

    def logs(self) -> Iterator[Path]:
        """Of all that have been."""
        yield from sorted(self._folder.glob(f"operator-{self.name}*.log"))

    def close(self) -> None:
        """Ends both. Safe to repeat."""
        self._close()
        self.proxy.close()

    def _close(self) -> None:
        if self.process is not None:
            self.process.close()
            self.process, self._paused = None, False
