"""Runs one program, and ends it when the caller is gone, however the caller went: return, Ctrl-C, SIGTERM or SIGKILL.

Started as a script by `testbed.processes`, with Python's standard library only:

    supervisor.py CALLER_PID GRACE_SECONDS PROGRAM [ARGUMENT]...

- Standard output gets one line, the program's process id, when it has been started.
- Each byte that arrives on standard input is the number of a signal to be sent to the program. End of file means: end
  it. The caller holds the only write end, and the kernel closes that with the caller, whatever happens to it.
- The program's output goes to the supervisor's standard error.
- The exit code is the program's, or 128 + N where signal N ended it, as in a shell.

Why not PR_SET_PDEATHSIG from the caller? It follows the *thread* that forked, so a caller with threads would lose its
programs too early. Here the parent has one thread only, so the program gets it for the one case that the pipe does not
cover: somebody kills the supervisor itself.

Not its business: what the program is, and whether it is well.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# How often to look whether the caller is still the parent. The pipe alone says it at once, but not where a copy of the
# caller (a fork without exec) holds the write end as well.
_ORPHAN_CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Run the program to its end, or to the caller's, and return its exit code."""
    caller, grace, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    wakeup = _wake_on(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            process_group=0,  # a signal reaches what the program starts, too (`go build` starts compilers)
            preexec_fn=_death_with_parent(),  # safe, as this process has one thread
        )
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    print(program.pid, flush=True)
    while program.poll() is None:
        ready, _, _ = select.select([0, wakeup], [], [], _ORPHAN_CHECK_SECONDS)
        ending = os.getppid() != caller
        if wakeup in ready:
            ending |= any(number != signal.SIGCHLD for number in os.read(wakeup, 64))
        if 0 in ready:
            orders = os.read(0, 64)
            ending |= not orders
            for number in orders:
                os.killpg(program.pid, number)
        if ending:
            _end(program, grace)
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


def _wake_on(*signals: signal.Signals) -> int:
    """A file descriptor on which each of these signals arrives as a byte, so that `select` returns for them."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda _number, _frame: None)
    return reader


def _death_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def between_fork_and_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(127)

    return between_fork_and_exec


def _end(program: subprocess.Popen[bytes], grace: float) -> None:
    os.killpg(program.pid, signal.SIGCONT)  # a stopped program would not see the next one
    os.killpg(program.pid, signal.SIGTERM)
    try:
        program.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
