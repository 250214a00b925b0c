"""What the image holds, without a container engine: its own installation script, run on what the Dockerfile copies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.shipped import ROOT, copied_by_the_dockerfile, lock, pyproject

DISTRIBUTIONS = """
import importlib.metadata
for found in importlib.metadata.distributions():
    print(found.name, found.version)
"""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


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


def test_what_the_dockerfile_copies_is_enough_to_install_and_start_the_locked_versions_and_no_others(
    tmp_path: Path,
) -> None:
    source, venv, elsewhere = tmp_path / "src", tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, destination in copied_by_the_dockerfile():
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / destination, ignore=ignored)
        else:
            (source / destination).mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / destination)

    # Not compiled: that is half of the time, and no matter of this test.
    run(source / "image" / "install.sh", venv, sys.executable, cwd=elsewhere, seconds=300, PIP_COMPILE="0")

    (package,) = venv.glob("lib/python*/site-packages/nodeport_access")
    assert files(package) == files(source / "operator" / "nodeport_access")

    listing = run(venv / "bin" / "python", "-I", "-c", DISTRIBUTIONS, cwd=elsewhere, seconds=30)
    present = {canonicalize_name(name): Version(version) for name, version in map(str.split, listing.splitlines())}
    assert str(present.pop(canonicalize_name(pyproject()["project"]["name"]))) == pyproject()["project"]["version"]
    assert {"pip", "setuptools"}.isdisjoint(present), "what installs is not needed by what runs"
    assert present.items() <= {key: version for key, (version, _) in lock("runtime.lock").items()}.items()

    for command in (["python", "-m", "nodeport_access"], ["nodeport-access"]):
        told = run(venv / "bin" / command[0], *command[1:], "run", "--help", cwd=elsewhere, seconds=60)
        assert "--metrics-bind-address" in told
