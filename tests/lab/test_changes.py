"""While a policy closes, changes, is broken, repaired and released: clients connect every 20 ms, and all are counted.

Whoever is allowed loses nothing at a node that has the pod; whoever is not never gets in again once he was refused.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Fate, Protocol
from testbed.lab.lab import Lab
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.steady import EVERY, Attempt, steadily
from testbed.lab.topology import V4, V6
from testbed.waiting import wait_for
from tests.lab.arrangements import USUAL, arranged
from tests.lab.guarding import guard
from tests.lab.report import Report
from tests.lab.setups import LOAD_BALANCER_CIDRS, WIDE, policy

NODE_1, NODE_2, NODE_3 = topology.NODES
BOTH = (*LOAD_BALANCER_CIDRS, *topology.PARTNERS)
_QUIET_SECONDS = 2.5  # by then kube-proxy, which waits up to 1 s between two changes, has followed twice
_CONNECT_SECONDS = 0.1  # from when a connection is begun to its first packet, on a machine under load
_FOLLOW_SECONDS = 0.5  # within which an engine has heard of a change, there too
_REPAIR_SECONDS = 4.0  # the same on a machine under load; in the last of them nobody may get in any more


@dataclass(frozen=True, slots=True)
class Line:
    """Who dials the node port of which node, and how."""

    origin: str
    node: topology.Node
    protocol: Protocol = Protocol.TCP
    family: int = V4

    @property
    def dial(self) -> Dial:
        return Dial(address=self.node.addresses[self.family], port=stage.NODE_PORT, protocol=self.protocol)


def every_way(origin: str, node: topology.Node) -> tuple[Line, ...]:
    """Both protocols over both families."""
    return tuple(Line(origin, node, protocol, family) for protocol in Protocol for family in (V4, V6))


ALLOWED, NEWCOMER = every_way(topology.LOAD_BALANCER.name, NODE_2), Line(topology.PARTNER.name, NODE_2)
STRANGERS = (
    Line(topology.STRANGER.name, NODE_1),
    *every_way(topology.STRANGER.name, NODE_2),
    Line(topology.STRANGER.name, NODE_3),
)


@contextlib.contextmanager
def connecting(lab: Lab, *lines: Line) -> Iterator[Mapping[Line, list[Attempt]]]:
    """On each of these a connection is begun every 20 ms until the block ends; the attempts are whole then."""
    with steadily(lab, [(line.dial, line.origin) for line in lines]) as attempts:
        yield dict(zip(lines, attempts, strict=True))


def lost(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [attempt for attempt in attempts if attempt.outcome.fate is not Fate.THROUGH]


def got_in(attempts: Sequence[Attempt], *, since: float = 0.0) -> list[Attempt]:
    return [attempt for attempt in attempts if attempt.outcome.fate is not Fate.REFUSED and attempt.begun >= since]


def assert_nothing_lost(attempts: Mapping[Line, list[Attempt]]) -> None:
    """Whoever is allowed got in each time."""
    assert {line: lost(attempts[line]) for line in ALLOWED} == {line: [] for line in ALLOWED}


def assert_shut_for_good(attempts: Sequence[Attempt]) -> None:
    """Through, then refused, and never through again."""
    first_refused = next((attempt.begun for attempt in attempts if attempt.outcome.fate is Fate.REFUSED), None)
    assert first_refused is not None, "it was never refused"
    assert got_in(attempts, since=first_refused) == []


def wait_until(lab: Lab, fate: Fate, *lines: Line) -> None:
    """Wait until this becomes of a connection on each of these lines."""
    requests = [(line.dial, line.origin) for line in lines]
    wait_for(
        lambda: {outcome.fate for outcome in lab.dial(requests, seconds=0.3)} == {fate},
        seconds=15,
        what=f"all of {[line.origin for line in lines]} to be {fate}",
        every=0.02,
    )


def wait_until_guarded(lab: Lab) -> None:
    """Wait until all who are allowed get in, and no stranger: where nothing has been written yet, nobody gets in."""
    wait_until(lab, Fate.THROUGH, *ALLOWED)
    wait_until(lab, Fate.REFUSED, *STRANGERS)


def entries(attempts: Mapping[Line, list[Attempt]], lines: Iterable[Line]) -> list[float]:
    """When connections that got in on these lines were begun."""
    return [attempt.begun for line in lines for attempt in got_in(attempts[line])]


USUAL_ONES = (USUAL, (Mode.IPTABLES, Placement.AFTER_SNAT))
"""Two that differ most: verdicts before and after masquerading, and both modes."""
in_every_arrangement = arranged(*USUAL_ONES)


@pytest.fixture
def repeats(long: bool, mode: Mode, placement: Placement) -> int:
    """How often a time is taken; in the other arrangements twice, to see what is lost and who gets in."""
    return 50 if long and (mode, placement) in USUAL_ONES else 2


def spread(seconds: Sequence[float]) -> str:
    """Median and 99th percentile, in milliseconds; of a few the times themselves."""
    if len(seconds) < 20:
        return " and ".join(f"{1000 * each:.0f} ms" for each in seconds)
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[98]
    return f"p50 {1000 * statistics.median(seconds):.0f} ms, p99 {1000 * p99:.0f} ms of {len(seconds)}"


@in_every_arrangement
def test_closing_takes_nothing_from_the_allowed_and_shuts_strangers_out_for_good(
    lab: Lab, mode: Mode, placement: Placement, repeats: int, report: Report
) -> None:
    lab.arrange(mode, placement)
    took = []
    for _ in range(repeats):
        stage.reset(lab)
        wait_until(lab, Fate.THROUGH, *STRANGERS, *ALLOWED)
        with connecting(lab, *ALLOWED, *STRANGERS) as attempts:
            time.sleep(0.2)
            applied = time.monotonic()
            stage.apply(lab, policy())
            time.sleep(_QUIET_SECONDS)
        assert_nothing_lost(attempts)
        for stranger in STRANGERS:
            assert_shut_for_good(attempts[stranger])
        took.append(max(0.0, max(entries(attempts, STRANGERS)) - applied))
    report.figure(f"From applying a policy to a stranger's last entry, {mode}, {placement}: {spread(took)}.")


@in_every_arrangement
def test_a_change_of_the_allowlist_takes_nothing_from_who_stays_in_it(
    lab: Lab, mode: Mode, placement: Placement, repeats: int, report: Report
) -> None:
    lab.arrange(mode, placement)
    alone, together = ([{"cidr": cidr} for cidr in cidrs] for cidrs in (LOAD_BALANCER_CIDRS, BOTH))
    stage.guard(lab, policy(allowedCIDRs=alone))
    took = []
    for _ in range(repeats):
        wait_until_guarded(lab)
        wait_until(lab, Fate.REFUSED, NEWCOMER)
        with connecting(lab, *ALLOWED, NEWCOMER, *STRANGERS) as attempts:
            time.sleep(0.1)
            added = time.monotonic()
            stage.apply(lab, policy(allowedCIDRs=together))
            wait_until(lab, Fate.THROUGH, NEWCOMER)
            time.sleep(0.2)
            removed = time.monotonic()
            stage.apply(lab, policy(allowedCIDRs=alone))
            time.sleep(0.5)
        assert_nothing_lost(attempts)
        assert entries(attempts, STRANGERS) == []
        assert_shut_for_good([attempt for attempt in attempts[NEWCOMER] if attempt.begun >= removed])
        took.append(got_in(attempts[NEWCOMER])[0].begun - added)
    report.figure(f"From applying a new CIDR to the first connection from it, {mode}, {placement}: {spread(took)}.")


@in_every_arrangement
def test_handing_back_by_mode_audit_takes_nothing_from_the_allowed(lab: Lab, mode: Mode, placement: Placement) -> None:
    lab.arrange(mode, placement)
    stage.guard(lab, policy())
    wait_until_guarded(lab)

    with connecting(lab, *ALLOWED) as attempts:
        time.sleep(0.1)
        stage.apply(lab, policy(mode="Audit"))
        wait_until(lab, Fate.THROUGH, *STRANGERS)

    assert_nothing_lost(attempts)
    wait_for(lambda: stage.is_left_alone(lab), seconds=10, what="the Service as it was")


@in_every_arrangement
def test_deleting_leaves_all_as_it_was_and_refuses_the_allowed_only_while_the_deny_all_outlives_the_allowlist(
    lab: Lab, mode: Mode, placement: Placement
) -> None:
    lab.arrange(mode, placement)
    stage.guard(lab, policy())
    wait_until_guarded(lab)

    since = lab.control_plane.audit_mark()
    with connecting(lab, *ALLOWED) as attempts:
        time.sleep(0.1)
        lab.cluster.delete("NodePortAccessPolicy", stage.POLICY, namespace=stage.NAMESPACE)
        wait_until(lab, Fate.THROUGH, *STRANGERS)

    begin, end = deny_all_alone(lab, since=since)
    for line in ALLOWED:
        assert [attempt for attempt in lost(attempts[line]) if not begin <= attempt.begun <= end] == []
    wait_for(lambda: stage.is_left_alone(lab), seconds=10, what="the Service as it was")


def deny_all_alone(lab: Lab, *, since: int) -> tuple[float, float]:
    """From when to when (seconds of the monotonic clock) an engine may have seen the deny-all without the allowlist:
    the garbage collector keeps no order between them. Empty where the deny-all went first."""
    ago = time.time() - time.monotonic()
    asked, answered = {}, {}
    for event in lab.control_plane.audit_events(since=since):
        if event["verb"] == "delete" and event["responseStatus"]["code"] == 200:
            name = event["objectRef"]["name"]
            asked[name] = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp() - ago
            answered[name] = datetime.fromisoformat(event["stageTimestamp"]).timestamp() - ago
    allow, deny = f"{stage.POLICY}-allow", f"{stage.POLICY}-deny-all"
    if answered[deny] < asked[allow]:
        return 0.0, 0.0
    return asked[allow] - _CONNECT_SECONDS, answered[deny] + _FOLLOW_SECONDS


@in_every_arrangement
@pytest.mark.parametrize("width", ["narrow", "wide"])
def test_a_service_set_back_to_cluster_is_taken_again(
    lab: Lab, mode: Mode, placement: Placement, width: str, repeats: int, report: Report
) -> None:
    lab.arrange(mode, placement)
    repaired, leaked, counts = [], [], []
    for _ in range(repeats):
        stage.reset(lab)
        lab.start_operator()  # one that remembers no fight: whoever sets it back again and again is out-waited
        guard(lab, WIDE if width == "wide" else LOAD_BALANCER_CIDRS)
        wait_until_guarded(lab)
        with connecting(lab, *ALLOWED, *STRANGERS) as attempts:
            time.sleep(_QUIET_SECONDS)  # kube-proxy follows the next change at once, and has to wait before the repair
            flipped = time.monotonic()
            stage.set_traffic_policy(lab, "Cluster")
            wait_for(lambda: stage.traffic_policy(lab) == "Local", seconds=10, what="the repair", every=0.001)
            repaired.append(time.monotonic() - flipped)
            time.sleep(_REPAIR_SECONDS)
            ended = time.monotonic()
        leaks = entries(attempts, STRANGERS)
        assert_nothing_lost(attempts)
        assert [begun - flipped for begun in leaks if begun > ended - 1.0] == []
        counts.append(len(leaks))
        leaked.append(max(leaks, default=flipped) - flipped)
    if not leaks_under_cluster(placement, width):
        assert sum(counts) == 0
    report.figure(
        f"A Service set back to Cluster, {mode}, {placement}, {width} list: Local again at the API {spread(repaired)};"
        f" connections of strangers that got in per flip {statistics.mean(counts):.1f} of about"
        f" {len(STRANGERS) * _REPAIR_SECONDS / EVERY:.0f}, the last {spread(leaked)} after it."
    )


def sees_a_node(lab: Lab) -> bool:
    """Whether the pod sees its own node in place of the load balancer: so node-2 has heard of Cluster."""
    allowed = ALLOWED[0]
    return lab.dial([(allowed.dial, allowed.origin)])[0].source == NODE_2.addresses[V4]


def leaks_under_cluster(placement: Placement, width: str) -> bool:
    """What the tables of the set-ups flipped and flipped-wide say of strangers."""
    return placement is Placement.AFTER_SNAT or (placement is Placement.OWN_NODE and width == "wide")


@pytest.mark.parametrize("mode", Mode, ids=str)
def test_sessions_that_were_opened_meanwhile_outlive_the_repair(lab: Lab, mode: Mode) -> None:
    lab.arrange(mode, Placement.AFTER_SNAT)
    stage.guard(lab, policy())
    by_the_pods_node = every_way(topology.STRANGER.name, NODE_2)
    wait_until(lab, Fate.REFUSED, *by_the_pods_node)
    with lab.operator.paused():
        stage.set_traffic_policy(lab, "Cluster")
        wait_until(lab, Fate.THROUGH, *by_the_pods_node)
        sessions = [lab.open_session(line.dial, origin=line.origin) for line in by_the_pods_node]

    wait_for(lambda: stage.traffic_policy(lab) == "Local", seconds=10, what="the repair")
    wait_until(lab, Fate.REFUSED, *by_the_pods_node)

    with contextlib.ExitStack() as stack:
        for session in sessions:
            stack.callback(session.close)
        seen = [session.ask() for session in sessions]
        assert seen == [NODE_2.addresses[line.family] for line in by_the_pods_node]


def test_an_attempt_that_was_refused_goes_the_same_way_again_while_conntrack_remembers_it(lab: Lab) -> None:
    lab.arrange(*USUAL)
    guard(lab)
    by_another_node = Line(topology.STRANGER.name, NODE_1)
    wait_until(lab, Fate.REFUSED, by_another_node)
    same_port = replace(by_another_node.dial, source_port=15000)

    with lab.operator.paused():
        stage.set_traffic_policy(lab, "Cluster")
        wait_for(lambda: sees_a_node(lab), seconds=10, what="the nodes to follow")
        time.sleep(_QUIET_SECONDS)  # that was node-2
        refused = lab.dial([(same_port, by_another_node.origin)])
    wait_for(lambda: not sees_a_node(lab), seconds=10, what="the nodes to follow the repair")
    guard(lab, WIDE)
    time.sleep(_QUIET_SECONDS)

    from_a_new_port, from_the_same = lab.dial(
        [(by_another_node.dial, by_another_node.origin), (same_port, by_another_node.origin)]
    )
    assert [outcome.fate for outcome in (*refused, from_a_new_port)] == [Fate.REFUSED, Fate.REFUSED]
    assert (from_the_same.fate, from_the_same.source) == (Fate.THROUGH, NODE_1.addresses[V4])


def while_deleted(lab: Lab, child: str) -> Mapping[Line, list[Attempt]]:
    """What became of connections while somebody deleted this child of the policy, and the operator made it anew."""
    stage.guard(lab, policy())
    wait_until_guarded(lab)
    with connecting(lab, *ALLOWED, *STRANGERS) as attempts:
        time.sleep(0.1)
        lab.cluster.delete("NetworkPolicy", child, namespace=stage.NAMESPACE)
        time.sleep(1.0)
    return attempts


@in_every_arrangement
def test_while_the_allowlist_is_away_nobody_gets_in_and_it_comes_back(
    lab: Lab, mode: Mode, placement: Placement, report: Report
) -> None:
    lab.arrange(mode, placement)

    attempts = while_deleted(lab, f"{stage.POLICY}-allow")

    assert entries(attempts, STRANGERS) == []
    assert {attempts[line][-1].outcome.fate for line in ALLOWED} == {Fate.THROUGH}
    refused = sum(len(lost(attempts[line])) for line in ALLOWED)
    begun = sum(len(attempts[line]) for line in ALLOWED)
    report.figure(
        f"The allowlist deleted, {mode}, {placement}: {refused} of {begun}"
        " connections of the load balancer refused until it was back."
    )


@in_every_arrangement
def test_while_the_deny_all_is_away_the_allowlist_holds_alone(lab: Lab, mode: Mode, placement: Placement) -> None:
    lab.arrange(mode, placement)

    attempts = while_deleted(lab, f"{stage.POLICY}-deny-all")

    assert entries(attempts, STRANGERS) == []
    assert_nothing_lost(attempts)
