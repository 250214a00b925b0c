"""The API client and the watches on a real API server: what it really answers, and that an outage hides nothing.

What a real one does not do when asked (half a line, an expired token) is in `tests/unit/test_kube.py` and
`tests/unit/test_watches.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from kubernetes.aio.client import Configuration

from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
    ApiError,
    Client,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Resource,
    SchemaOutdated,
    Unreachable,
    WatchEvent,
    load_configuration,
)
from nodeport_access.watches import Pace, Watch
from nodeport_access.writer import NOTHING_YET
from testbed import objects
from testbed.cluster import Cluster, Refused
from testbed.control_plane import ControlPlane

Body = dict[str, Any]

CONFIG_MAPS = Resource(group="", version="v1", plural="configmaps", kind="ConfigMap")
LOG = logging.getLogger("test.client")


async def load(kubeconfig: Path) -> Configuration:
    return await load_configuration(kubeconfig=str(kubeconfig), context=None, environ={})


@asynccontextmanager
async def connected(
    kubeconfig: Path, *, host: str | None = None, observer: Callable[[str, str, int, float], None] = lambda *_: None
) -> AsyncIterator[Client]:
    configuration = await load(kubeconfig)
    configuration.host = host or configuration.host
    client = Client(configuration=configuration, load=partial(load, kubeconfig), observer=observer)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture(scope="session")
def control_plane(quiet_control_plane: ControlPlane) -> ControlPlane:
    """Without an operator, which would hand back what these tests take under its name."""
    return quiet_control_plane


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> Cluster:
    return Cluster(control_plane)


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    """The harness's own, beyond RBAC."""
    async with connected(control_plane.admin_kubeconfig) as it:
        yield it


def deny_all(namespace: str, name: str, **metadata: Any) -> Body:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [], "egress": []}
    body = objects.network_policy(namespace=namespace, name=name, spec=spec)
    body["metadata"].update(metadata)
    return body


def local(service: Body, **metadata: Any) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"], **metadata},
        "spec": {"externalTrafficPolicy": "Local"},
    }


# --- the verbs ----------------------------------------------------------------------------------------------


