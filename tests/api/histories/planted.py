"""The operator with one bug planted in it, to show that histories find such a bug.

    PLANTED_BUG=no_requeue python -m tests.api.histories.planted run ...

Each bug is one that somebody could make in a hurry: a requeue, an index, an event, an order or a case is forgotten.
Not its business: finding them (`test_histories`).
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from nodeport_access import desired, plan, watches
from nodeport_access.__main__ import main
from nodeport_access.api import Body
from nodeport_access.controller import Controller
from nodeport_access.kube import WatchEvent
from nodeport_access.plan import Write
from nodeport_access.snapshot import Snapshot
from nodeport_access.store import Store
from nodeport_access.watches import Watch
from nodeport_access.workqueue import WorkQueue
from nodeport_access.writer import Writer

EVERY = 5
"""Of so many events one is dropped."""


def _nothing(*_: object) -> None:
    """In place of what is forgotten."""


def _replace(owner: object, name: str, by: Callable[..., Any]) -> None:
    setattr(owner, name, by)


def no_requeue() -> None:
    """What is due later (an expiry, a status within a second, the garbage collector's leavings) never comes."""
    _replace(WorkQueue, "add_after", _nothing)


def no_retry() -> None:
    """What failed is not tried again."""
    _replace(WorkQueue, "retry", lambda *_, **__: 0.0)


def forgets_sharing() -> None:
    """A change of one Service is no news for the others on its pods."""
    _replace(Store, "_touch_sharing", _nothing)


def forgets_pods() -> None:
    """A pod that comes, goes or changes its labels is no news for its Services."""
    _replace(Store, "_touch_services_of", _nothing)


def forgets_whom_children_were_made_for() -> None:
    """A child whose policy is gone no longer leads to its Service."""
    changed = Store._network_policy_changed

    def forgetting(self: Store, *change: Any) -> None:
        changed(self, *change)
        self._made_for.clear()

    _replace(Store, "_network_policy_changed", forgetting)


def drops_watch_events() -> None:
    """One event of five is not put into the store."""
    take, numbers = Watch._take, itertools.count(1)

    def dropping(self: Watch, event: WatchEvent) -> None:
        if next(numbers) % EVERY:
            take(self, event)

    _replace(Watch, "_take", dropping)


def drops_policy_events() -> None:
    """One live event of a policy of five is not put into the store."""
    numbers = itertools.count(1)
    for name in ("put_policy", "drop_policy"):
        take: Callable[[Controller, Body], None] = getattr(Controller, name)

        def dropping(self: Controller, body: Body, take: Callable[[Controller, Body], None] = take) -> None:
            if next(numbers) % EVERY:
                take(self, body)

        _replace(Controller, name, dropping)


def drops_deletions() -> None:
    """What was deleted is never heard of."""
    take = Watch._take

    def dropping(self: Watch, event: WatchEvent) -> None:
        if event.type != "DELETED":
            take(self, event)

    _replace(Watch, "_take", dropping)


def deletes_before_it_creates() -> None:
    """A child is changed by deleting it and making it anew."""
    update = Writer._update

    async def deleting(self: Writer, write: Write) -> None:
        if write.kind != "NetworkPolicy":
            await update(self, write)
            return
        seen = self._store.network_policies.get(write.namespace, write.name)
        assert seen is not None
        await self._delete(replace(write, resource_version=seen.resource_version))
        metadata = {key: value for key, value in (write.body or {})["metadata"].items() if key != "uid"}
        await self._apply(write, {**(write.body or {}), "metadata": metadata}, force=True)

    _replace(Writer, "_update", deleting)


def emits_empty_rules() -> None:
    """An allowlist that comes out empty is written as a rule from nobody, which the API takes for everyone."""
    allow_body = desired.allow_body

    def emptying(*arguments: Any) -> Body:
        body = allow_body(*arguments)
        if not body["spec"]["ingress"]:
            body["spec"]["ingress"] = [{"from": []}]
        return body

    _replace(desired, "allow_body", emptying)


def leaves_who_waits_open() -> None:
    """A policy that waits has no deny-all of its own, so that a hand-over opens the pods."""
    deny_write = plan._deny_write

    def waiting(snapshot: Snapshot, policy: Any, *, holder: bool) -> Iterable[Write]:
        return deny_write(snapshot, policy, holder=holder) if holder else ()

    _replace(plan, "_deny_write", waiting)


def lets_go_first() -> None:
    """What nobody wants any more goes before what takes its place is there."""
    make = plan.plan

    def reversed_plan(snapshot: Snapshot) -> tuple[Write, ...]:
        return tuple(sorted(make(snapshot), key=lambda write: write.policy is not None))

    _replace(sys.modules["nodeport_access.reconcile"], "plan", reversed_plan)


def never_lets_go() -> None:
    """A Service that was taken stays taken."""
    _replace(plan, "_release", lambda _: ())


def starts_unprimed() -> None:
    """Passes begin before the lists are complete, so that what is not listed yet counts as gone."""
    _replace(watches._Source, "wait_synced", _at_once)


async def _at_once(_: object) -> None:
    return


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__: bug
    for bug in (
        no_requeue,
        no_retry,
        forgets_sharing,
        forgets_pods,
        forgets_whom_children_were_made_for,
        drops_watch_events,
        drops_policy_events,
        drops_deletions,
        deletes_before_it_creates,
        emits_empty_rules,
        leaves_who_waits_open,
        lets_go_first,
        never_lets_go,
        starts_unprimed,
    )
}

if __name__ == "__main__":
    BUGS[os.environ["PLANTED_BUG"]]()
    main()
