"""Whom the entries of a policy admit at an instant, however often and in whatever order instants are asked for."""

from __future__ import annotations

import gc
import weakref
from datetime import datetime, timedelta
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.allowlist import AllowedCIDR, Allowlist
from nodeport_access.cidrs import AddressSet
from nodeport_access.policy_body import parse_policy
from tests.unit import builders
from tests.unit.builders import NOW, entry
from tests.unit.strategies import properties

HOURS = [NOW + timedelta(hours=hour) for hour in range(6)]
ENTRIES = st.builds(
    lambda number, excepts, ports, ends: AllowedCIDR(
        cidr=ip_network(f"10.0.0.{8 * number}/29"),
        excepts=tuple(ip_network(f"10.0.0.{8 * number + each}/32") for each in excepts),
        ports=ports,
        expires_at=ends,
    ),
    st.integers(0, 3),
    st.sets(st.integers(0, 7), max_size=3),
    st.sampled_from([(), ("http",), ("http", 443)]),
    st.sampled_from([None, *HOURS]),
)


def naively(entries: list[AllowedCIDR], now: datetime) -> dict[tuple[str | int, ...], set[str]]:
    """The definition: address by address."""
    found: dict[tuple[str | int, ...], set[str]] = {}
    for each in entries:
        if each.expires_at is None or now < each.expires_at:
            left = {str(address) for address in each.cidr if not any(address in hole for hole in each.excepts)}
            found.setdefault(each.ports, set()).update(left)
    return found


def addresses(known: AddressSet) -> set[str]:
    return {str(address) for network in known.networks() for address in network}


@properties(200)
@given(
    st.lists(ENTRIES, max_size=6),
    st.lists(
        st.builds(lambda hour, seconds: hour + timedelta(seconds=seconds), st.sampled_from(HOURS), st.integers(-1, 1))
    ),
)
def test_an_entry_admits_until_the_instant_at_which_it_ends_also_where_the_clock_is_put_back(
    entries: list[AllowedCIDR], instants: list[datetime]
) -> None:
    allowlist = Allowlist(entries=tuple(entries))
    for now in instants:
        found = {ports: addresses(known) for ports, known in allowlist.admitted(now).items()}
        assert found == naively(entries, now)


def test_what_is_admitted_is_worked_out_once_while_the_same_entries_are_in_force() -> None:
    ends = NOW + timedelta(hours=1)
    allowlist = Allowlist(
        entries=(
            AllowedCIDR(cidr=ip_network("10.0.0.0/8")),
            AllowedCIDR(cidr=ip_network("192.0.2.0/24"), expires_at=ends),
        )
    )
    first = allowlist.admitted(NOW)
    assert allowlist.admitted(ends - timedelta(microseconds=1)) is first
    assert allowlist.admitted(ends) is not first


def test_versions_of_a_policy_share_what_was_read_of_the_same_entries() -> None:
    allowed = [entry("10.0.0.0/8", excepts=["10.1.0.0/16"]), entry("nonsense")]
    old = parse_policy(builders.policy(resource_version=1, allowed=allowed))
    new = parse_policy(builders.policy(resource_version=2, allowed=allowed, status={"serviceUID": "u"}))
    assert new.allowlist is old.allowlist
    assert new.problems == old.problems != ()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([entry("10.0.0.0/8", ports=[1])], [entry("10.0.0.0/8", ports=["1"])], id="a number and a name"),
        pytest.param([entry("10.0.0.0/8", ports=[1])], [entry("10.0.0.0/8", ports=[True])], id="a number and a truth"),
        pytest.param([entry("10.0.0.0/8")], [entry("10.0.0.0/9")], id="a prefix"),
        pytest.param([entry("10.0.0.0/8")], [entry("10.0.0.0/8", expiresAt="2026-01-01T00:00:00Z")], id="an end"),
        pytest.param([entry("10.0.0.0/8")], [entry("10.0.0.0/8", new=None)], id="a field that is not known"),
        pytest.param([], None, id="an empty list and none"),
    ],
)
def test_entries_that_differ_in_anything_are_read_for_themselves(one: object, other: object) -> None:
    def read(value: object) -> Allowlist:
        body = builders.policy()
        return parse_policy({**body, "spec": {**body["spec"], "allowedCIDRs": value}}).allowlist

    first = read(one)
    assert read(other) is not first
    assert read(one) is first


def test_what_was_read_goes_with_the_last_policy_that_has_it() -> None:
    policy = parse_policy(builders.policy(allowed=["198.51.100.7/32"]))
    policy.allowlist.admitted(NOW)
    left = weakref.ref(policy.allowlist)
    del policy
    gc.collect()
    assert left() is None
