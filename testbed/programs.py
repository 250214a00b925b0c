"""Where the real programs come from: $KUBEBUILDER_ASSETS, the cache of an earlier build, or a build with Go.

The pinned modules are in `testbed/programs/` (go.mod and go.sum). What was built from them is kept in the user's cache
folder, under a name made of a hash of those files and of the build flags, the system, and the Go version:

    ~/.cache/nodeport-access-testbed/3f2a9c01d7e4-linux-x86_64-go1.26.8/kube-apiserver

A machine with Go takes the folder of its own Go version. One without Go, or with one too old for the modules, takes
the folder of whichever Go version built last: the same sources, so the same programs.

Not its business: how a program is built (`testbed.building`) and run (`testbed.control_plane`).
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed import building
from testbed.building import ProgramsUnavailable
from testbed.progress import Progress

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")

__all__ = ["CONTROL_PLANE", "Programs", "ProgramsUnavailable", "find"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Programs by their names, and in words where they came from."""

    paths: Mapping[str, Path]
    origin: str

    def __getitem__(self, name: str) -> Path:
        return self.paths[name]


def find(
    names: Iterable[str] = CONTROL_PLANE,
    *,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Programs:
    """Find these programs, or build them. Says on standard error what it does as soon as that takes time.

    Raises ProgramsUnavailable, with one sentence that says what to do about it.
    """
    environment = os.environ if environment is None else environment
    names = tuple(names)
    unknown = [name for name in names if name not in building.RECIPES]
    if unknown:
        raise ValueError(f"no such program: {', '.join(unknown)}")
    if assets := environment.get("KUBEBUILDER_ASSETS"):
        return _from_assets(Path(assets), names)
    go = building.find_go(environment=environment)
    cached = _cached(environment, go_version=go.version if go.usable else None, names=names)
    if cached is not None:
        return Programs(paths={name: cached / name for name in names}, origin=f"built earlier, in {cached}")
    if not go.usable:
        raise ProgramsUnavailable(
            f"{' and '.join(_listed(names))} {'is' if len(names) == 1 else 'are'} not here yet, and {go.problem}: "
            f"install Go {building.required_go()} or newer (https://go.dev/dl), "
            "or set KUBEBUILDER_ASSETS to a folder that holds them."
        )
    folder = _folder(environment, go_version=go.version)
    building.build(names, into=folder, go=go, environment=environment, progress=progress or Progress())
    return Programs(paths={name: folder / name for name in names}, origin=f"built now, in {folder}")


def cache_root(environment: Mapping[str, str]) -> Path:
    """Where builds are kept (XDG Base Directory Specification: an unset or relative value means ~/.cache)."""
    configured = Path(environment.get("XDG_CACHE_HOME", ""))
    base = configured if configured.is_absolute() else Path(environment.get("HOME") or Path.home()) / ".cache"
    return base / "nodeport-access-testbed"


def _from_assets(folder: Path, names: tuple[str, ...]) -> Programs:
    missing = [name for name in names if not os.access(folder / name, os.X_OK)]
    if missing:
        raise ProgramsUnavailable(
            f"KUBEBUILDER_ASSETS is {folder}, but {' and '.join(_listed(missing))} cannot be run from there: "
            "add what is missing, or unset the variable to have the programs built with Go."
        )
    folder = folder.resolve()
    return Programs(paths={name: folder / name for name in names}, origin=f"from KUBEBUILDER_ASSETS, {folder}")


def _cached(environment: Mapping[str, str], *, go_version: str | None, names: tuple[str, ...]) -> Path | None:
    if go_version is not None:
        candidates = [_folder(environment, go_version=go_version)]
    else:
        built = cache_root(environment).glob(f"{_sources()}-*")
        candidates = sorted(built, key=lambda folder: folder.stat().st_mtime, reverse=True)
    return next((folder for folder in candidates if all(os.access(folder / name, os.X_OK) for name in names)), None)


def _folder(environment: Mapping[str, str], *, go_version: str) -> Path:
    return cache_root(environment) / f"{_sources()}-{go_version}"


def _sources() -> str:
    """What the programs are made of, without the compiler: it must be known where there is none."""
    digest = hashlib.sha256()
    for recipe in building.RECIPES.values():
        for part in (*recipe.flags(), *(recipe.folder.joinpath(name).read_text() for name in ("go.mod", "go.sum"))):
            digest.update(part.encode() + b"\0")
    return f"{digest.hexdigest()[:12]}-{platform.system().lower()}-{platform.machine()}"


def _listed(names: Iterable[str]) -> list[str]:
    *first, last = names
    return [", ".join(first), last] if first else [last]
