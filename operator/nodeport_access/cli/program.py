"""Under which name the program was called, and what its exit codes mean.

Not the business of this module: any command.
"""

from __future__ import annotations

from pathlib import PurePath

PROGRAM, PLUGIN = "nodeport-access", "kubectl-npap"
COMPLETION_VARIABLE = "_NODEPORT_ACCESS_COMPLETE"
"""The environment variable by which a shell asks for completions, whatever the program is called."""

FAILED = 1
"""Exit code where what was asked to be held against the answer does not hold (``--fail-on``, ``--expect``)."""
WRONG = 2
"""Exit code for what only another command line, other files, another configuration or a permission can mend."""
CHANGES = 3
"""Exit code of ``plan --exit-code`` where something changes."""
BLOCKED = 4
"""Exit code where a policy cannot be carried out as it stands."""


def program_name(called: str) -> str:
    """The name to use in help and messages; ``called`` is the path of the program. What kubectl runs as a plugin is
    called as people call it."""
    return "kubectl npap" if PurePath(called).stem == PLUGIN else PROGRAM
