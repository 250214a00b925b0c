"""The entry point: the command line, under whichever name it was called, and what wrong use of it ends in.

Every command imports what it needs when it runs, so that help and completion take no time. Not the business of this
module: what any of the commands does.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from nodeport_access import __version__, logs
from nodeport_access.cli.program import COMPLETION_VARIABLE, WRONG, program_name
from nodeport_access.settings import BindAddress, Settings, parse_bind_address, parse_namespace


def main() -> None:
    """Runs the command line; wrong use and wrong configuration end in one sentence and exit code 2."""
    program = program_name(sys.argv[0])
    try:
        code = group.main(prog_name=program, complete_var=COMPLETION_VARIABLE, standalone_mode=False)
    except click.ClickException as error:
        sys.stderr.write(f"{program}: {error.format_message()}\n")
        sys.exit(WRONG)
    except click.Abort:
        sys.exit(130)
    sys.exit(code or 0)


def complete_for_kubectl() -> None:
    """The program ``kubectl_complete-npap``, by which kubectl completes the plugin."""
    from nodeport_access.cli.completion import answer_to_kubectl

    click.echo(answer_to_kubectl(group, sys.argv[1:]))


class _BindAddress(click.ParamType[BindAddress]):
    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BindAddress:
        try:
            return value if isinstance(value, BindAddress) else parse_bind_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Namespace(click.ParamType[str]):
    name = "NS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_namespace(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _each_once(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Two watches of one namespace would hear everything twice."""
    return tuple(dict.fromkeys(values))


class _Group(click.Group):
    """``run``, and what is imported only where another command, or the list of them, is asked for."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or _others().get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_others()]


def _others() -> dict[str, click.Command]:
    from nodeport_access import demo
    from nodeport_access.cli.commands import COMMANDS

    return {str(command.name): command for command in (*COMMANDS, demo.command)}


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__)
def group() -> None:
    """Makes NodePort Services reachable only from the addresses you name."""


@group.command()
@click.option(
    "--kubeconfig",
    envvar="NODEPORT_ACCESS_KUBECONFIG",
    metavar="FILE",
    help="Kubeconfig to use; without it $KUBECONFIG, then the pod's service account.",
)
@click.option(
    "--context",
    envvar="NODEPORT_ACCESS_CONTEXT",
    metavar="NAME",
    help="Context of the kubeconfig; without it its current context.",
)
@click.option(
    "--namespace",
    "namespaces",
    envvar="NODEPORT_ACCESS_NAMESPACE",
    type=_Namespace(),
    multiple=True,
    callback=_each_once,
    help="Serve this namespace only, for which Roles suffice; may be given more than once. Without it all of them.",
)
@click.option(
    "--metrics-bind-address",
    envvar="NODEPORT_ACCESS_METRICS_BIND_ADDRESS",
    type=_BindAddress(),
    default="0.0.0.0:8080",
    show_default=True,
    help="Where /metrics is served.",
)
@click.option(
    "--health-bind-address",
    envvar="NODEPORT_ACCESS_HEALTH_BIND_ADDRESS",
    type=_BindAddress(),
    default="0.0.0.0:8081",
    show_default=True,
    help="Where /healthz and /readyz are served.",
)
@click.option(
    "--leader-elect",
    envvar="NODEPORT_ACCESS_LEADER_ELECT",
    is_flag=True,
    help="Of several replicas, have one lead and the others stand by, by a Lease.",
)
@click.option(
    "--leader-elect-namespace",
    envvar="NODEPORT_ACCESS_LEADER_ELECT_NAMESPACE",
    metavar="NS",
    help="Namespace of the Lease; without it the pod's own.",
)
@click.option(
    "--log-format",
    envvar="NODEPORT_ACCESS_LOG_FORMAT",
    type=click.Choice(logs.FORMATS),
    default="json",
    show_default=True,
    help="One JSON object a line, or plain text.",
)
@click.option(
    "--log-level",
    envvar="NODEPORT_ACCESS_LOG_LEVEL",
    type=click.Choice(logs.LEVELS),
    default="info",
    show_default=True,
    help="The least severe level that is logged.",
)
def run(**flags: Any) -> None:
    """Run the operator. Each flag has an environment variable, NODEPORT_ACCESS_ and its name; flags win."""
    from nodeport_access import operating
    from nodeport_access.election import LeaseLost
    from nodeport_access.kube import ConfigurationError
    from nodeport_access.server import BindError

    settings = Settings(**flags)
    logs.configure(log_format=settings.log_format, level=settings.log_level)
    try:
        asyncio.run(operating.operate(settings))
    except (ConfigurationError, BindError) as error:
        raise click.ClickException(str(error)) from error
    except (operating.PoliciesGone, LeaseLost) as error:
        operating.log.error("%s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
