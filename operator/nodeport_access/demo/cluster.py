"""An API server in memory, as far as the operator can tell: what it answers to the operator's writes, and to those of
others, is what a real one answered.

It keeps objects, field owners and versions, refuses what must be refused, and collects garbage at once. It has no
watches (every change is told to ``on_change`` before the write is answered), no permissions, no admission, and does
not validate beyond ``kinds``. What it does not know raises NotModelled rather than an answer that might be wrong. Not
the business of this module: what is in the cluster (``folder``), or who acts (``stage``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from nodeport_access.api import FIELD_MANAGER, Body
from nodeport_access.conditions import timestamp
from nodeport_access.demo import kinds, refusals
from nodeport_access.demo.fields import Fields, Owner, Path, assemble, dotted, leaves, merge_patch
from nodeport_access.demo.records import Record
from nodeport_access.kube import POLICIES, SERVICES, Applied, Resource

FIRST_NODE_PORT = 30000


class NotModelled(Exception):  # noqa: N818 - no error of the caller's: the answer would be a guess
    """The request is one that this cluster does not know the real answer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One write of the operator that was carried out; ``verb`` is created, updated or deleted, ``body`` what it
    sent."""

    verb: str
    resource: Resource
    namespace: str
    name: str
    body: Body
    subresource: str = ""


Key = tuple[Resource, str, str]


class Cluster:
    """Implements ``writer.Api`` for the operator; ``create``, ``patch``, ``remove`` and ``server_side_apply`` are
    what others do.

    ``on_change`` gets every object that changed as it is then, and whether it is gone, like an event of a watch.
    """

    def __init__(self, *, clock: Callable[[], datetime], on_change: Callable[[Resource, Body, bool], None]) -> None:
        self.sent: list[Sent] = []
        self._clock = clock
        self._on_change = on_change
        self._records: dict[Key, Record] = {}
        self._versions = count(1)
        self._uids = count(1)
        self._ports = count(FIRST_NODE_PORT)

    # --- what the operator needs (writer.Api) ---

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Body:
        """Reads one object. Raises NotFound."""
        return self._find(resource, namespace or "", name).body()

    async def apply(self, resource: Resource, *, namespace: str | None, name: str, body: Body, force: bool) -> Applied:
        """The operator's server-side apply. Raises Conflict and Invalid as a real API server does."""
        applied = self.server_side_apply(
            resource, namespace=namespace or "", name=name, body=body, manager=FIELD_MANAGER, force=force
        )
        self._note("created" if applied.created else "updated", resource, namespace, name, body)
        return applied

    async def apply_status(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """The operator's server-side apply of the status; guarded by resourceVersion alone, whatever the uid."""
        if resource != POLICIES:
            raise NotModelled(f"a status of {resource}")
        record = self._find(resource, namespace or "", name)
        if body["metadata"].get("resourceVersion", str(record.version)) != str(record.version):
            raise refusals.modified(resource, name)
        wanted = {path: value for path, value in leaves(body).items() if path[0] == "status"}
        self._merge(record, wanted, Owner(FIELD_MANAGER, "Apply", "status"), force=True)
        self._note("updated", resource, namespace, name, body, subresource="status")
        return record.body()

    async def replace_metadata(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str, metadata: Body
    ) -> Body:
        """The operator's patch of metadata. Raises NotFound, and Conflict or Invalid where a precondition does not
        hold."""
        record = self._find(resource, namespace or "", name)
        if resource_version != str(record.version):
            raise refusals.modified(resource, name)
        self._guard(resource, name, record, {"uid": uid})
        patched = leaves(copy.deepcopy(merge_patch(assemble(record.fields), {"metadata": metadata})))
        patched = {path: value for path, value in patched.items() if path != kinds.FINALIZERS or value}
        self._update(record, patched, Owner(FIELD_MANAGER, "Update"))
        self._note("updated", resource, namespace, name, {"metadata": metadata})
        return record.body()

    async def delete(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str
    ) -> Body | None:
        """Deletes with preconditions. Raises Conflict where they do not hold."""
        record = self._records.get((resource, namespace or "", name))
        if record is None:
            return None
        guards = (("UID", uid, record.uid), ("ResourceVersion", resource_version, str(record.version)))
        for what, wanted, have in guards:
            if wanted != have:
                raise refusals.precondition(resource, name, what=what, wanted=wanted, have=have)
        self._remove(record)
        self._note("deleted", resource, namespace, name, {})
        return None

    # --- what others do ---

    def create(self, resource: Resource, body: Body, *, manager: str) -> Body:
        """Creates an object as ``kubectl create`` does; what is defaulted counts as the manager's too. Raises
        Conflict."""
        metadata = body["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if (resource, namespace, name) in self._records:
            raise refusals.already_exists(resource, name)
        record = self._new(resource, namespace, name)
        self._update(record, leaves(body), Owner(manager, "Update"))
        self._records[resource, namespace, name] = record
        return record.body()

    def patch(self, resource: Resource, *, namespace: str, name: str, patch: Body, manager: str) -> Body:
        """Changes an object by a JSON merge patch, as ``kubectl edit`` and ``kubectl patch`` do. Raises NotFound."""
        record = self._find(resource, namespace, name)
        patched = merge_patch(assemble(record.fields), patch)
        self._update(record, leaves(copy.deepcopy(patched)), Owner(manager, "Update"))
        return record.body()

    def remove(self, resource: Resource, *, namespace: str, name: str) -> None:
        """Deletes an object and, at once, what nobody else owns of what it owned. Raises NotFound."""
        self._remove(self._find(resource, namespace, name))

    def server_side_apply(
        self, resource: Resource, *, namespace: str, name: str, body: Body, manager: str, force: bool
    ) -> Applied:
        """Server-side apply under any field manager. Raises Conflict, Invalid."""
        wanted = _applicable(resource, body)
        record = self._records.get((resource, namespace, name))
        self._guard(resource, name, record, body["metadata"])
        created = record is None
        if record is None:
            record = self._new(resource, namespace, name)
        self._merge(record, wanted, Owner(manager, "Apply"), force=force)
        self._records[resource, namespace, name] = record
        return Applied(object=record.body(), created=created)

    def objects(self, resource: Resource) -> Iterator[Body]:
        """All objects of a kind, in the order of their creation."""
        return (record.body() for record in self._records.values() if record.resource == resource)

    # --- how it comes about ---

    def _find(self, resource: Resource, namespace: str, name: str) -> Record:
        record = self._records.get((resource, namespace, name))
        if record is None:
            raise refusals.not_found(resource, name)
        return record

    def _new(self, resource: Resource, namespace: str, name: str) -> Record:
        uid = f"00000000-0000-4000-8000-{next(self._uids):012}"
        created = timestamp(self._clock())
        return Record(resource=resource, namespace=namespace, name=name, uid=uid, created=created)

    def _guard(self, resource: Resource, name: str, record: Record | None, metadata: Body) -> None:
        """What an apply says of the object that it means. A uid never lets it create one."""
        uid = metadata.get("uid")
        if metadata.get("resourceVersion") == "0":
            raise NotModelled("an apply to any version")
        if record is not None and metadata.get("resourceVersion", str(record.version)) != str(record.version):
            raise refusals.modified(resource, name)
        if uid and record is None:
            text = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise refusals.conflict(resource, name, text)
        if uid and record is not None and uid != record.uid:
            raise refusals.invalid(resource, name, ("metadata", "uid"), f'Invalid value: "{uid}": field is immutable')

    def _merge(self, record: Record, wanted: Fields, owner: Owner, *, force: bool) -> None:
        """Server-side apply: takes what it sets, lets go of what it set before and sets no more."""
        resource, name = record.resource, record.name
        values = copy.deepcopy(kinds.stored(resource, wanted))
        contested = {
            path: others
            for path, value in values.items()
            if record.fields.get(path, value) != value and (others := record.others(path, owner))
        }
        if contested and not force:
            raise refusals.contested(resource, contested)
        before = record.owned.get(owner, frozenset())
        dropped = {path for path in before - values.keys() if not record.others(path, owner)}
        merged = {path: value for path, value in record.fields.items() if path not in dropped} | values
        kinds.check(resource, name=name, before=record.fields, wanted=values, merged=merged)
        owned = {
            other: paths - contested.keys() if other != owner else paths for other, paths in record.owned.items()
        } | {owner: frozenset(values)}
        self._commit(record, merged, owned, owner, rewritten=kinds.is_rewritten(resource, wanted))

    def _update(self, record: Record, wanted: Fields, owner: Owner) -> None:
        """Any other write: takes what it changes, defaults included; an empty value is nobody's."""
        values = self._settled(record, kinds.stored(record.resource, wanted))
        changed = {path for path, value in values.items() if record.fields.get(path) != value}
        taken = frozenset(path for path in changed if values[path] not in ([], {}))
        owned = {other: paths - changed for other, paths in record.owned.items()}
        owned[owner] = owned.get(owner, frozenset()) | taken
        self._commit(record, values, owned, owner, rewritten=False)

    def _settled(self, record: Record, fields: Fields) -> Fields:
        return kinds.settle(record.resource, fields, before=record.fields, free_port=self._free_port)

    def _commit(
        self,
        record: Record,
        fields: Fields,
        owned: dict[Owner, frozenset[Path]],
        writer: Owner,
        *,
        rewritten: bool,
    ) -> None:
        """Stores what came of a write, and tells of it; a write that changes nothing leaves the version alone."""
        fields = self._settled(record, fields)
        owned = {owner: paths & fields.keys() for owner, paths in owned.items() if paths & fields.keys()}
        new, spec = record.version == 0, _spec(record.fields)
        if not new and not rewritten and fields == record.fields and owned == record.owned:
            return
        record.fields, record.owned = fields, owned
        record.times = {owner: record.times.get(owner, "") for owner in owned}
        if writer in owned:
            record.times[writer] = timestamp(self._clock())
        if not new and (rewritten or _spec(fields) != spec):
            record.generation += 1
        record.version = next(self._versions)
        self._on_change(record.resource, record.body(), False)

    def _remove(self, record: Record) -> None:
        if record.fields.get(kinds.FINALIZERS):
            raise NotModelled("the deletion of an object that a finalizer holds")
        del self._records[record.resource, record.namespace, record.name]
        record.version = next(self._versions)
        self._on_change(record.resource, record.body(), True)
        self._collect_garbage()

    def _collect_garbage(self) -> None:
        uids = {record.uid for record in self._records.values()}
        for record in [*self._records.values()]:
            owners = kinds.owner_uids(record.fields)
            if owners and not owners & uids:
                self._remove(record)
                return

    def _free_port(self) -> int:
        used = {
            number
            for record in self._records.values()
            if record.resource == SERVICES
            for number in (
                record.fields.get(kinds.HEALTH),
                *(port.get("nodePort") for port in record.fields.get(kinds.PORTS, ())),
            )
        }
        return next(port for port in self._ports if port not in used)

    def _note(
        self, verb: str, resource: Resource, namespace: str | None, name: str, body: Body, *, subresource: str = ""
    ) -> None:
        self.sent.append(
            Sent(
                verb=verb,
                resource=resource,
                namespace=namespace or "",
                name=name,
                body=copy.deepcopy(body),
                subresource=subresource,
            )
        )


def _applicable(resource: Resource, body: Body) -> Fields:
    """The leaves of an apply, all of them known to be merged here as a real API server does."""
    if (body.get("apiVersion"), body.get("kind")) != (resource.api_version, resource.kind):
        raise NotModelled(f"an apply of {body.get('kind')} to {resource}")
    known = kinds.APPLICABLE.get(resource)
    if known is None:
        raise NotModelled(f"an apply of {resource}")
    wanted = leaves(body)
    for path in wanted:
        if path not in known and path[0] != "metadata":
            raise NotModelled(f"an apply of {dotted(path)} of {resource}")
    return wanted


def _spec(fields: Fields) -> Fields:
    """What generation counts; as stored, without the empty lists that are not."""
    return {path: value for path, value in fields.items() if path[0] == "spec" and value != []}
