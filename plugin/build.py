"""Builds the krew plugin: `python -m plugin.build --url URL`, an archive for each platform, and the manifest.

An archive holds the locked dependencies, hashes checked, and the project. Compiled modules carry the version of Python
in their name, so those for all versions lie side by side, and one archive does for any of them.

Not its business: what the plugin does, and where the archives are put (the caller's URL).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from nodeport_access import __version__

HERE = Path(__file__).parent
ROOT = HERE.parent

# By what krew calls a system: what a wheel for it may be called (PEP 425, PEP 600).
PLATFORMS: Mapping[str, Sequence[str]] = {
    "linux/amd64": ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "linux/arm64": ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    "darwin/amd64": ("macosx_11_0_x86_64",),
    "darwin/arm64": ("macosx_11_0_arm64",),
}
# Differ from wheel to wheel of one version, and say nothing about what is run.
_OF_A_WHEEL = re.compile(r"\.dist-info/(WHEEL$|RECORD$|REQUESTED$|INSTALLER$|direct_url\.json$|sboms/)")
# What builds the project is in the lock, and not needed by what runs.
_BUILDERS = ("setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")


def python_versions() -> Sequence[str]:
    """The versions of Python that the launcher looks for."""
    found = re.search(r'(?m)^versions="([0-9. ]+)"$', (HERE / "kubectl-npap").read_text(encoding="utf-8"))
    assert found is not None
    return found[1].split()


def build(platforms: Iterable[str], *, url: str, into: Path) -> Path:
    """Write an archive for each platform, and the manifest that says where below `url` it will be; its path."""
    into.mkdir(parents=True, exist_ok=True)
    entries = []
    for platform in platforms:
        archive = into / f"npap-{platform.replace('/', '-')}.tar.gz"
        with tempfile.TemporaryDirectory(prefix="npap-") as folder:
            stage(platform, Path(folder, "npap"), workplace=Path(folder))
            archive.write_bytes(packed(Path(folder, "npap")))
        system, _, machine = platform.partition("/")
        entries.append(
            {
                "selector": {"matchLabels": {"os": system, "arch": machine}},
                "uri": f"{url.rstrip('/')}/{archive.name}",
                "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
                "bin": "kubectl-npap",
            }
        )
    manifest = into / "npap.yaml"
    rest = yaml.safe_dump({"version": f"v{__version__}", "platforms": entries}, sort_keys=False)
    manifest.write_text(
        (HERE / "npap.yaml").read_text(encoding="utf-8") + textwrap.indent(rest, "  "), encoding="utf-8"
    )
    return manifest


def stage(platform: str, target: Path, *, workplace: Path) -> None:
    """Put into `target` what the archive for this platform holds."""
    library = target / "lib"
    for version in python_versions():
        one = workplace / version
        names = [word for name in PLATFORMS[platform] for word in ("--platform", name)]
        locked = ("--require-hashes", "--only-binary", ":all:", "--requirement", ROOT / "requirements" / "runtime.lock")
        _pip("--target", one, "--python-version", version, "--implementation", "cp", *names, *locked)
        _merge(one, library)
    project = workplace / "project"
    _pip("--target", project, "--no-build-isolation", ROOT)
    _merge(project, library)
    shutil.copy2(HERE / "kubectl-npap.py", library)
    shutil.copy2(HERE / "kubectl-npap", target)
    shutil.copy2(ROOT / "LICENSE", target)


def packed(folder: Path) -> bytes:
    """The folder's content as a tar.gz, the same bytes for the same content."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, arcname=str(path.relative_to(folder)), filter=_anonymous)
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def _merge(one: Path, library: Path) -> None:
    """Move what is in `one` into the library. Raises RuntimeError where a file is there already, and another."""
    for path in sorted(one.rglob("*")):
        name = path.relative_to(one)
        superfluous = name.parts[0].startswith((*_BUILDERS, "bin")) or "__pycache__" in name.parts
        if not path.is_file() or superfluous or _OF_A_WHEEL.search(str(name)):
            continue
        there = library / name
        if there.exists() and there.read_bytes() != path.read_bytes():
            raise RuntimeError(f"{name} is not the same for all versions of Python")
        there.parent.mkdir(parents=True, exist_ok=True)
        path.replace(there)


def _pip(*words: str | Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    subprocess.run([sys.executable, "-m", "pip", *quiet, "install", "--no-deps", "--no-compile", *words], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m plugin.build", description="Build the krew plugin.")
    parser.add_argument("--url", required=True, help="the folder from which users will download the archives")
    parser.add_argument("--platform", action="append", choices=PLATFORMS, help="only for this one; may be repeated")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="where to write them (default: dist/)")
    arguments = parser.parse_args()
    print(build(arguments.platform or PLATFORMS, url=arguments.url, into=arguments.into))
