"""The documentation site in a real browser, from its files: no server, no network.

Not the business of this module: links, which `make site` checks, and what pages say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
PHONE = {"width": 360, "height": 780}
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))


def test_the_site_was_made() -> None:
    assert {"index.html", "search.html", "lab.html", "sample-audit.html"} <= set(PAGES), "`make site` makes it"


@pytest.fixture(scope="module")
def phone(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=PHONE, color_scheme="dark")  # type: ignore[arg-type]  # a TypedDict
    yield page
    page.close()


def test_pages_ask_no_network_and_fit_a_telephone(phone: Page) -> None:
    asked: list[str] = []
    phone.on("request", lambda request: asked.append(request.url))
    too_wide = []
    for name in PAGES:
        phone.goto((SITE / name).as_uri())
        if phone.evaluate("document.documentElement.scrollWidth") > PHONE["width"]:
            too_wide.append(name)

    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert too_wide == [], "only tables scroll sideways"


def test_it_is_searched_without_a_server(browser: Browser) -> None:
    page = browser.new_page()
    page.goto((SITE / "index.html").as_uri())

    page.get_by_placeholder("Search").first.fill("healthCheckNodePort")
    page.keyboard.press("Enter")

    expect(page.locator(".search li a", has_text="Fields of a policy").first).to_be_visible()
    page.close()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_it_follows_the_readers_colours(scheme: str, dark: bool, browser: Browser) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]  # one of its literals
    page.goto((SITE / "index.html").as_uri())

    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")[:3]

    assert (max(red, green, blue) < 64) == dark
    page.close()
