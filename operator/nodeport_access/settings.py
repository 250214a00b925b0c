"""The settings of ``nodeport-access run``, checked and frozen. Not the business of this module: reading flags
(``__main__``)."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the operator runs; no namespaces means all of them."""

    kubeconfig: str | None
    context: str | None
    namespaces: tuple[str, ...]
    metrics_bind_address: BindAddress
    health_bind_address: BindAddress
    log_format: str
    log_level: str
