"""Clocks that are set, ends that nobody was there for, and what happens faster than anybody looks.

Not the business of this module: entries that end while all is well (`test_expiry`).
"""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess
from tests.api import tampered
from tests.api.access import ALLOWED, Json, Site, a_site, until
from tests.api.conftest import StartOperator
from tests.api.witness import Witness, hides_clients

BEFORE = {"TCP/8080": ["10.2.3.4/32", "203.0.113.0/24"]}
AFTER = {"TCP/8080": ["10.2.3.4/32"]}


def moment(*, seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


def ending(end: datetime.datetime) -> list[Json]:
    """One entry that stays, and one that ends."""
    return [{"cidr": "10.2.3.4/32"}, {"cidr": "203.0.113.0/24", "expiresAt": end.isoformat(timespec="milliseconds")}]


def test_a_clock_that_is_set_is_believed_at_once_in_both_directions(
    quiet_control_plane: ControlPlane, start_operator: StartOperator, tmp_path: Path
) -> None:
    site = a_site(quiet_control_plane, "clocks")
    offset = tmp_path / "offset"

    def set_clock(seconds: float) -> None:
        (tmp_path / "next").write_text(str(seconds))
        (tmp_path / "next").replace(offset)

    set_clock(0)
    environment = {"TAMPER": "clock", "TAMPER_CLOCK": str(offset)}
    operator = start_operator(quiet_control_plane, module=tampered.MODULE, environment=environment)
    for name in ("web", "endless"):
        site.create_service(name, selector={"app": name})
    site.create_policy(allowed=ending(moment(seconds=3600)))
    site.create_policy("endless", service="endless")
    for name in ("web", "endless"):
        site.await_ready(name)
    assert site.allowlist() == BEFORE

    steps = ((3700, AFTER), (0, BEFORE), (-86_400, BEFORE), (86_400, AFTER), (0, BEFORE))
    for number, (seconds, expected) in enumerate(steps, start=1):
        set_clock(seconds)
        begin = time.monotonic()
        until(lambda: noticed(operator) == number, f"step {number}")  # noqa: B023 - called before the next
        site.await_allowlist(expected)
        assert time.monotonic() - begin < 2
    assert site.allowlist("endless") == {"TCP/8080": [*ALLOWED]}
    for name in ("web", "endless"):
        site.await_ready(name)
        assert "lastDrift" not in site.status(name)
    assert operator.health("/healthz")[0] == operator.health("/readyz")[0] == 200


def noticed(operator: OperatorProcess) -> int:
    """How many steps of the clock it has noticed."""
    return sum("wall time was set by" in line for line in operator.log_lines())


def test_an_entry_that_ends_while_nobody_can_close_it_is_closed_as_soon_as_somebody_can(
    quiet_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    plane = quiet_control_plane
    site = a_site(plane, "missed-ends")
    site.create_service()
    with FaultProxy(plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = start_operator(plane, kubeconfig=kubeconfig)
        end = moment(seconds=4)
        site.create_policy(allowed=ending(end))
        site.await_ready()
        assert site.allowlist() == BEFORE
        witness = Witness(site)
        with proxy.network_away():
            until(lambda: moment(seconds=-1.5) > end, "some time after the end")
            assert site.allowlist() == BEFORE
        site.await_allowlist(AFTER)
        site.await_ready()
        witness.assert_never_wider()

        end = moment(seconds=4)
        site.edit_policy(allowedCIDRs=ending(end))
        site.await_allowlist(BEFORE)
        witness = Witness(site)
        operator.close()
        until(lambda: moment(seconds=0) > end, "the end of the entry")
        assert site.allowlist() == BEFORE
        start_operator(plane)
        site.await_allowlist(AFTER)
        site.await_ready()
        witness.assert_never_wider()


def test_a_service_made_anew_before_anybody_looked_is_guarded_as_the_one_that_it_is(
    site: Site, shared_operator: OperatorProcess
) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    before = site.status()["serviceUID"]
    shared_operator.pause()
    try:
        site.delete("Service")
        anew = site.create_service(type="LoadBalancer", ports=[{"name": "http", "port": 80, "targetPort": 9090}])
        assert site.guard_of() == ("Cluster", None)
    finally:
        shared_operator.resume()
    site.await_guard("Local", "web")
    site.await_allowlist({"TCP/9090": [*ALLOWED]})
    until(lambda: site.status()["serviceUID"] == anew["metadata"]["uid"] != before, "the new Service in status")
    site.await_ready()
    assert site.status()["healthCheckNodePort"] == site.service()["spec"]["healthCheckNodePort"]


def test_a_policy_made_anew_before_anybody_looked_keeps_the_service_it_had(
    site: Site, shared_operator: OperatorProcess
) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    witness = Witness(site)
    shared_operator.pause()
    try:
        site.delete("NodePortAccessPolicy")
        # The garbage collector takes the children of the first one, sooner or later.
        anew = site.create_policy(allowed=["198.51.100.0/24"])
    finally:
        shared_operator.resume()
    site.await_allowlist({"TCP/8080": ["198.51.100.0/24"]})
    site.await_ready()
    assert site.guard_of() == ("Local", "web")
    for child in site.network_policies().values():
        (owner,) = child["metadata"]["ownerReferences"]
        assert owner["uid"] == anew["metadata"]["uid"]
    # Of the children the garbage collector may have been the first to hear.
    assert not [str(state) for state in witness.states() if hides_clients(state, "web")]
