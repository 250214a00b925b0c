"""The proxy as tests see it: synchronous, with the event loop in a thread of its own.

Not its business: how requests are carried (`server`, `exchange`, `upstream`), and what faults do (`faults`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Coroutine, Iterator, Set
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from testbed.credentials import Credentials
from testbed.fault_proxy.faults import Fault
from testbed.fault_proxy.gates import Gate
from testbed.fault_proxy.injection import Injected, Trouble
from testbed.fault_proxy.request_info import Match
from testbed.fault_proxy.server import Server
from testbed.fault_proxy.upstream import Upstream
from testbed.ports import PortBlock

_SECONDS = 10.0  # for what takes milliseconds

T = TypeVar("T")


class ApiServer(Protocol):
    """What the proxy stands before: a `testbed.control_plane.ControlPlane`."""

    @property
    def url(self) -> str: ...
    @property
    def ports(self) -> PortBlock: ...
    @property
    def credentials(self) -> Credentials: ...
    def service_account_kubeconfig(self, *, namespace: str, name: str, url: str | None = None) -> Path: ...


class FaultProxy:
    """Runs between `start` and `close`, or as a context manager. Everything here is for the test's own thread.

    Clients must come with a token: one with a client certificate would prove himself to the proxy, and the API server
    would not know him.
    """

    def __init__(self, api_server: ApiServer) -> None:
        self._api_server = api_server
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Listen on a port of the control plane's. Raises NoFreePorts and OSError."""
        self._port = self._api_server.ports.take()
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), name="fault-proxy", daemon=True)
        self._thread.start()
        try:
            started.result(_SECONDS)
        except BaseException:
            self._join()
            raise

    def close(self) -> None:
        """End at once, with whatever is open. Safe to repeat.

        Raises an ExceptionGroup where the proxy itself has failed: what was seen then may be its fault.
        """
        if self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._closing.set)
        self._join()
        if self._server.crashes:
            raise ExceptionGroup("the fault proxy failed by itself", self._server.crashes)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def service_account_kubeconfig(self, *, namespace: str, name: str) -> Path:
        """Like that of the control plane, but the way to the API server leads through the proxy."""
        return self._api_server.service_account_kubeconfig(namespace=namespace, name=name, url=self.url)

    def writes(self, *, namespace: str = "") -> list[str]:
        """What the API server has carried out, of one namespace or of all, in the order of its answers; each as
        "verb resource[/subresource] name".
        """
        return [str(info) for info in self._upstream.writes.copy() if namespace in ("", info.namespace)]

    def inject(
        self,
        fault: Fault,
        *,
        verbs: Set[str] = frozenset(),
        resources: Set[str] = frozenset(),
        namespaces: Set[str] = frozenset(),
        names: Set[str] = frozenset(),
        times: int | None = None,
    ) -> Injected[Fault]:
        """Put a fault in the way of matching requests and streams, the first `times` of them; no set means any.

        Where several meet one request, the one injected first comes first. StreamFaults strike the streams that are
        open now before this returns.
        """
        match = Match(verbs=verbs, resources=resources, namespaces=namespaces, names=names)
        injected = Injected(
            fault=fault, match=match, times=times, remove=lambda it: self._in_loop(self._trouble.remove(it))
        )
        self._in_loop(self._trouble.inject(injected))
        return injected

    def hold_after(
        self,
        *,
        writes: int,
        verbs: Set[str] = frozenset(),
        resources: Set[str] = frozenset(),
        namespaces: Set[str] = frozenset(),
        names: Set[str] = frozenset(),
    ) -> Gate:
        """Let so many matching writes be carried out, counted from now on, and hold every other one."""
        match = Match(verbs=verbs, resources=resources, namespaces=namespaces, names=names)
        gate = Gate(writes=writes, match=match, release=lambda it: self._in_loop(self._trouble.release(it)))
        self._in_loop(self._trouble.hold(gate))
        return gate

    @contextlib.contextmanager
    def network_away(self) -> Iterator[None]:
        """Connections are refused, and those that are open are cut."""
        self._in_loop(self._server.close())
        try:
            yield
        finally:
            self._in_loop(self._server.open())

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        files = self._api_server.credentials
        try:
            serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            serving.load_cert_chain(files.server_certificate, files.server_key)
            trusting = ssl.create_default_context(cafile=str(files.server_ca))
            self._trouble = Trouble()
            self._upstream = Upstream(url=self._api_server.url, tls=trusting)
            self._server = Server(port=self._port, tls=serving, trouble=self._trouble, upstream=self._upstream)
            try:
                await self._server.open()
                started.set_result(None)
                await self._closing.wait()
            finally:
                await self._server.close()
                await self._upstream.close()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def _in_loop(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it there, and wait until it is done. After the end of the proxy there is nothing to do."""
        if self._thread is None:
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS)

    def _join(self) -> None:
        assert self._thread is not None
        self._thread.join()
        self._thread = None
        self._api_server.ports.give_back(self._port)
