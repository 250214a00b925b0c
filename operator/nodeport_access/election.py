"""The election: one of several replicas leads, by a Lease that it has to renew, and the others stand by.

A holder is judged by how long ago, on our own clock, the Lease was last seen to change, never by the times in it. Every
write goes over the version that was seen, so of two who are as fast one fails. Whoever leads believes in it for
``RENEW_SECONDS`` from the beginning of his last renewal; whoever takes over has waited for ``LEASE_SECONDS`` since he
saw it, or something later. A leader that is not sure any more ends: what it was about to do, its successor does.

Not the business of this module: what the Lease says (``lease``), which writes are held back (``tenure``,
``kube.wire``), and the work of a leader (``controller``).

Source: client-go, tools/leaderelection/leaderelection.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from datetime import datetime
from logging import Logger
from random import Random
from typing import NoReturn, Protocol

from nodeport_access.api import Body
from nodeport_access.complaints import API_SERVER, Complaints
from nodeport_access.kube import LEASES, ApiError, Conflict, NotFound, Resource, Unreachable
from nodeport_access.lease import NAME, Record, held, record_of, released, unheld
from nodeport_access.tenure import RENEW_SECONDS, Tenure

RETRY_SECONDS = 2.0
"""Between two looks at the Lease, or two renewals, at the most: client-go's RetryPeriod."""
JITTER = 0.25
"""The share of it that chance may take off, so that several who wait do not ask together."""
REQUEST_SECONDS = 5.0
"""What one request may take: half the time to renew, so that one that hangs costs no tenure."""
NAME_LIMIT = 300
"""Characters of a holder's name that are logged; a pod's name has 253 at the most."""
RELEASE_SECONDS = 0.4
"""What giving the lease back may take; then it runs out by itself."""


class LeaseLost(Exception):  # noqa: N818 - it says what happened
    """This process must not write any more: one sentence."""


