"""A forked program is like one that was executed, and outlives nobody whom that one would not outlive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.fork_server import ForkServer
from testbed.processes import ProcessFailed, ProcessIdentity, SupervisedProcess
from testbed.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]

SLEEP = "import time\nprint('started', flush=True)\ntime.sleep(60)"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServer]:
    """It has imported the module `early` of the test's folder, if there is one."""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OF_THE_SERVER": "yes"}
    server = ForkServer(modules=["early"], environment=environment)
    yield server
    server.close()


class Start:
    """Starts a program from its source, in the test's folder."""

    def __init__(self, *, server: ForkServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.started: list[SupervisedProcess] = []

    def __call__(
        self, source: str, *arguments: str, forked: bool = True, grace: float = 5.0, hold: tuple[int, ...] = ()
    ) -> SupervisedProcess:
        name = f"program_{len(self.started)}"
        (self.folder / f"{name}.py").write_text(textwrap.dedent(source))
        process = SupervisedProcess(
            command=[sys.executable, "-m", name, *arguments],
            log=self.folder / f"{name}.log",
            environment={**os.environ, "PYTHONPATH": str(self.folder), "OF_ITS_OWN": "yes"},
            folder=self.folder,
            grace=grace,
            hold=hold,
            fork_server=self.server if forked else None,
        )
        self.started.append(process)
        return process


@pytest.fixture
def start(server: ForkServer, tmp_path: Path) -> Iterator[Start]:
    start = Start(server=server, folder=tmp_path)
    yield start
    for process in start.started:
        process.kill()


def started_in(process: SupervisedProcess) -> None:
    wait_for(lambda: "started" in process.log.read_text(), seconds=5, what="the program's first word")


def identity(pid: int) -> ProcessIdentity:
    found = ProcessIdentity.of(pid)
    assert found is not None
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# --- like one that was executed -------------------------------------------------------------------------------------

FINDINGS = """\
    import json, os, resource, signal, sys, threading, warnings
    print(json.dumps({
        "arguments": sys.argv[1:],
        "program": sys.argv[0].replace("program_1", "program_0"),
        "name": __name__,
        "package": __package__,
        "is the main module": sys.modules["__main__"].__dict__ is globals(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path,
        "flags": str(sys.flags),
        "options": [sys._xoptions, sys.warnoptions, str(warnings.filters)],
        "handlers": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "wakeup": signal.set_wakeup_fd(-1),
        "leads its group": os.getpgid(0) == os.getpid(),
        "leads the session": os.getsid(0) == os.getpid(),
        "session of its supervisor": os.getsid(0) == os.getppid(),
        "input": os.readlink("/proc/self/fd/0"),
        "output": os.readlink("/proc/self/fd/1").replace("program_1", "program_0"),
        "errors": os.readlink("/proc/self/fd/2").replace("program_1", "program_0"),
        "other files": [each for each in os.listdir("/proc/self/fd") if int(each) > 2][1:],  # one is this listing
        "streams": [[each.encoding, each.errors, each.line_buffering] for each in (sys.stdin, sys.stdout, sys.stderr)],
        "threads": threading.active_count(),
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    }))
"""


def test_a_program_finds_what_it_would_find_if_it_were_executed(start: Start) -> None:
    reader, writer = os.pipe()
    forked, executed = (start(FINDINGS, "run", "--flag", forked=each, hold=(writer,)) for each in (True, False))
    os.close(writer)
    os.close(reader)

    assert (forked.wait(seconds=5), executed.wait(seconds=5)) == (0, 0), forked.log.read_text()

    found = json.loads(forked.log.read_text())
    assert found == json.loads(executed.log.read_text())
    assert found["arguments"] == ["run", "--flag"]
    assert found["environment"]["OF_ITS_OWN"] == "yes"


def test_it_has_the_imports_of_the_server(start: Start) -> None:
    (start.folder / "early.py").write_text("import os\nprocess = os.getpid()")

    process = start("import early, os\nprint(early.process, os.getppid(), os.getpid())")

    assert process.wait(seconds=5) == 0
    imported_in, *others = process.log.read_text().split()
    assert imported_in not in others


def test_what_could_not_be_imported_is_told_by_the_program(start: Start) -> None:
    (start.folder / "early.py").write_text("raise RuntimeError('broken')")

    process = start("import early")

    assert process.wait(seconds=5) == 1
    assert process.log.read_text().endswith("RuntimeError: broken\n")


def test_randomness_is_its_own(start: Start) -> None:
    (start.folder / "early.py").write_text("import random\nrandom.random()")
    processes = [start("import random\nprint(random.random())") for _ in range(2)]

    assert [each.wait(seconds=5) for each in processes] == [0, 0]
    assert processes[0].log.read_text() != processes[1].log.read_text()


@pytest.mark.parametrize(
    ("last_act", "code", "last_words"),
    [
        ("pass", 0, "at exit"),
        ("sys.exit(7)", 7, "at exit"),
        ("sys.exit('a sentence')", 1, "a sentence"),
        ("raise ValueError('a fault')", 1, "ValueError: a fault"),
        ("os._exit(9)", 9, ""),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 128 + signal.SIGTERM, ""),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 128 + signal.SIGINT, "KeyboardInterrupt"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, ""),
        ("threading.Thread(target=lambda: (time.sleep(0.1), print('a thread'))).start()", 0, "a thread"),
    ],
)
def test_it_ends_as_it_would_if_it_were_executed(start: Start, last_act: str, code: int, last_words: str) -> None:
    source = "import atexit, os, signal, sys, threading, time\natexit.register(print, 'at exit')\n" + last_act
    forked, executed = (start(source, forked=each) for each in (True, False))

    assert forked.wait(seconds=5) == executed.wait(seconds=5) == code

    words, as_executed = (each.log.read_text().splitlines() for each in (forked, executed))
    assert words[-1:] == as_executed[-1:]
    assert last_words in "\n".join(words)
    assert forked.end() == code


