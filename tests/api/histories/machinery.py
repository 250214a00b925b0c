"""What a history runs on: the operator as a process, the fault proxy on its way to the API server, the controllers, and
the API server itself; each can fail and come back.

Not its business: what happens in namespaces (`stage`), when something fails (`machine`), what must be true (`world`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from testbed.cluster import path
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess
from testbed.waiting import wait_for
from tests.api.histories.troubles import TROUBLES

STOP_SECONDS = 10.0
"""After SIGTERM, whatever requests hang: that it takes 2 s as a rule is shown elsewhere."""


class Machinery:
    """One operator at a time. What is asked for and is so already costs nothing, and is not told."""

    def __init__(self, control_plane: ControlPlane, *, folder: Path, bug: str, tell: Callable[[str], None]) -> None:
        """``bug`` is one of `planted`, or empty: the operator is itself. ``tell`` takes what happens, in words."""
        self.control_plane = control_plane
        self._folder = folder
        self._bug = bug
        self._tell = tell
        self._numbers = itertools.count(1)
        self._proxy = FaultProxy(control_plane)
        self._troubles = contextlib.ExitStack()
        self._network_away = contextlib.ExitStack()
        self._is_away = False
        self._operator: OperatorProcess | None = None
        self._is_paused = False
        self._has_controllers = True
        self.controllers_started = 0.0
        """By `time.monotonic`."""

    def start(self) -> None:
        """All of it."""
        self._proxy.start()
        self._kubeconfig = self._proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        # It looks for new kinds every 30 s; the policies, which are younger than it, it finds when it starts.
        self.stop_controllers()
        self.mend()

    def mend(self) -> None:
        """Everything runs again, and nothing is in the way."""
        self.find_network()
        self._troubles.close()
        self.resume_operator()
        self.start_operator()
        self.start_controllers()

    def close(self) -> None:
        """Ends what this has started. Safe to repeat."""
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        self._network_away.close()
        self._troubles.close()
        self._proxy.close()
        self.start_controllers()

    @property
    def operator(self) -> OperatorProcess:
        """The one that runs."""
        assert self._operator is not None, "no operator runs"
        return self._operator

    # --- the operator -----------------------------------------------------------------------------------------------

    def start_operator(self) -> None:
        """Does not wait until it is ready."""
        if self._operator is None:
            self._tell("the operator starts")
            self._operator = OperatorProcess(
                self.control_plane,
                log=self._folder / f"operator-{next(self._numbers)}.log",
                kubeconfig=self._kubeconfig,
                module="tests.api.histories.planted" if self._bug else "nodeport_access",
                environment={"PLANTED_BUG": self._bug},
            )

    def end_operator(self, *, kill: bool) -> None:
        """SIGKILL or SIGTERM."""
        if self._operator is None:
            return
        self.resume_operator()
        self._tell("the operator is killed" if kill else "the operator is told to end")
        if kill or self._operator.health()[0] == 0:  # before it listens, it has nothing that it could end in order
            self._operator.kill()
        else:
            self._operator.stop(seconds=STOP_SECONDS)
        self._operator = None

    def pause_operator(self) -> None:
        """SIGSTOP, until `resume_operator`."""
        if self._operator is not None and not self._is_paused:
            self._tell("the operator is paused")
            self._operator.pause()
            self._is_paused = True

    def resume_operator(self) -> None:
        if self._operator is not None and self._is_paused:
            self._tell("the operator goes on")
            self._operator.resume()
            self._is_paused = False

    # --- its way to the API server ----------------------------------------------------------------------------------

    def trouble(self, name: str) -> None:
        """One of TROUBLES, which ends when all is mended, at the latest."""
        self._tell(name)
        TROUBLES[name].befall(self._proxy, self._troubles)

    def lose_network(self) -> None:
        """The operator cannot reach the API server, until `find_network`."""
        if not self._is_away:
            self._tell("the network is away")
            self._network_away.enter_context(self._proxy.network_away())
            self._is_away = True

    def find_network(self) -> None:
        if self._is_away:
            self._tell("the network is back")
            self._network_away.close()
            self._is_away = False

    # --- the control plane ------------------------------------------------------------------------------------------

    def stop_controllers(self) -> None:
        """No garbage collection and no EndpointSlices, until they start again."""
        if self._has_controllers:
            self._tell("the controller manager is killed")
            self.control_plane.stop_controller_manager(kill=True)
            self._has_controllers = False

    def start_controllers(self) -> None:
        if not self._has_controllers:
            self._tell("the controller manager starts")
            self.control_plane.start_controller_manager()
            self._has_controllers = True
            self.controllers_started = monotonic()

    def restart_api_server(self, *, kill: bool) -> None:
        """It forgets what its watches have told."""
        self._tell("the API server is killed, and starts" if kill else "the API server ends, and starts")
        self.control_plane.stop_api_server(kill=kill)
        self.control_plane.start_api_server()
        self.controllers_started = monotonic()  # they find everything anew
        # It is ready before it serves what a CustomResourceDefinition defines.
        policies = path(kind="NodePortAccessPolicy")
        wait_for(lambda: self.control_plane.request("GET", policies)[0] == 200, seconds=30, what="the CRD to be served")
