"""One running control plane: etcd, kube-apiserver, kube-controller-manager, with ports and a folder of their own.

    with ControlPlane(folder=folder, programs=find()) as control_plane:
        code, answer = control_plane.request("GET", "/api/v1/nodes")

RBAC is real. The harness itself is a member of `system:masters`, which passes every check: never test permissions with
it, but with `kubeconfig` or `service_account_kubeconfig`. Nothing of it outlives this process (`testbed.supervisor`).

Not its business: objects in the cluster (`testbed.cluster`), and the operator (`testbed.operator_process`).
"""

from __future__ import annotations

import datetime
import shutil
import subprocess
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Self

from testbed import audit, command_lines, kubectl
from testbed.api_client import ApiClient, ApiUnavailable, Json
from testbed.credentials import ADMIN, Credentials
from testbed.failure import Failure
from testbed.ports import PortBlock
from testbed.programs import Programs
from testbed.running import RunningPrograms
from testbed.waiting import TimedOut, wait_for

ETCD, API_SERVER, CONTROLLER_MANAGER = "etcd", "kube-apiserver", "kube-controller-manager"

_START_SECONDS = 90.0  # takes about 4 s; the rest is for machines under load
_ATTEMPTS = 3  # at ports; a second one is already rare


class ControlPlaneFailed(Failure):
    """A program of the control plane ended or did not become ready; the message carries the end of its log."""


class ForeignKubeconfig(Failure):
    """A kubeconfig that this control plane did not make: the harness touches no other cluster."""


class _PortTaken(ControlPlaneFailed):
    pass


