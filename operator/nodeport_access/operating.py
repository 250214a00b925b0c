"""The operator's process: configuration, signals, and the order in which the parts start and end.

Not the business of this module: the command line (``__main__``), and what any of the parts does.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import logging
import os
import random
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from nodeport_access import __version__
from nodeport_access.complaints import Complaints
from nodeport_access.controller import Controller
from nodeport_access.election import Election
from nodeport_access.kube import Client, ConfigurationError, load_configuration, own_namespace
from nodeport_access.metrics import Metrics
from nodeport_access.server import health_app, metrics_app, serving
from nodeport_access.settings import Settings
from nodeport_access.tenure import Tenure, boot_time

log = logging.getLogger("nodeport_access")

COLLECT_EVERY = 10_000
"""New containers between two looks for cycles of garbage. One page of a list brings a hundred times the 700 of the
default, whose looks through all that is known take two thirds of the time that it takes to read a list."""

SWITCH_SECONDS = 0.0005
"""For how long a thread may keep the interpreter while another waits for it. By default 5 ms, for which each answer to
a repair would wait while Kopf is imported beside it."""


class PoliciesGone(Exception):  # noqa: N818 - it says what happened
    """The resource itself was deleted under the operator; one sentence."""


async def operate(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Raises ConfigurationError, BindError, PoliciesGone, LeaseLost, and whatever crashed
    one of its own tasks."""
    gc.set_threshold(COLLECT_EVERY)
    load = functools.partial(
        load_configuration, kubeconfig=settings.kubeconfig, context=settings.context, environ=os.environ
    )
    metrics = Metrics()
    tenure = Tenure(elected=settings.leader_elect)
    client = Client(configuration=await load(), load=load, observer=metrics.requested, fence=tenure.write_seconds)
    try:
        await _operate(settings, client=client, tenure=tenure, metrics=metrics)
    finally:
        await client.close()


async def _operate(settings: Settings, *, client: Client, tenure: Tenure, metrics: Metrics) -> None:
    complaints = Complaints(time=time.monotonic)
    election = (
        _election(settings, client=client, tenure=tenure, complaints=complaints) if settings.leader_elect else None
    )
    controller = Controller(
        client=client,
        namespaces=settings.namespaces,
        metrics=metrics,
        clock=lambda: datetime.now(UTC),
        time=time.monotonic,
        random=random.Random(),
        instance=socket.gethostname(),  # in a pod, the pod's name
        log=log,
        complaints=complaints,
        tenure=tenure,
    )
    stop = asyncio.Event()

    def terminate() -> None:
        controller.drain()
        stop.set()

    _on_signals(terminate)
    await _serve(
        settings,
        controller=controller,
        election=election,
        client=client,
        metrics=metrics,
        stop=stop,
        terminate=terminate,
    )


def _election(settings: Settings, *, client: Client, tenure: Tenure, complaints: Complaints) -> Election:
    """Raises ConfigurationError."""
    namespace = settings.leader_elect_namespace or own_namespace()
    if not namespace:
        raise ConfigurationError(
            "leader election needs a namespace for its Lease, and this is not a pod with a service account: name one by"
            " --leader-elect-namespace."
        )
    return Election(
        leases=client,
        namespace=namespace,
        identity=f"{socket.gethostname()}_{uuid.uuid4()}",
        tenure=tenure,
        clock=lambda: datetime.now(UTC),
        time=boot_time,
        random=random.Random(),
        log=log,
        complaints=complaints,
    )


def _on_signals(terminate: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, terminate)


async def _serve(
    settings: Settings,
    *,
    controller: Controller,
    election: Election | None,
    client: Client,
    metrics: Metrics,
    stop: asyncio.Event,
    terminate: Callable[[], None],
) -> None:
    def unready() -> str:
        return controller.unready() or (election.unready() if election is not None else "")

    health = health_app(unhealthy=controller.unhealthy, unready=unready)
    async with AsyncExitStack() as servers:
        metrics_port = await servers.enter_async_context(
            serving(metrics_app(metrics, controller.view), settings.metrics_bind_address)
        )
        health_port = await servers.enter_async_context(serving(health, settings.health_bind_address))
        log.info(
            "operator started",
            extra={"version": __version__, "metrics_port": metrics_port, "health_port": health_port},
        )
        own = [asyncio.create_task(controller.run(), name="controller")]
        listed = asyncio.create_task(controller.wait_listed())
        # What has been listed stays: to look through it for garbage again and again holds everything up.
        listed.add_done_callback(lambda _: gc.freeze())
        if election is not None:
            own.append(asyncio.create_task(election.run(candidate=controller.wait_listed), name="election"))
        for task in own:
            task.add_done_callback(lambda _: stop.set())

        async def clean_up() -> None:
            nothing_is_under_way = await controller.finish()
            for task in (*own, listed):
                task.cancel()
            await asyncio.wait((*own, listed))
            if election is not None and nothing_is_under_way:
                await election.release()
            await servers.aclose()

        try:
            if await _listed_or_stop(controller, stop):
                # Kopf is a third of the start-up, and no other command needs it: what stands open comes first.
                sys.setswitchinterval(SWITCH_SECONDS)
                await asyncio.to_thread(importlib.import_module, "nodeport_access.handlers")
                from nodeport_access import handlers

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
        for task in own:
            if not task.cancelled() and (crash := task.exception()) is not None:
                raise crash
    log.info("operator stopped")


async def _listed_or_stop(controller: Controller, stop: asyncio.Event) -> bool:
    """Waits until all that repairs need is listed, and policies wherever we may, which Kopf would not wait for; False
    where the process is to end before that."""

    async def listing() -> None:
        await controller.wait_listed()
        await controller.wait_for_policies()

    listed, stopped = asyncio.create_task(listing()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([listed, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        listed.cancel()
        stopped.cancel()
        await asyncio.gather(listed, stopped, return_exceptions=True)
    return not stop.is_set()
