"""An API server that stops, crashes or stands still, and comes back: the operator waits, says so, and goes on.

Not the business of this module: single requests that fail (`test_faults`), and what was deleted meanwhile
(`test_startup`, `test_client`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import OperatorProcess
from testbed.programs import Programs
from testbed.waiting import wait_for
from tests.api.access import Site
from tests.api.conftest import running

POLICIES = 12
SECONDS = 30.0
"""From the API server's return until everything is as wanted; measured: 2 to 11."""
AWAY_SECONDS = 4.0
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for these tests, and none of whose other parts they need."""
    with running(programs, tmp_path_factory.mktemp("outages")) as plane:
        yield plane


@pytest.fixture(scope="module")
def sites(plane: ControlPlane) -> list[Site]:
    """Namespaces with a Service in each, and a policy that guards it."""
    cluster = Cluster(plane)
    sites = [Site(cluster, f"outage-{number}") for number in range(POLICIES)]
    for site in sites:
        cluster.create_namespace(objects.namespace(name=site.namespace))
        site.create_service()
        site.create_policy(allowed=["192.0.0.0/24"])
    return sites


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One for all of them: what it has gone through before must not matter."""
    operator = OperatorProcess(plane, log=tmp_path_factory.mktemp("outages-operator") / "operator.log")
    try:
        operator.wait_until_ready()
        yield operator
        operator.stop()
        assert not [line for line in operator.log_lines() if '"ERROR"' in line]
    finally:
        operator.close()


def stopped(plane: ControlPlane) -> Callable[[], None]:
    plane.stop_api_server()
    return plane.start_api_server


def killed(plane: ControlPlane) -> Callable[[], None]:
    plane.stop_api_server(kill=True)
    return plane.start_api_server


def paused(plane: ControlPlane) -> Callable[[], None]:
    plane.pause()
    return plane.resume


@pytest.mark.parametrize("away", [stopped, killed, paused])
def test_an_api_server_that_goes_away_in_the_middle_of_it_finds_everything_done_soon_after_its_return(
    plane: ControlPlane,
    sites: list[Site],
    operator: OperatorProcess,
    away: Callable[[ControlPlane], Callable[[], None]],
) -> None:
    for site in sites:
        site.await_ready()
    wanted, said = f"192.0.{next(_numbers)}.0/24", len(operator.log_lines())
    (before,) = {cidr for site in sites for cidrs in site.allowlist().values() for cidr in cidrs}
    mark = plane.audit_mark()
    for site in sites:
        site.edit_policy(allowedCIDRs=[{"cidr": wanted}])
        site.edit("NetworkPolicy", "web-deny-all", spec={"ingress": [{}]})
    come_back = away(plane)
    begin = time.monotonic()
    while time.monotonic() - begin < AWAY_SECONDS:
        assert operator.health("/healthz") == (200, "ok\n"), "a new start would not help"
        if away is not paused and time.monotonic() - begin > 1:
            code, reason = operator.health()
            assert code == 503, "it is blind"
            assert "cannot be reached" in reason
        time.sleep(0.2)
    come_back()

    def is_done(site: Site) -> bool:
        assert site.allowlist() == {"TCP/8080": [wanted]}
        assert "ingress" not in site.network_policies()["web-deny-all"]["spec"]
        assert site.conditions()["Ready"] == "True Guarded"
        return True

    returned = time.monotonic()
    wait_for(lambda: all(is_done(site) for site in sites), seconds=SECONDS, what="everything to be done", every=0.2)
    print(f"done {time.monotonic() - returned:.1f} s after the return")
    wait_for(lambda: operator.health() == (200, "ok\n"), seconds=SECONDS, what="readiness")
    assert operator.exit_code is None
    for site in sites:
        assert site.sent_allowlists(since=mark)["web-allow"] <= {before, wanted}
    complaints = [line for line in operator.log_lines()[said:] if '"WARNING"' in line]
    # While it starts, an API server refuses whom it does not know yet: once for each kind, however many objects.
    assert len(complaints) < len(sites), complaints


@pytest.mark.long
def test_an_api_server_that_stands_still_for_minutes_makes_it_unready_and_not_unhealthy(
    plane: ControlPlane, sites: list[Site], operator: OperatorProcess
) -> None:
    plane.pause()
    begin = time.monotonic()
    wait_for(lambda: operator.health()[0] == 503, seconds=100, what="unreadiness", every=0.5)
    print(f"unready after {time.monotonic() - begin:.0f} s: {operator.health()[1]}")
    while time.monotonic() - begin < 150:
        assert operator.health("/healthz") == (200, "ok\n")
        assert operator.health()[0] == 503
        time.sleep(1)
    plane.resume()
    wait_for(lambda: operator.health() == (200, "ok\n"), seconds=SECONDS, what="readiness")
    for site in sites:
        site.edit_policy(allowedCIDRs=[{"cidr": "198.51.100.0/24"}])
        site.await_allowlist({"TCP/8080": ["198.51.100.0/24"]})
    assert operator.exit_code is None
