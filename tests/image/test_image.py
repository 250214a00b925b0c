"""What the image holds, without a container engine: its own installation script, run on what the Dockerfile copies."""

from __future__ import annotations

from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.image.conftest import Installation, run
from tests.shipped import lock, pyproject

DISTRIBUTIONS = """
import importlib.metadata
for found in importlib.metadata.distributions():
    print(found.name, found.version)
"""


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_what_the_dockerfile_copies_is_enough_to_install_and_start_the_locked_versions_and_no_others(
    installation: Installation, tmp_path: Path
) -> None:
    source, venv = installation.source, installation.venv

    (package,) = venv.glob("lib/python*/site-packages/nodeport_access")
    assert files(package) == files(source / "operator" / "nodeport_access")

    listing = run(venv / "bin" / "python", "-I", "-c", DISTRIBUTIONS, cwd=tmp_path, seconds=30)
    present = {canonicalize_name(name): Version(version) for name, version in map(str.split, listing.splitlines())}
    assert str(present.pop(canonicalize_name(pyproject()["project"]["name"]))) == pyproject()["project"]["version"]
    assert {"pip", "setuptools"}.isdisjoint(present), "what installs is not needed by what runs"
    assert present.items() <= {key: version for key, (version, _) in lock("runtime.lock").items()}.items()

    for command in (["python", "-m", "nodeport_access"], ["nodeport-access"]):
        told = run(venv / "bin" / command[0], *command[1:], "run", "--help", cwd=tmp_path, seconds=60)
        assert "--metrics-bind-address" in told
