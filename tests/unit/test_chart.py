"""The Helm chart as files: one version, one source, and a schema that knows every value.

Not the business of this module: what the real Helm makes of it (tests/api/test_chart.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from docs.chart_page import CHART, COPIED, ROOT, leaves
from tests.shipped import pyproject

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def described(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a value in it, by where it is."""
    for name, value in schema.get("properties", {}).items():
        if isinstance(value, dict):
            yield f"{path}/{name}", value
            yield from described(value, f"{path}/{name}")
    if isinstance(schema.get("items"), dict):
        yield from described(schema["items"], f"{path}[]")


def test_chart_and_operator_have_the_projects_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = pyproject()["project"]

    assert chart["name"] == project["name"]
    assert (chart["version"], chart["appVersion"]) == (project["version"], project["version"])


def test_copies_have_a_source_each() -> None:
    copies = {str(file.relative_to(CHART / "files")) for file in (CHART / "files").rglob("*") if file.is_file()}

    assert copies == {f"{folder}/{Path(source).name}" for folder, sources in COPIED.items() for source in sources}
    assert {f"crds/{file.name}" for file in (ROOT / "crds").iterdir()} <= copies


def test_the_schema_is_one_and_takes_the_defaults() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


def test_every_value_is_described() -> None:
    assert [path for path, schema in described(SCHEMA) if len(schema.get("description", "")) < 10] == []


def test_no_group_of_values_takes_names_that_nobody_knows() -> None:
    groups = {path: schema for path, schema in [("", SCHEMA), *described(SCHEMA)] if "properties" in schema}

    assert groups
    assert [path for path, schema in groups.items() if "additionalProperties" not in schema] == []


def test_every_value_has_a_default_and_every_default_is_a_value() -> None:
    def named(values: Any, names: set[str], above: str = "") -> Iterator[str]:
        for name, value in values.items():
            path = f"{above}{name}"
            if path in names or not isinstance(value, dict):
                yield path
            else:
                yield from named(value, names, f"{path}.")

    known = {name for name, _ in leaves(SCHEMA)} - {"global"}
    assert set(named(VALUES, known)) == known
