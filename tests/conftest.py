"""What holds for every test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from testbed.operator_process import clean_environment

# pytest-asyncio asks for the current event loop before its first test. Python 3.11 then makes one by itself, which
# nobody closes, and an unclosed loop is a warning, which is an error here. Told that there is none, nobody makes one.
asyncio.set_event_loop(None)

# A shell that starts something in the background has it ignore Ctrl-C, and that is inherited through every exec, while
# a handler is not: with one here, programs that tests start can be ended by Ctrl-C wherever the tests themselves run.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="take what shows the same in small by its full measure")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for `--long` only; not as deselected, which would make a usual run look like a part of one."""
    if not config.getoption("--long"):
        items[:] = [item for item in items if item.get_closest_marker("long") is None]


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether what shows the same in small is to be taken by its full measure."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def no_other_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing in this process or below finds a kubeconfig by itself: neither the user's, nor a cluster around us."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - clean_environment(os.environ).keys():
            patch.delenv(name)
        patch.setenv("KUBECONFIG", str(tmp_path_factory.getbasetemp() / "no-kubeconfig"))
        yield
