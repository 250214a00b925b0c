"""An audit for programs: the schema that docs/audit.md describes.

Within one version fields are added, and none is taken away or given another meaning. Not the business of this module:
how a document is written (YAML or JSON).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from nodeport_access.audit.openness import Openness
from nodeport_access.audit.report import CLAIM, Cell, Guard, PortReport, Report, ServiceReport, Trap
from nodeport_access.conditions import timestamp

API_VERSION, KIND = "audit.nodeport-access.io/v1", "NodePortAudit"


def document(report: Report) -> dict[str, Any]:
    """The whole report."""
    ranks = Counter(port.openness for _, port in report.rows)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "madeAt": timestamp(report.made_at),
        "source": report.source,
        "claim": CLAIM,
        "assumed": list(report.assumed),
        "notes": list(report.notes),
        "nodes": list(report.nodes),
        "summary": {
            **{str(one): ranks[one] for one in Openness},
            "traps": len(report.all_traps),
        },
        "services": [_service(service) for service in report.services],
        "traps": [_trap(trap) for trap in report.traps],
    }


def _service(service: ServiceReport) -> dict[str, Any]:
    return {
        "namespace": service.key.namespace,
        "name": service.key.name,
        "type": service.type,
        "externalTrafficPolicy": service.external_traffic_policy,
        "openness": str(service.openness),
        "place": {"source": service.place.source, "line": service.place.line},
        "guard": _guard(service.guard) if service.guard is not None else None,
        "ports": [port_document(port) for port in service.ports],
        "traps": [_trap(trap) for trap in service.traps],
    }


def _guard(guard: Guard) -> dict[str, Any]:
    return {
        "policy": guard.policy.name,
        "mode": guard.mode,
        "ready": guard.ready,
        "reason": guard.reason,
        "message": guard.message,
    }


def port_document(port: PortReport) -> dict[str, Any]:
    """One port of a Service, with every way in."""
    return {
        "name": port.name,
        "port": port.port,
        "protocol": port.protocol,
        "nodePort": port.node_port or None,
        "openness": str(port.openness),
        "surely": list(port.surely.texts()),
        "perhaps": list(port.perhaps.texts()),
        "dependsOn": [unknown.key for unknown in port.depends_on],
        "ways": [_cell(cell) for cell in port.cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "way": str(cell.way),
        "nodes": list(cell.nodes),
        "hasPod": cell.has_pod,
        "openness": str(cell.openness),
        "surely": list(cell.surely.texts()),
        "perhaps": list(cell.perhaps.texts()),
        "dependsOn": [unknown.key for unknown in cell.depends_on],
        "derivation": list(cell.derivation),
    }


def _trap(trap: Trap) -> dict[str, Any]:
    return {
        "id": str(trap.kind),
        "severity": str(trap.severity),
        "message": trap.message,
        "wayOut": trap.way_out,
        "object": trap.object,
        "place": {"source": trap.place.source, "line": trap.place.line},
    }
