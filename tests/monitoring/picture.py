"""The dashboard as a picture, without Grafana: its panels at their places, with what a Prometheus answers to them.

What Grafana does besides (colours by threshold, legends by template, units, organised columns) is done as far as the
dashboard asks for it. Not the business of this module: what is in the panels (`docs.dashboard`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from testbed.prometheus import Json, Prometheus
from tests.monitoring.expressions import Query, queries

INTERVAL = 5
"""Seconds between bars; rates look back by a scrape more, as Grafana has it."""
CELL, ROW = 0.75, 0.42
"""Inches of a column and of a row of the grid."""
PAPER, PANEL, INK, FAINT = "#f4f5f5", "#ffffff", "#24292e", "#6e7781"
COLORS = {"green": "#37872d", "red": "#c4162a", "blue": "#1f60c4", "text": INK}


def draw(panels: Iterable[Json], prometheus: Prometheus, *, start: float, end: float, file: Path) -> None:
    """Draw all panels, with the time from `start` to `end` (seconds since the epoch)."""
    panels = list(panels)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    matplotlib.use("agg")
    matplotlib.rcParams.update({"font.size": 7, "font.family": "DejaVu Sans", "text.color": INK})
    figure = Figure(figsize=(24 * CELL, rows * ROW), facecolor=PAPER)
    for panel in panels:
        _card(figure, panel["gridPos"], rows)
        axes = figure.add_axes(_place(panel["gridPos"], rows), facecolor=PANEL)
        _title(axes, panel)
        if panel["type"] != "row":
            asked = list(queries(panel, interval=f"{INTERVAL + 1}s"))
            DRAWN[panel["type"]](axes, panel, asked, prometheus, start, end)
    figure.savefig(file, dpi=80, metadata={"Software": None}, pil_kwargs={"optimize": True})


def _place(grid: Mapping[str, int], rows: int) -> tuple[float, float, float, float]:
    """Left, bottom, width and height of what is inside a panel, as shares of the whole."""
    left, right, top, bottom = 0.45, 0.12, 0.32, 0.22
    if grid["h"] == 1:
        left, right, top, bottom = 0.1, 0.1, 0.05, 0.05
    wide, high = 24 * CELL, rows * ROW
    x, y = grid["x"] * CELL + left, high - (grid["y"] + grid["h"]) * ROW + bottom
    return x / wide, y / high, (grid["w"] * CELL - left - right) / wide, (grid["h"] * ROW - top - bottom) / high


def _card(figure: Figure, grid: Mapping[str, int], rows: int) -> None:
    """What a panel stands on; a row stands on the paper."""
    if grid["h"] > 1:
        x, y = (grid["x"] + 0.05) / 24, (rows - grid["y"] - grid["h"] + 0.1) / rows
        wide, high = (grid["w"] - 0.1) / 24, (grid["h"] - 0.2) / rows
        figure.patches.append(Rectangle((x, y), wide, high, transform=figure.transFigure, color=PANEL, zorder=-1))


def _title(axes: Axes, panel: Json) -> None:
    if panel["type"] == "row":
        axes.set_axis_off()
        axes.text(0, 0.5, f"▾ {panel['title']}", fontsize=11, weight="bold", va="center")
        return
    axes.set_title(panel["title"], loc="left", fontsize=8, weight="bold", pad=5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _stat(axes: Axes, panel: Json, asked: list[Query], prometheus: Prometheus, _start: float, _end: float) -> None:
    samples = prometheus.query(asked[0].expression)
    axes.set_axis_off()
    if not samples:
        axes.text(0.5, 0.5, "No data", ha="center", va="center", color=FAINT)
        return
    value = float(samples[0]["value"][1])
    color = COLORS["text"]
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            color = COLORS[step["color"]]
    axes.text(0.5, 0.45, _written(value, panel), ha="center", va="center", fontsize=20, color=color)


def _table(axes: Axes, panel: Json, asked: list[Query], prometheus: Prometheus, _start: float, _end: float) -> None:
    samples = prometheus.query(asked[0].expression)
    axes.set_axis_off()
    if not samples:
        axes.text(0.5, 0.5, "No data", ha="center", va="center", color=FAINT)
        return
    organize = panel["transformations"][0]["options"]
    names = sorted({name for sample in samples for name in sample["metric"]}, key=organize["indexByName"].__getitem__)
    cells = [[sample["metric"].get(name, "") for name in names] for sample in samples]
    if "Value" not in organize["excludeByName"]:
        names.append(organize["renameByName"]["Value"])
        for row, sample in zip(cells, samples, strict=True):
            row.append(_written(float(sample["value"][1]), panel))
    lines = max(2, panel["gridPos"]["h"])
    shown, rest = cells[:lines], len(cells) - lines
    drawn = axes.table(shown, colLabels=names, cellLoc="left", loc="upper left", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)
    drawn.auto_set_column_width(list(range(len(names))))
    for (line, _), cell in drawn.get_celld().items():
        cell.set_edgecolor("#d8dbde")
        cell.set_height(0.9 / (lines + 1))
        cell.set_text_props(weight="bold" if line == 0 else "normal")
    if rest > 0:
        axes.text(1, 0, f"and {rest} more", ha="right", va="bottom", color=FAINT)


def _timeseries(axes: Axes, panel: Json, asked: list[Query], prometheus: Prometheus, start: float, end: float) -> None:
    custom = panel["fieldConfig"]["defaults"]["custom"]
    bars = custom["drawStyle"] == "bars"
    step = INTERVAL if bars else 1
    height: dict[float, float] = {}
    series = [
        (query, one)
        for query in asked
        for one in prometheus.query_range(query.expression, start=start, end=end, step=step)
    ]
    for query, one in series:
        times = [float(time) for time, _ in one["values"]]
        values = [float(value) for _, value in one["values"]]
        if bars:
            below = [height.get(time, 0.0) for time in times]
            axes.bar(times, values, bottom=below, width=step, align="edge", label=_legend(query, one))
            height |= {time: base + value for time, base, value in zip(times, below, values, strict=True)}
        else:
            (line,) = axes.plot(times, values, linewidth=1, label=_legend(query, one))
            axes.fill_between(times, values, alpha=0.1, color=line.get_color())
    if not series:
        axes.text(0.5, 0.5, "No data", ha="center", va="center", color=FAINT, transform=axes.transAxes)
    axes.set_xlim(start, end)
    highest = panel["fieldConfig"]["defaults"].get("max")
    axes.set_ylim(0, highest and highest * 1.02)
    if custom["thresholdsStyle"]["mode"] == "line":
        limit = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"]
        axes.axhline(limit, color=COLORS["red"], linewidth=0.8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _written(value, panel)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
    axes.grid(color="#e4e7ea", linewidth=0.5)
    axes.tick_params(length=0, labelsize=6, colors=FAINT)
    if series:
        axes.legend(loc="upper left", fontsize=6, frameon=True, framealpha=0.7, edgecolor="none", ncols=2)


DRAWN: Mapping[str, Callable[[Axes, Json, list[Query], Prometheus, float, float], None]] = {
    "stat": _stat,
    "table": _table,
    "timeseries": _timeseries,
}


def _legend(query: Query, series: Json) -> str:
    text = query.legend
    for name, value in series["metric"].items():
        text = text.replace(f"{{{{{name}}}}}", str(value))
    return text


def _written(value: float, panel: Json) -> str:
    """A value in the panel's unit, as Grafana would write it, about."""
    match panel["fieldConfig"]["defaults"]["unit"]:
        case "percentunit":
            return f"{value:.0%}"
        case "bytes":
            return f"{value / 2**20:.0f} MiB"
        case "s":
            return _time(value)
        case "ops" | "reqps":
            return f"{value:.3g}/s"
        case _:
            return f"{value:.3g}"


def _time(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms" if seconds else "0 s"
