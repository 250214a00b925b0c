"""Entries end by themselves, on the second; the audit log is the witness of when.

Not the business of this module: the arithmetic of addresses, and which times the CRD takes.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest

from testbed.api_client import MERGE_PATCH
from testbed.cluster import path
from testbed.operator_process import USER
from tests.api.access import HTTP, Json, Site, until

PROMISE = datetime.timedelta(seconds=1)


def moment(*, seconds: float) -> datetime.datetime:
    """So many seconds from now, to the millisecond."""
    time = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def entry(cidr: str, expires: datetime.datetime, **more: object) -> Json:
    return {"cidr": cidr, "expiresAt": expires.isoformat(timespec="milliseconds"), **more}


def writes(site: Site, *, since: int) -> list[tuple[str, datetime.datetime]]:
    """Which NetworkPolicies of the namespace the operator has written since a mark, and when it asked for it."""
    return [
        (event["objectRef"]["name"], datetime.datetime.fromisoformat(event["requestReceivedTimestamp"]))
        for event in site.cluster.control_plane.audit_events(since=since, user=USER)
        if event["verb"] == "patch"
        and event["objectRef"]["resource"] == "networkpolicies"
        and event["objectRef"]["namespace"] == site.namespace
    ]


def test_each_entry_ends_on_its_second_and_all_others_stay(site: Site) -> None:
    https = {"name": "https", "port": 443}
    site.create_service(ports=[HTTP, https])
    soon, later = moment(seconds=4), moment(seconds=5.5)
    site.create_policy(
        allowed=[
            "10.2.3.4/32",
            entry("198.51.100.7/32", soon),
            entry("203.0.113.0/24", soon),
            "203.0.113.64/26",
            entry("192.0.2.0/24", soon, ports=["https"]),
            entry("192.0.2.128/25", later, ports=["https"]),
        ]
    )
    site.await_ready()
    both = "TCP/443 TCP/8080"
    assert site.allowlist() == {
        "TCP/443": ["192.0.2.0/24"],
        both: ["10.2.3.4/32", "198.51.100.7/32", "203.0.113.0/24"],
    }
    begin = site.cluster.control_plane.audit_mark()

    site.await_allowlist({"TCP/443": ["192.0.2.128/25"], both: ["10.2.3.4/32", "203.0.113.64/26"]})
    site.await_allowlist({both: ["10.2.3.4/32", "203.0.113.64/26"]})

    (first, first_at), (second, second_at) = writes(site, since=begin)
    assert first == second == "web-allow"
    assert soon <= first_at <= soon + PROMISE
    assert later <= second_at <= later + PROMISE
    until(lambda: site.status()["effectiveCIDRs"] == 2, "two networks in status")
    assert site.conditions()["Ready"] == "True Guarded"
    assert "lastDrift" not in site.status()


def test_an_allowlist_whose_only_entry_ends_admits_nobody(site: Site) -> None:
    site.create_service()
    end = moment(seconds=3)
    site.create_policy(allowed=[entry("0.0.0.0/0", end)])
    site.await_ready()
    assert site.allowlist() == {"TCP/8080": ["0.0.0.0/0"]}
    begin = site.cluster.control_plane.audit_mark()

    site.await_allowlist({})

    ((name, at),) = writes(site, since=begin)
    assert name == "web-allow"
    assert end <= at <= end + PROMISE
    children = site.network_policies()
    assert sorted(children) == ["web-allow", "web-deny-all"]
    for child in children.values():
        assert child["spec"]["policyTypes"] == ["Ingress"]
        assert "ingress" not in child["spec"]
    assert site.guard_of() == ("Local", "web")
    until(lambda: site.status()["effectiveCIDRs"] == 0, "no network in status")
    assert site.conditions()["Ready"] == "True Guarded"


def test_an_entry_that_has_ended_admits_again_once_its_end_is_put_off(site: Site) -> None:
    site.create_service()
    past = moment(seconds=-1)
    site.create_policy(allowed=["10.2.3.4/32", entry("203.0.113.0/24", past)])
    site.await_ready()
    assert site.allowlist() == {"TCP/8080": ["10.2.3.4/32"]}
    assert site.status()["effectiveCIDRs"] == 1

    site.edit_policy(allowedCIDRs=[entry("203.0.113.0/24", moment(seconds=3600))])

    site.await_allowlist({"TCP/8080": ["203.0.113.0/24"]})


@pytest.fixture
def refused(site: Site) -> Iterator[None]:
    """The cluster's own rules refuse `Local` on the Services of the namespace."""
    admission = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": site.namespace}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["services"]}
    here = {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}}
    policy = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": "object.spec.externalTrafficPolicy != 'Local'", "message": "never Local"}],
    }
    binding = {"policyName": site.namespace, "validationActions": ["Deny"]}
    kinds = {"ValidatingAdmissionPolicy": policy, "ValidatingAdmissionPolicyBinding": binding}
    for kind, spec in kinds.items():
        site.kubectl("create", "-f", "-", stdin={**admission, "kind": kind, "spec": spec})
    site.create_service("probe")

    def in_force() -> bool:
        address = path(kind="Service", namespace=site.namespace, name="probe") + "?dryRun=All"
        change = {"spec": {"externalTrafficPolicy": "Local"}}
        return site.cluster.control_plane.request("PATCH", address, change, content_type=MERGE_PATCH)[0] == 422

    until(in_force, "the refusal of Local")
    yield
    for kind in kinds:
        site.kubectl("delete", kind, site.namespace)


@pytest.mark.usefixtures("refused")
def test_an_entry_ends_on_its_second_also_where_the_service_cannot_be_taken(site: Site) -> None:
    site.create_service()
    end = moment(seconds=3)
    site.create_policy(allowed=["10.2.3.4/32", entry("203.0.113.0/24", end)])
    assert "never Local" in site.await_condition("Ready", "False ApplyRefused")
    assert site.conditions()["ClientIPPreserved"] == "False ApplyRefused"
    assert site.conditions()["Stalled"] == "True ApplyRefused"
    assert site.allowlist() == {"TCP/8080": ["10.2.3.4/32", "203.0.113.0/24"]}
    begin = site.cluster.control_plane.audit_mark()

    site.await_allowlist({"TCP/8080": ["10.2.3.4/32"]})

    (at,) = (at for name, at in writes(site, since=begin) if name == "web-allow")
    assert end <= at <= end + PROMISE
