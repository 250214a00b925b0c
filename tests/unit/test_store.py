"""A change touches every Service to which it matters; a snapshot holds all that bears on one; nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access import covering
from nodeport_access.api import API_VERSION, KIND, POLICY_LABEL, SERVICE_LABEL, Body, ServiceKey
from nodeport_access.cidrs import AddressSet
from nodeport_access.snapshot import Snapshot
from nodeport_access.store import Store
from tests.unit import builders
from tests.unit.builders import (
    CHILD_FIELDS,
    KEY,
    LATER,
    NAMESPACE,
    NOW,
    endpoint,
    endpoint_slice,
    held_service,
    network_policy,
    node,
    ours,
    pod,
    policy,
    service,
    shelf_for,
    store_of,
)
from tests.unit.strategies import LABELS, properties

# --- a small namespace, in which every object has a few forms ---

NAMES = ("one", "two")
SERVICES = [ServiceKey(NAMESPACE, name) for name in NAMES]
KINDS: dict[str, dict[str, Any]] = {
    "NodePort": {},
    "Local": {"traffic_policy": "Local"},
    "ClusterIP": {"type": "ClusterIP"},
}


POLICY_FORMS: list[dict[str, Any]] = [
    {},
    {"mode": "Audit"},
    {"trafficPolicy": "Unmanaged"},
    {"allowed": []},
    {"created": LATER},
]


def child(name: str, *, claims: str, made_for: str, ingress: list[Body], owned: bool) -> Body:
    """An object of ours under some name, with the label and maybe the owner of some policy."""
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": claims, "uid": builders.uid_of(KIND, NAMESPACE, claims)}
    return network_policy(
        name=name,
        ingress=ingress,
        uid=builders.uid_of("ours", name),  # a stranger's of this name is another object
        labels={POLICY_LABEL: claims, SERVICE_LABEL: made_for},
        owners=[owner] if owned else [],
        managed=[ours(*CHILD_FIELDS)],
    )


def _forms() -> Iterator[Body]:
    for name, target in product(("p", "q"), NAMES):
        for fields in POLICY_FORMS:
            yield policy(name=name, service=target, **fields)
            yield policy(name=name, service=target, deleting=True, **fields)
    for name, labels, fields in product(NAMES, (*LABELS, None), KINDS.values()):
        yield service(name=name, selector=labels, **fields)
        yield held_service(name=name, selector=labels, policy="p", **fields)
    for name, labels in product(("x", "y"), LABELS):
        yield pod(name, labels=labels)
    openings: list[list[Body]] = [[], [{}], [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]]
    selectors: list[Body] = [
        *({"matchLabels": labels} for labels in LABELS),
        {},
        {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
    ]
    for name, selector, ingress in product(("p-allow", "q-deny-all", "other"), selectors, openings):
        yield network_policy(name=name, pod_selector=selector, ingress=ingress)
    for name, claims, made_for, owned in product(
        ("p-allow", "q-allow", "q-deny-all"), "pq", (*NAMES, ""), (True, False)
    ):
        yield child(name, claims=claims, made_for=made_for, ingress=[{}], owned=owned)
    for name, target, ready in product(("s1", "s2"), NAMES, (True, False)):
        yield endpoint_slice(endpoint(ready=ready), name=name, service=target)
    for name, address in product(("node-1", "node-2"), ("10.0.0.1", "10.0.0.2")):
        yield node(name, addresses=[address])


FORMS = list(_forms())


class Seen:
    """A store that notes what it touches, and gives each change the next version."""

    def __init__(self) -> None:
        self.store = Store()
        self.touched: set[ServiceKey] = set()
        self.namespaces: list[frozenset[str]] = []
        self.store.on_touched = self.touched.add
        self.store.on_namespaces = self.namespaces.append
        self._version = 0

    def put(self, body: Body) -> None:
        shelf_for(self.store, body).put(self._next(body))

    def drop(self, body: Body) -> None:
        shelf_for(self.store, body).drop(self._next(body))

    def _next(self, body: Body) -> Body:
        self._version += 1
        return {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}


def bearing(snapshot: Snapshot) -> Any:
    """What of a snapshot can matter to a pass: without policies only what has to be let go."""
    claims = {name for found in snapshot.children.values() for name in found.claims}
    owed = (snapshot.children, snapshot.service, snapshot.enforcing_names & claims)
    if not snapshot.policies:
        taken = snapshot.service is not None and snapshot.service.taken
        return owed if taken or snapshot.children else None
    others = sorted((other for other in snapshot.others if other.spec.get("ingress")), key=lambda other: other.name)
    return (owed, snapshot.policies, others, snapshot.slices, snapshot.nodes, snapshot.sharing)


def puts(*bodies: Body, drop: Body | None = None) -> list[tuple[str, Body]]:
    return [*(("put", body) for body in bodies), *([("drop", drop)] if drop else [])]


WIDE, NARROW = {"tier": "web"}, {"app": "shop", "tier": "web"}
FURNISHED = puts(
    policy(name="p", service="one"),
    service(name="one"),
    service(name="two", selector=WIDE),
    network_policy(name="other", pod_selector={"matchLabels": WIDE}, ingress=[{}]),
    network_policy(name="most", pod_selector={"matchLabels": {"app": "shop"}}, ingress=[{}]),
)
"""A start from which single changes matter, which chance alone rarely finds."""
CHANGES = st.builds(
    lambda start, more: [*start, *more],
    st.sampled_from([FURNISHED, []]),
    st.lists(st.tuples(st.sampled_from(["put", "put", "put", "drop"]), st.sampled_from(FORMS)), max_size=12),
)


@properties(250)
@given(CHANGES)
# The other Service comes to share pods that are not there yet.
@example(
    puts(policy(name="p", service="one"), service(name="one", selector=NARROW), service(name="two", selector=WIDE))
)
# The guard of the other Service begins to count because another policy is being deleted.
@example(
    puts(
        service(name="one", selector=WIDE),
        service(name="two", selector=WIDE),
        policy(name="q", service="one"),
        policy(name="p", service="two", trafficPolicy="Unmanaged"),
        policy(name="r", service="two", created=LATER),
        policy(name="p", service="two", trafficPolicy="Unmanaged", deleting=True),
    )
)
# A policy was made anew for another Service, and goes before its children have moved there.
@example(
    puts(
        child("p-allow", claims="p", made_for="one", ingress=[], owned=True),
        policy(name="p", service="two"),
        drop=policy(name="p", service="two"),
    )
)
def test_a_change_touches_every_service_to_which_it_matters(changes: list[tuple[str, Body]]) -> None:
    seen = Seen()
    keys = [*SERVICES, ServiceKey(NAMESPACE, "")]
    before = {key: bearing(seen.store.snapshot(key, NOW)) for key in keys}
    for verb, body in changes:
        seen.touched.clear()
        (seen.put if verb == "put" else seen.drop)(body)
        after = {key: bearing(seen.store.snapshot(key, NOW)) for key in keys}
        forgotten = {key for key in keys if after[key] not in (None, before[key])} - seen.touched
        assert not forgotten, (verb, body["kind"], body["metadata"]["name"])
        before = after
        # A new process looks at everything that this one may have left to do.
        assert {key for key in keys if after[key] is not None} <= seen.store.service_keys()


@properties(150)
@given(CHANGES)
@example(puts(*FORMS))
def test_the_indexes_find_what_a_scan_of_everything_finds(changes: list[tuple[str, Body]]) -> None:
    seen = Seen()
    last: dict[tuple[str, str], Body] = {}
    for verb, body in changes:
        (seen.put if verb == "put" else seen.drop)(body)
        name = (body["kind"], body["metadata"]["name"])
        last.pop(name, None)
        if verb == "put":
            last[name] = body
    fresh = store_of(*last.values())
    for key in SERVICES:
        assert bearing(seen.store.snapshot(key, NOW)) == bearing(fresh.snapshot(key, NOW))
        assert seen.store.guarded(key) == fresh.guarded(key)
    assert seen.store.service_keys() == fresh.service_keys()


@properties(100)
@given(CHANGES)
@example(puts(*FORMS))
def test_nothing_stays_behind_when_everything_is_gone(changes: list[tuple[str, Body]]) -> None:
    seen = Seen()
    for verb, body in changes:
        (seen.put if verb == "put" else seen.drop)(body)
    for key in SERVICES:
        seen.store.snapshot(key, NOW)
    for body in (*FORMS, *(body for _, body in FURNISHED)):
        seen.drop(body)
    held = {name: value for name, value in vars(seen.store).items() if name.startswith("_")}
    assert not any(held.values()), held
    for shelf in (value for value in vars(seen.store).values() if hasattr(value, "replace")):
        assert not list(shelf)
        assert not vars(shelf)["_versions"]
    assert seen.store.service_keys() == frozenset()
    assert seen.store.policy_namespaces() == frozenset()


def test_looking_at_a_service_that_nobody_knows_leaves_nothing_behind() -> None:
    store = Store()
    for number in range(10):
        snapshot = store.snapshot(ServiceKey(f"gone-{number}", "x"), NOW)
        assert (snapshot.service, snapshot.policies, snapshot.children) == (None, (), {})
        assert not store.guarded(ServiceKey(f"gone-{number}", "x"))
    assert not [value for name, value in vars(store).items() if name.startswith("_") and value]


# --- what a snapshot holds ---


def test_a_snapshot_holds_what_bears_on_its_service_and_nothing_else() -> None:
    mine = [
        policy(),
        service(),
        pod(),
        endpoint_slice(endpoint()),
        network_policy(name="shop-allow"),
        network_policy(name="other"),
        child("orphan-allow", claims="orphan", made_for="shop", ingress=[], owned=False),
        service(name="beside"),
        policy(name="beside-guard", service="beside"),
        node(),
    ]
    elsewhere = [
        policy(namespace="db"),
        service(namespace="db"),
        network_policy(namespace="db", name="shop-allow"),
        network_policy(namespace="db", name="other"),
        endpoint_slice(endpoint(), namespace="db", name="x"),
        pod(namespace="db"),
        service(name="apart", selector={"app": "apart"}),
        endpoint_slice(endpoint(), name="apart-abc", service="apart"),
        network_policy(name="apart", pod_selector={"matchLabels": {"app": "apart"}}),
        child("apart-allow", claims="x", made_for="apart", ingress=[], owned=False),
    ]
    snapshot = store_of(*mine, *elsewhere).snapshot(KEY, NOW)
    assert [found.key.name for found in snapshot.policies] == ["shop"]
    assert snapshot.service is not None
    assert set(snapshot.children) == {"shop-allow", "orphan-allow"}
    assert {other.name for other in snapshot.others} >= {"other", "shop-allow"}
    assert {other.name for other in snapshot.others}.isdisjoint({"apart", "orphan-allow"})
    assert {other.namespace for other in snapshot.others} == {NAMESPACE}
    assert [piece.name for piece in snapshot.slices] == ["shop-abc"]
    assert [found.name for found in snapshot.nodes] == ["node-1"]
    assert [(other.key.name, guarded) for other, guarded in snapshot.sharing] == [("beside", True)]
    assert snapshot.enforcing_names == {"shop", "beside-guard"}


def test_policies_come_in_the_order_of_their_claims() -> None:
    bodies = [policy(name="b"), policy(name="a"), policy(name="first", created="2020-01-01T00:00:00Z")]
    snapshot = store_of(service(), *bodies).snapshot(KEY, NOW)
    assert [found.key.name for found in snapshot.policies] == ["first", "a", "b"]


def test_while_there_are_no_pods_the_selector_stands_for_them() -> None:
    other = network_policy(name="other", pod_selector={"matchLabels": {"app": "shop"}}, ingress=[{}])
    for bodies, found in (((other,), 1), ((other, pod()), 1), ((other, pod(labels={"app": "apart"})), 1)):
        assert len(store_of(service(), *bodies).snapshot(KEY, NOW).others) == found


# --- what a new process looks at, and where pods are watched ---


@pytest.mark.parametrize(
    ("bodies", "keys"),
    [
        ([service()], set()),
        ([policy()], {KEY}),
        ([held_service()], {KEY}),
        ([child("orphan-allow", claims="orphan", made_for="shop", ingress=[], owned=False)], {KEY}),
        ([network_policy(name="shop-allow", labels={POLICY_LABEL: "shop", SERVICE_LABEL: "shop"})], set()),
    ],
)
def test_a_new_process_looks_at_what_is_claimed_taken_or_left(bodies: list[Body], keys: set[ServiceKey]) -> None:
    assert store_of(*bodies).service_keys() == keys


def test_the_namespaces_with_policies_are_told_when_they_change_and_only_then() -> None:
    seen = Seen()
    seen.put(policy(namespace="web", name="a"))
    seen.put(policy(namespace="web", name="b"))
    seen.put(policy(namespace="db", name="a", mode="Audit"))
    seen.put(service(namespace="other"))
    seen.drop(policy(namespace="web", name="a"))
    seen.drop(policy(namespace="web", name="b"))
    assert seen.namespaces == [{"web"}, {"web", "db"}, {"db"}]
    assert seen.store.policy_namespaces() == {"db"}


@pytest.mark.parametrize(
    ("guards", "guarded"),
    [
        ([], False),
        ([policy()], True),
        ([policy(mode="Audit")], False),
        ([policy(deleting=True)], False),
        ([policy(trafficPolicy="Unmanaged")], False),
        # the holder decides, not the one that waits
        ([policy(trafficPolicy="Unmanaged"), policy(name="late", created=LATER)], False),
        ([policy(mode="Audit"), policy(name="late", created=LATER)], True),
        ([policy(service="other")], False),
    ],
)
def test_a_service_is_guarded_where_its_holder_keeps_it_local(guards: list[Body], guarded: bool) -> None:
    assert store_of(service(), *guards).guarded(KEY) is guarded


def test_an_event_that_changes_nothing_touches_nothing() -> None:
    seen = Seen()
    bodies = [policy(), service(), network_policy(ingress=[{}]), pod(), node(), endpoint_slice(endpoint())]
    for body in bodies:
        seen.put(body)
    seen.touched.clear()
    for body in bodies:
        seen.put(body)
    assert seen.touched == set()


def test_a_service_that_nobody_claims_is_not_looked_at() -> None:
    seen = Seen()
    for body in (service(), network_policy(ingress=[{}]), pod(), node(), endpoint_slice(endpoint())):
        seen.put(body)
    assert seen.touched == set()


def test_what_all_nodes_cover_is_counted_when_one_changes_and_not_in_every_pass() -> None:
    store = store_of(policy(), service(), node("node-1"))
    before = store.snapshot(KEY, NOW)
    assert store.snapshot(KEY, NOW).node_ranges is before.node_ranges
    store.nodes.put(node("node-2", addresses=["192.0.2.1"], pod_cidrs=["10.64.0.0/24"], resource_version=2))
    after = store.snapshot(KEY, NOW)
    assert after.node_ranges == covering.ranges(after.nodes) != before.node_ranges
    assert after.node_addresses == AddressSet.from_texts(["10.102.123.117/32", "192.0.2.1/32"])
