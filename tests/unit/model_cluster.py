"""A cluster in memory that answers the operator's requests as a real API server does, in what matters to it.

Server-side apply with field owners, guards, conflicts and defaults, each as a real API server was seen to do it;
garbage collection when asked; a store that hears of everything, at once or later. It implements `writer.Api`. Not
its business: HTTP, watches, admission, and anything that the tests on the real API server show anyway.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, NoReturn

from nodeport_access.api import FIELD_MANAGER, Body, ConditionType
from nodeport_access.kube import Applied, Conflict, Invalid, NotFound, Resource
from nodeport_access.store import Store
from tests.unit.builders import CREATED, shelf_for, store_of

Name = tuple[str, str, str]
"""Kind, namespace, name."""
Path = tuple[str, ...]
"""Where a field stands; the API owns labels one by one, owners by uid, and the fields of a spec whole."""
Owner = tuple[str, str]
"""Field manager and operation."""

OURS: Owner = (FIELD_MANAGER, "Apply")
DELETED = "2026-06-01T11:59:59Z"


class ModelCluster:
    """Holds bodies in their stored form, none of which is ever changed in place. `fault` may raise before a request is
    carried out, `lost` after it was."""

    def __init__(self, *bodies: Body, store: Store | None = None, immediate: bool = True) -> None:
        """`immediate` tells the store of each change as it happens, else when `deliver` is called."""
        self.store = store if store is not None else store_of()
        self.requests: list[tuple[str, str]] = []
        self.made: set[str] = set()  # uids of what the operator created
        self.fault: Callable[[str, str, str], None] = lambda _verb, _kind, _name: None
        self.lost: Callable[[str, str, str], None] = lambda _verb, _kind, _name: None
        self.immediate = immediate
        self._objects: dict[Name, Body] = {}
        self._owners: dict[Name, dict[Path, set[Owner]]] = {}
        self._revision = 100
        self._uids = 0
        self._news: list[tuple[str, Body]] = []
        for body in bodies:
            self.create(body)
        self.deliver()

    # --- what other people do ---

    def create(self, body: Body, *, manager: str = "kubectl-create") -> Body:
        """Somebody creates an object; a uid in the body is kept. It owns all fields, as after `kubectl create`."""
        name = _name(body)
        assert name not in self._objects, name
        fields = dict(_fields(_defaulted(body)))
        owners = {path: {(manager, "Update")} for path in fields}
        self._uids += 1
        metadata = {"uid": f"uid-{self._uids}", "creationTimestamp": CREATED, **body["metadata"]}
        return self._keep({**body, "metadata": metadata}, fields, owners)

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[Body], None], *, manager: str) -> Body:
        """Somebody updates an object by a change in place; what changes is theirs from then on, and only theirs."""
        body = deepcopy(self._objects[kind, namespace, name])
        change(body)
        fields, before = dict(_fields(_defaulted(body))), dict(_fields(self._objects[_name(body)]))
        held_before = self._owners[_name(body)].items()
        owners = {path: set(held) for path, held in held_before if path in fields or path not in before}
        for path, value in fields.items():
            if before.get(path) != value:
                owners[path] = {(manager, "Update")}
        return self._keep(body, fields, owners)

    def remove(self, kind: str, namespace: str, name: str) -> Body:
        """Somebody deletes an object; while finalizers hold it, it is only marked."""
        return self._delete((kind, namespace, name))

    def collect_garbage(self) -> None:
        """The garbage collector deletes what has only owners that are gone."""
        uids = {body["metadata"]["uid"] for body in self._objects.values()}
        for name, body in list(self._objects.items()):
            owners = body["metadata"].get("ownerReferences") or ()
            if owners and not uids & {owner["uid"] for owner in owners}:
                self._delete(name)

    def forget_owner(self, kind: str, namespace: str, name: str, owner: Owner) -> None:
        """Somebody wipes an owner from managedFields."""
        key = (kind, namespace, name)
        owners = {path: held - {owner} for path, held in self._owners[key].items()}
        self._keep(self._objects[key], dict(_fields(self._objects[key])), owners)

    # --- what is there ---

    def get_body(self, kind: str, namespace: str, name: str) -> Body | None:
        """The object as it is stored, or None."""
        return self._objects.get((kind, namespace, name))

    def bodies(self, kind: str = "") -> list[Body]:
        """All objects, or those of one kind, by name."""
        return [self._objects[name] for name in sorted(self._objects) if kind in ("", name[0])]

    def names(self, kind: str) -> list[str]:
        """The names of all objects of a kind."""
        return [body["metadata"]["name"] for body in self.bodies(kind)]

    def writes(self) -> list[tuple[str, str]]:
        """The requests so far that were not reads, each as its verb and the object's kind and name."""
        return [(verb, what) for verb, what in self.requests if verb != "get"]

    def deliver(self, *kinds: str) -> None:
        """Tells the store all that it has not heard of, or only of these kinds."""
        news = [(verb, body) for verb, body in self._news if not kinds or body["kind"] in kinds]
        self._news = [(verb, body) for verb, body in self._news if kinds and body["kind"] not in kinds]
        for verb, body in news:
            shelf = shelf_for(self.store, body)
            (shelf.put if verb == "put" else shelf.drop)(body)

    # --- writer.Api ---

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Body:
        """Reads one object."""
        self._request("get", resource, name)
        found = self._objects.get((resource.kind, namespace or "", name))
        return found if found is not None else _not_found(resource, name)

    async def apply(self, resource: Resource, *, namespace: str | None, name: str, body: Body, force: bool) -> Applied:
        """Server-side apply by our field manager."""
        assert (namespace, name) == (body["metadata"]["namespace"], body["metadata"]["name"])
        self._request("apply", resource, name)
        applied = self.applied(body, force=force)
        self.lost("apply", resource.kind, name)
        return applied

    async def apply_status(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """Server-side apply of a policy's status: conditions of other types are somebody else's, and stay."""
        self._request("apply_status", resource, name)
        if (resource.kind, namespace or "", name) not in self._objects:
            _not_found(resource, name)
        written = self.reported(body)
        self.lost("apply_status", resource.kind, name)
        return written

    async def replace_metadata(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str, metadata: Body
    ) -> Body:
        """Replaces whole fields of metadata, with preconditions."""
        self._request("patch", resource, name)
        key = (resource.kind, namespace or "", name)
        if key not in self._objects:
            _not_found(resource, name)
        return self.stripped(key, uid=uid, resource_version=resource_version, metadata=metadata)

    async def delete(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str
    ) -> Body | None:
        """Deletes with preconditions."""
        self._request("delete", resource, name)
        return self.deleted((resource.kind, namespace or "", name), uid=uid, resource_version=resource_version)

    # --- how it does that ---

    def applied(self, body: Body, *, force: bool) -> Applied:
        """Server-side apply by our field manager, without a request."""
        name, wanted = _name(body), dict(_fields(body))
        found = self._objects.get(name)
        if found is None:
            if "uid" in body["metadata"]:
                message = "uid mismatch: the provided object specified uid, and no existing object was found"
                raise Conflict(status=409, reason="Conflict", message=message)
            self._uids += 1
            metadata = {"namespace": name[1], "name": name[2], "uid": f"uid-{self._uids}", "creationTimestamp": CREATED}
            self.made.add(metadata["uid"])
            made = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata}
            stored = self._keep(made, wanted, {path: {OURS} for path in wanted})
            return Applied(object=stored, created=True)
        version = found["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion", version) != version:
            raise Conflict(status=409, reason="Conflict", message="the object has been modified")
        if body["metadata"].get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
            raise Invalid(status=422, reason="Invalid", message="metadata.uid: field is immutable")
        fields = dict(_fields(found))
        owners = {path: set(held) for path, held in self._owners[name].items()}
        for path, held in list(owners.items()):
            if OURS in held and path not in wanted:
                held.discard(OURS)
                if not held:
                    del owners[path]
                    fields.pop(path, None)
        if wanted.get(("spec", "externalTrafficPolicy")) and not found["spec"].get("externalTrafficPolicy"):
            message = "spec.externalTrafficPolicy: may only be set for externally-accessible services"
            raise Invalid(status=422, reason="Invalid", message=message)
        if _has_two_controllers(fields | wanted):
            raise Invalid(status=422, reason="Invalid", message="Only one reference can have Controller set to true")
        for path, value in wanted.items():
            others = owners.get(path, set()) - {OURS}
            if fields.get(path) == value:
                owners[path] = others | {OURS}
            elif others and not force:
                message = f"Apply failed with 1 conflict: conflict with {sorted(others)[0][0]!r}: .{'.'.join(path)}"
                raise Conflict(status=409, reason="Conflict", message=message)
            else:
                owners[path] = {OURS}
                fields[path] = value
        # An empty list of rules is stored as none, so that applying it again counts as a change every time.
        changes = name[0] == "NetworkPolicy" and [] in wanted.values()
        return Applied(object=self._keep(found, fields, owners, changes=changes), created=False)

    def reported(self, body: Body) -> Body:
        """An apply of a policy's status, without a request."""
        found = self._objects[_name(body)]
        if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise Conflict(status=409, reason="Conflict", message="the object has been modified")
        kinds = set(ConditionType)
        foreign = [item for item in found.get("status", {}).get("conditions", ()) if item["type"] not in kinds]
        status = {**body["status"], "conditions": [*body["status"]["conditions"], *foreign]}
        return self._keep({**found, "status": status}, None, None)

    def deleted(self, name: Name, *, uid: str, resource_version: str) -> Body | None:
        """A delete with preconditions, without a request; the object where finalizers hold it."""
        found = self._objects.get(name)
        if found is None:
            return None
        if (uid, resource_version) != (found["metadata"]["uid"], found["metadata"]["resourceVersion"]):
            raise Conflict(status=409, reason="Conflict", message="Precondition failed")
        self._delete(name)
        return self._objects.get(name)

    def stripped(self, name: Name, *, uid: str, resource_version: str, metadata: Body) -> Body:
        """A patch of metadata that only takes away, without a request; who loses the last finalizer is gone."""
        found = self._objects[name]
        if resource_version != found["metadata"]["resourceVersion"]:
            raise Conflict(status=409, reason="Conflict", message="the object has been modified")
        if uid != found["metadata"]["uid"]:
            raise Invalid(status=422, reason="Invalid", message="metadata.uid: field is immutable")
        body = {**found, "metadata": {**found["metadata"], **metadata}}
        fields, before = dict(_fields(body)), dict(_fields(found))
        assert fields.items() <= before.items(), "what is set by a patch would be ours by an Update"
        if "deletionTimestamp" in found["metadata"] and not body["metadata"].get("finalizers"):
            self._drop(name)
            return body
        owners = {path: held for path, held in self._owners[name].items() if path in fields or path not in before}
        return self._keep(body, fields, owners)

    def _request(self, verb: str, resource: Resource, name: str) -> None:
        self.requests.append((verb, f"{resource.kind}/{name}"))
        self.fault(verb, resource.kind, name)

    def _keep(
        self,
        body: Body,
        fields: dict[Path, Any] | None,
        owners: dict[Path, set[Owner]] | None,
        *,
        changes: bool = False,
    ) -> Body:
        """Stores an object; an apply or update that changes nothing leaves its version alone."""
        body, name = {**body, "metadata": dict(body["metadata"])}, _name(body)
        if fields is not None and owners is not None:
            body = _defaulted(_with_fields(body, fields))
            owners = {path: held for path, held in owners.items() if held}
            if body["kind"] == "Service":
                _allocate(body, [other for other in self.bodies("Service") if _name(other) != name])
            body["metadata"]["managedFields"] = _managed_fields(owners)
            self._owners[name] = owners
        before = self._objects.get(name)
        version = before["metadata"]["resourceVersion"] if before else ""
        body["metadata"]["resourceVersion"] = version
        if changes or body != before:
            self._revision += 1
            body["metadata"]["resourceVersion"] = str(self._revision)
            self._objects[name] = body
            self._tell("put", body)
        return body

    def _delete(self, name: Name) -> Body:
        body = self._objects[name]
        if not body["metadata"].get("finalizers"):
            return self._drop(name)
        return self._keep({**body, "metadata": {"deletionTimestamp": DELETED, **body["metadata"]}}, None, None)

    def _drop(self, name: Name) -> Body:
        body = self._objects.pop(name)
        self._owners.pop(name)
        self._revision += 1
        last = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._revision)}}
        self._tell("drop", last)
        return last

    def _tell(self, verb: str, body: Body) -> None:
        self._news.append((verb, body))
        if self.immediate:
            self.deliver()


