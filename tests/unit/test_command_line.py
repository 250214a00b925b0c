"""The frame of the commands: names, help, completion, colours and progress."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from nodeport_access.cli.output import Cell, Ink, Output
from nodeport_access.cli.program import program_name
from nodeport_access.cli.terminal import CLEAR, Progress

BIN = Path(sys.executable).parent
PROGRAMS = ("nodeport-access", "kubectl-npap", "kubectl_complete-npap")


def call(*words: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A program of this installation, found on the path as a user's shell would find it."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    return subprocess.run(
        words,
        env={"PATH": path, "HOME": "/nonexistent", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/usr/bin/kubectl-npap", "kubectl npap"),
        ("kubectl-npap.exe", "kubectl npap"),
        ("/usr/bin/nodeport-access", "nodeport-access"),
        ("/x/nodeport_access/__main__.py", "nodeport-access"),
    ],
)
def test_the_program_is_called_as_people_call_it(called: str, name: str) -> None:
    assert program_name(called) == name


def test_kubectl_runs_the_plugin() -> None:
    ran = call("kubectl", "npap", "render", "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: kubectl npap render [OPTIONS]")
    wrong = call("kubectl", "npap", "render", "-f", "nothing")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("kubectl npap: nothing does not exist; ")


def test_kubectl_completes_the_plugin() -> None:
    commands = call("kubectl", "__complete", "npap", "ren")
    assert commands.stdout == "render\tPrint what the operator writes for policies.\n:4\n"
    assert call("kubectl", "__complete", "npap", "plan", "-o", "").stdout == "table\nyaml\njson\n:4\n"
    assert call("kubectl", "__complete", "npap", "plan", "-f", "").stdout == ":0\n", "kubectl completes files itself"
    assert call("kubectl", "__complete", "npap", "nothing").stdout == ":4\n"


@pytest.mark.parametrize("program", PROGRAMS[:2])
def test_bash_completes_the_program(program: str) -> None:
    """As bash does it: the script is sourced, and the function that it registers is called for the words typed."""
    assert shutil.which("bash"), "the tests need bash"
    script = f"""
        source <(nodeport-access completion bash)
        spec=($(complete -p {program}))
        function=$(sed -E 's/.*-F ([^ ]+) .*/\\1/' <<< "${{spec[*]}}")
        COMP_WORDS=({program} plan --ex) COMP_CWORD=2
        COMPREPLY=() && $function {program}
        printf '%s\\n' "${{COMPREPLY[@]}}"
        COMP_WORDS=({program} re) COMP_CWORD=1
        COMPREPLY=() && $function {program}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    ran = call("bash", "-c", script)
    assert (ran.stdout, ran.stderr) == ("--exit-code\nrender\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_for_both_names(shell: str) -> None:
    ran = call("nodeport-access", "completion", shell)
    assert (ran.returncode, ran.stderr) == (0, "")
    for name in PROGRAMS[:2]:
        assert name in ran.stdout
    assert "_NODEPORT_ACCESS_COMPLETE=" in ran.stdout


def test_help_and_completion_load_no_more_than_they_need() -> None:
    """Completion runs at each press of a key."""
    loaded = "import sys, nodeport_access.__main__; print({'aiohttp', 'kopf', 'kubernetes', 'yaml'} & set(sys.modules))"
    assert call(sys.executable, "-c", loaded).stdout == "set()\n"


def test_the_operator_does_not_load_what_the_commands_of_users_need() -> None:
    """An open port waits for each module."""
    loaded = (
        "import sys, click; from nodeport_access.__main__ import group; group.get_command(click.Context(group), 'run');"
        " print({'nodeport_access.evaluate', 'nodeport_access.cli.audit', 'nodeport_access.demo'} & set(sys.modules))"
    )
    assert call(sys.executable, "-c", loaded).stdout == "set()\n"


# --- what is printed ---


def test_a_table_has_its_colours_only_where_they_are_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[list[Cell]] = [["A", "B"], [Ink("x", "red"), "long"], ["longer", ""]]
    Output(format="table", color=False).table(rows)
    assert capsys.readouterr().out == "A       B\nx       long\nlonger\n"
    Output(format="table", color=True).table(rows)
    assert capsys.readouterr().out == "A       B\n\x1b[31mx\x1b[0m       long\nlonger\n"


def test_yaml_repeats_what_appears_twice(capsys: pytest.CaptureFixture[str]) -> None:
    shared = {"a": ["b"]}
    Output(format="yaml", color=False).stream([{"x": shared, "y": shared}, {"z": "yes"}])
    assert capsys.readouterr().out == "x:\n  a:\n  - b\ny:\n  a:\n  - b\n---\nz: 'yes'\n"


class Screen(io.StringIO):
    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def wait_for(screen: Screen, text: str) -> None:
    end = time.monotonic() + 10
    while text not in screen.getvalue():
        assert time.monotonic() < end, screen.getvalue()
        time.sleep(0.001)


def test_long_work_is_told_on_a_terminal_and_the_line_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(is_terminal=True)
    with Progress(screen, after=0.01) as progress:
        progress.say("listing pods")
        wait_for(screen, "listing pods (")
    assert screen.getvalue().endswith(CLEAR)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_short_work_and_work_that_nobody_watches_is_not_told(is_terminal: bool) -> None:
    screen = Screen(is_terminal=is_terminal)
    with Progress(screen, after=3600 if is_terminal else 0.0) as progress:
        progress.say("listing pods")
    assert screen.getvalue() == ""


KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: nobody, user: {token: none}}]
contexts: [{name: none, context: {cluster: none, user: nobody}}]
"""


@pytest.mark.parametrize(
    ("words", "environ"), [(["--leader-elect"], {}), ([], {"NODEPORT_ACCESS_LEADER_ELECT": "true"})]
)
def test_a_leader_election_outside_of_pods_needs_a_namespace_and_says_so(
    tmp_path: Path, words: list[str], environ: Mapping[str, str]
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    ran = call("nodeport-access", "run", "--kubeconfig", str(kubeconfig), *words, environ=environ)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "nodeport-access: leader election needs a namespace for its Lease, and this is not a pod with a service"
        " account: name one by --leader-elect-namespace.\n"
    )
