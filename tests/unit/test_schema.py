"""The operator's own types against the CRD, which is the only place where the schema is written."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeport_access import api, plan, reasons, status
from nodeport_access.allowlist import AllowedCIDR
from nodeport_access.api import Effect, Isolation, Mode, TrafficPolicy
from nodeport_access.conditions import MESSAGE_LIMIT, Status
from nodeport_access.policy_body import parse_policy

CRD: dict[str, Any] = yaml.safe_load(
    (Path(__file__).resolve().parents[2] / "crds" / "nodeportaccesspolicies.yaml").read_text(encoding="utf-8")
)
(VERSION,) = CRD["spec"]["versions"]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]
SPEC: dict[str, Any] = SCHEMA["properties"]["spec"]["properties"]
STATUS: dict[str, Any] = SCHEMA["properties"]["status"]["properties"]


def test_the_names_of_the_kind_are_those_of_the_crd() -> None:
    names = CRD["spec"]["names"]
    assert (CRD["spec"]["group"], VERSION["name"], names["kind"], names["plural"]) == (
        api.GROUP,
        api.VERSION,
        api.KIND,
        api.PLURAL,
    )


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        (SPEC["mode"], Mode),
        (SPEC["isolation"], Isolation),
        (SPEC["trafficPolicy"], TrafficPolicy),
        (STATUS["lastDrift"]["properties"]["effect"], Effect),
        (STATUS["plan"]["items"]["properties"]["action"], plan.Verb),
        (STATUS["conditions"]["items"]["properties"]["status"], Status),
    ],
)
def test_every_enum_has_the_values_of_the_crd(schema: dict[str, Any], values: Any) -> None:
    assert set(schema["enum"]) == {str(value) for value in values}


@pytest.mark.parametrize("field", ["mode", "isolation", "trafficPolicy"])
def test_a_policy_that_leaves_a_field_out_is_read_with_the_default_of_the_crd(field: str) -> None:
    metadata = {"namespace": "ns", "name": "web", "uid": "u", "resourceVersion": "1"}
    policy = parse_policy({"metadata": metadata, "spec": {"serviceRef": {"name": "web"}}})
    attribute = {"trafficPolicy": "traffic_policy"}.get(field, field)
    assert str(getattr(policy, attribute)) == SPEC[field]["default"]


def test_every_field_of_the_spec_is_read() -> None:
    read = {
        "serviceRef": "service",
        "allowedCIDRs": "allowlist",
        "allowedPeers": "peers",
        "isolation": "isolation",
        "trafficPolicy": "traffic_policy",
        "mode": "mode",
    }
    assert read.keys() == SPEC.keys()
    assert set(read.values()) <= {field.name for field in fields(api.Policy)}
    entry = {"cidr": "cidr", "except": "excepts", "ports": "ports", "expiresAt": "expires_at"}
    # A description is for people.
    assert entry.keys() | {"description"} == SPEC["allowedCIDRs"]["items"]["properties"].keys()
    assert set(entry.values()) == {field.name for field in fields(AllowedCIDR)}


def test_the_plan_in_status_is_bounded_as_in_the_crd() -> None:
    assert STATUS["plan"]["maxItems"] == status.PLAN_LIMIT


def test_a_condition_message_is_bounded_as_in_the_crd() -> None:
    assert STATUS["conditions"]["items"]["properties"]["message"]["maxLength"] == MESSAGE_LIMIT


def test_every_reason_fits_the_pattern_of_the_crd() -> None:
    reason = STATUS["conditions"]["items"]["properties"]["reason"]
    assert all(re.fullmatch(reason["pattern"], each) and len(each) <= reason["maxLength"] for each in reasons.Reason)