def test_a_module_that_does_not_exist_is_named(server: ForkServer, tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    process = SupervisedProcess(
        command=[sys.executable, "-m", "no_such_module"], log=log, folder=tmp_path, fork_server=server
    )

    assert process.wait(seconds=5) == 1
    assert "No module named no_such_module" in log.read_text()
    process.end()


def test_a_folder_that_does_not_exist_is_named(server: ForkServer, tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="no-such-folder"):
        SupervisedProcess(
            command=[sys.executable, "-m", "this"],
            log=tmp_path / "program.log",
            folder=tmp_path / "no-such-folder",
            fork_server=server,
        )


# --- ended, paused, resumed -----------------------------------------------------------------------------------------


def test_an_end_is_asked_for_before_it_is_enforced(start: Start) -> None:
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('asked to end', flush=True))\n"
    process = start(stubborn + SLEEP, grace=0.3)
    started_in(process)
    begin = time.monotonic()

    assert process.end() == 128 + signal.SIGKILL

    assert "asked to end" in process.log.read_text()
    assert time.monotonic() - begin < 5


def test_a_signal_reaches_the_program_at_once_and_what_it_has_started(start: Start) -> None:
    process = start("import subprocess\nprint('started', subprocess.Popen(['sleep', '60']).pid, flush=True)\n" + SLEEP)
    started_in(process)
    child = identity(int(process.log.read_text().split()[1]))

    process.send(signal.SIGTERM)

    assert process.wait(seconds=5) == 128 + signal.SIGTERM
    assert child.wait(seconds=5)


def test_a_signal_right_after_the_start_is_not_lost(start: Start) -> None:
    for _ in range(10):
        process = start(SLEEP)
        process.send(signal.SIGTERM)
        assert process.wait(seconds=5) == 128 + signal.SIGTERM


def test_a_paused_program_has_stopped_when_pause_returns_and_ends_like_any_other(start: Start) -> None:
    process = start("print('started', flush=True)\nwhile True: pass")
    started_in(process)
    for _ in range(5):
        process.pause()
        assert state_of(process.pid) == "T"
        process.resume()
    wait_for(lambda: state_of(process.pid) == "R", seconds=5, what="the program to go on")
    process.pause()

    assert process.end() == 128 + signal.SIGTERM


def test_what_is_held_stays_held_while_the_program_runs_and_not_by_the_server(start: Start) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as end_of_pipe:
        process = start(SLEEP, hold=(writer,))
        other = start(SLEEP)
        os.close(writer)
        os.set_blocking(reader, False)
        assert end_of_pipe.read(1) is None, "nobody holds it"

        process.kill()

        assert end_of_pipe.read(1) == b"", "somebody still holds it"
    assert other.exit_code() is None


