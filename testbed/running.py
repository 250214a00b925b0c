"""The programs that run in one folder: started, watched, paused and ended by their names.

A lock in the folder is held by the owner and, inherited, by the supervisors of its programs. It is free when the last
of them has ended, whatever became of the owner.

Not its business: which programs, and when they are ready (`testbed.control_plane`).
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterable
from pathlib import Path

from testbed.failure import Failure
from testbed.processes import SupervisedProcess, tail

_ORDERLY_SECONDS = 20.0  # an orderly end takes up to 1.3 s; the rest is for machines under load
_THRIFTY = {"GOGC": "400"}  # a small cluster spends a third of its CPU on garbage collection by Go's default
_GRACE_SECONDS = 3.0  # when the owner is gone: without etcd, which ends as well, the API server would try for a minute


class FolderInUse(Failure):
    """Something runs in this folder already."""


class RunningPrograms:
    """Programs with logs in `folder`/logs. Raises FolderInUse where something of another owner is alive there."""

    def __init__(self, *, folder: Path) -> None:
        self.folder = folder
        self.lock = _lock(folder)
        (folder / "logs").mkdir(exist_ok=True)
        self._processes: dict[str, SupervisedProcess] = {}
        self._paused: set[str] = set()

    def run(self, name: str, command: list[str]) -> None:
        """Start a program. Raises ProcessFailed."""
        self._processes[name] = SupervisedProcess(
            command=command,
            log=self.folder / "logs" / f"{name}.log",
            environment=_THRIFTY | os.environ,
            folder=self.folder,
            grace=_GRACE_SECONDS,
            hold=[self.lock],
        )

    def first_ended(self, names: Iterable[str]) -> tuple[str, int] | None:
        """The first of these programs that does not run any more, and its exit code."""
        for name in names:
            code = self._processes[name].exit_code()
            if code is not None:
                return name, code
        return None

    def end(self, name: str, *, kill: bool) -> int:
        """End a program in order, or at once; its exit code, 128 + N where signal N ended it. Safe to repeat."""
        self.resume(name)
        process = self._processes[name]
        if kill:
            return process.kill()
        process.send(signal.SIGTERM)
        process.wait(seconds=_ORDERLY_SECONDS)
        return process.end()

    def end_all(self, order: Iterable[str]) -> None:
        """End at once what was started of these, and forget it."""
        for name in order:
            if name in self._processes:
                self.end(name, kill=True)
                del self._processes[name]

    def pause(self, name: str) -> None:
        """Stop a program without ending it: connections stand, and nothing is answered on them."""
        self._paused.add(name)
        self._processes[name].pause()

    def resume(self, name: str) -> None:
        self._paused.discard(name)
        self._processes[name].resume()

    def ids(self) -> dict[str, int]:
        """The process ids of the programs that run, by their names."""
        return {name: process.pid for name, process in self._processes.items() if process.exit_code() is None}

    def answers(self, name: str) -> bool:
        """Whether a program runs and is not paused."""
        return name in self.ids() and name not in self._paused

    def last_words(self, name: str) -> str:
        """The end of a program's log, and where the rest is."""
        log = self._processes[name].log
        return f"The end of {log}:\n{tail(log)}"

    def release(self) -> None:
        """Give up the folder. Safe to repeat."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def is_running(folder: Path) -> bool:
    """Whether anything that belongs to this folder is alive, its owner or one of its programs."""
    try:
        os.close(_lock(folder))
    except FolderInUse:
        return True
    except FileNotFoundError:
        pass
    return False


def _lock(folder: Path) -> int:
    lock = os.open(folder / "alive.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise FolderInUse(f"something runs in {folder} already") from None
    return lock
