"""The verbs: list, watch, get, create, replace, apply, replace metadata, delete; in and out go plain dicts.

Not its business: connections, credentials and failures (``wire``), what is written (``plan``).
"""

from __future__ import annotations

import time as clock
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from nodeport_access.api import FIELD_MANAGER, Body
from nodeport_access.kube.errors import Forbidden, Gone, NotFound, Unreachable, named
from nodeport_access.kube.lending import Lender, Told
from nodeport_access.kube.library import Configuration
from nodeport_access.kube.resources import Resource
from nodeport_access.kube.streams import WatchEvent, events_of
from nodeport_access.kube.wire import Call, Fence, Observer, Wire, mapping, unfenced

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A complete list, as each object of it was read, and the version of the collection that it shows."""

    items: tuple[T, ...]
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The object as stored, and whether the apply created it (HTTP 201, the only proof of a creation)."""

    object: Body
    created: bool


class Client:
    """Speaks plain dicts with one API server. Every method raises the ApiErrors of this package and nothing else."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        load: Callable[[], Awaitable[Configuration]],
        observer: Observer,
        time: Callable[[], float] = clock.monotonic,
        fence: Fence = unfenced,
    ) -> None:
        """``load`` reads the credentials again when they are refused: ``load_configuration``, its arguments bound.
        ``fence`` is asked before every write, but of a Lease."""
        self._wire = Wire(configuration=configuration, load=load, observer=observer, time=time, fence=fence)

    @property
    def configuration(self) -> Configuration:
        """What the client uses now; another object after the credentials had to be read again."""
        return self._wire.connection.configuration

    def lender(self, *, told: Told, listed: Collection[str] = ()) -> Lender:
        """Who lends sessions on the same terms to somebody with requests of his own, of which it tells ``told``.
        His lists of the paths in ``listed`` have no items."""
        return Lender(wire=self._wire, told=told, listed=listed)

    async def close(self) -> None:
        """Ends every connection. The watches must have ended before."""
        await self._wire.close()

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        metadata_only: bool = False,
        limit: int = 500,
        read: Callable[[Body], Any] = lambda body: body,
    ) -> Listing[Any]:
        """The complete collection, in chunks of ``limit``, each object as it is ``read``: the rest of a chunk is gone
        before the next comes. Begins again once, if a continue token is too old."""
        how: dict[str, Any] = {"namespace": namespace, "metadata_only": metadata_only, "limit": limit, "read": read}
        try:
            return await self._list(resource, **how)
        except Gone:
            return await self._list(resource, **how)

    async def _list(
        self,
        resource: Resource,
        *,
        namespace: str | None,
        metadata_only: bool,
        limit: int,
        read: Callable[[Body], Any],
    ) -> Listing[Any]:
        items: list[Any] = []
        query = {"limit": str(limit)}
        while True:
            _, page = await self._request(
                Call(
                    verb="list",
                    resource=resource,
                    method="GET",
                    path=resource.path(namespace=namespace),
                    query=query,
                    accept=_accept("PartialObjectMetadataList", metadata_only=metadata_only),
                )
            )
            found: Body = page.get("metadata") or {}
            if not found.get("resourceVersion"):
                raise Unreachable(message=f"the answer to a list of {resource} is not a list")
            for item in page.get("items") or ():
                if not metadata_only:  # the API server leaves both out of the items of a list
                    item.setdefault("apiVersion", resource.api_version)
                    item.setdefault("kind", resource.kind)
                items.append(read(item))
            if not found.get("continue"):
                break
            query["continue"] = found["continue"]
        return Listing(items=tuple(items), resource_version=found["resourceVersion"])

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        resource_version: str,
        metadata_only: bool = False,
        timeout_seconds: int,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Opens a watch from a version on; inside the ``async with`` it is open, and can be iterated over.

        The iteration ends when the API server ends the stream, normally after ``timeout_seconds``. Raises Gone when the
        version is too old, be it by HTTP 410 or by an ERROR event; Unreachable when the stream breaks or falls silent.
        """
        call = Call(
            verb="watch",
            resource=resource,
            method="GET",
            path=resource.path(namespace=namespace),
            query={
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": resource_version,
                "timeoutSeconds": str(timeout_seconds),
            },
            accept=_accept("PartialObjectMetadata", metadata_only=metadata_only),
        )
        async with self._wire.stream(call) as response, aclosing(events_of(response)) as events:
            yield events

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Body:
        """Reads one object, past every cache. Raises NotFound."""
        path = resource.path(namespace=namespace, name=name)
        return (await self._request(Call(verb="get", resource=resource, method="GET", path=path)))[1]

    async def create(self, resource: Resource, *, namespace: str | None, body: Body) -> Body:
        """Creates one object under our field manager; fields that the schema does not know are refused. Raises Conflict
        where its name is taken."""
        return (
            await self._request(
                Call(
                    verb="create",
                    resource=resource,
                    method="POST",
                    path=resource.path(namespace=namespace),
                    query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                    body=body,
                )
            )
        )[1]

    async def replace(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """Writes a whole object over exactly the version that ``body`` names by its uid and resourceVersion. Raises
        Conflict if it has changed, or is not there any more."""
        return (
            await self._request(
                Call(
                    verb="update",
                    resource=resource,
                    method="PUT",
                    path=resource.path(namespace=namespace, name=name),
                    query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                    body=body,
                )
            )
        )[1]

    async def apply(self, resource: Resource, *, namespace: str | None, name: str, body: Body, force: bool) -> Applied:
        """Server-side apply of a whole body under our field manager; fields that the schema does not know are refused.

        With ``metadata.uid`` in the body it never creates: Conflict (``object_missing``) if the object is gone, Invalid
        if another now has its name. Without ``force``, Conflict names in ``causes`` who owns what.
        """
        path = resource.path(namespace=namespace, name=name)
        try:
            status, stored = await self._apply("apply", resource, path=path, body=body, force=force)
        except Forbidden as error:
            raise named(error, resource) from None
        return Applied(object=stored, created=status == HTTPStatus.CREATED)

    async def apply_status(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """Server-side apply of the status. Guard it by ``metadata.resourceVersion``: here the uid is not looked at."""
        path = resource.path(namespace=namespace, name=name, subresource="status")
        return (await self._apply("apply_status", resource, path=path, body=body, force=True))[1]

    async def _apply(self, verb: str, resource: Resource, *, path: str, body: Body, force: bool) -> tuple[int, Body]:
        return await self._request(
            Call(
                verb=verb,
                resource=resource,
                method="PATCH",
                path=path,
                query={
                    "fieldManager": FIELD_MANAGER,
                    "force": "true" if force else "false",
                    # No apply gets a field past its schema. Strict, and Warn, the default, would only have the API
                    # server parse the YAML once more, for a key that stands twice: a dict has none.
                    # (apiserver, pkg/endpoints/handlers/patch.go, applyPatchToCurrentObject)
                    "fieldValidation": "Ignore",
                },
                body=body,
                content_type="application/apply-patch+yaml",  # JSON is YAML
            )
        )

    async def replace_metadata(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str, metadata: Body
    ) -> Body:
        """Replaces whole fields of the metadata of exactly the object that was seen, which no apply does to lists that
        others have added to. Raises Conflict if it has changed, NotFound if it is gone.

        A JSON merge patch (RFC 7396), not a JSON patch: to a failed ``test`` the API server answers 422 without saying
        which it was, as to any patch that it cannot use; to an outdated resourceVersion 409.
        """
        path = resource.path(namespace=namespace, name=name)
        call = Call(
            verb="patch",
            resource=resource,
            method="PATCH",
            path=path,
            query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
            body={"metadata": {**metadata, "uid": uid, "resourceVersion": resource_version}},
            content_type="application/merge-patch+json",
        )
        return (await self._request(call))[1]

    async def delete(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str
    ) -> Body | None:
        """Deletes exactly the object that was seen. Returns it as it lingers where finalizers hold it, None where it is
        gone, or was before. Raises Conflict if it has changed."""
        path = resource.path(namespace=namespace, name=name)
        body: Body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
            "propagationPolicy": "Background",
        }
        try:
            call = Call(verb="delete", resource=resource, method="DELETE", path=path, body=body)
            answer = (await self._request(call))[1]
        except NotFound as error:
            if not error.object_missing:
                raise
            return None
        # A Status, or for some kinds the object that is gone.
        return answer if (answer.get("metadata") or {}).get("finalizers") else None

    async def _request(self, call: Call) -> tuple[int, Body]:
        answer = await self._wire.request(call)
        return answer.response.status, mapping(answer.body)


def _accept(kind: str, *, metadata_only: bool) -> str:
    return f"application/json;as={kind};g=meta.k8s.io;v=v1" if metadata_only else "application/json"
