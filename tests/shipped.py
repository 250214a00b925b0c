"""What is shipped, as the files say that tell the tools: pyproject.toml, the locks and the Dockerfile."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(*, group: str | None) -> list[Requirement]:
    """What pyproject.toml asks for: the project's own dependencies, or a group's, included groups and all."""
    document = pyproject()
    if group is None:
        return [Requirement(text) for text in document["project"]["dependencies"]]
    found = []
    for entry in document["dependency-groups"][group]:
        found += requirements(group=entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


def lock(name: str) -> dict[str, tuple[Version, int]]:
    """Version and number of hashes by distribution."""
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    found: dict[str, tuple[Version, int]] = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text)):
        pin = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", entry)
        assert pin, f"{name} holds something else than exact versions: {entry!r}"
        found[canonicalize_name(pin[1])] = (Version(pin[2]), entry.count("--hash=sha256:"))
    return found


def copied_by_the_dockerfile() -> list[tuple[str, str]]:
    """Source and destination of every COPY from the build context."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = (line.split()[1:] for line in text.splitlines() if re.match(r"COPY (?!--from)", line))
    return [(source, words[-1]) for words in lines for source in words[:-1]]
