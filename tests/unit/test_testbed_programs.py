"""The real programs: from KUBEBUILDER_ASSETS, from the cache, or built; and one sentence where there is no way.

The build itself is played by a script called `go`: what is tested is everything around it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed import building, programs
from testbed.processes import ProcessIdentity
from testbed.programs import CONTROL_PLANE, TOOLS, ProgramsUnavailable, find, unavailable, unavailable_assets
from testbed.progress import Progress
from testbed.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]

GO = """\
#!/bin/sh
case "$1" in
    env) echo "$GO_VERSION" ;;
    build)
        while [ "$1" != -o ]; do shift; done
        echo "$(basename "$2") $$" >> "$GO_CALLS"
        [ -z "$GO_FAILS" ] || { echo 'cannot find module' >&2; exit 1; }
        printf '#!/bin/' > "$2"
        sleep "$GO_SECONDS"
        printf '#!/bin/sh\\n' > "$2"
        chmod +x "$2" ;;
esac
"""


class Machine:
    """An environment in which only its own Go and its own cache exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        for tool in ("basename", "chmod", "sleep"):
            where = shutil.which(tool)
            assert where is not None
            (folder / "bin" / tool).symlink_to(where)
        self.environment = {
            "PATH": str(folder / "bin"),  # not /usr/bin, where this machine may have a Go
            "XDG_CACHE_HOME": str(folder / "cache"),
            "GO_VERSION": "go1.99.1",
            "GO_SECONDS": "0",
            "GO_FAILS": "",
            "GO_CALLS": str(self.calls),
        }

    def install_go(self) -> None:
        go = self.folder / "bin/go"
        go.write_text(GO)
        go.chmod(0o755)

    def remove_go(self) -> None:
        (self.folder / "bin/go").unlink()

    def built(self) -> list[str]:
        return [line.split()[0] for line in self.calls.read_text().splitlines()] if self.calls.exists() else []

    def cached(self) -> list[str]:
        return sorted(str(path.name) for path in (self.folder / "cache").rglob("*") if path.is_file())

    def start_build(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "testbed", "build"],
            cwd=ROOT,
            env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def progress(said: list[str]) -> Progress:
    return Progress(say=said.append, monotonic=lambda: 0.0)


def test_assets_are_taken_before_anything_else(machine: Machine, tmp_path: Path) -> None:
    machine.install_go()
    for name in CONTROL_PLANE:
        (tmp_path / name).touch(mode=0o755)

    found = find(environment={**machine.environment, "KUBEBUILDER_ASSETS": str(tmp_path)})

    assert found["etcd"] == tmp_path / "etcd"
    assert machine.built() == []


def test_what_is_missing_among_the_assets_is_named(machine: Machine, tmp_path: Path) -> None:
    machine.install_go()
    (tmp_path / "etcd").touch(mode=0o755)
    (tmp_path / "kube-apiserver").touch(mode=0o644)

    with pytest.raises(ProgramsUnavailable) as refused:
        find(environment={**machine.environment, "KUBEBUILDER_ASSETS": str(tmp_path)})

    assert "kube-apiserver and kube-controller-manager cannot be run from there" in str(refused.value)
    assert machine.built() == []


def test_helm_and_krew_are_never_among_the_assets(machine: Machine, tmp_path: Path, progress: Progress) -> None:
    machine.install_go()
    (tmp_path / "helm").touch(mode=0o755)
    environment = {**machine.environment, "KUBEBUILDER_ASSETS": str(tmp_path)}

    assert unavailable(TOOLS, environment=environment) is None
    assert find(TOOLS, environment=environment, progress=progress)["helm"] != tmp_path / "helm"
    assert machine.built() == list(TOOLS)


def test_assets_without_the_programs_of_the_lab_are_a_reason_not_to_run_it(tmp_path: Path) -> None:
    for name in CONTROL_PLANE:
        (tmp_path / name).touch(mode=0o755)
    environment = {"KUBEBUILDER_ASSETS": str(tmp_path)}

    assert unavailable_assets(CONTROL_PLANE, environment=environment) is None
    assert "kube-proxy cannot be run" in str(unavailable_assets(["kube-proxy"], environment=environment))
    assert unavailable_assets(["kube-proxy"], environment={}) is None


def test_without_go_cache_and_assets_one_sentence_says_what_to_install(machine: Machine) -> None:
    with machine.start_build() as build:
        output, errors = build.communicate(timeout=10)

    assert build.returncode == 1
    assert output == ""
    assert len(errors.splitlines()) == 1
    assert "Go was not found: install Go 1.26.0 or newer" in errors
    assert "or set KUBEBUILDER_ASSETS" in errors


