"""What the schema lets through, or what was there before the schema: told on the policy concerned, and nowhere else.

Not the business of this module: what the schema refuses (`test_crd_rules`), and JSON that no API server holds
(`tests/unit/test_bad_input.py`).
"""

from __future__ import annotations

import collections
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import objects
from testbed.cluster import path
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, USER, OperatorProcess
from tests.api.access import ALLOWED, Json, Site, a_site, until
from tests.api.conftest import StartOperator

NEIGHBOUR = "neighbour"
OPENING = {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"protocol": "TCP", "port": 1}]}


@contextmanager
def a_neighbour_that_is_looked_after(site: Site, *, seconds: float) -> Iterator[None]:
    """Another policy of the namespace: all the while somebody opens its allowlist and its owner changes it, and within
    so many seconds it is as its owner wants it. On a machine with nothing else to do, it takes a twentieth of that."""
    if site.cluster.find("Service", NEIGHBOUR, namespace=site.namespace) is None:
        site.create_service(NEIGHBOUR, selector={"app": NEIGHBOUR})
        site.create_policy(NEIGHBOUR, service=NEIGHBOUR)
    site.await_ready(NEIGHBOUR)
    ended, took = threading.Event(), list[float]()

    def disturb() -> None:
        while not ended.wait(0.1) or not took:
            allowed = f"203.0.113.{len(took) % 256}/32"
            begin = time.monotonic()
            site.edit("NetworkPolicy", f"{NEIGHBOUR}-allow", spec={"ingress": [OPENING]})
            site.edit_policy(NEIGHBOUR, allowedCIDRs=[{"cidr": allowed}])
            site.await_allowlist({"TCP/8080": [allowed]}, NEIGHBOUR)
            took.append(time.monotonic() - begin)

    with ThreadPoolExecutor(1) as thread:
        disturbed = thread.submit(disturb)
        try:
            yield
        finally:
            ended.set()
            disturbed.result()
    assert max(took) < seconds
    site.await_ready(NEIGHBOUR)


# --- what was there before the schema ---------------------------------------------------------------------------------

GOOD = {"cidr": "10.2.3.4/32"}
WIDE = "10.0.0.0/8"


def spec(*entries: Any, **more: Any) -> Json:
    """A spec as a person writes it, its Service's name left to be filled in."""
    return {"serviceRef": {"name": ...}, "allowedCIDRs": list(entries), **more}


def expression(**fields: Any) -> Json:
    return spec(GOOD, allowedPeers=[{"podSelector": {"matchExpressions": [fields]}}])


NOT_BUILT: dict[str, tuple[Any, str]] = {
    "spec-missing": (None, "spec.serviceRef.name is missing"),
    "spec-text": ("web", 'spec: "web" is not an object'),
    "spec-list": (["web"], 'spec: ["web"] is not an object'),
    "reference-null": ({"serviceRef": None, "allowedCIDRs": [GOOD]}, "spec.serviceRef.name is missing"),
    "reference-text": ({"serviceRef": "web"}, 'spec.serviceRef: "web" is not an object'),
    "reference-number": ({"serviceRef": {"name": 5}}, "spec.serviceRef.name: 5 is not a string"),
    "peer-label": (
        spec(GOOD, allowedPeers=[{"podSelector": {"matchLabels": {"-": "x"}}}]),
        "name part must consist of",
    ),
    "peer-values": (expression(key="app", operator="In"), "must be specified when `operator` is 'In' or 'NotIn'"),
}
"""Nothing is built, either because there is no Service to guard or because the API server refuses the allowlist."""

