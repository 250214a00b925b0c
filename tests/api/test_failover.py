"""Two replicas on a real API server: whatever becomes of the leader or of the Lease, at most one of them writes, and
one does in the end.

Not the business of this module: the election by itself, in simulated time (tests/unit/test_election.py), and what a
leader does (the other tests here).
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.api_client import MERGE_PATCH, ApiUnavailable
from testbed.cluster import Cluster, Refused
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import Hang
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, USER
from testbed.programs import Programs
from tests.api.access import WRITING, Site, until
from tests.api.conftest import running
from tests.api.replicas import (
    ANOTHER_LEADS,
    CREDENTIAL,
    LEASE,
    LEASE_SECONDS,
    OVERLAY,
    RENEW_SECONDS,
    RETRY_SECONDS,
    Pair,
    Replica,
    a_pair,
    guarded,
    repaired,
    two,
)

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for these tests, with the permission for the Lease."""
    with running(programs, tmp_path_factory.mktemp("failover")) as plane:
        plane.kubectl("apply", "-k", OVERLAY)
        yield plane


@pytest.fixture
def pair(plane: ControlPlane, tmp_path: Path) -> Iterator[Pair]:
    with a_pair(plane, tmp_path) as pair:
        yield pair


def open_up(site: Site) -> float:
    """Somebody sets the Service to Cluster; the time when he did."""
    site.edit_service(externalTrafficPolicy="Cluster")
    return time.monotonic()


def ended(replica: Replica, *, saying: str) -> None:
    """It has ended by itself, for the kubelet to start it anew, and has said why."""
    assert replica.process.wait_for_end(seconds=RENEW_SECONDS + 5) == 1
    (sentence,) = [line for line in replica.process.log_lines() if '"ERROR"' in line]
    assert saying in sentence
    assert not replica.says("Traceback")


def is_led(site: Site) -> None:
    """Whoever leads does what a policy asks for. Drift that comes again and again would be out-waited."""
    wanted = f"192.0.2.{next(_numbers)}/32"
    site.edit_policy(allowedCIDRs=[{"cidr": wanted}])
    until(lambda: site.allowlist() == {"TCP/8080": [wanted]}, f"{wanted} in {site.namespace}", seconds=2)


@pytest.fixture
def site(pair: Pair) -> Site:
    return guarded(pair.plane)


TIMES = [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, 5))]


@pytest.mark.parametrize("_number", TIMES)
def test_a_leader_that_is_killed_has_a_successor_when_its_lease_has_run_out(
    pair: Pair, site: Site, _number: int
) -> None:
    a, b = two(pair, site)
    a.process.kill()
    begin = open_up(site)
    took = repaired(site) - begin
    print(f"killed: the other one wrote after {took:.1f} s")
    assert took > LEASE_SECONDS - RETRY_SECONDS - 1
    assert b.leads
    assert pair.lease()["leaseTransitions"] == 2
    pair.assert_never_two("a", "b")


@pytest.mark.parametrize("_number", TIMES)
def test_a_leader_that_is_told_to_end_hands_over_at_once(pair: Pair, site: Site, _number: int) -> None:
    a, b = two(pair, site)
    begin = time.monotonic()
    a.process.stop()
    assert a.says("lease released")
    open_up(site)
    took = repaired(site, seconds=RETRY_SECONDS + 2) - begin
    print(f"told to end: the other one wrote after {took:.1f} s")
    assert b.leads
    pair.assert_never_two("a", "b")


def test_a_leader_that_stands_still_past_its_lease_writes_nothing_when_it_goes_on(
    plane: ControlPlane, pair: Pair, site: Site
) -> None:
    others = [guarded(plane) for _ in range(12)]
    a, b = two(pair, site)
    for one in others:
        one.await_ready()
    for one in others:
        open_up(one)
    a.process.pause()  # in the middle of it
    begin = open_up(site)
    print(f"stopped: the other one wrote after {repaired(site) - begin:.1f} s")
    for one in others:
        repaired(one)
    # Once more there is work, which the other one has not begun: the first one wakes up to it, with its streams open.
    with b.process.paused():
        for one in others:
            open_up(one)
        a.process.resume()
        ended(a, saying="was not renewed for 10 s")
        assert [one.guard_of()[0] for one in others] == ["Cluster"] * len(others)
    for one in others:
        repaired(one, seconds=5)
    assert b.leads
    pair.assert_never_two("a", "b")


WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
HELD_SECONDS = 25


@contextlib.contextmanager
def held_up_by_admission(site: Site) -> Iterator[list[socket.socket]]:
    """A ServiceAccount that changes the Service waits for a webhook that never answers, and is let through after
    HELD_SECONDS. Yields the connections of those who wait."""
    plane = site.cluster.control_plane
    with silence(plane) as (port, waiting):
        webhook = {
            "name": "slow.nodeport-access.io",
            "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": authority(plane)},
            "timeoutSeconds": HELD_SECONDS,
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}},
            "matchConditions": [{"name": "operator", "expression": f"request.userInfo.username == '{USER}'"}],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"], "operations": ["UPDATE"]}],
        }
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": site.namespace},
            "webhooks": [webhook],
        }
        assert plane.request("POST", WEBHOOKS, body)[0] == 201
        try:
            until(lambda: holds_up(site), "the webhook to be asked", seconds=20)
            yield waiting
        finally:
            forget_webhook(site)


