"""The Grafana dashboard, declared panel by panel: `manifests/monitoring/dashboard.json` is made from it.

Grafana's own schema of a dashboard is 41 (Grafana 12 reads it, and older ones since 10 do). Not its business: what the
metrics mean (`nodeport_access.metric_families`), and drawing (`tests.monitoring.picture`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 41
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
IN = '{namespace=~"$namespace"}'

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. ``queries`` by their legends; a table has one query, at one instant. ``thresholds`` from which a value
    is bad; below, where ``low`` is set."""

    title: str
    description: str
    queries: Mapping[str, str]
    type: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    threshold: float | None = None
    low: bool = False
    bars: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)


def stat(title: str, description: str, query: str, *, height: int = 4, **more: Any) -> Panel:
    return Panel(title=title, description=description, queries={"": query}, type="stat", width=4, height=height, **more)


def table(title: str, description: str, query: str, *, value: str, **more: Any) -> Panel:
    """``value`` heads the column of values; empty where all are 1."""
    columns = {"Value": value}
    return Panel(title=title, description=description, queries={"": query}, type="table", columns=columns, **more)


NOT_READY = (
    f"min by (namespace, policy, service) (nodeport_access_policy_ready{IN}) == 0"
    " unless on (namespace, policy) nodeport_access_policy_planned_writes"
)
OURS = "and on (instance) nodeport_access_build_info"
OPENED = 'effect=~"opened|depends"'