class Leases(Protocol):
    """What the election needs of the API server: ``kube.Client``."""

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Body:
        """Reads one object."""

    async def create(self, resource: Resource, *, namespace: str | None, body: Body) -> Body:
        """Creates one object. Raises Conflict where its name is taken."""

    async def replace(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """Writes over exactly the version in the body. Raises Conflict where it has changed."""


class Election:
    """Stands for election, and leads. ``identity`` is this process's alone; ``time`` is the clock of the tenure,
    ``clock`` wall time, which only people read."""

    def __init__(
        self,
        *,
        leases: Leases,
        namespace: str,
        identity: str,
        tenure: Tenure,
        clock: Callable[[], datetime],
        time: Callable[[], float],
        random: Random,
        log: Logger,
        complaints: Complaints,
    ) -> None:
        self.refused: ApiError | None = None
        self._leases = leases
        self._namespace = namespace
        self._identity = identity
        self._tenure = tenure
        self._clock = clock
        self._time = time
        self._random = random
        self._log = log
        self._complaints = complaints
        self._lease: Body = {}  # as it was last seen
        self._seen_at = 0.0  # when it was first seen like that
        self._complained = False
        self._claimed = False  # whether it may be ours, or become so by a request whose answer was lost
        self._told = ""

    async def run(self, *, candidate: Callable[[], Awaitable[None]]) -> NoReturn:
        """Stands for election from when ``candidate`` returns, and leads until it is cancelled. Raises LeaseLost."""
        await candidate()
        while not self._tenure.leads:
            await self._try(seconds=RENEW_SECONDS)
            if not self._tenure.leads:
                await self._pause()
        self._tell("leading", lease_transitions=record_of(self._lease).transitions)
        while True:
            await self._pause(until=self._tenure.until)
            await self._try(seconds=self._tenure.until - self._time())
            if not self._tenure.leads:
                why = f": {self.refused}" if self.refused is not None else ""
                raise LeaseLost(
                    f"{self} was not renewed for {RENEW_SECONDS:.0f} s, and this process ends, for another to lead{why}"
                )

    async def release(self) -> None:
        """Gives the lease back, if it is ours, so that another need not wait until it has run out; call it when nothing
        is being written any more. Best effort."""
        self._tenure.end()
        if not self._claimed:
            return
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                while True:
                    self._lease = await self._leases.get(LEASES, namespace=self._namespace, name=NAME)
                    if record_of(self._lease).holder != self._identity:
                        break
                    with suppress(Conflict):  # a renewal that was under way
                        await self._replace(released(self._lease, now=self._clock()))
                        self._tell("lease released")
                        break
        self._claimed = False

    def unready(self) -> str:
        """Why this process could not take over; empty where it could, or leads."""
        return f"{self}: {self.refused}" if self.refused is not None else ""

    async def _try(self, *, seconds: float) -> None:
        """Takes the lease if that may be done, or renews it. Raises LeaseLost where another has it."""
        try:
            async with asyncio.timeout(seconds):
                await self._renew_or_take()
        except Conflict:  # somebody was faster: the next look tells who
            pass
        except ApiError as error:
            self._complain(error)
            return
        except TimeoutError:
            self._complain(Unreachable(message="the API server did not answer in time"))
            return
        self.refused = None
        if self._complained:
            self._complained = False
            self._log.info("%s: works again", self)

    async def _renew_or_take(self) -> None:
        if self._tenure.leads:
            # As a rule nobody has touched it since.
            with suppress(Conflict):
                await self._hold()
                return
        self._observe(await self._read())
        record = record_of(self._lease)
        if self._tenure.leads:
            if record.holder not in ("", self._identity):
                raise LeaseLost(f"{self} is held by {_cut(record.holder)} now, and this process ends")
            await self._hold()
        elif record.released or self._time() - self._seen_at >= record.seconds:
            await self._hold()
        else:
            self._tell_of(record)

    async def _read(self) -> Body:
        """The Lease, made anew where somebody has deleted it."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._leases.get(LEASES, namespace=self._namespace, name=NAME)
        except NotFound as error:
            if not error.object_missing:
                raise
        async with asyncio.timeout(REQUEST_SECONDS):
            return await self._leases.create(LEASES, namespace=self._namespace, body=unheld(namespace=self._namespace))

    async def _hold(self) -> None:
        """Writes that it is ours, over the version that was seen."""
        begun = self._time()
        self._claimed = True
        async with asyncio.timeout(REQUEST_SECONDS):
            self._observe(await self._replace(held(self._lease, by=self._identity, now=self._clock())))
        self._tenure.prolong(renewed_at=begun)

    async def _replace(self, body: Body) -> Body:
        return await self._leases.replace(LEASES, namespace=self._namespace, name=NAME, body=body)

    def _observe(self, lease: Body) -> None:
        if _content(lease) != _content(self._lease):
            self._seen_at = self._time()
        self._lease = lease

    async def _pause(self, *, until: float | None = None) -> None:
        """Until the next look; a leader whose renewals fail looks at the last moment once more."""
        pause = RETRY_SECONDS * (1 - JITTER * self._random.random())
        await asyncio.sleep(pause if until is None else min(pause, max(0.0, until - self._time())))

    def _tell(self, what: str, **more: object) -> None:
        self._log.info(what, extra={"lease": str(self), "identity": self._identity, **more})

    def _tell_of(self, record: Record) -> None:
        if record.holder:
            what = f"waiting for the lease held by {_cut(record.holder)}"
        else:
            what = f"waiting for the lease, which nobody may have held for {record.seconds:.0f} s"
        if what != self._told:
            self._told = what
            self._tell(what)

    def _complain(self, error: ApiError) -> None:
        self.refused = error
        cut_off = isinstance(error, Unreachable) and not error.status
        topic: Hashable = API_SERVER if cut_off else ("lease", error.status)
        if self._complaints.due(topic):
            self._complained = True
            self._log.warning("%s: %s", self, error, extra={"reason": error.reason})

    def __str__(self) -> str:
        return f"lease {self._namespace}/{NAME}"


def _cut(name: str) -> str:
    """Anybody who may write the Lease can give its holder a name of any length."""
    return name if len(name) <= NAME_LIMIT else f"{name[:NAME_LIMIT]}..."


def _content(lease: Body) -> tuple[object, object]:
    """What has to stand still for a lease to run out: not its labels, which are no sign of life."""
    return (lease.get("metadata") or {}).get("uid"), lease.get("spec")