BUILT: dict[str, tuple[Any, str, bool]] = {
    "cidrs-text": (
        {"serviceRef": {"name": ...}, "allowedCIDRs": WIDE},
        'allowedCIDRs: "10.0.0.0/8" is not a list',
        False,
    ),
    "cidrs-map": ({"serviceRef": {"name": ...}, "allowedCIDRs": {"cidr": WIDE}}, "is not a list", False),
    "entry-null": (spec(None, GOOD), "allowedCIDRs[0]: null is not an object", True),
    "entry-text": (spec(WIDE, GOOD), 'allowedCIDRs[0]: "10.0.0.0/8" is not an object', True),
    "cidr-garbage": (spec({"cidr": "everywhere"}, GOOD), "allowedCIDRs[0].cidr: 'everywhere' is not a CIDR", True),
    "except-outside": (spec({"cidr": WIDE, "except": ["11.0.0.0/9"]}, GOOD), "11.0.0.0/9 does not lie inside", True),
    "ports-text": (spec({"cidr": WIDE, "ports": "http"}, GOOD), 'allowedCIDRs[0].ports: "http" is not a list', True),
    "ports-objects": (spec({"cidr": WIDE, "ports": [{"port": 80}]}, GOOD), "is neither a name nor a number", True),
    "ports-empty": (spec({"cidr": WIDE, "ports": []}, GOOD), "ports: an empty list could be read either way", True),
    "expiry-garbage": (spec({"cidr": WIDE, "expiresAt": "tomorrow"}, GOOD), '"tomorrow" is not a time', True),
    "newer-field": (
        spec({"cidr": WIDE, "startsAt": "2030-01-01T00:00:00Z"}, GOOD),
        "startsAt: this operator does not",
        True,
    ),
    "newer-spec": (spec(GOOD, schedule="nightly"), "spec.schedule: this operator does not know the field", True),
    "peer-null": (spec(GOOD, allowedPeers=[None]), "allowedPeers[0]: an empty peer could be read as everyone", True),
    "peer-block": (
        spec(GOOD, allowedPeers=[{"ipBlock": {"cidr": WIDE}}]),
        "ipBlock: this operator does not know",
        True,
    ),
    "mode": (spec(GOOD, mode="Off"), 'spec.mode: "Off" is not known to this operator', True),
}
"""What can be read is in force, and nobody else is let in."""
PRUNED = frozenset({"newer-field", "newer-spec", "peer-block", "ports-objects"})
"""What the API server takes out of an object, where the real schema does not know it."""


def filled(value: Any, name: str) -> Any:
    """A spec with a name in every place that was left for it."""
    if isinstance(value, dict):
        return {key: filled(inner, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, name) for inner in value]
    return name if value is ... else value


