"""Writes the pages, and the parts of pages and pictures, that are made from the code: `python -m docs.generate`.

A test holds what is there against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from docs import (
    audit_page,
    benchmarks_page,
    chart_page,
    command_line_page,
    conditions_page,
    dashboard,
    dependencies_page,
    evaluator_page,
    faq_page,
    lab_page,
    monitoring_page,
    oracles_page,
    policy_page,
)

HERE = Path(__file__).parent


def pages() -> Mapping[str, str]:
    """Every file that is made, by its path from docs/, as it must be."""
    made = {
        "audit.md": audit_page.filled(_text("audit.md")),
        "benchmarks.md": benchmarks_page.filled(_text("benchmarks.md")),
        "conditions.md": conditions_page.page(),
        "dependencies.md": dependencies_page.page(),
        "evaluator.md": evaluator_page.filled(_text("evaluator.md")),
        "faq.md": faq_page.filled(_text("faq.md")),
        "lab.md": lab_page.filled(_text("lab.md"), figures=_text("lab-figures.txt").splitlines()),
        "lab-node-ports.svg": lab_page.overview(),
        "metrics.md": monitoring_page.metrics(),
        "monitoring.md": monitoring_page.filled(_text("monitoring.md")),
        "../manifests/monitoring/dashboard.json": dashboard.dashboard(),
        "../manifests/monitoring/prometheus-rule.yaml": monitoring_page.rule_object(),
        "sample-audit.html": audit_page.sample(),
        "oracles.md": oracles_page.filled(_text("oracles.md"), figures=_text("np-guard-figures.txt").splitlines()),
        "reference/command-line.md": command_line_page.page(),
        "reference/policy.md": policy_page.page(),
    }
    return {**made, **chart_page.files(made)}


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, content in pages().items():
        (HERE / name).write_text(content, encoding="utf-8")
