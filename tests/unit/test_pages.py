"""What the documentation says to type is there to be typed: each command of ours with each of its flags, and YAML that
is YAML.

Not the business of this module: manifests (tests/api/test_page_manifests.py), what comes of commands
(tests/api/test_tutorial.py), and links, which `make site` checks.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
import yaml

from nodeport_access.__main__ import group
from tests.pages import ROOT, Block, Typed, blocks, pages, typed

OURS = re.compile(r"(?:nodeport-access|kubectl npap)(?= |$)")
PLACEHOLDERS = {"ADDRESS": "192.0.2.1"}
"""Words in capitals stand for the reader's own; these are the ones that the program reads at once."""
YAML = [block for page in pages() for block in blocks(page, "yaml")]


def ours() -> Iterator[tuple[Typed, list[str]]]:
    """Each time that the program is called, with the words after its name."""
    for page in pages():
        for block in blocks(page, "console"):
            for one in typed(block):
                for part in re.split(r"\s(?:\||&&|;)\s", one.command.partition(" #")[0]):
                    if called := OURS.match(part.strip()):
                        yield one, shlex.split(part.strip()[called.end() :].partition(" > ")[0])


CALLS = list(ours())


def wrong(words: list[str]) -> str:
    """What the program says against these words; nothing where it would begin."""
    command = group.get_command(click.Context(group), words[0]) if words else None
    if command is None:
        return "" if words in ([], ["--help"]) else f"no command {words[0]!r}"
    try:
        with command.make_context(words[0], [PLACEHOLDERS.get(word, word) for word in words[1:]]):
            return ""
    except click.exceptions.Exit:  # --help
        return ""
    except click.ClickException as refused:
        return refused.format_message()


@pytest.mark.parametrize(("one", "words"), CALLS, ids=[f"{one.where} {' '.join(words)}"[:80] for one, words in CALLS])
def test_the_program_knows_what_a_page_says_to_type(one: Typed, words: list[str]) -> None:
    assert wrong(words) == "", one.command


def test_a_command_or_a_flag_that_is_not_there_is_noticed() -> None:
    assert "no command" in wrong(["explian"])
    assert "--form" in wrong(["explain", "shop/web", "--form", "10.2.3.4"])
    assert "thruogh" in wrong(["explain", "shop/web", "--expect", "thruogh"])


def test_commands_are_found_on_many_pages() -> None:
    assert len({one.where.partition(":")[0] for one, _ in CALLS}) > 10
    assert {words[0] for _, words in CALLS if words} >= {"plan", "explain", "audit", "probe"}


@pytest.mark.parametrize("block", YAML, ids=[block.where for block in YAML])
def test_yaml_can_be_read(block: Block) -> None:
    assert list(yaml.safe_load_all(block.text))


def test_tests_that_a_page_names_are_there() -> None:
    named = {
        (page.name, file, test)
        for page in pages()
        for file, test in re.findall(r"\b(test_\w+\.py)::(test_\w+)", page.read_text(encoding="utf-8"))
    }
    there = {
        (path.name, test)
        for path in (ROOT / "tests").rglob("test_*.py")
        for test in re.findall(r"(?m)^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 30
    assert [one for one in named if one[1:] not in there] == []
