"""What the bench needs of an API server: the real control plane has it, and so has the recording server.

Not its business: either of the two (`testbed.control_plane`, `bench.recording`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class ApiServer(Protocol):
    """It writes an audit log to `folder`/audit.log."""

    folder: Path

    @property
    def lock(self) -> int:
        """A file descriptor for the supervisors of what else belongs here."""

    def process_ids(self) -> dict[str, int]:
        """The ids of its programs, by their names."""

    def service_account_kubeconfig(self, *, namespace: str, name: str) -> Path:
        """Write a kubeconfig with a token of a ServiceAccount."""

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        seconds: float = 10,
    ) -> tuple[int, dict[str, Any]]:
        """Send one request as the harness; the code and the JSON of the answer."""

    def audit_mark(self) -> int:
        """The place in the audit log after everything that was answered until now."""

    def audit_events(self, *, since: int = 0, user: str | None = None) -> list[dict[str, Any]]:
        """The audit log from a mark on, of one user or of all."""