ROWS: Mapping[str, Sequence[Panel]] = {
    "State of policies": (
        stat(
            "Policies",
            "Policies in the chosen namespaces, in mode Enforce and in mode Audit.",
            f"sum(namespace:nodeport_access_policies:count{IN}) or vector(0)",
        ),
        stat(
            "Ready",
            "Policies whose guard is in force, observed at the API.",
            f"sum(namespace:nodeport_access_policies_ready:sum{IN}) or vector(0)",
        ),
        stat(
            "Not Ready",
            "Policies in mode Enforce whose guard is not in force as they ask for. The table below says why.",
            f"count({NOT_READY}) or vector(0)",
            threshold=1,
        ),
        stat(
            "In mode Audit",
            "Policies that only report. Nothing guards their Services on their behalf.",
            f"count(max by (namespace, policy) (nodeport_access_policy_planned_writes{IN})) or vector(0)",
        ),
        stat(
            "Unguarded Services",
            "Services with node ports that no policy in mode Enforce keeps Local.",
            f"sum(namespace:nodeport_access_unguarded_services:max{IN}) or vector(0)",
            threshold=1,
        ),
        stat(
            "Alerts",
            "Alerts of the operator's rules that fire now, whatever the namespace.",
            'count(ALERTS{alertname=~"NodePortAccess.+",alertstate="firing"}) or vector(0)',
            threshold=1,
        ),
        Panel(
            title="Share of policies that are Ready",
            description="By namespace. Policies in mode Audit are never Ready, as asked for.",
            queries={
                "{{namespace}}": f"namespace:nodeport_access_policies_ready:sum{IN}"
                f" / namespace:nodeport_access_policies:count{IN}"
            },
            unit="percentunit",
        ),
        table(
            "What is not as it should be",
            "Every condition that deviates, with its reason; docs/conditions.md has the way out of each. Policies in"
            " mode Audit are here too.",
            f"max by (namespace, policy, type, status, reason) (nodeport_access_policy_condition{IN})",
            value="",
            width=16,
        ),
        table(
            "Alerts that fire",
            "Each has a runbook.",
            'max by (alertname, severity, namespace, policy, service) (ALERTS{alertname=~"NodePortAccess.+",'
            'alertstate="firing"})',
            value="",
            width=12,
        ),
        table(
            "Entries that end next",
            "Of each policy the time that is left to the entry of allowedCIDRs that ends next.",
            f"sort(min by (namespace, policy) (nodeport_access_policy_next_expiry_timestamp_seconds{IN}) - time())",
            value="ends in",
            unit="s",
            width=6,
        ),
        table(
            "Plans of policies in mode Audit",
            "How many writes each would make; status.plan lists them.",
            f"max by (namespace, policy) (nodeport_access_policy_planned_writes{IN})",
            value="writes",
            width=6,
        ),
    ),
    "Drift": (
        Panel(
            title="Repaired drift, by effect on access",
            description="Changes by somebody else that were undone, in all namespaces. depends: externalTrafficPolicy"
            " was Cluster, and what that opens depends on the CNI and on the nodes' addresses.",
            queries={"{{effect}}": "sum by (effect) (increase(nodeport_access_drift_total[$__rate_interval]))"},
            bars=True,
        ),
        Panel(
            title="Repaired drift, by object and field",
            description="The same, where it was seen, as a rate over five minutes; what never drifted is left out.",
            queries={
                "{{kind}} {{field}}": "sum by (kind, field) (kind_field_effect:nodeport_access_drift:rate5m) > 0",
            },
            unit="ops",
        ),
        stat(
            "Opened access, 24 h",
            "Repaired changes that opened access or may have, in all namespaces.",
            f"round(sum(increase(nodeport_access_drift_total{{{OPENED}}}[24h])))",
            threshold=1,
            height=8,
        ),
        stat(
            "Services fought over",
            "Services whose guard another writer keeps taking back.",
            f"count(max by (namespace, service) (nodeport_access_contended_fields{IN})) or vector(0)",
            threshold=1,
            height=8,
        ),
        table(
            "Last drift of each policy",
            "How long ago a change by somebody else was repaired, by what it did to access. kubectl describe npap names"
            " the field and the writer.",
            "sort(time() - max by (namespace, policy, effect)"
            f" (nodeport_access_policy_last_drift_timestamp_seconds{IN}))",
            value="ago",
            unit="s",
            width=14,
            height=6,
        ),
        table(
            "Fights",
            "Fields and objects of a Service's guard that another writer has taken back at least twice in a row.",
            f"max by (namespace, service) (nodeport_access_contended_fields{IN})",
            value="fields",
            width=10,
            height=6,
        ),
    ),
    "Exposure": (
        Panel(
            title="Services with node ports that nobody guards",
            description="By namespace. nodeport-access audit names them, with who gets in.",
            queries={"{{namespace}}": f"namespace:nodeport_access_unguarded_services:max{IN}"},
            width=10,
        ),
        table(
            "NetworkPolicies that cover nodes",
            "Under Cluster, each of these lets in everybody who enters through another node than the pod's; under"
            " Local, those who come from a node.",
            "max by (namespace, service, network_policy, external_traffic_policy)"
            f" (nodeport_access_network_policy_covers_nodes{IN})",
            value="",
            width=14,
        ),
    ),
    "The operator": (
        stat(
            "Replicas",
            "Operators that are scraped now.",
            "count(nodeport_access_build_info) or vector(0)",
            threshold=1,
            low=True,
        ),
        stat(
            "Leaders",
            "Replicas that act: one, always. Without leader election the only replica counts.",
            "sum(nodeport_access_leader) or vector(0)",
            threshold=1,
            low=True,
        ),
        stat(
            "Oldest work",
            "How long a Service has waited for a pass, or been worked on. From 300 s on nothing moves any more.",
            "max(nodeport_access_workqueue_oldest_key_seconds)",
            unit="s",
            threshold=300,
        ),
        stat(
            "Started",
            "How long ago the youngest replica started.",
            f"time() - max(process_start_time_seconds {OURS})",
            unit="s",
        ),
        table(
            "Versions",
            "How many replicas run which version.",
            "count by (version) (nodeport_access_build_info)",
            value="replicas",
            height=4,
        ),
        Panel(
            title="Passes, by outcome",
            description="Passes over a Service. Wait is tried again, Stalled waits for a person, Failed is a fault of"
            " the operator.",
            queries={"{{outcome}}": "outcome:nodeport_access_reconcile:rate5m"},
            unit="ops",
        ),
        Panel(
            title="Duration of a pass",
            description="Half of them, and 99 of 100, took less.",
            queries={
                "p50": "cluster:nodeport_access_reconcile_duration_seconds:p50_rate5m",
                "p99": "cluster:nodeport_access_reconcile_duration_seconds:p99_rate5m",
            },
            unit="s",
        ),
        Panel(
            title="Queue",
            description="Services that wait for a pass.",
            queries={"waiting": "max(nodeport_access_workqueue_depth)"},
        ),
        Panel(
            title="Requests to the API server, by code",
            description="0: no answer came. 403: a permission is missing; the log says which.",
            queries={"{{code}}": "sum by (code) (verb_resource_code:nodeport_access_api_requests:rate5m)"},
            unit="reqps",
        ),
        Panel(
            title="Requests to the API server, by kind",
            description="What is asked for; watches count when they are opened.",
            queries={
                "{{verb}} {{resource}}": "sum by (verb, resource)"
                " (verb_resource_code:nodeport_access_api_requests:rate5m) > 0"
            },
            unit="reqps",
        ),
        Panel(
            title="Age of the last word of each watch",
            description="Bookmarks come about every 61 s; from 90 s on a watch is not trusted. Policies are listed"
            " every 300 s, and trusted for 390 s.",
            queries={"{{resource}}": "max by (resource) (nodeport_access_watch_last_word_seconds)"},
            unit="s",
            threshold=90,
        ),
        Panel(
            title="Events about policies",
            description="Kubernetes Events, by what became of them. Dropped: more than 256 waited.",
            queries={"{{outcome}}": "sum by (outcome) (increase(nodeport_access_events_total[$__rate_interval]))"},
            bars=True,
        ),
        Panel(
            title="Memory",
            description="Resident size of each replica. The container's limit in manifests/ is 512 MiB.",
            queries={"{{instance}}": f"process_resident_memory_bytes {OURS}"},
            unit="bytes",
        ),
        Panel(
            title="Processor",
            description="Processors in use by each replica.",
            queries={"{{instance}}": f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}"},
            unit="short",
        ),
    ),
}


