"""The tables of `evaluator.md`: what the evaluator does not know, and what it knows of a CNI by its name.

Not its business: the prose, which stands in the page itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from docs import markers
from nodeport_access.evaluate.cni import CNIS
from nodeport_access.evaluate.unknowns import DEFAULT, Unknown


def filled(page: str) -> str:
    """The page with the parts between its markers made anew. Raises ValueError where a marker is missing."""
    parts = {"unknowns": _unknowns(), "CNIs": _cnis()}
    made = {name: "".join(f"{line}\n" for line in lines) for name, lines in parts.items()}
    return markers.filled(page, made, name="evaluator.md")


def _unknowns() -> Iterator[str]:
    yield "| unknown | what it is | answers |"
    yield "|---|---|---|"
    for unknown in Unknown:
        yield f"| `{unknown.key}` | {unknown.about} | {'; '.join(_answers(unknown))} |"


def _answers(unknown: Unknown) -> Iterator[str]:
    if not unknown.can_be_known:
        yield "no flag: it is another one for every connection, or in the pod's own spec"
        return
    taken = DEFAULT.get(unknown, frozenset())
    for option in unknown.options:
        yield f"`{option}`: {unknown.sentence(option)}{' (taken for granted)' if option in taken else ''}"


def _cnis() -> Iterator[str]:
    yield "| `--cni` | settles | where that is said |"
    yield "|---|---|---|"
    for cni in CNIS:
        settled = "; ".join(f"`{unknown.key}={answer}`" for unknown, answer in cni.settled.items())
        yield f"| `{cni.name}` | {settled} | {' '.join(f'<{source}>' for source in cni.sources)} |"
