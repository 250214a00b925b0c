"""What of the Helm chart is made from elsewhere: the table of values in its README, from its schema and its defaults,
and its copies of what is kept in crds/ and manifests/, because a chart holds no file from outside its folder.

Not its business: the templates, which a test holds against kustomize on the real Helm (`tests/api/test_chart.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from docs import markers

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "nodeport-access-operator"
# folder in the chart: where the files in it come from
COPIED = {
    "crds": ("crds/nodeportaccesspolicies.yaml",),
    "lock-down": (
        "manifests/components/lock-down/network-policies.yaml",
        "manifests/components/lock-down/services.yaml",
    ),
    "monitoring": (
        "manifests/monitoring/dashboard.json",
        "manifests/monitoring/prometheus-rule.yaml",
        "manifests/monitoring/service-monitor.yaml",
    ),
}

Schema = Mapping[str, Any]


def files(made: Mapping[str, str]) -> Mapping[str, str]:
    """Every file of the chart that is made, by its path from docs/, as it must be; `made` is what else is made, which
    counts more than what is there.
    """
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    found = {CHART / "README.md": markers.filled(readme, {"values": table()}, name="the chart's README.md")}
    for folder, sources in COPIED.items():
        for source in sources:
            content = made.get(f"../{source}") or (ROOT / source).read_text(encoding="utf-8")
            found[CHART / "files" / folder / Path(source).name] = content
    return {f"../{path.relative_to(ROOT)}": content for path, content in found.items()}


def table() -> str:
    """Every value with its default and what it is for."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    rows = [
        f"| `{name}` | `{json.dumps(_default(defaults, name), ensure_ascii=False)}` | {described['description']} |\n"
        for name, described in leaves(schema)
        if name != "global"
    ]
    return "| value | default | what it is |\n|---|---|---|\n" + "".join(rows)


def leaves(schema: Schema, above: str = "") -> Iterator[tuple[str, Schema]]:
    """Every value that is no group of values, by its dotted name."""
    for name, described in schema["properties"].items():
        if set(described) >= {"properties", "additionalProperties"} and described["additionalProperties"] is False:
            yield from leaves(described, f"{above}{name}.")
        else:
            yield f"{above}{name}", described


def _default(defaults: Any, name: str) -> Any:
    for part in name.split("."):
        defaults = defaults[part]
    return defaults
