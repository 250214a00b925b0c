"""One request and its answer on the wire: pools, credentials, time limits; a failure is an ApiError.

Not its business: which requests there are (``client``), when to try again, and who may write (a ``Fence`` knows).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from math import inf
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError

from nodeport_access import __version__
from nodeport_access.api import Body
from nodeport_access.kube.errors import (
    ConfigurationError,
    Fenced,
    Unauthorized,
    Unreachable,
    one_line,
    refusal,
    status_of,
)
from nodeport_access.kube.library import ConfigException, Configuration, RESTClientObject
from nodeport_access.kube.resources import LEASES, Resource

USER_AGENT = f"nodeport-access/{__version__}"

REQUEST_SECONDS = 15.0
"""The longest a request may take in all, its answer included; of a watch: until its stream is open."""
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 75.0
"""The longest a watch may send nothing: bookmarks come about 61 s apart."""
RENEWAL_PAUSE_SECONDS = 5.0
"""The least time between two readings of credentials: revoked ones must not run an exec plugin at every request."""

Observer = Callable[[str, str, int, float], None]
"""Told of every request: verb, plural of the resource, HTTP status (0 = no answer), seconds."""

Fence = Callable[[], float]
"""How long a write that is sent now may take in all, in seconds; 0 where none may be sent."""

READ_BUFFER_BYTES = 2**21
"""As the kubernetes client has it: an event of a watch is one line, and may be as large as an object."""


def unfenced() -> float:
    """Where nobody else writes."""
    return inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, before it is known over which connection it goes. What is no GET has a body."""

    verb: str
    resource: Resource
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    content_type: str = "application/json"
    accept: str = "application/json"

    @property
    def is_fenced(self) -> bool:
        """Whether only who leads may send it. Leases decide who that is, by versions of their own."""
        return self.method != "GET" and self.resource != LEASES


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is empty as long as it is a stream that is still to be read."""

    response: aiohttp.ClientResponse
    body: bytes


class Connection:
    """Two pools with the same credentials, so that watches cannot starve requests. It is used within ``async with``;
    one that is retired is closed after its last user."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._certificates = RESTClientObject(configuration).ssl_context
        self.requests = self.session(limit=configuration.connection_pool_maxsize)
        self.watches = self.session(limit=0)  # every watch holds a connection for minutes
        self._users = 0
        self._retired = False

    def session(self, *, limit: int, middlewares: Sequence[aiohttp.ClientMiddlewareType] = ()) -> aiohttp.ClientSession:
        """One that is the caller's to close, of as many connections at once; 0 means no limit."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limit, ssl=self._certificates),
            proxy=self.configuration.proxy,
            trust_env=False,
            read_bufsize=READ_BUFFER_BYTES,
            middlewares=middlewares,
        )

    async def credentials(self) -> dict[str, str]:
        """The header of a token, as it is now; none where a certificate speaks for us. Raises Unreachable."""
        try:
            token = await self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        except (ConfigException, OSError) as error:  # from the hook that reads the token file again
            raise Unreachable(message=f"the service account's token cannot be read: {one_line(error)}") from error
        return {"Authorization": token} if token else {}

    async def __aenter__(self) -> Connection:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        await self._close_if_idle()

    async def retire(self) -> None:
        """Lets those who use it finish: a running watch stays valid with the credentials it was opened with."""
        self._retired = True
        await self._close_if_idle()

    async def close(self) -> None:
        await self.requests.close()
        await self.watches.close()

    async def _close_if_idle(self) -> None:
        if self._retired and not self._users:
            await self.close()


class Wire:
    """Carries requests to one API server, with credentials that are read again when they are refused; ``connection`` is
    another one after that."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        load: Callable[[], Awaitable[Configuration]],
        observer: Observer,
        time: Callable[[], float],
        fence: Fence,
    ) -> None:
        self._load = load
        self._fence = fence
        self.observer = observer
        self.time = time
        self.connection = Connection(configuration)
        self._renewing = asyncio.Lock()
        self._renewed_at = float("-inf")

    async def close(self) -> None:
        """Ends every connection. The streams must have ended before."""
        await self.connection.close()

    async def request(self, call: Call) -> Answer:
        """A good answer, read to its end; credentials that are refused are read again, and the request is sent once
        more. Raises what a refusal means."""
        async with self.connection as used:
            answer = await self._send(used, call, streaming=False)
        if answer.response.status == HTTPStatus.UNAUTHORIZED:
            fresh = await self.renew(used)
            if fresh is not used:
                async with fresh:
                    answer = await self._send(fresh, call, streaming=False)
        _check(answer)
        return answer

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yields a good answer that is still to be read, on the same terms."""
        async with self.connection as used:
            answer = await self._send(used, call, streaming=True)
            if answer.response.status != HTTPStatus.UNAUTHORIZED:
                with _good(answer) as response:
                    yield response
                return
        fresh = await self.renew(used)
        async with fresh:
            if fresh is not used:
                answer = await self._send(fresh, call, streaming=True)
            with _good(answer) as response:
                yield response

    async def _send(self, connection: Connection, call: Call, *, streaming: bool) -> Answer:
        """Sends the request and reads the answer, of an open watch only its head. Raises Unreachable."""
        pool = connection.watches if streaming else connection.requests
        host = connection.configuration.host
        seconds = min(REQUEST_SECONDS, _seconds(self._fence)) if call.is_fenced else REQUEST_SECONDS
        query = _query(tuple(call.query.items()))
        if seconds < REQUEST_SECONDS:
            # The API server too gives up then, also where this process stands still and could not cut the connection.
            query = f"{query}{'&' if query else '?'}timeout={seconds * 1000:.0f}ms"
        headers = {
            "Accept": call.accept,
            "Content-Type": call.content_type,
            "User-Agent": USER_AGENT,
            **await connection.credentials(),
        }
        limits = aiohttp.ClientTimeout(
            total=None if streaming else seconds,
            sock_connect=CONNECT_SECONDS,
            sock_read=SILENCE_SECONDS if streaming else None,
        )
        started, status, body = self.time(), 0, b""
        try:
            with reaching(host):
                async with asyncio.timeout(REQUEST_SECONDS) if streaming else nullcontext():
                    response = await pool.request(
                        call.method,
                        f"{host}{call.path}{query}",
                        headers=headers,
                        data=_data(call, self._fence),
                        timeout=limits,
                        server_hostname=connection.configuration.tls_server_name,
                    )
                    if not streaming or response.status >= HTTPStatus.BAD_REQUEST:
                        body = await response.read()
            status = response.status
        finally:
            self.observer(call.verb, call.resource.plural, status, self.time() - started)
        return Answer(response, body)

    async def renew(self, refused: Connection) -> Connection:
        """Reads the credentials again, once for all requests that were refused together. Raises Unauthorized."""
        async with self._renewing:
            if self.connection is refused and self.time() - self._renewed_at >= RENEWAL_PAUSE_SECONDS:
                self._renewed_at = self.time()
                try:
                    async with asyncio.timeout(REQUEST_SECONDS):
                        configuration = await self._load()
                except (ConfigurationError, TimeoutError) as error:
                    message = f"credentials refused, and not to be read again: {one_line(error)}"
                    raise Unauthorized(status=401, reason="Unauthorized", message=message) from error
                self.connection = Connection(configuration)
                await refused.retire()
            return self.connection


class _Fenced(aiohttp.BytesPayload):
    """A body that asks the fence once more, in the last moment: a process that was stopped while it waited for a
    connection, or for its turn in the loop, does not know for how long.

    aiohttp keeps the head back until there is a body to send with it, and awaits nothing after this.
    """

    def __init__(self, value: bytes, *, fence: Fence) -> None:
        super().__init__(value)
        self._fence = fence

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        _seconds(self._fence)
        await super().write_with_length(writer, content_length)


def _data(call: Call, fence: Fence) -> bytes | _Fenced | None:
    if call.method == "GET":
        return None
    text = json.dumps(call.body).encode()
    return _Fenced(text, fence=fence) if call.is_fenced else text


@lru_cache(maxsize=256)
def _query(parameters: tuple[tuple[str, str], ...]) -> str:
    return f"?{urlencode(parameters)}" if parameters else ""


def _seconds(fence: Fence) -> float:
    """What a write may take that is sent now. Raises Fenced."""
    if not (seconds := fence()) > 0:
        raise Fenced(message="not sent, as this process does not hold the lease (any more)")
    return seconds


def _check(answer: Answer) -> None:
    """Raises what a refusal means."""
    response = answer.response
    if response.status >= HTTPStatus.BAD_REQUEST:
        said = status_of(answer.body)
        raise refusal(status=response.status, said=said, retry_after=response.headers.get("Retry-After"))


@contextmanager
def _good(answer: Answer) -> Iterator[aiohttp.ClientResponse]:
    """A stream, if it is one. In any case lets go of its connection."""
    response = answer.response
    try:
        _check(answer)
        yield response
    finally:
        # A stream that is left: a polite end of TLS waits for the other side, where no pool knows of it.
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()
        response.close()


@contextmanager
def reaching(host: str) -> Iterator[None]:
    """Turns everything that can go wrong on the way into Unreachable."""
    try:
        yield
    except TimeoutError as error:
        raise Unreachable(message=f"{host} did not answer in time") from error
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        if isinstance(error.__cause__, Fenced):  # raised in the middle of sending
            raise error.__cause__ from None
        raise Unreachable(message=f"{host} cannot be reached: {one_line(error)}") from error


def mapping(text: bytes) -> Body:
    """An object in JSON. Raises Unreachable where something else answered, such as the login page of a proxy."""
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise Unreachable(message=f"the answer is not JSON: {text[:200]!r}") from error
    if not isinstance(parsed, dict):
        raise Unreachable(message=f"the answer is not an object: {text[:200]!r}")
    return parsed
