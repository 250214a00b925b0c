"""The real programs that tests run, found or built.

Not its business: which those are (`testbed.programs`).
"""

from __future__ import annotations

import contextlib

import pytest

from testbed.programs import CONTROL_PLANE, Programs, ProgramsUnavailable, find


def found(request: pytest.FixtureRequest, *names: str) -> Programs:
    """Those of the control plane, or the ones named. Building them takes minutes, so its progress is shown, and the run
    ends where that cannot be."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
            return find(names or CONTROL_PLANE)
    except ProgramsUnavailable as unavailable:
        pytest.exit(str(unavailable), returncode=1)
