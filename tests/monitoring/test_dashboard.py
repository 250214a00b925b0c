"""The dashboard as a file: Grafana's own library reads all of it, and every panel says what it shows."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from docs.monitoring_page import alerts
from tests.monitoring.expressions import ALERTS, MONITORING, panels, queries


def read_by_grafana(content: dict[str, Any]) -> Any:
    """What Grafana's library understands of a dashboard, written out again with its defaults."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(content)))


def kept(ours: object, theirs: object) -> bool:
    """Whether all that we say is there, whatever else there is."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(key in theirs and kept(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(kept, ours, theirs))
    return ours == theirs


def test_grafanas_own_library_knows_every_field_and_changes_none() -> None:
    content = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    assert kept(content, read_by_grafana(content))


def test_a_field_that_grafana_does_not_know_is_noticed() -> None:
    content = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    stat = next(panel for panel in content["panels"] if panel["type"] == "stat")
    stat["options"]["colourMode"] = "value"
    assert not kept(content, read_by_grafana(content))


def test_every_panel_says_what_it_shows_and_in_which_unit() -> None:
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24


def test_panels_do_not_cover_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        grid = panel["gridPos"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_alerts_are_looked_for_by_a_name_that_they_have() -> None:
    asked = [query.expression for panel in panels() for query in queries(panel, interval="5m")]
    assert any(expression for expression in asked if f'{ALERTS}{{alertname=~"NodePortAccess.+"' in expression)
    assert all(rule["alert"].startswith("NodePortAccess") for rule in alerts())