def _name(body: Body) -> Name:
    return (body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])


def _not_found(resource: Resource, name: str) -> NoReturn:
    raise NotFound(status=404, reason="NotFound", message=f"{resource} {name!r} not found", name=name)


def _fields(body: Body) -> Iterator[tuple[Path, Any]]:
    """The fields that can have owners, each with its value."""
    metadata = body["metadata"]
    for key, value in (metadata.get("labels") or {}).items():
        yield ("metadata", "labels", key), value
    for owner in metadata.get("ownerReferences") or ():
        yield ("metadata", "ownerReferences", f"k:{json.dumps({'uid': owner['uid']}, separators=(',', ':'))}"), owner
    if metadata.get("finalizers"):
        yield ("metadata", "finalizers"), metadata["finalizers"]
    for key, value in (body.get("spec") or {}).items():
        yield ("spec", key), value


def _with_fields(body: Body, fields: dict[Path, Any]) -> Body:
    owned = ("labels", "ownerReferences", "finalizers")
    kept = {key: value for key, value in body["metadata"].items() if key not in owned}
    made: Body = {**body, "metadata": kept, "spec": {}}
    for path, value in fields.items():
        match path:
            case ("spec", key):
                made["spec"][key] = value
            case ("metadata", "labels", key):
                kept.setdefault("labels", {})[key] = value
            case ("metadata", "finalizers"):
                kept["finalizers"] = value
            case _:
                kept.setdefault("ownerReferences", []).append(value)
    if body["kind"] == "NetworkPolicy":
        # "ingress: []" is stored and returned without the field, and still somebody's.
        made["spec"] = {key: value for key, value in made["spec"].items() if value or key not in ("ingress", "egress")}
    return made


