"""Address sets hold exactly the addresses they should, in the fewest disjoint CIDRs; `ipaddress` is the oracle."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodeport_access.cidrs import Address, AddressSet, Family, Network, admitted, parse_network

FAMILIES = (Family.IPV4, Family.IPV6)
EVERYONE = AddressSet.everyone(FAMILIES)

# No deadline and no complaint about slow drawing: both measure the machine, not the code.
properties = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def texts(*cidrs: str) -> AddressSet:
    return AddressSet.from_texts(cidrs)


# --- generated networks: crowded, so that they nest, touch and repeat, and at the very ends of the address space ---


def _near(kind: type[IPv4Network] | type[IPv6Network], bits: int, base: int) -> st.SearchStrategy[Network]:
    return st.builds(
        lambda offset, prefix: kind(((base + offset) >> (bits - prefix) << (bits - prefix), prefix)),
        st.integers(0, 255),
        st.integers(bits - 9, bits),
    )


def _anywhere(kind: type[IPv4Network] | type[IPv6Network], bits: int) -> st.SearchStrategy[Network]:
    return st.builds(
        lambda value, prefix: kind((value >> (bits - prefix) << (bits - prefix), prefix)),
        st.integers(0, 2**bits - 1),
        st.integers(0, bits),
    )


NETWORKS: st.SearchStrategy[Network] = st.one_of(
    _near(IPv4Network, 32, 0x0A020300),
    _near(IPv4Network, 32, 0),
    _near(IPv4Network, 32, 2**32 - 256),
    _near(IPv6Network, 128, 0x20010DB8 << 96),
    _near(IPv6Network, 128, 0xFFFF << 32),
    _near(IPv6Network, 128, 2**128 - 256),
    _anywhere(IPv4Network, 32),
    _anywhere(IPv6Network, 128),
)
LISTS = st.lists(NETWORKS, max_size=8)


def boundaries(networks: Iterable[Network]) -> Iterator[Address]:
    """The four addresses of every network where membership can be wrong by one."""
    for each in networks:
        kind = IPv4Address if each.version == 4 else IPv6Address
        first, last = int(each[0]), int(each[-1])
        for value in (first - 1, first, last, last + 1):
            if 0 <= value < 2**each.max_prefixlen:
                yield kind(value)


def inside(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in each for each in networks)


def collapsed(networks: Iterable[Network]) -> list[Network]:
    """The oracle: what the standard library makes of the networks, family by family."""
    listed = list(networks)
    return [
        *collapse_addresses(each for each in listed if isinstance(each, IPv4Network)),
        *collapse_addresses(each for each in listed if isinstance(each, IPv6Network)),
    ]


def excluded(allowed: Iterable[Network], taken: Iterable[Network]) -> list[Network]:
    """The oracle of a difference: `address_exclude`, one pair at a time."""
    left = collapsed(allowed)
    for hole in taken:
        remaining: list[Network] = []
        for each in left:
            if each.version != hole.version or not each.overlaps(hole):
                remaining.append(each)
            elif not each.subnet_of(hole):  # type: ignore[arg-type]  # same family, as just compared
                remaining.extend(each.address_exclude(hole))  # type: ignore[arg-type]  # as above
        left = remaining
    return collapsed(left)


# --- properties ---


@properties
@given(LISTS)
def test_a_union_holds_exactly_the_addresses_of_its_networks(networks: list[Network]) -> None:
    union = AddressSet.of(*networks)
    for address in boundaries([*networks, *union.networks()]):
        assert (address in union) == inside(address, networks)


@properties
@given(LISTS, LISTS)
def test_a_difference_holds_exactly_what_is_allowed_and_not_excepted(
    allowed: list[Network], excepts: list[Network]
) -> None:
    difference = AddressSet.of(*allowed) - AddressSet.of(*excepts)
    for address in boundaries([*allowed, *excepts, *difference.networks()]):
        assert (address in difference) == (inside(address, allowed) and not inside(address, excepts))


@properties
@given(LISTS, LISTS)
def test_an_intersection_holds_exactly_what_both_sides_hold(left: list[Network], right: list[Network]) -> None:
    common = AddressSet.of(*left) & AddressSet.of(*right)
    for address in boundaries([*left, *right, *common.networks()]):
        assert (address in common) == (inside(address, left) and inside(address, right))


@properties
@given(LISTS, LISTS)
def test_the_cidrs_of_a_set_are_those_of_the_standard_library(allowed: list[Network], excepts: list[Network]) -> None:
    assert list(AddressSet.of(*allowed).networks()) == collapsed(allowed)
    difference = AddressSet.of(*allowed) - AddressSet.of(*excepts)
    assert list(difference.networks()) == excluded(allowed, excepts)


@properties
@given(NETWORKS, LISTS)
def test_what_an_entry_admits_is_the_cidr_without_its_exceptions(cidr: Network, excepts: list[Network]) -> None:
    assert list(admitted(cidr, excepts).networks()) == excluded([cidr], excepts)


@st.composite
def small_allowlists(draw: st.DrawFn) -> list[tuple[Network, list[Network]]]:
    """Entries within 64 addresses, at the beginning, at the end or in the middle of a family's space."""
    kind, bits, base = draw(
        st.sampled_from(
            [
                *((IPv4Network, 32, base) for base in (0, 0x0A020300, 2**32 - 64)),
                *((IPv6Network, 128, base) for base in (0, 0x20010DB8 << 96, 2**128 - 64)),
            ]
        )
    )
    networks = st.builds(
        lambda offset, prefix: kind(((base + offset) >> (bits - prefix) << (bits - prefix), prefix)),
        st.integers(0, 63),
        st.integers(bits - 6, bits),
    )
    return draw(st.lists(st.tuples(networks, st.lists(networks, max_size=4)), max_size=8))


