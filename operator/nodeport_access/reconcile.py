"""One pass over one Service: gather, plan, write what drifted, then write the status of what is observed.

Level-based: the same pass serves creation, change, deletion and repair. Not the business of this module: what is
wanted (``plan``), whether it holds (``verdict``), or when the next pass comes (``controller``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from logging import Logger
from typing import Protocol

from nodeport_access.api import Body, Policy, PolicyKey, Reason, ServiceKey
from nodeport_access.checks import Case, not_ours
from nodeport_access.contention import Contention
from nodeport_access.kube import (
    NETWORK_POLICIES,
    POLICIES,
    SERVICES,
    ApiError,
    Applied,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Resource,
    SchemaOutdated,
)
from nodeport_access.metrics import Metrics
from nodeport_access.outcome import Done, Failure, Kind, Outcome, Stalled, Wait
from nodeport_access.plan import Verb, Write, plan
from nodeport_access.snapshot import Snapshot
from nodeport_access.status import Drift, drift_of, same_status, status_body, status_of
from nodeport_access.store import Store

GARBAGE_COLLECTION_SECONDS = 5.0
"""What the garbage collector gets before we delete a child ourselves; it took 17 ms as a rule and 2.4 s after a new
CRD."""
STATUS_INTERVAL_SECONDS = 1.0
"""Between two status writes of one policy."""
FORBIDDEN_RETRY_SECONDS = 5.0
"""A permission that is granted works within seconds."""
COMPLAINT_SECONDS = 60.0
"""Between two log lines about the same failure."""
RECHECK_SECONDS = 300.0
"""The longest sleep before an expiry, so that a wall clock that jumps is noticed."""

DONE_WORDS = {Verb.CREATE: "created", Verb.UPDATE: "updated", Verb.RELEASE: "released", Verb.DELETE: "deleted"}


class Api(Protocol):
    """What a pass needs of the API server: ``kube.Client``, or the demo's cluster in memory."""

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Body:
        """Reads one object."""

    async def apply(self, resource: Resource, *, namespace: str | None, name: str, body: Body, force: bool) -> Applied:
        """Server-side apply."""

    async def apply_status(self, resource: Resource, *, namespace: str | None, name: str, body: Body) -> Body:
        """Server-side apply of the status subresource."""

    async def delete(
        self, resource: Resource, *, namespace: str | None, name: str, uid: str, resource_version: str
    ) -> bool:
        """Deletes with preconditions; False where it was gone already."""


class _OutdatedError(Exception):
    """The view that the plan was made from is known to be old: begin the pass again."""


@dataclass(slots=True)
class _Pass:
    """What one pass has come to so far."""

    failures: dict[str, Failure] = field(default_factory=dict)
    drifts: dict[PolicyKey, Drift] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    stopped: set[PolicyKey | None] = field(default_factory=set)
    retry: str = ""


