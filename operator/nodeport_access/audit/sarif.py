"""An audit as SARIF 2.1.0, for code scanning: a result for each port that is open, or may be, and for each trap.

A result has file and line where the object comes from a file, and its name where from a cluster. Fingerprints hold
names alone, so that a result stays the same when lines move. Not the business of this module: what is found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from nodeport_access import __version__
from nodeport_access.audit import wording
from nodeport_access.audit.openness import Openness
from nodeport_access.audit.report import Place, PortReport, Report, ServiceReport, Severity, Trap, TrapKind
from nodeport_access.conditions import timestamp

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_OPEN_RULES = {Openness.OPEN: ("open-to-everyone", "error"), Openness.PERHAPS: ("may-be-open-to-everyone", "warning")}
_LEVELS = {Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}


def sarif(report: Report) -> dict[str, Any]:
    """The whole log: one run."""
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "columnKind": "unicodeCodePoints",
                "invocations": [{"executionSuccessful": True, "endTimeUtc": timestamp(report.made_at)}],
                "results": [*_ports(report), *(_trap(trap) for trap in report.all_traps)],
            }
        ],
    }


def _driver() -> dict[str, Any]:
    rules = [(name, rank.sentence) for rank, (name, _) in _OPEN_RULES.items()]
    rules += [(str(kind), kind.sentence) for kind in TrapKind]
    return {
        "name": "nodeport-access",
        "semanticVersion": __version__,
        "rules": [
            {"id": name, "shortDescription": {"text": sentence}, "fullDescription": {"text": sentence}}
            for name, sentence in rules
        ],
    }


def _ports(report: Report) -> Iterator[dict[str, Any]]:
    for service, port in report.rows:
        if (rule := _OPEN_RULES.get(port.openness)) is not None:
            name, level = rule
            yield _result(name, level, _message(service, port), service.place, f"Service {service.key}", str(port))


def _message(service: ServiceReport, port: PortReport) -> str:
    number = f" (node port {port.node_port}/{port.protocol})" if port.node_port else ""
    depends = f"; it {wording.why(port)}" if port.depends_on else ""
    lets_in = f"lets in {wording.who(port)} through {wording.through(port)}"
    return f"Port {port} of Service {service.key}{number} {lets_in}{depends}."


def _trap(trap: Trap) -> dict[str, Any]:
    message = f"{trap.message} {trap.way_out}"
    return _result(str(trap.kind), _LEVELS[trap.severity], message, trap.place, trap.object, trap.mark)


def _result(rule: str, level: str, message: str, place: Place, named: str, mark: str) -> dict[str, Any]:
    kind, _, name = named.partition(" ")
    location: dict[str, Any] = {
        "logicalLocations": [{"name": name.rpartition("/")[2], "fullyQualifiedName": named, "kind": kind.lower()}]
    }
    if place.line:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(place.source)},
            "region": {"startLine": place.line},
        }
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {"nodeportAccess/v1": _fingerprint(rule, named, mark)},
    }


def _uri(source: str) -> str:
    path = PurePosixPath(source)
    return path.as_uri() if path.is_absolute() else quote(str(path))


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
