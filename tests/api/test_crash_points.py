"""The operator killed (SIGKILL) after each single write of what it does: a new one ends where the old one would have
ended, and at no moment gets anybody in who gets in neither before nor after.

The crash points are not chosen: one namespace for each number of writes, until in one nothing is left to be held back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import sleep
from typing import Any, TypeVar

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT
from tests.api.access import Json, Site, until
from tests.api.conftest import StartOperator
from tests.api.witness import Witness

T = TypeVar("T")

SPARE = 4
"""Namespaces more than a chapter takes writes at least, so that in the last one nothing is held back."""

SETTLED_SECONDS = 1.3
"""A second status waits a second for the first."""
OLD, NEW = ["10.2.3.4/32"], ["198.51.100.0/24", "10.2.3.0/24"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Something that the operator does in one namespace: what was before, what sets it off, and how it ends."""

    before: Callable[[Site], None]
    act: Callable[[Site], object]
    ended: Callable[[Site], bool]
    writes: int
    """What it takes at least; a garbage collector that is slow, or news that come late, make it a few more."""


def nothing(site: Site) -> None:
    site.create_service()
    site.create_pod()


def guarded(site: Site) -> None:
    nothing(site)
    site.create_policy(allowed=OLD)
    site.await_ready()


def guarded_and_claimed(site: Site) -> None:
    nothing(site)
    site.create_policy("first", allowed=OLD)
    site.await_ready("first")
    site.create_policy("later", allowed=NEW)
    site.await_condition("Ready", "False ServiceAlreadyClaimed", "later")


def is_guarded(site: Site, *, by: str = "web", allowed: list[str] = OLD) -> bool:
    assert site.conditions(by)["Ready"] == "True Guarded"
    assert sorted(site.allowlist(by)["TCP/8080"]) == sorted(allowed)
    assert site.guard_of() == ("Local", by)
    return True


def is_taken_over(site: Site) -> bool:
    assert sorted(site.network_policies()) == ["later-allow", "later-deny-all"]
    return is_guarded(site, by="later", allowed=NEW)


def is_taken_over_from_an_auditor(site: Site) -> bool:
    assert site.conditions("first")["Ready"] == "False AuditMode"
    return is_taken_over(site)


def is_released(site: Site) -> bool:
    assert site.guard_of() == ("Cluster", None)
    assert not site.network_policies()
    return True


CHAPTERS = {
    "a first convergence": Chapter(
        before=nothing, act=lambda site: site.create_policy(allowed=OLD), ended=is_guarded, writes=4
    ),
    "another allowlist, and the namespace shut": Chapter(
        before=guarded,
        act=lambda site: site.edit_policy(allowedCIDRs=[{"cidr": one} for one in NEW], isolation="Namespace"),
        ended=lambda site: is_guarded(site, allowed=NEW),
        writes=3,
    ),
    "a hand-over to the next policy": Chapter(
        before=guarded_and_claimed,
        act=lambda site: site.delete("NodePortAccessPolicy", "first"),
        ended=is_taken_over,
        writes=3,
    ),
    "a hand-over by a policy that turns to audit": Chapter(
        before=guarded_and_claimed,
        act=lambda site: site.edit_policy("first", mode="Audit"),
        ended=is_taken_over_from_an_auditor,
        writes=6,
    ),
    "a release": Chapter(
        before=guarded, act=lambda site: site.delete("NodePortAccessPolicy"), ended=is_released, writes=1
    ),
    "a release with orphaned children": Chapter(
        before=guarded,
        act=lambda site: site.delete("NodePortAccessPolicy", propagationPolicy="Orphan"),
        ended=is_released,
        writes=3,
    ),
}