def dashboard() -> str:
    """The dashboard as JSON."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> Json:
    return {
        "uid": "nodeport-access",
        "title": "NodePort access",
        "description": "What guards the node ports of this cluster, who changes it, and how its operator fares.",
        "tags": ["kubernetes", "nodeport-access"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": list(_placed()),
    }


def _datasource() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}


def _namespace() -> Json:
    names = '{__name__=~"nodeport_access_policy_ready|nodeport_access_unguarded_services"}'
    return {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({names}, namespace)", "refId": "namespaces"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _placed() -> Iterator[Json]:
    """Rows, and in each its panels from left to right as they fit."""
    number, y = 1, 0
    for title, panels in ROWS.items():
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _at(0, y, 24, 1),
        }
        number, y, x, height = number + 1, y + 1, 0, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            yield {"id": number, **_panel(panel), "gridPos": _at(x, y, panel.width, panel.height)}
            number, x, height = number + 1, x + panel.width, max(height, panel.height)
        y += height


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> Json:
    body: Json = {
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(panel, *each, number) for number, each in enumerate(panel.queries.items())],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": OPTIONS[panel.type],
    }
    if panel.type == "table":
        hidden = {"Time": True} | ({} if panel.columns["Value"] else {"Value": True})
        body["transformations"] = [
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "indexByName": {name: place for place, name in enumerate([*_labels(panel), "Value"])},
                    "renameByName": {"Value": panel.columns["Value"]},
                },
            }
        ]
    return body


def _labels(panel: Panel) -> list[str]:
    """The columns of a table, in the order in which its query names them."""
    (query,) = panel.queries.values()
    return re.findall(r"\w+", query.partition(" by (")[2].partition(")")[0])


def _target(panel: Panel, legend: str, query: str, number: int) -> Json:
    at_once = panel.type != "timeseries"
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": query,
        "legendFormat": legend,
        "editorMode": "code",
        "instant": at_once,
        "range": not at_once,
        "format": "table" if panel.type == "table" else "time_series",
    }


def _defaults(panel: Panel) -> Json:
    good, bad = ("red", "green") if panel.low else ("green", "red")
    steps: list[Json] = [{"color": good if panel.threshold is not None else "blue", "value": None}]
    if panel.threshold is not None:
        steps.append({"color": bad, "value": panel.threshold})
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if panel.type == "stat" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.type == "timeseries":
        defaults |= {"min": 0} | ({"max": 1} if panel.unit == "percentunit" else {})
        defaults["custom"] = {
            "drawStyle": "bars" if panel.bars else "line",
            "fillOpacity": 60 if panel.bars else 10,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.bars else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off" if panel.threshold is None else "line"},
        }
    return defaults


OPTIONS: Mapping[str, Json] = {
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "timeseries": {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
}