def replace_crd(plane: ControlPlane, *, checked: bool) -> None:
    """With the schema of this project, or with one that lets everything through; waits until it is in force."""
    crd = yaml.safe_load((ROOT / "crds" / "nodeportaccesspolicies.yaml").read_text())
    for version in crd["spec"]["versions"] if not checked else ():
        version["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        del version["selectableFields"]
    plane.kubectl("replace", "--save-config", "-f", "-", input=json.dumps(crd))
    probe = {**objects.policy(namespace="default", name="probe", service="probe"), "spec": "nothing"}

    def in_force() -> bool:
        code, _ = plane.request("POST", f"{path(kind=probe['kind'], namespace='default')}?dryRun=All", probe)
        return code == (422 if checked else 201)

    until(in_force, "the schema to be in force", seconds=30)


@pytest.fixture
def unchecked(quiet_control_plane: ControlPlane) -> Iterator[Site]:
    """A namespace for policies that nobody checks; afterwards they are gone, and the schema is back."""
    plane = quiet_control_plane
    site = a_site(plane, "unchecked")
    replace_crd(plane, checked=False)
    yield site
    plane.request("DELETE", path(kind="NodePortAccessPolicy", namespace=site.namespace))
    replace_crd(plane, checked=True)


def test_a_policy_that_nobody_checked_is_told_what_is_wrong_with_it_and_touches_no_other(
    quiet_control_plane: ControlPlane, unchecked: Site, start_operator: StartOperator
) -> None:
    plane, site = quiet_control_plane, unchecked
    operator = start_operator(plane)
    said = {name: words for name, (_, words) in NOT_BUILT.items()} | {name: it[1] for name, it in BUILT.items()}
    specs = {name: bad for name, (bad, _) in NOT_BUILT.items()} | {name: it[0] for name, it in BUILT.items()}
    begin = plane.audit_mark()
    with a_neighbour_that_is_looked_after(site, seconds=5.0):
        for name, bad in specs.items():
            site.create_service(name, selector={"app": name})
            body = objects.policy(namespace=site.namespace, name=name, service=name)
            site.cluster.create({**body, "spec": filled(bad, name)})
        for name in specs:
            until(lambda: said[name] in message(site, name), f"status of {name}")  # noqa: B023 - called before the next
            assert site.conditions(name)["Stalled"].startswith("True ")
        assert_guarded(site)

        replace_crd(plane, checked=True)
        for name in specs.keys() - PRUNED:
            assert said[name] in message(site, name)
    assert_guarded(site, but_pruned=True)
    assert operator.exit_code is None
    operator.close()

    again = start_operator(plane)
    with a_neighbour_that_is_looked_after(site, seconds=5.0):
        for name in ("newer-field", "newer-spec"):
            site.await_ready(name)
            assert not site.conditions(name).get("Stalled", "").startswith("True")
        assert_guarded(site, but_pruned=True)
    assert again.exit_code is None
    sent = site.sent_allowlists(since=begin)
    for name in BUILT.keys() - PRUNED:
        assert sent.get(f"{name}-allow", set()) <= {GOOD["cidr"]}, name
    written = collections.Counter(
        event["objectRef"]["name"]
        for event in plane.audit_events(since=begin, user=USER)
        if event["verb"] == "patch" and NEIGHBOUR not in event["objectRef"]["name"]
    )
    assert {name: count for name, count in written.items() if count > 20} == {}


def message(site: Site, name: str) -> str:
    """What Ready says; an AssertionError while it says nothing."""
    conditions = {one["type"]: one for one in site.policy(name).get("status", {}).get("conditions", ())}
    assert conditions.get("Ready", {}).get("status") == "False", conditions
    return str(conditions["Ready"]["message"])


def assert_guarded(site: Site, *, but_pruned: bool = False) -> None:
    """Of every policy that can be built, whom its readable entries name are let in and nobody else."""
    for name, (_, _, good) in BUILT.items():
        if not (but_pruned and name in PRUNED):
            assert site.allowlist(name) == ({"TCP/8080": ["10.2.3.4/32"]} if good else {}), name
            assert site.guard_of(name) == ("Local", name)
    children = site.network_policies()
    assert not [child for child in children if child.rsplit("-allow")[0].rsplit("-deny-all")[0] in NOT_BUILT]


# --- what the schema lets through, at its limits ----------------------------------------------------------------------


def test_the_longest_names_are_names_of_children_and_values_of_labels(site: Site) -> None:
    service, name = "s" * 63, f"{'p' * 30}.{'q' * 32}"
    site.create_service(service)
    site.create_policy(name, service=service)
    site.await_ready(name)
    site.await_guard("Local", name, service=service)
    children = site.network_policies()
    assert sorted(children) == [f"{name}-allow", f"{name}-deny-all"]
    for child in children.values():
        assert child["metadata"]["labels"]["nodeport-access.io/policy"] == name
        assert child["metadata"]["labels"]["nodeport-access.io/service"] == service


def test_whatever_else_an_api_server_holds_is_understood_or_passed_over(site: Site) -> None:
    labels = {"kubernetes.io/service-name": "web"}
    slices: dict[str, Json] = {
        "names": {"addressType": "FQDN", "endpoints": [{"addresses": ["web.example"]}], "ports": None},
        "nothing": {"addressType": "IPv4", "endpoints": None, "ports": None},
        "nowhere": {"addressType": "IPv4", "endpoints": [{"addresses": ["10.233.96.40"]}], "ports": [{"port": None}]},
    }
    for name, content in slices.items():
        metadata = {"name": name, "namespace": site.namespace, "labels": labels}
        body = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, **content}
        site.cluster.create(body)
    node = objects.node(name=site.namespace, annotations={"projectcalico.org/IPv4IPIPTunnelAddr": "none"})
    site.cluster.create(node)
    try:
        site.create_service("headless", type="ClusterIP", clusterIP="None", ports=[])
        site.create_service("elsewhere", selector=None, type="ExternalName", externalName="web.example", ports=[])
        site.create_service(ip_families=["IPv4", "IPv6"])
        site.create_policy()
        site.await_ready()
        assert site.allowlist() == {"TCP/8080": [*ALLOWED]}
        assert site.conditions()["Exclusive"] == "True NoOtherOpening"

        # Kubernetes 1.37 takes no others; what older ones took is in tests/unit/test_bad_input.py.
        for cidr in ("2001:0DB8::/32", "2001:db8:1:0:0:0:0:0/48"):
            opening = [{"from": [{"ipBlock": {"cidr": cidr}}]}]
            site.create_network_policy("other", podSelector={}, ingress=opening)
            said = site.await_condition("Exclusive", "False OpenedByOtherPolicy")
            assert f"NetworkPolicy 'other' admits {ipaddress.ip_network(cidr)}" in said
            site.delete("NetworkPolicy", "other")
            site.await_condition("Exclusive", "True NoOtherOpening")
        assert site.allowlist() == {"TCP/8080": [*ALLOWED]}
    finally:
        site.cluster.delete("Node", site.namespace)


