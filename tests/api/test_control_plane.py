"""The testbed's control plane is a real one, several run side by side, and it ends with whoever started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed import building, objects
from testbed.api_client import ApiUnavailable
from testbed.cluster import Cluster, Refused
from testbed.control_plane import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    ControlPlane,
    ControlPlaneFailed,
    ForeignKubeconfig,
)
from testbed.kubectl import KubectlFailed
from testbed.operator_process import NAMESPACE, ROOT, SERVICE_ACCOUNT, USER
from testbed.ports import PortBlock
from testbed.processes import ProcessIdentity
from testbed.programs import Programs
from testbed.running import FolderInUse, is_running
from testbed.waiting import wait_for

LABELS = {"app": "web"}


@pytest.fixture(scope="module")
def bare(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with nothing in it, to be ill-treated. Every test leaves it running."""
    with ControlPlane(folder=tmp_path_factory.mktemp("bare"), programs=programs) as control_plane:
        yield control_plane


def test_it_is_the_pinned_kubernetes(control_plane: ControlPlane) -> None:
    go_mod = (building.recipe("kube-apiserver", environment=os.environ).folder / "go.mod").read_text()

    code, version = control_plane.request("GET", "/version")

    assert code == 200
    assert f"k8s.io/kubernetes {version['gitVersion']} " in go_mod


def test_a_user_may_do_nothing_until_rbac_lets_him(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    kubeconfig = control_plane.kubeconfig(user="jane", groups=["readers"])
    pods = f"/api/v1/namespaces/{namespace}/pods"

    code, answer = control_plane.request("GET", pods, kubeconfig=kubeconfig)
    assert code == 403
    assert '"jane" cannot list resource "pods"' in answer["message"]

    control_plane.kubectl("-n", namespace, "create", "rolebinding", "readers", "--clusterrole=view", "--group=readers")

    wait_for(
        lambda: control_plane.request("GET", pods, kubeconfig=kubeconfig)[0] == 200, seconds=5, what="leave to list"
    )
    with pytest.raises(KubectlFailed, match="forbidden"):
        control_plane.kubectl("-n", namespace, "create", "configmap", "mine", kubeconfig=kubeconfig)
    assert cluster.find("ConfigMap", "mine", namespace=namespace) is None


def test_a_service_account_is_itself_and_no_more(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace=namespace, name="default")

    code, answer = control_plane.request("GET", "/api/v1/nodes", kubeconfig=kubeconfig)

    assert code == 403
    assert f'User "system:serviceaccount:{namespace}:default" cannot list resource "nodes"' in answer["message"]


def test_the_operator_has_an_account_with_the_rights_of_its_manifests(control_plane: ControlPlane) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)

    who = control_plane.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=kubeconfig)
    may_read = control_plane.kubectl("auth", "can-i", "watch", "services", "-A", kubeconfig=kubeconfig, check=False)
    may_peek = control_plane.kubectl("auth", "can-i", "get", "secrets", "-A", kubeconfig=kubeconfig, check=False)

    assert who.stdout == USER
    assert may_read.stdout.strip() == "yes"
    assert may_peek.stdout.strip() == "no"


def test_nobody_is_let_in_without_a_name(control_plane: ControlPlane) -> None:
    configuration = json.loads(control_plane.kubectl("config", "view", "--raw", "-o", "json").stdout)
    nameless = control_plane.admin_kubeconfig.with_name("nameless.kubeconfig")
    nameless.write_text(json.dumps({**configuration, "users": [{"name": "testbed-admin", "user": {}}]}))

    assert control_plane.request("GET", "/version", kubeconfig=nameless)[0] == 401


def test_a_pod_that_is_said_to_be_ready_becomes_an_endpoint(cluster: Cluster, namespace: str) -> None:
    cluster.create(objects.service(namespace=namespace, name="web", selector=LABELS))
    cluster.create(objects.pod(namespace=namespace, name="one", node="node1", ips=["10.233.90.7"], labels=LABELS))
    cluster.create(
        objects.pod(namespace=namespace, name="two", node="node2", ips=["10.233.96.7"], labels=LABELS, ready=False)
    )
    cluster.wait_for_endpoints("web", namespace=namespace, ready=["10.233.90.7"])

    cluster.set_ready("two", namespace=namespace, ready=True)
    cluster.wait_for_endpoints("web", namespace=namespace, ready=["10.233.90.7", "10.233.96.7"])
    assert {end["nodeName"] for end in cluster.endpoints("web", namespace=namespace)} == {"node1", "node2"}

    cluster.terminate("one", namespace=namespace)
    cluster.wait_for_endpoints("web", namespace=namespace, ready=["10.233.96.7"])
    leaving = next(end for end in cluster.endpoints("web", namespace=namespace) if end["nodeName"] == "node1")
    assert leaving["conditions"] == {"ready": False, "serving": True, "terminating": True}

    cluster.remove("one", namespace=namespace)
    cluster.remove("two", namespace=namespace)
    wait_for(lambda: not cluster.endpoints("web", namespace=namespace), seconds=10, what="no endpoints")


