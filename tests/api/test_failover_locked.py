"""Two replicas under the lock-down: the API server refuses everybody but them, whichever of them leads; also with all
components at once, under Roles in listed namespaces alone.

Not the business of this module: how a leader is found (`test_failover`), who is refused what (`test_lock_down`), and
what else there is to listed namespaces (`test_namespaced`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import NAMESPACE, USER
from testbed.programs import Programs
from tests.api.access import WEB, Site, until
from tests.api.conftest import running
from tests.api.locked import await_lock_down, lock_down, patch
from tests.api.replicas import OVERLAY, RETRY_SECONDS, Pair, Replica, a_pair, guarded, repaired, two
from tests.api.variants import EVERYTHING

CLUSTER = {"spec": {"externalTrafficPolicy": "Cluster"}}
SHOP = "shop"
LISTED = (SHOP, NAMESPACE)
OF_PROMETHEUS = ("PrometheusRule", "ServiceMonitor")


@pytest.fixture(scope="module")
def plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with the permission for the Lease, under the lock-down."""
    with running(programs, tmp_path_factory.mktemp("failover-locked")) as plane:
        plane.kubectl("apply", "-k", OVERLAY)
        lock_down(plane)
        yield plane


@pytest.fixture(scope="module")
def listed_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One with all components, and no ClusterRole of ours."""
    with running(programs, tmp_path_factory.mktemp("failover-listed")) as plane:
        for kind in ("clusterrolebinding", "clusterrole"):
            plane.kubectl("delete", kind, "nodeport-access-operator")
        Cluster(plane).create_namespace(objects.namespace(name=SHOP))
        bodies = [body for key, body in EVERYTHING.kustomized().items() if key.kind not in OF_PROMETHEUS]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies})
        plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)
        await_lock_down(plane)
        yield plane


def hands_over(first: Replica, second: Replica, sites: list[Site]) -> None:
    """The first one ends, and what there is to repair then is repaired. Who breaks the glass is all that leaves any."""
    for site in sites:
        assert patch(site, "owner", "Service", WEB, CLUSTER).refused
    first.process.stop()
    for site in sites:
        assert patch(site, "on-call", "Service", WEB, CLUSTER).code == 200
    for site in sites:
        repaired(site, seconds=RETRY_SECONDS + 2)
        assert patch(site, "owner", "Service", WEB, CLUSTER).refused
    assert second.leads


def is_released(site: Site) -> None:
    site.delete("NodePortAccessPolicy")
    site.await_guard("Cluster", None)
    until(
        lambda: not [name for name in site.network_policies() if name.startswith(WEB)], "the NetworkPolicies to be gone"
    )


def refused(pair: Pair) -> list[str]:
    """What the operators asked for and did not get."""
    asked = pair.plane.audit_events(since=pair.begin, user=USER)
    return [event["objectRef"]["resource"] for event in asked if event["responseStatus"]["code"] == 403]


def test_after_a_hand_over_the_other_one_guards_and_repairs_and_neither_was_refused_anything(
    plane: ControlPlane, tmp_path: Path
) -> None:
    with a_pair(plane, tmp_path) as pair:
        site = guarded(plane)
        hands_over(*two(pair, site), [site])
        another = guarded(plane)
        another.await_ready()
        is_released(site)
        pair.assert_never_two("a", "b")
        assert refused(pair) == []


def test_with_all_components_at_once_it_is_the_same_in_the_listed_namespaces(
    listed_plane: ControlPlane, tmp_path: Path
) -> None:
    sites = [Site(Cluster(listed_plane), name) for name in LISTED]
    for site in sites:
        site.create_service()
        site.create_policy()
    with a_pair(listed_plane, tmp_path) as pair:
        first = pair.start("a", namespace=LISTED)
        for site in sites:
            site.await_ready()
        second = pair.start("b", namespace=LISTED)
        assert not second.leads
        hands_over(first, second, sites)
        for site in sites:
            is_released(site)
        pair.assert_never_two("a", "b")
        assert set(refused(pair)) == {"nodes"}, "which no Role gives, and the operator does without"
