"""Network namespaces that vanish with the process that made them, whatever becomes of it, and sockets inside them.

`isolate` gives the calling thread, and every thread and process it starts from then on, a mount namespace with a /run
of its own, and a network namespace of its own. What `ip netns` makes afterwards is bound to files in that /run: the
kernel takes it all apart with the last process that sees it. Nothing has to be cleaned up, so nothing can be left.

A socket belongs for ever to the namespace that its thread was in when it was made. So one process can hold sockets in
any number of namespaces, and needs no helpers there.

Source: network_namespaces(7), mount_namespaces(7), setns(2), ip-netns(8). Needs CAP_SYS_ADMIN.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from testbed.failure import Failure

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000  # linux/mount.h
_RUN = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceFailed(Failure):
    """The kernel refused, or a command inside a namespace failed; the message carries what it said."""


class Namespace:
    """One network namespace, known by its name to `ip netns exec` as well."""

    def __init__(self, name: str) -> None:
        """The namespace of this name, which exists."""
        self.name = name
        self.path = _RUN / name

    @staticmethod
    def make(name: str) -> Namespace:
        """A new one, with `lo` up. Raises NamespaceFailed."""
        run("ip", "netns", "add", name)
        made = Namespace(name)
        made.ip("link set lo up")
        return made

    def remove(self) -> None:
        """Take its name away; it ends with its last socket and process. Interfaces to others end at once."""
        run("ip", "netns", "del", self.name)

    def command(self, *words: str | Path) -> list[str]:
        """The words of a command line that runs these words inside."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words: str | Path, input: str | None = None) -> str:
        """Run a command inside; what it printed. Raises NamespaceFailed."""
        return run(*self.command(*words), input=input)

    def ip(self, *lines: str) -> None:
        """Carry out lines of `ip -batch` inside. Raises NamespaceFailed."""
        run("ip", "-n", self.name, "-batch", "-", input="\n".join(lines) + "\n")

    def set(self, settings: Mapping[str, object]) -> None:
        """Set sysctls below net/ ("ipv4/ip_forward"): those of the namespace that the writing thread is in."""
        with self.entered():
            for name, value in settings.items():
                Path("/proc/sys/net", name).write_text(str(value))

    def socket(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        """A new socket inside, non-blocking."""
        with self.entered():
            made = socket.socket(family, kind)
        made.setblocking(False)
        return made

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside, until the block ends. Nothing in the block may wait for another thread or task."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _call("setns", there, _CLONE_NEWNET)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _call("setns", home, _CLONE_NEWNET)
        finally:
            os.close(home)


def isolate(name: str) -> Namespace:
    """Leave the machine's network for an empty one, which gets this name, and its /run for an empty one.

    Only the calling thread leaves: call it before others are started. Raises NamespaceFailed.
    """
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWNET)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"lab", b"/run", b"tmpfs", 0, b"mode=755")
    _RUN.mkdir()
    left_for = Namespace(name)
    left_for.path.touch()
    _call("mount", b"/proc/thread-self/ns/net", bytes(left_for.path), None, _MS_BIND, None)
    left_for.ip("link set lo up")
    return left_for


def run(*words: str | Path, input: str | None = None) -> str:
    """Run a command where this thread is; what it printed. Raises NamespaceFailed."""
    command = [str(word) for word in words]
    done = subprocess.run(command, input=input, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise NamespaceFailed(f"{shlex.join(command)}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        raise NamespaceFailed(f"{function}: {os.strerror(ctypes.get_errno())}")
