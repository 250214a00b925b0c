"""Runs one program, and ends it when the caller is gone, however the caller went: return, Ctrl-C, SIGTERM or SIGKILL.

Started as a script by `testbed.processes`, with Python's standard library only:

    supervisor.py CALLER_PID GRACE_SECONDS PROGRAM [ARGUMENT]...

- Standard output gets one line when the program has been started: its process id, and the supervisor's own.
- Each byte that arrives on standard input is the number of a signal to be sent to the program. End of file means: end
  it. The caller holds the only write end, and the kernel closes that with the caller, whatever happens to it.
- The program's output goes to the supervisor's standard error.
- The exit code is the program's, or 128 + N where signal N ended it, as in a shell.

`testbed.fork_server` forks programs in place of executing them, and supervises them in the same way (`supervise`).

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

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# How often to look whether the caller is still the parent. The pipe alone says it at once, but not where a copy of the
# caller (a fork without exec) holds the write end as well.
_ORPHAN_CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> int:
    """Run the program to its end, or to the caller's, and return its exit code."""
    caller, grace, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    supervisor = os.getpid()
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            process_group=0,  # a signal reaches what the program starts, too (`go build` starts compilers)
            preexec_fn=lambda: die_with(supervisor),  # safe, as this process has one thread
        )
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    return supervise(program.pid, caller=caller, grace=grace)


def die_with(parent: int) -> None:
    """Called in a child: the kernel kills it when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(127)


def supervise(program: int, *, caller: int, grace: float) -> int:
    """Tell that this child runs, and see to it until it ends, or the caller, our parent; returns its exit code."""
    ended, wakeup = os.pidfd_open(program), _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    print(program, os.getpid(), flush=True)
    while ended not in (ready := select.select([ended, 0, wakeup], [], [], _ORPHAN_CHECK_SECONDS)[0]):
        ending = wakeup in ready or os.getppid() != caller
        if 0 in ready:
            orders = os.read(0, 64)
            ending |= not orders
            for number in orders:
                os.killpg(program, number)
        if ending:
            _end(program, ended, grace)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    return code if code >= 0 else 128 - code


def _wake_on(*signals: signal.Signals) -> int:
    """A file descriptor on which each of these signals arrives as a byte, so that `select` returns for them."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in signals:
        signal.signal(number, lambda _number, _frame: None)
    return reader


def _end(program: int, ended: int, grace: float) -> None:
    os.killpg(program, signal.SIGCONT)  # a stopped program would not see the next one
    os.killpg(program, signal.SIGTERM)
    if not select.select([ended], [], [], grace)[0]:
        os.killpg(program, signal.SIGKILL)
        select.select([ended], [], [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
