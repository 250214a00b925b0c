"""Many Services drift at once, nearly all of them by being closed: those that were opened last are repaired first all
the same.

Not the business of this module: the order of writes within one Service (`test_writes`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from tests.api.access import Json, Site, until
from tests.api.conftest import StartOperator
from tests.api.witness import Witness, assert_never_wider

CLOSED = tuple(f"closed-{number:02}" for number in range(60))
FLIPPED, OPENED = "flipped", "opened"
EVERY = (*CLOSED, FLIPPED, OPENED)
UNDER_WAY = 16
"""Passes that may have begun before the news of an opening came."""


@pytest.fixture
def site(quiet_control_plane: ControlPlane) -> Iterator[Site]:
    """Many Services, each with a policy of its name."""
    site = Site(Cluster(quiet_control_plane), "many-drifts")
    site.cluster.create_namespace(objects.namespace(name=site.namespace))
    for name in EVERY:
        site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name)
    yield site
    site.cluster.vacate_namespace(site.namespace)


def test_what_opened_access_is_repaired_before_all_that_closed_it_at_run_time_and_after_a_start(
    site: Site, start_operator: StartOperator
) -> None:
    operator = start_operator(site.cluster.control_plane, namespace=[site.namespace])
    await_all_ready(site)

    operator.pause()
    begin = everything_drifts(site)
    witness = Witness(site)
    operator.resume()
    assert_opened_first(site, since=begin)
    await_all_ready(site)
    states = witness.states()
    for name in (FLIPPED, OPENED):
        assert_never_wider(states, service=name, labels={"app": name})

    operator.stop()
    begin = everything_drifts(site)
    start_operator(site.cluster.control_plane, namespace=[site.namespace], ready=False)
    assert_opened_first(site, since=begin)


def everything_drifts(site: Site) -> int:
    """Every allowlist is emptied, and last of all one Service set to Cluster and one deny-all opened; the place in the
    audit log where that began."""
    begin = site.cluster.control_plane.audit_mark()
    for name in CLOSED:
        site.edit("NetworkPolicy", f"{name}-allow", spec={"ingress": None})
    site.edit("NetworkPolicy", f"{OPENED}-deny-all", spec={"ingress": [{}]})
    site.edit_service(FLIPPED, externalTrafficPolicy="Cluster")
    return begin


def assert_opened_first(site: Site, *, since: int) -> None:
    until(lambda: len(repaired(site, since)) >= len(EVERY), "the repair of everything", seconds=30)
    order = repaired(site, since)
    assert len(order) == len(EVERY), "one write repairs one object"
    places = {name: order.index(name) for name in (FLIPPED, f"{OPENED}-deny-all")}
    assert max(places.values()) <= UNDER_WAY + 1, places


def repaired(site: Site, since: int) -> list[str]:
    """The objects that the operator wrote since, status aside, in the order in which the API server got the writes."""
    events = [event for event in site.requests(since=since) if not event["objectRef"].get("subresource")]
    return [event["objectRef"]["name"] for event in events]


def await_all_ready(site: Site) -> None:
    def all_ready() -> bool:
        policies = site.cluster.list("NodePortAccessPolicy", namespace=site.namespace)
        others = [one["metadata"]["name"] for one in policies if not is_ready(one)]
        assert not others, f"not ready are {others}"
        return True

    until(all_ready, "every policy to be ready", seconds=60)


def is_ready(policy: Json) -> bool:
    conditions = policy.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