# --- nothing outlives anybody ---------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_supervisor_whose_program_has_ended(start: Start) -> None:
    process = start(SLEEP)
    supervisor = Path(f"/proc/{parent_of(process.pid)}")
    assert supervisor.exists()

    process.end()

    wait_for(lambda: not supervisor.exists(), seconds=5, what="the supervisor to go")


def test_an_interrupt_in_the_terminal_reaches_the_caller_alone(start: Start) -> None:
    process = start(SLEEP)
    supervisor = parent_of(process.pid)

    assert os.getsid(0) not in {os.getsid(each) for each in (process.pid, supervisor, parent_of(supervisor))}


def test_a_program_ends_with_its_supervisor_while_others_go_on(start: Start) -> None:
    process, other = start(SLEEP), start(SLEEP)
    program = identity(process.pid)

    os.kill(parent_of(process.pid), signal.SIGKILL)

    assert program.wait(seconds=5)
    assert process.wait(seconds=5) == 128 + signal.SIGKILL
    assert other.exit_code() is None


def test_programs_end_in_order_when_the_server_is_killed_and_the_next_one_finds_another(start: Start) -> None:
    asked = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('asked to end'))\n"
    processes = [start(asked + SLEEP) for _ in range(2)]
    for process in processes:
        started_in(process)
    os.kill(parent_of(parent_of(processes[0].pid)), signal.SIGKILL)

    assert [each.wait(seconds=5) for each in processes] == [1, 1]
    assert all("asked to end" in each.log.read_text() for each in processes)
    assert start("pass").wait(seconds=5) == 0


def test_a_program_ends_with_its_supervisor_that_does_nothing(start: Start) -> None:
    process = start(SLEEP, grace=-9.5)  # `end` waits ten seconds longer than that for the supervisor
    program, supervisor = identity(process.pid), identity(parent_of(process.pid))
    supervisor.send(signal.SIGSTOP)

    assert process.end() == 128 + signal.SIGKILL
    assert program.wait(seconds=5)
    assert supervisor.wait(seconds=5)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_everything_ends_with_a_caller_that_is_ended_by(end: signal.Signals, tmp_path: Path) -> None:
    caller, everything = calling("time.sleep(60)", folder=tmp_path)
    with caller:
        caller.send_signal(end)

        assert all(each.wait(seconds=5) for each in everything)


def test_everything_ends_with_its_caller_although_a_copy_of_the_caller_lives_on(tmp_path: Path) -> None:
    """A fork without exec, as multiprocessing makes them, holds the caller's ends of the pipe and the socket."""
    caller, everything = calling("copy = os.fork()\nif copy: print(copy, flush=True)\ntime.sleep(60)", folder=tmp_path)
    with caller:
        assert caller.stdout is not None
        copy = int(caller.stdout.readline())
        try:
            caller.kill()
            caller.wait(5)

            assert all(each.wait(seconds=5) for each in everything)
        finally:
            os.kill(copy, signal.SIGKILL)


def test_everything_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    caller, everything = calling("time.sleep(60)", folder=tmp_path, thread=True)
    with caller:
        assert not everything[0].wait(seconds=0.5)
        caller.kill()
        assert all(each.wait(seconds=5) for each in everything)


def calling(
    then: str, *, folder: Path, thread: bool = False
) -> tuple[subprocess.Popen[bytes], tuple[ProcessIdentity, ...]]:
    """Another process that starts a program, and what it does `then`; the program, its supervisor and the server."""
    (folder / "program.py").write_text(SLEEP)
    script = textwrap.dedent(f"""\
        import os, sys, threading, time
        from pathlib import Path
        from testbed.fork_server import ForkServer
        from testbed.processes import SupervisedProcess

        folder = Path(sys.argv[1])
        server = ForkServer(modules=[], environment=os.environ)

        def start():
            global process
            process = SupervisedProcess(
                command=[sys.executable, "-m", "program"], log=folder / "log", folder=folder, fork_server=server
            )

        if {thread}:
            starter = threading.Thread(target=start)
            starter.start()
            starter.join()
        else:
            start()
        print(process.pid, flush=True)
        """)
    caller = subprocess.Popen(
        [sys.executable, "-c", script + then, folder], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert caller.stdout is not None
    program = int(caller.stdout.readline())
    supervisor = parent_of(program)
    return caller, tuple(identity(each) for each in (program, supervisor, parent_of(supervisor)))
