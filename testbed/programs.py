"""Where the real programs come from: $KUBEBUILDER_ASSETS, the cache of an earlier build, or a build with Go.

The pinned modules are in `testbed/programs/`. What was built from them is kept in the user's cache folder, a folder
for each module, under a name made of a hash of its files and of the build flags, the system, and the Go version:

    ~/.cache/nodeport-access-testbed/kubernetes-3f2a9c01d7e4-linux-x86_64-go1.26.8/kube-apiserver

A machine with Go takes what its own Go version built. One without Go, or with one too old for the modules, takes what
whichever Go version built last: the same sources, so the same programs.

$KUBERNETES chooses between the control planes that can be built (`building.KUBERNETES`): the newest without it.

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
DATAPLANE = ("kube-proxy", "policy-engine")
ORACLES = ("oracles",)
TOOLS = ("helm", "krew", "kstatus")
PEERS = ("go-operator",)
RECORDING = ("recording-server",)

__all__ = [
    "CONTROL_PLANE",
    "DATAPLANE",
    "ORACLES",
    "PEERS",
    "RECORDING",
    "TOOLS",
    "Programs",
    "ProgramsUnavailable",
    "find",
]


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
    if assets := _assets(names, environment):
        if environment.get("KUBERNETES"):
            raise ProgramsUnavailable(
                "KUBEBUILDER_ASSETS and KUBERNETES both say which programs to take: unset one of the two."
            )
        return _from_assets(assets, names)
    go, here, missing = _here_or_to_build(names, environment)
    root = cache_root(environment)
    if not missing:
        return Programs(paths=here, origin=f"built earlier, in {root}")
    built = {name: _place(environment, go_version=go.version, name=name) for name in missing}
    building.build(built, root=root, go=go, environment=environment, progress=progress or Progress())
    return Programs(paths={**here, **built}, origin=f"built now, in {root}")


def unavailable(names: Iterable[str], *, environment: Mapping[str, str]) -> str | None:
    """Why these can neither be found nor built here, as far as that shows before a build; None if they can."""
    names = tuple(names)
    if _assets(names, environment):
        return unavailable_assets(names, environment=environment)
    try:
        _here_or_to_build(names, environment)
    except ProgramsUnavailable as reason:
        return str(reason)
    return None


def unavailable_assets(names: Iterable[str], *, environment: Mapping[str, str]) -> str | None:
    """Why $KUBEBUILDER_ASSETS, where it is set, does not have these; None if it has, or is not set."""
    names = tuple(names)
    try:
        if assets := _assets(names, environment):
            _from_assets(assets, names)
    except ProgramsUnavailable as reason:
        return str(reason)
    return None


def _here_or_to_build(
    names: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[building.Go, dict[str, Path], list[str]]:
    """This machine's Go, what of these is in the cache, and what that Go must build. Raises ProgramsUnavailable."""
    go = building.find_go(environment=environment)
    version = go.version if go.usable else None
    cached = {name: _cached(environment, go_version=version, name=name) for name in names}
    here = {name: path for name, path in cached.items() if path is not None}
    missing = [name for name in names if name not in here]
    if missing and not go.usable:
        raise ProgramsUnavailable(
            f"{' and '.join(_listed(missing))} {'is' if len(missing) == 1 else 'are'} not here yet, and {go.problem}: "
            f"install Go {building.required_go()} or newer (https://go.dev/dl), "
            "or set KUBEBUILDER_ASSETS to a folder that holds them."
        )
    return go, here, missing


def cache_root(environment: Mapping[str, str]) -> Path:
    """Where builds are kept (XDG Base Directory Specification: an unset or relative value means ~/.cache)."""
    configured = Path(environment.get("XDG_CACHE_HOME", ""))
    base = configured if configured.is_absolute() else Path(environment.get("HOME") or Path.home()) / ".cache"
    return base / "nodeport-access-testbed"


def _assets(names: tuple[str, ...], environment: Mapping[str, str]) -> Path | None:
    """$KUBEBUILDER_ASSETS where it counts: other tools put a cluster's programs there, and nothing else."""
    assets = environment.get("KUBEBUILDER_ASSETS")
    return Path(assets) if assets and not set(names) <= set(TOOLS) else None


def _from_assets(folder: Path, names: tuple[str, ...]) -> Programs:
    missing = [name for name in names if not os.access(folder / name, os.X_OK)]
    if missing:
        raise ProgramsUnavailable(
            f"KUBEBUILDER_ASSETS is {folder}, but {' and '.join(_listed(missing))} cannot be run from there: "
            "add what is missing, or unset the variable to have the programs built with Go."
        )
    folder = folder.resolve()
    return Programs(paths={name: folder / name for name in names}, origin=f"from KUBEBUILDER_ASSETS, {folder}")


def _cached(environment: Mapping[str, str], *, go_version: str | None, name: str) -> Path | None:
    if go_version is not None:
        candidates = [_place(environment, go_version=go_version, name=name)]
    else:
        built = cache_root(environment).glob(f"{_sources(environment, name=name)}-*/{name}")
        candidates = sorted(built, key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


def _place(environment: Mapping[str, str], *, go_version: str, name: str) -> Path:
    return cache_root(environment) / f"{_sources(environment, name=name)}-{go_version}" / name


def _sources(environment: Mapping[str, str], *, name: str) -> str:
    """What a program is made of, without the compiler: it must be known where there is none."""
    recipe = building.recipe(name, environment=environment)
    digest = hashlib.sha256()
    for part in (*recipe.flags(), *(path.read_text() for path in recipe.sources())):
        digest.update(part.encode() + b"\0")
    system = f"{platform.system().lower()}-{platform.machine()}"
    return f"{recipe.folder.name}-{digest.hexdigest()[:12]}-{system}"


def _listed(names: Iterable[str]) -> list[str]:
    *first, last = names
    return [", ".join(first), last] if first else [last]
