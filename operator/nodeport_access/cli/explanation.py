"""An explanation as sentences for a terminal.

Not the business of this module: what is explained (``explaining``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodeport_access.audit import wording
from nodeport_access.cli.output import Output
from nodeport_access.evaluate import Answer

if TYPE_CHECKING:
    from nodeport_access.explaining.asking import Ask
    from nodeport_access.explaining.explanation import Answered, Everybody, Explanation
    from nodeport_access.explaining.rulings import Told
    from nodeport_access.observed import ServicePort

_COLORS = {Answer.THROUGH: "green", Answer.REFUSED: "red", Answer.DEPENDS: "yellow"}


def show(output: Output, found: Explanation) -> None:
    """The answers for one client."""
    output.line(found.asker.sentence)
    _service(output, found.ask)
    for each in found.answers:
        output.line()
        _answer(output, each, several=len(found.asker.clients) > 1)
    for at in found.rulings:
        for told in at.told:
            output.line()
            _told(output, told)
    output.line()


def show_all(output: Output, found: Everybody) -> None:
    """Who gets in."""
    _service(output, found.ask)
    for port in found.ports:
        for cell in port.cells:
            output.line()
            output.line(f"Port {port} by {cell.way} through {_nodes(cell.nodes)}: {wording.who(cell)}", bold=True)
            if wording.why(cell):
                output.line(f"  It {wording.why(cell)}.")
            for step in cell.derivation:
                output.line(f"  {step}")
            if cell.surely and str(cell.openness) == "listed":
                output.line(f"  In for sure: {', '.join(cell.surely.texts())}")
    for service_port, inside in found.inside:
        if inside:
            output.line()
            output.line(f"Pods of the cluster to port {_name(service_port)}", bold=True)
        for each in inside:
            counts = ", ".join(f"{count} {answer}" for answer, count in sorted(each.answers.items()))
            output.line(f"  Namespace {each.namespace} by {each.by}: {counts}.")
    output.line()


def _service(output: Output, ask: Ask) -> None:
    service = ask.scene.service
    policy = f", externalTrafficPolicy {service.external_traffic_policy}" if service.external_traffic_policy else ""
    ports = ", ".join(f"{_name(port)} ({_number(port)})" for port in ask.ports)
    output.line(f"Service {service.key} is of type {service.type}{policy}; asked about: {ports}.")


def _answer(output: Output, each: Answered, *, several: bool) -> None:
    whose = f"From {each.client.address} to port" if several else "Port"
    where = f" through {_nodes(each.nodes)}" if each.nodes else ""
    verdict = each.verdict
    output.line(f"{whose} {_name(each.port)} by {each.by}{where}: {verdict.answer}", fg=_COLORS[verdict.answer])
    if verdict.sources and verdict.answer is Answer.THROUGH:
        output.line(f"  The pod sees it as {' or '.join(map(str, verdict.sources))}.")
    if not verdict.possibilities:
        for step in verdict.derivation:
            output.line(f"  {step}")
        return
    output.line(f"  It depends on {' and '.join(unknown.about for unknown in verdict.depends_on)}.")
    for one in verdict.possibilities:
        output.line(f"  If {', and '.join(one.conditions)}: {one.answer}", fg=_COLORS[one.answer])
        for step in one.derivation:
            output.line(f"    {step}")
    if keys := [unknown.key for unknown in verdict.depends_on if unknown.can_be_known]:
        output.line(f"  Who knows the cluster settles it by --assume {' or '.join(f'{key}=…' for key in keys)}.")


def _told(output: Output, told: Told) -> None:
    output.line(f"Rules at {wording.few(told.targets)}, where it comes as {wording.few(told.sources)}", bold=True)
    for policy in told.policies:
        if not policy.rules:
            output.line(f"  NetworkPolicy {policy.name} has no rule, so it admits nobody by itself.")
        for rule in policy.rules:
            because = wording.few(rule.reasons, separator="; ")
            output.line(f"  Rule {rule.number} of NetworkPolicy {policy.name} {rule.word}: {because}.")


def _nodes(nodes: tuple[str, ...]) -> str:
    return wording.few(nodes, most=5)


def _name(port: ServicePort) -> str:
    return port.name or str(port.port)


def _number(port: ServicePort) -> str:
    return f"node port {port.node_port}/{port.target.protocol}" if port.node_port else f"{port.port}"