RUNS = (
    ("a first convergence", "another allowlist, and the namespace shut", "a release"),
    (
        "a hand-over to the next policy",
        "a hand-over by a policy that turns to audit",
        "a release with orphaned children",
    ),
)
"""Chapters that share an operator to kill; what is held back holds a worker of it each, and it has sixteen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPoint:
    """One namespace, in which only the first writes of a chapter are carried out before the operator is killed."""

    title: str
    writes: int
    site: Site

    @property
    def chapter(self) -> Chapter:
        """What the operator does here."""
        return CHAPTERS[self.title]

    def ended(self) -> bool:
        """See `Chapter.ended`."""
        return self.chapter.ended(self.site)


@pytest.fixture
def points(titles: tuple[str, ...], quiet_control_plane: ControlPlane) -> Iterator[list[CrashPoint]]:
    """For each chapter: as many namespaces as it may have writes, and one in which nothing is held back."""
    cluster = Cluster(quiet_control_plane)
    points = [
        CrashPoint(title=title, writes=writes, site=Site(cluster, f"crash-{number}-after-{writes}"))
        for number, title in enumerate(CHAPTERS)
        if title in titles
        for writes in range(CHAPTERS[title].writes + SPARE)
    ]
    for point in points:
        cluster.create_namespace(objects.namespace(name=point.site.namespace))
    yield points
    for point in points:
        cluster.vacate_namespace(point.site.namespace)


@pytest.mark.parametrize("titles", RUNS, ids="; ".join)
def test_killed_after_any_single_write_it_ends_where_it_would_have_ended(
    points: list[CrashPoint],
    quiet_control_plane: ControlPlane,
    start_operator: StartOperator,
) -> None:
    with FaultProxy(quiet_control_plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = start_operator(quiet_control_plane, kubeconfig=kubeconfig)
        in_parallel(lambda point: point.chapter.before(point.site), points)
        await_quiet(proxy)
        written = [len(proxy.writes(namespace=point.site.namespace)) for point in points]
        witnesses = [Witness(point.site) for point in points]
        gates = [proxy.hold_after(writes=point.writes, namespaces={point.site.namespace}) for point in points]
        for point in points:
            point.chapter.act(point.site)

        def all_are_held_or_ended() -> bool:
            return all(gate.reached.is_set() or point.ended() for gate, point in zip(gates, points, strict=True))

        until(all_are_held_or_ended, "every crash point")
        sleep(SETTLED_SECONDS)  # where it has ended, for a last status
        operator.kill()
        held = [gate.reached.is_set() for gate in gates]
        for gate in gates:
            gate.release()
        for point, before, is_held in zip(points, written, held, strict=True):
            done = proxy.writes(namespace=point.site.namespace)[before:]
            assert len(done) == point.writes if is_held else len(done) <= point.writes, done
            assert is_held or point.writes >= point.chapter.writes, done
        assert not any(held[-1] for held in by_title(points, held)), "more writes than there are namespaces for"

        start_operator(quiet_control_plane, kubeconfig=kubeconfig)
        until(lambda: all(point.ended() for point in points), "the end of every chapter")
        await_quiet(proxy)
    for worlds in by_title(points, [world(point.site) for point in points]):
        assert all(one == worlds[-1] for one in worlds), worlds
    in_parallel(Witness.assert_never_wider, witnesses)


def by_title(points: list[CrashPoint], values: list[T]) -> list[list[T]]:
    """Values that belong to crash points, those of a chapter together."""
    return [
        [value for point, value in zip(points, values, strict=True) if point.title == title]
        for title in dict.fromkeys(point.title for point in points)
    ]


def in_parallel(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Does the same with each; raises the first exception."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, items))


def await_quiet(proxy: FaultProxy) -> None:
    """Wait until nothing is written for longer than a status may have to wait."""

    def is_quiet() -> bool:
        before = len(proxy.writes())
        sleep(SETTLED_SECONDS)
        return len(proxy.writes()) == before

    until(is_quiet, "an end of all writes")


def world(site: Site) -> dict[str, Any]:
    """What a namespace has come to, without what no two namespaces have in common."""
    return {
        "children": {name: essence(one) for name, one in site.network_policies().items()},
        "service": site.guard_of(),
        "policies": {
            one["metadata"]["name"]: (
                [(found["type"], found["status"], found["reason"]) for found in one["status"]["conditions"]],
                one["status"]["effectiveCIDRs"],
                one["status"].get("lastDrift"),
            )
            for one in site.cluster.list("NodePortAccessPolicy", namespace=site.namespace)
        },
    }


def essence(child: Json) -> Json:
    metadata = child["metadata"]
    return {
        "spec": child["spec"],
        "labels": metadata["labels"],
        "owners": [(owner["kind"], owner["name"]) for owner in metadata["ownerReferences"]],
    }
