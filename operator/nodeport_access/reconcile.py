"""One pass over one Service: gather, plan, write what drifted, then report the status of what is observed.

Level-based: the same pass serves creation, change, deletion and repair. Not the business of this module: what is wanted
(``plan``), how it is written (``writer``, ``reporter``), whether it holds (``verdict``), or when the next pass comes
(``controller``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from logging import Logger

from nodeport_access.api import Effect, Mode, Policy, PolicyKey, ServiceKey, TrafficPolicy
from nodeport_access.checks import Case, not_ours
from nodeport_access.complaints import Complaints
from nodeport_access.contention import Contention, Pace
from nodeport_access.doubts import Doubts
from nodeport_access.drift import TRAFFIC_POLICY
from nodeport_access.events import Tell, drift_repaired
from nodeport_access.kube import ApiError, Conflict, Forbidden, Unreachable
from nodeport_access.last_drifts import LastDrifts
from nodeport_access.metrics import Metrics
from nodeport_access.outcome import Done, Failed, Failure, Kind, Outcome, Stalled, Wait
from nodeport_access.patience import Patience
from nodeport_access.plan import DELETED, Verb, Write, plan
from nodeport_access.reasons import Reason
from nodeport_access.refusals import failure_of, is_cut_off, topic_of
from nodeport_access.reporter import Later, Reported, Reporter
from nodeport_access.silence import Silence
from nodeport_access.snapshot import Snapshot
from nodeport_access.status import Drift, drift_of
from nodeport_access.store import Store
from nodeport_access.writer import Api, OutdatedError, Writer

GARBAGE_COLLECTION_SECONDS = 5.0
"""What the garbage collector gets before we delete a child ourselves; it took 17 ms as a rule and 2.4 s after a new
CRD."""
FINALIZER_SECONDS = 3.0
"""What somebody gets who holds a child by a finalizer that nobody wants any more, before we take that off."""
AGAIN_SECONDS = 1.0
"""When a pass that could not tell yet is followed by another, if nothing else brings one."""
FORBIDDEN_RETRY_SECONDS = 5.0
"""A permission that is granted works within seconds."""

DONE_WORDS = {
    Verb.CREATE: "created",
    Verb.UPDATE: "updated",
    Verb.STRIP: "stripped",
    Verb.RELEASE: "released",
    Verb.DELETE: "deleted",
}


@dataclass(slots=True)
class _Pass:
    """What one pass has come to so far."""

    failures: dict[str, Failure] = field(default_factory=dict)
    drifts: dict[PolicyKey, Drift] = field(default_factory=dict)
    told: dict[PolicyKey, Policy] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    put_off: dict[str, float] = field(default_factory=dict)
    tried_in_vain: bool = False
    stopped: set[PolicyKey | None] = field(default_factory=set)
    retry: str = ""
    cut_off: bool = False


class Reconciler:
    """Carries out passes. ``clock`` is wall time, ``time`` monotonic seconds, ``tell`` takes what is worth an Event,
    ``caught_up`` that a pass has seen, and found as wanted, all that its Service was touched for until then."""

    def __init__(
        self,
        *,
        api: Api,
        store: Store,
        metrics: Metrics,
        tell: Tell,
        clock: Callable[[], datetime],
        time: Callable[[], float],
        log: Logger,
        complaints: Complaints | None = None,
        caught_up: Callable[[ServiceKey], None] = lambda _: None,
        silence: Silence | None = None,
    ) -> None:
        self._caught_up = caught_up
        self._store = store
        self._metrics = metrics
        self._tell = tell
        self._clock = clock
        self._time = time
        self._log = log
        self._writer = Writer(api=api, store=store)
        self._reporter = Reporter(api=api, store=store, tell=tell, time=time, log=log)
        self._contention = Contention()
        self._last_drifts = LastDrifts()
        self._patience = Patience()
        self._doubts = Doubts()
        self._complaints = complaints or Complaints(time=time)
        self._silence = silence or Silence(time=time)
        self._left_since: dict[ServiceKey, dict[tuple[str, Verb], float]] = {}

    async def reconcile(self, key: ServiceKey, *, telling: bool = True) -> Outcome:
        """One pass, which leaves status for a later one unless it is ``telling``. Raises nothing: neither what the API
        server answers nor a fault of ours over this Service, which must not end the guard of all others; both are in
        the outcome and in status."""
        try:
            outcome = await self._pass(key, telling=telling)
        except Exception as error:
            self._silence.end(key)
            await self._confess(key, error)
            return Failed(repr(error))
        self._complaints.settle((key, "fault"))
        return outcome

    def fights(self) -> Iterator[tuple[ServiceKey, int]]:
        """Each Service with what another writer keeps taking back now, counted."""
        return self._contention.fights(now=self._time())

    def last_drifts(self, policy: Policy) -> Mapping[Effect, datetime]:
        """When a policy's objects last drifted, by what that did to access."""
        return self._last_drifts.of(policy)

    async def _confess(self, key: ServiceKey, error: Exception) -> None:
        fault = type(error).__name__
        if self._complaints.due((key, "fault")):
            self._log.error(
                "pass over service %s failed by a fault of the operator: %s",
                key,
                fault,
                exc_info=error,
                extra={"namespace": key.namespace, "service": key.name},
            )
        for policy in self._store.policies_of(key):
            if not policy.deleting:
                with suppress(ApiError):  # the next try tells it
                    await self._reporter.confess(policy, fault=fault, now=self._clock())

    async def _pass(self, key: ServiceKey, *, telling: bool) -> Outcome:
        current = _Pass()
        before = self._store.snapshot(key, self._clock())
        try:
            due, proved = self._doubts.settle(key, plan(before))
            for write in proved:
                self._note(key, write, current)
            for write in due:
                await self._attempt(key, write, current)
        except OutdatedError as outdated:
            return Wait(str(outdated), 0.0 if outdated.corrected else None)
        finally:
            for name, drift in current.drifts.items():
                self._reporter.tell_of(name, drift)
            if current.drifts:
                self._silence.repaired()
        after = self._store.snapshot(key, self._clock()) if due else before
        if not (current.failures or current.delays) and not (telling and self._tells_now(after, current)):
            if due and not plan(after):
                self._caught_up(key)
            again = self._silence.seconds_left(key) if telling else AGAIN_SECONDS
            return Done(min([again, *_expiries(after)]))
        self._silence.end(key)
        for policy in after.policies:
            if not policy.deleting:
                await self._report(after, policy, current)
        self._tidy(key, after)
        if (due or current.told) and not (current.failures or current.delays or current.retry):
            self._overlook_echoes(key, after, current)
        return _outcome(after, current)

    def _tells_now(self, after: Snapshot, current: _Pass) -> bool:
        """Whatever is more than the news of a repair has somebody who waits for it."""
        if not self._silence.keeps(after.key, repaired=bool(current.drifts)):
            return True
        return any(self._reporter.has_news(self._case(after, policy, current)) for policy in after.policies)

    def _overlook_echoes(self, key: ServiceKey, after: Snapshot, current: _Pass) -> None:
        """Our own writes touch the Service too. Where they are all that has happened since, and came to what is wanted,
        another pass would find nothing; it would cost as much as this one."""
        if any(policy.mode is Mode.AUDIT for policy in current.told.values()):
            return  # its plan tells also what status said stood there: it may be another now
        now = self._store.snapshot(key, self._clock())
        told = tuple(current.told.get(policy.key, policy) for policy in after.policies)
        if now == replace(after, now=now.now, policies=told) and not plan(now):
            self._caught_up(key)

    async def _attempt(self, key: ServiceKey, write: Write, current: _Pass) -> None:
        if write.policy in current.stopped:
            return
        if (delay := self._hold(key, write)) > 0:
            current.delays.append(delay)
            return
        if self._is_put_off(key, write.object, current):
            _stop(write, current)
            return
        try:
            await self._writer.carry_out(write)
        except ApiError as error:
            failure = self._failure(write, error)
            self._doubts.failed(key, write, unanswered=isinstance(error, Unreachable) and not error.status)
            self._fail(key, write.object, failure, error, current)
            _stop(write, current)
            if not (isinstance(error, Forbidden) and error.namespace_terminating):
                self._complain(key, write, failure, error)
            return
        self._doubts.done(key, write)
        self._complaints.settle((key, write.object))
        self._note(key, write, current)

    def _failure(self, write: Write, error: ApiError) -> Failure:
        # A conflict proves no stranger: where nobody has heard of his object yet, its event or the next try tells.
        seen = self._store.network_policies.get(write.namespace, write.name)
        theirs = seen is not None and write.policy is not None and not seen.is_child_of(write.policy.name)
        if write.verb is Verb.CREATE and isinstance(error, Conflict) and theirs:
            return Failure(reason=Reason.NAME_CONFLICT, message=not_ours(write.name))
        return failure_of(error)

    def _is_put_off(self, key: ServiceKey, what: str, current: _Pass) -> bool:
        """Whether the API server has asked not to be sent this yet; until then it counts as failed."""
        if (still := self._patience.still(key, what, now=self._time())) is None:
            return False
        current.failures[what], current.put_off[what] = still
        return True

    def _fail(self, key: ServiceKey, what: str, failure: Failure, error: ApiError, current: _Pass) -> None:
        current.failures[what] = failure
        current.put_off[what] = self._patience.put_off(key, what, failure, now=self._time())
        current.tried_in_vain |= not failure.lasting
        current.cut_off |= is_cut_off(error)

    def _hold(self, key: ServiceKey, write: Write) -> float:
        """Seconds that this write has to wait for somebody else: those whose turn it is to let go of the object, or a
        writer that is out-waited."""
        if write.after_others:
            since = self._left_since.setdefault(key, {}).setdefault((write.uid, write.verb), self._time())
            grace = FINALIZER_SECONDS if write.verb is Verb.STRIP else GARBAGE_COLLECTION_SECONDS
            return since + grace - self._time()
        what = _fought_over(write)
        return self._contention.delay(key, what, pace=_pace(write), now=self._time()) if what else 0.0

    def _note(self, key: ServiceKey, write: Write, current: _Pass) -> None:
        now = self._clock()
        drift = drift_of(write, now)
        if drift is not None and write.policy is not None:
            # What opened access comes first in a plan, and is what status should tell of.
            current.drifts.setdefault(write.policy, drift)
            self._metrics.drifted(kind=str(write.kind), field=drift.field, effect=str(drift.effect))
            if (policy := self._store.policies.get(write.policy.namespace, write.policy.name)) is not None:
                self._last_drifts.note(policy, drift.effect, now=now)
                self._tell(drift_repaired(policy, write, drift))
        what = _fought_over(write)
        if what and (drift is not None or self._contention.going_on(key, what, now=self._time())):
            self._contention.repaired(key, what, writer=drift.writer if drift else "", now=self._time())
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

    def _complain(self, key: ServiceKey, write: Write, failure: Failure, error: ApiError) -> None:
        if not self._complaints.due(topic_of(error, write.kind, (key, write.object))):
            return
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
        status = f"status of policy {policy.key}"
        if self._is_put_off(snapshot.key, status, current):
            return
        try:
            left = await self._reporter.report(self._case(snapshot, policy, current))
        except ApiError as error:
            failure = failure_of(error)
            self._fail(snapshot.key, status, failure, error, current)
            if self._complaints.due(topic_of(error, "status", (snapshot.key, policy.key))):
                self._log.warning("%s not written: %s", status, failure.message)
            return
        self._complaints.settle((snapshot.key, policy.key))
        match left:
            case Reported(Policy() as told):
                current.told[policy.key] = told
            case Later(None):
                current.retry = "the policy has changed meanwhile"
            case Later(delay) if delay is not None:
                current.delays.append(delay)

    def _case(self, snapshot: Snapshot, policy: Policy, current: _Pass) -> Case:
        contender = self._contender(snapshot)
        return Case(snapshot=snapshot, policy=policy, failures=current.failures, contender=contender)

    def _contender(self, snapshot: Snapshot) -> str:
        """Who keeps taking the traffic policy back from the holder; nobody from one that does not manage it."""
        if snapshot.holder is None or snapshot.holder.traffic_policy is not TrafficPolicy.LOCAL:
            return ""
        what = _what(f"{Kind.SERVICE}/{snapshot.key.name}", TRAFFIC_POLICY)
        return self._contention.contender(snapshot.key, what, now=self._time())

    def _tidy(self, key: ServiceKey, after: Snapshot) -> None:
        """Forgets what was remembered for objects that are gone, so that memory follows the cluster."""
        uids = {child.uid for child in after.children.values()}
        left = {of: since for of, since in self._left_since.pop(key, {}).items() if of[0] in uids}
        if left:
            self._left_since[key] = left
        if after.holder is None:
            self._contention.forget(key)
        self._patience.tidy(key, now=self._time())
        self._last_drifts.tidy(key, after.policies)
        self._reporter.forget_gone(after)
        self._contention.tidy(key, now=self._time())


