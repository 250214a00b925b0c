"""The version and every place that repeats it: `python -m release.version` names those that disagree with
pyproject.toml, `python -m release.version 0.2.0` changes them all.

Not its business: CHANGELOG.md's heading, which a person writes and this only looks for.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "nodeport-access-operator:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the version stands: a glob below the repository, and what stands right before and after the version."""

    glob: str
    before: str
    after: str = ""

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?m)(?P<before>{self.before})(?P<version>[0-9][0-9A-Za-z.+!-]*){self.after}")


PLACES = (
    Place(glob="pyproject.toml", before='^version = "', after='(?=")'),
    Place(glob="operator/nodeport_access/__init__.py", before='^__version__ = "', after='(?=")'),
    Place(glob="manifests/base/deployment.yaml", before=rf"image: {IMAGE}"),
    Place(glob="README.md", before=IMAGE),
    *(
        Place(glob=f"docs/{page}.md", before=IMAGE)
        for page in ("install", "high-availability", "monitoring", "lock-down")
    ),
    Place(glob="manifests/flux/operator.yaml", before="tag: v"),
    Place(glob="manifests/flux/operator.yaml", before="newTag: "),
    Place(glob="docs/gitops.md", before="rev: v"),
    # A chart is released with the operator that it installs; `version` of its own at the start of a line.
    Place(glob="charts/*/Chart.yaml", before='^version: "?', after=r'(?="?\s*$)'),
    Place(glob="charts/*/Chart.yaml", before='^appVersion: "?', after=r'(?="?\s*$)'),
)


@dataclass(frozen=True, slots=True)
class Found:
    """One version in one file; `line` counts from 1."""

    file: Path
    line: int
    version: str


def found(root: Path = ROOT) -> Iterator[Found]:
    """Every place that repeats the version. Raises LookupError where one of PLACES is not in a file that is there."""
    for place in PLACES:
        for file in sorted(root.glob(place.glob)):
            text = file.read_text(encoding="utf-8")
            matches = list(place.pattern.finditer(text))
            if not matches:
                raise LookupError(f"{file.relative_to(root)} does not say the version after {place.before!r}")
            for match in matches:
                line = text.count("\n", 0, match.start("version")) + 1
                yield Found(file.relative_to(root), line, match["version"])


def current(root: Path = ROOT) -> str:
    """The version that all others are held against."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def disagreeing(root: Path = ROOT) -> list[str]:
    """A sentence for each place that is not at the version of pyproject.toml; none where all agree."""
    version = current(root)
    wrong = [
        f"{one.file}:{one.line} says {one.version}, pyproject.toml {version}"
        for one in found(root)
        if one.version != version
    ]
    if not re.search(rf"(?m)^## \[{re.escape(version)}\] - \S", (root / "CHANGELOG.md").read_text(encoding="utf-8")):
        wrong.append(f"CHANGELOG.md has no heading `## [{version}] - DATE`")
    return wrong


def change(version: str, root: Path = ROOT) -> None:
    """Sets every place. Raises InvalidVersion for what is none, by PEP 440 and in its normal form."""
    if str(Version(version)) != version:
        raise InvalidVersion(f"write {Version(version)} in place of {version}")
    for place in PLACES:
        for file in root.glob(place.glob):
            text = file.read_text(encoding="utf-8")
            file.write_text(place.pattern.sub(rf"\g<before>{version}", text), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Exit code 1 where places disagree, 2 for what is no version."""
    if arguments:
        try:
            change(arguments[0])
        except InvalidVersion as error:
            print(f"not a version: {error}", file=sys.stderr)
            return 2
    wrong = disagreeing()
    print("\n".join(wrong or [f"{current()} everywhere"]), file=sys.stderr if wrong else sys.stdout)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
