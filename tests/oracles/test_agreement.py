"""The product's evaluator agrees with four others on every generated question, but for what is known by name."""

from __future__ import annotations

import os

from hypothesis import given

from tests.oracles import product
from tests.oracles.case import Case
from tests.oracles.deviations import DEVIATIONS, differences
from tests.oracles.engines import Oracles
from tests.oracles.generate import cases
from tests.oracles.tally import Tally
from tests.unit.strategies import properties

CASES = int(os.environ.get("CASES", "500"))
BALANCED = 500
"""Cases whose answers are not nearly all the same; fewer are for trying things out."""
ALL_MET = 10_000
"""Cases that meet everything which is known by name; fewer may miss the rarest, which test_deviations shows too."""


def test_it_agrees_with_the_others(oracles: Oracles, tally: Tally) -> None:
    @properties(CASES)
    @given(cases())
    def agrees(case: Case) -> None:
        hold(case, oracles, tally)

    agrees()

    if CASES >= BALANCED:
        asked = tally.admitted.total()
        assert min(tally.admitted[True], tally.admitted[False]) > asked / 5, "nearly all answers are the same"
    if CASES >= ALL_MET:
        never = [f"{each.engine}: {each.name}" for each in DEVIATIONS if not tally.met(each)]
        assert not never, "known deviations that were not met: is upstream mended, or are they not generated any more?"


def hold(case: Case, oracles: Oracles, tally: Tally) -> None:
    """Every difference is a deviation that is known by name."""
    tally.cases += 1
    own = product.answers(case)
    tally.admitted.update(own)
    for difference in differences(case, own, oracles.ask(case)):
        assert difference.by, f"{difference.engine} says {difference.word!r} to {difference.question}"
        for deviation in difference.by:
            tally.meet(deviation)
