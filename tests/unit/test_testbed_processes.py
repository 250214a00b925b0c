"""No program outlives whoever started it, and no signal reaches a stranger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.processes import ProcessFailed, ProcessIdentity, SupervisedProcess, tail
from testbed.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]

# It ends only when it is killed, and says when it is asked to end.
STUBBORN = "trap 'echo asked to end' TERM; echo started; while :; do sleep 0.05; done"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "program.log"


@pytest.fixture
def sleeper(log: Path) -> Iterator[SupervisedProcess]:
    process = SupervisedProcess(command=["sleep", "60"], log=log)
    yield process
    process.kill()


def started_in(process: SupervisedProcess) -> None:
    wait_for(lambda: "started" in process.log.read_text(), seconds=5, what="the program's first word")


def identity(process: SupervisedProcess) -> ProcessIdentity:
    found = ProcessIdentity.of(process.pid)
    assert found is not None
    return found


def test_a_program_that_ends_by_itself_leaves_its_exit_code_and_output(log: Path) -> None:
    process = SupervisedProcess(command=["sh", "-c", "echo out; echo err >&2; exit 7"], log=log)

    assert process.wait(seconds=5) == 7
    assert log.read_text() == "out\nerr\n"
    assert process.end() == 7


def test_a_program_that_does_not_exist_is_named(log: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"no-such-program cannot be started: No such file or directory"):
        SupervisedProcess(command=["/no-such-program"], log=log)


def test_an_end_is_asked_for_before_it_is_enforced(log: Path) -> None:
    process = SupervisedProcess(command=["sh", "-c", STUBBORN], log=log, grace=0.3)
    started_in(process)

    assert process.end() == 128 + signal.SIGKILL

    assert "asked to end" in log.read_text()


def test_a_signal_reaches_the_program_and_what_it_has_started(log: Path) -> None:
    process = SupervisedProcess(command=["sh", "-c", "sleep 60 & echo started $!; wait"], log=log)
    started_in(process)
    child = ProcessIdentity.of(int(log.read_text().split()[1]))

    process.send(signal.SIGTERM)

    assert process.wait(seconds=5) == 128 + signal.SIGTERM
    assert child is not None
    assert child.wait(seconds=5)
    process.end()


def test_a_signal_to_a_program_that_has_ended_goes_nowhere(log: Path) -> None:
    process = SupervisedProcess(command=["true"], log=log)
    assert process.wait(seconds=5) == 0

    process.send(signal.SIGKILL)

    assert process.kill() == 0


def test_a_stopped_program_ends_like_any_other(sleeper: SupervisedProcess) -> None:
    sleeper.pause()

    assert sleeper.end() == 128 + signal.SIGTERM


def test_a_paused_program_has_stopped_when_pause_returns(log: Path) -> None:
    process = SupervisedProcess(command=["sh", "-c", "echo started; while :; do :; done"], log=log)
    started_in(process)

    for _ in range(20):
        process.pause()
        assert state_of(process.pid) == "T"
        process.resume()

    wait_for(lambda: state_of(process.pid) == "R", seconds=5, what="the program to go on")
    process.kill()


def test_a_pause_of_a_program_that_has_ended_returns(log: Path) -> None:
    process = SupervisedProcess(command=["true"], log=log)
    assert process.wait(seconds=5) == 0

    process.pause()

    process.end()


def test_a_program_ends_with_its_supervisor(sleeper: SupervisedProcess) -> None:
    program = identity(sleeper)

    os.kill(parent_of(sleeper.pid), signal.SIGKILL)

    assert program.wait(seconds=5)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_ends_with_a_caller_that_is_ended_by(end: signal.Signals, log: Path) -> None:
    caller, program = calling("time.sleep(60)", log=log)
    with caller:
        caller.send_signal(end)

        assert program.wait(seconds=5)


def test_a_program_ends_with_its_caller_although_a_copy_of_the_caller_lives_on(log: Path) -> None:
    """A fork without exec, as multiprocessing makes them, holds the caller's end of the pipe."""
    caller, program = calling("copy = os.fork()\nif copy: print(copy, flush=True)\ntime.sleep(60)", log=log)
    with caller:
        assert caller.stdout is not None
        copy = int(caller.stdout.readline())
        try:
            caller.kill()
            caller.wait(5)

            assert program.wait(seconds=5)
        finally:
            os.kill(copy, signal.SIGKILL)


def test_a_program_outlives_the_thread_that_started_it(log: Path) -> None:
    caller, program = calling("time.sleep(60)", log=log, thread=True)
    with caller:
        assert not program.wait(seconds=0.5)
        caller.kill()
        assert program.wait(seconds=5)


def calling(then: str, *, log: Path, thread: bool = False) -> tuple[subprocess.Popen[bytes], ProcessIdentity]:
    """Another process that starts a program, and what it does `then`."""
    script = textwrap.dedent(f"""\
        import os, sys, threading, time
        from pathlib import Path
        from testbed.processes import SupervisedProcess

        def start():
            global process
            process = SupervisedProcess(command=["sleep", "60"], log=Path(sys.argv[1]))

        if {thread}:
            starter = threading.Thread(target=start)
            starter.start()
            starter.join()
        else:
            start()
        print(process.pid, flush=True)
        """)
    caller = subprocess.Popen(
        [sys.executable, "-c", script + then, log], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert caller.stdout is not None
    program = ProcessIdentity.of(int(caller.stdout.readline()))
    assert program is not None
    return caller, program


def test_what_is_held_stays_held_while_the_program_runs(log: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as end_of_pipe:
        process = SupervisedProcess(command=["sh", "-c", "ls /proc/$$/fd; sleep 60"], log=log, hold=[writer])
        os.close(writer)
        os.set_blocking(reader, False)
        assert end_of_pipe.read(1) is None, "nobody holds it"

        process.kill()

        assert end_of_pipe.read(1) == b"", "somebody still holds it"
    assert str(writer) not in log.read_text().split(), "the program itself got it"


def test_an_identity_is_not_that_of_another_process_with_the_same_number(sleeper: SupervisedProcess) -> None:
    other = ProcessIdentity(pid=sleeper.pid, started="1", boot=identity(sleeper).boot)

    assert not other.is_running()
    assert not other.send(signal.SIGKILL)
    time.sleep(0.1)
    assert sleeper.exit_code() is None


def test_an_identity_sends_signals_to_its_process_while_that_lives(sleeper: SupervisedProcess) -> None:
    found = identity(sleeper)

    assert found.send(signal.SIGTERM)

    assert found.wait(seconds=5)
    assert sleeper.wait(seconds=5) == 128 + signal.SIGTERM
    assert ProcessIdentity.of(sleeper.pid) is None
    assert not found.send(signal.SIGTERM)


def test_the_tail_of_a_log_is_its_last_lines(log: Path) -> None:
    assert tail(log) == ""
    log.write_text("".join(f"{number}\n" for number in range(30000)))

    assert tail(log, lines=2) == "29998\n29999"


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
