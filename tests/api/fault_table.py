"""Everything that can go wrong with a request or a stream, by the names that tests have for it.

Not its business: how it is done (`testbed.fault_proxy`), and what should come of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.fault_proxy import (
    Answer,
    CloseConnection,
    CutStream,
    DuplicateEvents,
    EndStream,
    ErrorEvent,
    GarbledLine,
    HalfAnswer,
    Hang,
    LoseAnswer,
    SlowAnswer,
    StallStream,
)
from testbed.fault_proxy.faults import Fault, Stream, StreamFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Say(StreamFault):
    """Says what the API server has not said, and ends the stream in order if `end` is set."""

    line: bytes
    end: bool = False

    async def strike(self, stream: Stream) -> None:
        await stream.send(self.line)
        if self.end:
            stream.end()


HALF_A_LINE = Say(line=b'{"type":"MODIFIED","object":{"metadata":{"na', end=True)
UNKNOWN_TYPE = Say(
    line=b'{"type":"ENHANCED","object":{"metadata":{"name":"a","namespace":"b","resourceVersion":"1","uid":"u"}}}\n'
)
NO_OBJECT = Say(line=b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}\n')

BEFORE: dict[str, Fault] = {
    "refused": CloseConnection(),
    "a-page": Answer(code=200, text="<h1>Please log in</h1>"),
    "401": Answer(code=401),
    "403": Answer(code=403),
    "404": Answer(code=404),
    "409": Answer(code=409),
    "410": Answer(code=410),
    "422": Answer(code=422),
    "429": Answer(code=429, retry_after=2),
    "500": Answer(code=500),
    "502-page": Answer(code=502, text="<h1>Bad Gateway</h1>"),
    "503": Answer(code=503),
}
"""The API server hears nothing of the request."""
AFTER: dict[str, Fault] = {
    "lost": LoseAnswer(),
    "half": HalfAnswer(),
}
"""It is carried out, and the operator does not know."""
SLOW: dict[str, Fault] = {
    "hang": Hang(),
    "slow": SlowAnswer(bytes_per_second=40),
}
"""It takes the operator's time limit, 15 s."""
STREAM: dict[str, Fault] = {
    "cut": CutStream(),
    "ended": EndStream(),
    "410-event": ErrorEvent(),
    "500-event": ErrorEvent(code=500, message="etcdserver: request timed out"),
    "no-json": GarbledLine(),
    "half-a-line": HALF_A_LINE,
    "unknown-type": UNKNOWN_TYPE,
    "no-object": NO_OBJECT,
    "twice": DuplicateEvents(),
    "stalled-and-late": StallStream(),
}
