"""What a whole probe comes to: its sentences, and the exit code.

Not the business of this module: a single target (``judging``), or how it is printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nodeport_access.cidrs import Address
from nodeport_access.evaluate import Answer
from nodeport_access.probe.attempts import Result
from nodeport_access.probe.judging import Judged, Standing, listed
from nodeport_access.probe.plans import Plan, Target

AGREED, LEAKED, UNPROVEN = 0, 1, 3
"""Exit codes; 2 is wrong use."""


def exit_code(judged: Sequence[Judged]) -> int:
    """LEAKED where something leaks, AGREED where everything agrees, UNPROVEN else."""
    standings = {each.standing for each in judged}
    if Standing.LEAKS in standings:
        return LEAKED
    return AGREED if standings == {Standing.AGREES} else UNPROVEN


def findings(plan: Plan, judged: Sequence[Judged]) -> tuple[str, ...]:
    """A sentence or two on each thing that the answers show together, the count first."""
    return tuple(_findings(plan, judged))


def _findings(plan: Plan, judged: Sequence[Judged]) -> Iterator[str]:
    counted = Counter(each.standing for each in judged)
    told = ", ".join(
        f"{counted[standing]} {_verb(standing, counted[standing])}" for standing in Standing if counted[standing]
    )
    yield f"Of {_number(len(judged), 'target')}, dialled from {_sources(judged)}: {told}."
    if unmade := [each for each in judged if each.count(Result.NOT_DIALLED, Result.CUT_OFF)]:
        yield (
            f"The time limit left {_number(len(unmade), 'target')} without all attempts: raise --time-limit or --rate."
        )
    if counted[Standing.NOT_PREDICTED]:
        yield (
            "Of this source the plan says nothing: dial from a machine outside the cluster that the plan is for, give"
            " --seen-as if the nodes see another address, or ask `nodeport-access explain` about a node or a pod."
        )
    if flags := _settling(judged):
        yield f"What it depends on, {listed(flags)} would settle when the plan is made."
    yield from _on_enforcement(plan, judged)
    through = [each for each in judged if each.predicted is Answer.THROUGH]
    if through and not any(each.got_in for each in judged):
        yield (
            f"Nothing got in, although {_number(len(through), 'target')} should let this source in. Perhaps the network"
            " between, a firewall or a NAT is in the way: see that the nodes can be reached, and give --seen-as if they"
            " see another address."
        )


def _settling(judged: Sequence[Judged]) -> list[str]:
    """The flags that say what the predictions of these targets hang on."""
    doubts = (doubt for each in judged if each.predicted is Answer.DEPENDS for doubt in each.target.prediction.doubts)
    return list(dict.fromkeys(f"--assume {doubt.key}=..." for doubt in doubts if doubt.key))


def _on_enforcement(plan: Plan, judged: Sequence[Judged]) -> Iterator[str]:
    """NetworkPolicy is put to the test where it alone keeps the source out; where the proxy drops the connection, or
    the source is let in, nothing is shown."""
    refused = [each for each in judged if each.predicted is Answer.REFUSED]
    tested = [each for each in judged if each.seen_as and each.target.prediction.hangs_on_enforcement(each.seen_as)]
    tested = [each for each in tested if each.predicted is Answer.REFUSED and (each.got_in or each.was_kept_out)]
    open_ones = [each for each in tested if each.got_in]
    if not tested:
        if refused or any(each.predicted is Answer.THROUGH for each in judged):
            yield (
                "No answer here shows whether NetworkPolicy is enforced: that takes a source that NetworkPolicy alone"
                " keeps out, and a target that answers."
            )
        return
    sources = _sources(tested)
    targets = _number(len(tested), "target")
    if all(each.got_in == len(each.attempts) for each in tested):
        yield (
            f"NetworkPolicy is not enforced on this path: {sources} got in at every target where it alone is to refuse"
            f" that ({targets}). {_caveat(plan)}"
        )
    elif open_ones:
        yield (
            f"NetworkPolicy does not hold everywhere: {sources} got in by {_places(each.target for each in open_ones)},"
            f" and it alone is to refuse that. {_caveat(plan)}"
        )
    else:
        yield (
            f"NetworkPolicy alone is to refuse {sources} at {targets}, and nothing got in there. An allowed address"
            " that gets in by the same targets shows that this is NetworkPolicy, and not the network between."
        )


def _caveat(plan: Plan) -> str:
    return (
        "Unless the nodes see another address (a NAT between: --seen-as), or somebody has changed the objects since"
        f" {plan.made:%Y-%m-%d %H:%M:%S %Z}, when they were read."
    )


def _places(targets: Iterable[Target]) -> str:
    names = list(dict.fromkeys(target.node or str(target.address) for target in targets))
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _sources(judged: Iterable[Judged]) -> str:
    found: dict[Address, Address] = {each.seen_as: each.source for each in judged if each.seen_as and each.source}
    told = [str(seen) if seen == source else f"{source} (seen as {seen})" for seen, source in found.items()]
    return " and ".join(told) or "no address"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _verb(standing: Standing, count: int) -> str:
    """Agrees and leaks are verbs, the others are not."""
    verbs = {Standing.AGREES: "agree", Standing.LEAKS: "leak", Standing.DEPENDS: "depend"}
    return str(standing) if count == 1 else verbs.get(standing, str(standing))
