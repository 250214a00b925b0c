"""What the answers to a probe mean: each target's verdict, the sentences on all of them together, the exit code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.cidrs import Address, AddressSet
from nodeport_access.evaluate.cni import settle
from nodeport_access.probe.attempts import Bounds, Result
from nodeport_access.probe.findings import AGREED, LEAKED, UNPROVEN, exit_code, findings
from nodeport_access.probe.judging import Judged, Standing, judge
from nodeport_access.probe.planning import narrowed
from nodeport_access.probe.plans import Plan, Protocol
from nodeport_access.probe.records import Probe, record
from tests.unit.builders import NOW, port
from tests.unit.probes import HTTP, LOAD_BALANCER, POD, STRANGER, attempts, plan, scene, target
from tests.unit.strategies import properties

IN, REFUSED, UNREACHABLE, SILENT, FAILED, CUT_OFF, NOT_DIALLED = Result
UDP = port(53, name="dns", node=31653, protocol="UDP")
GUARDED = plan(scene(ports=(HTTP, UDP)))
UNCERTAIN = plan(scene(traffic_policy="Cluster", ports=(HTTP, UDP)), known=settle(proxy_mode="iptables"))


def judged(
    found: Plan, node: str, *results: Result, source: Address, protocol: str = "TCP", seen_as: Any = None
) -> Judged:
    """One target, dialled from this source."""
    return judge(
        found,
        target(found, node, protocol=Protocol(protocol)),
        attempts(*results, source=source),
        seen_as={4: seen_as} if seen_as else {},
    )


# --- one target: node-2 has the pod, the load balancer is allowed ---

A, L, B, I = Standing.AGREES, Standing.LEAKS, Standing.BLOCKED, Standing.INCONCLUSIVE  # noqa: E741 - one letter a cell


@pytest.mark.parametrize(
    ("source", "node", "protocol", "results", "standing"),
    [
        # refused is predicted, by NetworkPolicy
        (STRANGER, "node-2", "TCP", (SILENT, SILENT), A),
        (STRANGER, "node-2", "TCP", (REFUSED, UNREACHABLE), A),
        (STRANGER, "node-2", "TCP", (IN, IN), L),
        (STRANGER, "node-2", "TCP", (SILENT, IN), L),
        (STRANGER, "node-2", "TCP", (IN, NOT_DIALLED), L),
        (STRANGER, "node-2", "TCP", (SILENT, NOT_DIALLED), I),
        (STRANGER, "node-2", "TCP", (SILENT, CUT_OFF), I),
        (STRANGER, "node-2", "TCP", (FAILED, FAILED), I),
        (STRANGER, "node-2", "UDP", (SILENT, SILENT), A),
        (STRANGER, "node-2", "UDP", (IN, SILENT), L),
        # refused is predicted, by Local
        (LOAD_BALANCER, "node-1", "TCP", (SILENT, SILENT), A),
        (LOAD_BALANCER, "node-1", "UDP", (SILENT, SILENT), A),
        (LOAD_BALANCER, "node-1", "TCP", (IN, IN), L),
        # through is predicted
        (LOAD_BALANCER, "node-2", "TCP", (IN, IN), A),
        (LOAD_BALANCER, "node-2", "TCP", (IN, SILENT), B),
        (LOAD_BALANCER, "node-2", "TCP", (SILENT, SILENT), B),
        (LOAD_BALANCER, "node-2", "TCP", (REFUSED, REFUSED), B),
        (LOAD_BALANCER, "node-2", "TCP", (REFUSED, NOT_DIALLED), B),
        (LOAD_BALANCER, "node-2", "TCP", (IN, NOT_DIALLED), I),
        (LOAD_BALANCER, "node-2", "UDP", (IN, IN), A),
        (LOAD_BALANCER, "node-2", "UDP", (IN, SILENT), I),
        (LOAD_BALANCER, "node-2", "UDP", (SILENT, SILENT), I),
        (LOAD_BALANCER, "node-2", "UDP", (REFUSED, SILENT), B),
        # nothing is predicted
        (POD, "node-2", "TCP", (IN, IN), Standing.NOT_PREDICTED),
    ],
)
def test_a_target_stands_to_its_prediction_by_what_became_of_the_attempts(
    source: Address, node: str, protocol: str, results: tuple[Result, ...], standing: Standing
) -> None:
    assert judged(GUARDED, node, *results, source=source, protocol=protocol).standing is standing


@pytest.mark.parametrize(
    ("protocol", "results", "standing"),
    [
        ("TCP", (IN, IN), Standing.DEPENDS),
        ("TCP", (SILENT, SILENT), Standing.DEPENDS),
        ("TCP", (IN, SILENT), Standing.DEPENDS),
        ("TCP", (IN, NOT_DIALLED), I),
        ("UDP", (IN, IN), Standing.DEPENDS),
        ("UDP", (SILENT, SILENT), I),
    ],
)
def test_where_either_was_possible_a_target_is_no_proof(
    protocol: str, results: tuple[Result, ...], standing: Standing
) -> None:
    assert judged(UNCERTAIN, "node-2", *results, source=STRANGER, protocol=protocol).standing is standing


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ((IN, IN), "It got in, so the CNI gives its verdict after masquerading, at the pod's interface."),
        ((SILENT, SILENT), "It did not get in, so placement is every-hop or own-node."),
        ((IN, SILENT), "1 of 2 attempts got in. It depends on where the CNI gives its verdict."),
    ],
)
def test_what_either_answer_shows_of_the_cluster_is_said(results: tuple[Result, ...], sentence: str) -> None:
    assert judged(UNCERTAIN, "node-2", *results, source=STRANGER).why == sentence


def test_a_source_that_the_plan_is_not_for_has_nothing_predicted() -> None:
    found = judged(narrowed(GUARDED, AddressSet.from_texts([f"{STRANGER}/32"])), "node-2", IN, source=LOAD_BALANCER)
    assert (found.standing, found.why) == (Standing.NOT_PREDICTED, "The plan is for other addresses than 10.2.3.4.")


def test_a_narrowed_plan_tells_a_leak_without_the_reason() -> None:
    found = judged(narrowed(GUARDED, AddressSet.from_texts([f"{STRANGER}/32"])), "node-2", IN, source=STRANGER)
    assert (found.standing, found.why) == (L, "It got in, although it is to be refused.")


def test_a_rule_that_lists_others_is_not_said_to_admit_the_source() -> None:
    why = judged(GUARDED, "node-2", SILENT, source=STRANGER).why
    assert why.endswith("Rule 1 of NetworkPolicy allow admits clients outside that it lists.")


def test_the_prediction_is_for_the_address_that_the_nodes_see() -> None:
    behind_nat = judged(GUARDED, "node-2", IN, source=STRANGER, seen_as=LOAD_BALANCER)
    assert (behind_nat.standing, behind_nat.source, behind_nat.seen_as) == (A, STRANGER, LOAD_BALANCER)


@properties(100)
@given(
    st.sampled_from([STRANGER, LOAD_BALANCER]),
    st.sampled_from(["node-1", "node-2"]),
    st.sampled_from(Protocol),
    st.lists(st.sampled_from(Result), min_size=1, max_size=4),
)
def test_what_was_not_dialled_never_counts_as_agreement(
    source: Address, node: str, protocol: Protocol, results: list[Result]
) -> None:
    found = judged(GUARDED, node, *results, source=source, protocol=protocol)
    if any(result.tells_nothing for result in results):
        assert found.standing is not Standing.AGREES
    if Result.IN in results and source == STRANGER:
        assert found.standing is Standing.LEAKS


# --- the exit code ---


@pytest.mark.parametrize(
    ("by_node", "code"),
    [
        ([SILENT, IN, SILENT], AGREED),
        ([IN, IN, SILENT], LEAKED),
        ([IN, SILENT, SILENT], LEAKED),
        ([SILENT, SILENT, SILENT], UNPROVEN),
        ([NOT_DIALLED, IN, SILENT], UNPROVEN),
    ],
)
def test_the_exit_code_tells_leaks_before_everything_else(by_node: list[Result], code: int) -> None:
    assert exit_code(from_load_balancer(*by_node)) == code


def from_load_balancer(*by_node: Result) -> list[Judged]:
    """The three nodes, an attempt each."""
    return [judged(GUARDED, f"node-{number}", result, source=LOAD_BALANCER) for number, result in enumerate(by_node, 1)]


def from_stranger(*by_node: Result, protocol: str = "TCP") -> list[Judged]:
    return [
        judged(GUARDED, f"node-{number}", result, source=STRANGER, protocol=protocol)
        for number, result in enumerate(by_node, 1)
    ]


# --- what all of it comes to ---


def told(found: list[Judged]) -> str:
    return " ".join(findings(GUARDED, found))


def test_a_stranger_who_gets_in_wherever_networkpolicy_alone_refuses_finds_that_it_is_not_enforced() -> None:
    sentences = told(from_stranger(SILENT, IN, SILENT))
    assert "Of 3 targets, dialled from 198.51.100.7: 2 agree, 1 leaks." in sentences
    assert "NetworkPolicy is not enforced on this path: 198.51.100.7 got in at every target" in sentences
    assert "--seen-as" in sentences
    assert "2026-06-01 12:00:00 UTC" in sentences


def test_a_leak_where_local_is_to_refuse_says_nothing_of_networkpolicy() -> None:
    sentences = told(from_stranger(IN, SILENT, SILENT))
    assert "1 leaks" in sentences
    assert "not enforced" not in sentences


def test_networkpolicy_that_holds_at_some_targets_only_is_told_so() -> None:
    found = [*from_stranger(SILENT, IN, SILENT), *from_stranger(SILENT, REFUSED, SILENT, protocol="UDP")]
    assert "NetworkPolicy does not hold everywhere: 198.51.100.7 got in by node-2" in told(found)


def test_silence_over_udp_shows_nothing_of_networkpolicy() -> None:
    assert "No answer here shows whether NetworkPolicy is enforced" in told(
        from_stranger(SILENT, SILENT, SILENT, protocol="UDP")
    )
    both = [*from_stranger(SILENT, IN, SILENT), *from_stranger(SILENT, SILENT, SILENT, protocol="UDP")]
    assert "NetworkPolicy is not enforced on this path" in told(both)


def test_a_stranger_kept_out_needs_the_allowed_to_show_that_it_is_networkpolicy() -> None:
    sentences = told(from_stranger(SILENT, SILENT, SILENT))
    assert "3 agree." in sentences
    assert "An allowed address that gets in by the same targets shows that this is NetworkPolicy" in sentences


def test_an_allowed_source_shows_nothing_of_networkpolicy() -> None:
    assert "No answer here shows whether NetworkPolicy is enforced" in told(from_load_balancer(SILENT, IN, SILENT))


def test_where_nothing_answers_the_network_between_is_named() -> None:
    assert "Perhaps the network between, a firewall or a NAT is in the way" in told(
        from_load_balancer(SILENT, SILENT, SILENT)
    )


def test_the_flag_that_would_settle_what_it_depends_on_is_named() -> None:
    found = [judged(UNCERTAIN, "node-2", IN, source=STRANGER)]
    sentences = findings(UNCERTAIN, found)
    assert "What it depends on, --assume placement=... would settle when the plan is made." in sentences
    assert "--assume" not in told(from_stranger(SILENT, SILENT, SILENT))


def test_what_the_time_limit_left_out_is_counted() -> None:
    assert "The time limit left 2 targets without all attempts" in told(from_load_balancer(NOT_DIALLED, IN, CUT_OFF))


def test_a_source_in_the_cluster_is_told_the_way_out() -> None:
    sentences = told([judged(GUARDED, "node-2", IN, source=POD)])
    assert "1 not predicted" in sentences
    assert "dial from a machine outside" in sentences


# --- the record ---


def test_the_record_holds_every_attempt_and_what_it_was_held_against() -> None:
    found = from_stranger(SILENT, IN, SILENT)
    bounds = Bounds(attempts=1, rate=20, timeout=3, time_limit=60)
    kept = record(Probe(plan=GUARDED, judged=tuple(found), began=NOW, seconds=3.12345, program="0.1.0", bounds=bounds))

    assert (kept["began"], kept["seconds"], kept["exitCode"]) == ("2026-06-01T12:00:00+00:00", 3.123, LEAKED)
    leaking = kept["targets"][1]
    assert {name: leaking[name] for name in ("node", "address", "port", "source", "predicted", "verdict", "mixed")} == {
        "node": "node-2",
        "address": "10.99.0.2",
        "port": 31602,
        "source": "198.51.100.7",
        "predicted": "refused",
        "verdict": "leaks",
        "mixed": False,
    }
    assert leaking["attempts"] == [
        {"result": "in", "source": "198.51.100.7", "began": 0.0, "seconds": 0.01, "error": ""}
    ]
