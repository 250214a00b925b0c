"""sdist and wheel: the same to the byte whoever builds them, whole, and each enough to make what comes after it."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from release import dist
from tests.image.conftest import run
from tests.shipped import ROOT, pyproject, requirements

PACKAGE = ROOT / "operator" / "nodeport_access"


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    sdist, wheel = dist.build(root=repository, commit="HEAD", out=tmp_path_factory.mktemp("built"))
    return sdist, wheel


def sources() -> set[str]:
    """What is part of the package, below operator/."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "operator", cwd=ROOT, seconds=30)
    return {name.removeprefix("operator/") for name in names.splitlines() if (ROOT / name).is_file()}


def test_who_builds_the_same_commit_elsewhere_later_and_under_other_habits_gets_the_same_bytes(
    repository: Path, built: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "some" / "deeper" / "folder"
    run("git", "clone", "--quiet", repository, clone, cwd=tmp_path, seconds=60)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONHASHSEED", "17")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    before = os.umask(0o077)
    try:
        again = dist.build(root=clone, commit="HEAD", out=tmp_path / "out")
    finally:
        os.umask(before)

    assert [path.name for path in again] == [path.name for path in built]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in built]


def test_what_is_not_committed_is_no_part_of_it(repository: Path, built: tuple[Path, Path], tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run("git", "clone", "--quiet", repository, clone, cwd=tmp_path, seconds=60)
    (clone / "operator" / "nodeport_access" / "stray.py").write_text("")
    (clone / "README.md").write_text("changed")

    again = dist.build(root=clone, commit="HEAD", out=tmp_path / "out")

    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in built]


def test_the_wheel_straight_from_the_tree_is_the_one_by_way_of_the_sdist(
    repository: Path, built: tuple[Path, Path], tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    dist.export(repository, "HEAD", tree)
    epoch = str(dist.commit_time(repository, "HEAD"))
    build = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "wheels", tree)
    run(*build, cwd=tree, seconds=120, SOURCE_DATE_EPOCH=epoch)

    (wheel,) = (tmp_path / "wheels").iterdir()
    assert wheel.read_bytes() == built[1].read_bytes()


def test_the_sdist_holds_what_the_wheel_is_built_from_and_tells_nothing_of_who_packed_it(
    repository: Path, built: tuple[Path, Path]
) -> None:
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
    top = f"nodeport_access_operator-{pyproject()['project']['version']}"
    names = {member.name.removeprefix(f"{top}/") for member in members if member.isfile()}

    assert {f"operator/{name}" for name in sources()} | {"pyproject.toml", "LICENSE", "README.md"} <= names
    told = {(member.uid, member.gid, member.uname, member.gname, member.mtime) for member in members}
    assert told == {(0, 0, "", "", dist.commit_time(repository, "HEAD"))}
    assert {member.mode for member in members} <= {0o755, 0o644}


def test_the_wheel_holds_the_whole_package_and_says_what_it_is(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(metadata_name))
        entry_points = archive.read(metadata_name.replace("METADATA", "entry_points.txt")).decode()

    assert {name for name in names if ".dist-info/" not in name} == sources()
    assert {"nodeport_access/py.typed", "nodeport_access/audit/page/page.html.j2"} <= names
    project = pyproject()["project"]
    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")
    assert metadata.get_all("Requires-Dist") == [str(one) for one in requirements(group=None)]
    assert entry_points.count(" = nodeport_access.__main__:") == len(project["scripts"])


def test_sums_are_those_of_the_files(built: tuple[Path, Path], tmp_path: Path) -> None:
    for path in built:
        (tmp_path / path.name).write_bytes(path.read_bytes())

    dist.write_sums(tmp_path)
    dist.write_sums(tmp_path)

    told = run("sha256sum", "--check", "SHA256SUMS", cwd=tmp_path, seconds=30)
    assert sorted(told.splitlines()) == sorted(f"{path.name}: OK" for path in built)