class ControlPlane:
    """A control plane that runs between `start` and `stop`, or as a context manager.

    The folder is the caller's: logs and the audit log are still there after `stop`, etcd's data are not.
    """

    def __init__(
        self,
        *,
        folder: Path,
        programs: Programs,
        node_ports: str = "30000-32767",
        bind_address: str = "127.0.0.1",
        random: Random | None = None,
    ) -> None:
        """`node_ports` is the range of node ports; widen it for benchmarks with thousands of Services. `bind_address`
        is where the API server listens: anything but loopback only in a network namespace of one's own.
        """
        self._bind_address = bind_address
        self.folder = folder.resolve()
        self._programs = programs
        self._node_ports = node_ports
        self._random = random or Random()
        self._running: RunningPrograms | None = None
        self._clients: dict[Path, ApiClient] = {}
        self._block: PortBlock | None = None
        self._audit = audit.AuditLog(path=self.folder / "audit.log", ask=self._ask_for_audit)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until it works. Raises ControlPlaneFailed and FolderInUse."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._running = RunningPrograms(folder=self.folder)
        try:
            (self.folder / "audit-policy.yaml").write_text(audit.POLICY)
            now = datetime.datetime.now(datetime.UTC)
            self._credentials = Credentials(folder=self.folder / "credentials", now=now)
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._start_on(PortBlock.claim(random=self._random))
                    return
                except _PortTaken:
                    self._stop_programs()
                    if attempt == _ATTEMPTS:
                        raise
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything. Safe to repeat."""
        if self._running is not None:
            self._stop_programs()
            shutil.rmtree(self.folder / "etcd", ignore_errors=True)
            self._running.release()

    def start_api_server(self, *, seconds: float = _START_SECONDS) -> None:
        """Start kube-apiserver and wait until it is ready; after `stop_api_server` with the same port and data."""
        self._alive.run(
            API_SERVER,
            command_lines.kube_apiserver(
                program=self._programs[API_SERVER],
                bind_address=self._bind_address,
                ports=self._ports,
                credentials=self._credentials,
                node_ports=self._node_ports,
                audit_policy=self.folder / "audit-policy.yaml",
                audit_log=self._audit.path,
            ),
        )
        self._wait("/readyz", API_SERVER, seconds=seconds)

    def stop_api_server(self, *, kill: bool = False) -> int:
        """End kube-apiserver in order, or with `kill` as a crash would: connections break without a word.

        Returns its exit code: 0, or 137 where it was killed.
        """
        return self._alive.end(API_SERVER, kill=kill)

    def start_controller_manager(self, *, seconds: float = _START_SECONDS) -> None:
        """Start kube-controller-manager; the first time, wait for proof of its work (the default ServiceAccount).

        After a stop that proof is there from before: wait for what you need of it. Never before the API server is
        ready: it ends when the RBAC roles are not there yet.
        """
        self._alive.run(
            CONTROLLER_MANAGER,
            command_lines.kube_controller_manager(
                program=self._programs[CONTROLLER_MANAGER],
                ports=self._ports,
                credentials=self._credentials,
                kubeconfig=self.kubeconfig(user="system:kube-controller-manager"),
            ),
        )
        self._wait("/api/v1/namespaces/default/serviceaccounts/default", CONTROLLER_MANAGER, seconds=seconds)

    def stop_controller_manager(self, *, kill: bool = False) -> int:
        """End kube-controller-manager: no EndpointSlices, no garbage collection, no new ServiceAccounts from now on."""
        return self._alive.end(CONTROLLER_MANAGER, kill=kill)

    def pause(self, program: str = API_SERVER) -> None:
        """Stop a program without ending it (SIGSTOP): connections stand, and nothing is answered on them."""
        self._alive.pause(program)

    def resume(self, program: str = API_SERVER) -> None:
        self._alive.resume(program)

    def process_ids(self) -> dict[str, int]:
        """The ids of the programs that run, by their names."""
        return self._alive.ids()

    # --- clients ----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._ports.api_server}"

    @property
    def lock(self) -> int:
        """A file descriptor for the supervisors of what else belongs here; see `testbed.running`."""
        return self._alive.lock

    @property
    def ports(self) -> PortBlock:
        """More ports that nobody else takes, for what runs beside this control plane."""
        assert self._block is not None, "it was not started"
        return self._block

    @property
    def credentials(self) -> Credentials:
        """The files for others that stand in for a part of this control plane."""
        return self._credentials

    @property
    def admin_kubeconfig(self) -> Path:
        """The harness's own, beyond RBAC."""
        return self._admin_kubeconfig

    @property
    def advertised_url(self) -> str:
        """Where a node of the dataplane lab reaches the API server."""
        return f"https://{command_lines.ADVERTISED_ADDRESS}:{self._ports.api_server}"

    def kubeconfig(self, *, user: str, groups: Iterable[str] = (), url: str | None = None) -> Path:
        """Write a kubeconfig with a client certificate of this user, who may do what RBAC lets him.

        `url` is for another way to the same API server.
        """
        return self._credentials.for_client(url=url or self.url, user=user, groups=groups)

    def service_account_kubeconfig(
        self, *, namespace: str, name: str, seconds: int = 7 * 86400, url: str | None = None
    ) -> Path:
        """Write a kubeconfig with a token of an existing ServiceAccount (TokenRequest), good for so many seconds.

        `url` is for another way to the same API server.
        """
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        code, answer = self.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
            {**request, "spec": {"expirationSeconds": seconds}},
        )
        if code != 201:
            raise ControlPlaneFailed(f"no token for {namespace}/{name}: {answer.get('message', answer)}")
        user = f"system:serviceaccount:{namespace}:{name}"
        return self._credentials.for_token(url=url or self.url, user=user, token=answer["status"]["token"])

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        kubeconfig: Path | None = None,
        seconds: float = 10,
    ) -> tuple[int, Json]:
        """Send one request, as the harness or as the user of `kubeconfig`; the code and the JSON of the answer.

        Raises ApiUnavailable when there is no answer, and ForeignKubeconfig.
        """
        return self._client(kubeconfig).request(
            method, path, body, content_type=content_type, headers=headers, seconds=seconds
        )

    def stream(self, path: str, *, seconds: float = 10) -> Generator[Json]:
        """The answer to a GET as the harness, line by line as it comes: a watch.

        Raises ApiUnavailable when there is no answer, or when the next line does not come within `seconds`.
        """
        return self._client(None).stream(path, seconds=seconds)

    def _client(self, kubeconfig: Path | None) -> ApiClient:
        kubeconfig = self.own(kubeconfig or self.admin_kubeconfig)
        if kubeconfig not in self._clients:
            self._clients[kubeconfig] = ApiClient(kubeconfig=kubeconfig)
        return self._clients[kubeconfig]

    def kubectl(
        self,
        *arguments: str | Path,
        input: str | None = None,
        kubeconfig: Path | None = None,
        check: bool = True,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run the kubectl of this virtual environment, as a user would see it.

        Raises KubectlFailed where `check` is set, and subprocess.TimeoutExpired.
        """
        own = self.own(kubeconfig or self.admin_kubeconfig)
        return kubectl.run(arguments, kubeconfig=own, home=self.folder, input=input, check=check, seconds=seconds)

    def own(self, kubeconfig: Path) -> Path:
        """The same kubeconfig if it is one of this control plane. Raises ForeignKubeconfig."""
        if kubeconfig.resolve().parent != self._credentials.folder:
            raise ForeignKubeconfig(f"{kubeconfig} was not made by the control plane in {self.folder}")
        return kubeconfig

    # --- what was asked of the API server ---------------------------------------------------------------------------

    def audit_mark(self) -> int:
        """The place in the audit log after everything that was answered until now; for `audit_events(since=...)`."""
        return self._audit.mark()

    def audit_events(self, *, since: int = 0, user: str | None = None) -> list[dict[str, Any]]:
        """The audit log from a mark on (audit.k8s.io/v1 Event), of one user or of all; see `testbed.audit.POLICY`."""
        return self._audit.events(since=since, user=user)

    def _ask_for_audit(self, path: str) -> bool:
        return self._alive.answers(API_SERVER) and self.request("GET", path)[0] == 200

    # --- how --------------------------------------------------------------------------------------------------------

    def _start_on(self, block: PortBlock) -> None:
        self._block = block
        self._ports = command_lines.Ports(
            etcd=block.take(), etcd_peers=block.take(), api_server=block.take(), controller_manager=block.take()
        )
        self._admin_kubeconfig = self.kubeconfig(user=ADMIN, groups=["system:masters"])
        data = self.folder / "etcd"
        shutil.rmtree(data, ignore_errors=True)
        command = command_lines.etcd(program=self._programs[ETCD], data=data, ports=self._ports)
        self._alive.run(ETCD, command)
        self.start_api_server()
        self.start_controller_manager()

    def _wait(self, path: str, program: str, *, seconds: float) -> None:
        """Wait until `path` is answered with 200."""

        def answers() -> bool:
            if ended := self._alive.first_ended((ETCD, program)):
                raise self._failure(ended[0], f"ended with code {ended[1]}")
            try:
                return self.request("GET", path, seconds=2)[0] == 200
            except ApiUnavailable:
                return False

        try:
            wait_for(answers, seconds=seconds, what=program)
        except TimedOut:
            raise self._failure(program, f"was not ready within {seconds:g} s") from None

    def _failure(self, program: str, what: str) -> Exception:
        text = f"{program} {what}. {self._alive.last_words(program)}"
        return _PortTaken(text) if "address already in use" in text else ControlPlaneFailed(text)

    def _stop_programs(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        # At once: nothing of theirs is kept that an orderly end would save.
        self._alive.end_all((CONTROLLER_MANAGER, API_SERVER, ETCD))
        if self._block is not None:
            self._block.close()

    @property
    def _alive(self) -> RunningPrograms:
        assert self._running is not None, "it was not started"
        return self._running
