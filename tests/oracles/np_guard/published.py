"""Where np-guard's test folders are: in the Go module that go.mod pins, with everything that was published in it.

Not its business: what is in them.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

from testbed.building import RECIPES

MODULE = "github.com/np-guard/netpol-analyzer"


@cache
def tests() -> Path | str:
    """The folder `tests` of the pinned version, which Go downloads where it has to; or why there is none."""
    wanted = f"{MODULE}@{version()}"
    try:
        answer = subprocess.run(
            ["go", "mod", "download", "-json", wanted],
            cwd=RECIPES["oracles"].folder,
            capture_output=True,
            text=True,
        )
        found = json.loads(answer.stdout)
    except FileNotFoundError:
        return f"{wanted} comes by Go, which was not found"
    except json.JSONDecodeError:
        return f"Go does not bring {wanted}: {answer.stderr.strip()}"
    return Path(found["Dir"], "tests") if "Dir" in found else f"Go does not bring {wanted}: {found.get('Error')}"


def version() -> str:
    """The version that go.mod pins."""
    text = (RECIPES["oracles"].folder / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"(?m)^\t{re.escape(MODULE)} (v\S+)$", text)
    assert found is not None
    return found[1]
