"""Programs that never outlive whoever started them, and what can be said of processes by their ids.

Not its business: which programs there are, and when one of them counts as ready.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.failure import Failure
from testbed.fork_server import ForkedSupervisor, ForkServer
from testbed.waiting import wait_for

_SUPERVISOR = Path(__file__).with_name("supervisor.py")


class ProcessFailed(Failure):
    """A program could not be started, or ended when it should not have; the message carries the end of its log."""


class SupervisedProcess:
    """One program under a supervisor of its own (`testbed.supervisor`), which ends it when this process is gone.

    Both run in a session of their own, so that a Ctrl-C in the terminal reaches the caller alone, who then ends them
    in order.
    """

    def __init__(
        self,
        *,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        grace: float = 5.0,
        hold: Sequence[int] = (),
        fork_server: ForkServer | None = None,
    ) -> None:
        """Start `command` in `folder`, its output appended to `log`.

        `grace` is how many seconds it has between SIGTERM and SIGKILL when it is ended. The supervisor inherits the
        file descriptors in `hold`, the program does not: a lock among them stays taken as long as the program runs,
        also when the caller is killed. A `fork_server` runs a `python -m` of this interpreter in place of executing it.

        Raises ProcessFailed where the program cannot be executed.
        """
        self.command = tuple(str(word) for word in command)
        self.log = log
        self._grace = grace
        self._supervisor: subprocess.Popen[bytes] | ForkedSupervisor
        with log.open("ab") as output:
            if fork_server is None:
                self._supervisor = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid()), str(grace), *self.command],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    cwd=folder,
                    env=environment,
                    pass_fds=tuple(hold),
                    start_new_session=True,
                )
            else:
                self._supervisor = fork_server.start(
                    self.command, log=output.fileno(), environment=environment, folder=folder, grace=grace, hold=hold
                )
        assert self._supervisor.stdout is not None
        first_line = self._supervisor.stdout.readline()
        if not first_line:
            self.end()
            raise ProcessFailed(f"{self.name} did not start: {tail(log, lines=3)}")
        self.pid, self._supervisor_pid = (int(word) for word in first_line.split())

    @property
    def name(self) -> str:
        return Path(self.command[0]).name

    def exit_code(self) -> int | None:
        """None while it runs; 128 + N where signal N ended it."""
        return self._supervisor.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program and its process group; nothing happens if it has ended already."""
        assert self._supervisor.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # ended; the pipe is closed on our side
            self._supervisor.stdin.write(bytes([number]))

    def pause(self) -> None:
        """SIGSTOP, and wait until every thread of the program has stopped: signals take their time to arrive."""
        self.send(signal.SIGSTOP)
        wait_for(
            lambda: self.exit_code() is not None or _states(self.pid) <= set("TZX"),
            seconds=10,
            what=f"{self.name} to stop",
            every=0.001,
        )

    def resume(self) -> None:
        """SIGCONT, and wait until no thread is stopped any more, or the next pause would take this stop for its own.

        Nothing happens if it is not paused.
        """
        self.send(signal.SIGCONT)
        wait_for(
            lambda: self.exit_code() is not None or "T" not in _states(self.pid),
            seconds=10,
            what=f"{self.name} to go on",
            every=0.001,
        )

    def wait(self, *, seconds: float) -> int | None:
        """Wait for its end at most so long; the exit code, or None if it still runs."""
        try:
            return self._supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> int:
        """End it at once, and return the exit code."""
        self.send(signal.SIGKILL)
        return self.end()

    def end(self) -> int:
        """SIGTERM, after the grace SIGKILL; returns the exit code. Safe to repeat."""
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        self._supervisor.stdin.close()
        try:
            return self._supervisor.wait(self._grace + 10)
        except subprocess.TimeoutExpired:
            # A supervisor that does nothing (stopped by somebody): the program goes with it, by PR_SET_PDEATHSIG.
            os.kill(self._supervisor_pid, signal.SIGKILL)
            return self._supervisor.wait()
        finally:
            self._supervisor.stdout.close()


def tail(log: Path, *, lines: int = 20) -> str:
    """The last lines of a log file, empty where there is none. Reads no more than the last 64 KiB."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _states(pid: int) -> set[str]:
    """The states of a process's threads, by the letters of proc(5): T is stopped, Z and X are dead."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return {(thread / "stat").read_text().rpartition(")")[2].split()[0] for thread in threads}
    except (FileNotFoundError, ProcessLookupError):
        return set()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """Names one process for ever: numbers are given out again, but not with the same start and the same boot."""

    pid: int
    started: str
    boot: str

    @staticmethod
    def of(pid: int) -> ProcessIdentity | None:
        """The identity of a running process, or None (proc(5): field 22 of `stat` is the start in ticks since boot)."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else ProcessIdentity(pid=pid, started=fields[19], boot=boot)

    def is_running(self) -> bool:
        return ProcessIdentity.of(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to this process and to no other; False if it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The handle is taken first: should the number change hands after the look, the handle does not.
            if not self.is_running():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def wait(self, *, seconds: float) -> bool:
        """Wait for its end at most so long; True if it has ended."""
        deadline = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
