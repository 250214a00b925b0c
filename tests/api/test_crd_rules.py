"""Every bound and every CEL rule of the CRD, each by a value that the real API server takes and one that it refuses.

The API server is asked with `dryRun=All` and strict field validation; what it says of a refused value is compared word
for word, because it is all that the author of a policy gets to see. The last test walks the schema: a bound or a rule
without a row here is a failure. Not the business of this module: how accepted policies behave (`test_crd`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.api_client import MERGE_PATCH
from testbed.control_plane import ControlPlane
from tests.api.wording import wording_of

CRD = Path(__file__).resolve().parents[2] / "crds" / "nodeportaccesspolicies.yaml"
KIND = {"apiVersion": "nodeport-access.io/v1alpha1", "kind": "NodePortAccessPolicy"}
POLICIES = "/apis/nodeport-access.io/v1alpha1/namespaces/default/nodeportaccesspolicies"
DRY = "dryRun=All&fieldValidation=Strict"
ABSENT = object()  # as a row's value: the field is left out

# Said beside an error of the plain schema that keeps the CEL rules from being asked.
UNCHECKED = (
    "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
NOT_A_CIDR = (
    "not a network in CIDR notation: write one such as 203.0.113.0/24 or 2001:db8::/32, a single address as "
    "10.2.3.4/32 or 2001:db8::1/128, an IPv4-mapped address as plain IPv4"
)
NOT_CANONICAL = "not in canonical form: write IPv6 shortened and in lower case, 2001:db8::/32 instead of 2001:0DB8::/32"
HOST_BITS = (
    "bits are set after the prefix: write the network's first address, 10.2.3.0/24 instead of 10.2.3.4/24, "
    "or a single address as 10.2.3.4/32"
)
OUTSIDE = "every network in except must lie inside cidr: correct it, or move it to the entry that contains it"
NOTHING_LEFT = (
    "except takes away the whole of cidr, so that the entry lets nobody in: remove the entry, or except a smaller part"
)
NOT_A_PORT_NAME = r"in body should match '^([0-9][-0-9]*)?[a-z]([-a-z0-9]*[a-z0-9])?$'"
NOT_A_MOMENT = r"in body should match '^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-][01]\d:[0-5]\d)$'"
NOT_A_LABEL_KEY = (
    "not the key of a label: write a name of at most 63 letters, digits, '-', '_' and '.', optionally after a DNS name "
    "and '/'"
)
NOT_A_LABEL_VALUE = (
    "not the value of a label: use letters, digits, '-', '_' and '.', with a letter or digit at both ends"
)

NOW = "2026-11-22T12:00:00Z"
SELECTOR = {
    "matchLabels": {"team": "edge"},
    "matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["bar"]}],
}
FULL: dict[str, Any] = {
    **KIND,
    "metadata": {"name": "full"},
    "spec": {
        "serviceRef": {"name": "dashboard"},
        "allowedCIDRs": [
            {
                "cidr": "203.0.113.0/24",
                "description": "a partner",
                "except": ["203.0.113.66/32"],
                "ports": ["http", 443],
                "expiresAt": "2026-12-31T00:00:00Z",
            }
        ],
        "allowedPeers": [{"namespaceSelector": SELECTOR, "podSelector": copy.deepcopy(SELECTOR)}],
        "isolation": "Namespace",
        "trafficPolicy": "Unmanaged",
        "mode": "Audit",
    },
    "status": {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "observedGeneration": 1,
                "lastTransitionTime": NOW,
                "reason": "AuditMode",
                "message": "The policy only reports.",
            }
        ],
        "serviceUID": "6f5e4d3c-0000-4000-8000-000000000000",
        "nodePorts": [31602],
        "healthCheckNodePort": 30932,
        "effectiveCIDRs": 8,
        "nodes": {"ready": 1, "draining": 0, "total": 3, "share": "1/3"},
        "lastDrift": {
            "object": "Service/dashboard",
            "field": "spec.externalTrafficPolicy",
            "writer": "kubectl-edit",
            "effect": "opened",
            "time": NOW,
        },
        "plan": [{"action": "create", "object": "NetworkPolicy/full-allow", "fields": ["spec.ingress"]}],
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One bound or rule at `where`: `good` is taken there, `bad` is refused with `says`, a line for each error."""

    where: str
    rule: str
    good: Any
    bad: Any
    says: tuple[str, ...]


