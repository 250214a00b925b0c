"""`python -m tests.oracles.np_guard [PATH] [--figures FILE]`: np-guard's test folders, asked of our evaluator.

Exit codes: 0, 1 where something differs, 2 with one sentence for a wrong command line or path.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.oracles.np_guard import published, report
from tests.oracles.np_guard.comparison import OUTPUTS, compare


def main(words: list[str]) -> int:
    """Runs all folders, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracles.np_guard", description=__doc__.splitlines()[0])
    parser.add_argument(
        "path", nargs="?", type=Path, help="np-guard's folder tests/; by default the one in the pinned Go module"
    )
    parser.add_argument("--figures", type=Path, help="write the table for docs/ to this file")
    arguments = parser.parse_args(words)
    path = arguments.path or published.tests()
    if isinstance(path, str):
        print(f"{path}: name np-guard's folder tests/ instead", file=sys.stderr)
        return 2
    if not path.is_dir() or not (path.parent / OUTPUTS).is_dir():
        print(f"{path}: not a folder with np-guard's expectations beside it, in {OUTPUTS}", file=sys.stderr)
        return 2
    outcomes = list(compare(path))
    lines = list(report.table(outcomes))
    if arguments.figures:
        arguments.figures.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    for outcome in outcomes:
        for difference in outcome.differences:
            print(f"{outcome.name}: {difference}")
    return 1 if any(outcome.differences for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
