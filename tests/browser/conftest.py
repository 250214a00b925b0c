"""A real browser for the page of an audit: the system's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from nodeport_access.audit import audit
from nodeport_access.audit.page import page
from testbed.chromium import find_chromium, missing
from tests.unit.audits import ALL, NOW, cluster

MARKUP = '<img src="http://192.0.2.1/x" onerror="document.title=1">&<script>document.title=1</script>'
"""What a source, as any other text, may hold."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if missing():
        pytest.fail(missing())
    with sync_playwright() as playwright:
        # Root has no sandbox of Chromium's; what it opens here is our own page.
        started = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of an audit with everything in it, as a file."""
    folder: Path = tmp_path_factory.mktemp("page")
    report = audit(cluster(folder, *ALL), now=NOW, source=MARKUP)
    path = folder / "audit.html"
    path.write_text(page(report), encoding="utf-8")
    return path.as_uri()
