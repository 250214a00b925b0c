"""``nodeport-access demo``: the operator's main job on a cluster in memory, read from a folder of YAML.

The reconcile code is the operator's own; what stands in for the API server is ``cluster``, and answers as a real one
answered. Modules: ``folder`` reads, ``cluster`` (with ``kinds`` and ``fields``) answers, ``stage`` puts the operator
on it, ``access`` asks ``evaluate`` who gets in, ``show`` tells the story on ``paper``. Not its business: a real
cluster; ``make up`` has one.
"""

from __future__ import annotations

from nodeport_access.demo.command_line import command

__all__ = ["command"]
