"""What stands in the way of requests and streams right now: faults and gates.

Not its business: what a fault does (`faults`), and carrying requests (`exchange`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar, cast
from weakref import WeakSet

from testbed.fault_proxy.faults import EventFault, Fault, RequestFault, Stream, StreamFault
from testbed.fault_proxy.gates import Gate
from testbed.fault_proxy.request_info import Match, RequestInfo

F = TypeVar("F", RequestFault, StreamFault, EventFault)
F_co = TypeVar("F_co", bound=Fault, covariant=True)


class Injected(Generic[F_co]):
    """A fault that stands, until `remove` or the end of the `with` block."""

    def __init__(
        self, *, fault: F_co, match: Match, times: int | None, remove: Callable[[Injected[Fault]], None]
    ) -> None:
        self.hits = 0
        """How many requests, or watch streams, it has met."""
        self.fault = fault
        self.removed = asyncio.Event()
        self._match = match
        self._times = times
        self._remove = remove
        self._streams: WeakSet[Stream] = WeakSet()

    def remove(self) -> None:
        """Take it away. Safe to repeat."""
        self._remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def meets(self, info: RequestInfo, stream: Stream | None = None) -> bool:
        """Whether it meets this request, or this stream; counts it, a stream once."""
        if stream is not None and stream in self._streams:
            return True
        if not self._match.covers(info) or (self._times is not None and self.hits >= self._times):
            return False
        self.hits += 1
        if stream is not None:
            self._streams.add(stream)
        return True


class Trouble:
    """All that stands, and the streams that it may strike. Lives in the event loop."""

    def __init__(self) -> None:
        self._injected: list[Injected[Fault]] = []
        self._gates: list[Gate] = []
        self._streams: dict[Stream, RequestInfo] = {}

    def standing(self, kind: type[F]) -> list[Injected[F]]:
        """The faults of this kind, the one injected first first."""
        return [cast(Injected[F], injected) for injected in self._injected if isinstance(injected.fault, kind)]

    def gates(self, info: RequestInfo) -> list[Gate]:
        return [gate for gate in self._gates if info.is_write and gate.match.covers(info)]

    async def inject(self, injected: Injected[Fault]) -> None:
        self._injected.append(injected)
        if isinstance(injected.fault, StreamFault):
            for stream, info in list(self._streams.items()):
                if injected.meets(info, stream):
                    with contextlib.suppress(ConnectionResetError):  # its client leaves just now
                        await injected.fault.strike(stream)

    async def remove(self, injected: Injected[Fault]) -> None:
        injected.removed.set()
        with contextlib.suppress(ValueError):
            self._injected.remove(injected)

    async def hold(self, gate: Gate) -> None:
        self._gates.append(gate)

    async def release(self, gate: Gate) -> None:
        gate.open()

    @contextlib.contextmanager
    def open_to(self, stream: Stream, info: RequestInfo) -> Iterator[None]:
        """Faults strike this stream during the block."""
        self._streams[stream] = info
        try:
            yield
        finally:
            del self._streams[stream]
