"""Runs the real Helm: what a user types, and what a user sees.

Not its business: where the program comes from (`testbed.programs`), and what the chart is made of (`charts/`).
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from testbed.control_plane import ControlPlane
from testbed.failure import Failure


class HelmFailed(Failure):
    """helm ended with another code than 0; the message carries what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Helm:
    """One Helm, with a home folder of its own: no settings, plugins and repositories of the user's."""

    program: Path
    home: Path

    def __call__(
        self,
        *arguments: str | Path,
        control_plane: ControlPlane | None = None,
        check: bool = True,
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, against this control plane or against none.

        Raises HelmFailed where `check` is set, and subprocess.TimeoutExpired.
        """
        kubeconfig = self.home / "no-kubeconfig" if control_plane is None else control_plane.admin_kubeconfig
        result = subprocess.run(
            [self.program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.home), "KUBECONFIG": str(kubeconfig)},
        )
        if check and result.returncode != 0:
            words = " ".join(str(word) for word in arguments)
            raise HelmFailed(f"helm {words} ended with {result.returncode}: {result.stderr or result.stdout}")
        return result
