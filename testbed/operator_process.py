"""The operator as a process of its own: `python -m nodeport_access run`, under a kubeconfig of its own ServiceAccount.

Its imports are nine tenths of what a start costs, so it is forked (`testbed.fork_server`) unless somebody asks for the
command itself.

Not its business: the cluster (`testbed.control_plane`), and what the operator should do there.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import urllib3

from testbed.control_plane import ControlPlane
from testbed.failure import Failure
from testbed.fork_server import ForkServer
from testbed.processes import SupervisedProcess, tail
from testbed.waiting import TimedOut, wait_for

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE, SERVICE_ACCOUNT = "nodeport-access-system", "nodeport-access-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"  # as it appears in the audit log

STOP_SECONDS = 2.0  # within which the operator promises to end after SIGTERM


class OperatorFailed(Failure):
    """The operator ended, or was not ready in time; the message carries the end of its log."""


def install(control_plane: ControlPlane) -> None:
    """Apply the CRD and the manifests (namespace, ServiceAccount, RBAC, Deployment), as a user would."""
    install_crd(control_plane)
    control_plane.kubectl("apply", "-k", ROOT / "manifests")


def install_crd(control_plane: ControlPlane) -> None:
    """Apply the CRD, and wait until policies can be listed."""
    control_plane.kubectl("apply", "-f", ROOT / "crds")
    wait_until_served(control_plane)


def wait_until_served(control_plane: ControlPlane) -> None:
    """Wait until policies can be listed, a moment after their CRD was made.

    Not by `kubectl wait`: it ends with an error where the CRD has no conditions yet.
    """
    policies = "/apis/nodeport-access.io/v1alpha1/nodeportaccesspolicies"
    wait_for(lambda: control_plane.request("GET", policies)[0] == 200, seconds=30, what="the CRD to be served")


class OperatorProcess:
    """One running operator. Ended at the latest with this process."""

    def __init__(
        self,
        control_plane: ControlPlane,
        *,
        log: Path,
        kubeconfig: Path | None = None,
        flags: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "nodeport_access",
        forked: bool = True,
    ) -> None:
        """Start it; `wait_until_ready` is the caller's.

        `kubeconfig` defaults to a fresh token of its ServiceAccount. `flags` are command line flags by name:
        `{"namespace": ["a", "b"], "leader_elect": True}` becomes `--namespace a --namespace b --leader-elect`. A
        `module` of this repository is run in place of the operator's own, one that tampers with it and starts it then.
        Not `forked`, a Python of its own runs it, as in a pod; only then does a `PYTHON…` in `environment` count.
        """
        if kubeconfig is None:
            kubeconfig = control_plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        self.log = log
        self._ports = control_plane.ports
        self._metrics_port, self._health_port = self._ports.take(), self._ports.take()
        own_flags: dict[str, object] = {
            "kubeconfig": control_plane.own(kubeconfig),
            "metrics_bind_address": f"127.0.0.1:{self._metrics_port}",
            "health_bind_address": f"127.0.0.1:{self._health_port}",
        }
        self._closed = False
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(5))
        self._process = SupervisedProcess(
            command=[sys.executable, "-m", module, "run", *arguments({**own_flags, **(flags or {})})],
            log=log,
            folder=log.parent,
            environment={**_environment(), **(environment or {})},
            hold=[control_plane.lock],
            fork_server=_fork_server() if forked else None,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + N where signal N ended it."""
        return self._process.exit_code()

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self._metrics_port}/metrics"

    def health(self, path: str = "/readyz") -> tuple[int, str]:
        """The code and the text of a health answer; code 0 where nobody answers."""
        return self._get(f"http://127.0.0.1:{self._health_port}{path}")

    def metrics(self) -> str:
        return self._get(self.metrics_url)[1]

    def log_lines(self) -> list[str]:
        """Everything it has logged so far."""
        return self.log.read_text(errors="replace").splitlines()

    def wait_until_ready(self, *, seconds: float = 60) -> None:
        """Wait for 200 from /readyz. Raises OperatorFailed."""

        def is_ready() -> bool:
            if self.exit_code is not None:
                raise OperatorFailed(f"the operator ended with code {self.exit_code}:\n{tail(self.log)}")
            return self.health()[0] == 200

        try:
            wait_for(is_ready, seconds=seconds, what="the operator")
        except TimedOut:
            answer = self.health()
            raise OperatorFailed(
                f"the operator was not ready within {seconds:g} s, /readyz says {answer}:\n{tail(self.log)}"
            ) from None

    def wait_for_end(self, *, seconds: float) -> int:
        """Its exit code, once it has ended by itself. Raises TimedOut."""
        code = self._process.wait(seconds=seconds)
        if code is None:
            raise TimedOut(f"after {seconds:g} s the operator still runs:\n{tail(self.log)}")
        return code

    def stop(self, *, seconds: float = STOP_SECONDS) -> float:
        """SIGTERM, as a Deployment does; the seconds it took. Raises OperatorFailed where it broke its promise."""
        begin = monotonic()
        self._process.send(signal.SIGTERM)
        code = self._process.wait(seconds=seconds)
        took = monotonic() - begin
        self.close()
        if code != 0:
            what = f"ended with code {code}" if code is not None else f"still ran {seconds:g} s"
            raise OperatorFailed(f"the operator {what} after SIGTERM:\n{tail(self.log)}")
        return took

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._process.kill()
        self.close()

    def pause(self) -> None:
        """It is there, and does nothing (SIGSTOP)."""
        self._process.pause()

    def resume(self) -> None:
        self._process.resume()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Paused within, and going on afterwards, whatever happened."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def close(self) -> None:
        """End it if it still runs, and give its ports back. Safe to repeat."""
        self._process.end()
        self._http.clear()
        if not self._closed:
            self._closed = True
            self._ports.give_back(self._metrics_port)
            self._ports.give_back(self._health_port)

    def _get(self, url: str) -> tuple[int, str]:
        try:
            answer: Any = self._http.request("GET", url)
        except urllib3.exceptions.HTTPError:
            return 0, ""
        return answer.status, answer.data.decode(errors="replace")


@functools.cache
def _fork_server() -> ForkServer:
    """The one of this process. Not `__main__`, which every operator runs anew, but what it imports, sooner or later."""
    modules = ("demo", "handlers", "logs", "operating")
    server = ForkServer(modules=[f"nodeport_access.{name}" for name in modules], environment=_environment())
    atexit.register(server.close)
    return server


def _environment() -> dict[str, str]:
    return {**clean_environment(os.environ), "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT)])}


def arguments(flags: Mapping[str, object]) -> list[str]:
    """Flags by their names as words of a command line: None and False leave one out, a list repeats it."""
    words: list[str] = []
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, list | tuple):
            words += [word for item in value for word in (flag, str(item))]
        elif value is not None and value is not False:
            words += [flag, str(value)]
    return words


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without anything that would point the operator to another cluster or change its settings."""
    strange = ("KUBECONFIG", "KUBERNETES_", "NODEPORT_ACCESS_", "PYTHONPATH")
    return {name: value for name, value in environment.items() if not name.startswith(strange)}
