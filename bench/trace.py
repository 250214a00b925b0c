"""What a contender asked of the API server and when, read off the audit log: the same outside observer for all.

Not its business: what the requests are measured for (`bench.measures`).
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from bench.api_server import ApiServer
from bench.world import ticks
from testbed import audit

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
SERVICES, NETWORK_POLICIES = "services", "networkpolicies"
POLICY_STATUS = "nodeportaccesspolicies/status"
_WANTED = frozenset({NETWORK_POLICIES, SERVICES, POLICY_STATUS})
"""The four writes of a policy, by the resources they go to."""

_WRITE_MARKS = [f'"verb":"{verb}"'.encode() for verb in sorted(_WRITES)]
_MARKS = {
    SERVICES: b'"resource":"services"',
    NETWORK_POLICIES: b'"resource":"networkpolicies"',
    POLICY_STATUS: b'"subresource":"status"',
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request that was answered; times in seconds since the epoch, by the API server's clock."""

    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    begin: float
    end: float

    @property
    def is_write(self) -> bool:
        return self.verb in _WRITES

    @property
    def is_call(self) -> bool:
        """Neither a watch nor about the lease, which are there while nothing happens too."""
        return self.verb != "watch" and self.resource != "leases"

    @property
    def is_wanted(self) -> bool:
        """One of the four writes of a policy, and carried out."""
        return self.is_write and self.resource in _WANTED and self.code < 300


class Trace:
    """The requests of one user from now on."""

    def __init__(self, api_server: ApiServer, *, user: str) -> None:
        self._api_server = api_server
        self._user = user
        self._since = api_server.audit_mark()
        self._seen = self._since
        self._counted: Counter[str] = Counter()
        self._used = _cpu_seconds(api_server)

    def cpu_seconds(self) -> float:
        """What all programs of the API server's side have used meanwhile, whoever asked."""
        return _cpu_seconds(self._api_server) - self._used

    def count(self, resource: str) -> int:
        """How many writes to a resource were answered until now. Cheap: nothing is parsed, because whoever watches
        takes the CPU from those who are watched."""
        found, self._seen = _lines(self._api_server, since=self._seen)
        user = f'"username":"{self._user}"'.encode()
        for line in found:
            if user in line and any(verb in line for verb in _WRITE_MARKS):
                self._counted.update(resource for resource, mark in _MARKS.items() if mark in line)
        return self._counted[resource]

    def requests(self) -> list[Request]:
        """All that were answered until now; a watch that is still open was not."""
        return [_request(event) for event in self._api_server.audit_events(since=self._since, user=self._user)]


def applied_at(requests: Iterable[Request]) -> float:
    """When the last of the four writes of the last policy was answered; a second write of the same is not counted."""
    first: dict[tuple[str, str, str], float] = {}
    for request in requests:
        if request.is_wanted:
            first.setdefault((request.resource, request.namespace, request.name), request.end)
    return max(first.values())


def _cpu_seconds(api_server: ApiServer) -> float:
    return sum(map(ticks, api_server.process_ids().values())) / os.sysconf("SC_CLK_TCK")


def _lines(api_server: ApiServer, *, since: int) -> tuple[list[bytes], int]:
    with (api_server.folder / "audit.log").open("rb") as file:
        file.seek(since)
        content = file.read()
    complete = content[: content.rfind(b"\n") + 1]
    return complete.splitlines(), since + len(complete)


def _request(event: audit.Event) -> Request:
    target: dict[str, Any] = event.get("objectRef") or {}
    parts = [target.get("resource", ""), target.get("subresource", "")]
    return Request(
        verb=event["verb"],
        resource="/".join(part for part in parts if part),
        namespace=target.get("namespace", ""),
        # A create names its object in the body only.
        name=target.get("name") or ((event.get("requestObject") or {}).get("metadata") or {}).get("name", ""),
        code=(event.get("responseStatus") or {}).get("code", 0),
        begin=_seconds(event["requestReceivedTimestamp"]),
        end=_seconds(event["stageTimestamp"]),
    )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
