"""Where the system's Chromium is: `python -m testbed can-browser` says why the tests in a browser cannot run.

Not the business of this module: driving it.
"""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Its path, None where there is none; CHROMIUM names another one."""
    if named := os.environ.get("CHROMIUM"):
        return shutil.which(named)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def missing() -> str:
    """Why there is none, in a sentence with the way out; empty where there is one."""
    if find_chromium() is not None:
        return ""
    if named := os.environ.get("CHROMIUM"):
        return f"CHROMIUM names {named}, which is no program"
    return "Chromium was not found: install it (on Debian: apt-get install chromium), or set CHROMIUM"
