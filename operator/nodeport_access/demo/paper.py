"""What a page of the demo looks like: headlines, prose, tables, YAML, in 100 columns; in colour where it is wanted.

Not the business of this module: what is said (``show``).
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import yaml

WIDTH = 100
INDENT = 3
GAP = 2


@dataclass(frozen=True, slots=True)
class Ink:
    """A text in a colour."""

    text: str
    color: str


Cell = str | Ink


FLOW = 60
"""Columns that a mapping may take to stand on one line."""


class _Dumper(yaml.SafeDumper):
    """What appears twice is written twice, and a mapping that would not fit a line gets a line for each key."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = node.flow_style and len(str(mapping)) <= FLOW
        return node


class Paper:
    """Writes line by line; ``write`` gets each without its end."""

    def __init__(self, *, write: Callable[[str], None], color: bool) -> None:
        self._write = write
        self._color = color

    def line(self, text: str = "", *, indent: int = INDENT) -> None:
        """One line as it is."""
        self._write(f"{' ' * indent}{text}".rstrip())

    def headline(self, text: str) -> None:
        """Begins a step."""
        self.line()
        self._write(self._styled(text, bold=True))
        self.line()

    def command(self, text: str) -> None:
        """What somebody types."""
        self.line(self._styled(f"$ {text}", fg="cyan"))

    def prose(self, text: str) -> None:
        """A paragraph, wrapped."""
        for line in textwrap.wrap(text, WIDTH - INDENT, break_long_words=False, break_on_hyphens=False):
            self.line(line)

    def table(self, rows: Sequence[Sequence[Cell]], *, header: bool = True, wrap_last: bool = False) -> None:
        """Rows in columns as wide as they need; ``wrap_last`` wraps the last column to what is left of the line."""
        widths = [max(map(len, map(_plain, column))) for column in zip(*rows, strict=True)]
        left = INDENT + sum(width + GAP for width in widths[:-1])
        for number, row in enumerate(rows):
            *cells, last = row
            start = "".join(self._padded(cell, width) for cell, width in zip(cells, widths, strict=False))
            lines = textwrap.wrap(_plain(last), WIDTH - left) if wrap_last else [self._inked(last)]
            text = (start + (lines[0] if lines else "")).rstrip()
            self.line(self._styled(text, dim=True) if header and not number else text)
            for line in lines[1:]:
                self.line(line, indent=left)

    def yaml(self, body: Any, *, indent: int = INDENT) -> None:
        """An object, its innermost mappings and lists on one line."""
        text = yaml.dump(body, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=WIDTH - indent)
        for line in text.splitlines():
            self.line(line, indent=indent)

    def _padded(self, cell: Cell, width: int) -> str:
        return self._inked(cell) + " " * (width - len(_plain(cell)) + GAP)

    def _inked(self, cell: Cell) -> str:
        return self._styled(cell.text, fg=cell.color) if isinstance(cell, Ink) else cell

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._color else text


def _plain(cell: Cell) -> str:
    return cell.text if isinstance(cell, Ink) else cell