def _has_two_controllers(fields: dict[Path, Any]) -> bool:
    owners = [value for path, value in fields.items() if path[:2] == ("metadata", "ownerReferences")]
    return sum(1 for owner in owners if owner.get("controller")) > 1


def _defaulted(body: Body) -> Body:
    """What the API server fills in, and what it wipes."""
    spec: Body = dict(body.get("spec") or {})
    match body["kind"]:
        case "Service" if spec.get("type") in ("NodePort", "LoadBalancer"):
            spec["externalTrafficPolicy"] = spec.get("externalTrafficPolicy") or "Cluster"
            if not _is_probed(spec):
                spec.pop("healthCheckNodePort", None)
        case "Service":
            spec.pop("externalTrafficPolicy", None)
            spec.pop("healthCheckNodePort", None)
        case "NetworkPolicy":
            spec.setdefault("podSelector", {})
            spec.setdefault("policyTypes", ["Ingress"])
    return {**body, "spec": spec} if spec or "spec" in body else body


def _is_probed(spec: Body) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _allocate(body: Body, others: list[Body]) -> None:
    """Gives a Service the port that load balancers probe, or refuses the one it asks for. Raises Invalid."""
    taken = {other["spec"].get("healthCheckNodePort") for other in others}
    number = body["spec"].get("healthCheckNodePort")
    if number and number in taken:
        raise Invalid(status=422, reason="Invalid", message=f"spec.healthCheckNodePort: {number} is already allocated")
    if _is_probed(body["spec"]) and not number:
        body["spec"]["healthCheckNodePort"] = min(set(range(31900, 32000)) - taken)


def _managed_fields(owners: dict[Path, set[Owner]]) -> list[Body]:
    entries: dict[Owner, Body] = {}
    for path, held in owners.items():
        for owner in held:
            inner = entries.setdefault(owner, {})
            for step in path:
                inner = inner.setdefault(step if step.startswith("k:") else f"f:{step}", {})
    return [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": "v1",
            "time": CREATED,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        for (manager, operation), fields in sorted(entries.items())
    ]
