"""What is printed: tables for people, YAML and JSON for programs, sentences to standard error.

Not the business of this module: what it is that is printed (``plan``, ``render``).
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeVar

import click

from nodeport_access.cli.terminal import may_color

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "yaml", "json")
GAP = 2


@dataclass(frozen=True, slots=True)
class Ink:
    """A text in a colour."""

    text: str
    color: str


Cell = str | Ink


@dataclass(frozen=True, slots=True)
class Output:
    """Where results go (None: standard output), in which form and whether in colour."""

    format: str
    color: bool
    file: TextIO | None = None

    def line(self, text: str = "", **style: Any) -> None:
        """One line, styled as click does it where colours are wanted."""
        click.echo(click.style(text, **style) if self.color and style else text, file=self.file, color=self.color)

    def table(self, rows: Sequence[Sequence[Cell]]) -> None:
        """Rows in columns as wide as they need; the first is the header."""
        widths = [max(len(_plain(cell)) for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            *cells, last = row
            padded = [
                self._inked(cell) + " " * (width - len(_plain(cell)) + GAP)
                for cell, width in zip(cells, widths, strict=False)
            ]
            self.line("".join([*padded, self._inked(last)]).rstrip())

    def document(self, value: Any) -> None:
        """One value as YAML or JSON."""
        self.stream([value]) if self.format == "yaml" else self.line(to_json(value))

    def stream(self, values: Iterable[Any]) -> None:
        """Values as a stream of YAML documents."""
        for number, value in enumerate(values):
            if number:
                self.line("---")
            click.echo(to_yaml(value), file=self.file, nl=False)

    def _inked(self, cell: Cell) -> str:
        return click.style(cell.text, fg=cell.color) if isinstance(cell, Ink) and self.color else _plain(cell)


def _plain(cell: Cell) -> str:
    return cell.text if isinstance(cell, Ink) else cell


def output_options(
    *, default: str, formats: Sequence[str] = FORMATS, meaning: str = "A table for people, YAML or JSON for programs."
) -> Callable[[F], F]:
    """``-o`` and ``--no-color``; the command gets them as ``output``."""

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def taking(*args: Any, output: str, no_color: bool, **rest: Any) -> Any:
            color = not no_color and may_color(is_terminal=sys.stdout.isatty(), environ=os.environ)
            return command(*args, output=Output(format=output, color=color), **rest)

        plain = click.option(
            "--no-color",
            envvar="NODEPORT_ACCESS_NO_COLOR",
            is_flag=True,
            help="Plain text; the default where the output is no terminal, or NO_COLOR is set.",
        )
        form = click.option(
            "-o",
            "--output",
            "output",
            type=click.Choice(formats),
            default=default,
            show_default=True,
            help=meaning,
        )
        return form(plain(taking))  # type: ignore[return-value]  # another signature, as with any option of click

    return decorate


def to_json(value: Any) -> str:
    """JSON that people can read too."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def to_yaml(value: Any, *, sort_keys: bool = False) -> str:
    """YAML as kubectl prints it: a line for each key, and what appears twice is written twice."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    return yaml.dump(
        value, Dumper=Dumper, sort_keys=sort_keys, default_flow_style=False, width=10_000, allow_unicode=True
    )
