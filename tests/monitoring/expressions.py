"""Expressions of the rules and of the dashboard, as they are asked of a Prometheus by hand.

Not the business of this module: asking.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodeport_access.metric_families import FAMILIES

MONITORING = Path(__file__).resolve().parents[2] / "manifests" / "monitoring"
ALERTS = "ALERTS"
"""The series that Prometheus itself makes of alerts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel; ``at_once`` for its value now, else over time."""

    panel: str
    expression: str
    legend: str
    at_once: bool


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    return found


def queries(panel: dict[str, Any], *, interval: str) -> Iterator[Query]:
    """With every namespace chosen, and so long an interval for rates."""
    for target in panel.get("targets", ()):
        expression = target["expr"].replace("$namespace", ".*").replace("$__rate_interval", interval)
        assert "$" not in expression, expression
        yield Query(
            panel=panel["title"], expression=expression, legend=target["legendFormat"], at_once=target["instant"]
        )


def uncompared(expression: str) -> str:
    """An alert's expression without its comparison with a number, those inside of brackets aside, and without asking
    for what is absent."""
    return re.sub(r"\s(?:[<>]|==)\s\d+(?!\))|^absent", "", expression)


def names(expression: str) -> set[str]:
    """The series that an expression speaks of: words of ours, of the process, and of recording rules."""
    return set(re.findall(r"(?:[\w:]+:)?(?:nodeport_access|process)_[\w:]+", expression))


def declared() -> set[str]:
    """Every series that the operator exposes."""
    return {name for family in FAMILIES for name in family.series}