def test_a_go_that_is_too_old_counts_as_none(machine: Machine, progress: Progress) -> None:
    machine.install_go()
    machine.environment["GO_VERSION"] = "go1.19.8"

    with pytest.raises(ProgramsUnavailable, match=r"is too old \(go1\.19\.8\): install Go 1\.26"):
        find(environment=machine.environment, progress=progress)


def test_what_was_built_is_not_built_again(machine: Machine, progress: Progress, said: list[str]) -> None:
    machine.install_go()

    first = find(environment=machine.environment, progress=progress)
    second = find(environment=machine.environment, progress=progress)

    assert machine.built() == list(CONTROL_PLANE)
    assert second.paths == first.paths
    assert all(os.access(path, os.X_OK) for path in second.paths.values())
    assert [line.partition(" (")[0] for line in said[:3]] == [f"[00:00] building {name}" for name in CONTROL_PLANE]


def test_only_what_is_asked_for_and_missing_is_built(machine: Machine, progress: Progress) -> None:
    machine.install_go()

    find(["etcd"], environment=machine.environment, progress=progress)
    find(["etcd", "kube-apiserver"], environment=machine.environment, progress=progress)

    assert machine.built() == ["etcd", "kube-apiserver"]


def test_another_go_builds_again_beside_the_first(machine: Machine, progress: Progress) -> None:
    machine.install_go()
    first = find(["etcd"], environment=machine.environment, progress=progress)

    machine.environment["GO_VERSION"] = "go1.99.2"
    second = find(["etcd"], environment=machine.environment, progress=progress)

    assert machine.built() == ["etcd", "etcd"]
    assert first["etcd"] != second["etcd"]
    assert first["etcd"].exists()


@pytest.mark.parametrize("go", ["none", "go1.19.8"])
def test_what_was_built_is_found_without_a_go_that_could_build_it(
    go: str, machine: Machine, progress: Progress
) -> None:
    machine.install_go()
    built = find(environment=machine.environment, progress=progress)
    if go == "none":
        machine.remove_go()
    machine.environment["GO_VERSION"] = go

    assert find(environment=machine.environment, progress=progress).paths == built.paths


def test_whether_a_build_is_possible_is_told_without_one(machine: Machine) -> None:
    reason = unavailable(["etcd"], environment=machine.environment)
    assert reason is not None
    assert "etcd is not here yet, and Go was not found" in reason

    machine.install_go()
    assert unavailable(["etcd"], environment=machine.environment) is None
    assert machine.built() == []

    machine.environment["KUBEBUILDER_ASSETS"] = str(machine.folder)
    reason = unavailable(["etcd"], environment=machine.environment)
    assert reason is not None
    assert "etcd cannot be run from there" in reason


