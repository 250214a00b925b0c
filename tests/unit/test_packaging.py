"""What is shipped: the same versions everywhere, nothing undeclared, and an image that holds what it needs.

No container engine is needed: the image's own installation script is run on what the Dockerfile copies.
"""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import nodeport_access

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "nodeport_access"
LOCKS = ("runtime.lock", "dev.lock")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(*, group: str | None) -> list[Requirement]:
    """What pyproject.toml asks for: the project's own dependencies, or a group's, included groups and all."""
    document = pyproject()
    if group is None:
        return [Requirement(text) for text in document["project"]["dependencies"]]
    found = []
    for entry in document["dependency-groups"][group]:
        found += requirements(group=entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


def lock(name: str) -> dict[str, tuple[Version, int]]:
    """Version and number of hashes by distribution."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    found: dict[str, tuple[Version, int]] = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text)):
        pin = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry)
        assert pin, f"{name} holds something else than exact versions: {entry!r}"
        found[canonicalize_name(pin[1])] = (Version(pin[2]), entry.count("--hash=sha256:"))
    return found


def copied_by_the_dockerfile() -> list[tuple[str, str]]:
    """Source and destination of every COPY from the build context."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = (line.split()[1:] for line in text.splitlines() if re.match(r"COPY (?!--from)", line))
    return [(source, words[-1]) for words in lines for source in words[:-1]]


@pytest.mark.parametrize(("name", "groups"), [("runtime.lock", (None, "build")), ("dev.lock", (None, "dev"))])
def test_a_lock_satisfies_pyproject(name: str, groups: tuple[str | None, ...]) -> None:
    locked = lock(name)
    wanted = [requirement for group in groups for requirement in requirements(group=group)]
    missing = [
        str(wish)
        for wish in wanted
        if (key := canonicalize_name(wish.name)) not in locked or not wish.specifier.contains(locked[key][0])
    ]
    assert not missing, f"`make lock` brings requirements/{name} up to date with pyproject.toml"


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_version_has_its_hashes(name: str) -> None:
    assert [key for key, (_, hashes) in lock(name).items() if not hashes] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert re.findall(r"(?m)^.*(?:://|--index-url|--extra-index-url|--find-links|--trusted-host).*$", text) == []


def test_tests_run_on_the_versions_that_are_shipped() -> None:
    shipped, tested = lock("runtime.lock"), lock("dev.lock")
    assert shipped == {key: tested.get(key) for key in shipped}


def test_the_package_imports_what_is_declared_and_declares_what_it_imports() -> None:
    imported = {
        name.partition(".")[0]
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    foreign = imported - sys.stdlib_module_names - {PACKAGE.name}
    providers = importlib.metadata.packages_distributions()
    used = {canonicalize_name(providers[name][0]) for name in foreign}
    assert used == {canonicalize_name(requirement.name) for requirement in requirements(group=None)}


def test_one_version_is_told_everywhere() -> None:
    version = pyproject()["project"]["version"]
    assert nodeport_access.__version__ == version
    assert re.search(rf"(?m)^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))


def test_the_build_context_lets_through_what_the_dockerfile_copies() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    assert [source for source, _ in copied_by_the_dockerfile() if f"!{source}" not in rules] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `src`, what the Dockerfile copies and nothing else, and `venv`, what the image has of it."""
    folder = tmp_path_factory.mktemp("image")
    for source, destination in copied_by_the_dockerfile():
        target = folder / "src" / destination
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / source, target)
    ran = subprocess.run(
        [folder / "src" / "image" / "install.sh", folder / "venv", sys.executable],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PIP_COMPILE": "0"},  # bytecode is two thirds of the time, and no matter of this test
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("entry", [("python", "-m", "nodeport_access"), ("nodeport-access",)])
def test_the_image_starts_the_command_line(installed: Path, tmp_path: Path, entry: tuple[str, ...]) -> None:
    ran = run(installed / "venv" / "bin" / entry[0], *entry[1:], "run", "--help", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "--metrics-bind-address" in ran.stdout


@pytest.mark.slow
def test_the_image_holds_every_file_of_the_package(installed: Path) -> None:
    (shipped,) = installed.glob("venv/lib/python*/site-packages/nodeport_access")

    def files(folder: Path) -> set[str]:
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    assert files(shipped) == files(installed / "src" / "operator" / "nodeport_access")


@pytest.mark.slow
def test_the_image_holds_the_runtime_lock_and_nothing_that_installs_more(installed: Path, tmp_path: Path) -> None:
    listing = "import importlib.metadata as m; print('\\n'.join(d.name + ' ' + d.version for d in m.distributions()))"
    ran = run(installed / "venv" / "bin" / "python", "-I", "-c", listing, cwd=tmp_path)
    present = {canonicalize_name(name): Version(version) for name, version in map(str.split, ran.stdout.splitlines())}
    allowed = {key: version for key, (version, _) in lock("runtime.lock").items()}
    own = canonicalize_name(pyproject()["project"]["name"])
    assert {"pip", "setuptools"}.isdisjoint(present)
    assert {key: version for key, version in present.items() if key != own}.items() <= allowed.items()
    assert own in present
