"""What ``audit`` and ``explain`` look at: objects of files as they are once the operator has done its work, or
as they are in a cluster.

Not the business of this module: how objects are read (``options``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodeport_access.cli.options import Source, inventory_of
from nodeport_access.cli.terminal import Progress

if TYPE_CHECKING:
    from nodeport_access.inventory import Inventory

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The objects, and what sentences call where they are from."""

    inventory: Inventory
    source: str


def planned_option(command: F) -> F:
    """``--planned/--as-is``; the command gets it as ``planned``, None where it is not given."""
    return click.option(
        "--planned/--as-is",
        "planned",
        default=None,
        help="Look at the objects as they are once the operator has done its work (the default with -f), or as they"
        " stand (the default on a cluster).",
    )(command)


def subject_of(source: Source, *, planned: bool | None, now: datetime) -> Subject:
    """What to look at. Raises ClickException."""
    from nodeport_access.inventory import converged

    inventory = inventory_of(source)
    if not (bool(source.files) if planned is None else planned):
        return Subject(inventory=inventory, source=f"{_called(source)}, as it is")
    with Progress() as progress:
        progress.say("working out what the operator does")
        inventory = converged(inventory, now).inventory
    return Subject(inventory=inventory, source=f"{_called(source)}, once the operator has done its work")


def _called(source: Source) -> str:
    if source.files:
        return ", ".join("standard input" if path == "-" else path for path in source.files)
    where = f"namespace {source.namespace}" if source.namespace else "its own namespace"
    name = f"context {source.context}" if source.context else "the current context"
    return f"{name}, {'all namespaces' if source.all_namespaces else where}"
