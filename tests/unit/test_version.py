"""One version, in every place that repeats it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from packaging.version import InvalidVersion

from release import version
from release.version import ROOT


def test_all_places_say_the_version_of_the_project() -> None:
    assert version.disagreeing() == []


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that say it."""
    for file in {one.file for one in version.found()} | {Path("CHANGELOG.md")}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_each_place_that_lags_behind_is_named_with_its_line(copy: Path) -> None:
    now, project = version.current(), copy / "pyproject.toml"
    project.write_text(project.read_text(encoding="utf-8").replace(f'"{now}"', '"9.8.7"', 1), encoding="utf-8")

    wrong = version.disagreeing(copy)

    assert [line.partition(":")[0] for line in wrong] == [
        "operator/nodeport_access/__init__.py",
        "manifests/base/deployment.yaml",
        "README.md",
        "README.md",
        "README.md",
        "docs/install.md",
        "docs/install.md",
        "docs/high-availability.md",
        "docs/monitoring.md",
        "docs/lock-down.md",
        "manifests/flux/operator.yaml",
        "manifests/flux/operator.yaml",
        "docs/gitops.md",
        "charts/nodeport-access-operator/Chart.yaml",
        "charts/nodeport-access-operator/Chart.yaml",
        "CHANGELOG.md has no heading `## [9.8.7] - DATE`",
    ]
    assert f"operator/nodeport_access/__init__.py:11 says {now}, pyproject.toml 9.8.7" in wrong


def test_one_command_changes_every_place_and_leaves_the_changelog_to_a_person(copy: Path) -> None:
    version.change("9.8.7rc1", copy)

    assert {one.version for one in version.found(copy)} == {"9.8.7rc1"}
    assert version.disagreeing(copy) == ["CHANGELOG.md has no heading `## [9.8.7rc1] - DATE`"]


def test_a_place_that_no_longer_says_it_is_not_passed_over(copy: Path) -> None:
    (copy / "docs" / "gitops.md").write_text("nothing", encoding="utf-8")

    with pytest.raises(LookupError, match=r"docs/gitops\.md does not say the version"):
        version.disagreeing(copy)


@pytest.mark.parametrize("text", ["1.0.0-rc.1", "v1.0.0", "next"])
def test_what_is_no_version_in_its_normal_form_changes_nothing(text: str, copy: Path) -> None:
    with pytest.raises(InvalidVersion):
        version.change(text, copy)

    assert {one.version for one in version.found(copy)} == {version.current()}