def row(where: str, rule: str, *, good: Any, bad: Any, says: str, at: str | None = None) -> Row:
    """A row with one line. `at` is the path that the API server names, where that is not `where`."""
    return Row(where=where, rule=rule, good=good, bad=bad, says=(f"{where if at is None else at}: {says}",))


def invalid(value: str, why: str) -> str:
    return f'Invalid value: "{value}": {why}'


def in_body(where: str, value: object, why: str) -> str:
    """The sentence for a bound of the plain schema, in which the path comes twice (a status is checked by itself)."""
    shown = f'"{value}"' if isinstance(value, str) else value
    return f"Invalid value: {shown}: {where.removeprefix('status.')} {why}"


def required(where: str, *, good: Any) -> Row:
    return row(where, "required", good=good, bad=ABSENT, says="Required value")


def too_long(bound: int) -> str:
    return f"Too long: may not be more than {bound} bytes"


def max_length(where: str, bound: int, *, good: str = "") -> Row:
    """`good` is lengthened by letters as far as it goes, and one too far."""
    return row(where, "maxLength", good=good.ljust(bound, "a"), bad=good.ljust(bound + 1, "a"), says=too_long(bound))


def max_items(where: str, bound: int, items: list[Any]) -> Row:
    assert len(items) == bound + 1
    says = f"Too many: {bound + 1}: must have at most {bound} items"
    return row(where, "maxItems", good=items[:bound], bad=items, says=says)


def enum(where: str, *values: str, bad: str) -> Row:
    listed = ", ".join(f'"{value}"' for value in values)
    return row(where, "enum", good=values[0], bad=bad, says=f'Unsupported value: "{bad}": supported values: {listed}')


def minimum(where: str, bound: int) -> Row:
    says = in_body(where, bound - 1, f"in body should be greater than or equal to {bound}")
    return row(where, "minimum", good=bound, bad=bound - 1, says=says)


def maximum(where: str, bound: int) -> Row:
    says = in_body(where, bound + 1, f"in body should be less than or equal to {bound}")
    return row(where, "maximum", good=bound, bad=bound + 1, says=says)


def int32(where: str) -> Row:
    field = where.removeprefix("status.")
    says = f'Invalid value: "": Checked value must be of type integer with format int32 in {field}'
    return row(where, "format", good=2**31 - 1, bad=2**31, says=says, at="status")


def date_time(where: str) -> Row:
    says = in_body(where, "2026-02-30T00:00:00Z", 'in body must be of type date-time: "2026-02-30T00:00:00Z"')
    return row(where, "format", good="2026-02-28T00:00:00Z", bad="2026-02-30T00:00:00Z", says=says)


def cidr_rows(where: str) -> Iterator[Row]:
    good = "203.0.113.64/26"
    for bad in (
        "203.0.113.64",
        "203.0.113.064/26",
        "203.0.113.64/026",
        "203.0.113.64/33",
        "::ffff:203.0.113.64/122",
        "fe80::%eth0/64",
        "example.com",
        "",
    ):
        yield row(where, "isCIDR", good=good, bad=bad, says=invalid(bad, NOT_A_CIDR))


def label_value_rows(where: str, *, at: str | None = None) -> Iterator[Row]:
    """`at` is how the plain schema writes the path; CEL writes the key of a map in brackets."""
    yield row(where, "maxLength", good="a" * 63, bad="a" * 64, says=too_long(63), at=at)
    for good, bad in (("a_b.c-D", "-a"), ("", "a-"), ("7", "a b"), ("x", "a/b")):
        yield row(where, "label value", good=good, bad=bad, says=invalid(bad, NOT_A_LABEL_VALUE))


