"""The list of what the image holds: all of it, nothing else, the same each time, and nothing of where it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from release import sbom
from tests.image.conftest import Installation
from tests.shipped import lock, pyproject

EPOCH = 1_767_323_046


@pytest.fixture(scope="module")
def written(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(installation, tmp_path_factory.mktemp("sbom") / "one.cdx.json")


def write(installation: Installation, target: Path) -> Path:
    pyproject = installation.source / "pyproject.toml"
    sbom.write(installation=installation.venv, pyproject=pyproject, target=target, epoch=EPOCH)
    return target


def content(written: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
    return found


def test_it_lists_the_project_and_each_locked_package_that_the_image_holds_with_its_licence(written: Path) -> None:
    listed = {
        canonicalize_name(component["name"]): component["version"] for component in content(written)["components"]
    }
    locked = {name: str(version) for name, (version, _) in lock("runtime.lock").items()}

    assert listed == {name: version for name, version in locked.items() if name != "setuptools"}
    assert [one["name"] for one in content(written)["components"] if not one.get("licenses")] == []
    root, project = content(written)["metadata"]["component"], pyproject()["project"]
    assert (root["name"], root["version"]) == (project["name"], project["version"])


def test_it_says_who_needs_what(written: Path) -> None:
    needs = {one["ref"]: one.get("dependsOn", []) for one in content(written)["dependencies"]}
    direct = {canonicalize_name(reference.partition("==")[0]) for reference in needs["root-component"]}

    assert {"kopf", "kubernetes", "aiohttp", "jinja2"} <= direct
    (aiohttp,) = (reference for reference in needs if reference.startswith("aiohttp=="))
    assert any(reference.startswith("yarl==") for reference in needs[aiohttp])


def test_it_is_the_same_each_time_and_tells_nothing_of_this_machine(
    written: Path, installation: Installation, tmp_path: Path
) -> None:
    assert write(installation, tmp_path / "again.cdx.json").read_bytes() == written.read_bytes()

    text = written.read_text(encoding="utf-8")
    assert "serialNumber" not in text
    assert content(written)["metadata"]["timestamp"] == "2026-01-02T03:04:06+00:00"
    assert str(installation.venv.parent) not in text
    assert "file:" not in text


def test_it_is_valid_by_the_schema_of_cyclonedx_which_refuses_what_is_not(written: Path) -> None:
    validator = JsonStrictValidator(SchemaVersion.from_version(sbom.SPEC_VERSION))

    assert validator.validate_str(written.read_text(encoding="utf-8")) is None
    assert validator.validate_str(json.dumps(content(written) | {"components": [{"name": "x"}]})) is not None
