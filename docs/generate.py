"""Writes the page that is made from the code: `conditions.md`, from the enum of reasons. A test holds its output."""

from __future__ import annotations

import sys
from pathlib import Path

from nodeport_access.reasons import Reason, Weight

HEAD = """# Conditions and reasons

Made from the code by `make docs`; the README says what each condition type means. Where several things are wrong,
`Ready` carries the one that needs a person before one that passes by itself.

| reason | what it means, and the way out | when it is the worst finding |
|---|---|---|
"""


def conditions() -> str:
    """The page of all reasons, in the order of the enum."""
    return HEAD + "".join(f"| `{reason}` | {reason.sentence} | {MEANING[reason.weight]} |\n" for reason in Reason)


MEANING = {
    Weight.GOOD: "nothing is wrong",
    Weight.WARNING: "a warning: Ready stays as it is",
    Weight.ASKED: "not Ready, as asked for",
    Weight.PASSING: "not Ready; passes by itself: Reconciling",
    Weight.LASTING: "not Ready until a person mends it: Stalled",
}

if __name__ == "__main__":
    target = Path(__file__).with_name("conditions.md")
    if "--check" in sys.argv:
        sys.exit(0 if target.read_text(encoding="utf-8") == conditions() else f"{target} is old: run make docs")
    target.write_text(conditions(), encoding="utf-8")
