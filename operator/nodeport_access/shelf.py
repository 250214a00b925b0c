"""One kind of object as last seen: the newest version wins, whoever brings it.

Three sources bring objects: lists, events, and the answers to our own writes; they overtake each other. Resource
versions of one kind are ordered integers (Kubernetes API concepts, "Resource versions"; comparable for clients since
KEP-5504). Not the business of this module: what an object means to a Service (``store``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nodeport_access.api import Body
from nodeport_access.strings import once

T = TypeVar("T")

GRAVES = 4096
"""Deletions remembered: an overtaken answer comes seconds late, not thousands of deletions."""


Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name; private to the shelf and its store."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """An object of a list, as the shelf will keep it."""

    key: Key
    version: int
    object: T


class Shelf(Generic[T]):
    """Holds parsed objects of one kind; ``changed(old, new)`` is told of every change of content, and of nothing
    else. ``succeeding(new, old)`` may add to a new state what only an earlier one of the same name tells."""

    def __init__(
        self,
        *,
        parse: Callable[[Body], T],
        changed: Callable[[T | None, T | None], None],
        succeeding: Callable[[T, T], T] = lambda new, _: new,
    ) -> None:
        self._parse = parse
        self._changed = changed
        self._succeeding = succeeding
        self._objects: dict[Key, T] = {}
        self._versions: dict[Key, int] = {}
        self._graves: OrderedDict[Key, int] = OrderedDict()
        self._listed: dict[str | None, int] = {}

    def get(self, namespace: str, name: str) -> T | None:
        """The object, or None."""
        return self._objects.get((namespace, name))

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def listed(self, namespace: str) -> bool:
        """Whether a complete list of this namespace, or of all, has been taken."""
        return None in self._listed or namespace in self._listed

    def hear(self, body: Body) -> None:
        """Takes an object from an event, as ``put`` does. Each write of ours comes back as one, with the version that
        its answer had: the same object, which is not read again."""
        if self._versions.get(_key(body)) != _version(body):
            self.put(body)

    def put(self, body: Body) -> None:
        """Takes an object from an answer, unless it is older than what is known."""
        key, version = _key(body), _version(body)
        known = self._versions.get(key)
        # The same version may show another object: what a changed CRD makes of what is stored.
        if version < (known if known is not None else max(self._floor(key), self._graves.get(key, 0))):
            return
        self._store(self.read(body))

    def drop(self, body: Body) -> None:
        """Takes a deletion; one of an object that has been made anew since is old news."""
        self._bury(_key(body), _version(body))

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """Takes it that an object is gone because the API server just said so; one with another uid stays."""
        key = (namespace, name)
        found = self._objects.get(key)
        if found is not None and getattr(found, "uid", uid) == uid:
            # Its last event may still be on the way, with the very version that is known.
            self._bury(key, self._versions[key] + 1)

    def read(self, body: Body) -> Reading[T]:
        """What is kept of an object of a list; nobody is told of it yet. One that is known as it is stays the same
        object: thousands of new ones among the old would leave memory full of holes."""
        key, version, new = _key(body), _version(body), self._parse(body)
        old = self._objects.get(key)
        if old is not None and self._versions[key] == version and self._succeeding(new, old) == old:
            new = old
        return Reading(key, version, new)

    def replace(self, bodies: Iterable[Body], resource_version: str, *, namespace: str | None = None) -> None:
        """Takes a complete list as it came."""
        namespaces = None if namespace is None else (namespace,)
        self.take_list([self.read(body) for body in bodies], resource_version, namespaces=namespaces)

    def take_list(
        self,
        readings: Sequence[Reading[T]],
        resource_version: str,
        *,
        namespaces: Collection[str] | None = None,
        restored: bool = False,
    ) -> None:
        """Takes a complete list of some namespaces, or of all: what is not in it is gone.

        A list older than one before comes from a restored etcd, as does one of which the caller knows that it is
        ``restored``: then it is the truth, whatever the versions known."""
        listed = int(resource_version)
        scopes: Collection[str | None] = (None,) if namespaces is None else namespaces
        if restored or any(listed < self._listed.get(scope, 0) for scope in scopes):
            self._versions = dict.fromkeys(self._versions, 0)
            self._graves.clear()
        self._listed |= dict.fromkeys(scopes, listed)
        present = set()
        for reading in readings:
            present.add(reading.key)
            if reading.version >= max(self._versions.get(reading.key, 0), self._graves.get(reading.key, 0)):
                self._store(reading)
        gone = [key for key in self._objects if key not in present and (namespaces is None or key[0] in namespaces)]
        for key in gone:
            self._bury(key, listed)

    def clear(self, namespace: str) -> None:
        """Forgets one namespace, which nobody watches any more."""
        self._listed.pop(namespace, None)
        for key in [key for key in self._objects if key[0] == namespace]:
            del self._versions[key]
            self._changed(self._objects.pop(key), None)

    def _floor(self, key: Key) -> int:
        """What a complete list did not hold, and is older than that list, is gone."""
        return max(self._listed.get(None, 0), self._listed.get(key[0], 0))

    def _store(self, reading: Reading[T]) -> None:
        key, new = reading.key, reading.object
        old = self._objects.get(key)
        if old is not None:
            new = self._succeeding(new, old)
        self._objects[key] = new
        self._versions[key] = reading.version
        self._graves.pop(key, None)
        if old != new:
            self._changed(old, new)

    def _bury(self, key: Key, version: int) -> None:
        if version < self._versions.get(key, 0):
            return
        self._graves[key] = max(version, self._graves.pop(key, 0))
        if len(self._graves) > GRAVES:
            self._graves.popitem(last=False)
        if key in self._objects:
            del self._versions[key]
            self._changed(self._objects.pop(key), None)


class ScopedSink:
    """A shelf as a watch of one namespace sees it: its lists speak of that namespace only.

    A watch asks for a list when its stream has ended, so a list older than what the stream brought comes from an etcd
    that was restored in between. Our own answers prove nothing: they may overtake a list that is under way."""

    def __init__(self, shelf: Shelf[Any], namespace: str | None) -> None:
        self._shelf, self._namespace = shelf, namespace
        self._heard = 0

    def reader(self) -> Callable[[Body], Any]:
        """A list begins: what is kept of each of its objects."""
        return self._shelf.read

    def replace(self, objects: Sequence[Any], resource_version: str) -> None:
        """Takes a complete list of the namespace, as it was read."""
        self._take(objects, resource_version, namespaces=None if self._namespace is None else (self._namespace,))

    def put(self, body: Body) -> None:
        """Takes an object as it is now."""
        self._heard = max(self._heard, _version(body))
        self._shelf.hear(body)

    def drop(self, body: Body) -> None:
        """Takes the last state of an object that was deleted."""
        self._heard = max(self._heard, _version(body))
        self._shelf.drop(body)

    def _take(
        self, objects: Sequence[Reading[Any]], resource_version: str, *, namespaces: Collection[str] | None
    ) -> None:
        restored = int(resource_version) < self._heard
        self._heard = int(resource_version)
        self._shelf.take_list(objects, resource_version, namespaces=namespaces, restored=restored)


def _key(body: Body) -> Key:
    metadata = body["metadata"]
    return (once(metadata.get("namespace", "")), metadata["name"])


def _version(body: Body) -> int:
    return int(body["metadata"]["resourceVersion"])
