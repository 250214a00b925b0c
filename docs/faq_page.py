"""The table of `faq.md`: who gets in by the node ports, from the lab's model.

Not its business: the model, and the packets that it is held against (`tests.lab`).
"""

from __future__ import annotations

from collections.abc import Iterator

from docs import markers
from docs.lab_page import columns
from testbed.lab.policing import Placement
from testbed.lab.topology import Entry
from tests.lab.cells import CLIENTS

SHOWN = {"load-balancer": "load balancer 10.2.3.4", "stranger": "a stranger", "bar-1": "a pod of another namespace"}
"""Clients by their name in the lab, and what the page calls them."""


def filled(page: str) -> str:
    """The page with the part between its markers made anew. Raises ValueError where a marker is missing."""
    return markers.filled(page, {"node ports": "".join(f"{line}\n" for line in _rows())}, name="faq.md")


def _rows() -> Iterator[str]:
    yield f"| set-up | where verdicts fall | {' | '.join(SHOWN.values())} |"
    yield "|---|---|" + "---|" * len(SHOWN)
    clients = [next(client for client in CLIENTS if client.name == name) for name in SHOWN]
    for set_up, placements, table in columns():
        where = [str(placement) for placement in placements if placement]
        words = " and ".join(where) if where and len(where) < len(Placement) else "anywhere"
        marks = " | ".join(f"`{' '.join(table.rows[client, Entry.NODE_PORT])}`" for client in clients)
        yield f"| {_cell(set_up.title)} | {words} | {marks} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
