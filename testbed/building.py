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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.failure import Failure
from testbed.processes import SupervisedProcess, tail
from testbed.progress import Progress

_MODULES = Path(__file__).with_name("programs")


class ProgramsUnavailable(Failure):
    """The real programs are neither here nor can they be built; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one program is built: its main package, and the folder under `programs/` whose go.mod pins it."""

    package: str
    module: str
    about: str

    @property
    def folder(self) -> Path:
        return _MODULES / self.module

    def flags(self) -> tuple[str, ...]:
        """Flags of `go build`. Kubernetes is told its version, or /version reports v0.0.0-master."""
        stamp = "-s -w"
        if self.module == "kubernetes":
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
    "kube-apiserver": Recipe(package="k8s.io/kubernetes/cmd/kube-apiserver", module="kubernetes", about="10 minutes"),
    "kube-controller-manager": Recipe(
        package="k8s.io/kubernetes/cmd/kube-controller-manager", module="kubernetes", about="3 minutes"
    ),
}


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


def build(names: Iterable[str], *, into: Path, go: Go, environment: Mapping[str, str], progress: Progress) -> None:
    """Build what is missing of these programs in the folder `into`. Raises ProgramsUnavailable."""
    into.mkdir(parents=True, exist_ok=True)
    with _turn(into.parent / "build.lock", progress):
        missing = [name for name in names if not (into / name).exists()]  # another build may have just made them
        for abandoned in into.glob(".building-*"):  # killed outright: nobody else builds while we hold the lock
            shutil.rmtree(abandoned, ignore_errors=True)
        for number, name in enumerate(missing, start=1):
            about = f"about {RECIPES[name].about} on 2 cores the first time"
            progress.step(f"building {name} ({number} of {len(missing)}; {about})")
            _build_one(name, into=into, go=go, environment=environment, progress=progress)
        if missing:
            progress.step(f"built, and kept in {into}")


def _build_one(name: str, *, into: Path, go: Go, environment: Mapping[str, str], progress: Progress) -> None:
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory(prefix=".building-", dir=into) as workplace:
        result, log = Path(workplace, name), Path(workplace, "log")
        begin = time.monotonic()
        compiler = SupervisedProcess(
            command=[str(go.path), "build", *recipe.flags(), "-o", result, recipe.package],
            log=log,
            environment=_go_environment(environment),
            folder=recipe.folder,
        )
        try:
            while (code := compiler.wait(seconds=0.5)) is None:
                progress.still(f"still building {name}, for {time.monotonic() - begin:.0f} s")
        finally:
            compiler.end()
        if code != 0:
            raise ProgramsUnavailable(f"{name} could not be built with {go.path} ({go.version}): {tail(log, lines=5)}")
        result.replace(into / name)


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
