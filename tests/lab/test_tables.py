"""Every client by every way in, under every set-up, mode of kube-proxy and placement of the engine: what packets did is
what the model says, cell by cell, with the address that the pod saw.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from testbed.lab.dialing import Outcome
from testbed.lab.lab import MIN_SYNC_PERIOD, Lab
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from tests.lab.cells import CELLS, cluster_ips
from tests.lab.evaluated import disagreements
from tests.lab.report import Report
from tests.lab.setups import SET_UPS, TYPED, SetUp
from tests.lab.tables import marks

_SETTLE_SECONDS = 15.0  # kube-proxy takes up to 1 s to follow; the rest is for machines under load


@pytest.mark.parametrize("placement", Placement, ids=str)
@pytest.mark.parametrize("mode", Mode, ids=str)
@pytest.mark.parametrize("set_up", SET_UPS, ids=str)
def test_packets_do_what_the_model_says(
    lab: Lab, mode: Mode, placement: Placement, set_up: SetUp, report: Report
) -> None:
    lab.arrange(mode, placement)

    set_up.make(lab)

    found = assert_as_expected(lab, set_up, mode, placement)
    report.table(set_up, mode, placement, marks(found))
    assert list(disagreements(lab.cluster, found, mode=mode, placement=placement)) == []


@pytest.mark.parametrize("mode", Mode, ids=str)
@pytest.mark.parametrize("set_up", TYPED, ids=str)
def test_packets_do_what_the_model_says_of_rules_typed_on_the_nodes(
    lab: Lab, mode: Mode, set_up: SetUp, report: Report
) -> None:
    if set_up.typed_first:
        lab.tear_up()
        set_up.make(lab)
        lab.proxies.start(mode, min_sync_period=MIN_SYNC_PERIOD)
    else:
        lab.arrange(mode, None)
        assert_as_expected(lab, SET_UPS[0], mode, None)  # kube-proxy has settled
        set_up.make(lab)
    try:
        report.table(set_up, mode, None, marks(assert_as_expected(lab, set_up, mode, None)))
    finally:
        lab.tear_up()


def assert_as_expected(lab: Lab, set_up: SetUp, mode: Mode, placement: Placement | None) -> Sequence[Outcome]:
    """Wait until packets do what the model says, and return what they did."""
    wanted = set_up.expected(mode, placement)
    found = settled(lab, wanted)
    differing = [
        f"{cell}: expected {want}, found {outcome}"
        for cell, want, outcome in zip(CELLS, wanted, found, strict=True)
        if outcome != want
    ]
    assert not differing, "\n".join(differing)
    return found


def settled(lab: Lab, wanted: Sequence[Outcome]) -> Sequence[Outcome]:
    """What becomes of all cells, once kube-proxy and the engines have followed; they are given time to get there.

    The answer is always one whole round: nothing is put together from different times.
    """
    addresses = cluster_ips(lab)
    requests = [cell.dial(addresses) for cell in CELLS]
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        found = lab.dial(requests)
        wrong = [place for place, outcome in enumerate(found) if outcome != wanted[place]]
        if not wrong or time.monotonic() > deadline:
            return found
        while wrong and time.monotonic() < deadline:
            again = lab.dial([requests[place] for place in wrong], seconds=0.3)
            wrong = [place for place, outcome in zip(wrong, again, strict=True) if outcome != wanted[place]]
