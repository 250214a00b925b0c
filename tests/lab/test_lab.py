"""The lab itself: whether packets go where a cluster's would before anybody filters anything."""

from __future__ import annotations

import pytest

from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Fate, Protocol
from testbed.lab.lab import Lab
from testbed.lab.proxies import Mode
from testbed.waiting import wait_for


@pytest.mark.parametrize("mode", Mode)
def test_everyone_gets_in_through_every_node_while_nothing_filters(lab: Lab, mode: Mode) -> None:
    lab.arrange(mode, None)
    clients = [host.name for host in topology.OUTSIDE] + ["foo-1", "foo-2", "bar-1", "bar-2"]
    requests = [
        (Dial(address=address, port=stage.NODE_PORT, protocol=protocol), client)
        for node in topology.NODES
        for address in node.addresses
        for protocol in Protocol
        for client in clients
    ]

    def all_get_in() -> bool:
        assert {str(outcome.fate) for outcome in lab.dial(requests)} == {Fate.THROUGH}
        return True

    wait_for(all_get_in, seconds=10, what="everyone to get in")
