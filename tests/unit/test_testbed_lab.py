"""What a machine lacks for the dataplane lab is one sentence, with what to do about it."""

from __future__ import annotations

import os
import shutil

import pytest

from testbed.lab import machine
from testbed.lab.topology import NODES, OUTSIDE


def test_whoever_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert "needs root" in str(machine.missing())


def test_absent_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    absent = {"iptables-restore", "ip6tables-restore", "nft"}
    monkeypatch.setattr(shutil, "which", lambda name: None if name in absent else f"/usr/sbin/{name}")

    assert machine.missing() == (
        "the dataplane lab needs iptables-restore, ip6tables-restore, nft: apt-get install iptables nftables"
    )


def test_no_two_have_the_same_address() -> None:
    pods = [address for node in NODES for number in (10, 20, 30) for address in node.pod(number)]
    services = [address for node in NODES for address in (*node.external_ips, *node.load_balancer_ips)]
    hosts = [host.addresses for host in OUTSIDE] + [node.addresses for node in NODES]
    addresses = [address for pair in hosts for address in pair] + pods + services

    assert len(set(addresses)) == len(addresses)
