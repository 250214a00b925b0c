"""Which exposed Services are open to whom: every port, way in and node of an inventory, and the traps.

``audit`` makes a ``Report``: ``reaching`` asks the evaluator once for nodes that cannot differ, ``openness`` ranks what
it answers, ``traps`` finds what makes an allowlist say less than it seems to. ``document``, ``sarif`` and ``page`` are
the report in other forms. Not its business: whether one client gets in (``explaining``), or where objects come from.
"""

from __future__ import annotations

from nodeport_access.audit.auditing import audit
from nodeport_access.audit.openness import Openness
from nodeport_access.audit.report import Cell, Guard, PortReport, Report, ServiceReport, Severity, Trap, Way

__all__ = ["Cell", "Guard", "Openness", "PortReport", "Report", "ServiceReport", "Severity", "Trap", "Way", "audit"]
