"""On the recording server the operator comes to what it comes to on a real one, or its figures would mean nothing.

So do the requests on which it relies: the same are sent to both, and the answers compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.contenders import Contender, contenders
from bench.measures import Life
from bench.recording import GUARDED, NODES, UNGUARDED, RecordedWorld, RecordingServer
from bench.world import NODE_PORTS, AnyWorld, World
from testbed import programs as testbed_programs
from testbed.api_client import APPLY, MERGE_PATCH
from testbed.cluster import path
from testbed.control_plane import ControlPlane
from testbed.programs import Programs
from testbed.waiting import wait_for
from tests.bench.outcomes import Json, outcome

SIZE = 3


@pytest.fixture(scope="module")
def ours() -> Contender:
    return contenders(["ours"])["ours"]


@pytest.fixture(scope="module")
def real(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("real") / "control-plane"
    with ControlPlane(folder=folder, programs=programs, node_ports=NODE_PORTS) as control_plane:
        world = World(control_plane, size=SIZE)
        world.create()
        yield world


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordingServer]:
    found = testbed_programs.find(testbed_programs.RECORDING)
    with RecordingServer(folder=tmp_path_factory.mktemp("recorded") / "server", programs=found) as server:
        yield server


@pytest.fixture
def recorded(server: RecordingServer) -> RecordedWorld:
    world = RecordedWorld(server, size=SIZE, unguarded=2, pods=True)
    world.create()
    return world


def test_the_operator_comes_to_the_same_on_both(
    real: World, server: RecordingServer, ours: Contender, tmp_path: Path
) -> None:
    bare = RecordedWorld(server, size=SIZE)
    bare.create()
    assert _without_numbers(outcome(bare, ours, folder=tmp_path)) == _without_numbers(
        outcome(real, ours, folder=tmp_path)
    )


@pytest.mark.parametrize("name", ["bare", "go", "kopf"])
def test_a_rival_comes_to_the_same_on_the_recording_server(
    name: str, server: RecordingServer, ours: Contender, tmp_path: Path
) -> None:
    world = RecordedWorld(server, size=SIZE)
    world.create()
    assert outcome(world, contenders([name])[name], folder=tmp_path) == outcome(world, ours, folder=tmp_path)


def test_the_operator_tells_the_same_of_a_drift_on_both(
    real: World, recorded: RecordedWorld, ours: Contender, tmp_path: Path
) -> None:
    """Whose doing it was is read off managedFields."""
    told = [_drift(world, ours, folder=tmp_path) for world in (real, recorded)]
    assert told[0] == told[1]
    assert told[0]["writer"] == "somebody"


def test_both_answer_the_same_requests_alike(real: World, recorded: RecordedWorld) -> None:
    try:
        for recording, real_one in zip(_answers(recorded), _answers(real), strict=True):
            assert recording == real_one
    finally:
        real.reset()


def test_a_restart_on_the_recording_server_writes_nothing(
    recorded: RecordedWorld, ours: Contender, tmp_path: Path
) -> None:
    figures = Life(world=recorded, contender=ours, folder=tmp_path).run(["converge", "restart"])
    assert figures["writes per policy"] == 4
    assert figures["restart, writes"] == 0


def test_drifts_are_made_at_their_rate_and_their_repair_is_seen(
    recorded: RecordedWorld, ours: Contender, tmp_path: Path
) -> None:
    life = Life(world=recorded, contender=ours, folder=tmp_path)
    with life.running() as (running, trace):
        life.converge(running, trace)
        recorded.churn(drifts={GUARDED: 2.0})

        def repaired() -> bool:
            running.check()
            return recorded.figures().repaired >= 4

        wait_for(repaired, seconds=30, what="four repairs")
        seen = recorded.figures()
    assert seen.writes[ours.user]["services"] >= seen.repaired
    assert seen.made[f"drifts/{GUARDED}"] == pytest.approx(2 * seen.seconds, abs=2)
    assert seen.repair["p50"] is not None
    assert 0 < seen.repair["p50"] <= (seen.repair["p99"] or 0)


def test_a_drift_that_nobody_repairs_counts_by_its_age(recorded: RecordedWorld) -> None:
    recorded.churn(drifts={GUARDED: 10})
    wait_for(lambda: recorded.figures().open == SIZE, seconds=10, what="all to be open")
    time.sleep(0.3)
    seen = recorded.figures()
    assert seen.repaired == 0
    assert 0.3 < (seen.repair["p50"] or 0) < seen.seconds


def test_slices_and_nodes_change_as_often_as_was_asked_for(recorded: RecordedWorld) -> None:
    def versions(kind: str) -> int:
        return sum(int(one["metadata"]["resourceVersion"]) for one in recorded.cluster_list(kind))

    before = {kind: versions(kind) for kind in ("EndpointSlice", "Node", "Service")}
    recorded.churn(slices={GUARDED: 20, UNGUARDED: 10}, heartbeats={NODES: 30})
    time.sleep(1)
    seen = recorded.figures()
    recorded.churn()
    for what, rate in ((f"slices/{GUARDED}", 20), (f"slices/{UNGUARDED}", 10), (f"heartbeats/{NODES}", 30)):
        assert seen.made[what] == pytest.approx(rate * seen.seconds, abs=3)
    assert versions("EndpointSlice") > before["EndpointSlice"]
    assert versions("Node") > before["Node"]
    assert versions("Service") == before["Service"]


def test_a_list_shows_one_version_of_the_whole_whatever_is_written_between_its_pages(
    recorded: RecordedWorld, server: RecordingServer
) -> None:
    services = path(kind="Service")
    first = server.request("GET", f"{services}?limit=2")[1]
    last = recorded.guarded[-1]
    before = server.request("GET", path(kind="Service", namespace=last.namespace, name=last.service))[1]
    recorded.open_services(recorded.guarded)
    server.request(
        "DELETE",
        path(kind="Service", namespace=last.namespace, name=last.service),
    )
    rest = server.request("GET", f"{services}?limit=100&continue={first['metadata']['continue']}")[1]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert [one for one in rest["items"] if one["metadata"]["uid"] == before["metadata"]["uid"]] == [
        {key: value for key, value in before.items() if key not in ("apiVersion", "kind")}
    ]


def test_what_the_recording_server_does_not_remember_is_gone(server: RecordingServer) -> None:
    for query in ("continue=1-1", "watch=true&resourceVersion=7"):
        assert server.request("GET", f"{path(kind='Service')}?{query}")[0] == 410


def test_a_list_by_the_presence_of_a_label_has_those_that_carry_it(
    recorded: RecordedWorld, server: RecordingServer
) -> None:
    one = recorded.guarded[0]
    service = path(kind="Service", namespace=one.namespace, name=one.service)
    server.request("PATCH", service, {"metadata": {"labels": {"chosen": "yes"}}}, content_type=MERGE_PATCH)
    for label, names in (("chosen", [one.service]), ("nodeport-access.io/none", [])):
        _, found = server.request("GET", f"{path(kind='Service')}?labelSelector={label}")
        assert [each["metadata"]["name"] for each in found["items"]] == names


def test_what_the_recording_server_does_not_know_it_refuses(recorded: RecordedWorld, server: RecordingServer) -> None:
    one = recorded.guarded[0]
    service = path(kind="Service", namespace=one.namespace, name=one.service)
    assert server.request("PATCH", service, [], content_type="application/json-patch+json")[0] == 400
    assert server.request("GET", f"{path(kind='Service')}?labelSelector=a%3Db")[0] == 501
    assert server.request("GET", "/api/v1/configmaps")[0] == 404


def _drift(world: AnyWorld, contender: Contender, *, folder: Path) -> Json:
    """What status tells of a Service that somebody opened."""
    life = Life(world=world, contender=contender, folder=folder)
    victim = world.guarded[0]
    policy = path(kind="NodePortAccessPolicy", namespace=victim.namespace, name=victim.policy)

    def told() -> Json:
        found: Any = world.api_server.request("GET", policy)[1]["status"].get("lastDrift")
        assert found, "no drift is told of"
        return {key: value for key, value in found.items() if key != "time"}

    try:
        with life.running() as (running, trace):
            life.converge(running, trace)
            world.open_service(victim)
            return wait_for(told, seconds=30, what="the drift to be told of")
    finally:
        world.reset()


def _answers(world: AnyWorld) -> list[Json]:
    """What comes of one request after the other, on each of which the operator relies somewhere."""
    one, told = world.guarded[0], list[Json]()
    service = path(kind="Service", namespace=one.namespace, name=one.service)
    policy = path(kind="NodePortAccessPolicy", namespace=one.namespace, name=one.policy)
    child = path(kind="NetworkPolicy", namespace=one.namespace, name="child")
    lease = path(kind="Lease", namespace=one.namespace, name="lease")

    def send(method: str, where: str, body: Json | None = None, *, content_type: str = "application/json") -> Json:
        code, answer = world.api_server.request(method, where, body, content_type=content_type)
        told.append({"request": f"{method} {where}", "body": body is not None, "code": code, **_essence(answer)})
        return answer

    def apply(where: str, body: Json, *, manager: str = "ours", force: bool = False) -> Json:
        query = f"?fieldManager={manager}&force={json.dumps(force)}"
        return send("PATCH", where + query, body, content_type=APPLY)

    def service_body(spec: Json, **metadata: str) -> Json:
        names = {"namespace": one.namespace, "name": one.service, **metadata}
        return {"apiVersion": "v1", "kind": "Service", "metadata": names, **({"spec": spec} if spec else {})}

    def child_body(spec: Json, **metadata: Any) -> Json:
        names = {"namespace": one.namespace, "name": "child", **metadata}
        return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": names, "spec": spec}

    local = {"externalTrafficPolicy": "Local"}
    uid = send("GET", service)["metadata"]["uid"]
    apply(service, service_body(local))  # its default belongs to nobody, or to who created it
    apply(service, service_body(local), force=True)
    apply(service, service_body(local))  # nothing changes
    apply(service, service_body(local, uid=uid))
    apply(service, service_body(local, uid="another"))
    apply(service, service_body(local, resourceVersion="1"))
    change = {"spec": {"externalTrafficPolicy": "Cluster"}}
    send("PATCH", f"{service}?fieldManager=somebody", change, content_type=MERGE_PATCH)
    apply(service, service_body(local))  # it is somebody's
    apply(service, service_body(local), force=True)
    apply(service, service_body({}))  # let go: the default is back
    gone = path(kind="Service", namespace=one.namespace, name="gone")
    apply(gone, {**service_body(local), "metadata": {"name": "gone", "namespace": one.namespace, "uid": uid}})

    rules = {"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"], "ingress": [], "egress": []}
    apply(child, child_body(rules, resourceVersion="1"))
    apply(child, child_body(rules, resourceVersion="1"))  # it is there by now
    apply(child, child_body(rules))  # an empty list that is sent counts as a change
    open_to_all: Json = {"spec": {"ingress": [{}]}}
    send("PATCH", f"{child}?fieldManager=somebody", open_to_all, content_type=MERGE_PATCH)
    apply(child, child_body(rules), force=True)
    owner = {"apiVersion": "v1", "kind": "Service", "name": one.service, "uid": uid}
    apply(child, child_body(rules, ownerReferences=[owner]), force=True)
    apply(child, child_body(rules), force=True)
    found = send("GET", child)["metadata"]
    stale = {"preconditions": {"uid": found["uid"], "resourceVersion": "1"}}
    send("DELETE", child, stale)
    send("DELETE", child, {"preconditions": {"uid": found["uid"], "resourceVersion": found["resourceVersion"]}})
    send("DELETE", child)

    found = send("GET", policy)["metadata"]
    status = {
        "apiVersion": "nodeport-access.io/v1alpha1",
        "kind": "NodePortAccessPolicy",
        "metadata": {"namespace": one.namespace, "name": one.policy, "resourceVersion": found["resourceVersion"]},
        "status": {"observedGeneration": 1, "effectiveCIDRs": 3},
    }
    apply(f"{policy}/status", status, force=True)
    apply(f"{policy}/status", status, force=True)  # of a version that is not the latest any more
    send("PATCH", f"{policy}?fieldManager=somebody", {"spec": {"mode": "Audit"}}, content_type=MERGE_PATCH)
    send("PATCH", f"{policy}?fieldManager=somebody", {"spec": {"mode": "Audit"}}, content_type=MERGE_PATCH)

    held = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lease"}, "spec": {}}
    send("POST", path(kind="Lease", namespace=one.namespace), held)
    send("POST", path(kind="Lease", namespace=one.namespace), held)
    found = send("GET", lease)
    send("PUT", lease, {**found, "spec": {"holderIdentity": "me"}})
    send("PUT", lease, {**found, "spec": {"holderIdentity": "you"}})
    send("DELETE", lease)
    return told


def _essence(answer: Json) -> Json:
    """Of an object its spec, generation, and whose each managed field of ours and somebody's is; of a refusal its
    reason."""
    if answer.get("kind") == "Status":
        details = answer.get("details") or {}
        causes = [(cause.get("reason"), cause.get("field")) for cause in details.get("causes", ())]
        return {"reason": answer.get("reason"), "causes": causes if answer.get("reason") == "Conflict" else None}
    metadata = answer["metadata"]
    fields = {
        (entry["manager"], entry["operation"], entry.get("subresource")): _without_uids(entry["fieldsV1"])
        for entry in metadata.get("managedFields", ())
        if entry["manager"] in ("ours", "somebody")
    }
    spec = {key: value for key, value in answer["spec"].items() if not key.startswith("clusterIP")}
    ports = [{**port, "nodePort": 0} for port in spec.get("ports", ())]
    return {
        "spec": {**spec, **({"ports": ports} if ports else {})},
        "generation": metadata.get("generation"),
        "status": answer.get("status"),
        "fields": fields,
    }


def _without_uids(fields: Json) -> Json:
    """Empty fields of an item in place of its own, and no uids."""
    return {
        "k:" if name.startswith("k:") else name: {} if name.startswith("k:") else _without_uids(inner)
        for name, inner in fields.items()
    }


def _without_numbers(told: list[Json]) -> list[Json]:
    """Without what an API server gives out by itself."""
    for one in told:
        for field in ("clusterIP", "clusterIPs"):
            one["spec"].pop(field, None)
        for port in one["spec"].get("ports", ()):
            port["nodePort"] = 0
        if "nodePorts" in one["status"]:
            one["status"]["nodePorts"] = len(one["status"]["nodePorts"])
    return told
