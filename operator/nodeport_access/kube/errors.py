"""What the API server's refusals mean, one type for each meaning; the tree is drawn in the docstring of the package.

Not its business: what went wrong on the way (``wire``), and what to do about it (whoever catches it).
"""

# ruff: noqa: N818 (errors are named by what the API server says: Gone, Conflict, NotFound)

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses as phrases

from nodeport_access.api import Body
from nodeport_access.kube.resources import Resource


class ConfigurationError(Exception):
    """There is no configuration that could be used: one sentence, with the file and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One entry of ``details.causes`` in a metav1.Status."""

    reason: str
    field: str
    message: str


class ApiError(Exception):
    """The API server refused a request (``status`` is its HTTP status), or did not answer it (``status`` is 0)."""

    def __init__(self, *, status: int, reason: str, message: str, causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes


class Unreachable(ApiError):
    """Nobody answered, or the answer was "try again"; ``retry_after`` in seconds, where the API server named a time."""

    def __init__(
        self,
        *,
        message: str,
        status: int = 0,
        reason: str = "Unreachable",
        causes: tuple[Cause, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status=status, reason=reason, message=message, causes=causes)
        self.retry_after = retry_after


class Fenced(Unreachable):
    """A write that was not sent: this process must not write (any more), and will not be tried again by it."""


class Unauthorized(ApiError):
    """Our credentials are not accepted, nor are those that were read again."""


class Forbidden(ApiError):
    """Refused by RBAC or by admission."""

    @property
    def namespace_terminating(self) -> bool:
        """Whether it was refused because the namespace is being deleted, which no permission changes."""
        return any(cause.reason == "NamespaceTerminating" for cause in self.causes)


class NotFound(ApiError):
    """No such object, or no such resource; ``name`` is that of the object, where the API server speaks of one."""

    def __init__(
        self, *, status: int, reason: str, message: str, causes: tuple[Cause, ...] = (), name: str = ""
    ) -> None:
        super().__init__(status=status, reason=reason, message=message, causes=causes)
        self.name = name

    @property
    def object_missing(self) -> bool:
        """Whether the object is not there. Else nobody has looked for it: its resource is not served (yet), or
        something on the way has answered."""
        return bool(self.name)


class Conflict(ApiError):
    """Another manager owns a field (``causes`` say which and who), or a guard (uid, resourceVersion) did not hold."""

    @property
    def object_missing(self) -> bool:
        """Whether the apply was guarded by the uid of an object that is not there any more; nothing was created."""
        return "no existing object was found" in self.message


class Gone(ApiError):
    """The resourceVersion or the continue token is older than what the API server remembers."""


class Invalid(ApiError):
    """The API server will never take this request."""


class SchemaOutdated(ApiError):
    """The installed CRD does not know a field that we write."""

    @property
    def unknown_to_status(self) -> frozenset[str]:
        """The fields of ``status`` that the API server says it does not know, or in which it does not know a field; of
        several it names one."""
        return frozenset(re.findall(r"\.status\.(\w+)[^:\s]*: field not declared in schema", self.message))


def named(error: Forbidden, resource: Resource) -> Forbidden:
    """A refused apply with the permission that is missing. Where it is the one to create, older API servers (1.31 does)
    end after "is forbidden:" (``withAuthorization`` in k8s.io/apiserver/pkg/endpoints/handlers/update.go)."""
    message = error.message.rstrip()
    if not message.endswith("is forbidden:"):
        return error
    missing = f'cannot create resource "{resource.plural}" in API group "{resource.group}"'
    return Forbidden(status=error.status, reason=error.reason, message=f"{message} {missing}", causes=error.causes)


def status_of(body: bytes) -> Body:
    """A metav1.Status, or one made of what a proxy, or an API server that does not know the path, says in its place."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and parsed.get("kind") == "Status":
        return parsed
    return {"message": " ".join(body.decode(errors="replace").split())[:200]}


_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    409: Conflict,
    410: Gone,
}


def refusal(*, status: int, said: Body, retry_after: str | None) -> ApiError:
    """The error that a metav1.Status stands for; ``retry_after`` is the header of that name."""
    details: Body = said.get("details") or {}
    reason = said.get("reason") or phrases.get(status, "Unknown")
    message = said.get("message") or reason
    causes = tuple(
        Cause(reason=it.get("reason", ""), field=it.get("field", ""), message=it.get("message", ""))
        for it in details.get("causes") or ()
    )
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and "field not declared in schema" in message:
        return SchemaOutdated(status=status, reason=reason, message=message, causes=causes)
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or not 400 <= status < 500:
        seconds = retry_after if retry_after and retry_after.isdecimal() else details.get("retryAfterSeconds")
        return Unreachable(
            status=status,
            reason=reason,
            message=message,
            causes=causes,
            retry_after=float(seconds) if seconds else None,
        )
    if status == HTTPStatus.NOT_FOUND:
        name = str(details.get("name") or "")
        return NotFound(status=status, reason=reason, message=message, causes=causes, name=name)
    kind = _BY_STATUS.get(status, Invalid)
    return kind(status=status, reason=reason, message=message, causes=causes)


def one_line(error: Exception) -> str:
    """What an error says, fit for the middle of a sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
