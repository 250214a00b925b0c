"""What a watch sends: one JSON object a line, until the API server ends the stream.

Not its business: what an event means for what was seen before (``watches``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import aiohttp

from nodeport_access.api import Body
from nodeport_access.kube.errors import Unreachable, refusal
from nodeport_access.kube.wire import mapping, reaching


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """``type`` is ADDED, MODIFIED, DELETED or BOOKMARK; a bookmark's object holds nothing but its version."""

    type: str
    object: Body

    @property
    def resource_version(self) -> str:
        """The version from which a watch can go on after this event."""
        return _version(self.object)


async def events_of(response: aiohttp.ClientResponse) -> AsyncGenerator[WatchEvent, None]:
    """Ends with the stream. Raises what an ERROR event says (Gone, if it is a 410), and Unreachable when it breaks."""
    while True:
        with reaching(response.url.host or ""):
            line = await response.content.readline()
        if not line:
            return
        if not line.endswith(b"\n"):
            raise Unreachable(message="the stream broke off in the middle of an event")
        event = mapping(line)
        kind, body = event.get("type"), event.get("object")
        if kind == "ERROR" and isinstance(body, dict):
            raise refusal(status=int(body.get("code") or 0), said=body, retry_after=None)
        if not isinstance(kind, str) or not isinstance(body, dict) or not _complete(kind, body):
            raise Unreachable(message=f"the stream holds what is not an event: {line[:200]!r}")
        yield WatchEvent(kind, body)


def _complete(kind: str, body: Body) -> bool:
    return bool(_version(body)) if kind == "BOOKMARK" else is_object(body)


def is_object(body: Body) -> bool:
    """Whether it has what every object has that was ever stored: a name and a version."""
    return bool(_version(body) and (body.get("metadata") or {}).get("name"))


def _version(body: Body) -> str:
    return str((body.get("metadata") or {}).get("resourceVersion") or "")
