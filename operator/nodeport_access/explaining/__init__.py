"""May this client reach this Service, through which node, by which rule; and if not, which rule does not admit it, and
why not.

``explain`` answers for one client, ``explain_all`` for everybody at once. ``clients`` finds out who an address is,
``rulings`` what each rule says to him. Not its business: the verdict itself (``evaluate``), and printing.
"""

from __future__ import annotations

from nodeport_access.explaining.asking import Ask, By, NotThere, ask
from nodeport_access.explaining.clients import Asker, find_client
from nodeport_access.explaining.explanation import Answered, Everybody, Explanation, explain, explain_all

__all__ = [
    "Answered",
    "Ask",
    "Asker",
    "By",
    "Everybody",
    "Explanation",
    "NotThere",
    "ask",
    "explain",
    "explain_all",
    "find_client",
]
