"""The page of an audit in a real browser: it needs nothing, runs nothing foreign, and can be read in every way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page


def opened(browser: Browser, address: str, **context: Any) -> tuple[Page, list[str], list[str]]:
    """The page with all that it said on the console, and every address that it asked for."""
    page = browser.new_context(**context).new_page()
    said, asked = list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    return page, said, asked


def services(page: Page) -> list[str]:
    """The Services of the rows that are shown, in their order."""
    rows = page.locator("#ports tbody tr:visible th")
    return [text.splitlines()[0] for text in rows.all_inner_texts()]


def test_nothing_is_loaded_and_nothing_goes_wrong(browser: Browser, address: str) -> None:
    page, said, asked = opened(browser, address)
    assert (said, asked) == ([], [address])
    assert page.title() == "Node port audit, 2026-11-01 00:00 UTC"
    assert "<img src=" in page.locator("header").inner_text()


def test_what_somebody_brings_into_the_page_neither_runs_nor_loads(browser: Browser, address: str) -> None:
    page, said, _ = opened(browser, address)
    refused = list[tuple[str, str | None]]()
    page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=http://192.0.2.1/x onerror=foreign()>')")
    page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => done(true)))")
    assert refused == [("http://192.0.2.1/x", "csp")]
    assert sum("Content Security Policy" in text for text in said) == 2


def test_rows_are_sorted_by_a_column_in_both_directions(browser: Browser, address: str) -> None:
    page, said, _ = opened(browser, address)
    head = page.locator("#ports thead th").nth(0)
    before = services(page)
    head.locator("button").click()
    assert (services(page), head.get_attribute("aria-sort")) == (sorted(before), "ascending")
    head.locator("button").click()
    assert (services(page), head.get_attribute("aria-sort")) == (sorted(before, reverse=True), "descending")
    other = page.locator("#ports thead th").nth(1)
    other.locator("button").focus()
    page.keyboard.press("Enter")
    assert (head.get_attribute("aria-sort"), other.get_attribute("aria-sort")) == (None, "ascending")
    assert services(page)[0] == "web/shop"
    assert said == []


def test_rows_are_filtered_by_words_and_by_rank(browser: Browser, address: str) -> None:
    page, _, _ = opened(browser, address)
    page.get_by_label("Filter by any word").fill("SHOP")
    assert (services(page), page.locator("#shown").inner_text()) == (["web/shop"], "1 of 11 shown")
    page.get_by_label("Filter by any word").fill("")
    page.get_by_label("Open to").select_option("nobody")
    assert services(page) == ["web/bad", "web/closed"]


def test_a_cell_of_the_matrix_opens_its_derivation(browser: Browser, address: str) -> None:
    page, _, _ = opened(browser, address)
    steps = page.locator("#c0-0 ol")
    assert not steps.is_visible()
    page.locator("a[href='#c0-0']").first.click()
    steps.wait_for(state="visible")
    assert "node's network" in steps.inner_text()
    page.locator("#c0-0 summary").click()
    assert not steps.is_visible()


def test_it_works_without_javascript(browser: Browser, address: str) -> None:
    page, said, asked = opened(browser, address, java_script_enabled=False)
    assert (said, asked, len(services(page))) == ([], [address], 11)
    assert not page.locator("#tools").is_visible()
    assert page.locator("#ports thead button").count() == 0
    page.locator("#c0-0 summary").click()
    assert page.locator("#c0-0 ol").is_visible()


LUMINANCE = """(element) => {
  const channels = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const weights = [0.2126, 0.7152, 0.0722];
  const light = (color) => channels(color).reduce((sum, part, index) => sum + part * weights[index], 0);
  let behind = element;
  while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
  const [one, other] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)];
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(browser: Browser, address: str, scheme: Any) -> None:
    page, _, _ = opened(browser, address, color_scheme=scheme)
    for kind in ("body", ".soft", "small", ".tag.open", ".tag.perhaps", ".tag.listed", ".tag.nobody", ".matrix td a"):
        for element in page.locator(kind).all()[:12]:
            assert element.evaluate(LUMINANCE) >= 4.5, kind  # WCAG 2.2, 1.4.3


def test_light_and_dark_differ(browser: Browser, address: str) -> None:
    schemes: tuple[Any, ...] = ("light", "dark")
    papers = {
        opened(browser, address, color_scheme=scheme)[0].evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in schemes
    }
    assert len(papers) == 2


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_as_wide_as_the_window(browser: Browser, address: str, width: int) -> None:
    page, _, _ = opened(browser, address, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_on_paper_every_derivation_is_open_and_the_tools_are_gone(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    page, _, _ = opened(browser, address, java_script_enabled=False)
    page.emulate_media(media="print")
    closed = page.locator("details:not([open]) > ol")
    assert closed.count() == page.locator("details").count() > 20
    assert all(each.evaluate("(list) => list.checkVisibility()") for each in closed.all())
    assert not page.locator("#tools").is_visible()
    assert page.pdf(path=tmp_path / "audit.pdf").startswith(b"%PDF")


def test_tables_have_headers_that_programs_can_read(browser: Browser, address: str) -> None:
    page, _, _ = opened(browser, address)
    assert page.locator("th:not([scope])").count() == 0
    for name in ("Who gets in", "Guard", "Traps"):
        assert page.get_by_role("columnheader", name=name).count() >= 1
    assert page.get_by_role("row").count() > 20
