"""What is shipped: the same versions everywhere, and nothing undeclared. That it installs and starts: tests/image."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys

import pytest
from packaging.utils import canonicalize_name

import nodeport_access
from tests.shipped import ROOT, copied_by_the_dockerfile, lock, pyproject, requirements

PACKAGE = ROOT / "operator" / "nodeport_access"
LOCKS = ("runtime.lock", "dev.lock")


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