def authority(plane: ControlPlane) -> str:
    return base64.b64encode(plane.credentials.server_ca.read_bytes()).decode()


@contextlib.contextmanager
def silence(plane: ControlPlane) -> Iterator[tuple[int, list[socket.socket]]]:
    """A server that takes connections and answers nothing on them; its port, and the connections."""
    files, connections, over = plane.credentials, list[socket.socket](), threading.Event()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.server_certificate, files.server_key)

    def take() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connections.append(tls.wrap_socket(listener.accept()[0], server_side=True))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=take, name="silence")
        thread.start()
        try:
            yield listener.getsockname()[1], connections
        finally:
            over.set()
            thread.join()
            for connection in connections:
                connection.close()


def forget_webhook(site: Site) -> None:
    site.cluster.control_plane.request("DELETE", f"{WEBHOOKS}/{site.namespace}")


def holds_up(site: Site) -> bool:
    """Whether a change of the Service by the operator's ServiceAccount gets no answer."""
    plane = site.cluster.control_plane
    kubeconfig = plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
    path = f"/api/v1/namespaces/{site.namespace}/services/web?dryRun=All"
    change = {"metadata": {"labels": {"probe": "1"}}}
    try:
        plane.request("PATCH", path, change, content_type=MERGE_PATCH, kubeconfig=kubeconfig, seconds=0.5)
    except ApiUnavailable:
        return True
    return False


def test_a_write_that_the_api_server_still_works_on_is_given_up_there_before_another_leads(
    pair: Pair, site: Site
) -> None:
    a, b = two(pair, site)
    with held_up_by_admission(site) as waiting:
        tried = len(waiting)
        begin = open_up(site)
        until(lambda: len(waiting) > tried, "its write to reach the webhook")
        a.process.pause()  # it cannot cut the connection
        forget_webhook(site)  # nobody waits for it any more but this one write
        repaired(site)
        let_through = begin + HELD_SECONDS + 2
        until(lambda: time.monotonic() > let_through, "the moment when it would be let through", seconds=30)
    assert b.leads
    pair.assert_never_two("a", "b")
    (given_up,) = [
        event["responseStatus"]["code"]
        for event in pair.plane.audit_events(since=pair.begin, user=USER)
        if event["user"]["extra"][CREDENTIAL] == [a.token] and event["responseStatus"]["code"] >= 500
    ]
    assert given_up == 504
    a.process.resume()
    ended(a, saying="was not renewed for 10 s")
    pair.assert_never_two("a", "b")


@pytest.mark.parametrize("away", ["refused", "silent"])
def test_a_leader_that_is_cut_off_ends_before_another_one_leads(pair: Pair, site: Site, away: str) -> None:
    a, b = two(pair, site, behind_proxy=True)
    assert a.proxy is not None
    with a.proxy.network_away() if away == "refused" else a.proxy.inject(Hang()):
        begin = open_up(site)
        ended(a, saying="was not renewed for 10 s")
        assert site.guard_of()[0] == "Cluster"
        print(f"cut off: ended after {time.monotonic() - begin:.1f} s", end=", ")
        print(f"the other one wrote after {repaired(site) - begin:.1f} s")
    assert b.leads
    pair.assert_never_two("a", "b")


def test_a_replica_that_stands_by_and_is_cut_off_waits_and_says_so(pair: Pair, site: Site) -> None:
    a = pair.start("a")
    b = pair.start("b", behind_proxy=True)
    assert b.proxy is not None
    with b.proxy.network_away():
        until(lambda: b.process.health()[0] == 503, "unreadiness")
        until(lambda: b.says("cannot be reached"), "a word in the log")
        assert b.process.health("/healthz")[0] == 200
    b.process.wait_until_ready(seconds=20)
    assert (a.leads, b.leads, b.process.exit_code) == (True, False, None)
    site.await_ready()
    pair.assert_never_two("a")


def test_a_lease_that_is_deleted_again_and_again_stays_the_leaders(pair: Pair, site: Site) -> None:
    a, b = two(pair, site)
    begin = time.monotonic()
    while time.monotonic() - begin < LEASE_SECONDS + 5:
        with contextlib.suppress(Refused):  # it is not back yet
            pair.delete_lease()
        is_led(site)
        time.sleep(0.5)  # the pace of the one who deletes it
    until(lambda: Cluster(pair.plane).find("Lease", LEASE, namespace=NAMESPACE), "the Lease")
    until(lambda: pair.lease().get("holderIdentity") not in (None, ""), "its holder")
    assert (a.leads, b.leads) == (True, False)
    pair.assert_never_two("a")


