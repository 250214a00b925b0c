"""What a write of the plan makes of its object, as the API server would carry it out.

Not the business of this module: which writes there are (``plan``), and their order (``converging``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from nodeport_access.api import Body
from nodeport_access.cidrs import Family
from nodeport_access.drift import stripped_metadata
from nodeport_access.inventory.completing import completed
from nodeport_access.inventory.items import ObjectKey, invented_uid
from nodeport_access.inventory.ownership import (
    Steps,
    network_policy_fields,
    our_entry,
    service_fields,
    taken_from_others,
)
from nodeport_access.kube import NETWORK_POLICIES, SERVICES
from nodeport_access.observed import (
    NETWORK_POLICY_PATHS,
    SERVICE_PATHS,
    owner_path,
    parse_network_policy,
    parse_service,
)
from nodeport_access.outcome import Kind
from nodeport_access.plan import Verb, Write


def key_of_write(write: Write) -> ObjectKey:
    """The object that is written."""
    return ObjectKey(SERVICES if write.kind is Kind.SERVICE else NETWORK_POLICIES, write.namespace, write.name)


def carried_out(write: Write, observed: Body | None) -> Body | None:
    """The object after the write, None where it is gone; its resourceVersion is as before. What somebody holds by a
    finalizer goes too: the operator waits for it, and takes the finalizer off at last."""
    match write.verb:
        case Verb.DELETE:
            return None
        case Verb.STRIP:
            return _stripped(write, observed)
        case Verb.RELEASE:
            return _released(observed) if observed is not None else None
        case Verb.UPDATE if write.kind is Kind.SERVICE:
            return _taken(write, observed) if observed is not None else None
        case _:
            left = _stripped(write, observed) if write.strips_first else observed
            return _child(write, left if write.verb is Verb.UPDATE else None)


def _stripped(write: Write, observed: Body | None) -> Body | None:
    if observed is None:
        return None
    fields = stripped_metadata(write.body, parse_network_policy(observed))
    metadata = {name: value for name, value in {**observed["metadata"], **fields}.items() if value != []}
    return None if "deletionTimestamp" in metadata else {**observed, "metadata": metadata}


def _child(write: Write, observed: Body | None) -> Body:
    """The child as it is stored: what we apply, and what others have put beside it."""
    body: Body = copy.deepcopy(write.body or {})
    metadata = body["metadata"]
    fields = tuple(network_policy_fields(owners=[owner["uid"] for owner in metadata["ownerReferences"]]))
    if observed is None:
        body["metadata"] = {**metadata, "uid": invented_uid(key_of_write(write)), "managedFields": [our_entry(fields)]}
        return _stored(body)
    before, known = observed["metadata"], parse_network_policy(observed)
    uids = {owner["uid"] for owner in metadata["ownerReferences"]}
    others = [
        owner
        for owner in before.get("ownerReferences") or ()
        if owner["uid"] not in uids and not known.ownership.ours_alone(owner_path(owner["uid"]))
    ]
    changed = [NETWORK_POLICY_PATHS[one.path] for one in write.differences if one.path in NETWORK_POLICY_PATHS]
    body["metadata"] = {
        **before,
        "labels": {**(before.get("labels") or {}), **metadata["labels"]},
        "ownerReferences": [*metadata["ownerReferences"], *others],
        "managedFields": _held(before, changed, fields),
    }
    return _stored(body)


def _stored(body: Body) -> Body:
    return completed(NETWORK_POLICIES, body, family=Family.IPV4)


def _taken(write: Write, observed: Body) -> Body:
    applied = write.body or {}
    labels, spec = applied["metadata"].get("labels") or {}, applied.get("spec") or {}
    before = observed["metadata"]
    changed = [SERVICE_PATHS[one.path] for one in write.differences]
    fields = service_fields(label=bool(labels), local=True, health_check="healthCheckNodePort" in spec)
    metadata = {
        **before,
        "labels": {**(before.get("labels") or {}), **labels},
        "managedFields": _held(before, changed, fields),
    }
    return {**observed, "metadata": metadata, "spec": {**observed["spec"], **spec}}


def _released(observed: Body) -> Body:
    """ "If you remove a field from a configuration and apply [it, it is removed] unless it is owned by any other field
    managers" (Server-Side Apply), and what has a default is set to it."""
    held = parse_service(observed).ownership
    metadata, spec = dict(observed["metadata"]), dict(observed["spec"])
    if held.ours_alone("metadata.labels"):
        _, _, label = SERVICE_PATHS["metadata.labels"]
        metadata["labels"] = {name: value for name, value in metadata["labels"].items() if name != label}
    for name in ("externalTrafficPolicy", "healthCheckNodePort"):
        if held.ours_alone(f"spec.{name}"):
            spec.pop(name, None)
    metadata["managedFields"] = taken_from_others(metadata.get("managedFields") or (), ())
    released = {**observed, "metadata": metadata, "spec": spec}
    return completed(SERVICES, released, family=Family.IPV4)


def _held(before: Body, changed: Iterable[Steps], fields: Iterable[Steps]) -> list[Body]:
    return [*taken_from_others(before.get("managedFields") or (), changed), our_entry(fields)]
