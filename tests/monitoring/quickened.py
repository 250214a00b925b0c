"""The shipped rules, quickened, so that a test need not wait for minutes: `for` and ranges take a sixtieth.

So does the time for which a drift is told. Every other number of seconds in the rules is compared with an age of the
operator's own, which passes as it does, or with the end of an entry, and stays. What this leaves unproven, thresholds
and waiting times by their full measure, `promtool test rules` has (tests/monitoring/rules).
"""

from __future__ import annotations

import copy
import re
from typing import Any

FACTOR = 60
SECONDS = {"s": 1, "m": 60, "h": 3600}
DRIFT = "NodePortAccessDriftOpenedAccess"
DRIFT_TOLD = "< 300"


def quickened(rules: dict[str, Any]) -> dict[str, Any]:
    """The same rules with shorter times."""
    rules = copy.deepcopy(rules)
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda range: f"[{_shorter(range[1])}]", rule["expr"])
            if "for" in rule:
                rule["for"] = _shorter(rule["for"])
            if rule.get("alert") == DRIFT:
                assert rule["expr"].endswith(DRIFT_TOLD)
                rule["expr"] = rule["expr"].removesuffix(DRIFT_TOLD) + f"< {300 // FACTOR}"
    return rules


def _shorter(duration: str) -> str:
    return f"{int(duration[:-1]) * SECONDS[duration[-1]] // FACTOR}s"