def test_services_and_pods_may_be_dual_stack_or_of_the_host(cluster: Cluster, namespace: str) -> None:
    families = ["IPv4", "IPv6"]
    cluster.create(objects.service(namespace=namespace, name="web", selector=LABELS, ip_families=families))
    pod = objects.pod(namespace=namespace, name="one", node="node1", ips=["10.233.90.7", "fd00:90::7"], labels=LABELS)
    cluster.create(pod)
    host = objects.pod(
        namespace=namespace, name="host", node="node1", ips=["10.102.123.117"], labels=LABELS, host_network=True
    )
    cluster.create(host)

    cluster.wait_for_endpoints("web", namespace=namespace, ready=["10.233.90.7", "fd00:90::7", "10.102.123.117"])
    cluster_ips = cluster.get("Service", "web", namespace=namespace)["spec"]["clusterIPs"]
    assert [":" in address for address in cluster_ips] == [False, True]


def test_the_audit_log_tells_who_wrote_what_after_a_mark(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    cluster.create(objects.service(namespace=namespace, name="before", selector=LABELS))
    mark = control_plane.audit_mark()
    body = objects.changed(
        objects.service(namespace=namespace, name="after", selector=LABELS), {"metadata": {"labels": {"a": "b"}}}
    )
    cluster.apply(body, manager="somebody")

    written = [
        event
        for event in control_plane.audit_events(since=mark, user="testbed-admin")
        if event["verb"] in ("create", "patch") and event["objectRef"].get("namespace") == namespace
    ]

    assert [event["objectRef"]["name"] for event in written] == ["after"]
    assert written[0]["requestObject"]["metadata"]["labels"] == {"a": "b"}
    assert written[0]["responseStatus"]["code"] == 201


def test_the_api_server_may_stop_and_come_back_with_everything_in_it(bare: ControlPlane) -> None:
    cluster = Cluster(bare)
    cluster.create_namespace(objects.namespace(name="kept"))
    assert bare.stop_api_server() == 0, "it did not end in order, or waited for the watches' time-out"

    with pytest.raises(ApiUnavailable):
        bare.request("GET", "/readyz")
    bare.start_api_server()

    assert cluster.get("Namespace", "kept")["status"]["phase"] == "Active"


def test_a_paused_api_server_does_not_answer_until_it_goes_on(bare: ControlPlane) -> None:
    bare.pause()
    try:
        with pytest.raises(ApiUnavailable):
            bare.request("GET", "/readyz", seconds=0.3)
    finally:
        bare.resume()

    assert bare.request("GET", "/readyz")[0] == 200


def test_without_the_controller_manager_there_are_no_endpoints(bare: ControlPlane) -> None:
    cluster = Cluster(bare)
    cluster.create(objects.node(name="node1"))
    cluster.create_namespace(objects.namespace(name="quiet"))
    bare.stop_controller_manager()
    cluster.create(objects.service(namespace="quiet", name="web", selector=LABELS))
    cluster.create(objects.pod(namespace="quiet", name="one", node="node1", ips=["10.244.0.7"], labels=LABELS))
    time.sleep(0.5)
    assert cluster.endpoints("web", namespace="quiet") == []

    bare.start_controller_manager()

    cluster.wait_for_endpoints("web", namespace="quiet", ready=["10.244.0.7"])


def test_two_run_side_by_side_and_know_nothing_of_each_other(control_plane: ControlPlane, bare: ControlPlane) -> None:
    Cluster(bare).create_namespace(objects.namespace(name="only-here"))

    assert bare.url != control_plane.url
    assert Cluster(control_plane).find("Namespace", "only-here") is None
    with pytest.raises(ForeignKubeconfig):
        bare.request("GET", "/api", kubeconfig=control_plane.admin_kubeconfig)


def test_a_folder_holds_one_control_plane_at_a_time(bare: ControlPlane, programs: Programs) -> None:
    assert is_running(bare.folder)
    with pytest.raises(FolderInUse):
        ControlPlane(folder=bare.folder, programs=programs).start()
    assert bare.request("GET", "/readyz")[0] == 200


def test_a_program_that_does_not_start_is_named_with_the_end_of_its_log(programs: Programs, tmp_path: Path) -> None:
    control_plane = ControlPlane(folder=tmp_path / "wrong", programs=programs, node_ports="no-range")

    with pytest.raises(ControlPlaneFailed, match=r"(?s)kube-apiserver ended with code .*no-range"):
        control_plane.start()

    assert not is_running(tmp_path / "wrong")


def test_two_may_start_at_once_also_where_a_port_is_taken_and_a_stop_leaves_nothing_but_logs(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: ControlPlane
) -> None:
    taken, take = iter([int(bare.url.rpartition(":")[2])]), PortBlock.take
    monkeypatch.setattr(PortBlock, "take", lambda block: next(taken, None) or take(block))
    planes = [ControlPlane(folder=tmp_path / name, programs=programs) for name in ("a", "b")]

    with ThreadPoolExecutor() as threads:
        try:
            for started in [threads.submit(plane.start) for plane in planes]:
                started.result()
            assert len({plane.url for plane in planes}) == 2
            assert all(plane.request("GET", "/readyz")[0] == 200 for plane in planes)
            assert [set(plane.process_ids()) for plane in planes] == [{ETCD, API_SERVER, CONTROLLER_MANAGER}] * 2
            running = [ProcessIdentity.of(pid) for plane in planes for pid in plane.process_ids().values()]
        finally:
            for plane in planes:
                plane.stop()

    first_tries = [(plane.folder / "logs/etcd.log").read_text() for plane in planes]
    assert any("address already in use" in log for log in first_tries), "no port was taken: nothing was tested"
    assert all(running)
    assert not any(process and process.is_running() for process in running)
    for plane in planes:
        assert not is_running(plane.folder)
        assert not (plane.folder / "etcd").exists()
        assert (plane.folder / "audit.log").stat().st_size > 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_caller_that_is_ended_by(end: signal.Signals, programs: Programs, tmp_path: Path) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, tmp_path / "lost", json.dumps({n: str(p) for n, p in programs.paths.items()})],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the traceback of KeyboardInterrupt
        start_new_session=True,
    )
    with caller:
        assert caller.stdout is not None
        identities = [ProcessIdentity.of(pid) for pid in json.loads(caller.stdout.readline()).values()]
        assert len(identities) == 3
        assert all(identities)
        assert is_running(tmp_path / "lost")

        caller.send_signal(end)
        caller.wait(20)

    wait_for(lambda: not is_running(tmp_path / "lost"), seconds=15, what="the end of all supervisors")
    assert not any(process and process.is_running() for process in identities)


