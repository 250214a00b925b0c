"""A session for Kopf's own requests, on the terms of our client: its certificates, its credentials, its proxy. What
becomes of each request is told, so that nobody is deaf without knowing.

What we list ourselves Kopf lists without its items: each of them would cost a task and a millisecond, to no end. Kopf's
own way (``ConnectionInfo``) has no word for a server name or for how strictly certificates are verified, keeps a
token until it is refused, and ends the process when the next one is refused too. Not the business of this module: what
Kopf asks for (``handlers``), and our own requests (``client``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

from nodeport_access.kube.errors import ApiError, Unauthorized, Unreachable, one_line, refusal, status_of
from nodeport_access.kube.wire import RENEWAL_PAUSE_SECONDS, Connection, Wire

SOON_SECONDS = 1.0
"""Who asks again so soon after a good answer has got nothing from it: a stream that ended, a list that broke off."""
PAUSE_SECONDS = 1.0
"""What he is made to wait, and as much more each time, ``MOST_PAUSES`` times of it at the most."""
MOST_PAUSES = 5

NOTHING = {"labelSelector": "nodeport-access.io/none"}
"""Selects no object: a label of our prefix that nobody has, and whoever takes it has his object told once more."""

Told = Callable[[str, str, ApiError | None], None]
"""Told of every request: verb (``watch`` for one that has opened, else HTTP's), path, and how it failed."""


@dataclass(frozen=True, slots=True)
class Lent:
    """A session, which the borrower closes, and the server that it is for."""

    server: str
    session: aiohttp.ClientSession


@dataclass(frozen=True, slots=True)
class _Answered:
    """When, and how often in a row it was asked again soon."""

    at: float
    row: int


class Lender:
    """Lends one session after another to one borrower, who comes back for the next when one does not work. His lists
    of the paths in ``listed`` have a version and no items."""

    def __init__(self, *, wire: Wire, told: Told, listed: Collection[str] = ()) -> None:
        self._wire = wire
        self._listed = frozenset(listed)
        self._told = told
        self._lent_at: float | None = None
        self._answered: dict[str, _Answered] = {}

    async def lend(self) -> Lent:
        """A new session. Who comes back for another has the credentials read again first, and is not served before
        ``RENEWAL_PAUSE_SECONDS`` have passed since the last one: refused, he comes back at once, for ever."""
        if self._lent_at is not None:
            await asyncio.sleep(self._lent_at + RENEWAL_PAUSE_SECONDS - self._wire.time())
            await self._read_again()
        self._lent_at = self._wire.time()
        connection = self._wire.connection
        session = connection.session(limit=0, middlewares=(self._carrier(connection),))
        return Lent(server=connection.configuration.host, session=session)

    async def _read_again(self) -> None:
        # What cannot be read is lent as it was: the next request says what is wrong with it.
        with suppress(Unauthorized):
            await self._wire.renew(self._wire.connection)

    async def _slow_down(self, what: str, *, verb: str, path: str) -> int:
        """Lets nobody ask the same again and again in a hot loop; how often he has in a row."""
        now = self._wire.time()
        self._answered = {each: last for each, last in self._answered.items() if now - last.at < SOON_SECONDS}
        if (last := self._answered.get(what)) is None:
            return 0
        if last.row:
            self._told(verb, path, Unreachable(message="the answer broke off as soon as it had begun, several times"))
        await asyncio.sleep(PAUSE_SECONDS * min(last.row + 1, MOST_PAUSES))
        return last.row + 1

    def _carrier(self, lent: Connection) -> aiohttp.ClientMiddlewareType:
        async def carry(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            """Adds what our own requests carry, and tells how it went."""
            verb = "watch" if "watch" in request.url.query else request.method.lower()
            path, host = request.url.path, lent.configuration.host
            if verb == "get" and path in self._listed:
                request.url = request.url.update_query(NOTHING)
            what = f"{verb} {path}" if verb == "watch" else f"{verb} {request.url.raw_path_qs}"
            row = await self._slow_down(what, verb=verb, path=path)
            started, status = self._wire.time(), 0
            try:
                # Not the lent one's: ours may have been read again since.
                request.headers.update(await self._wire.connection.credentials())
                request.server_hostname = lent.configuration.tls_server_name
                response = await send(request)
                status = response.status
                failure = await _failure(response)
                if failure is None:
                    self._answered[what] = _Answered(self._wire.time(), row)
                else:  # the borrower waits by himself after these
                    self._answered.pop(what, None)
                self._told(verb, path, failure)
                return response
            except Unreachable as error:
                self._told(verb, path, error)
                raise aiohttp.ClientConnectionError(error.message) from error
            except (aiohttp.ClientError, OSError) as error:
                self._told(verb, path, Unreachable(message=f"{host} cannot be reached: {one_line(error)}"))
                raise
            finally:
                self._wire.observer(verb, request.url.name, status, self._wire.time() - started)

        return carry


async def _failure(response: aiohttp.ClientResponse) -> ApiError | None:
    """What a refusal means; its body stays readable."""
    if response.status < HTTPStatus.BAD_REQUEST:
        return None
    return refusal(status=response.status, said=status_of(await response.read()), retry_after=None)
