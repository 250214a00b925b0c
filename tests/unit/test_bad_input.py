"""Whatever stands in an object, the pure chain from its body to plan and status never raises, and never opens a door.

Not the business of this module: what is said about it (`test_policy_body`), and what a real API server lets stand in an
object (`tests/api/test_bad_input.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import KIND, Body
from nodeport_access.checks import Case
from nodeport_access.observed import Service, parse_service
from nodeport_access.plan import audit, plan
from nodeport_access.rules import EVERYONE, admission
from nodeport_access.status import same_status, status_body, status_of
from tests.unit import builders
from tests.unit.builders import KEY, NAME, endpoint, endpoint_slice, network_policy, node, pod, policy, service
from tests.unit.strategies import ANYTHING, properties


def nearly(*good: Any) -> st.SearchStrategy[Any]:
    """One of these as a rule, and sometimes anything."""
    return st.one_of(*[st.sampled_from(good)] * 3, ANYTHING, st.lists(ANYTHING, max_size=2))


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


ENTRIES = st.builds(
    lambda fields, more: {**fields, **more},
    some(
        **{
            "except": nearly(["10.1.0.0/16"]),
            "ports": nearly(["http"], [80]),
            "expiresAt": nearly("2027-01-01T00:00:00Z"),
        }
    ),
    st.builds(lambda cidr: {"cidr": cidr}, nearly("10.0.0.0/8", "2001:db8::/32")),
)
LABELS = nearly({"app": "shop"})
EXPRESSIONS = nearly([{"key": "app", "operator": "In", "values": ["shop"]}], [{"key": "app", "operator": "Exists"}])
SELECTORS = st.one_of(some(matchLabels=LABELS, matchExpressions=EXPRESSIONS), ANYTHING)
PEERS = some(namespaceSelector=SELECTORS, podSelector=SELECTORS, ipBlock=nearly({"cidr": "0.0.0.0/0"}))
SPECS = st.one_of(
    st.builds(
        lambda fields, more: {**fields, **more},
        some(
            allowedCIDRs=st.one_of(st.lists(ENTRIES, max_size=3), st.lists(ENTRIES, max_size=3), ANYTHING),
            allowedPeers=st.one_of(st.lists(PEERS, max_size=3), ANYTHING),
            isolation=nearly("Service", "Namespace"),
            trafficPolicy=nearly("Local", "Unmanaged"),
            mode=nearly("Enforce", "Audit"),
            other=ANYTHING,
        ),
        st.builds(lambda reference: {"serviceRef": reference}, nearly({"name": NAME})),
    ),
    ANYTHING,
)
CONDITIONS = some(
    type=nearly("Ready", "AllowlistApplied", "ClientIPPreserved"), status=nearly("True"), lastTransitionTime=ANYTHING
)
STATUSES = st.one_of(
    some(
        conditions=st.one_of(st.lists(CONDITIONS, max_size=3), ANYTHING),
        lastDrift=nearly({"field": "x"}),
        healthCheckNodePort=nearly(31000),
        serviceUID=nearly(builders.uid_of("Service", builders.NAMESPACE, NAME)),
    ),
    ANYTHING,
)


@properties(300)
@given(SPECS, STATUSES)
def test_no_json_in_spec_or_status_stops_the_chain_or_admits_whom_no_entry_names(spec: Any, status: Any) -> None:
    bad = {**policy(name="bad"), "spec": spec, "status": status}
    store = builders.store_of(bad, service(type="LoadBalancer"), node(), pod(), endpoint_slice(endpoint()))
    (read,) = store.policies
    for key in {KEY, read.service}:
        snapshot = store.snapshot(key, builders.NOW)
        for write in (*plan(snapshot), *audit(snapshot, read)):
            json.dumps(write.body)
            for rule in (write.body or {}).get("spec", {}).get("ingress", ()):
                assert rule["from"]
                assert rule["ports"]
        if key == read.service:
            case = Case(snapshot=snapshot, policy=read)
            wanted = status_of(case, drift=None)
            json.dumps(status_body(read, wanted))
            assert same_status(wanted, wanted)


WHOLE: list[Body] = [
    service(
        type="LoadBalancer", health_check_node_port=31000, externalIPs=["192.0.2.1"], managed=[builders.ours("spec.x")]
    ),
    network_policy(
        ingress=[
            {
                "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/9"]}}, {"podSelector": {}}],
                "ports": [{"protocol": "TCP", "port": 80, "endPort": 90}, {"port": "web"}],
            }
        ],
        labels={"a": "b"},
        owners=[{"kind": KIND, "name": NAME, "uid": "u"}],
    ),
    endpoint_slice(endpoint("10.0.0.1", ready=True, serving=True, terminating=False)),
    node(pod_cidrs=["10.233.90.0/24"], annotations={"projectcalico.org/IPv4IPIPTunnelAddr": "10.233.90.0"}),
    pod(),
]
REQUIRED = frozenset(
    {"apiVersion", "kind", "metadata", "name", "namespace", "resourceVersion", "uid", "cidr", "address"}
)
"""What an API server never leaves out where the object around it is there; and the port of a Service's port."""


def optional_fields(body: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything that might be absent, or null."""
    steps = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for step, inner in steps:
        here = (*path, step)
        if isinstance(step, str) and step not in REQUIRED and here != ("spec", "ports", 0, "port"):
            yield here
        yield from optional_fields(inner, here)


@pytest.mark.parametrize("missing", ["absent", "null"])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        pytest.param(body, path, id=f"{body['kind']} {'.'.join(map(str, path))}")
        for body in WHOLE
        for path in optional_fields(body)
    ],
)
def test_no_field_that_may_be_missing_is_missed(body: Body, path: tuple[str | int, ...], missing: str) -> None:
    changed = deepcopy(body)
    inner: Any = changed
    for step in path[:-1]:
        inner = inner[step]
    if missing == "absent":
        del inner[path[-1]]
    else:
        inner[path[-1]] = None
    others = [policy(), node("other"), *(one for one in WHOLE if one is not body)]
    store = builders.store_of(*others, changed)
    snapshot = store.snapshot(KEY, builders.NOW)
    plan(snapshot)
    for one in snapshot.policies:
        status_of(Case(snapshot=snapshot, policy=one), drift=None)


def test_a_family_that_comes_in_a_later_kubernetes_is_passed_over() -> None:
    read: Service = parse_service(service(families=["IPv4", "IPv8"]))
    assert [str(family) for family in read.families] == ["IPv4"]


@pytest.mark.parametrize("cidr", ["::ffff:10.0.0.0/104", "010.0.0.0/8", "10.0.0.1/8", "fe80::%eth0/64"])
def test_a_network_in_an_old_spelling_counts_for_no_less_than_it_admits(cidr: str) -> None:
    admitted = admission({"ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}]}, target=None).addresses
    assert admitted
    assert admitted <= EVERYONE
