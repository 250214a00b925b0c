"""``nodeport-access demo``: its flags, and what a scenario that cannot be used ends in.

Not the business of this module: the story (``show``).
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from nodeport_access.cli.terminal import may_color


@click.command("demo")
@click.option(
    "--scenario",
    envvar="NODEPORT_ACCESS_SCENARIO",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of YAML with the cluster to show; without it the one that comes along, which you may copy and edit.",
)
@click.option(
    "--no-color",
    envvar="NODEPORT_ACCESS_NO_COLOR",
    is_flag=True,
    help="Plain text; the default where the output is no terminal.",
)
def command(scenario: Path | None, no_color: bool) -> None:
    """Show what the operator does, on a cluster in memory: no Kubernetes, no root."""
    from nodeport_access.demo.folder import PACKAGED, ScenarioError, read
    from nodeport_access.demo.paper import Paper
    from nodeport_access.demo.show import show

    folder = scenario or _relative(PACKAGED)
    try:
        read_scenario = read(folder)
    except ScenarioError as error:
        raise click.ClickException(str(error)) from error
    color = not no_color and may_color(is_terminal=sys.stdout.isatty(), environ=os.environ)
    paper = Paper(write=lambda line: click.echo(line, color=color), color=color)
    asyncio.run(show(read_scenario, start=datetime.now(UTC), paper=paper, origin=str(folder)))


def _relative(path: Path) -> Path:
    """The path as somebody in the current folder would type it, where it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
