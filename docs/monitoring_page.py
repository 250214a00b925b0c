"""What is made of the metrics and the rules: the table of metrics, the tables of `monitoring.md`, and the rules as an
object of the Prometheus Operator.

Not its business: the metrics (`nodeport_access.metric_families`), the rules (`manifests/monitoring/rules.yaml`), the
dashboard (`docs.dashboard`), and the prose, which stands in the page itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from docs import markers
from nodeport_access.metric_families import FAMILIES, Family

RULES = Path(__file__).resolve().parent.parent / "manifests" / "monitoring" / "rules.yaml"
RUNBOOKS = "runbooks"

METRICS_HEAD = """# Metrics

Made from the code by `make docs`. `/metrics` answers in Prometheus' text format, and in OpenMetrics 1.0.0 to whoever
asks for it, without exemplars. Gauges about objects are made when Prometheus asks, so a series ends with its object.
Counters begin with the process; drifts, of which one is already too many, from nought for every kind and field.
[monitoring.md](monitoring.md) says how to have them scraped, and what to be alerted of.

| metric | type | labels | what it tells | how many series | what to do |
|---|---|---|---|---|---|
"""

RULE_HEAD = "# Made from rules.yaml by `make docs`: the same rules, for the Prometheus Operator.\n"


def metrics() -> str:
    """The page of all metrics."""
    return METRICS_HEAD + "".join(map(_metric, FAMILIES))


def _metric(family: Family) -> str:
    names = family.series if family.type != "histogram" else (family.name,)
    labels = ", ".join(f"`{label}`" for label in family.labels)
    cells = (f"`{names[0]}`", family.type, labels, family.help, family.bound, family.remedy)
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|\n"


def rules() -> dict[str, Any]:
    """The rules as Prometheus reads them."""
    content: dict[str, Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return content


def alerts() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"] if "alert" in rule]


def recordings() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"] if "record" in rule]


def rule_object() -> str:
    """The rules as a PrometheusRule (monitoring.coreos.com/v1)."""
    name = "nodeport-access-operator"
    metadata = {"name": name, "namespace": "nodeport-access-system", "labels": {"app.kubernetes.io/name": name}}
    body = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": rules()}
    return RULE_HEAD + yaml.safe_dump(body, sort_keys=False, width=120)


def filled(page: str) -> str:
    """The page `monitoring.md` with its tables made anew. Raises ValueError where a marker is missing."""
    parts = {"alerts": _table(_alerts()), "recording rules": _table(_recordings())}
    return markers.filled(page, parts, name="monitoring.md")


def _table(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _alerts() -> Iterator[str]:
    yield "| alert | severity | fires after | what it says |"
    yield "|---|---|---|---|"
    for rule in alerts():
        link = f"[{rule['alert']}]({RUNBOOKS}/{rule['alert']}.md)"
        summary = rule["annotations"]["summary"]
        for label in ("namespace", "policy", "service", "resource", "network_policy"):
            summary = summary.replace(f"{{{{ $labels.{label} }}}}", f"*{label}*")
        yield f"| {link} | {rule['labels']['severity']} | {rule.get('for', 'at once')} | {summary} |"


def _recordings() -> Iterator[str]:
    yield "| series | of |"
    yield "|---|---|"
    for rule in recordings():
        yield f"| `{rule['record']}` | `{rule['expr']}` |"
