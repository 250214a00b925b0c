"""Gates: after so many writes everything else waits, so that a test can end the client just there.

A gate lives in the proxy's event loop; what a test may use from its own thread are `reached`, `held`, `passed` and
`release`.

Not its business: which of its writes the API server takes (`exchange`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from testbed.fault_proxy.request_info import Match, RequestInfo


class Gate:
    """Lets the first writes through and holds the others, until `release` or the end of the `with` block."""

    def __init__(self, *, writes: int, match: Match, release: Callable[[Gate], None]) -> None:
        self.reached = threading.Event()
        """Set as soon as all of the first writes were carried out and answered, and another one is being held."""
        self.passed = 0
        """How many writes were carried out and answered (or lost on the way back)."""
        self.match = match
        self._writes = writes
        self._release = release
        self._admitted = 0
        self._held: list[RequestInfo] = []
        self._open = False
        self._changed = asyncio.Event()

    @property
    def held(self) -> tuple[str, ...]:
        """The writes that wait now, in the order of their arrival. A client that goes takes its own along."""
        return tuple(str(info) for info in self._held.copy())

    def release(self) -> None:
        """Let everything through from now on. Safe to repeat. What a client that is gone has left is dropped."""
        self._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    # --- in the event loop ------------------------------------------------------------------------------------------

    async def admit(self, info: RequestInfo) -> None:
        """Returns when the write may go on; then `settle` must be called, whatever becomes of it."""
        if not self._has_room:
            self._held.append(info)
            self._look()
            try:
                while not self._has_room:
                    await self._changed.wait()
            finally:
                self._held.remove(info)
        self._admitted += 1

    def settle(self, *, carried_out: bool) -> None:
        """A write that was not carried out makes room for another."""
        if carried_out:
            self.passed += 1
        else:
            self._admitted -= 1
            self._tell()
        self._look()

    def open(self) -> None:
        self._open = True
        self._tell()

    @property
    def _has_room(self) -> bool:
        return self._open or self._admitted < self._writes

    def _look(self) -> None:
        if self._held and self.passed >= self._writes:
            self.reached.set()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
