"""Holds what became of the dials to one target against what was predicted for their source.

Not the business of this module: what all targets come to together (``findings``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nodeport_access.cidrs import Address
from nodeport_access.evaluate import Answer
from nodeport_access.probe.attempts import Attempt, Result
from nodeport_access.probe.plans import Plan, Prediction, Protocol, Target


class Standing(StrEnum):
    """How a target stands to its prediction."""

    AGREES = "agrees"
    LEAKS = "leaks"
    """It got in although refused is predicted."""
    BLOCKED = "blocked"
    """It did not get in although through is predicted."""
    DEPENDS = "depends"
    """Either was possible."""
    INCONCLUSIVE = "inconclusive"
    """What was seen can be held against nothing: silence over UDP, or dials that were not made."""
    NOT_PREDICTED = "not predicted"
    """The source is one of the cluster's own addresses, or none of those that the plan is for."""


SeenAs = Mapping[int, Address]
"""The addresses that the nodes see in place of this machine's, by IP version (4, 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A target and how it stands. source: the address that this machine dialled under; seen_as: the one that the
    prediction is for. why: one sentence or two."""

    target: Target
    attempts: tuple[Attempt, ...]
    source: Address | None
    seen_as: Address | None
    predicted: Answer | None
    standing: Standing
    why: str

    def count(self, *results: Result) -> int:
        """How many attempts came to one of these."""
        return sum(attempt.result in results for attempt in self.attempts)

    @property
    def got_in(self) -> int:
        """How many attempts got in."""
        return self.count(Result.IN)

    @property
    def was_kept_out(self) -> bool:
        """Whether it is sure that nothing got in: silence over UDP tells nothing by itself."""
        silent = self.target.protocol is Protocol.UDP and not self.count(Result.REFUSED, Result.UNREACHABLE)
        return bool(self.attempts) and all(attempt.result.is_out for attempt in self.attempts) and not silent

    @property
    def is_mixed(self) -> bool:
        """Whether some attempts got in and others did not, as where pods or nodes behind one address differ."""
        return self.got_in > 0 and any(attempt.result.is_out for attempt in self.attempts)

    @property
    def found(self) -> str:
        """What became of the attempts, counted."""
        counted = Counter(attempt.result for attempt in self.attempts)
        if len(counted) == 1:
            return str(next(iter(counted)))
        return ", ".join(f"{number} {result}" for result, number in sorted(counted.items(), key=_order))


def _order(item: tuple[Result, int]) -> int:
    return tuple(Result).index(item[0])


def judge(plan: Plan, target: Target, attempts: Sequence[Attempt], *, seen_as: SeenAs) -> Judged:
    """How a target stands."""
    source = next((attempt.source for attempt in attempts if attempt.source is not None), None)
    seen = None if source is None else seen_as.get(source.version, source)
    predicted = None if seen is None else plan.answer(target, seen)
    standing, why = _standing(target, attempts, seen, predicted)
    if standing is Standing.NOT_PREDICTED and seen is not None and not plan.is_for(seen):
        why = f"The plan is for other addresses than {seen}."
    return Judged(
        target=target,
        attempts=tuple(attempts),
        source=source,
        seen_as=seen,
        predicted=predicted,
        standing=standing,
        why=why,
    )


def _standing(
    target: Target, attempts: Sequence[Attempt], seen: Address | None, predicted: Answer | None
) -> tuple[Standing, str]:
    if seen is None:
        return Standing.INCONCLUSIVE, _untried(attempts)
    match predicted:
        case None:
            return Standing.NOT_PREDICTED, f"{seen} is one of the cluster's own addresses."
        case Answer.REFUSED:
            return _held_to_refused(target, attempts)
        case Answer.THROUGH:
            return _held_to_through(target, attempts)
        case Answer.DEPENDS:
            return _held_to_both(target, attempts, seen)


def _held_to_refused(target: Target, attempts: Sequence[Attempt]) -> tuple[Standing, str]:
    if (got_in := _got_in(attempts)) > 0:
        share = "It got in" if got_in == len(attempts) else f"{got_in} of {len(attempts)} attempts got in"
        return Standing.LEAKS, f"{share}, although it is to be refused{_because(target)}"
    if any(attempt.result.tells_nothing for attempt in attempts):
        return Standing.INCONCLUSIVE, _untried(attempts)
    return Standing.AGREES, " ".join(target.prediction.derivation)


def _held_to_through(target: Target, attempts: Sequence[Attempt]) -> tuple[Standing, str]:
    silent_is_out = target.protocol is Protocol.TCP
    kept_out = [
        attempt
        for attempt in attempts
        if attempt.result.is_out and (attempt.result is not Result.SILENT or silent_is_out)
    ]
    if kept_out:
        share = "It did not get in" if not _got_in(attempts) else f"{len(kept_out)} of {len(attempts)} did not get in"
        return Standing.BLOCKED, f"{share}, although it is to get through{_because(target)}"
    if any(attempt.result.tells_nothing for attempt in attempts):
        return Standing.INCONCLUSIVE, _untried(attempts)
    if (silent := sum(attempt.result is Result.SILENT for attempt in attempts)) > 0:
        return Standing.INCONCLUSIVE, _silence(silent, len(attempts))
    return Standing.AGREES, " ".join(target.prediction.derivation)


def _because(target: Target) -> str:
    """The end of a sentence: how the prediction comes about, where the plan tells it."""
    return f": {' '.join(target.prediction.derivation)}" if target.prediction.derivation else "."


def _held_to_both(target: Target, attempts: Sequence[Attempt], seen: Address) -> tuple[Standing, str]:
    if any(attempt.result.tells_nothing for attempt in attempts):
        return Standing.INCONCLUSIVE, _untried(attempts)
    got_in, kept_out = _got_in(attempts), len(attempts) - _got_in(attempts)
    hangs = f"It depends on {listed([doubt.about for doubt in target.prediction.doubts])}."
    if got_in and kept_out:
        return Standing.DEPENDS, f"{got_in} of {len(attempts)} attempts got in. {hangs}"
    if target.protocol is Protocol.UDP and all(attempt.result is Result.SILENT for attempt in attempts):
        return Standing.INCONCLUSIVE, f"{_silence(kept_out, len(attempts))} {hangs}"
    what = "It got in" if got_in else "It did not get in"
    told = _fitting(target.prediction, seen, got_in=bool(got_in))
    return Standing.DEPENDS, f"{what}, so {told}." if told else f"{what}. {hangs}"


def _fitting(prediction: Prediction, seen: Address, *, got_in: bool) -> str:
    """What must be the case, as the eventualities have it."""
    fitting = dict.fromkeys(
        " and ".join(each.conditions) for each in prediction.eventualities if (seen in each.admitted) is got_in
    )
    return "; or ".join(conditions for conditions in fitting if conditions)


def _got_in(attempts: Iterable[Attempt]) -> int:
    return sum(attempt.result is Result.IN for attempt in attempts)


def _silence(silent: int, attempts: int) -> str:
    return (
        f"{silent} of {attempts} datagrams had no answer, which over UDP may also mean that the pod had none to give:"
        " send one that it answers (--udp-payload)."
    )


def _untried(attempts: Sequence[Attempt]) -> str:
    untried = [attempt for attempt in attempts if attempt.result.tells_nothing]
    errors = dict.fromkeys(attempt.error for attempt in untried if attempt.error)
    told = f": {'; '.join(errors)}" if errors else ""
    return f"{len(untried)} of {len(attempts)} attempts were not made to their end{told}."


def listed(parts: Sequence[str]) -> str:
    """Words in a row, as a sentence has them; at least one."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
