"""A log line is one line: one JSON object, or text for a person's eyes; both go to standard error."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access import logs
from tests.unit.strategies import properties

EXTRA = {"namespace": "web", "policy": "shop", "fields": ["spec.ingress"], "writer": "kubectl-edit"}
LINES = 'Apply failed with 2 conflicts: conflicts with "kubectl":\n- .spec.ports\n- .spec.selector'


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """`configure` speaks to the whole process."""
    root, chatty = logging.getLogger(), ("kopf", "aiohttp", "asyncio", "kubernetes")
    before, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in chatty}
    yield
    root.handlers[:] = before
    root.setLevel(level)
    for name in chatty:
        logging.getLogger(name).setLevel(levels[name])


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Configures logging, lets something be logged, and gives the lines on standard error."""

    def say(log: Callable[[logging.Logger], None], *, log_format: str, level: str = "info") -> list[str]:
        logs.configure(log_format=log_format, level=level)
        log(logging.getLogger("nodeport_access"))
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()

    return say


def test_json_is_one_object_a_line_with_all_that_was_added(said: Callable[..., list[str]]) -> None:
    before = datetime.now(UTC)
    (line,) = said(lambda log: log.info("%s updated in %s", "Service/shop", "web", extra=EXTRA), log_format="json")
    found = json.loads(line)
    time = datetime.fromisoformat(found.pop("time"))
    assert before.replace(microsecond=0) <= time <= datetime.now(UTC)
    assert found == {
        "level": "INFO",
        "logger": "nodeport_access",
        "message": "Service/shop updated in web",
        **EXTRA,
    }


def test_plain_is_one_line_for_the_eye(said: Callable[..., list[str]]) -> None:
    extra = {**EXTRA, "service": "", "effect": None, "owners": []}
    (line,) = said(lambda log: log.warning("%s updated", "Service/shop", extra=extra), log_format="plain")
    time, _, rest = line.partition(" ")
    assert time.endswith("Z")
    datetime.fromisoformat(time)
    assert rest == (
        "WARNING Service/shop updated namespace=web policy=shop fields=['spec.ingress'] writer=kubectl-edit"
    )


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_what_the_api_server_says_in_lines_is_logged_in_one(said: Callable[..., list[str]], log_format: str) -> None:
    (line,) = said(lambda log: log.warning("not updated: %s", LINES, extra={"writer": "a\nb"}), log_format=log_format)
    if log_format == "json":
        assert json.loads(line)["message"] == f"not updated: {LINES}"
    else:
        assert "- .spec.ports - .spec.selector" in line
        assert "writer=a b" in line


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_a_traceback_is_kept(said: Callable[..., list[str]], log_format: str) -> None:
    def crash(log: logging.Logger) -> None:
        try:
            raise RuntimeError("the reason")
        except RuntimeError:
            log.exception("crashed")

    lines = said(crash, log_format=log_format)
    assert any("RuntimeError: the reason" in line for line in lines)
    if log_format == "json":
        assert len(lines) == 1


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_the_level_decides_what_is_said_and_chatter_of_others_is_left_out(
    said: Callable[..., list[str]], log_format: str
) -> None:
    def chatter(log: logging.Logger) -> None:
        log.debug("quiet")
        log.info("loud")
        logging.getLogger("kopf.objects").info("chatter")
        logging.getLogger("aiohttp.access").info("chatter")
        logging.getLogger("kopf._cogs.clients.watching").error("one of many tries")
        logging.getLogger("kopf.objects").warning("serious")

    assert [("loud" in line, "serious" in line) for line in said(chatter, log_format=log_format)] == [
        (True, False),
        (False, True),
    ]
    assert any("quiet" in line for line in said(chatter, log_format=log_format, level="debug"))


def test_logging_configured_twice_says_things_once(said: Callable[..., list[str]]) -> None:
    logs.configure(log_format="json", level="info")
    assert len(said(lambda log: log.info("once"), log_format="plain")) == 1


def formatted(message: str, extra: dict[str, Any], *, log_format: str) -> str:
    record = logging.LogRecord("nodeport_access", logging.INFO, "file", 1, message, None, None)
    vars(record).update(extra)
    logs.configure(log_format=log_format, level="info")
    return logging.getLogger().handlers[0].format(record)


@properties(100)
@given(st.text(), st.dictionaries(st.sampled_from(["writer", "object", "reason"]), st.text()))
def test_no_text_breaks_a_line(message: str, extra: dict[str, str]) -> None:
    line = formatted(message, extra, log_format="json")
    assert "\n" not in line
    found = json.loads(line)
    assert {**found, **extra} == found
    assert found["message"] == message
    assert len(formatted(message, extra, log_format="plain").splitlines()) == 1
