"""Runs the kubectl of this virtual environment: what a user types, and what a user sees.

Not its business: which cluster it may touch (`testbed.control_plane`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from testbed.failure import Failure

PROGRAM = Path(sys.executable).with_name("kubectl")


class KubectlFailed(Failure):
    """kubectl ended with another code than 0; the message carries what it said."""


def run(
    arguments: Sequence[str | Path], *, kubeconfig: Path, home: Path, input: str | None, check: bool, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run it to its end. In `home` it keeps its caches and looks for preferences.

    Raises KubectlFailed where `check` is set, and subprocess.TimeoutExpired.
    """
    result = subprocess.run(
        [PROGRAM, *arguments],
        input=input or "",
        capture_output=True,
        text=True,
        timeout=seconds,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(home), "KUBECONFIG": str(kubeconfig)},
    )
    if check and result.returncode != 0:
        words = " ".join(str(word) for word in arguments)
        raise KubectlFailed(f"kubectl {words} ended with {result.returncode}: {result.stderr or result.stdout}")
    return result


def kustomize(folder: Path) -> str:
    """The YAML that it builds of a folder, for which it asks no cluster. Raises KubectlFailed."""
    built = run(
        ["kustomize", folder], kubeconfig=Path("no-kubeconfig"), home=Path("/"), input=None, check=True, seconds=60
    )
    return built.stdout
