"""Builds the real programs from pinned Go modules: about 20 minutes on two cores the first time.

Safe at any time: two builds at once take turns, a build that is interrupted leaves nothing behind, and a program is in
its place whole or not at all.

Not its business: whether a build is needed (`testbed.programs`).
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.failure import Failure
from testbed.processes import SupervisedProcess, tail
from testbed.progress import Progress

_MODULES = Path(__file__).with_name("programs")
_BENCH = Path(__file__).resolve().parents[1] / "bench"


class ProgramsUnavailable(Failure):
    """The real programs are neither here nor can they be built; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one program is built: its main package, and the folder under `programs/`, or `root`, whose go.mod pins it."""

    package: str
    module: str
    about: str
    stamped: bool = False
    """Whether it is told the version of Kubernetes that it is of."""
    root: Path = _MODULES

    @property
    def folder(self) -> Path:
        return self.root / self.module

    def sources(self) -> list[Path]:
        """The files that decide what is built; a module of the standard library alone has no go.sum."""
        sums = self.folder / "go.sum"
        return [self.folder / "go.mod", *([sums] if sums.exists() else ()), *sorted(self.folder.glob("*.go"))]

    def flags(self) -> tuple[str, ...]:
        """Flags of `go build`. Kubernetes is told its version, or /version reports v0.0.0-master; so is Helm."""
        stamp = "-s -w"
        if self.module == "helm":
            stamp += f" -X helm.sh/helm/v4/internal/version.version={_pinned_version(self.folder, 'helm.sh/helm/v4')}"
        if self.stamped:
            version = _pinned_version(self.folder, "k8s.io/kubernetes")
            major, minor = version.removeprefix("v").split(".")[:2]
            values = {
                "gitVersion": version,
                "gitMajor": major,
                "gitMinor": minor,
                "gitTreeState": "clean",
                "gitCommit": "unknown",
                "buildDate": "2026-01-01T00:00:00Z",
            }
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
                stamp += "".join(f" -X {package}.{name}={value}" for name, value in values.items())
        return ("-trimpath", "-ldflags", stamp)


RECIPES: Mapping[str, Recipe] = {
    "etcd": Recipe(package="go.etcd.io/etcd/server/v3", module="etcd", about="1 minute"),
    "kube-apiserver": Recipe(
        package="k8s.io/kubernetes/cmd/kube-apiserver", module="kubernetes", about="10 minutes", stamped=True
    ),
    "kube-controller-manager": Recipe(
        package="k8s.io/kubernetes/cmd/kube-controller-manager", module="kubernetes", about="3 minutes", stamped=True
    ),
    "kube-proxy": Recipe(
        package="k8s.io/kubernetes/cmd/kube-proxy", module="kubernetes", about="1 minute", stamped=True
    ),
    "policy-engine": Recipe(package=".", module="policy-engine", about="2 minutes"),
    "oracles": Recipe(package=".", module="oracles", about="2 minutes"),
    "kstatus": Recipe(package=".", module="kstatus", about="1 minute"),
    "helm": Recipe(package="helm.sh/helm/v4/cmd/helm", module="helm", about="4 minutes"),
    "krew": Recipe(package="sigs.k8s.io/krew/cmd/krew", module="krew", about="1 minute"),
    "go-operator": Recipe(package=".", module="peers/go", about="2 minutes", root=_BENCH),
    "recording-server": Recipe(package=".", module="server", about="1 minute", root=_BENCH),
}


KUBERNETES: Mapping[str, str] = {"v1.37": "kubernetes", "v1.31": "kubernetes-1.31"}
"""The control planes that there are, by what $KUBERNETES calls them: the newest, which is the default, and the oldest
that the operator supports."""


def recipe(name: str, *, environment: Mapping[str, str]) -> Recipe:
    """How a program is built for the Kubernetes that $KUBERNETES names. Raises ProgramsUnavailable where there is none
    of that name. kube-proxy is the newest's: the dataplane lab has no other."""
    wanted = environment.get("KUBERNETES") or next(iter(KUBERNETES))
    if wanted not in KUBERNETES:
        raise ProgramsUnavailable(f"KUBERNETES is {wanted!r}, and there is {' and '.join(KUBERNETES)} to choose from.")
    chosen = name in ("kube-apiserver", "kube-controller-manager")
    return replace(RECIPES[name], module=KUBERNETES[wanted]) if chosen else RECIPES[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """The Go toolchain of this machine: usable, or with the problem in words ("Go was not found")."""

    path: Path | None
    version: str
    problem: str = ""

    @property
    def usable(self) -> bool:
        return not self.problem


def find_go(*, environment: Mapping[str, str]) -> Go:
    """Look in $PATH for a Go that can build the pinned modules."""
    path = shutil.which("go", path=environment.get("PATH", ""))
    if path is None:
        return Go(path=None, version="", problem="Go was not found")
    answer = subprocess.run(
        [path, "env", "GOVERSION"], cwd="/", env=_go_environment(environment), capture_output=True, text=True
    )
    version = re.sub(r"[^\w.]+", "-", answer.stdout.strip())  # it becomes part of a folder's name
    if answer.returncode != 0 or not version:
        return Go(path=Path(path), version="", problem=f"{path} does not run: {answer.stderr.strip()}")
    if _ordered(version) < _ordered(required_go()):
        return Go(path=Path(path), version=version, problem=f"{path} is too old ({version})")
    return Go(path=Path(path), version=version)


def required_go() -> str:
    """The oldest Go that the pinned modules accept, such as "1.26.0"."""
    wanted = (_search(r"^go (\S+)$", recipe.folder) for recipe in RECIPES.values())
    return max(wanted, key=_ordered)


def build(
    places: Mapping[str, Path], *, root: Path, go: Go, environment: Mapping[str, str], progress: Progress
) -> None:
    """Build what is missing of these programs, each in its place below `root`. Raises ProgramsUnavailable."""
    root.mkdir(parents=True, exist_ok=True)
    with _turn(root / "build.lock", progress):
        missing = {name: place for name, place in places.items() if not place.exists()}  # or just built by another
        for abandoned in root.glob("*/.building-*"):  # killed outright: nobody else builds while we hold the lock
            shutil.rmtree(abandoned, ignore_errors=True)
        for number, (name, place) in enumerate(missing.items(), start=1):
            about = f"about {RECIPES[name].about} on 2 cores the first time"
            progress.step(f"building {name} ({number} of {len(missing)}; {about})")
            place.parent.mkdir(exist_ok=True)
            _build_one(name, place=place, go=go, environment=environment, progress=progress)
        if missing:
            progress.step(f"built, and kept in {root}")


def _build_one(name: str, *, place: Path, go: Go, environment: Mapping[str, str], progress: Progress) -> None:
    how = recipe(name, environment=environment)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=place.parent) as workplace:
        result, log = Path(workplace, name), Path(workplace, "log")
        begin = time.monotonic()
        compiler = SupervisedProcess(
            command=[str(go.path), "build", *how.flags(), "-o", result, how.package],
            log=log,
            environment=_go_environment(environment),
            folder=how.folder,
        )
        try:
            while (code := compiler.wait(seconds=0.5)) is None:
                progress.still(f"still building {name}, for {time.monotonic() - begin:.0f} s")
        finally:
            compiler.end()
        if code != 0:
            raise ProgramsUnavailable(f"{name} could not be built with {go.path} ({go.version}): {tail(log, lines=5)}")
        result.replace(place)


@contextlib.contextmanager
def _turn(lock: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock; the kernel gives it up with the process, however that ends."""
    with lock.open("w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waiting:
                    progress.step("another build of the same programs is running: waiting for it")
                waiting = True
                progress.still("still waiting for the other build")
                time.sleep(0.2)
            else:
                break
        yield


def _go_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's, without what would change what is built: no other toolchain, no C, no flags, no workspace."""
    fixed = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    return {**environment, **fixed}


def _pinned_version(module: Path, path: str) -> str:
    return _search(rf"^\t{re.escape(path)} (v\S+)", module)


def _search(pattern: str, module: Path) -> str:
    found = re.search(pattern, (module / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{module / 'go.mod'} has no line like {pattern}")
    return found[1]


def _ordered(version: str) -> tuple[int, ...]:
    """`go1.26.8` and `1.26` as numbers that compare; a release candidate counts as its release."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("rc")[0])[:3])
