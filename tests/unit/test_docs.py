"""Pages, tables and pictures that are made from the code are as the code makes them."""

from __future__ import annotations

import re

import pytest

from docs.generate import HERE, pages


@pytest.mark.parametrize(("name", "content"), pages().items(), ids=pages().keys())
def test_what_is_made_from_the_code_is_up_to_date(name: str, content: str) -> None:
    assert (HERE / name).read_text(encoding="utf-8") == content, "run `make docs`"


def test_pages_link_to_what_is_there() -> None:
    for page in [*HERE.rglob("*.md"), *HERE.parent.glob("*.md")]:
        for target in _targets(page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _targets(text: str) -> list[str]:
    prose = re.sub(r"(?ms)^```.*?^```$|`[^`]*`", "", text)
    found = [part.partition(")")[0] for part in prose.split("](")[1:]]
    return [target.partition("#")[0] for target in found if not target.startswith(("http", "#"))]
