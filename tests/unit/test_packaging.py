"""What is shipped: the same versions everywhere, and nothing undeclared. That it installs and starts: tests/image."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import sys

import pytest
from packaging.utils import canonicalize_name

from tests.shipped import ROOT, copied_by_the_dockerfile, lock, requirements

PACKAGE = ROOT / "operator" / "nodeport_access"
LOCKS = ("runtime.lock", "dev.lock", "oracles.lock", "docs.lock")


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("runtime.lock", (None, "build")),
        ("dev.lock", (None, "dev")),
        ("oracles.lock", ("oracles",)),
        ("docs.lock", ("docs",)),
    ],
)
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


def final_stage() -> list[str]:
    """The instructions of the Dockerfile's last stage, one a line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).replace("\\\n", " ")
    return re.split(r"(?m)^FROM ", text)[-1].splitlines()


def test_every_stage_of_the_image_has_the_same_base_pinned_to_one_patch_release() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", bases[0])


def test_what_runs_needs_no_shell_and_is_nobody_on_its_node() -> None:
    instructions = [line.split(maxsplit=1) for line in final_stage()[1:] if line.strip()]

    assert {name for name, _ in instructions} == {"ENV", "COPY", "USER", "ENTRYPOINT", "CMD"}, "nothing is run"
    by_name = {name: json.loads(rest) for name, rest in instructions if name in ("ENTRYPOINT", "CMD")}
    assert by_name["ENTRYPOINT"][0].endswith("/bin/python"), "no shell's form"
    assert by_name["CMD"] == ["run"]
    assert ["USER", "65532:65532"] in instructions


def test_the_build_context_lets_through_what_the_dockerfile_copies() -> None:
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    assert [source for source, _ in copied_by_the_dockerfile() if f"!{source}" not in rules] == []
