"""The offline commands: what they take (``options``), what they print (``output``), and one module for each.

They import what they need when they run. Not the business of this package: the operator itself (``operating``), and the
demo.
"""

from __future__ import annotations

from nodeport_access.cli.audit import audit
from nodeport_access.cli.completion import completion
from nodeport_access.cli.explain import explain
from nodeport_access.cli.plan import plan
from nodeport_access.cli.probe import probe
from nodeport_access.cli.render import render

COMMANDS = (render, plan, explain, audit, probe, completion)
"""In the order in which help lists them."""

__all__ = ["COMMANDS"]
