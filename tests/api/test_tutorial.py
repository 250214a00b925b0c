"""docs/tutorial.md: whoever types what it says sees what it shows, but for ages, addresses and the time it takes.

Not the business of this module: what `make up` starts (`test_playground`), and the flags on other pages (tests/unit).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import playground
from testbed.operator_process import ROOT
from testbed.programs import Programs
from tests.api.access import until
from tests.pages import DOCS, ELLIPSIS, Typed, blocks, typed

PAGE = DOCS / "tutorial.md"
LOOKS = ("kubectl get ", "kubectl events ", "nodeport-access ")
"""Commands that change nothing: they may be typed again until the operator has done its part."""
SECONDS = 60.0
SETTING = "export KUBECONFIG=$PWD/.testbed/kubeconfig PATH=$PWD/.venv/bin:$PATH"


@pytest.fixture(scope="module")
def folder(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    assert programs.paths
    folder = tmp_path_factory.mktemp("tutorial") / "state"
    yield folder
    playground.down(say=lambda _: None, folder=folder)


def test_what_it_says_to_type_shows_what_it_shows(folder: Path, tmp_path: Path) -> None:
    commands = [one for block in blocks(PAGE, "console") for one in typed(block)]
    assert [one.command for one in commands[:2]] == ["make up", SETTING]
    assert playground.FOLDER / "kubeconfig" == ROOT / ".testbed/kubeconfig"
    assert commands[-1].command == "make down"
    said: list[str] = []

    playground.up(say=said.append, folder=folder)
    assert_shown(commands[0], "\n".join(said))
    for one in commands[2:-1]:
        follow(one, kubeconfig=folder / "kubeconfig", home=tmp_path)
    said.clear()
    playground.down(say=said.append, folder=folder)
    assert_shown(commands[-1], "\n".join(said))


def follow(one: Typed, *, kubeconfig: Path, home: Path) -> None:
    def output() -> str:
        return subprocess.run(
            ["bash", "-c", one.command],
            cwd=ROOT,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(home),
                "KUBECONFIG": str(kubeconfig),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        ).stdout

    def as_shown() -> bool:
        assert_shown(one, output())
        return True

    if one.command.startswith(LOOKS):
        until(as_shown, f"what {one.where} shows", seconds=SECONDS)
    else:
        as_shown()


def assert_shown(one: Typed, output: str) -> None:
    """The page's lines are those of the output; where it has an ellipsis, any number of lines may stand."""
    pattern = "".join("(.*\n)*?" if line == ELLIPSIS else re.escape(alike(line)) + "\n" for line in one.shown)
    found = "".join(f"{alike(line)}\n" for line in output.splitlines())
    assert re.fullmatch(pattern, found), f"{one.where} shows for `{one.command}`:\n{pattern}\nwhat came was:\n{found}"


def alike(line: str) -> str:
    """What differs from one time to the next, and the widths of columns that follow from it, made the same."""
    line = re.sub(r"\b10\.96\.\d+\.\d+\b", "10.96.0.1", line)
    line = re.sub(r"(?<!\S)(\d+[smhd])+( \(x\d+ over \S+\))?(?!\S)", "AGE", line)
    return re.sub(r"\s+", " ", line).strip()
