"""What a terminal gets that a pipe does not: colours, and a word about work that takes long.

Not the business of this module: what is printed (``output``).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

SILENT_SECONDS = 1.0
"""How long work may take before a word about it."""
CLEAR = "\r\x1b[K"


def may_color(*, is_terminal: bool, environ: Mapping[str, str]) -> bool:
    """Colours only on a terminal, and not where NO_COLOR is set to anything (https://no-color.org)."""
    return is_terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Progress:
    """Inside ``with``, says on a terminal what is being done, once that takes longer than a second; the line is gone
    afterwards. Nothing at all is written elsewhere."""

    def __init__(self, stream: TextIO | None = None, *, after: float = SILENT_SECONDS) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._after = after
        self._doing = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def say(self, doing: str) -> None:
        """What is being done from now on, such as ``listing pods``."""
        self._doing = doing

    def __enter__(self) -> Progress:
        if self._stream.isatty() and os.environ.get("TERM") != "dumb":
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        seconds = self._after
        while not self._ended.wait(self._after):
            self._stream.write(f"{CLEAR}{self._doing} ({seconds:.0f} s)")
            self._stream.flush()
            seconds += self._after
        if seconds > self._after:
            self._stream.write(CLEAR)
            self._stream.flush()
