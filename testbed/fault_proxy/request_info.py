"""What a request is about, read from its path as the API server does it, in the words of the audit log.

Not its business: what becomes of the request (`exchange`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Self

WRITING_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_VERBS = WRITING_VERBS | {"get", "list", "watch"}
_BY_METHOD = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_COLLECTIONS = {"get": "list", "delete": "deletecollection"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """One request. Of a path that is no resource's, `resource` is the path itself, as RBAC's nonResourceURLs say it."""

    verb: str
    resource: str
    """The plural, with the subresource: "services", "nodeportaccesspolicies/status"."""
    namespace: str = ""
    name: str = ""

    @classmethod
    def of(cls, *, method: str, path: str, query: Mapping[str, str], body: bytes = b"") -> Self:
        """Read a request. `path` has no query; `body` only tells the name of what a POST creates.

        The rules are those of RequestInfoFactory.NewRequestInfo in k8s.io/apiserver/pkg/endpoints/request.
        """
        verb = _BY_METHOD.get(method, method.lower())
        match path.strip("/").split("/"):
            case ["api", _, *rest] | ["apis", _, _, *rest] if rest:
                pass
            case _:
                return cls(verb=verb, resource=path)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 1:
            namespace = rest[1]
            if len(rest) > 2 and rest[2] not in ("status", "finalize"):  # those two are the Namespace's own
                rest = rest[2:]
        plural, name, subresource, *_ = [*rest, "", "", ""][:4]
        if not name:
            verb = _OF_COLLECTIONS.get(verb, verb)
        if verb == "list" and query.get("watch", "0") not in ("0", "false"):
            verb = "watch"
        if verb == "create" and not name:
            name = _name_in(body)
        resource = f"{plural}/{subresource}" if subresource else plural
        return cls(verb=verb, resource=resource, namespace=namespace, name=name)

    @property
    def is_write(self) -> bool:
        return self.verb in WRITING_VERBS

    def __str__(self) -> str:
        """As tests read it off the audit log: "patch services web"."""
        return " ".join(word for word in (self.verb, self.resource, self.name) if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests are meant: those of one of the verbs *and* of one of the resources ...; an empty set means any."""

    verbs: Set[str] = frozenset()
    resources: Set[str] = frozenset()
    namespaces: Set[str] = frozenset()
    names: Set[str] = frozenset()

    def __post_init__(self) -> None:
        if unknown := self.verbs - _VERBS:
            raise ValueError(f"{', '.join(sorted(unknown))}: the API server has no such verb")

    def covers(self, info: RequestInfo) -> bool:
        wanted = (
            (self.verbs, info.verb),
            (self.resources, info.resource),
            (self.namespaces, info.namespace),
            (self.names, info.name),
        )
        return all(not allowed or value in allowed for allowed, value in wanted)


def _name_in(body: bytes) -> str:
    """The name of an object in JSON, or "" where it has none or is something else."""
    try:
        parsed = json.loads(body)
        name = parsed["metadata"]["name"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""
