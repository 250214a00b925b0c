"""What ends the process and how fast, and what it lives through: credentials, certificates, crashes.

Not the business of this module: what it waits for at its start (`test_startup`), permissions (`test_permissions`), time
(`test_time`).
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import CutStream, FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, USER
from testbed.waiting import wait_for
from tests.api import tampered
from tests.api.access import Site, a_site, admissions, until
from tests.api.conftest import StartOperator


@pytest.fixture
def plane(quiet_control_plane: ControlPlane) -> ControlPlane:
    """A control plane that each test leaves complete."""
    return quiet_control_plane


def test_a_certificate_authority_without_key_identifiers_is_good_enough_on_every_python(
    plane: ControlPlane, start_operator: StartOperator
) -> None:
    kubeconfig = plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
    content = yaml.safe_load(kubeconfig.read_text())
    authority = (kubeconfig.parent / "older-ca.crt").read_bytes()
    content["clusters"][0]["cluster"] = {
        "server": f"https://localhost:{urlsplit(plane.url).port}",
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    kubeconfig.write_text(yaml.safe_dump(content))
    operator = start_operator(plane, kubeconfig=kubeconfig, module=tampered.MODULE, environment={"TAMPER": "strict"})
    site = a_site(plane, "older-authority")
    site.create_service()
    site.create_policy()
    site.await_ready()
    assert operator.exit_code is None


@pytest.mark.parametrize("create", [Site.create_service, Site.create_policy])
def test_a_crash_over_what_it_hears_ends_it_and_says_why(
    plane: ControlPlane, start_operator: StartOperator, create: Callable[[Site, str], object]
) -> None:
    operator = start_operator(plane, module=tampered.MODULE, environment={"TAMPER": "crash"})
    create(a_site(plane, f"stumbling-block-{create.__name__.replace('_', '-')}"), tampered.MARK)
    assert operator.wait_for_end(seconds=10) == 1
    assert any("RuntimeError: stumbled over a marked object" in line for line in operator.log_lines())


def test_a_fault_over_one_service_stops_the_guard_of_no_other(
    plane: ControlPlane, start_operator: StartOperator
) -> None:
    site = a_site(plane, "cursed")
    for name in ("web", tampered.MARK):
        site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name)
    operator = start_operator(plane, module=tampered.MODULE, environment={"TAMPER": "curse"})
    site.await_ready()
    site.await_condition("Ready", "False OperatorFailed", tampered.MARK)
    assert site.conditions(tampered.MARK)["Stalled"] == "True OperatorFailed"
    begin = plane.audit_mark()

    for name in ("web", tampered.MARK):
        site.edit_service(name, externalTrafficPolicy="Cluster", sessionAffinity="ClientIP")
    site.await_guard("Local", "web")
    assert site.guard_of(tampered.MARK) == ("Cluster", None)
    assert operator.health("/healthz")[0] == operator.health("/readyz")[0] == 200
    assert 'nodeport_access_reconcile_total{outcome="Failed"}' in operator.metrics()
    assert any("RuntimeError: stumbled over a marked Service" in line for line in operator.log_lines())
    assert written(plane, tampered.MARK, since=begin) == 0
    operator.close()

    start_operator(plane)
    site.await_ready(tampered.MARK)


def written(plane: ControlPlane, name: str, *, since: int) -> int:
    """How often the operator has written to objects of this name."""
    events = plane.audit_events(since=since, user=USER)
    return len([event for event in events if event["verb"] == "patch" and event["objectRef"]["name"] == name])


def renew_identity(cluster: Cluster) -> None:
    """Every token of the operator's ServiceAccount is void from now on, or 10 s later: so long the API server may
    remember that one was good."""
    account = cluster.get("ServiceAccount", SERVICE_ACCOUNT, namespace=NAMESPACE)
    cluster.delete("ServiceAccount", SERVICE_ACCOUNT, namespace=NAMESPACE)
    kept = {name: account["metadata"][name] for name in ("name", "namespace", "labels", "annotations")}
    cluster.create({**account, "metadata": kept})


def test_a_revoked_token_is_told_and_a_new_one_in_the_file_works_within_seconds(
    plane: ControlPlane, start_operator: StartOperator, tmp_path: Path
) -> None:
    site = a_site(plane, "revoked-token")
    site.create_service()
    site.create_policy()
    token = tmp_path / "token"
    with FaultProxy(plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        content = yaml.safe_load(kubeconfig.read_text())
        user = content["users"][0]["user"]
        token.write_text(user.pop("token"))
        user["tokenFile"] = str(token)
        kubeconfig.write_text(yaml.safe_dump(content))
        operator = start_operator(plane, kubeconfig=kubeconfig)
        site.await_ready()

        renew_identity(site.cluster)
        # Streams that are open stay open: what shows it is the first write that is refused.
        entries = (f"198.51.100.{number}/32" for number in itertools.count())

        def is_refused() -> bool:
            site.edit_policy(allowedCIDRs=[{"cidr": next(entries)}])
            return operator.health() == (503, UNREADY)

        wait_for(is_refused, seconds=25, what="/readyz to tell of the first refusal", every=0.5)
        proxy.inject(CutStream()).remove()
        until(lambda: any("events of nodeportaccess" in line for line in operator.log_lines()), "Kopf to be deaf")
        assert operator.health("/healthz")[0] == 200
        assert operator.exit_code is None

        fresh = plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        token.write_text(yaml.safe_load(fresh.read_text())["users"][0]["user"]["token"])
        begin = time.monotonic()
        site.edit_policy(allowedCIDRs=[{"cidr": "203.0.113.1/32"}])
        until(lambda: site.allowlist() == {"TCP/8080": ["203.0.113.1/32"]}, "its effect", seconds=15)
        operator.wait_until_ready(seconds=15)
        assert time.monotonic() - begin < 15
        # By a live event: the roster of policies comes every five minutes.
        other = a_site(plane, "after-the-token")
        other.create_service()
        other.create_policy()
        other.await_ready()
        assert operator.exit_code is None
        operator.close()


UNREADY = "nodeportaccesspolicies.nodeport-access.io: 401 Unauthorized: Unauthorized\n"


MANY, GUARDED = 200, 24
"""Policies, and how many of them have a Service to guard: those make the work, all of them fill the queues of Kopf."""


def test_it_ends_within_seconds_in_the_middle_of_a_burst_and_the_next_one_finishes_the_work(
    plane: ControlPlane, start_operator: StartOperator
) -> None:
    site = a_site(plane, "burst")
    names = [f"web-{number}" for number in range(MANY)]

    def create(name: str) -> None:
        if name in names[:GUARDED]:
            site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name)

    def change(name: str) -> None:
        for last in (1, 2):  # of two events for one policy, the second has to wait for the first
            site.edit_policy(name, allowedCIDRs=[{"cidr": f"10.2.3.{last}/32"}])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, names))
        # Before it is ready; in its first convergence; and while policies change faster than it follows.
        operator = start_operator(plane, ready=False)
        until(lambda: "operator started" in "".join(operator.log_lines()), "its first line", seconds=60)
        operator.stop()
        start_operator(plane).stop()
        operator = start_operator(plane)
        changing = threads.map(change, names)
        until(lambda: sum("updated in burst" in line for line in operator.log_lines()) > 5, "the burst", seconds=60)
        operator.stop(seconds=5)
        list(changing)
    start_operator(plane)

    def finished() -> bool:
        policies = site.cluster.list("NodePortAccessPolicy", namespace=site.namespace)
        allowlists = [one for name, one in site.network_policies().items() if name.endswith("-allow")]
        return (len(policies), len(allowlists)) == (MANY, GUARDED) and all(
            [
                *(one.get("status", {}).get("observedGeneration") == one["metadata"]["generation"] for one in policies),
                *(admissions(one) == {"TCP/8080": ["10.2.3.2/32"]} for one in allowlists),
            ]
        )

    wait_for(finished, seconds=60, what="every policy to be served", every=0.5)  # the list alone is half a megabyte