def selector_rows(where: str) -> Iterator[Row]:
    labels, expressions = f"{where}.matchLabels", f"{where}.matchExpressions"
    many = {f"key-{index}": "" for index in range(17)}
    yield row(
        labels,
        "maxProperties",
        good=dict(list(many.items())[:16]),
        bad=many,
        says="Too many: 17: must have at most 16 items",
    )
    yield row(
        labels,
        "key length",
        good={"a" * 317: ""},
        bad={"a" * 318: ""},
        says="Invalid value: a label key has 1 to 317 characters",
    )
    yield from label_value_rows(f"{labels}[team]", at=f"{labels}.team")

    expression = {"key": "region", "operator": "Exists"}
    yield max_items(expressions, 8, [expression] * 9)
    first = f"{expressions}[0]"
    yield required(f"{first}.key", good="zone")
    yield max_length(f"{first}.key", 317, good=".".join(["a" * 50] * 4 + ["a" * 49]) + "/" + "b" * 63)
    for good, bad in (
        ("region", "re gion"),
        ("a.b_c-D", "-a"),
        ("example.com/Region", "Example.com/region"),
        ("kubernetes.io/metadata.name", "example.com/"),
        ("a" * 63, "a" * 64),
        ("x", ""),
    ):
        yield row(f"{first}.key", "label key", good=good, bad=bad, says=invalid(bad, NOT_A_LABEL_KEY))
    yield required(f"{first}.operator", good="In")
    yield enum(f"{first}.operator", "In", "NotIn", "Exists", "DoesNotExist", bad="Gt")
    yield max_items(f"{first}.values", 64, [f"value-{index}" for index in range(65)])
    yield from label_value_rows(f"{first}.values[0]")
    for operator in ("In", "NotIn"):
        alone = {"key": "region", "operator": operator}
        for bare in (alone, {**alone, "values": []}):
            yield row(
                first,
                "needs values",
                good={**alone, "values": [""]},
                bad=bare,
                says="Invalid value: the operators In and NotIn need at least one value",
                at=f"{first}.values",
            )
    for operator in ("Exists", "DoesNotExist"):
        yield row(
            first,
            "takes no values",
            good={"key": "region", "operator": operator, "values": []},
            bad={"key": "region", "operator": operator, "values": ["bar"]},
            says="Invalid value: the operators Exists and DoesNotExist take no values: remove them, or use In or NotIn",
            at=f"{first}.values",
        )


