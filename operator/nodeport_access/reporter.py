"""Writes the status of policies: when it changed, at most once a second for each, guarded by the version that was seen;
and knows when Ready is lost and regained.

Not the business of this module: what a status says (``status``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from logging import Logger
from math import inf

from nodeport_access.api import Body, ConditionType, Policy, PolicyKey, ServiceKey
from nodeport_access.checks import Case
from nodeport_access.conditions import Status, denied, is_true
from nodeport_access.events import Tell, ready_changed
from nodeport_access.kube import POLICIES, Conflict, NotFound, SchemaOutdated
from nodeport_access.snapshot import Snapshot
from nodeport_access.status import Drift, as_far_as_known, same_status, status_after_fault, status_body, status_of
from nodeport_access.store import Store
from nodeport_access.writer import Api

INTERVAL_SECONDS = 1.0
"""Between two status writes of one policy."""


@dataclass(frozen=True, slots=True)
class Reported:
    """Nothing is left to report. ``policy``: as it stands with the status that was written for it, None where none was,
    or where another stands."""

    policy: Policy | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """Something is left to report: after ``delay`` seconds, or after the queue's backoff where that is None."""

    delay: float | None


class Reporter:
    """Remembers what it wrote within the last second, drifts that no status has told of yet, and who lost Ready."""

    def __init__(self, *, api: Api, store: Store, tell: Tell, time: Callable[[], float], log: Logger) -> None:
        self._api = api
        self._store = store
        self._tell = tell
        self._time = time
        self._log = log
        self._written: dict[PolicyKey, float] = {}
        self._tidied_at = -inf
        self._untold: dict[PolicyKey, Drift] = {}
        self._lost: dict[ServiceKey, set[str]] = {}  # uids: a namesake that comes later has lost nothing

    def tell_of(self, policy: PolicyKey, drift: Drift) -> None:
        """Has the next status of this policy tell of a drift, should that have to wait for a later pass."""
        self._untold[policy] = drift

    def has_news(self, case: Case) -> bool:
        """Whether its status has to change by more than the drift that it tells of; not where it is being deleted."""
        if case.policy.deleting:
            return False
        return not same_status(case.policy.status, status_of(case, drift=None))

    async def report(self, case: Case) -> Reported | Later:
        """Writes the status if it changed. Raises the ApiErrors of ``kube``: SchemaOutdated also where all was written
        that the installed CRD knows."""
        return await self._report(case.policy, status_of(case, drift=self._untold.get(case.policy.key)))

    async def confess(self, policy: Policy, *, fault: str, now: datetime) -> None:
        """Writes that the operator itself failed over this policy, unless that stands there or was just written. Raises
        the ApiErrors of ``kube``."""
        await self._report(policy, status_after_fault(policy, fault=fault, now=now))

    async def _report(self, policy: Policy, wanted: Body) -> Reported | Later:
        self._tidy()
        if same_status(policy.status, wanted):
            self._untold.pop(policy.key, None)
            self._log.debug("policy %s unchanged", policy.key)
            return Reported()
        if (left := self._written.get(policy.key, -inf) + INTERVAL_SECONDS - self._time()) > 0:
            return Later(left)
        try:
            answer, wanted, outdated = await self._apply_as_far_as_known(policy, wanted)
            if strays := denied(answer.get("status") or {}, wanted["conditions"]):
                moved = replace(policy, resource_version=answer["metadata"]["resourceVersion"])
                answer = await self._apply(moved, {**wanted, "conditions": [*wanted["conditions"], *strays]})
        except NotFound as error:
            if not error.object_missing:
                raise
            self._store.policies.forget(policy.key.namespace, policy.key.name, policy.uid)
            return Later(0.0)
        except Conflict:
            # It has changed meanwhile; the news is on its way.
            return Later(None)
        self._written[policy.key] = self._time()
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
                "policy": policy.key.name,
                "ready": ready["status"],
                "reason": ready["reason"],
            },
        )
        self._note_ready(policy, ready)
        if outdated is not None:
            raise outdated
        stored = self._store.policies.get(policy.key.namespace, policy.key.name)
        return Reported(stored if stored is not None and same_status(stored.status, wanted) else None)

    async def _apply_as_far_as_known(self, policy: Policy, wanted: Body) -> tuple[Body, Body, SchemaOutdated | None]:
        """Applies what the installed CRD knows of a status: the answer, what was sent, and the error where that is not
        all. Raises it where that stands there already. Each refusal names one field."""
        unknown: frozenset[str] = frozenset()
        outdated, left = None, wanted
        while True:
            try:
                return await self._apply(policy, left), left, outdated
            except SchemaOutdated as error:
                if not error.unknown_to_status - unknown:
                    raise
                unknown |= error.unknown_to_status
                outdated, left = error, as_far_as_known(wanted, unknown=unknown)
                if same_status(policy.status, left):
                    raise

    async def _apply(self, policy: Policy, status: Body) -> Body:
        return await self._api.apply_status(
            POLICIES, namespace=policy.key.namespace, name=policy.key.name, body=status_body(policy, status)
        )

    def forget_gone(self, after: Snapshot) -> None:
        """Forgets who lost Ready, of the policies of this Service that are gone."""
        left = self._lost.pop(after.key, set()) & {policy.uid for policy in after.policies}
        if left:
            self._lost[after.key] = left

    def _note_ready(self, policy: Policy, ready: Body) -> None:
        """Ready that is lost is worth an Event, and so is that it is back; that it comes for the first time is not. A
        policy that lost it under an earlier process gets no second Event: status does not tell that it ever was."""
        was, is_now = is_true(policy.status, ConditionType.READY), ready["status"] == Status.TRUE
        lost = self._lost.setdefault(policy.service, set())
        if was and not is_now:
            lost.add(policy.uid)
            self._tell(ready_changed(policy, ready))
        elif is_now and policy.uid in lost:
            lost.remove(policy.uid)
            self._tell(ready_changed(policy, ready))

    def _tidy(self) -> None:
        now, policies = self._time(), self._store.policies
        if now - self._tidied_at < INTERVAL_SECONDS:
            return
        self._tidied_at = now
        self._written = {key: at for key, at in self._written.items() if now - at < INTERVAL_SECONDS}
        gone = [key for key in self._untold if policies.get(key.namespace, key.name) is None]
        for key in gone:
            del self._untold[key]
