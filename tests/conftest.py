"""What holds for every test."""

from __future__ import annotations

import asyncio
import signal

# pytest-asyncio asks for the current event loop before its first test. Python 3.11 then makes one by itself, which
# nobody closes, and an unclosed loop is a warning, which is an error here. Told that there is none, nobody makes one.
asyncio.set_event_loop(None)

# A shell that starts something in the background has it ignore Ctrl-C, and that is inherited through every exec, while
# a handler is not: with one here, programs that tests start can be ended by Ctrl-C wherever the tests themselves run.
signal.signal(signal.SIGINT, signal.default_int_handler)