@settings(properties, max_examples=300)
@given(small_allowlists())
def test_an_allowlist_holds_what_is_found_by_looking_at_each_address_alone(
    entries: list[tuple[Network, list[Network]]],
) -> None:
    found = AddressSet.union(*(admitted(cidr, excepts) for cidr, excepts in entries))
    addresses = {
        address for cidr, excepts in entries for address in cidr if not any(address in hole for hole in excepts)
    }
    assert list(found.networks()) == collapsed(ip_network(address) for address in addresses)
    assert list(found.texts()) == [str(network) for network in found.networks()]
    assert found.count() == len(found.texts())


@properties
@given(LISTS, LISTS)
def test_the_cidrs_of_a_set_are_minimal_disjoint_and_ascending(allowed: list[Network], excepts: list[Network]) -> None:
    found = (AddressSet.of(*allowed) - AddressSet.of(*excepts)).networks()
    assert collapsed(found) == list(found)
    for before, after in pairwise(found):
        assert before.version <= after.version
        if before.version == after.version:
            assert int(before[-1]) < int(after[0])


@properties
@given(LISTS, LISTS)
def test_the_cidrs_of_a_set_are_counted_without_being_made(allowed: list[Network], excepts: list[Network]) -> None:
    found = AddressSet.of(*allowed) - AddressSet.of(*excepts)
    assert found.count() == len(found.networks())
    rest = EVERYONE - found
    assert rest.count() == len(rest.networks())


@properties
@given(LISTS)
def test_a_set_survives_the_round_trip_through_its_texts_and_its_networks(networks: list[Network]) -> None:
    whole = AddressSet.of(*networks)
    assert AddressSet.from_texts(whole.texts()) == whole
    assert AddressSet.of(*whole.networks()) == whole
    assert [parse_network(text) for text in whole.texts()] == list(whole.networks())


@properties
@given(LISTS, st.randoms(use_true_random=False))
def test_equal_sets_are_equal_and_hash_equal_however_they_were_made(networks: list[Network], random: Random) -> None:
    shuffled = [*networks, *networks]
    random.shuffle(shuffled)
    first, second = AddressSet.of(*networks), AddressSet.union(*(AddressSet.of(each) for each in shuffled))
    assert first == second
    assert hash(first) == hash(second)