HARMLESS: list[dict[str, object]] = [
    {"holderIdentity": ""},
    {"holderIdentity": "", "leaseDurationSeconds": 1},
    {"holderIdentity": None, "leaseDurationSeconds": None, "renewTime": None, "acquireTime": None},
    {"leaseDurationSeconds": 1},
    {"leaseDurationSeconds": 2**31 - 1},
    {"leaseTransitions": 2**31 - 1},
    {"renewTime": "1970-01-01T00:00:00.000000Z"},
    {"renewTime": "2999-01-01T00:00:00.000000Z"},
]


def test_whatever_a_stranger_writes_beside_another_holder_the_leader_sets_right(pair: Pair, site: Site) -> None:
    a, b = two(pair, site)
    identity = pair.lease()["holderIdentity"]
    for edit in HARMLESS:
        pair.edit_lease(**edit)

        def is_right() -> bool:
            found = pair.lease()
            assert (found.get("holderIdentity"), found.get("leaseDurationSeconds")) == (identity, int(LEASE_SECONDS))
            age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(found["renewTime"])
            assert abs(age.total_seconds()) < 2 * RETRY_SECONDS
            # Until it is renewed once more, no holder and a duration of 1 would be a release.
            assert found["acquireTime"] != found["renewTime"]
            return True

        until(is_right, f"the Lease after {edit}", seconds=2 * RETRY_SECONDS + 2)
        is_led(site)
    assert (a.leads, b.leads) == (True, False)
    pair.assert_never_two("a")


@pytest.mark.parametrize(
    ("duration", "seconds"), [(15, ANOTHER_LEADS), pytest.param(2**31 - 1, 68.0, marks=pytest.mark.long)]
)
def test_a_stranger_who_takes_the_lease_ends_the_leader_and_is_waited_for_a_bounded_time(
    pair: Pair, site: Site, duration: int, seconds: float
) -> None:
    a, b = two(pair, site)
    begin = time.monotonic()
    pair.edit_lease(holderIdentity="stranger", leaseDurationSeconds=duration)
    ended(a, saying="is held by stranger now")
    open_up(site)
    took = repaired(site, seconds=seconds) - begin
    print(f"taken by a stranger for {duration} s: the other one wrote after {took:.1f} s")
    assert b.leads
    pair.assert_never_two("a", "b")


def test_a_stranger_who_names_the_one_that_stands_by_makes_no_second_leader(pair: Pair, site: Site) -> None:
    a, b = two(pair, site)
    (line,) = [line for line in b.process.log_lines() if "waiting for the lease held by" in line]
    begin = time.monotonic()
    pair.edit_lease(holderIdentity=json.loads(line)["identity"])
    ended(a, saying="and this process ends")
    open_up(site)
    assert repaired(site) - begin > LEASE_SECONDS - 1
    assert b.leads
    pair.assert_never_two("a", "b")


def test_of_two_that_start_at_once_on_a_new_cluster_one_leads(pair: Pair, site: Site) -> None:
    pair.delete_lease()
    replicas = [pair.start(name, ready=False) for name in ("a", "b")]
    for one in replicas:
        one.process.wait_until_ready()
        assert not one.leads
    begin = time.monotonic()
    until(lambda: site.conditions()["Ready"] == "True Guarded", "the guard", seconds=ANOTHER_LEADS)
    print(f"a new cluster: guarded after {time.monotonic() - begin:.1f} s")
    (leader,) = [one.name for one in replicas if one.leads]
    for _ in range(5):
        is_led(site)
    pair.assert_never_two(leader)


def test_without_the_permission_for_the_lease_nobody_leads_and_all_say_why(
    plane: ControlPlane, pair: Pair, site: Site
) -> None:
    role = plane.kubectl("-n", NAMESPACE, "get", "rolebinding", f"{LEASE}-lease", "-o", "json").stdout
    plane.kubectl("-n", NAMESPACE, "delete", "rolebinding", f"{LEASE}-lease")
    try:
        a = pair.start("a", ready=False)
        until(lambda: a.process.health()[0] == 503 and "leases" in a.process.health()[1], "unreadiness", seconds=30)
        code, reason = a.process.health()
        assert (code, reason.startswith(f"lease {NAMESPACE}/{LEASE}: 403 Forbidden: ")) == (503, True), reason
        assert a.process.health("/healthz")[0] == 200
        time.sleep(3 * RETRY_SECONDS)
        assert len([line for line in a.process.log_lines() if '"WARNING"' in line]) == 1
        assert pair.writes() == []
    finally:
        kept = json.loads(role)
        kept["metadata"] = {name: kept["metadata"][name] for name in ("name", "namespace", "labels")}
        plane.kubectl("apply", "-f", "-", input=json.dumps(kept))
    site.await_ready()
    assert a.leads
    a.process.wait_until_ready()


def test_without_leader_election_no_lease_is_asked_for(plane: ControlPlane, pair: Pair, site: Site) -> None:
    a = pair.start("a", leader_elect=False, leader_elect_namespace=None)
    site.await_ready()
    assert a.leads
    asked = plane.audit_events(since=pair.begin, user=USER)
    assert [event for event in asked if event.get("objectRef", {}).get("resource") == "leases"] == []
    assert [event for event in asked if "timeout=" in event["requestURI"] and event["verb"] in WRITING] == []
