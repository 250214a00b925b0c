"""What holds for every test."""

from __future__ import annotations

import asyncio

# pytest-asyncio asks for the current event loop before its first test. Python 3.11 then makes one by itself, which
# nobody closes, and an unclosed loop is a warning, which is an error here. Told that there is none, nobody makes one.
asyncio.set_event_loop(None)