@properties
@given(LISTS, LISTS, LISTS)
def test_sets_obey_the_laws_of_sets(one: list[Network], two: list[Network], three: list[Network]) -> None:
    a, b, c = AddressSet.of(*one), AddressSet.of(*two), AddressSet.of(*three)
    assert a | b == b | a == AddressSet.of(*one, *two)
    assert a & b == b & a
    assert (a | b) | c == a | (b | c) == AddressSet.union(a, b, c)
    assert (a & b) & c == a & (b & c)
    assert a & (b | c) == (a & b) | (a & c)
    assert a - (b | c) == (a - b) - c == (a - b) & (a - c)
    assert (a - b) | (a & b) == a
    assert (a - b) & b == AddressSet.EMPTY == a - a
    assert a | AddressSet.EMPTY == a == a & EVERYONE == a - AddressSet.EMPTY
    assert EVERYONE - (EVERYONE - a) == a


@properties
@given(LISTS, LISTS)
def test_subset_overlap_and_truth_agree_with_the_operations(one: list[Network], two: list[Network]) -> None:
    a, b = AddressSet.of(*one), AddressSet.of(*two)
    assert a.overlaps(b) == b.overlaps(a) == bool(a & b)
    assert a.issubset(b) == (a <= b) == (a - b == AddressSet.EMPTY)
    assert a & b <= a <= a | b <= EVERYONE
    assert bool(a) == bool(one)


@properties
@given(LISTS)
def test_a_set_overlaps_and_contains_a_single_address_exactly_when_it_is_inside(networks: list[Network]) -> None:
    whole = AddressSet.of(*networks)
    for address in boundaries([*networks, *whole.networks()]):
        single = AddressSet.from_texts([f"{address}/{address.max_prefixlen}"])
        assert whole.overlaps(single) == single.overlaps(whole) == (single <= whole) == inside(address, networks)


@properties
@given(LISTS)
def test_a_set_is_split_by_family_without_loss(networks: list[Network]) -> None:
    whole = AddressSet.of(*networks)
    v4, v6 = whole.restricted_to([Family.IPV4]), whole.restricted_to([Family.IPV6])
    assert v4.networks() == tuple(each for each in whole.networks() if each.version == 4)
    assert v6.networks() == tuple(each for each in whole.networks() if each.version == 6)
    assert v4 | v6 == whole == whole.restricted_to(FAMILIES)
    assert not v4.overlaps(v6)
    assert whole.restricted_to([]) == AddressSet.EMPTY


TEXTS = st.one_of(
    st.text(alphabet="0123456789abcdefg:./% -", max_size=24),
    st.builds("{}/{}".format, st.ip_addresses() | NETWORKS.map(lambda each: each[0]), st.integers(0, 130)),
    st.builds("{}/{}".format, st.ip_addresses(), st.sampled_from(["08", "00", "+8", "255.0.0.0", " 8", "8 "])),
)


@properties
@given(TEXTS | NETWORKS.map(str))
def test_a_text_is_parsed_as_the_standard_library_parses_it_or_refused_by_name(text: str) -> None:
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        loose = None
    if loose is None or "%" in text or text.partition("/")[2] != str(loose.prefixlen):
        with pytest.raises(ValueError, match=re.escape(f"{text!r} is not a CIDR")):
            parse_network(text)
    elif ip_address(text.partition("/")[0]) != loose[0]:
        with pytest.raises(ValueError, match=re.escape(f"{text!r} has bits set") + ".*" + re.escape(f"is {loose}")):
            parse_network(text)
    else:
        assert parse_network(text) == loose


# --- examples ---


