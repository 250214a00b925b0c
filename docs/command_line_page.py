"""The page of all commands, their flags and environment variables, from what click knows.

Not its business: what a command does (`nodeport_access.cli`), and how its answer is read (pages of their own).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from nodeport_access.__main__ import group
from nodeport_access.cli.program import PROGRAM

HEAD = f"""# Commands, flags and environment variables

Made by `make docs` from the program itself; `{PROGRAM} COMMAND --help` says the same. Where `kubectl-npap` is on the
`PATH`, `kubectl npap COMMAND` is the same program. A flag wins over its environment variable.

"""


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        *(f"- [`{name}`](#{PROGRAM}-{name}): {command.get_short_help_str(120)}\n" for name, command in _all()),
    ]
    for name, command in _all():
        parts.append(f"\n## {PROGRAM} {name}\n\n")
        parts += _command(name, command)
    return "".join(parts)


def _all() -> list[tuple[str, click.Command]]:
    context = click.Context(group)
    commands = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return [(name, command) for name, command in commands if command is not None and not command.hidden]


def _command(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"{PROGRAM} {name}")
    yield f"```text\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```\n\n"
    first, *rest = _paragraphs(command.help or "")
    yield first + "\n\n"
    yield from (
        f"```text\n{paragraph}\n```\n\n" if aligned else f"{paragraph}\n\n" for paragraph, aligned in _set(rest)
    )
    options = [each for each in command.get_params(context) if isinstance(each, click.Option) and not each.hidden]
    yield "| flag | environment variable | what it is |\n|---|---|---|\n"
    yield from (_row(option, context) for option in options if "--help" not in option.opts)


def _paragraphs(text: str) -> list[str]:
    return inspect.cleandoc(text).split("\n\n")


def _set(paragraphs: list[str]) -> Iterator[tuple[str, bool]]:
    """Each paragraph, and whether its lines are to stay as they are."""
    for paragraph in paragraphs:
        aligned = paragraph.startswith("\b")
        yield (paragraph.removeprefix("\b\n") if aligned else paragraph.replace("\n", " ")), aligned


def _row(option: click.Option, context: click.Context) -> str:
    names, words = option.get_help_record(context) or ("", "")
    variable = f"`{option.envvar}`" if option.envvar else ""
    return f"| `{_cell(names)}` | {variable} | {_cell(words)} |\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")
