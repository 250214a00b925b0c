"""The tables, the picture and the figures of `lab.md`, from the model that every run of the lab holds packets against.

Not its business: what the model says (`tests.lab.expected`), and the prose, which stands in the page itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from docs import markers
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import Entry
from tests.lab.cells import CLIENTS
from tests.lab.setups import SET_UPS, TYPED, SetUp
from tests.lab.tables import ITSELF, LEGEND, REFUSED, Table, as_markdown, marks, merged

_SHORT = {Placement.EVERY_HOP: "hop", Placement.OWN_NODE: "own", Placement.AFTER_SNAT: "after"}
Column = tuple[SetUp, tuple[Placement | None, ...], Table]


@cache
def columns() -> tuple[Column, ...]:
    """Every table of every set-up, placements that are alike drawn together."""
    return tuple(_columns_made())


def _columns_made() -> Iterator[Column]:
    for set_up in (*SET_UPS, *TYPED):
        placements: Sequence[Placement | None] = (None,) if set_up in TYPED else tuple(Placement)
        by_placement = {
            placement: {mode: marks(set_up.expected(mode, placement)) for mode in Mode} for placement in placements
        }
        for alike, table in merged(by_placement).items():
            yield set_up, alike, table


def filled(page: str, *, figures: Sequence[str]) -> str:
    """The page with the parts between its markers made anew. Raises ValueError where a marker is missing."""
    parts = {
        "legend": "".join(f"- `{mark}` {meaning}\n" for mark, meaning in LEGEND.items()),
        **{f"tables of {set_up.key}": _tables(set_up) for set_up in (*SET_UPS, *TYPED)},
        "figures": "".join(f"- {figure}\n" for figure in figures),
    }
    return markers.filled(page, parts, name="lab.md")


def _tables(of: SetUp) -> str:
    parts = []
    for set_up, placements, table in columns():
        if set_up is of:
            where = [str(placement) for placement in placements if placement]
            words = f"Verdicts: {' and '.join(where)}.\n\n" if where and len(where) < len(Placement) else ""
            parts.append(words + as_markdown(table))
    return f"**{of.title}**\n\n" + "\n".join(parts) + "\n"


# --- the picture of all node ports ------------------------------------------------------------------------------------

_CELL, _LEFT, _TOP, _ROW = 17, 120, 170, 22
_COLOURS = {REFUSED: ("#e8ebef", "#5b6b7f"), ITSELF: ("#18794e", "#ffffff")}
_MASQUERADED = ("#c2410c", "#ffffff")


def overview() -> str:
    """An SVG: who gets in by TCP to the node ports of nodes 1, 2 and 3, under every set-up."""
    drawn = columns()
    width, height = _LEFT + len(drawn) * (3 * _CELL + 9) + 60, _TOP + len(CLIENTS) * _ROW + 60
    return "\n".join([*_frame(width, height), *_rows(), *_columns(drawn), *_legend(height), "</svg>", ""])


def _frame(width: int, height: int) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12" role="img" aria-labelledby="t d">'
    )
    yield '  <title id="t">Who gets in by the node ports, set-up by set-up</title>'
    yield '  <desc id="d">The same as the tables of this page, for TCP over IPv4 to the node ports.</desc>'
    yield f'  <rect width="{width}" height="{height}" fill="#ffffff"/>'


def _rows() -> Iterator[str]:
    for number, client in enumerate(CLIENTS):
        y = _TOP + number * _ROW + 15
        yield f'  <text x="{_LEFT - 8}" y="{y}" text-anchor="end" fill="#111">{client.name}</text>'


def _columns(drawn: Sequence[Column]) -> Iterator[str]:
    for number, (set_up, placements, table) in enumerate(drawn):
        x = _LEFT + number * (3 * _CELL + 9)
        where = "+".join(_SHORT[placement] for placement in placements if placement)
        label = set_up.key + (f" ({where})" if where and len(placements) < len(Placement) else "")
        middle = x + 3 * _CELL / 2
        yield f'  <text transform="translate({middle:g} {_TOP - 24}) rotate(-50)" fill="#111">{label}</text>'
        yield from (
            f'  <text x="{x + place * _CELL + _CELL / 2:g}" y="{_TOP - 6}" text-anchor="middle" font-size="9" '
            f'fill="#5b6b7f">{place + 1}</text>'
            for place in range(3)
        )
        for row, client in enumerate(CLIENTS):
            for place, letter in enumerate(table.rows[client, Entry.NODE_PORT]):
                yield from _square(x + place * _CELL, _TOP + row * _ROW, letter)


def _square(x: float, y: float, letter: str) -> Iterator[str]:
    fill, ink = _COLOURS.get(letter, _MASQUERADED)
    yield f'  <rect x="{x}" y="{y}" width="{_CELL - 1}" height="{_ROW - 3}" rx="2" fill="{fill}"/>'
    yield (
        f'  <text x="{x + (_CELL - 1) / 2:g}" y="{y + 14}" text-anchor="middle" font-size="10" '
        f'fill="{ink}">{letter}</text>'
    )


def _legend(height: int) -> Iterator[str]:
    entries = (
        (REFUSED, "refused"),
        (ITSELF, "through, the pod saw the client's own address"),
        ("2", "through, the pod saw that node's address"),
    )
    x = float(_LEFT)
    for letter, words in entries:
        yield from _square(x, height - 34, letter)
        yield f'  <text x="{x + 22}" y="{height - 20}" fill="#111">{words}</text>'
        x += 60 + 7 * len(words)
