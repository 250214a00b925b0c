"""The pages of the documentation as tests read them: their blocks of code, and in those of a terminal what is typed and
what comes of it.

Not its business: whether any of it is true, which tests ask the program and the API server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"(?ms)^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$")
ELLIPSIS = "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of code; `where` is its page and first line, for people."""

    page: Path
    where: str
    language: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A command, and the lines that the page shows below it."""

    where: str
    command: str
    shown: tuple[str, ...]


def pages() -> list[Path]:
    """Every page of the site, and what stands in the repository's root."""
    return sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The blocks of a page that are in one of these languages."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        if found["language"] in languages:
            line = text.count("\n", 0, found.start()) + 1
            lines = (each.removeprefix(found["indent"]) for each in found["text"].splitlines())
            yield Block(
                page=page,
                where=f"{page.relative_to(ROOT)}:{line}",
                language=found["language"],
                text="".join(f"{each}\n" for each in lines),
            )


def typed(block: Block) -> Iterator[Typed]:
    """The commands of a terminal's block: lines after a prompt, and those that go on with them after a backslash."""
    text = block.text.replace("\\\n", "")
    for part in re.split(r"(?m)^\$ ", text)[1:]:
        command, *shown = part.splitlines()
        yield Typed(where=block.where, command=command, shown=tuple(shown))