def test_other_sources_are_another_build(
    machine: Machine, progress: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install_go()
    first = find(["etcd"], environment=machine.environment, progress=progress)
    changed = tmp_path / "etcd"
    changed.mkdir()
    (changed / "go.mod").write_text((building.RECIPES["etcd"].folder / "go.mod").read_text())
    (changed / "go.sum").write_text("another release\n")
    monkeypatch.setattr(building, "RECIPES", {"etcd": building.Recipe(package="x", module=str(changed), about="")})

    assert find(["etcd"], environment=machine.environment, progress=progress)["etcd"] != first["etcd"]


def test_a_change_of_one_module_leaves_the_programs_of_the_others(
    machine: Machine, progress: Progress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.install_go()
    names = ["etcd", "policy-engine"]
    first = find(names, environment=machine.environment, progress=progress)
    engine = building.RECIPES["policy-engine"]
    changed = shutil.copytree(engine.folder, tmp_path / "policy-engine")
    (changed / "main.go").write_text("package main\n")
    recipe = building.Recipe(package=".", module=str(changed), about="")
    monkeypatch.setattr(building, "RECIPES", {**building.RECIPES, "policy-engine": recipe})

    second = find(names, environment=machine.environment, progress=progress)

    assert second["etcd"] == first["etcd"]
    assert second["policy-engine"] != first["policy-engine"]
    assert machine.built() == ["etcd", "policy-engine", "policy-engine"]


def test_a_build_that_fails_says_what_go_said_and_leaves_nothing(machine: Machine, progress: Progress) -> None:
    machine.install_go()
    machine.environment["GO_FAILS"] = "yes"

    with pytest.raises(ProgramsUnavailable, match=r"(?s)etcd could not be built .*cannot find module"):
        find(environment=machine.environment, progress=progress)

    assert machine.cached() == ["build.lock"]


def test_two_builds_at_once_take_turns_and_the_second_finds_all_done(machine: Machine) -> None:
    machine.install_go()
    machine.environment["GO_SECONDS"] = "0.5"

    with machine.start_build() as first:
        wait_for(machine.built, seconds=10, what="the first build to begin")
        with machine.start_build() as second:
            _, first_said = first.communicate(timeout=20)
            _, second_said = second.communicate(timeout=20)

    assert (first.returncode, second.returncode) == (0, 0)
    assert machine.built() == [*CONTROL_PLANE, *TOOLS]
    assert "another build of the same programs is running" in second_said
    assert "another build" not in first_said


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_ends_go_too_and_leaves_no_partial_program(end: signal.Signals, machine: Machine) -> None:
    machine.install_go()
    machine.environment["GO_SECONDS"] = "60"
    with machine.start_build() as build:
        wait_for(machine.built, seconds=10, what="the build to begin")
        compiler = ProcessIdentity.of(int(machine.calls.read_text().split()[1]))
        assert compiler is not None

        build.send_signal(end)
        build.communicate(timeout=10)

    assert build.returncode == (130 if end == signal.SIGINT else -end)
    assert compiler.wait(seconds=10)
    machine.environment["GO_SECONDS"] = "0"
    with machine.start_build() as again:
        again.communicate(timeout=10)
    assert again.returncode == 0
    assert machine.cached() == sorted(["build.lock", *CONTROL_PLANE, *TOOLS])


def test_kubernetes_is_told_the_version_that_is_pinned() -> None:
    flags = building.RECIPES["kube-apiserver"].flags()

    go_mod = (building.RECIPES["kube-apiserver"].folder / "go.mod").read_text()
    stamps = [word.partition("=")[2] for word in flags[-1].split() if ".gitVersion=" in word]
    assert len(stamps) == 2
    assert all(f"k8s.io/kubernetes {stamp} " in go_mod for stamp in stamps)


@pytest.mark.parametrize("wanted", building.KUBERNETES)
def test_the_control_plane_is_of_the_kubernetes_that_was_asked_for(wanted: str) -> None:
    for name in ("kube-apiserver", "kube-controller-manager"):
        recipe = building.recipe(name, environment={"KUBERNETES": wanted})
        assert f"k8s.io/component-base/version.gitVersion={wanted}." in recipe.flags()[-1]
    assert building.recipe("etcd", environment={"KUBERNETES": wanted}) == building.RECIPES["etcd"]


def test_each_kubernetes_is_kept_in_a_place_of_its_own(machine: Machine, progress: Progress) -> None:
    machine.install_go()
    newest = find(environment=machine.environment, progress=progress)
    oldest = find(environment={**machine.environment, "KUBERNETES": "v1.31"}, progress=progress)
    again = find(environment={**machine.environment, "KUBERNETES": ""}, progress=progress)

    assert oldest["kube-apiserver"] != newest["kube-apiserver"] == again["kube-apiserver"]
    assert oldest["etcd"] == newest["etcd"]
    assert sorted(machine.built()) == sorted([*CONTROL_PLANE, "kube-apiserver", "kube-controller-manager"])


def test_a_kubernetes_that_there_is_not_is_refused_with_those_that_there_are(machine: Machine) -> None:
    with machine.start_build({"KUBERNETES": "v1.12"}) as build:
        _, errors = build.communicate(timeout=10)

    assert build.returncode == 1
    assert errors == f"KUBERNETES is 'v1.12', and there is {' and '.join(building.KUBERNETES)} to choose from.\n"


def test_assets_and_a_kubernetes_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ProgramsUnavailable, match="unset one of the two"):
        find(environment={"KUBEBUILDER_ASSETS": str(tmp_path), "KUBERNETES": "v1.31"})


def test_helm_is_told_the_version_that_is_pinned() -> None:
    recipe = building.RECIPES["helm"]

    stamp = recipe.flags()[-1].rpartition(".version=")[2]
    assert f"helm.sh/helm/v4 {stamp} " in (recipe.folder / "go.mod").read_text()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/home/jane"}, "/home/jane/.cache"),
        ({"HOME": "/home/jane", "XDG_CACHE_HOME": ""}, "/home/jane/.cache"),
        ({"HOME": "/home/jane", "XDG_CACHE_HOME": "relative"}, "/home/jane/.cache"),
        ({"HOME": "/home/jane", "XDG_CACHE_HOME": "/var/cache/jane"}, "/var/cache/jane"),
    ],
)
def test_the_cache_is_where_users_keep_theirs(environment: Mapping[str, str], folder: str) -> None:
    assert programs.cache_root(environment) == Path(folder) / "nodeport-access-testbed"


def test_a_step_that_takes_long_is_heard_of_at_least_once_a_minute(said: list[str]) -> None:
    now = 0.0
    progress = Progress(say=said.append, monotonic=lambda: now)
    progress.step("building")
    while now < 200:
        now += 0.5
        progress.still("still building")
    progress.step("built")

    times = [60 * int(line[1:3]) + int(line[4:6]) for line in said]
    assert times[-1] == 200
    assert all(5 < later - earlier <= 60 for earlier, later in itertools.pairwise(times))
