"""Others who never stop: they take `externalTrafficPolicy` back, apply their manifests for ever, or edit children every
second. All of them at once, each with a Service of his own; with `--long`, for a minute.

The operator writes ever more rarely what is taken back from it, says by whom, and everything is guarded again soon
after they stop. Not the business of this module: a single change (`test_drift`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from testbed import objects
from testbed.cluster import Cluster, Refused
from testbed.operator_process import OperatorProcess
from tests.api.access import Json, Site, until
from tests.api.witness import Witness, assert_never_wider


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Does the same again every few seconds to a Service of his own, or to a child of its policy."""

    act: Callable[[Site, str], None]
    create: Callable[[Site, str], object] = lambda site, name: site.create_service(name, selector={"app": name})
    every: float = 1.0
    manager: str = ""


def manifest(site: Site, name: str, **spec: Any) -> Json:
    return objects.service(namespace=site.namespace, name=name, selector={"app": name}, **spec)


def patch(site: Site, name: str) -> None:
    site.edit_service(name, externalTrafficPolicy="Cluster", manager="stubborn")


def apply(site: Site, name: str) -> None:
    site.kubectl("apply", "-f", "-", stdin=manifest(site, name, externalTrafficPolicy="Cluster"))


def apply_bare(site: Site, name: str) -> None:
    site.kubectl("apply", "-f", "-", stdin=manifest(site, name))


def force(site: Site, name: str) -> None:
    site.cluster.apply(manifest(site, name, externalTrafficPolicy="Cluster"), manager="gitops", force=True)


def force_bare(site: Site, name: str) -> None:
    site.cluster.apply(manifest(site, name), manager="gitops", force=True)


def ask_in_vain(site: Site, name: str) -> None:
    """As `force`, by a tool that is not allowed to force."""
    with pytest.raises(Refused, match='conflict with "nodeport-access-operator"'):
        site.cluster.apply(manifest(site, name, externalTrafficPolicy="Cluster"), manager="gitops")


def open_allowlist(site: Site, name: str) -> None:
    site.edit("NetworkPolicy", f"{name}-allow", spec={"ingress": [{}]}, manager="opener")


def strip_deny_all(site: Site, name: str) -> None:
    site.edit("NetworkPolicy", f"{name}-deny-all", metadata={"labels": None}, manager="stripper")


def delete_allowlist(site: Site, name: str) -> None:
    with contextlib.suppress(Refused):  # where it is not back yet
        site.delete("NetworkPolicy", f"{name}-allow")


TAKERS = {
    "patcher": Writer(act=patch, manager="stubborn"),
    "forcer": Writer(create=force, act=force, manager="gitops"),
    "applier": Writer(create=apply, act=apply, manager="kubectl-client-side-apply", every=3.0),
}
PEACEFUL = {
    "bare-forcer": Writer(create=force_bare, act=force_bare),
    "bare-applier": Writer(create=apply_bare, act=apply_bare, every=3.0),
    "asker": Writer(create=force, act=ask_in_vain),
}
EDITORS = {
    "opener": Writer(act=open_allowlist),
    "stripper": Writer(act=strip_deny_all),
    "deleter": Writer(act=delete_allowlist),
}
EVERYBODY = TAKERS | PEACEFUL | EDITORS


@contextlib.contextmanager
def at_work(site: Site) -> Iterator[Counter[str]]:
    """Everybody does it again and again within; how often each has."""
    over, done = threading.Event(), Counter[str]()

    def work(name: str, writer: Writer) -> None:
        while not over.wait(writer.every):
            writer.act(site, name)
            done[name] += 1

    with ThreadPoolExecutor(len(EVERYBODY)) as threads:
        working = [threads.submit(work, name, writer) for name, writer in EVERYBODY.items()]
        try:
            yield done
        finally:
            over.set()
    for each in working:
        each.result()


def test_writers_who_never_stop_are_out_waited_named_and_outlived(
    cluster: Cluster, namespace: str, shared_operator: OperatorProcess, long: bool
) -> None:
    site, seconds = Site(cluster, namespace), 60.0 if long else 13.0
    for name, writer in EVERYBODY.items():
        writer.create(site, name)
        site.create_policy(name, service=name)
    for name in EVERYBODY:
        site.await_ready(name)
    lines = len(shared_operator.log_lines())
    with shared_operator.paused():
        for name in (*TAKERS, *EDITORS):
            EVERYBODY[name].act(site, name)
        begin, witness = cluster.control_plane.audit_mark(), Witness(site)

    with at_work(site) as acts:
        time.sleep(seconds)
        for name, writer in TAKERS.items():
            message = site.await_condition("ClientIPPreserved", "False ForeignWriter", name)
            assert message == f"{writer.manager} keeps setting externalTrafficPolicy; set it to Local at its source."

    for name in EVERYBODY:
        # The last wait is as long as all before it together.
        until(partial(is_guarded, site, name), f"{name} to be outlived", seconds=seconds + 20)
    sent = site.requests(since=begin)
    for name in TAKERS:
        repairs = about(name, "services", sent)
        assert_growing(repairs)
        assert len(about(name, "nodeportaccesspolicies", sent)) <= 2 * len(repairs), (
            "one as it is taken, one as it is back"
        )
    for name in PEACEFUL:
        assert [about(name, kind, sent) for kind in ("services", "nodeportaccesspolicies", "networkpolicies")] == [
            []
        ] * 3
    for name in EDITORS:
        repairs = about(name, "networkpolicies", sent)
        assert 1 < len(repairs) <= acts[name] + 1, "one write repairs one edit"
        assert len({json.dumps(one["requestObject"]["spec"], sort_keys=True) for one in repairs}) == 1
    states = witness.states()
    for name in EVERYBODY:
        assert_never_wider(states, service=name, labels={"app": name})
    assert not [line for line in shared_operator.log_lines()[lines:] if namespace in line and '"WARNING"' in line]


def is_guarded(site: Site, name: str) -> bool:
    assert site.guard_of(name) == ("Local", name)
    assert site.conditions(name)["Ready"] == "True Guarded"
    return True


def about(name: str, resource: str, requests: list[Json]) -> list[Json]:
    """Those of the requests that write the Service of this name, its policy, or a child of that."""
    names = (name, f"{name}-allow", f"{name}-deny-all")
    return [one for one in requests if one["objectRef"]["name"] in names and one["objectRef"]["resource"] == resource]


def assert_growing(repairs: list[Json]) -> None:
    """Every repair waits twice as long as the one before it, the second for a second."""
    times = [datetime.fromisoformat(one["requestReceivedTimestamp"]) for one in repairs]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert len(gaps) >= 3, gaps
    assert all(gap > 0.9 * 2**number for number, gap in enumerate(gaps)), gaps
