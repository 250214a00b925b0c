"""The hooks for repositories of manifests: what they call exists, and fails where docs/gitops.md says so."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit import builders

ROOT = Path(__file__).resolve().parents[2]
HOOKS: dict[str, Any] = {
    hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
}
PLAN, AUDIT = "nodeport-access-plan", "nodeport-access-audit"
OPEN = builders.service()
GUARDED = [builders.service(), builders.policy()]


def run(hook: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The hook's command as pre-commit calls it, in the repository's folder."""
    words = [*shlex.split(HOOKS[hook]["entry"]), *HOOKS[hook]["args"]]
    assert words[0] == "nodeport-access", "installed with the package"
    return subprocess.run(
        [sys.executable, "-m", "nodeport_access", *words[1:]],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "HOME": "/nonexistent"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("hook", "bodies", "code"),
    [
        (PLAN, [OPEN], 0),
        (PLAN, GUARDED, 0),
        (PLAN, [builders.policy()], 4),
        (PLAN, [OPEN, builders.policy(allowed=["10.2.3.4/24"])], 2),
        (AUDIT, GUARDED, 0),
        (AUDIT, [OPEN], 1),
    ],
    ids=["no policy", "guarded", "no such Service", "host bits", "audited, guarded", "audited, open"],
)
def test_a_hook_fails_exactly_where_the_page_says(hook: str, bodies: list[Any], code: int, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(bodies), encoding="utf-8")
    ran = run(hook, tmp_path)
    assert ran.returncode == code, ran.stdout + ran.stderr


def test_the_page_names_the_hooks_that_there_are() -> None:
    page = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
    assert all(f"id: {hook}" in page for hook in HOOKS)
