"""A policy as ``kubectl get npap`` prints it, and its conditions.

The columns are those of the CRD, which is not part of the package; a test holds the two against each other. Not the
business of this module: laying out a table (``paper``).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from nodeport_access.api import Body

COLUMNS: tuple[tuple[str, str], ...] = (
    ("Service", ".spec.serviceRef.name"),
    ("CIDRs", ".status.effectiveCIDRs"),
    ("Local", '.status.conditions[?(@.type=="ClientIPPreserved")].status'),
    ("Nodes", ".status.nodes.share"),
    ("Ready", '.status.conditions[?(@.type=="Ready")].status'),
    ("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
    ("Age", ".metadata.creationTimestamp"),
)
"""Name and jsonPath of each printer column of priority 0."""

_STEP = re.compile(r'\.(\w+)(?:\[\?\(@\.(\w+)=="(\w+)"\)\])?')


def get(body: Body, *, now: datetime) -> list[list[str]]:
    """Header and row of ``kubectl get npap``."""
    values = [json_path(body, path) for _, path in COLUMNS[:-1]]
    age = ago(json_path(body, COLUMNS[-1][1]), now=now)
    return [
        ["NAME", *(name.upper() for name, _ in COLUMNS)],
        [body["metadata"]["name"], *("" if value is None else str(value) for value in values), age],
    ]


def conditions(body: Body) -> list[list[str]]:
    """Header and a row for each condition, the message last."""
    found = body.get("status", {}).get("conditions", [])
    return [
        ["CONDITION", "STATUS", "REASON", "MESSAGE"],
        *([item["type"], item["status"], item["reason"], item["message"]] for item in found),
    ]


def json_path(body: Body, path: str) -> Any:
    """The value at a path of the two forms that the columns use: ``.name``, and ``.name[?(@.key=="value")]``; None
    where there is nothing."""
    value: Any = body
    for name, key, wanted in _STEP.findall(path):
        value = (value or {}).get(name)
        if key:
            value = next((item for item in value or () if item.get(key) == wanted), None)
    return value


def ago(text: str, *, now: datetime) -> str:
    """How long ago a time of the API was, as kubectl prints an age."""
    seconds = int((now - datetime.fromisoformat(text)).total_seconds())
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m"