def test_of_more_networks_than_an_allowlist_holds_none_is_written_and_what_was_in_force_stays(site: Site) -> None:
    site.create_service(ip_families=["IPv6"])
    site.create_policy(allowed=["2001:db8::/32"])
    site.await_ready()
    # A network without one address is as many as its prefix is longer: 16 entries come to 22,656.
    far_apart = [
        {
            "cidr": f"2001:db{entry:x}::/32",
            "except": [f"2001:db{entry:x}:{number:x}00::77/128" for number in range(1, 17)],
        }
        for entry in range(16)
    ]
    site.edit_policy(allowedCIDRs=far_apart)
    site.await_condition("Ready", "False AllowlistTooLong")
    assert site.allowlist() == {"TCP/8080": ["2001:db8::/32"]}


def biggest() -> list[Json]:
    """1,000 entries of both families with 16 exceptions each, none of which touches another: 16,000 networks."""
    found = []
    for start, size, step in (("20.0.0.0", 27, 64), ("2001:db8::", 123, 2**66)):
        for index in range(500):
            first = ipaddress.ip_address(int(ipaddress.ip_address(start)) + index * step)
            network = ipaddress.ip_network(f"{first}/{size}")
            odd = [str(ipaddress.ip_network(int(first) + 2 * number + 1)) for number in range(16)]
            if network.version == 6:
                odd = [f"{ipaddress.IPv6Address(int(first) + 2 * number + 1)}/128" for number in range(16)]
            found.append({"cidr": str(network), "except": odd, "description": "x" * 256, "ports": ["http"]})
    return found


def test_the_biggest_policy_is_guarded_and_keeps_no_neighbour_waiting(
    quiet_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    plane = quiet_control_plane
    operator = start_operator(plane)
    site = a_site(plane, "biggest")
    before = resident(operator)
    site.create_service(ip_families=["IPv4", "IPv6"])
    with a_neighbour_that_is_looked_after(site, seconds=15.0):
        site.cluster.apply(
            objects.policy(namespace=site.namespace, name="web", service="web", allowedCIDRs=biggest()),
            manager="office",
        )
        # Each write of a policy of 700 KiB takes the API server most of a second; where it shares its processors with
        # twenty others, longer than a request may last, and is tried again.
        until(lambda: site.conditions()["Ready"] == "True Guarded", "Ready", seconds=180)
        assert site.status()["effectiveCIDRs"] == 16_000
    assert len(site.allowlist()["TCP/8080"]) == 16_000
    assert resident(operator) - before < 150


def resident(operator: OperatorProcess) -> float:
    """MiB of memory that the process has had at the most."""
    lines = Path(f"/proc/{operator.pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 1024
