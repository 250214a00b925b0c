"""What somebody knows of a cluster that no object in it tells: ``--cni``, ``--proxy-mode``, ``--assume``.

Not the business of this module: what an answer does to a prediction (``evaluate``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from nodeport_access.evaluate import Unknown
from nodeport_access.evaluate.cni import CNIS, settle
from nodeport_access.evaluate.unknowns import Proxy

F = TypeVar("F", bound=Callable[..., Any])

_KEYS = {unknown.key: unknown for unknown in Unknown if unknown.can_be_known}


def knowledge_options(command: F) -> F:
    """The three flags; the command gets what they come to as ``known``."""

    @functools.wraps(command)
    def taking(*args: Any, cni: str | None, proxy_mode: str | None, assume: tuple[str, ...], **rest: Any) -> Any:
        try:
            known = settle(cni=cni or "", proxy_mode=proxy_mode or "", assumptions=tuple(_assumptions(assume)))
        except ValueError as error:
            raise click.UsageError(f"--assume: {error}.") from error
        return command(*args, known=known, **rest)

    for option in reversed(_OPTIONS):
        taking = option(taking)
    return taking  # type: ignore[return-value]  # as any decorator of click: another signature, the same use


class _Assumption(click.ParamType[str]):
    """KEY=VALUE, which a shell can complete."""

    name = "KEY=VALUE"

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        spelled = (f"{key}={option}" for key, unknown in _KEYS.items() for option in unknown.options)
        return [CompletionItem(text) for text in spelled if text.startswith(incomplete)]


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--cni",
        type=click.Choice([cni.name for cni in CNIS]),
        help="The cluster's CNI: settles what is known of it.",
    ),
    click.option(
        "--proxy-mode", type=click.Choice([str(mode) for mode in Proxy]), help="Which proxy serves node ports."
    ),
    click.option(
        "--assume",
        type=_Assumption(),
        metavar="KEY=VALUE",
        multiple=True,
        help="What you know besides; may be given more than once, and wins over --cni and --proxy-mode. Keys: "
        + "; ".join(f"{key} ({', '.join(unknown.options)})" for key, unknown in _KEYS.items())
        + ".",
    ),
)


def _assumptions(texts: tuple[str, ...]) -> Iterator[tuple[Unknown, str]]:
    for text in texts:
        key, equals, answer = text.partition("=")
        if not equals:
            raise click.UsageError(f"--assume: {text!r} is not KEY=VALUE, such as placement=own-node.")
        if key not in _KEYS:
            raise click.UsageError(f"--assume: {key!r} is none of the keys {', '.join(_KEYS)}.")
        yield _KEYS[key], answer
