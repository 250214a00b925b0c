"""The API server's audit log: what every client really asked for, in the order in which it was answered.

Not its business: what the requests mean.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testbed.waiting import wait_for

Event = dict[str, Any]

# Writes of what the operator writes are recorded with their bodies, everything else by its metadata. What the API
# server does for itself is left out: it would be nine events of ten. Rules are tried in order, the first match counts.
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    users: ["system:apiserver"]
  - level: None
    nonResourceURLs: ["/livez*", "/readyz*", "/healthz*"]
  - level: Request
    verbs: [create, update, patch, delete, deletecollection]
    resources:
      - group: ""
        resources: [services, services/status]
      - group: networking.k8s.io
        resources: [networkpolicies]
      - group: nodeport-access.io
  - level: Metadata
"""

_MARK = "/version?testbed-mark="


class AuditLog:
    """The log of one API server, read behind its back.

    `ask` sends a GET request to it; it returns False, or does nothing, where the server is not there to be asked.
    """

    def __init__(self, *, path: Path, ask: Callable[[str], bool]) -> None:
        self.path = path
        self._ask = ask
        self._marks = itertools.count(1)
        self._caught_up = 0

    def mark(self) -> int:
        """The offset in bytes after everything that was answered until now.

        An event is written just after its answer was sent: so ask something ourselves, and wait to see that there.
        """
        uri = f"{_MARK}{next(self._marks)}"
        if self._ask(uri):
            wait_for(lambda: self._has_reached(uri), seconds=10, what=f"{uri} in {self.path}", every=0.002)
        return read(self.path, since=self._caught_up)[1]

    def events(self, *, since: int = 0, user: str | None = None) -> list[Event]:
        """Everything from a mark on, of one user or of all, without the marks themselves."""
        self.mark()
        return [
            event
            for event in read(self.path, since=since)[0]
            if not event["requestURI"].startswith(_MARK) and user in (None, event["user"].get("username"))
        ]

    def _has_reached(self, uri: str) -> bool:
        events, self._caught_up = read(self.path, since=self._caught_up)
        return any(event["requestURI"] == uri for event in events)


def read(path: Path, *, since: int = 0) -> tuple[list[Event], int]:
    """The events that were written from the byte offset `since` on, and the offset at which to go on.

    A last line without its end is still being written: it is left for the next time.
    """
    try:
        with path.open("rb") as file:
            file.seek(since)
            content = file.read()
    except FileNotFoundError:
        return [], since
    complete = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in complete.splitlines()], since + len(complete)
