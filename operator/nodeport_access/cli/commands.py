"""All offline commands, which none but who lists or runs one of them has to import."""

from __future__ import annotations

from nodeport_access.cli.audit import audit
from nodeport_access.cli.completion import completion
from nodeport_access.cli.explain import explain
from nodeport_access.cli.plan import plan
from nodeport_access.cli.probe import probe
from nodeport_access.cli.render import render

COMMANDS = (render, plan, explain, audit, probe, completion)
"""In the order in which help lists them."""