class Reconciler:
    """Carries out passes. ``clock`` is wall time, ``time`` monotonic seconds."""

    def __init__(
        self,
        *,
        api: Api,
        store: Store,
        metrics: Metrics,
        clock: Callable[[], datetime],
        time: Callable[[], float],
        log: Logger,
    ) -> None:
        self._api = api
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._time = time
        self._log = log
        self._contention = Contention()
        self._left_since: dict[ServiceKey, dict[str, float]] = {}
        self._status_written: dict[PolicyKey, float] = {}
        self._untold: dict[PolicyKey, Drift] = {}
        self._said: dict[tuple[ServiceKey, str], float] = {}

    async def reconcile(self, key: ServiceKey) -> Outcome:
        """One pass. Raises nothing for what the API server answers: failures are in the outcome and in status."""
        current = _Pass()
        before = self._store.snapshot(key, self._clock())
        try:
            for write in plan(before):
                await self._attempt(key, write, current)
        except _OutdatedError:
            return Wait("the view was out of date", 0.0)
        finally:
            # The status that tells of them may have to wait for a later pass.
            self._untold |= current.drifts
        after = self._store.snapshot(key, self._clock())
        for policy in after.policies:
            if not policy.deleting:
                await self._report(after, policy, current)
        self._tidy(key, after)
        return _outcome(after, current)

    async def _attempt(self, key: ServiceKey, write: Write, current: _Pass) -> None:
        if write.policy in current.stopped:
            return
        if (delay := self._hold(key, write)) > 0:
            current.delays.append(delay)
            return
        try:
            await self._carry_out(write)
        except ApiError as error:
            failure = _failure(write, error)
            current.failures[write.object] = failure
            if write.policy is not None:
                # What follows in the closing order would cut allowed clients off without what was to come before it.
                current.stopped.add(write.policy)
            if not (isinstance(error, Forbidden) and error.namespace_terminating):
                self._complain(key, write, failure)
            return
        self._said.pop((key, write.object), None)
        self._note(key, write, current)

    def _hold(self, key: ServiceKey, write: Write) -> float:
        """Seconds that this write has to wait for somebody else: the garbage collector, or a writer that is
        out-waited."""
        if write.after_garbage_collection:
            since = self._left_since.setdefault(key, {}).setdefault(write.uid, self._time())
            return since + GARBAGE_COLLECTION_SECONDS - self._time()
        if write.kind is Kind.SERVICE and write.verb is Verb.UPDATE and write.drift is not None:
            return self._contention.delay(key, now=self._time())
        return 0.0

    async def _carry_out(self, write: Write) -> None:
        match write.verb:
            case Verb.CREATE:
                if write.drift is not None:
                    await self._read_afresh(write)
                await self._create(write)
            case Verb.UPDATE | Verb.RELEASE:
                await self._update(write)
            case Verb.DELETE:
                await self._delete(write)

    async def _read_afresh(self, write: Write) -> None:
        """A child that vanished may have gone with its policy, of which the news comes on another way."""
        assert write.policy is not None
        known = self._store.policies.get(write.policy.namespace, write.policy.name)
        try:
            body = await self._api.get(POLICIES, namespace=write.policy.namespace, name=write.policy.name)
        except NotFound:
            if known is not None:
                self._store.policies.forget(write.policy.namespace, write.policy.name, known.uid)
            raise _OutdatedError from None
        self._store.policies.put(body)
        if self._store.policies.get(write.policy.namespace, write.policy.name) != known:
            raise _OutdatedError

    async def _create(self, write: Write) -> None:
        assert write.body is not None
        applied = await self._api.apply(
            NETWORK_POLICIES, namespace=write.namespace, name=write.name, body=write.body, force=False
        )
        self._store.network_policies.put(applied.object)
        if applied.created:
            return
        observed = self._store.network_policies.get(write.namespace, write.name)
        if observed is not None and observed.ownership.others.keys() & {"spec.podSelector", "spec.policyTypes"}:
            # It was there, and somebody else's: 201 alone proves a creation. Only ours: an answer of ours was lost.
            await self._withdraw(write, applied.object)

    async def _withdraw(self, write: Write, observed: Body) -> None:
        metadata = {"name": write.name, "namespace": write.namespace, "uid": observed["metadata"]["uid"]}
        nothing: Body = {"apiVersion": observed["apiVersion"], "kind": observed["kind"], "metadata": metadata}
        applied = await self._api.apply(
            NETWORK_POLICIES, namespace=write.namespace, name=write.name, body=nothing, force=False
        )
        self._store.network_policies.put(applied.object)
        raise Conflict(status=409, reason="AlreadyExists", message="the object was there before")

    async def _update(self, write: Write) -> None:
        assert write.body is not None
        resource = SERVICES if write.kind is Kind.SERVICE else NETWORK_POLICIES
        shelf = self._store.services if write.kind is Kind.SERVICE else self._store.network_policies
        try:
            try:
                applied = await self._api.apply(
                    resource, namespace=write.namespace, name=write.name, body=write.body, force=True
                )
            except Invalid:
                # The number may be somebody else's by now: Local matters more than the load balancer's probe port.
                body = _without_health_check(write.body)
                if body is None:
                    raise
                applied = await self._api.apply(
                    resource, namespace=write.namespace, name=write.name, body=body, force=True
                )
        except Conflict as error:
            if not error.object_missing:
                raise
            shelf.forget(write.namespace, write.name, write.uid)
            raise _OutdatedError from None
        shelf.put(applied.object)

    async def _delete(self, write: Write) -> None:
        try:
            await self._api.delete(
                NETWORK_POLICIES,
                namespace=write.namespace,
                name=write.name,
                uid=write.uid,
                resource_version=write.resource_version,
            )
        except Conflict:
            raise _OutdatedError from None
        self._store.network_policies.forget(write.namespace, write.name, write.uid)

    def _note(self, key: ServiceKey, write: Write, current: _Pass) -> None:
        now = self._clock()
        drift = drift_of(write, now)
        if drift is not None and write.policy is not None:
            # What opened access comes first in a plan, and is what status should tell of.
            current.drifts.setdefault(write.policy, drift)
            self._metrics.drifted(kind=str(write.kind), field=drift.field, effect=str(drift.effect))
            if write.kind is Kind.SERVICE:
                self._contention.repaired(key, writer=drift.writer, now=self._time())
        fields = [difference.path for difference in write.differences]
        extra = {
            "namespace": write.namespace,
            "service": key.name,
            "policy": write.policy.name if write.policy else "",
            "object": write.object,
            "fields": fields,
        }
        if drift is not None:
            extra |= {"writer": drift.writer, "effect": str(drift.effect)}
        self._log.info("%s %s in %s", write.object, DONE_WORDS[write.verb], write.namespace, extra=extra)

    def _complain(self, key: ServiceKey, write: Write, failure: Failure) -> None:
        said = self._said.get((key, write.object))
        if said is not None and self._time() - said < COMPLAINT_SECONDS:
            return
        self._said[key, write.object] = self._time()
        self._log.warning(
            "%s in %s not %s: %s",
            write.object,
            write.namespace,
            DONE_WORDS[write.verb],
            failure.message,
            extra={
                "namespace": write.namespace,
                "service": key.name,
                "object": write.object,
                "reason": str(failure.reason),
            },
        )

    async def _report(self, snapshot: Snapshot, policy: Policy, current: _Pass) -> None:
        contender = self._contention.contender(snapshot.key, now=self._time())
        case = Case(snapshot=snapshot, policy=policy, failures=current.failures, contender=contender)
        wanted = status_of(case, drift=self._untold.get(policy.key))
        if same_status(policy.status, wanted):
            self._log.debug("policy %s unchanged", policy.key)
            self._untold.pop(policy.key, None)
            return
        since = self._time() - self._status_written.get(policy.key, float("-inf"))
        if since < STATUS_INTERVAL_SECONDS:
            current.delays.append(STATUS_INTERVAL_SECONDS - since)
            return
        name = policy.key.name
        try:
            answer = await self._api.apply_status(
                POLICIES, namespace=policy.key.namespace, name=name, body=status_body(case, wanted)
            )
        except NotFound:
            self._store.policies.forget(policy.key.namespace, name, policy.uid)
            current.delays.append(0.0)
            return
        except Conflict:
            current.retry = "the policy has changed meanwhile"
            return
        except ApiError as error:
            failure = _refusal(error)
            current.failures[f"status of {policy.key}"] = failure
            self._complain_status(snapshot.key, policy, failure)
            return
        self._status_written[policy.key] = self._time()
        self._untold.pop(policy.key, None)
        self._store.policies.put(answer)
        ready = wanted["conditions"][0]
        self._log.info(
            "policy %s: Ready is %s, %s",
            policy.key,
            ready["status"],
            ready["reason"],
            extra={
                "namespace": policy.key.namespace,
                "policy": name,
                "ready": ready["status"],
                "reason": ready["reason"],
            },
        )

    def _complain_status(self, key: ServiceKey, policy: Policy, failure: Failure) -> None:
        where = (key, f"status of {policy.key}")
        if self._time() - self._said.get(where, float("-inf")) < COMPLAINT_SECONDS:
            return
        self._said[where] = self._time()
        self._log.warning("status of policy %s not written: %s", policy.key, failure.message)

    def _tidy(self, key: ServiceKey, after: Snapshot) -> None:
        """Forgets what was remembered for objects that are gone, so that memory follows the cluster."""
        uids = {child.uid for child in after.children.values()}
        left = {uid: since for uid, since in self._left_since.pop(key, {}).items() if uid in uids}
        if left:
            self._left_since[key] = left
        if after.holder is None:
            self._contention.forget(key)
        if not after.policies:
            for where in [where for where in self._said if where[0] == key]:
                del self._said[where]
        for policy in [policy for policy in self._status_written if self._expired(policy)]:
            del self._status_written[policy]
        policies = self._store.policies
        for policy in [policy for policy in self._untold if policies.get(policy.namespace, policy.name) is None]:
            del self._untold[policy]

    def _expired(self, policy: PolicyKey) -> bool:
        return self._time() - self._status_written[policy] > STATUS_INTERVAL_SECONDS


