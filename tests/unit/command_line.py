"""How the command line ends, for tests that call it; the fixture `run` of `conftest` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ran:
    """The exit code, and what was printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]