CALLER = textwrap.dedent("""\
    import json, sys, time
    from pathlib import Path
    from testbed.control_plane import ControlPlane
    from testbed.programs import Programs

    paths = {name: Path(path) for name, path in json.loads(sys.argv[2]).items()}
    with ControlPlane(folder=Path(sys.argv[1]), programs=Programs(paths=paths, origin="a test")) as control_plane:
        print(json.dumps(control_plane.process_ids()), flush=True)
        time.sleep(60)
""")


def test_a_refusal_carries_code_and_words_of_the_api_server(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(Refused, match=r"spec\.type: Unsupported value") as refused:
        cluster.create(objects.service(namespace=namespace, name="web", selector=LABELS, type="Nonsense"))

    assert refused.value.code == 422


def test_a_watch_is_read_event_by_event(control_plane: ControlPlane, cluster: Cluster, namespace: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    version = control_plane.request("GET", maps)[1]["metadata"]["resourceVersion"]
    events = control_plane.stream(f"{maps}?watch=true&resourceVersion={version}")
    try:
        for name in ("one", "two"):
            cluster.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}
            )
            event = next(event for event in events if event["object"]["metadata"]["name"] in ("one", "two"))
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", name)
    finally:
        events.close()
    with pytest.raises(ApiUnavailable):
        next(
            control_plane.stream(
                f"{maps}?watch=true&resourceVersion={version}&fieldSelector=metadata.name=none", seconds=1
            )
        )
