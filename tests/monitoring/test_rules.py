"""The rules by promtool, by their full measure; and whatever speaks of a metric speaks of one that there is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from docs.monitoring_page import alerts, recordings, rule_object, rules
from nodeport_access.metric_families import FAMILIES
from nodeport_access.metrics import Format
from testbed.prometheus import AMTOOL, PROMTOOL, Json, find
from tests.monitoring.expressions import MONITORING, declared, names, panels, queries
from tests.unit.test_metrics import everything

ROOT = MONITORING.parents[1]
HERE = Path(__file__).parent
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ("What it means", "Who may get in", "How to look", "How to mend it", "When it is a false alarm")


def ran(program: str, *words: str | Path, stdin: bytes = b"") -> str:
    """What a program says, which has to find nothing wrong."""
    done = subprocess.run([str(find(program)), *map(str, words)], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    said = ran(PROMTOOL, "check", "rules", "--lint=all", "--lint-fatal", MONITORING / "rules.yaml")
    assert f"{len(alerts()) + len(recordings())} rules found" in said


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_each_alert_fires_when_it_should_and_not_otherwise(rule: Json) -> None:
    file = HERE / "rules" / f"{rule['alert']}.yaml"
    text = file.read_text(encoding="utf-8")
    assert f'alertname="{rule["alert"]}"' in text
    assert "exp_samples: []" in text, "also when it does not"
    assert 'instance="b"' in text, "with two replicas too"
    ran(PROMTOOL, "test", "rules", file)


def test_there_is_no_test_of_an_alert_that_is_gone() -> None:
    assert {file.stem for file in (HERE / "rules").iterdir()} == {rule["alert"] for rule in alerts()}


def test_a_rule_that_is_wrong_fails_its_test(tmp_path: Path) -> None:
    content = (MONITORING / "rules.yaml").read_text(encoding="utf-8")
    (tmp_path / "rules.yaml").write_text(content.replace("< 300", "< 30"), encoding="utf-8")
    case = yaml.safe_load((HERE / "rules" / "NodePortAccessDriftOpenedAccess.yaml").read_text(encoding="utf-8"))
    (tmp_path / "case.yaml").write_text(yaml.safe_dump({**case, "rule_files": ["rules.yaml"]}), encoding="utf-8")
    with pytest.raises(AssertionError, match="FAILED"):
        ran(PROMTOOL, "test", "rules", tmp_path / "case.yaml")


def test_promtool_finds_nothing_wrong_with_the_metrics() -> None:
    metrics, seen = everything()
    assert ran(PROMTOOL, "check", "metrics", stdin=metrics.render(seen)) == ""


def test_prometheus_reads_openmetrics_without_a_complaint(tmp_path: Path) -> None:
    metrics, seen = everything()
    text = metrics.render(seen, format=Format.OPENMETRICS).decode()
    # What promtool makes blocks of needs times; the parser is the one that scrapes.
    timed = re.sub(r"^([^#].*)$", r"\1 1700000000", text, flags=re.MULTILINE)
    (tmp_path / "exposition").write_text(timed, encoding="utf-8")
    ran(PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", tmp_path / "exposition", tmp_path / "blocks")


def test_prometheus_takes_the_configuration_in_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n# prometheus.yml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "nodeport-access").mkdir()
    shutil.copy(MONITORING / "rules.yaml", tmp_path / "nodeport-access")
    configuration = yaml.safe_load(shown)
    # Debian builds Prometheus without the discovery of pods, and takes this for an unknown field.
    assert configuration["scrape_configs"][0].pop("kubernetes_sd_configs")[0]["role"] == "pod"
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    said = ran(PROMTOOL, "check", "config", tmp_path / "prometheus.yml")
    assert f"{len(alerts()) + len(recordings())} rules found" in said


def test_alertmanager_takes_the_configuration() -> None:
    assert "SUCCESS" in ran(AMTOOL, "check-config", MONITORING / "alertmanager.yaml")


def test_both_forms_of_the_rules_say_the_same() -> None:
    body = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text(encoding="utf-8"))
    assert body["spec"] == rules()
    assert body == yaml.safe_load(rule_object())


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_how_grave_it_is_and_has_a_runbook(rule: Json) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page = ROOT / rule["annotations"]["runbook_url"]
    assert page == RUNBOOKS / f"{rule['alert']}.md"
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {rule['alert']}\n")
    assert tuple(re.findall(r"^## (.+)$", text, flags=re.MULTILINE)) == SECTIONS
    if rule["alert"] != "NodePortAccessOperatorDown":
        assert "```console" in text


def test_there_is_no_runbook_of_an_alert_that_is_gone() -> None:
    assert {page.stem for page in RUNBOOKS.iterdir()} == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_replicas_do_not_make_an_alert_twice(rule: Json) -> None:
    (outer,) = re.findall(r"^(?:time\(\) - )?(max|min|absent)\b", rule["expr"])
    assert outer
    labels = {label for group in re.findall(r"(?:max|min) by \(([^)]*)\)", rule["expr"]) for label in group.split(", ")}
    assert not labels & {"instance", "pod"}


def recorded() -> set[str]:
    return {rule["record"] for rule in recordings()}


def spoken_of() -> dict[str, set[str]]:
    """Series by where they are spoken of."""
    rules = [(rule["alert"], rule) for rule in alerts()] + [(rule["record"], rule) for rule in recordings()]
    found = {name: names(rule["expr"]) for name, rule in rules}
    for panel in panels():
        for query in queries(panel, interval="5m"):
            found.setdefault(f"panel {query.panel}", set()).update(names(query.expression))
    for page in (*RUNBOOKS.iterdir(), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"):
        text = page.read_text(encoding="utf-8")
        found[page.name] = set(re.findall(r"\bnodeport_access_\w+", text)) - {"nodeport_access_"}
    return found


@pytest.mark.parametrize(("where", "series"), spoken_of().items(), ids=spoken_of().keys())
def test_every_series_that_is_spoken_of_is_one_that_there_is(where: str, series: set[str]) -> None:
    in_prose = {family.name for family in FAMILIES} | {name.split(":")[1] for name in recorded()}
    assert series <= declared() | recorded() | (in_prose if where.endswith(".md") else set())
