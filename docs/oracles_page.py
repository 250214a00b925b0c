"""The tables of `oracles.md`: what other evaluators are known to do differently, and np-guard's test folders.

Not its business: finding deviations (`tests.oracles`), and the prose, which stands in the page itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from docs import markers
from tests.oracles.deviations import DEVIATIONS, SPARED, Deviation


def filled(page: str, *, figures: Sequence[str]) -> str:
    """The page with the parts between its markers made anew. Raises ValueError where a marker is missing."""
    parts = {
        "known deviations": _table(DEVIATIONS),
        "what an API server spares them": _table(SPARED),
        "published folders": "".join(f"{line}\n" for line in figures),
    }
    return markers.filled(page, parts, name="oracles.md")


def _table(deviations: Sequence[Deviation]) -> str:
    return "".join(f"{line}\n" for line in _rows(deviations))


def _rows(deviations: Sequence[Deviation]) -> Iterator[str]:
    yield "| engine | what it does | upstream's own words |"
    yield "|---|---|---|"
    for each in deviations:
        yield f"| {each.engine} | {each.name} | [`{each.words}`]({each.source}) |"
