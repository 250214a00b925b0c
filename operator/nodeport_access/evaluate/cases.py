"""One answer in every case that is possible, and what it hangs on.

Whoever needs to know what nobody knows asks his ``Case``; a case that has no answer is split into one for each answer
that is possible, and ``explore`` keeps what came of them apart. So an outcome depends on exactly those unknowns that
change it. Not the business of this module: what the unknowns are (``unknowns``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from nodeport_access.evaluate.unknowns import Known, Unknown

T = TypeVar("T")


class Case:
    """One assumption after the other, as far as they are needed."""

    def __init__(self, known: Known, settled: Mapping[Unknown, str]) -> None:
        self._known = known
        self._settled = settled

    def ask(self, unknown: Unknown, options: tuple[str, ...] = ()) -> str:
        """The answer in this case; ``options`` are those of an unknown without any of its own. What is asked twice is
        answered alike, also where some of its options are not open the second time: the first of them then."""
        possible = tuple(dict.fromkeys(options)) or unknown.options
        if (known := self._known.get(unknown)) is not None:
            possible = tuple(option for option in possible if option in known) or possible
        if (settled := self._settled.get(unknown)) is not None:
            return settled if settled in possible else possible[0]
        if len(possible) == 1:
            return possible[0]
        raise _Undecided(unknown, possible)


class _Undecided(Exception):  # noqa: N818 - no error: it splits a case
    def __init__(self, unknown: Unknown, options: tuple[str, ...]) -> None:
        self.unknown, self.options = unknown, options


@dataclass(frozen=True, slots=True)
class Leaf(Generic[T]):
    """What comes of it when all that matters is settled."""

    outcome: T


@dataclass(frozen=True, slots=True)
class Branch(Generic[T]):
    """What comes of it under each answer to one unknown; answers with the same outcome stand together."""

    unknown: Unknown
    ways: tuple[tuple[tuple[str, ...], Tree[T]], ...]


Tree = Leaf[T] | Branch[T]


def explore(run: Callable[[Case], T], *, known: Known, alike: Callable[[T], object]) -> tuple[Tree[T], tuple[T, ...]]:
    """What ``run`` comes to in every case that is possible: a tree without the questions that change nothing, two
    outcomes counting as the same where ``alike`` gives equal values; and every single outcome, with those that the
    tree has left out."""
    found: list[T] = []
    tree = _explore(run, known, {}, alike, found)
    return tree, tuple(found)


def _explore(
    run: Callable[[Case], T],
    known: Known,
    settled: Mapping[Unknown, str],
    alike: Callable[[T], object],
    found: list[T],
) -> Tree[T]:
    try:
        outcome = run(Case(known, settled))
    except _Undecided as question:
        unknown, options = question.unknown, question.options
    else:
        found.append(outcome)
        return Leaf(outcome)
    together: dict[object, tuple[list[str], Tree[T]]] = {}
    for option in options:
        tree = _explore(run, known, {**settled, unknown: option}, alike, found)
        together.setdefault(_shape(tree, alike), ([], tree))[0].append(option)
    ways = tuple((tuple(options), tree) for options, tree in together.values())
    return ways[0][1] if len(ways) == 1 else Branch(unknown, ways)


def _shape(tree: Tree[T], alike: Callable[[T], object]) -> object:
    match tree:
        case Leaf(outcome):
            return ("leaf", alike(outcome))
        case Branch(unknown, ways):
            return (unknown, tuple((options, _shape(inner, alike)) for options, inner in ways))


def leaves(
    tree: Tree[T], settled: tuple[tuple[Unknown, tuple[str, ...]], ...] = ()
) -> Iterator[tuple[tuple[tuple[Unknown, tuple[str, ...]], ...], T]]:
    """Each outcome with the answers that lead to it, in the order in which they are asked."""
    match tree:
        case Leaf(outcome):
            yield settled, outcome
        case Branch(unknown, ways):
            for options, inner in ways:
                yield from leaves(inner, (*settled, (unknown, options)))


def asked(tree: Tree[T]) -> tuple[Unknown, ...]:
    """The unknowns that change the outcome, each once."""
    return tuple(dict.fromkeys(unknown for settled, _ in leaves(tree) for unknown, _ in settled))
