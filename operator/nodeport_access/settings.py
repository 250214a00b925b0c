"""The settings of ``nodeport-access run``, checked and frozen. Not the business of this module: reading flags
(``__main__``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""What a namespace is named by: an RFC 1123 label."""


@dataclass(frozen=True, slots=True)
class BindAddress:
    """Where a server listens; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_bind_address(text: str) -> BindAddress:
    """``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``. Raises ValueError with one sentence."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and host == bare):
        raise ValueError(f"{text!r} is not HOST:PORT, such as 0.0.0.0:8080 or [::]:8080")
    return BindAddress(bare or "0.0.0.0", int(port))


def parse_namespace(text: str) -> str:
    """The name of one namespace. Raises ValueError with one sentence: an empty name would mean all of them, and Kopf
    would take a pattern for what it says and look for the namespaces that match, which no Role allows."""
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a namespace; patterns and lists are none")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the operator runs; no namespaces means all of them. None is in it twice."""

    kubeconfig: str | None
    context: str | None
    namespaces: tuple[str, ...]
    metrics_bind_address: BindAddress
    health_bind_address: BindAddress
    leader_elect: bool
    leader_elect_namespace: str | None
    log_format: str
    log_level: str
