"""Starts Python programs without the cost of their imports: a process makes these once, and is forked.

    python -m testbed.fork_server CALLER_PID MODULE...

imports the modules and nothing else: it has one thread, no event loop, no file of its own. Its standard input is a
socket to the caller. For each request on it a supervisor is forked, which forks the program and then does what
`testbed.supervisor` says, with one difference, as the caller is not its parent: when the program has ended, its exit
code is a second line on the answer.

The program finds what `python -m` would give it: arguments, environment, folder, `sys.path`, signals and files. Only
what is read when Python starts or a module is imported (PYTHONPATH, PYTHONHASHSEED, the locale) is that of the server.

Nothing here outlives the caller. The server ends when the socket does, or with its parent. A supervisor ends its
program at the end of its own pipe from the caller, or when the server, its parent, has ended.

Not its business: what becomes of a program once it has been started (`testbed.processes`).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.supervisor import die_with, supervise

_ROOT = Path(__file__).resolve().parent.parent
_ORPHAN_CHECK_SECONDS = 1.0  # as of the supervisor, and for the same reason
_MOST_BYTES, _MOST_DESCRIPTORS = 1 << 20, 64  # of a request


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """Comes with file descriptors: orders, answer, log, and what the supervisor is to hold."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    grace: float

    def supervise(self, descriptors: Sequence[int], *, server: int) -> None:
        """Called in the server's child. Returns in the program, and there only."""
        orders, answer, log, *held = descriptors
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(log, 2)
        os.chdir(self.folder)
        supervisor = os.getpid()
        program = os.fork()
        if program == 0:
            die_with(supervisor)
            os.setpgid(0, 0)
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(log, 1)
            for each in (nothing, *descriptors):
                os.close(each)
            return
        os.setpgid(program, program)  # here and there, so that nobody is earlier
        os.dup2(orders, 0)
        os.dup2(answer, 1)
        code = supervise(program, caller=server, grace=self.grace)
        for each in held:  # first: the caller takes the next line for our end
            os.close(each)
        print(code, flush=True)
        os._exit(0)

    def run(self) -> None:
        """Be the program."""
        os.environ.clear()
        os.environ.update(self.environment)
        if not sys.flags.safe_path:
            sys.path[0] = os.getcwd()
        sys.argv[1:] = self.arguments
        runpy.run_module(self.module, run_name="__main__", alter_sys=True)


def serve(caller: int, modules: Sequence[str]) -> _Request | None:
    """Serve until the caller is gone. Returns in every program, too, with what it is to run: it has the interpreter to
    itself then, which ends it as it ends any other, with its exit code, traceback, threads and `atexit`."""
    for module in modules:
        with contextlib.suppress(Exception):  # who needs the module will say in its own log what is wrong with it
            importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no supervisor is waited for
    server = os.getpid()
    channel = socket.socket(fileno=0)
    while os.getppid() == caller:
        if not select.select([channel], [], [], _ORPHAN_CHECK_SECONDS)[0]:
            continue
        message, descriptors, _, _ = socket.recv_fds(channel, _MOST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            break
        if os.fork() == 0:
            channel.detach()
            request = _Request(**json.loads(message))
            request.supervise(descriptors, server=server)
            return request
        for each in descriptors:
            os.close(each)
    return None


class ForkedSupervisor:
    """What `subprocess.Popen` is for a child, as far as `testbed.processes` needs it."""

    def __init__(self, *, orders: int, answer: int) -> None:
        self.stdin = os.fdopen(orders, "wb", buffering=0)
        self.stdout = os.fdopen(answer, "rb", buffering=0)
        self._code: int | None = None
        self._reading = threading.Lock()

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """The program's exit code. Raises TimeoutExpired."""
        if self._code is None and not select.select([self.stdout], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked program", timeout or 0)
        with self._reading:
            if self._code is None:  # without a last line the supervisor was killed, and the program with it
                self._code = int(self.stdout.readline() or 128 + signal.SIGKILL)
        return self._code


class ForkServer:
    """Starts programs by forks of a process that has imported `modules`; that one is started when it is needed."""

    def __init__(self, *, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._modules = modules
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(
        self,
        command: Sequence[str],
        *,
        log: int,
        environment: Mapping[str, str] | None,
        folder: Path | None,
        grace: float,
        hold: Sequence[int],
    ) -> ForkedSupervisor:
        """Run `python -m MODULE [ARGUMENT]...`; the rest as of `SupervisedProcess`."""
        interpreter, option, module, *arguments = command
        assert (interpreter, option) == (sys.executable, "-m"), f"not to be forked: {command}"
        request = _Request(
            module=module,
            arguments=arguments,
            environment=dict(os.environ if environment is None else environment),
            folder=str(folder or Path.cwd()),
            grace=grace,
        )
        channel = self._connected()
        reader, orders = os.pipe()
        answer, writer = os.pipe()
        supervisor = ForkedSupervisor(orders=orders, answer=answer)
        try:
            # Should the server be gone, nobody answers.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(channel, [json.dumps(asdict(request)).encode()], [reader, writer, log, *hold])
        finally:
            os.close(reader)
            os.close(writer)
        return supervisor

    def close(self) -> None:
        """End the server, and with it what still runs of its programs. Safe to repeat."""
        if self._channel is not None and self._process is not None:
            self._channel.close()
            self._process.kill()  # the channel alone does not end it where a copy of this process holds it, too
            self._process.wait()
        self._channel = self._process = None

    def _connected(self) -> socket.socket:
        if self._channel is None or self._process is None or self._process.poll() is not None:
            self.close()
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "testbed.fork_server", str(os.getpid()), *self._modules],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd=_ROOT,
                    env=self._environment,
                    start_new_session=True,
                )
        return self._channel


if __name__ == "__main__":
    forked = serve(int(sys.argv[1]), sys.argv[2:])
    if forked is not None:
        forked.run()
