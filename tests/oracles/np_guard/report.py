"""The outcome of all folders as a table for docs/.

Not its business: finding it (`comparison`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.oracles.np_guard.comparison import Outcome

HEAD = "| folder | questions | admitted | held one way | lines outward | lines from a controller | differ |"


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Markdown: the sums first, then a row for each folder that was compared, then why the others were not."""
    compared = [each for each in outcomes if not each.left_out]
    agreeing = sum(not each.differences for each in compared)
    yield (
        f"{len(outcomes)} folders: {len(compared)} compared by {sum(each.questions for each in compared):,} questions, "
        f"of which {agreeing} agree and {len(compared) - agreeing} differ; {len(outcomes) - len(compared)} left out."
    )
    yield ""
    yield HEAD
    yield "|---|" + "---:|" * (HEAD.count("|") - 2)
    for each in compared:
        counts = (each.questions, each.admitted, each.one_way, each.outbound, each.by_controller, len(each.differences))
        yield f"| {each.name} | {' | '.join(f'{count:,}' for count in counts)} |"
    yield ""
    yield "| left out | folders |"
    yield "|---|---:|"
    for reason, count in Counter(each.left_out for each in outcomes if each.left_out).most_common():
        yield f"| {reason} | {count} |"
