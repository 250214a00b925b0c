"""Who is measured: our operator and its rivals, each as a process of its own under a ServiceAccount's token.

Not its business: what they are measured by (`bench.measures`).
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from bench.api_server import ApiServer
from bench.world import PEER_ACCOUNT, PEER_NAMESPACE, PEER_USER, ticks
from nodeport_access.workers import WORKERS
from testbed import operator_process, programs
from testbed.failure import Failure
from testbed.operator_process import ROOT, clean_environment
from testbed.processes import SupervisedProcess, tail

NAMES = ("ours", "bare", "go", "kopf")

_PEERS = Path(__file__).with_name("peers")


class ContenderFailed(Failure):
    """A contender ended while it was measured; the message carries the end of its log."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of those who are measured. `command` makes its command line of a kubeconfig and of whether it is to list and
    watch as many kinds as ours does, which only the bare one can leave. `modules` are what it imports, where it is
    Python's, and `source` where our package is. `left_out` are the measurements in which it
    takes no part, as it does not follow what they are about."""

    name: str
    about: str
    command: Callable[[Path, bool], list[str]]
    modules: tuple[str, ...] = ()
    source: Path = ROOT / "operator"
    user: str = PEER_USER
    left_out: Collection[str] = ()

    def compile(self) -> None:
        """Leave the bytecode of all that it imports where its start finds it, as pip does when it installs. Raises
        ContenderFailed."""
        if not self.modules:
            return
        command = [sys.executable, "-c", f"import {', '.join(self.modules)}"]
        made = subprocess.run(command, env=self._environment(), stderr=subprocess.PIPE, text=True)
        if made.returncode:
            raise ContenderFailed(f"{self.name} cannot be imported:\n{made.stderr}")

    def start(self, api_server: ApiServer, *, log: Path, all_kinds: bool = False) -> Running:
        """Start it. The token is made before, so that it is not part of the start."""
        namespace, account = PEER_NAMESPACE, PEER_ACCOUNT
        if self.user != PEER_USER:
            namespace, account = operator_process.NAMESPACE, operator_process.SERVICE_ACCOUNT
        kubeconfig = api_server.service_account_kubeconfig(namespace=namespace, name=account)
        environment = {**self._environment(), "KUBECONFIG": str(kubeconfig), "WORKERS": str(WORKERS)}
        process = SupervisedProcess(
            command=self.command(kubeconfig, all_kinds),
            log=log,
            folder=log.parent,
            environment=environment,
            hold=[api_server.lock],
        )
        return Running(contender=self, process=process, started=_started(process.pid))

    def _environment(self) -> dict[str, str]:
        """Bytecode is written, whatever this process was told: what is Python's is else compiled at each start."""
        environment = clean_environment(os.environ)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**environment, "PYTHONPATH": os.pathsep.join([str(self.source), str(ROOT)])}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A contender that runs. `started` is when its process began, in seconds since the epoch, to 10 ms."""

    contender: Contender
    process: SupervisedProcess
    started: float

    def check(self) -> None:
        """Raises ContenderFailed where it has ended."""
        if (code := self.process.exit_code()) is not None:
            raise ContenderFailed(f"{self.contender.name} ended with code {code}:\n{tail(self.process.log)}")

    def cpu_seconds(self) -> float:
        """What it has used until now, all its threads together, to 10 ms."""
        return ticks(self.process.pid) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        """What it holds in memory now (VmRSS of proc(5))."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def stop(self) -> None:
        self.process.send(signal.SIGTERM)
        self.process.end()


def contenders(names: Collection[str] = NAMES) -> Mapping[str, Contender]:
    """Those of these names, compiled. The Go one is built when it is first among them, which takes minutes."""
    go = programs.find(programs.PEERS)["go-operator"] if "go" in names else None
    all_of_them = (
        Contender(
            name="ours",
            about="the operator of this repository",
            command=lambda kubeconfig, _: [
                *(sys.executable, "-m", "nodeport_access", "run", "--kubeconfig", str(kubeconfig)),
                *("--metrics-bind-address", "127.0.0.1:0", "--health-bind-address", "127.0.0.1:0"),
            ],
            modules=("nodeport_access.__main__", "nodeport_access.operating", "nodeport_access.handlers"),
            user=operator_process.USER,
        ),
        Contender(
            name="bare",
            about="an asyncio client with the same writes and nothing else",
            command=lambda kubeconfig, all_kinds: [
                *(sys.executable, str(_PEERS / "bare.py"), "--kubeconfig", str(kubeconfig)),
                *("--workers", str(WORKERS), *(["--all-kinds"] if all_kinds else [])),
            ],
            modules=("bench.peers.bare",),
        ),
        Contender(
            name="go",
            about="a controller-runtime operator without a client-side rate limit",
            command=lambda kubeconfig, _: [str(go), f"--kubeconfig={kubeconfig}", f"--workers={WORKERS}"],
        ),
        Contender(
            name="kopf",
            about="handlers as Kopf's documentation teaches them, with the kubernetes client",
            command=lambda *_: [
                *(sys.executable, "-m", "kopf", "run", "--all-namespaces", "--standalone"),
                str(_PEERS / "kopf_idiomatic.py"),
            ],
            modules=("kopf.cli", "bench.peers.kopf_idiomatic"),
            left_out=("closing", "churn"),
        ),
    )
    chosen = {one.name: one for one in all_of_them if one.name in names}
    for one in chosen.values():
        one.compile()
    return chosen


def _started(pid: int) -> float:
    """When a process began (proc(5), field 22 of `stat`: ticks since boot)."""
    begin = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - begin / os.sysconf("SC_CLK_TCK")
    return time.time() - age