async def test_the_first_apply_creates_and_the_same_again_changes_nothing(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    apply = partial(client.apply, NETWORK_POLICIES, namespace=namespace, name="deny")
    first = await apply(body=deny_all(namespace, "deny"), force=False)
    again = await apply(body=deny_all(namespace, "deny"), force=False)
    assert (first.created, again.created) == (True, False)
    # Version and generation move all the same: an empty list is stored as none, so that every apply of one differs.
    assert again.object["spec"] == first.object["spec"]
    (entry,) = again.object["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("nodeport-access-operator", "Apply")
    assert await client.get(NETWORK_POLICIES, namespace=namespace, name="deny") == again.object

    stored = cluster.create(objects.service(namespace=namespace, name="shop", selector={"app": "a"}))
    apply = partial(client.apply, SERVICES, namespace=namespace, name="shop", body=local(stored), force=True)
    versions = {(await apply()).object["metadata"]["resourceVersion"] for _ in range(3)}
    assert len(versions) == 1


async def test_an_apply_with_the_first_version_of_all_creates_and_never_meets_anything(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    # Without a guard the apply meets this one, in no conflict: an empty selector is nobody's.
    for_all_pods = objects.network_policy(namespace=namespace, name="theirs", spec={"policyTypes": ["Ingress"]})
    theirs = cluster.create(for_all_pods)
    for name in ("theirs", "ours"):
        apply = partial(client.apply, NETWORK_POLICIES, namespace=namespace, name=name, force=False)
        body = deny_all(namespace, name, resourceVersion=NOTHING_YET)
        if name == "ours":
            assert (await apply(body=body)).created
        with pytest.raises(Conflict, match="the object has been modified"):
            await apply(body=body)
    assert cluster.get("NetworkPolicy", "theirs", namespace=namespace) == theirs


async def test_an_apply_without_force_is_refused_by_name_of_the_owner_and_with_force_takes_the_field(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    theirs = objects.service(namespace=namespace, name="shop", selector={"app": "a"}, externalTrafficPolicy="Cluster")
    stored = cluster.apply(theirs, manager="argocd")
    apply = partial(client.apply, SERVICES, namespace=namespace, name="shop", body=local(stored))
    with pytest.raises(Conflict) as caught:
        await apply(force=False)
    (cause,) = caught.value.causes
    assert (cause.reason, cause.field) == ("FieldManagerConflict", ".spec.externalTrafficPolicy")
    assert "argocd" in cause.message
    assert not caught.value.object_missing
    assert cluster.get("Service", "shop", namespace=namespace)["spec"]["externalTrafficPolicy"] == "Cluster"
    taken = await apply(force=True)
    assert not taken.created
    assert taken.object["spec"]["externalTrafficPolicy"] == "Local"


async def test_an_apply_guarded_by_a_uid_never_creates(client: Client, cluster: Cluster, namespace: str) -> None:
    stored = cluster.create(objects.service(namespace=namespace, name="shop", selector={"app": "a"}))
    uid = stored["metadata"]["uid"]
    apply = partial(client.apply, SERVICES, namespace=namespace, name="shop", body=local(stored, uid=uid), force=True)
    assert (await apply()).object["spec"]["externalTrafficPolicy"] == "Local"
    cluster.delete("Service", "shop", namespace=namespace)
    with pytest.raises(Conflict) as caught:
        await apply()
    assert caught.value.object_missing
    with pytest.raises(NotFound):
        await client.get(SERVICES, namespace=namespace, name="shop")


async def test_an_apply_with_the_uid_of_a_predecessor_is_invalid(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    stored = cluster.create(objects.service(namespace=namespace, name="shop", selector={"app": "a"}))
    cluster.delete("Service", "shop", namespace=namespace)
    cluster.create(objects.service(namespace=namespace, name="shop", selector={"app": "a"}))
    body = local(stored, uid=stored["metadata"]["uid"])
    with pytest.raises(Invalid, match="immutable"):
        await client.apply(SERVICES, namespace=namespace, name="shop", body=body, force=True)
    assert cluster.get("Service", "shop", namespace=namespace)["spec"]["externalTrafficPolicy"] == "Cluster"


async def test_a_field_that_no_schema_knows_is_refused_and_nothing_written(client: Client, namespace: str) -> None:
    body = deny_all(namespace, "deny")
    body["spec"]["ingres"] = []
    with pytest.raises(ApiError, match="ingres"):
        await client.apply(NETWORK_POLICIES, namespace=namespace, name="deny", body=body, force=False)
    with pytest.raises(NotFound):
        await client.get(NETWORK_POLICIES, namespace=namespace, name="deny")


async def test_a_creation_creates_once_and_takes_no_field_that_no_schema_knows(client: Client, namespace: str) -> None:
    create = partial(client.create, NETWORK_POLICIES, namespace=namespace)
    made = await create(body=deny_all(namespace, "deny"))
    assert await client.get(NETWORK_POLICIES, namespace=namespace, name="deny") == made
    with pytest.raises(Conflict):
        await create(body=deny_all(namespace, "deny"))
    unknown = deny_all(namespace, "other")
    unknown["spec"]["ingres"] = []
    with pytest.raises(ApiError, match="ingres"):
        await create(body=unknown)
    with pytest.raises(NotFound):
        await client.get(NETWORK_POLICIES, namespace=namespace, name="other")


async def test_only_the_object_that_was_seen_is_deleted(client: Client, cluster: Cluster, namespace: str) -> None:
    seen = cluster.create(deny_all(namespace, "deny"))["metadata"]
    uid, version = seen["uid"], seen["resourceVersion"]
    delete = partial(client.delete, NETWORK_POLICIES, namespace=namespace, name="deny")
    cluster.patch("NetworkPolicy", "deny", {"metadata": {"labels": {"a": "b"}}}, namespace=namespace)
    with pytest.raises(Conflict):
        await delete(uid=uid, resource_version=version)
    version = cluster.get("NetworkPolicy", "deny", namespace=namespace)["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await delete(uid="another", resource_version=version)
    assert cluster.find("NetworkPolicy", "deny", namespace=namespace)
    assert await delete(uid=uid, resource_version=version) is None
    assert cluster.find("NetworkPolicy", "deny", namespace=namespace) is None
    assert await delete(uid=uid, resource_version=version) is None, "which is no error"


async def test_of_metadata_only_what_was_seen_is_replaced_and_nothing_of_it_becomes_ours(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    apply = partial(client.apply, NETWORK_POLICIES, namespace=namespace, name="deny", force=True)
    applied = (await apply(body=deny_all(namespace, "deny", labels={"a": "b"}))).object
    settings = cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s", "namespace": namespace}}
    )
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "s", "uid": settings["metadata"]["uid"]}
    change = {"metadata": {"finalizers": ["example.com/hold"], "ownerReferences": [owner]}}
    seen = cluster.patch("NetworkPolicy", "deny", change, namespace=namespace, manager="gitops")["metadata"]

    replace = partial(
        client.replace_metadata,
        NETWORK_POLICIES,
        namespace=namespace,
        name="deny",
        uid=seen["uid"],
        metadata={"finalizers": [], "ownerReferences": []},
    )
    with pytest.raises(Conflict):
        await replace(resource_version=applied["metadata"]["resourceVersion"])
    kept = await apply(body=deny_all(namespace, "deny", labels={"a": "b"}))
    assert kept.object["metadata"]["finalizers"] == ["example.com/hold"], "an apply leaves it there"
    assert kept.object["metadata"]["ownerReferences"] == [owner]
    replaced = await replace(resource_version=kept.object["metadata"]["resourceVersion"])
    assert replaced["metadata"].keys().isdisjoint({"finalizers", "ownerReferences"})
    assert [(entry["manager"], entry["operation"]) for entry in replaced["metadata"]["managedFields"]] == [
        ("nodeport-access-operator", "Apply")
    ]

    cluster.delete("NetworkPolicy", "deny", namespace=namespace)
    with pytest.raises(NotFound):
        await replace(resource_version=replaced["metadata"]["resourceVersion"])
    cluster.create(deny_all(namespace, "deny", finalizers=["example.com/hold"]))
    try:
        with pytest.raises(Conflict):
            await replace(resource_version=replaced["metadata"]["resourceVersion"])
    finally:
        cluster.patch("NetworkPolicy", "deny", {"metadata": {"finalizers": None}}, namespace=namespace)


async def test_a_second_controller_stands_in_the_way_of_our_apply_until_it_is_taken_off(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    policy, settings = (
        cluster.create(body)["metadata"]
        for body in (
            objects.policy(namespace=namespace, name="p", service="shop", allowedCIDRs=[]),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s", "namespace": namespace}},
        )
    )
    ours = {"apiVersion": POLICIES.api_version, "kind": POLICIES.kind, "name": "p", "uid": policy["uid"]}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "name": "s", "uid": settings["uid"], "controller": True}
    owned = deny_all(namespace, "deny", ownerReferences=[ours | {"controller": True}])
    apply = partial(client.apply, NETWORK_POLICIES, namespace=namespace, name="deny", body=owned, force=True)
    edit = partial(cluster.patch, "NetworkPolicy", "deny", namespace=namespace, manager="gitops")
    await apply()

    with pytest.raises(Refused, match="Only one reference can have Controller set to true"):
        edit({"metadata": {"ownerReferences": [*owned["metadata"]["ownerReferences"], theirs]}})
    seen = edit({"metadata": {"ownerReferences": [ours, theirs]}})["metadata"]
    with pytest.raises(Invalid, match="Only one reference can have Controller set to true"):
        await apply()
    await client.replace_metadata(
        NETWORK_POLICIES,
        namespace=namespace,
        name="deny",
        uid=seen["uid"],
        resource_version=seen["resourceVersion"],
        metadata={"ownerReferences": [ours]},
    )
    assert (await apply()).object["metadata"]["ownerReferences"] == owned["metadata"]["ownerReferences"]


async def test_what_loses_its_last_finalizer_is_gone_with_the_answer(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    made = cluster.create(deny_all(namespace, "deny", finalizers=["example.com/hold"]))["metadata"]
    left = await client.delete(
        NETWORK_POLICIES,
        namespace=namespace,
        name="deny",
        uid=made["uid"],
        resource_version=made["resourceVersion"],
    )
    assert left == cluster.get("NetworkPolicy", "deny", namespace=namespace)
    assert left is not None
    seen = left["metadata"]
    assert seen["deletionTimestamp"]
    answer = await client.replace_metadata(
        NETWORK_POLICIES,
        namespace=namespace,
        name="deny",
        uid=seen["uid"],
        resource_version=seen["resourceVersion"],
        metadata={"finalizers": []},
    )
    assert answer["metadata"]["uid"] == seen["uid"]
    body = deny_all(namespace, "deny")
    assert (await client.apply(NETWORK_POLICIES, namespace=namespace, name="deny", body=body, force=False)).created


async def test_a_status_is_guarded_by_its_version(client: Client, cluster: Cluster, namespace: str) -> None:
    policy = cluster.create(objects.policy(namespace=namespace, name="p", service="shop", allowedCIDRs=[]))

    def body(version: str) -> Body:
        return {
            **{key: policy[key] for key in ("apiVersion", "kind")},
            "metadata": {"name": "p", "namespace": namespace, "resourceVersion": version},
            "status": {"observedGeneration": 1},
        }

    write = partial(client.apply_status, POLICIES, namespace=namespace, name="p")
    version = policy["metadata"]["resourceVersion"]
    written = await write(body=body(version))
    assert written["status"]["observedGeneration"] == 1
    with pytest.raises(Conflict):
        await write(body=body(version) | {"status": {"observedGeneration": 2}})
    assert cluster.get("NodePortAccessPolicy", "p", namespace=namespace)["status"] == {"observedGeneration": 1}


async def test_a_status_field_that_the_crd_does_not_know_says_that_the_crd_is_old(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    policy = cluster.create(objects.policy(namespace=namespace, name="p", service="shop", allowedCIDRs=[]))
    body = {
        **{key: policy[key] for key in ("apiVersion", "kind")},
        "metadata": {"name": "p", "namespace": namespace},
        "status": {"fromTheFuture": 1},
    }
    with pytest.raises(SchemaOutdated, match="fromTheFuture"):
        await client.apply_status(POLICIES, namespace=namespace, name="p", body=body)


@pytest.mark.parametrize(
    ("resource", "spec"),
    [
        (NETWORK_POLICIES, {"podSelector": {}, "fromTheFuture": 1}),
        (SERVICES, {"ports": [{"port": 80}], "fromTheFuture": 1}),
    ],
    ids=str,
)
async def test_no_apply_gets_a_field_past_the_schema(
    client: Client, namespace: str, resource: Resource, spec: Body
) -> None:
    body = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": "x", "namespace": namespace},
        "spec": spec,
    }
    with pytest.raises(SchemaOutdated, match="fromTheFuture"):
        await client.apply(resource, namespace=namespace, name="x", body=body, force=True)
    with pytest.raises(NotFound):
        await client.get(resource, namespace=namespace, name="x")


async def test_what_is_not_there_is_not_found(client: Client, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.get(SERVICES, namespace=namespace, name="nothing")
    with pytest.raises(NotFound):
        await client.list(Resource(group="example.com", version="v1", plural="nothings", kind="Nothing"))


# --- permissions --------------------------------------------------------------------------------------------


async def test_a_service_account_without_rights_is_forbidden_everything_by_verb_and_resource(
    control_plane: ControlPlane, namespace: str
) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace=namespace, name="default")
    seen: list[tuple[str, str, int]] = []
    async with connected(kubeconfig, observer=lambda verb, what, code, _: seen.append((verb, what, code))) as client:
        for resource in (POLICIES, SERVICES, NETWORK_POLICIES, ENDPOINT_SLICES, NODES, PODS):
            with pytest.raises(Forbidden, match=f'cannot list resource "{resource.plural}"') as caught:
                await client.list(resource)
            assert not caught.value.namespace_terminating
        with pytest.raises(Forbidden, match='cannot watch resource "services"'):
            await first_event(client, SERVICES, version="0")
        with pytest.raises(Forbidden, match='cannot patch resource "networkpolicies"'):
            await client.apply(
                NETWORK_POLICIES, namespace=namespace, name="deny", body=deny_all(namespace, "deny"), force=False
            )
    assert seen[0] == ("list", "nodeportaccesspolicies", 403)
    assert seen[-2:] == [("watch", "services", 403), ("apply", "networkpolicies", 403)]


async def test_a_permission_granted_has_its_effect_within_seconds(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    cluster.create(objects.service(namespace=namespace, name="shop", selector={"app": "a"}))
    kubeconfig = control_plane.service_account_kubeconfig(namespace=namespace, name="default")
    async with connected(kubeconfig) as client, following(client, SERVICES, namespace=namespace) as (watch, sink):
        await eventually(lambda: isinstance(watch.refused, Forbidden))
        for arguments in (
            ["create", "role", "viewer", "--verb=list,watch", "--resource=services"],
            ["create", "rolebinding", "viewer", "--role=viewer", f"--serviceaccount={namespace}:default"],
        ):
            control_plane.kubectl("-n", namespace, *arguments)
        await eventually(lambda: watch.refused is None and watch.synced, seconds=10)
        assert set(sink.names) == {"shop"}


async def test_a_namespace_that_is_going_is_told_from_a_missing_permission(client: Client, cluster: Cluster) -> None:
    name = f"going-{time.monotonic_ns()}"
    cluster.create_namespace(objects.namespace(name=name))
    held = deny_all(name, "held", finalizers=["example.com/hold"])
    cluster.create(held)
    cluster.delete_namespace(name)
    try:
        with pytest.raises(Forbidden) as caught:
            await client.apply(NETWORK_POLICIES, namespace=name, name="new", body=deny_all(name, "new"), force=False)
        assert caught.value.namespace_terminating
    finally:
        cluster.patch("NetworkPolicy", "held", {"metadata": {"finalizers": None}}, namespace=name)


async def test_credentials_that_the_api_server_refuses_are_read_again_once(
    control_plane: ControlPlane, namespace: str
) -> None:
    stale = await load(control_plane.admin_kubeconfig)
    stale.cert_file = stale.key_file = None
    stale.api_key["BearerToken"] = "Bearer of.no.meaning"
    loads = 0

    async def again() -> Configuration:
        nonlocal loads
        loads += 1
        return await load(control_plane.admin_kubeconfig)

    client = Client(configuration=stale, load=again, observer=lambda *_: None)
    try:
        await asyncio.gather(*(client.list(SERVICES, namespace=namespace) for _ in range(20)))
        assert loads == 1
    finally:
        await client.close()


# --- lists and watches --------------------------------------------------------------------------------------


async def first_event(client: Client, resource: Resource, *, version: str) -> WatchEvent:
    async with (
        asyncio.timeout(20),
        client.watch(resource, resource_version=version, timeout_seconds=300) as events,
    ):
        return await anext(events)


async def test_twelve_hundred_objects_are_listed_in_three_chunks(control_plane: ControlPlane, namespace: str) -> None:
    seen: list[str] = []
    admin = control_plane.admin_kubeconfig
    async with connected(admin, observer=lambda verb, *_: seen.append(verb)) as client:

        async def create(number: int) -> None:
            name = f"c{number:04}"
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}
            await client.apply(CONFIG_MAPS, namespace=namespace, name=name, body=body, force=False)

        await in_parallel([partial(create, number) for number in range(1200)])
        seen.clear()
        listing = await client.list(CONFIG_MAPS, namespace=namespace)
        names = {item["metadata"]["name"] for item in listing.items} - {"kube-root-ca.crt"}
        assert names == {f"c{number:04}" for number in range(1200)}
        assert {(item["apiVersion"], item["kind"]) for item in listing.items} == {("v1", "ConfigMap")}
        assert seen == ["list"] * 3
        bare = await client.list(CONFIG_MAPS, namespace=namespace, metadata_only=True)
        assert len(bare.items) == len(listing.items)
        assert not any("data" in item for item in bare.items)


async def test_a_watch_hears_of_what_happens_after_its_version(
    client: Client, cluster: Cluster, namespace: str
) -> None:
    cluster.create(objects.service(namespace=namespace, name="before", selector={"app": "a"}))
    listing = await client.list(SERVICES, namespace=namespace)
    cluster.create(objects.service(namespace=namespace, name="shop", selector={"app": "a"}))
    async with client.watch(
        SERVICES, namespace=namespace, resource_version=listing.resource_version, timeout_seconds=4
    ) as events:
        cluster.patch("Service", "shop", {"metadata": {"labels": {"a": "b"}}}, namespace=namespace)
        cluster.delete("Service", "shop", namespace=namespace)
        seen = [event async for event in events]  # until the API server ends it; shortly before comes a bookmark
    changes = [event for event in seen if event.type != "BOOKMARK"]
    named = [(event.type, event.object["metadata"].get("name")) for event in changes]
    assert named == [("ADDED", "shop"), ("MODIFIED", "shop"), ("DELETED", "shop")]
    bookmarks = [event for event in seen if event.type == "BOOKMARK"]
    assert int(bookmarks[-1].resource_version) >= int(changes[0].resource_version)


async def test_of_pods_only_the_metadata_are_read(client: Client, cluster: Cluster, namespace: str) -> None:
    def pod(name: str) -> Body:
        ip = {"a": "10.233.96.201", "b": "10.233.96.202"}[name]
        return objects.pod(namespace=namespace, name=name, node="node2", ips=[ip], labels={"app": name})

    cluster.create(pod("a"))
    listing = await client.list(PODS, namespace=namespace, metadata_only=True)
    (item,) = listing.items
    assert item["metadata"]["labels"] == {"app": "a"}
    assert item.keys() <= {"metadata", "apiVersion", "kind"}
    async with client.watch(
        PODS,
        namespace=namespace,
        resource_version=listing.resource_version,
        metadata_only=True,
        timeout_seconds=60,
    ) as events:
        cluster.create(pod("b"))
        event = await asyncio.wait_for(anext(events), 10)
    assert (event.type, event.object["metadata"]["labels"]) == ("ADDED", {"app": "b"})
    assert event.object.keys() <= {"metadata", "apiVersion", "kind"}


async def test_a_crd_that_comes_later_is_heard_of_within_seconds(
    control_plane: ControlPlane, client: Client, cluster: Cluster
) -> None:
    late = Resource(group="late.example.com", version="v1", plural="things", kind="Thing")
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.late.example.com"},
        "spec": {
            "group": late.group,
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    try:
        async with following(client, late) as (watch, sink):
            await eventually(lambda: isinstance(watch.refused, NotFound))
            cluster.create(crd)
            await eventually(lambda: watch.synced and watch.refused is None, seconds=15)
            thing = {"apiVersion": "late.example.com/v1", "kind": "Thing", "metadata": {"name": "first"}}
            address = "/apis/late.example.com/v1/namespaces/default/things"
            assert control_plane.request("POST", address, thing)[0] == 201
            await eventually(lambda: set(sink.names) == {"first"})
    finally:
        cluster.delete("CustomResourceDefinition", "things.late.example.com")


# --- outages ------------------------------------------------------------------------------------------------


class Names:
    """A sink that knows which objects there are."""

    def __init__(self) -> None:
        self.names: dict[str, Body] = {}

    def reader(self) -> Callable[[Body], Body]:
        return lambda body: body

    def replace(self, objects: Sequence[Body], resource_version: str) -> None:
        assert resource_version
        self.names = {body["metadata"]["name"]: body for body in objects}

    def put(self, body: Body) -> None:
        self.names[body["metadata"]["name"]] = body

    def drop(self, body: Body) -> None:
        self.names.pop(body["metadata"]["name"])


@asynccontextmanager
async def following(
    client: Client, resource: Resource, *, namespace: str | None = None, pace: Pace | None = None
) -> AsyncIterator[tuple[Watch, Names]]:
    sink = Names()
    watch = Watch(
        client=client,
        resource=resource,
        namespace=namespace,
        sink=sink,
        time=time.monotonic,
        random=Random(1),
        log=LOG,
        pace=pace,
    )
    task = asyncio.create_task(watch.run())
    try:
        yield watch, sink
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)


async def eventually(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        await asyncio.sleep(0.02)


async def in_parallel(calls: Sequence[Callable[[], Awaitable[None]]], *, at_once: int = 32) -> None:
    waiting = list(calls)

    async def worker() -> None:
        while waiting:
            await waiting.pop()()

    await asyncio.gather(*(worker() for _ in range(at_once)))


class Road:
    """A TCP proxy: the way to the API server, which can be blocked or jammed while the API server itself is well."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._moving = asyncio.Event()
        self._moving.set()

    async def __aenter__(self) -> Self:
        await self.unblock()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.block()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    async def unblock(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def block(self) -> None:
        """Breaks every connection, and lets in no new one."""
        if self._server:
            self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    def jam(self) -> None:
        """Connections stand, and are made, but nothing moves on them."""
        self._moving.clear()

    def clear(self) -> None:
        self._moving.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection(*self._target)
                try:
                    await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
                finally:
                    back.transport.abort()
        finally:
            writer.transport.abort()
            self._open.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._moving.wait()
            sink.write(data)
            await sink.drain()
        sink.close()


@asynccontextmanager
async def through(
    road: Road, control_plane: ControlPlane, *, namespace: str, pace: Pace | None = None
) -> AsyncIterator[tuple[Watch, Names]]:
    async with (
        connected(control_plane.admin_kubeconfig, host=road.url) as client,
        following(client, NETWORK_POLICIES, namespace=namespace, pace=pace) as it,
    ):
        yield it


async def test_what_was_deleted_while_the_network_was_away_is_found_afterwards(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    cluster.create(deny_all(namespace, "a"))
    async with Road(control_plane.url) as road, through(road, control_plane, namespace=namespace) as (watch, sink):
        await eventually(lambda: set(sink.names) == {"a"})
        cluster.create(deny_all(namespace, "b"))
        await eventually(lambda: set(sink.names) == {"a", "b"})
        await road.block()
        await eventually(lambda: isinstance(watch.refused, Unreachable))
        cluster.delete("NetworkPolicy", "a", namespace=namespace)
        cluster.create(deny_all(namespace, "c"))
        assert set(sink.names) == {"a", "b"}, "an outage takes nothing away"
        await road.unblock()
        await eventually(lambda: watch.refused is None, seconds=15)
        assert set(sink.names) == {"b", "c"}
        cluster.delete("NetworkPolicy", "b", namespace=namespace)
        await eventually(lambda: set(sink.names) == {"c"})


async def test_what_was_deleted_while_the_api_server_started_again_is_found_afterwards(
    own_control_plane: ControlPlane,
) -> None:
    cluster = Cluster(own_control_plane)
    cluster.create(deny_all("default", "a"))
    async with Road(own_control_plane.url) as road:
        async with through(road, own_control_plane, namespace="default") as (watch, sink):
            interruptions: list[None] = []
            watch.on_interrupted = lambda: interruptions.append(None)
            await eventually(lambda: set(sink.names) == {"a"})
            cluster.create(deny_all("default", "b"))
            await eventually(lambda: set(sink.names) == {"a", "b"})  # the stream is open
            own_control_plane.stop_api_server(kill=True)
            await eventually(lambda: isinstance(watch.refused, Unreachable))
            await road.block()  # so that the deletion comes first
            own_control_plane.start_api_server()
            cluster.delete("NetworkPolicy", "a", namespace="default")
            cluster.create(deny_all("default", "c"))
            await road.unblock()
            await eventually(lambda: watch.refused is None, seconds=15)
            assert set(sink.names) == {"b", "c"}
            assert interruptions
            cluster.delete("NetworkPolicy", "b", namespace="default")
            await eventually(lambda: set(sink.names) == {"c"})
        async with connected(own_control_plane.admin_kubeconfig) as client:
            with pytest.raises(Gone):  # by HTTP 200 and an ERROR event
                await first_event(client, NETWORK_POLICIES, version="1")


async def test_a_way_on_which_nothing_moves_is_noticed_and_left(
    control_plane: ControlPlane, cluster: Cluster, namespace: str
) -> None:
    cluster.create(deny_all(namespace, "a"))
    pace = Pace(silence=2)
    async with (
        Road(control_plane.url) as road,
        through(road, control_plane, namespace=namespace, pace=pace) as (watch, sink),
    ):
        await watch.wait_synced()
        road.jam()
        await eventually(lambda: isinstance(watch.refused, Unreachable))
        cluster.delete("NetworkPolicy", "a", namespace=namespace)
        cluster.create(deny_all(namespace, "b"))
        road.clear()
        await eventually(lambda: set(sink.names) == {"b"})
