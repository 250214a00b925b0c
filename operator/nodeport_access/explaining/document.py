"""An explanation for programs: the schema that docs/explain.md describes.

Not the business of this module: how a document is written (YAML or JSON).
"""

from __future__ import annotations

from typing import Any

from nodeport_access.audit.document import port_document
from nodeport_access.evaluate import Verdict
from nodeport_access.explaining.asking import Ask
from nodeport_access.explaining.explanation import Answered, Everybody, Explanation, RulingsAt
from nodeport_access.explaining.rulings import Told
from nodeport_access.observed import ServicePort

API_VERSION, KIND = "explain.nodeport-access.io/v1", "NodePortExplanation"


def document(found: Explanation | Everybody, *, source: str, assumed: tuple[str, ...]) -> dict[str, Any]:
    """The whole of it."""
    head = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "source": source,
        "assumed": list(assumed),
        "service": _service(found.ask),
    }
    if isinstance(found, Everybody):
        return head | {
            "ports": [port_document(port) for port in found.ports],
            "inside": [
                {
                    "port": _port(port),
                    "namespace": each.namespace,
                    "by": str(each.by),
                    "answers": {str(answer): count for answer, count in each.answers.items()},
                }
                for port, inside in found.inside
                for each in inside
            ],
        }
    return head | {
        "client": {
            "addresses": [str(client.address) for client in found.asker.clients],
            "sentence": found.asker.sentence,
        },
        "answers": [_answered(each) for each in found.answers],
        "rulings": [_rulings(each) for each in found.rulings],
    }


def _service(ask: Ask) -> dict[str, Any]:
    service = ask.scene.service
    return {
        "namespace": service.key.namespace,
        "name": service.key.name,
        "type": service.type,
        "externalTrafficPolicy": service.external_traffic_policy or None,
    }


def _port(port: ServicePort) -> dict[str, Any]:
    return {
        "name": port.name,
        "port": port.port,
        "protocol": port.target.protocol,
        "nodePort": port.node_port or None,
    }


def _answered(each: Answered) -> dict[str, Any]:
    return {
        "address": str(each.client.address),
        "port": _port(each.port),
        "by": str(each.by),
        "nodes": list(each.nodes),
        **_verdict(each.verdict),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "answer": str(verdict.answer),
        "seenAs": [str(address) for address in verdict.sources],
        "derivation": list(verdict.derivation) if not verdict.possibilities else [],
        "dependsOn": [unknown.key for unknown in verdict.depends_on],
        "possibilities": [
            {"if": list(one.conditions), "answer": str(one.answer), "derivation": list(one.derivation)}
            for one in verdict.possibilities
        ],
    }


def _rulings(at: RulingsAt) -> dict[str, Any]:
    return {"address": str(at.client.address), "port": _port(at.port), "places": [_told(each) for each in at.told]}


def _told(each: Told) -> dict[str, Any]:
    return {
        "targets": list(each.targets),
        "comesAs": list(each.sources),
        "networkPolicies": [
            {
                "name": policy.name,
                "rules": [
                    {"number": rule.number, "says": str(rule.word), "because": list(rule.reasons)}
                    for rule in policy.rules
                ],
            }
            for policy in each.policies
        ],
    }