@pytest.mark.parametrize(
    ("allowed", "excepts", "expected"),
    [
        pytest.param(["203.0.113.0/24"], [], ["203.0.113.0/24"], id="no exception"),
        pytest.param(
            ["203.0.113.0/30"], ["203.0.113.2/32"], ["203.0.113.0/31", "203.0.113.3/32"], id="a hole in the middle"
        ),
        pytest.param(["10.0.0.0/25", "10.0.0.128/25"], [], ["10.0.0.0/24"], id="neighbours become one"),
        pytest.param(["10.0.0.128/25", "10.0.1.0/25"], [], ["10.0.0.128/25", "10.0.1.0/25"], id="or not"),
        pytest.param(["10.0.0.0/8", "10.2.3.4/32"], [], ["10.0.0.0/8"], id="nested entries become one"),
        pytest.param(["10.0.0.0/8"], ["10.0.0.0/8"], [], id="nothing is left"),
        pytest.param([], ["10.0.0.0/8"], [], id="nothing was allowed"),
        pytest.param(["0.0.0.0/0"], ["0.0.0.0/1"], ["128.0.0.0/1"], id="half of the world"),
        pytest.param(["2001:DB8:0::/32", "10.2.3.4/32"], [], ["10.2.3.4/32", "2001:db8::/32"], id="IPv4 comes first"),
        pytest.param(["::/0"], ["0.0.0.0/0"], ["::/0"], id="families do not touch each other"),
    ],
)
def test_allowed_minus_excepted_is(allowed: list[str], excepts: list[str], expected: list[str]) -> None:
    assert list((AddressSet.from_texts(allowed) - AddressSet.from_texts(excepts)).texts()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/8",
        "10.0.0.1",
        "2001:db8::1",
        "10.0.0.0/",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/08",
        "010.0.0.0/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/-1",
        "10.0.0/8",
        "10.0.0.0/8/8",
        " 10.0.0.0/8",
        "10.0.0.0/8\n",
        "fe80::%eth0/64",
        "1:2/8",
        "10.0.0.0/٨",
        "everyone",
    ],
)
def test_a_text_that_is_no_cidr_is_refused_in_one_sentence_that_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match="is not a CIDR such as") as caught:
        parse_network(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("10.2.3.4/8", "10.0.0.0/8"), ("2001:DB8::1/64", "2001:db8::/64"), ("0.0.0.1/0", "0.0.0.0/0")],
)
def test_host_bits_are_refused_with_the_canonical_form(text: str, canonical: str) -> None:
    with pytest.raises(ValueError, match="the canonical form is") as caught:
        parse_network(text)
    assert str(caught.value) == f"{text!r} has bits set beyond its prefix length; the canonical form is {canonical}"


def test_one_bad_text_in_a_list_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1/8'"):
        AddressSet.from_texts(["10.0.0.0/8", "10.0.0.1/8"])


def test_an_ipv4_mapped_network_is_just_ipv6() -> None:
    mapped = texts("::ffff:10.0.0.0/104")
    assert mapped.restricted_to([Family.IPV4]) == AddressSet.EMPTY
    assert ip_address("10.2.3.4") not in mapped
    assert ip_address("::ffff:10.2.3.4") in mapped
    assert not mapped.overlaps(texts("10.0.0.0/8"))


def test_sets_that_share_their_outermost_address_overlap_and_neighbours_do_not() -> None:
    below, above = texts("10.0.0.0/30", "10.0.0.4/31"), texts("10.0.0.5/32", "10.0.0.6/31")
    assert below.overlaps(above)
    assert above.overlaps(below)
    assert not below.overlaps(texts("10.0.0.6/31"))
    assert not above.overlaps(texts("10.0.0.4/32"))


def test_families_are_spelled_as_the_service_api_spells_them() -> None:
    assert [str(family) for family in Family] == ["IPv4", "IPv6"]
    assert AddressSet.everyone(["IPv4"]).texts() == ("0.0.0.0/0",)  # type: ignore[list-item]  # as read from YAML
    assert EVERYONE.texts() == ("0.0.0.0/0", "::/0")


def test_a_set_shows_itself_as_something_that_makes_it_again() -> None:
    shown = repr(texts("2001:db8::/32", "10.0.0.0/8"))
    assert shown == "AddressSet.from_texts(['10.0.0.0/8', '2001:db8::/32'])"


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_the_largest_policy_is_worked_out_without_holding_up_the_loop() -> None:
    """1,000 entries with 16 exceptions each: measured 0.04 s, and several seconds where a step is quadratic."""
    entries = [
        (IPv4Network((index << 14, 18)), [IPv4Network(((index << 14) + 2 * hole + 1, 32)) for hole in range(16)])
        for index in range(1_000)
    ]
    parts: list[AddressSet] = []
    assert _seconds(lambda: parts.extend(admitted(cidr, excepts) for cidr, excepts in entries)) < 1.0
    whole: list[AddressSet] = []
    assert _seconds(lambda: whole.append(AddressSet.union(*parts))) < 1.0
    nodes = AddressSet.of(*(IPv4Network(((index << 14) + 1, 32)) for index in range(5_000)))
    assert _seconds(lambda: [whole[0].overlaps(nodes), nodes.issubset(whole[0]), whole[0] - nodes]) < 1.0
    assert IPv4Address(1) not in whole[0]
    assert IPv4Address(2) in whole[0]
