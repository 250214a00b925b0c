"""What tests of the shipped things share: the sources of this folder in a repository of their own, and an installation
as in the image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.shipped import ROOT, copied_by_the_dockerfile


def run(*command: str | Path, cwd: Path, seconds: float, **env: str) -> str:
    """Standard output of a command that has to succeed."""
    ran = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A virtual environment as in the image, and the sources that it was made from."""

    source: Path
    venv: Path


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """What the image's own script makes of what the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("image")
    source, venv = folder / "src", folder / "venv"
    for name, destination in copied_by_the_dockerfile():
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / destination, ignore=ignored)
        else:
            (source / destination).mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / destination)
    # Not compiled: that is half of the time, and no matter of these tests.
    run(source / "image" / "install.sh", venv, sys.executable, cwd=folder, seconds=300, PIP_COMPILE="0")
    return Installation(source=source, venv=venv)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository whose one commit is the working tree, changes that are not committed included."""
    root = tmp_path_factory.mktemp("repository") / "one"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT, seconds=30)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    at = "2026-01-02T03:04:06Z"
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_AUTHOR_DATE": at}
    who |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in who.items()}
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--no-verify", "--message", "all")):
        run("git", *words, cwd=root, seconds=60, **who)
    return root
