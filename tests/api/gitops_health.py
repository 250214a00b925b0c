"""What GitOps tools make of objects, by the tools' own rules: kstatus and Flux by their Go code (`testbed/programs/
kstatus`), Argo CD by manifests/argocd/health.lua in a real Lua 5.1.

Not its business: what they should make of them (`test_gitops_health`).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lupa import lua51

from testbed.operator_process import ROOT
from testbed.programs import TOOLS, find

HEALTH = ROOT / "manifests" / "argocd" / "health.lua"
Json = dict[str, Any]


def program() -> Path:
    """The program that asks kstatus and Flux."""
    return find(TOOLS)["kstatus"]


def kstatus(objects: Iterable[Json], *, by: Mapping[str, str] | None = None) -> list[str]:
    """What kstatus says of each object, or, `by` Flux' healthCheckExprs for the kind, Flux."""
    return [each["status"] for each in _asked({"object": one, "healthCheckExprs": by} for one in objects)]


def unknown_to_flux(objects: Iterable[Json]) -> list[str]:
    """What Flux' own types do not know of objects of Flux' kinds, a sentence each."""
    questions = ({"object": one, "decode": True} for one in objects)
    return [each["error"] for each in _asked(questions, may_fail=True) if each["error"]]


def _asked(questions: Iterable[Json], *, may_fail: bool = False) -> Sequence[dict[str, str]]:
    lines = [json.dumps(question) + "\n" for question in questions]
    ran = subprocess.run([program()], input="".join(lines), capture_output=True, text=True, check=True, timeout=60)
    answers: list[dict[str, str]] = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert may_fail or [each["error"] for each in answers if each["error"]] == []
    return answers


def argo_cd(objects: Iterable[Json]) -> list[str]:
    """What health.lua says of each object. As Argo CD runs it: without libraries that reach out, an object as `obj`."""
    return [health(one)["status"] for one in objects]


def health(body: Json) -> dict[str, str]:
    """Status and message that health.lua gives an object."""
    runtime = lua51.LuaRuntime(unpack_returned_tuples=False)
    lua = runtime.globals()
    for library in ("io", "os", "package", "require", "dofile", "loadfile", "debug", "python"):
        lua[library] = None
    lua["obj"] = _table(runtime, body)
    found: Any = runtime.execute(HEALTH.read_text(encoding="utf-8"))
    return {str(key): str(value) for key, value in found.items()}


def _table(runtime: Any, value: Any) -> Any:
    match value:
        case dict():
            return runtime.table_from({key: _table(runtime, item) for key, item in value.items()})
        case list():
            return runtime.table_from([_table(runtime, item) for item in value])
        case _:
            return value
