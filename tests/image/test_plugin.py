"""The krew plugin as users get it: the real krew installs its archive, and it runs where nothing else is installed."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from nodeport_access import __version__
from plugin import build as building
from testbed.kubectl import PROGRAM as KUBECTL
from testbed.programs import TOOLS, find
from tests.shipped import ROOT, lock

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
HERE = f"linux/{MACHINES[platform.machine()]}"

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: web}
spec: {type: NodePort, selector: {app: shop}, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: nodeport-access.io/v1alpha1
kind: NodePortAccessPolicy
metadata: {name: shop, namespace: web}
spec: {serviceRef: {name: shop}, allowedCIDRs: [{cidr: 203.0.113.0/24}]}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest, with the archive for this machine beside it."""
    return building.build([HERE], url="https://downloads.example/v0/", into=tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Of a machine on which krew has installed it: with kubectl, one Python, and little else."""
    home = tmp_path_factory.mktemp("home")
    tools = home / "tools"
    tools.mkdir()
    for name in ("sh", "readlink", "dirname"):
        where = shutil.which(name)
        assert where is not None
        (tools / name).symlink_to(where)
    (tools / "kubectl").symlink_to(KUBECTL)
    # Not the one of the virtual environment, which would find what is installed there.
    (tools / "python3").symlink_to(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
    found = {"HOME": str(home), "KREW_ROOT": str(home / "krew"), "PATH": f"{home / 'krew' / 'bin'}:{tools}"}
    archive = built.parent / yaml.safe_load(built.read_text())["spec"]["platforms"][0]["uri"].rpartition("/")[2]
    krew = find(TOOLS)["krew"]
    subprocess.run(
        [krew, "install", f"--manifest={built}", f"--archive={archive}"],
        env=found,
        stdin=subprocess.DEVNULL,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return found


def run(environment: Mapping[str, str], *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env={**environment, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def test_krew_installs_what_kubectl_then_finds(environment: Mapping[str, str]) -> None:
    asked = run(environment, "kubectl", "npap", "--version")

    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.split()[-1] == __version__


def test_it_answers_without_anything_else_installed(environment: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SERVICE)

    planned = run(environment, "kubectl", "npap", "plan", "-f", tmp_path)
    audited = run(environment, "kubectl", "npap", "audit", "-f", tmp_path, "-o", "html")

    assert (planned.returncode, planned.stderr) == (0, "")
    assert "203.0.113.0/24" in planned.stdout
    assert (audited.returncode, audited.stderr) == (0, "")
    assert "<html" in audited.stdout


def test_nothing_of_the_users_own_python_gets_in_its_way(environment: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise RuntimeError('the wrong one')")

    asked = run(environment, "kubectl", "npap", "--version", PYTHONPATH=str(tmp_path))

    assert (asked.returncode, asked.stderr) == (0, "")


def test_without_a_python_that_it_was_built_for_one_sentence_says_so(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)

    asked = run(environment, "kubectl", "npap", "--version", PATH=f"{tmp_path}:{environment['PATH']}")

    assert asked.returncode != 0
    assert "kubectl npap: needs one of Python 3.13 3.12 3.11 on the PATH" in asked.stderr


def test_the_archive_holds_the_locked_versions_and_no_others(built: Path) -> None:
    with tarfile.open(next(built.parent.glob("*.tar.gz"))) as tar:
        names = tar.getnames()
        held = {name.split("/")[1] for name in names if ".dist-info/" in name}

    versions = {name.removesuffix(".dist-info").rpartition("-")[::2] for name in held}
    wanted = {(name.replace("-", "_"), str(version)) for name, (version, _) in lock("runtime.lock").items()}
    normal = {(name.lower().replace("-", "_"), version) for name, version in versions}
    assert normal == (wanted - {item for item in wanted if item[0] == "setuptools"}) | {
        ("nodeport_access_operator", __version__)
    }
    assert {"LICENSE", "kubectl-npap", "lib/kubectl-npap.py"} <= set(names)


def test_the_launcher_looks_for_every_python_that_the_project_supports() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert sorted(building.python_versions()) == [
        f"3.{minor}" for minor in range(8, 20) if f'"Programming Language :: Python :: 3.{minor}"' in text
    ]


def test_packing_the_same_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "lib").mkdir(parents=True)
        for file in ("b", "a") if name == "one" else ("a", "b"):
            (tmp_path / name / "lib" / file).write_text(file)
            os.utime(tmp_path / name / "lib" / file, (len(name), ord(file)))
    os.utime(tmp_path / "two" / "lib" / "a", (1, 1))

    assert building.packed(tmp_path / "one") == building.packed(tmp_path / "two")
