"""What can go wrong between a client and the API server. `FaultProxy.inject` puts it there.

RequestFault               meets single requests, also those that open a watch
├── Answer                 something else answers: 409, 429 with Retry-After, the page of a load balancer
├── CloseConnection        nobody answers, at once
├── Hang                   nobody answers, as long as the fault stands
├── Latency                the way to the API server is long
├── LoseAnswer             carried out, but the client never hears of it
├── HalfAnswer             carried out, but the connection breaks in the middle of the answer
└── SlowAnswer             carried out, but the answer dribbles
StreamFault                meets watch streams, once each: those that run, at once, and those opened later
├── CutStream              the connection breaks
├── EndStream              ends in order, as after timeoutSeconds
├── ErrorEvent             an ERROR event, such as 410 for a version that is too old, and the end
└── GarbledLine            a line that is no JSON
EventFault                 meets every event of watch streams, as long as the fault stands
├── StallStream            nothing comes any more, and the connection stands
└── DuplicateEvents        everything comes twice

Not its business: which requests are met (`request_info`), and carrying them (`exchange`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""metav1.StatusReason by code (k8s.io/apimachinery/pkg/apis/meta/v1/types.go)."""


class ConnectionCut(Exception):  # noqa: N818 - it says what happens
    """The client's connection is to end here, without another word."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """An answer on its way to the client."""

    code: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncGenerator[bytes, None] = b""
    close: Callable[[], None] = lambda: None
    """Lets go of what the body comes from."""

    def parts(self) -> AsyncGenerator[bytes, None]:
        return _one(self.body) if isinstance(self.body, bytes) else self.body


Forward = Callable[[], Awaitable[Reply]]
"""Sends the request on, at most once, and returns the answer. Raises what says that there is none."""


class Stream(Protocol):
    """A watch stream that is open."""

    async def send(self, line: bytes, /) -> None:
        """Sends a line that the API server has not sent."""

    def end(self) -> None:
        """Ends it in order: whoever reads it sees its end, not an error."""

    def cut(self) -> None:
        """Ends it as a broken connection does."""


# Not abstract: whoever looks for faults of a kind passes the class, and mypy takes none that cannot be instantiated
# (its error `type-abstract`). So each raises where a fault forgot to say what it does.


class RequestFault:
    async def meet(self, forward: Forward, removed: asyncio.Event) -> Reply:
        """What the client gets. `removed` is set when the fault is taken away. May raise ConnectionCut."""
        raise NotImplementedError


class StreamFault:
    async def strike(self, stream: Stream) -> None:
        """Does it to an open stream."""
        raise NotImplementedError


class EventFault:
    async def pass_on(self, line: bytes, removed: asyncio.Event) -> Sequence[bytes]:
        """What the client gets in place of a line; an empty one stands for the end of the stream."""
        raise NotImplementedError


Fault = RequestFault | StreamFault | EventFault


# --- in place of the API server ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(RequestFault):
    """Something else answers, with a metav1.Status, or with `text`, as a load balancer that knows nothing of it does.

    `retry_after` is in seconds; `details` are those of the Status (causes, such as of a conflict).
    """

    code: int
    reason: str = ""
    message: str = "injected by a test"
    details: Mapping[str, Any] = field(default_factory=dict)
    retry_after: int | None = None
    text: str | None = None

    async def meet(self, _: Forward, __: asyncio.Event) -> Reply:
        headers = [] if self.retry_after is None else [("Retry-After", str(self.retry_after))]
        if self.text is not None:
            return Reply(code=self.code, headers=[*headers, ("Content-Type", "text/html")], body=self.text.encode())
        status = _status(code=self.code, reason=self.reason, message=self.message)
        if self.details:
            status["details"] = dict(self.details)
        return Reply(
            code=self.code, headers=[*headers, ("Content-Type", "application/json")], body=json.dumps(status).encode()
        )


@dataclass(frozen=True, slots=True)
class CloseConnection(RequestFault):
    """The connection is closed; the API server never hears of the request."""

    async def meet(self, _: Forward, __: asyncio.Event) -> Reply:
        raise ConnectionCut


@dataclass(frozen=True, slots=True)
class Hang(RequestFault):
    """No answer. Requests of clients that still wait when it is removed are carried out then."""

    async def meet(self, forward: Forward, removed: asyncio.Event) -> Reply:
        await removed.wait()
        return await forward()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(RequestFault):
    """The request takes so many seconds to arrive. Removing it does not hurry those under way."""

    seconds: float

    async def meet(self, forward: Forward, _: asyncio.Event) -> Reply:
        await asyncio.sleep(self.seconds)
        return await forward()


# --- after the API server ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LoseAnswer(RequestFault):
    """The connection is closed when the answer is due."""

    async def meet(self, forward: Forward, _: asyncio.Event) -> Reply:
        await forward()
        raise ConnectionCut


@dataclass(frozen=True, slots=True)
class HalfAnswer(RequestFault):
    """Half of the body (of a watch: of the first event), and the connection is closed."""

    async def meet(self, forward: Forward, _: asyncio.Event) -> Reply:
        reply = await forward()
        reply.body = _half_of_the_first(reply.parts())
        return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowAnswer(RequestFault):
    """The body comes at so many bytes per second."""

    bytes_per_second: int

    async def meet(self, forward: Forward, _: asyncio.Event) -> Reply:
        reply = await forward()
        reply.body = _dribbled(reply.parts(), bytes_per_second=self.bytes_per_second)
        return reply


# --- watch streams ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CutStream(StreamFault):
    async def strike(self, stream: Stream) -> None:
        stream.cut()


@dataclass(frozen=True, slots=True)
class EndStream(StreamFault):
    async def strike(self, stream: Stream) -> None:
        stream.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(StreamFault):
    code: int = 410
    reason: str = ""
    message: str = "too old resource version: 1 (2)"

    async def strike(self, stream: Stream) -> None:
        status = _status(code=self.code, reason=self.reason, message=self.message)
        await stream.send(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        stream.end()


@dataclass(frozen=True, slots=True)
class GarbledLine(StreamFault):
    async def strike(self, stream: Stream) -> None:
        await stream.send(b'{"type":"MODIFIED","object":{"metadata":{"na\n')


@dataclass(frozen=True, slots=True, kw_only=True)
class StallStream(EventFault):
    """The end of the stream is held back too. When it is removed, what was held back arrives, as on a network that
    comes back; with `lost` it does not: then the stream has a gap of which a client cannot know.
    """

    lost: bool = False

    async def pass_on(self, line: bytes, removed: asyncio.Event) -> Sequence[bytes]:
        if self.lost and line:
            return ()
        await removed.wait()
        return (line,)


@dataclass(frozen=True, slots=True)
class DuplicateEvents(EventFault):
    async def pass_on(self, line: bytes, _: asyncio.Event) -> Sequence[bytes]:
        return (line, line)


# --- how --------------------------------------------------------------------------------------------------------------


def _status(*, code: int, reason: str, message: str) -> dict[str, Any]:
    """A refusal as the API server words it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or _REASONS.get(code, ""),
        "code": code,
    }


async def _one(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def _half_of_the_first(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(parts):
        async for part in parts:
            yield part[: len(part) // 2]
            raise ConnectionCut


async def _dribbled(parts: AsyncGenerator[bytes, None], *, bytes_per_second: int) -> AsyncGenerator[bytes, None]:
    size = max(1, bytes_per_second // 20)
    async with aclosing(parts):
        async for part in parts:
            for begin in range(0, len(part), size):
                await asyncio.sleep(size / bytes_per_second)
                yield part[begin : begin + size]