def _fought_over(write: Write) -> str:
    """The object and field that this write takes back from somebody else; empty where it does anything else besides,
    which is never held back. A child that is gone may have been deleted, whether status knew of it or not."""
    if write.policy is None:
        return ""
    if write.verb is Verb.CREATE:
        return _what(write.object, DELETED)
    if write.drift is None or not all(difference.foreign for difference in write.differences):
        return ""
    return _what(write.object, write.drift.path)


def _what(name: str, field: str) -> str:
    return f"{field} of {name}"


def _pace(write: Write) -> Pace:
    """A Service's traffic policy is out-waited whatever it opens: while it is taken back, the children still stand."""
    if write.kind is Kind.SERVICE:
        return Pace.PATIENT
    harmless = write.drift is not None and write.drift.effect is Effect.NONE and write.verb is not Verb.CREATE
    return Pace.PATIENT if harmless else Pace.URGENT


def _stop(write: Write, current: _Pass) -> None:
    """What must not follow a write that failed."""
    if write.verb is not Verb.STRIP:
        # Nothing is let go: what another policy left may be all that keeps the pods shut.
        current.stopped.add(None)
    if write.is_allowlist:
        # What follows in the closing order would cut allowed clients off.
        current.stopped.add(write.policy)


def _outcome(after: Snapshot, current: _Pass) -> Outcome:
    if any(failure.reason is Reason.APPLY_FORBIDDEN for failure in current.failures.values()):
        current.delays.append(FORBIDDEN_RETRY_SECONDS)
    due = min([*current.delays, *_expiries(after)], default=None)
    passing = {what: failure for what, failure in current.failures.items() if not failure.lasting}
    if passing or current.retry:
        message = current.retry or next(iter(passing.values())).message
        at_least = min((current.put_off[what] for what in passing), default=0.0)
        if not current.tried_in_vain and not current.retry:
            # A pass that an event brought on: it has tried nothing, so nothing grows.
            return Wait(message, min(at_least, due) if due is not None else at_least)
        return Wait(message, at_latest=due, cut_off=current.cut_off, at_least=at_least)
    if current.failures:
        message = next(iter(current.failures.values())).message
        return Wait(message, due) if due is not None else Stalled(message)
    return Done(due)


def _expiries(after: Snapshot) -> list[float]:
    """Seconds until the next entry of a policy ends, whose allowlist has to change on the second."""
    return [
        (entry.expires_at - after.now).total_seconds()
        for policy in after.policies
        for entry in policy.allowed
        if not policy.deleting and entry.expires_at is not None and entry.in_force(after.now)
    ]
