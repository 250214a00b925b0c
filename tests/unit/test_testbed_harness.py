"""The small parts of the harness: waiting, ports, the audit log, builders, command lines."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from testbed import audit, objects
from testbed.api_client import ApiClient, ApiUnavailable
from testbed.cluster import path
from testbed.credentials import Credentials
from testbed.operator_process import arguments, clean_environment
from testbed.ports import NoFreePorts, PortBlock
from testbed.running import is_running
from testbed.waiting import TimedOut, wait_for


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


# --- waiting --------------------------------------------------------------------------------------------------------


def test_waiting_ends_with_the_first_true_answer() -> None:
    clock = Clock()
    answers: Iterator[str | None] = iter([None, "", "there"])

    found = wait_for(lambda: next(answers), seconds=5, what="it", monotonic=clock, sleep=clock.sleep)

    assert found == "there"
    assert clock.now == pytest.approx(0.1)


def test_waiting_in_vain_says_for_what_and_what_was_seen_last() -> None:
    clock = Clock()

    with pytest.raises(TimedOut, match=r"after 5 s still waiting for two pods; last seen: \[\]"):
        wait_for(list, seconds=5, what="two pods", monotonic=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(5, abs=0.1)


def test_a_failed_assertion_is_not_yet_and_an_error_is_an_error() -> None:
    clock = Clock()

    def never() -> bool:
        assert clock.now > 99, "it is too early"
        return True

    with pytest.raises(TimedOut, match="last failed: it is too early"):
        wait_for(never, seconds=1, what="it", monotonic=clock, sleep=clock.sleep)
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: 1 // 0, seconds=1, what="it", monotonic=clock, sleep=clock.sleep)


# --- ports ----------------------------------------------------------------------------------------------------------


def test_two_claims_get_different_ports(tmp_path: Path) -> None:
    one, other = (PortBlock.claim(random=Random(1), folder=tmp_path) for _ in range(2))
    try:
        assert not {one.take() for _ in range(10)} & {other.take() for _ in range(10)}
    finally:
        one.close()
        other.close()


def test_a_port_that_somebody_listens_on_is_not_given_out(tmp_path: Path) -> None:
    block = PortBlock.claim(random=Random(2), folder=tmp_path)
    first = block.take()
    block.give_back(first)
    with socket.create_server(("127.0.0.1", first)):
        rest = list(all_of(block))
    block.close()

    assert first not in rest
    assert len(rest) == len(set(rest)) > 10


def all_of(block: PortBlock) -> Iterator[int]:
    with contextlib.suppress(NoFreePorts):
        while True:
            yield block.take()


def test_ports_are_neither_node_ports_nor_those_of_outgoing_connections(tmp_path: Path) -> None:
    for seed in range(20):
        block = PortBlock.claim(random=Random(seed), folder=tmp_path)
        assert 1024 < block.take() < 30000
        block.close()


# --- the audit log --------------------------------------------------------------------------------------------------


def test_a_last_line_that_is_still_being_written_is_left_for_the_next_time(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    assert audit.read(log) == ([], 0)
    log.write_text(json.dumps({"auditID": "1"}) + "\n" + '{"auditID": "2')

    first, offset = audit.read(log)
    with log.open("a") as file:
        file.write('"}\n')
    second, _ = audit.read(log, since=offset)

    assert [event["auditID"] for event in first] == ["1"]
    assert [event["auditID"] for event in second] == ["2"]


# --- builders -------------------------------------------------------------------------------------------------------


def test_a_change_merges_and_removes_and_leaves_the_original_alone() -> None:
    body = objects.service(namespace="a", name="web", selector={"app": "web"})

    other = objects.changed(
        body, {"spec": {"selector": None, "type": "LoadBalancer"}, "metadata": {"labels": {"x": "y"}}}
    )

    assert "selector" not in other["spec"]
    assert other["spec"]["type"] == "LoadBalancer"
    assert other["metadata"] == {"namespace": "a", "name": "web", "labels": {"x": "y"}}
    assert body == objects.service(namespace="a", name="web", selector={"app": "web"})


@pytest.mark.parametrize("ready", [True, False])
def test_a_pod_is_as_ready_as_it_says(ready: bool) -> None:
    body = objects.pod(namespace="a", name="b", node="n", ips=["10.0.0.1"], ready=ready)

    conditions = {item["type"]: item["status"] for item in body["status"]["conditions"]}
    assert conditions["Ready"] == str(ready)
    assert conditions["PodScheduled"] == "True"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"kind": "Node", "name": "n"}, "/api/v1/nodes/n"),
        ({"kind": "Pod", "namespace": "a"}, "/api/v1/namespaces/a/pods"),
        ({"kind": "Pod"}, "/api/v1/pods"),
        (
            {"kind": "NodePortAccessPolicy", "namespace": "a", "name": "b", "subresource": "status"},
            "/apis/nodeport-access.io/v1alpha1/namespaces/a/nodeportaccesspolicies/b/status",
        ),
    ],
)
def test_objects_have_the_paths_of_the_api(wanted: dict[str, str], expected: str) -> None:
    assert path(**wanted) == expected


# --- the operator's command line ------------------------------------------------------------------------------------


def test_flags_become_words() -> None:
    flags = {"namespace": ["a", "b"], "leader_elect": True, "log_format": "plain", "context": None, "debug": False}

    assert arguments(flags) == ["--namespace", "a", "--namespace", "b", "--leader-elect", "--log-format", "plain"]


def test_the_operator_does_not_inherit_the_way_to_another_cluster() -> None:
    inherited = {
        "PATH": "/bin",
        "KUBECONFIG": "/home/jane/.kube/config",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "NODEPORT_ACCESS_LOG_LEVEL": "debug",
    }

    assert clean_environment(inherited) == {"PATH": "/bin"}


# --- clients --------------------------------------------------------------------------------------------------------


def test_nobody_there_is_said_so_and_secrets_are_for_the_user_only(tmp_path: Path) -> None:
    credentials = Credentials(folder=tmp_path / "credentials", now=datetime.datetime.now(datetime.UTC))
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    kubeconfig = credentials.for_client(url=f"https://127.0.0.1:{port}", user="system:serviceaccount:a:b/c")
    client = ApiClient(kubeconfig=kubeconfig)

    with pytest.raises(ApiUnavailable, match="GET /readyz"):
        client.request("GET", "/readyz")

    client.close()
    assert kubeconfig.name == "system-serviceaccount-a-b-c-1.kubeconfig"
    assert all(file.stat().st_mode & 0o077 == 0 for file in credentials.folder.iterdir())


def test_a_folder_without_a_control_plane_is_not_running(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "none")
    assert not is_running(tmp_path)