def _without_health_check(body: Body) -> Body | None:
    spec = body.get("spec") or {}
    if "healthCheckNodePort" not in spec:
        return None
    return {**body, "spec": {name: value for name, value in spec.items() if name != "healthCheckNodePort"}}


def _failure(write: Write, error: ApiError) -> Failure:
    if write.verb is Verb.CREATE and isinstance(error, Conflict):
        return Failure(reason=Reason.NAME_CONFLICT, message=not_ours(write.name))
    return _refusal(error)


def _refusal(error: ApiError) -> Failure:
    match error:
        case Forbidden() if not error.namespace_terminating:
            return Failure(reason=Reason.APPLY_FORBIDDEN, message=error.message)
        case Invalid() | SchemaOutdated():
            return Failure(reason=Reason.APPLY_REFUSED, message=error.message)
        case _:
            return Failure(reason=Reason.APPLY_FAILED, message=str(error))


def _outcome(after: Snapshot, current: _Pass) -> Outcome:
    if any(failure.reason is Reason.APPLY_FORBIDDEN for failure in current.failures.values()):
        current.delays.append(FORBIDDEN_RETRY_SECONDS)
    due = min([*current.delays, *_expiries(after)], default=None)
    passing = [failure for failure in current.failures.values() if not failure.lasting]
    if passing or current.retry:
        return Wait(current.retry or passing[0].message, at_latest=due)
    if current.failures:
        message = next(iter(current.failures.values())).message
        return Wait(message, due) if due is not None else Stalled(message)
    return Done(due)


def _expiries(after: Snapshot) -> list[float]:
    """Seconds until the next entry of a policy ends, whose allowlist has to change on the second."""
    left = [
        (entry.expires_at - after.now).total_seconds()
        for policy in after.policies
        for entry in policy.allowed
        if not policy.deleting and entry.expires_at is not None and entry.in_force(after.now)
    ]
    return [min(seconds, RECHECK_SECONDS) for seconds in left]
