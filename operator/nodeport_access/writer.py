"""Carries out one write of a plan, and puts the answer into the store at once.

Not the business of this module: which writes there are and in which order (``plan``), what a failure means for the pass
(``reconcile``), or the status of policies (``reporter``).
"""

from __future__ import annotations

from typing import Protocol

from nodeport_access.api import Body, PolicyKey
from nodeport_access.drift import stripped_metadata
from nodeport_access.kube import NETWORK_POLICIES, POLICIES, SERVICES, Applied, Conflict, Invalid, NotFound, Resource
from nodeport_access.outcome import Kind
from nodeport_access.plan import Verb, Write
from nodeport_access.store import Store

NOTHING_YET = "1"
"""The resourceVersion of no object: etcd is at 1 before its first write. An apply with it creates an object, and is
refused where there is one; without, it is carried out on a stranger's with which no field conflicts."""


class Api(Protocol):
    """What a pass needs of the API server: ``kube.Client``, or the demo's cluster in memory."""

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Body:
        """Reads one object."""

    async def apply(self, resource: Resource, *, namespace: str | None, name: str, body: Body, force: bool) -> Applied:
        """Server-side apply."""

    async def apply_status(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """Server-side apply of the status subresource."""

    async def replace_metadata(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str, metadata: Body
    ) -> Body:
        """Replaces whole fields of metadata, with preconditions."""

    async def delete(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str
    ) -> Body | None:
        """Deletes with preconditions; the object where it lingers, None where it is gone."""


class OutdatedError(Exception):
    """What the plan was made from is known to be old. ``corrected``: the store knows better by now, so that the pass
    can begin again at once; else the news is still on its way."""

    def __init__(self, *, corrected: bool) -> None:
        super().__init__("the view was out of date")
        self.corrected = corrected


class Writer:
    """Every method raises the ApiErrors of ``kube``, and OutdatedError."""

    def __init__(self, *, api: Api, store: Store) -> None:
        self._api = api
        self._store = store

    async def carry_out(self, write: Write) -> None:
        """Carries out one write. Conflict means that something has the name of a new child."""
        match write.verb:
            case Verb.CREATE:
                if write.differences:
                    await self._read_policy_afresh(write.policy)
                if write.strips_first:
                    await self._strip(write)
                await self._create(write)
            case Verb.UPDATE:
                if write.strips_first:
                    await self._strip(write)
                await self._update(write)
            case Verb.RELEASE:
                await self._read_policy_afresh(write.former)
                await self._update(write)
            case Verb.STRIP:
                await self._strip(write)
            case Verb.DELETE:
                await self._delete(write)

    async def _read_policy_afresh(self, policy: PolicyKey | None) -> None:
        """A child that vanished may have gone with its policy, and a policy that is gone may have been made anew: the
        news comes on another way."""
        if policy is None:
            return
        policies, namespace, name = self._store.policies, policy.namespace, policy.name
        known = policies.get(namespace, name)
        try:
            policies.put(await self._api.get(POLICIES, namespace=namespace, name=name))
        except NotFound as error:
            if not error.object_missing:
                raise
            if known is not None:
                policies.forget(namespace, name, known.uid)
        if policies.get(namespace, name) != known:
            raise OutdatedError(corrected=True)

    async def _create(self, write: Write) -> None:
        """Whatever has the name already is left untouched, be it a stranger's or our own whose answer was lost."""
        body = write.body or {}
        guarded = {**body, "metadata": {**body["metadata"], "resourceVersion": NOTHING_YET}}
        await self._apply(write, guarded, force=False)

    async def _update(self, write: Write) -> None:
        body = write.body or {}
        try:
            try:
                await self._apply(write, body, force=True)
            except Invalid:
                # The number may be somebody else's by now: Local matters more than the load balancer's probe port.
                if (without := _without_health_check(body)) == body:
                    raise
                await self._apply(write, without, force=True)
        except Conflict as error:
            if not error.object_missing:
                raise
            shelf = self._store.services if write.kind is Kind.SERVICE else self._store.network_policies
            shelf.forget(write.namespace, write.name, write.uid)
            raise OutdatedError(corrected=True) from None

    async def _strip(self, write: Write) -> None:
        """Takes off what others added, as far as it is there now: an apply of this pass may have come before."""
        shelf = self._store.network_policies
        observed = shelf.get(write.namespace, write.name)
        metadata = stripped_metadata(write.body, observed) if observed is not None else {}
        if observed is None or observed.uid != write.uid or not metadata:
            raise OutdatedError(corrected=True)
        try:
            stripped = await self._api.replace_metadata(
                NETWORK_POLICIES,
                namespace=write.namespace,
                name=write.name,
                uid=write.uid,
                resource_version=observed.resource_version,
                metadata=metadata,
            )
        except NotFound as error:
            if not error.object_missing:
                raise
            shelf.forget(write.namespace, write.name, write.uid)
            raise OutdatedError(corrected=True) from None
        except Conflict:
            raise OutdatedError(corrected=False) from None
        if observed.deleting:
            # Its last finalizer held it; what is answered is how it looked when it went.
            shelf.forget(write.namespace, write.name, write.uid)
        else:
            shelf.put(stripped)

    async def _apply(self, write: Write, body: Body, *, force: bool) -> Applied:
        service = write.kind is Kind.SERVICE
        resource = SERVICES if service else NETWORK_POLICIES
        applied = await self._api.apply(resource, namespace=write.namespace, name=write.name, body=body, force=force)
        # The event of this write may have come before its answer; no CRD can make another object of either kind.
        (self._store.services if service else self._store.network_policies).hear(applied.object)
        return applied

    async def _delete(self, write: Write) -> None:
        try:
            left = await self._api.delete(
                NETWORK_POLICIES,
                namespace=write.namespace,
                name=write.name,
                uid=write.uid,
                resource_version=write.resource_version,
            )
        except Conflict:
            raise OutdatedError(corrected=False) from None
        if left is not None:
            self._store.network_policies.put(left)
        else:
            self._store.network_policies.forget(write.namespace, write.name, write.uid)


def _without_health_check(body: Body) -> Body:
    spec = {name: value for name, value in body.get("spec", {}).items() if name != "healthCheckNodePort"}
    return {**body, "spec": spec} if "spec" in body else body
