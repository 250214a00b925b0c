"""A probe as a record: everything that was dialled, predicted and found, in a form that outlives the terminal.

Not the business of this module: what it means (``judging``, ``findings``), or how it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nodeport_access.probe.attempts import Attempt, Bounds
from nodeport_access.probe.findings import exit_code, findings
from nodeport_access.probe.judging import Judged
from nodeport_access.probe.plans import Plan

KIND = "nodeport-access probe"
VERSION = 1
"""Of the form of the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe that was made. began: when; seconds: how long it took; program: the version that dialled."""

    plan: Plan
    judged: tuple[Judged, ...]
    began: datetime
    seconds: float
    program: str
    bounds: Bounds

    @property
    def exit_code(self) -> int:
        """See ``findings``."""
        return exit_code(self.judged)

    @property
    def findings(self) -> tuple[str, ...]:
        """What the answers show together."""
        return findings(self.plan, self.judged)


def record(probe: Probe) -> dict[str, Any]:
    """The whole of it, for JSON and YAML; addresses and times are texts, durations are seconds."""
    plan, bounds = probe.plan, probe.bounds
    return {
        "kind": KIND,
        "version": VERSION,
        "service": {"namespace": plan.service.namespace, "name": plan.service.name},
        "began": probe.began.isoformat(),
        "seconds": round(probe.seconds, 3),
        "program": probe.program,
        "bounds": {
            "attempts": bounds.attempts,
            "rate": bounds.rate,
            "timeout": bounds.timeout,
            "timeLimit": bounds.time_limit,
        },
        "plan": {
            "made": plan.made.isoformat(),
            "program": plan.program,
            "assumptions": {assumption.key: list(assumption.answers) for assumption in plan.assumptions},
            "notes": list(plan.notes),
        },
        "exitCode": probe.exit_code,
        "findings": list(probe.findings),
        "targets": [_target(each) for each in probe.judged],
    }


def _target(judged: Judged) -> dict[str, Any]:
    target = judged.target
    return {
        "way": str(target.way),
        "node": target.node,
        "address": str(target.address),
        "port": target.port,
        "protocol": str(target.protocol),
        "servicePort": target.service_port,
        "source": _text(judged.source),
        "seenAs": _text(judged.seen_as),
        "predicted": _text(judged.predicted),
        "verdict": str(judged.standing),
        "why": judged.why,
        "mixed": judged.is_mixed,
        "dependsOn": [doubt.about for doubt in target.prediction.doubts],
        "derivation": list(target.prediction.derivation),
        "attempts": [_attempt(attempt) for attempt in judged.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "result": str(attempt.result),
        "source": _text(attempt.source),
        "began": None if attempt.began is None else round(attempt.began, 3),
        "seconds": None if attempt.seconds is None else round(attempt.seconds, 4),
        "error": attempt.error,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
