"""The API client: the one way to the API server, and the only writer.

Every failure is one of these, and its type says what it means for the loop::

    ConfigurationError      no usable kubeconfig: the process ends before it has started, exit code 2
    ApiError                the API server said no, or nobody answered; never raised bare
    |-- Unreachable         no connection, time-out, 5xx, 429: try again, not before `retry_after`
    |   `-- Fenced          a write that was not sent, because this process must not write any more
    |-- Unauthorized        401, with freshly read credentials too: wait until they are mended, and say so
    |-- Forbidden           403: wait for the permission, and say so
    |                       (`namespace_terminating`: the namespace is going, nothing is to be done there)
    |-- NotFound            404: no such object (`object_missing`); else no such resource yet (its CRD is missing), or
    |                       nobody who would know: no proof that anything is gone
    |-- Conflict            409: somebody else wrote, or owns what we want: look again before writing
    |                       (`object_missing`: what the apply was guarded for is gone: look again at once)
    |-- Gone                410: the version or the continue token is too old: list again
    |-- Invalid             any other 4xx: the same request will never be taken, only a person can help
    `-- SchemaOutdated      500 "field not declared in schema": the installed CRD is older than this operator

Not its business: when to try again (``workqueue``, ``watches``), what to write (``plan``), what was seen (``store``).
The one thing it repeats is a request answered 401, once, after it has read the credentials again.

Sources: Kubernetes API concepts, https://kubernetes.io/docs/reference/using-api/api-concepts/ (chunks, watches,
bookmarks, preconditions), and Server-Side Apply, https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""

from __future__ import annotations

from nodeport_access.kube.client import Applied, Client, Listing
from nodeport_access.kube.configuration import context_namespace, load_configuration, own_namespace
from nodeport_access.kube.errors import (
    ApiError,
    Cause,
    ConfigurationError,
    Conflict,
    Fenced,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    SchemaOutdated,
    Unauthorized,
    Unreachable,
)
from nodeport_access.kube.lending import Lender, Lent
from nodeport_access.kube.library import Configuration
from nodeport_access.kube.resources import (
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
    Resource,
)
from nodeport_access.kube.streams import WatchEvent, is_object
from nodeport_access.kube.wire import Observer

__all__ = [
    "ENDPOINT_SLICES",
    "EVENTS",
    "LEASES",
    "NAMESPACES",
    "NETWORK_POLICIES",
    "NODES",
    "PODS",
    "POLICIES",
    "SERVICES",
    "ApiError",
    "Applied",
    "Cause",
    "Client",
    "Configuration",
    "ConfigurationError",
    "Conflict",
    "Fenced",
    "Forbidden",
    "Gone",
    "Invalid",
    "Lender",
    "Lent",
    "Listing",
    "NotFound",
    "Observer",
    "Resource",
    "SchemaOutdated",
    "Unauthorized",
    "Unreachable",
    "WatchEvent",
    "context_namespace",
    "is_object",
    "load_configuration",
    "own_namespace",
]
