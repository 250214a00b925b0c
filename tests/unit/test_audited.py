"""What is held against the audit logs of a whole run of the tests on the real API server: it can fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.operator_process import USER
from tests.api.audited import Audited
from tests.api.permissions import CLUSTER_ROLE, LEASE_ROLE, ROLE, granted

RULE = {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 80}]}


def asked(**changes: Any) -> dict[str, Any]:
    """An audit event of an allowlist that the operator applied."""
    return {
        "user": {"username": USER},
        "userAgent": "nodeport-access/0.1.0",
        "verb": "patch",
        "objectRef": {"apiGroup": "networking.k8s.io", "resource": "networkpolicies", "namespace": "n", "name": "a"},
        "responseStatus": {"code": 200},
        "requestObject": {"spec": {"ingress": [RULE]}},
        **changes,
    }


def read(folder: Path, *events: dict[str, Any]) -> Audited:
    log = folder / "audit.log"
    log.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events))
    audited = Audited(whole=[True])
    audited.read(log)
    return audited


@pytest.mark.parametrize("rule", [{}, {"from": []}, {**RULE, "from": []}, {"from": RULE["from"]}])
def test_a_rule_without_peers_or_ports_is_wrong_whatever_else_is_right(tmp_path: Path, rule: dict[str, Any]) -> None:
    (sentence,) = read(tmp_path, asked(requestObject={"spec": {"ingress": [RULE, rule]}})).wrong(passed=False)
    assert "n/a was sent with a rule for everyone" in sentence


def test_a_service_that_is_set_to_cluster_is_wrong(tmp_path: Path) -> None:
    service = {"apiGroup": "", "resource": "services", "namespace": "n", "name": "web"}
    local, cluster = (
        asked(objectRef=service, requestObject={"spec": {"externalTrafficPolicy": value}})
        for value in ("Local", "Cluster")
    )
    assert read(tmp_path, local, asked(objectRef=service, requestObject={})).wrong(passed=False) == []
    assert read(tmp_path, local, cluster).wrong(passed=False) == ["services n/web was set to Cluster"]


def test_what_the_harness_asks_for_under_the_operators_name_does_not_count(tmp_path: Path) -> None:
    assert read(tmp_path, asked(userAgent="kubectl/v1.37", verb="update")).wrong(passed=False) == []
    assert read(tmp_path, asked(verb="update")).wrong(passed=False) == [
        f"the operator asks for update networkpolicies.networking.k8s.io, which {file} does not give"
        for file in (CLUSTER_ROLE, ROLE)
    ]


def test_the_lease_of_two_replicas_is_among_what_the_operator_may_ask_for(tmp_path: Path) -> None:
    lease = {"apiGroup": "coordination.k8s.io", "resource": "leases", "namespace": "n", "name": "a"}
    assert read(tmp_path, asked(verb="update", objectRef=lease)).wrong(passed=False) == []
    assert read(tmp_path, asked(verb="delete", objectRef=lease)).wrong(passed=False) == [
        f"the operator asks for delete leases.coordination.k8s.io, which {LEASE_ROLE} does not give"
    ]


def test_a_whole_run_must_need_every_permission_and_send_rules(tmp_path: Path) -> None:
    nothing = read(tmp_path)
    assert len(nothing.wrong(passed=True)) == len(granted()) + len(granted(LEASE_ROLE)) + len(granted(ROLE)) + 1
    assert "no test has made the operator send a rule" in nothing.wrong(passed=True)
    assert nothing.wrong(passed=False) == []
    partly = read(tmp_path)
    partly.whole.append(False)
    assert partly.wrong(passed=True) == []


def test_what_is_asked_for_in_a_single_namespace_is_what_a_role_must_give(tmp_path: Path) -> None:
    endpoints = {"apiGroup": "discovery.k8s.io", "resource": "endpointslices"}
    needed = f"{ROLE} gives list endpointslices.discovery.k8s.io, which no test needs"
    everywhere = read(tmp_path, asked(verb="list", objectRef=endpoints))
    assert needed in everywhere.wrong(passed=True)
    somewhere = read(tmp_path, asked(verb="list", objectRef={**endpoints, "namespace": "n"}))
    assert needed not in somewhere.wrong(passed=True)
    nodes = read(tmp_path, asked(verb="list", objectRef={"resource": "nodes", "namespace": "n"}))
    assert nodes.wrong(passed=False) == [f"the operator asks for list nodes, which {ROLE} does not give"]


def test_the_parts_of_a_run_come_together(tmp_path: Path) -> None:
    one, other = read(tmp_path, asked()), read(tmp_path, asked(responseStatus={"code": 201}))
    one.take(json.loads(json.dumps(other.told())))
    assert {permission.verb for permission in one.permissions} == {"patch", "create"}
    assert one.in_namespaces == one.permissions
    assert (one.rules, one.whole) == (2, [True, True])
