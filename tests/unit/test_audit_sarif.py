"""An audit as SARIF: valid by the official schema, at file and line, with fingerprints that stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from nodeport_access.audit import audit
from nodeport_access.audit.sarif import sarif
from tests.unit.audits import ALL, BARE, ENTRIES, NOW, cluster

SCHEMA = Path(__file__).with_name("sarif") / "sarif-schema-2.1.0.json"


def log_of(folder: Path, *texts: str) -> dict[str, Any]:
    return sarif(audit(cluster(folder, *texts), now=NOW, source="files"))


@pytest.mark.parametrize("texts", [ALL, ()], ids=["everything", "nothing"])
def test_it_is_valid_by_the_official_schema(tmp_path: Path, texts: tuple[str, ...]) -> None:
    log = json.loads(json.dumps(log_of(tmp_path, *texts)))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    errors = list(jsonschema.Draft4Validator(schema).iter_errors(log))
    assert errors == []
    log["runs"][0]["results"] = "none"
    assert list(jsonschema.Draft4Validator(schema).iter_errors(log)), "the schema refuses nothing"


def test_each_result_has_a_rule_and_the_file_and_line_of_its_object(tmp_path: Path) -> None:
    (run,) = log_of(tmp_path, *ALL)["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    lines = (tmp_path / "cluster.yaml").read_text(encoding="utf-8").splitlines()
    assert {result["ruleId"] for result in run["results"]} == rules
    for result in run["results"]:
        (location,) = result["locations"]
        where = location["physicalLocation"]
        assert where["artifactLocation"]["uri"] == (tmp_path / "cluster.yaml").as_uri()
        assert lines[where["region"]["startLine"] - 1].strip()


def test_fingerprints_differ_and_stay_when_lines_move(tmp_path: Path) -> None:
    def prints(*texts: str) -> list[str]:
        results = log_of(tmp_path, *texts)["runs"][0]["results"]
        return sorted(result["partialFingerprints"]["nodeportAccess/v1"] for result in results)

    before = prints(*BARE, *ENTRIES)
    assert len(set(before)) == len(before) == 3
    assert prints(*ENTRIES, *BARE) == before