def spec_rows() -> Iterator[Row]:
    yield required("spec", good=FULL["spec"])
    yield row(
        "metadata.name",
        "name",
        good="a" * 63,
        bad="a" * 64,
        says="Invalid value: the name is longer than 63 characters: choose a shorter one, because it becomes the value "
        "of the label nodeport-access.io/policy",
    )
    yield required("spec.serviceRef", good={"name": "other"})
    service = "spec.serviceRef.name"
    yield required(service, good="other")
    yield max_length(service, 63)
    for good, bad in (("a-1", "Dashboard"), ("1-a", "-a"), ("a", "a."), ("7", "")):
        why = "not the name of a Service: use lower-case letters, digits and '-', with a letter or digit at both ends"
        yield row(service, "Service name", good=good, bad=bad, says=invalid(bad, why))
    yield enum("spec.isolation", "Service", "Namespace", bad="Pod")
    yield enum("spec.trafficPolicy", "Local", "Unmanaged", bad="Cluster")
    yield enum("spec.mode", "Enforce", "Audit", bad="audit")

    entries = "spec.allowedCIDRs"
    yield max_items(entries, 1000, [{"cidr": f"10.{index // 256}.{index % 256}.0/24"} for index in range(1001)])
    yield row(
        entries,
        "list-map",
        good=[{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/9"}],
        bad=[{"cidr": "10.0.0.0/8"}, {"cidr": "10.0.0.0/8", "ports": [80]}],
        says='Duplicate value: {"cidr":"10.0.0.0/8"}',
        at=f"{entries}[1]",
    )
    yield from cidr_entry_rows(f"{entries}[0]")

    peers = "spec.allowedPeers"
    yield max_items(peers, 64, [{"podSelector": {}}] * 65)
    for selector in ("namespaceSelector", "podSelector"):
        yield row(
            f"{peers}[0]",
            "no empty peer",
            good={selector: {}},
            bad={},
            says="Invalid value: an empty peer could be read as everyone: set namespaceSelector, podSelector or both "
            "({} selects all)",
        )
        yield from selector_rows(f"{peers}[0].{selector}")


def cidr_entry_rows(entry: str) -> Iterator[Row]:
    cidr, excepted, ports = f"{entry}.cidr", f"{entry}.except", f"{entry}.ports"
    yield required(cidr, good="203.0.112.0/23")
    longest = "2001:1db8:1111:2222:3333:4444:5555:6666/128"
    assert len(longest) == 43
    wide = {"cidr": "2001::/16"}
    yield row(entry, "length", good={"cidr": longest}, bad={"cidr": "a" * 44}, says=too_long(43), at=cidr)
    yield row(
        entry,
        "length of except",
        good={**wide, "except": [longest]},
        bad={**wide, "except": ["a" * 44]},
        says=too_long(43),
        at=f"{excepted}[0]",
    )
    for where in (cidr, f"{excepted}[0]"):
        yield from cidr_rows(where)
    for good, bad in (
        ("2001:db8::/32", "2001:DB8::/32"),
        ("2001:db8:1::/48", "2001:db8:1:0::/48"),
        ("::/0", "0::/0"),
        ("::102:304/128", "::1.2.3.4/128"),
    ):
        v6 = {"cidr": "::/0", "except": [good]} if good != "::/0" else {"cidr": "::/0"}
        yield row(entry, "canonical", good={"cidr": good}, bad={"cidr": bad}, says=invalid(bad, NOT_CANONICAL), at=cidr)
        yield row(
            entry,
            "canonical except",
            good=v6,
            bad={"cidr": "::/0", "except": [bad]},
            says=invalid(bad, NOT_CANONICAL),
            at=f"{excepted}[0]",
        )
    for good, bad in (("10.2.3.0/24", "10.2.3.4/24"), ("2001:db8::/32", "2001:db8::1/32"), ("0.0.0.0/0", "1.0.0.0/0")):
        yield row(entry, "host bits", good={"cidr": good}, bad={"cidr": bad}, says=invalid(bad, HOST_BITS), at=cidr)
    yield row(
        f"{excepted}[0]",
        "host bits",
        good="203.0.113.64/27",
        bad="203.0.113.65/27",
        says=invalid("203.0.113.65/27", HOST_BITS),
    )
    yield max_length(f"{entry}.description", 256)
    yield max_items(excepted, 16, [f"203.0.113.{index}/32" for index in range(17)])
    yield row(
        excepted,
        "no duplicates",
        good=["203.0.113.1/32", "203.0.113.2/32"],
        bad=["203.0.113.1/32", "203.0.113.2/32", "203.0.113.1/32"],
        says="Invalid value: a network is in except twice: remove one of the two",
    )
    for good, bad in (
        ("203.0.113.66/32", "203.0.112.66/32"),
        ("203.0.113.0/25", "203.0.112.0/23"),
        ("203.0.113.128/25", "2001:db8::/32"),
        ("203.0.113.255/32", "0.0.0.0/0"),
    ):
        yield row(excepted, "inside", good=[good], bad=[good, bad], says=f"Invalid value: {OUTSIDE}")
    yield row(excepted, "not all", good=[], bad=["203.0.113.0/24"], says=f"Invalid value: {NOTHING_LEFT}")

    one = f"{ports}[0]"
    yield row(ports, "minItems", good=[80], bad=[], says=in_body(ports, 0, "in body should have at least 1 items"))
    yield max_items(ports, 64, list(range(1, 66)))
    yield minimum(one, 1)
    yield maximum(one, 65535)
    yield max_length(one, 63)
    for good, bad in (("http", "HTTP"), ("8a", "80"), ("a-1", "a-"), ("1-a", "1-2"), ("a", "")):
        yield row(one, "pattern", good=good, bad=bad, says=in_body(one, bad, NOT_A_PORT_NAME))
    for other, kind in ((True, "boolean"), (80.5, "number")):
        says = in_body(one, kind, f'in body must be of type integer,string: "{kind}"')
        yield row(one, "type", good=80, bad=other, says=says)

    expires = f"{entry}.expiresAt"
    yield date_time(expires)
    for good, bad in (
        ("2026-12-31T00:00:00Z", "1999-12-31T00:00:00Z"),
        ("2026-12-31T00:00:00.5+02:00", "2026-12-31t00:00:00z"),
        ("2000-01-01T00:00:00-05:30", "2026-12-31T00:00:00+24:00"),
        ("2999-12-31T23:59:59Z", "9999-12-31T00:00:00Z"),
    ):
        yield row(expires, "pattern", good=good, bad=bad, says=in_body(expires, bad, NOT_A_MOMENT))
    for bad in ("2026-12-31T00:00:00", "2026-12-31", "tomorrow"):
        kind = f'in body must be of type date-time: "{bad}"'
        lines = tuple(f"{expires}: {in_body(expires, bad, why)}" for why in (NOT_A_MOMENT, kind))
        yield Row(where=expires, rule="pattern and format", good="2026-12-31T00:00:00Z", bad=bad, says=lines)


def status_rows() -> Iterator[Row]:
    yield minimum("status.observedGeneration", 0)
    yield from condition_rows("status.conditions")
    yield max_length("status.serviceUID", 128)
    for where in ("status.nodePorts[0]", "status.healthCheckNodePort"):
        yield minimum(where, 1)
        yield maximum(where, 65535)
    for where in ("effectiveCIDRs", "nodes.ready", "nodes.draining", "nodes.total"):
        yield minimum(f"status.{where}", 0)
        yield int32(f"status.{where}")
    yield max_length("status.nodes.share", 32, good="1/3")
    drift = "status.lastDrift"
    for field in ("object", "effect", "time"):
        yield required(f"{drift}.{field}", good=FULL["status"]["lastDrift"][field])
    for field, bound in (("object", 512), ("field", 512), ("writer", 256)):
        yield max_length(f"{drift}.{field}", bound)
    yield enum(f"{drift}.effect", "opened", "closed", "depends", "none", bad="harmless")
    yield date_time(f"{drift}.time")
    step = {"action": "update", "object": "Service/dashboard"}
    yield max_items("status.plan", 16, [step] * 17)
    for field in ("action", "object"):
        yield required(f"status.plan[0].{field}", good="delete")
    yield enum("status.plan[0].action", "create", "update", "strip", "release", "delete", bad="apply")
    yield max_length("status.plan[0].object", 512)
    yield max_items("status.plan[0].fields", 64, ["spec.ingress"] * 65)
    yield max_length("status.plan[0].fields[0]", 512)


def condition_rows(conditions: str) -> Iterator[Row]:
    """The bounds of metav1.Condition in k8s.io/apimachinery."""
    first = f"{conditions}[0]"
    whole = FULL["status"]["conditions"][0]
    yield max_items(conditions, 32, [{**whole, "type": f"Type{index}"} for index in range(33)])
    yield row(
        conditions,
        "list-map",
        good=[whole, {**whole, "type": "Stalled"}],
        bad=[whole, {**whole, "status": "True"}],
        says='Duplicate value: {"type":"Ready"}',
        at=f"{conditions}[1]",
    )
    for field in ("type", "status", "lastTransitionTime", "reason", "message"):
        yield required(f"{first}.{field}", good=whole[field])
    yield max_length(f"{first}.type", 316)
    pattern = (
        r"in body should match '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$'"
    )
    says = in_body(f"{first}.type", "Not Ready", pattern)
    yield row(f"{first}.type", "pattern", good="example.com/Ready", bad="Not Ready", says=says)
    yield enum(f"{first}.status", "True", "False", "Unknown", bad="true")
    yield minimum(f"{first}.observedGeneration", 0)
    yield date_time(f"{first}.lastTransitionTime")
    reason = f"{first}.reason"
    pattern = "in body should match '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'"
    yield max_length(reason, 1024)
    yield row(reason, "pattern", good="As_Said:1", bad="as said", says=in_body(reason, "as said", pattern))
    says = in_body(reason, "", "in body should be at least 1 chars long")
    yield row(reason, "minLength", good="A", bad="", says=says)
    yield max_length(f"{first}.message", 32768, good="")


def steps(path: str) -> list[str | int]:
    """`a.b[0].c[key]` as the keys and indices that lead there."""
    found = re.findall(r"\[(\w+)\]|([^.\[\]]+)", path)
    return [int(index) if index.isdigit() else index or name for index, name in found]


def full_with(path: str, value: Any) -> dict[str, Any]:
    """FULL with another value at `path`."""
    body = copy.deepcopy(FULL)
    *way, last = steps(path)
    place: Any = body
    for step in way:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = copy.deepcopy(value)
    return body


SPEC, STATUS = list(spec_rows()), list(status_rows())


def name_of(value: Row) -> str:
    return f"{value.where}-{value.rule}"


def lines(answer: Mapping[str, Any], worded: Callable[[str], str]) -> list[str]:
    """What kubectl prints of a refusal, line by line, but for the remark that some rules were not asked."""
    causes = answer.get("details", {}).get("causes", [])
    said = [worded(f"{cause['field']}: {cause['message']}") for cause in causes]
    return [line for line in said if line != worded(UNCHECKED)] or [answer.get("message", "taken")]


@pytest.fixture(scope="module")
def worded(control_plane: ControlPlane) -> Callable[[str], str]:
    return wording_of(control_plane)


@pytest.mark.parametrize("sample", SPEC, ids=name_of)
def test_a_spec_within_the_bound_is_taken_and_one_beyond_it_is_refused_with_a_message(
    control_plane: ControlPlane, worded: Callable[[str], str], sample: Row
) -> None:
    code, answer = control_plane.request("POST", f"{POLICIES}?{DRY}", full_with(sample.where, sample.good))
    assert code == 201, answer["message"]

    code, answer = control_plane.request("POST", f"{POLICIES}?{DRY}", full_with(sample.where, sample.bad))
    assert (code, lines(answer, worded)) == (422, [worded(line) for line in sample.says])


@pytest.fixture(scope="module")
def policy(control_plane: ControlPlane) -> Iterator[str]:
    """The path of a policy whose status can be asked for."""
    code, answer = control_plane.request("POST", POLICIES, FULL)
    assert code == 201, answer["message"]
    yield f"{POLICIES}/full"
    control_plane.request("DELETE", f"{POLICIES}/full")


@pytest.mark.parametrize("sample", STATUS, ids=name_of)
def test_a_status_within_the_bound_is_taken_and_one_beyond_it_is_refused_with_a_message(
    control_plane: ControlPlane, worded: Callable[[str], str], policy: str, sample: Row
) -> None:
    def put(value: Any) -> tuple[int, Any]:
        status = {"status": full_with(sample.where, value)["status"]}
        return control_plane.request("PATCH", f"{policy}/status?{DRY}", status, content_type=MERGE_PATCH)

    code, answer = put(sample.good)
    assert code == 200, answer["message"]

    code, answer = put(sample.bad)
    if worded is not str and "format int32" in sample.says[0]:
        assert code == 200, "older API servers do not look at the format of a number"
        return
    assert (code, lines(answer, worded)) == (422, [worded(line) for line in sample.says])


def bounds(schema: Mapping[str, Any], field: str = "") -> Iterator[tuple[str, str]]:
    """Every bound and rule of a schema: the field that an error names, as a pattern, and what the error says."""
    says = {
        "maxLength": "Too long: may not be more than {} bytes",
        "minLength": "should be at least {} chars long",
        "maxItems": "must have at most {} items",
        "maxProperties": "must have at most {} items",
        "minItems": "should have at least {} items",
        "minimum": "should be greater than or equal to {}",
        "maximum": "should be less than or equal to {}",
        "pattern": "should match '{}'",
    }
    for keyword in says.keys() & schema.keys():
        yield field, says[keyword].format(schema[keyword])
    if "enum" in schema:
        yield field, "supported values: " + ", ".join(f'"{value}"' for value in schema["enum"])
    if schema.get("format") == "date-time":
        yield field, "must be of type date-time"
    if schema.get("format") == "int32" and "maximum" not in schema:
        yield "status", f"format int32 in {field.replace(chr(92), '').removeprefix('status.')}"
    if schema.get("x-kubernetes-list-type") == "map":
        yield rf"{field}\[\d+\]", "Duplicate value"
    for rule in schema.get("x-kubernetes-validations", []):
        yield (field + re.escape(rule.get("fieldPath", ""))).removeprefix(r"\."), rule["message"]
    for name in schema.get("required", []):
        yield inner(field, name), "Required value"
    for name, below in schema.get("properties", {}).items():
        yield from bounds(below, inner(field, name))
    if "items" in schema:
        yield from bounds(schema["items"], rf"{field}\[\d+\]")
    if "additionalProperties" in schema:
        yield from bounds(schema["additionalProperties"], rf"{field}(\.\w+|\[\w+\])")


def inner(field: str, name: str) -> str:
    return rf"{field}\.{name}" if field else name


def test_every_bound_and_rule_of_the_schema_is_in_these_tables() -> None:
    crd = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    (version,) = crd["spec"]["versions"]
    said = [line.partition(": ")[::2] for sample in (*SPEC, *STATUS) for line in sample.says]
    # Held by test_crd, because they need an object that is there before.
    elsewhere = {"serviceRef cannot be changed: delete this policy and create another one for the other Service"}

    missing = [
        (field, text)
        for field, text in bounds(version["schema"]["openAPIV3Schema"])
        if text not in elsewhere and not any(re.fullmatch(field, where) and text in why for where, why in said)
    ]

    assert missing == []
