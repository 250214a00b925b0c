"""What we use of the ``kubernetes`` package, and nothing else of it.

Whichever part of it is imported, its ``__init__`` imports all of its synchronous half first, and ``kubernetes.aio`` the
rest of the other: 300 modules, 10 MiB, a fifth of a second of every start. They are loaded here once somebody asks
anything of them, which nobody does (importlib's LazyLoader; docs/decisions/0036).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

UNUSED = frozenset(
    {
        *(f"kubernetes.{part}" for part in ("client", "config", "dynamic", "informer", "leaderelection", "stream")),
        *(f"kubernetes.{part}" for part in ("utils", "watch")),
        *(f"kubernetes.aio.{part}" for part in ("dynamic", "leaderelection", "stream", "watch")),
    }
)


class _Postponing(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname in UNUSED else None
        if found is not None and found.loader is not None:
            found.loader = LazyLoader(found.loader)
        return found


@contextmanager
def _unused_postponed() -> Iterator[None]:
    finder = _Postponing()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _unused_postponed():
    from kubernetes.aio.client import ApiClient, Configuration
    from kubernetes.aio.client.rest import RESTClientObject
    from kubernetes.aio.config import ConfigException, load_kube_config
    from kubernetes.aio.config.incluster_config import (
        SERVICE_CERT_FILENAME,
        SERVICE_TOKEN_FILENAME,
        InClusterConfigLoader,
    )

__all__ = [
    "SERVICE_CERT_FILENAME",
    "SERVICE_TOKEN_FILENAME",
    "ApiClient",
    "ConfigException",
    "Configuration",
    "InClusterConfigLoader",
    "RESTClientObject",
    "load_kube_config",
]
