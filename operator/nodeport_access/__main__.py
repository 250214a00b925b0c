"""The entry point: command line, configuration, signals, and the order in which the parts start and end.

Not the business of this module: what any of the parts does.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import click

from nodeport_access import __version__, demo, logs
from nodeport_access.controller import Controller
from nodeport_access.kube import Client, ConfigurationError, load_configuration
from nodeport_access.metrics import Metrics
from nodeport_access.server import BindError, health_app, metrics_app, serving
from nodeport_access.settings import BindAddress, Settings, parse_bind_address

PROGRAM = "nodeport-access"
WRONG_CONFIGURATION = 2
"""The exit code for what only another command line or configuration can mend."""

log = logging.getLogger("nodeport_access")


def main() -> None:
    """Runs the command line; wrong use and wrong configuration end in one sentence and exit code 2."""
    try:
        code = cli.main(prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        _refuse(error.format_message())
    except (ConfigurationError, BindError) as error:
        _refuse(str(error))
    except PoliciesGone as error:
        log.error("%s", error)
        sys.exit(1)
    except click.Abort:
        sys.exit(130)
    sys.exit(code or 0)


def _refuse(sentence: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {sentence}\n")
    sys.exit(WRONG_CONFIGURATION)


class _BindAddress(click.ParamType[BindAddress]):
    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BindAddress:
        try:
            return value if isinstance(value, BindAddress) else parse_bind_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Makes NodePort Services reachable only from the addresses you name."""


@cli.command()
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
    metavar="NS",
    multiple=True,
    help="Serve this namespace only; may be given more than once. Without it all of them.",
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
    settings = Settings(**flags)
    logs.configure(log_format=settings.log_format, level=settings.log_level)
    asyncio.run(operate(settings))


cli.add_command(demo.command)


class PoliciesGone(Exception):  # noqa: N818 - it says what happened
    """The resource itself was deleted under the operator; one sentence."""


async def operate(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises ConfigurationError, BindError, PoliciesGone, and whatever crashed one of its
    own tasks."""
    load = functools.partial(
        load_configuration, kubeconfig=settings.kubeconfig, context=settings.context, environ=os.environ
    )
    metrics = Metrics()
    client = Client(configuration=await load(), load=load, observer=metrics.requested)
    controller = Controller(
        client=client,
        namespaces=settings.namespaces,
        metrics=metrics,
        clock=lambda: datetime.now(UTC),
        time=time.monotonic,
        random=random.Random(),
        instance=socket.gethostname(),  # in a pod, the pod's name
        log=log,
    )
    stop = asyncio.Event()

    def terminate() -> None:
        controller.drain()
        stop.set()

    _on_signals(terminate)
    try:
        await _serve(settings, controller=controller, client=client, metrics=metrics, stop=stop, terminate=terminate)
    finally:
        await client.close()


def _on_signals(terminate: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, terminate)


async def _serve(
    settings: Settings,
    *,
    controller: Controller,
    client: Client,
    metrics: Metrics,
    stop: asyncio.Event,
    terminate: Callable[[], None],
) -> None:
    # Kopf is a third of the start-up, and no other command needs it.
    from nodeport_access import handlers

    health = health_app(unhealthy=controller.unhealthy, unready=controller.unready)
    async with AsyncExitStack() as servers:
        metrics_port = await servers.enter_async_context(
            serving(metrics_app(metrics, controller.view), settings.metrics_bind_address)
        )
        health_port = await servers.enter_async_context(serving(health, settings.health_bind_address))
        log.info(
            "operator started",
            extra={"version": __version__, "metrics_port": metrics_port, "health_port": health_port},
        )
        own = asyncio.create_task(controller.run(), name="controller")
        own.add_done_callback(lambda _: stop.set())

        async def clean_up() -> None:
            await controller.finish()
            own.cancel()
            await asyncio.wait([own])
            await servers.aclose()

        try:
            if await _policies_or_stop(controller, stop):
                await handlers.run(
                    client=client,
                    put=controller.put_policy,
                    drop=controller.drop_policy,
                    feed=controller.feed,
                    # Ours again, in place of Kopf's: our passes end while Kopf ends, not after it.
                    started=lambda: _on_signals(terminate),
                    gone=controller.policies_are_gone,
                    clean_up=clean_up,
                    namespaces=settings.namespaces,
                    stop=stop,
                )
        except Exception as error:
            if controller.policies_are_gone():
                raise PoliciesGone(
                    "the API server does not serve policies any more: their CustomResourceDefinition was deleted, and"
                    " all policies with it. The operator ends; it can start before the definition is back."
                ) from error
            raise
        finally:
            await clean_up()
        if not own.cancelled() and (crash := own.exception()) is not None:
            raise crash
    log.info("operator stopped")


async def _policies_or_stop(controller: Controller, stop: asyncio.Event) -> bool:
    """Waits until policies can be listed, which Kopf would not wait for; False where the process is to end before
    that."""
    listed = asyncio.create_task(controller.wait_for_policies())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([listed, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        listed.cancel()
        stopped.cancel()
        await asyncio.gather(listed, stopped, return_exceptions=True)
    return not stop.is_set()


if __name__ == "__main__":
    main()
