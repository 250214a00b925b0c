"""How log lines look: one JSON object a line, or plain text for a person's eyes; both to standard error.

Not the business of this module: what is logged.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("json", "plain")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Json(JsonFormatter):
    """``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, then what the call adds by ``extra``."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s %(message)s", rename_fields={"levelname": "level", "name": "logger"})

    def add_fields(
        self, log_data: dict[str, object], record: logging.LogRecord, message_dict: dict[str, object]
    ) -> None:
        log_data["time"] = _time(record)
        super().add_fields(log_data, record, message_dict)


class _Plain(logging.Formatter):
    """Time, level, message, then ``key=value`` of what the call adds by ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        added = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        tail = "".join(f" {name}={value}" for name, value in added.items() if value not in ("", [], None))
        # The API server lists conflicts in lines of their own.
        said = " ".join(f"{record.getMessage()}{tail}".splitlines())
        text = f"{_time(record)} {record.levelname:<7} {said}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def configure(*, log_format: str, level: str) -> None:
    """Sends all logging to standard error. Kopf's and aiohttp's own chatter below warnings is left out.

    What no line of ours tells is not looked up: it is half of what a line costs, and a convergence writes four for each
    policy (Python's Logging HOWTO, "Optimization")."""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # the HOWTO names it: there is no other switch
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("kopf", "aiohttp", "asyncio", "kubernetes"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Every try of Kopf's at a request that fails, and each of its tasks that ends with another; ``feed.Feed`` tells
    # of them once a minute.
    for told in ("kopf._cogs.clients", "kopf._core.reactor.running", "kopf._core.reactor.orchestration"):
        logging.getLogger(told).setLevel(logging.CRITICAL)
