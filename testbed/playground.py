"""`make up`, `make lab` and `make down`: a control plane with the operator and a sample, or the dataplane lab, in the
background, until it is ended. There is one at a time.

A process of its own (`serve`) owns everything and ends with all of it on SIGTERM. Should it be killed instead, every
program's supervisor notices and ends its program, so that nothing is left in either case.

    .testbed/state.json         which process that is, and how far it has come
    .testbed/up.log             what it said
    .testbed/in                 of the lab: runs a command where one of its hosts, nodes or pods is
    .testbed/kubeconfig         for whoever plays
    .testbed/operator.log
    .testbed/control-plane/     logs of its programs, the audit log

Not its business: what is in the cluster to play with (`testbed.scenario`), and the lab (`testbed.lab.standing`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from testbed import scenario
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.failure import Failure
from testbed.lab import machine, standing
from testbed.lab.standing import Standing
from testbed.operator_process import ROOT, OperatorProcess, install
from testbed.processes import ProcessIdentity, tail
from testbed.programs import CONTROL_PLANE, find
from testbed.progress import Progress
from testbed.running import is_running
from testbed.waiting import TimedOut, wait_for

FOLDER = ROOT / ".testbed"

STARTING, UP, FAILED = "starting", "up", "failed"
CLUSTER, LAB = "cluster", "lab"
_STOP_SECONDS = 30.0


class NotUp(Failure):
    """What `up` started is not there, or did not come up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the process in the background says of itself."""

    owner: ProcessIdentity
    phase: str
    ground: str = CLUSTER
    message: str = ""
    programs: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def read(folder: Path) -> State | None:
        try:
            content: dict[str, Any] = json.loads((folder / "state.json").read_text())
        except FileNotFoundError:
            return None
        return State(**(content | {"owner": ProcessIdentity(**content["owner"])}))

    def write(self, folder: Path) -> None:
        """Replace the file as a whole: whoever reads it sees the state before or after."""
        draft = folder / "state.json.new"
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(folder / "state.json")


def up(
    *, say: Callable[[str], None], folder: Path = FOLDER, ground: str = CLUSTER, arguments: Sequence[str] = ()
) -> None:
    """Start everything unless it is up, and say what to type next. Raises Failure.

    `arguments` are the lab's: see `testbed.lab.standing`.
    """
    if ground == LAB and (unable := machine.missing()):
        raise NotUp(unable)
    folder.mkdir(mode=0o700, exist_ok=True)
    with _turn(folder):
        state = State.read(folder)
        if state is not None and state.phase == UP and state.owner.is_running():
            if state.ground != ground:
                raise NotUp(f"The {state.ground} is up: `make down` ends it, so that the {ground} can be started.")
            say("It is up already.\n")
            say(state.message)
            return
        _clean(folder)
        # In the foreground, where a first build can be watched and interrupted.
        find(standing.PROGRAMS if ground == LAB else CONTROL_PLANE, progress=Progress())
        say(_start_owner(folder, [ground, *arguments]))


def down(*, say: Callable[[str], None], folder: Path = FOLDER) -> None:
    """End everything that `up` started, also what a crash left. Raises Failure where it does not end."""
    if not folder.exists():
        say("Nothing is up.")
        return
    with _turn(folder):
        was_up = _clean(folder)
    shutil.rmtree(folder, ignore_errors=True)
    say("Everything has ended." if was_up else "Nothing was up.")


def status(*, say: Callable[[str], None], folder: Path = FOLDER) -> None:
    """Say what runs. Raises NotUp."""
    state = State.read(folder)
    if state is None or not state.owner.is_running():
        raise NotUp("Nothing is up: `make up` starts it.")
    if state.phase != UP:
        raise NotUp(f"It is {state.phase}. {state.message}")
    for name, pid in state.programs.items():
        say(f"{name:<24} {f'runs, process {pid}' if ProcessIdentity.of(pid) else 'has ended'}")
    say("\n" + state.message)


def serve(*, folder: Path, ground: str, arguments: Sequence[str]) -> None:
    """Own it all until SIGTERM. This is the process in the background."""
    owner = ProcessIdentity.of(os.getpid())
    assert owner is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    State(owner=owner, phase=STARTING, ground=ground).write(folder)
    progress = Progress()
    try:
        with contextlib.ExitStack() as stack:
            if ground == LAB:
                made = standing.start(stack, folder=folder, progress=progress, arguments=arguments)
            else:
                made = _cluster(stack, folder=folder, progress=progress)
            State(owner=owner, phase=UP, ground=ground, message=made.message, programs=dict(made.programs)).write(
                folder
            )
            while True:
                signal.pause()
    except (Failure, TimedOut) as failed:
        State(owner=owner, phase=FAILED, ground=ground, message=str(failed)).write(folder)
        raise SystemExit(1) from None  # `up` says it


def _cluster(stack: contextlib.ExitStack, *, folder: Path, progress: Progress) -> Standing:
    programs = find(progress=progress)
    progress.step("starting etcd, kube-apiserver and kube-controller-manager")
    control_plane = stack.enter_context(ControlPlane(folder=folder / "control-plane", programs=programs))
    shutil.copy(control_plane.admin_kubeconfig, folder / "kubeconfig")
    progress.step("applying crds/ and manifests/")
    install(control_plane)
    progress.step(f"making three nodes and the Service {scenario.NAMESPACE}/{scenario.SERVICE} with its pod")
    cluster = Cluster(control_plane)
    scenario.create(cluster)
    progress.step("starting the operator under its own ServiceAccount")
    operator = OperatorProcess(control_plane, log=folder / "operator.log", flags={"log_format": "plain"}, forked=False)
    stack.callback(operator.close)
    operator.wait_until_ready()
    progress.step("applying the sample policy, testbed/sample/policy.yaml")
    scenario.apply_policy(cluster)
    wait_for(
        lambda: scenario.is_ready(cluster),
        seconds=60,
        what=f"condition Ready of the policy; the operator's last words:\n{tail(operator.log, lines=5)}\n",
    )
    return Standing(
        message=scenario.what_to_type_next(folder=folder, operator=operator),
        programs={**control_plane.process_ids(), "operator": operator.pid},
    )


def _start_owner(folder: Path, words: Sequence[str]) -> str:
    """Start the process in the background, repeat what it says, and return its last word once it is up."""
    log = folder / "up.log"
    with log.open("wb") as output:
        owner = subprocess.Popen(
            [sys.executable, "-m", "testbed", "serve", str(folder), *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with log.open() as said:

            def settled() -> State | None:
                sys.stderr.write(said.read())
                sys.stderr.flush()
                state = State.read(folder)
                if owner.poll() is not None and (state is None or state.phase != FAILED):
                    raise NotUp(f"The process in the background ended. Its last words:\n{tail(log)}")
                return state if state is not None and state.phase != STARTING else None

            state = wait_for(settled, seconds=300, what="what was started in the background")
        assert state is not None
        if state.phase == FAILED:
            raise NotUp(state.message)
    except BaseException:
        owner.terminate()
        owner.wait()
        raise
    owner.returncode = 0  # it is meant to outlive us: without this, Popen warns that it still runs
    return state.message


def _clean(folder: Path) -> bool:
    """End what is recorded and still runs, wait until nothing is left, remove the traces; whether anything ran."""
    state = State.read(folder)
    ran = False
    if state is not None:
        ran = state.owner.send(signal.SIGTERM)
        if not state.owner.wait(seconds=_STOP_SECONDS):
            state.owner.send(signal.SIGKILL)  # the supervisors see it, and end their programs
    remains = folder / "control-plane"
    wait_for(lambda: not is_running(remains), seconds=_STOP_SECONDS, what=f"the end of what runs in {remains}")
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != "lock":
            entry.unlink()
    return ran


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """`up` and `down` one at a time."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another `up` or `down` to finish", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
