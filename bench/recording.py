"""The recording server: an API server in memory (`bench/server`), for what the real one cannot hold on one machine.

It writes the audit log that a real one writes, so that contenders are watched and measured alike on both. What it does
not do is told in `bench/server/main.go`; that the operator comes to the same on both is held by
`tests/bench/test_recording.py`.

Not its business: what is measured on it (`bench.limits`).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Self

import yaml

from bench.world import PER_NAMESPACE, AnyWorld, Guarded, policy_of, service_of
from testbed import audit, objects
from testbed.api_client import ApiClient, ApiUnavailable, Json
from testbed.cluster import path
from testbed.credentials import ADMIN, Credentials
from testbed.failure import Failure
from testbed.operator_process import ROOT
from testbed.ports import PortBlock
from testbed.programs import Programs
from testbed.running import RunningPrograms
from testbed.waiting import wait_for

PROGRAM = "recording-server"
UNGUARDED, GUARDED, NODES = "unguarded", "guarded", "nodes"
"""The sets of objects that a world has; churn goes on in one of them."""

_TEMPLATE = Guarded(namespace="bench-GROUP", policy="pNUMBER", service="sNUMBER")
_TEMPLATE_UNGUARDED = Guarded(namespace="others-GROUP", policy="", service="oNUMBER")


class RecordingServerFailed(Failure):
    """The recording server ended, or refused what the bench asked for."""


class RecordingServer:
    """It runs inside a `with`, with the CRD in it; an `ApiServer`. The folder is the caller's."""

    def __init__(self, *, folder: Path, programs: Programs) -> None:
        self.folder = folder.resolve()
        self._program = programs[PROGRAM]
        self._audit = audit.AuditLog(path=self.folder / "audit.log", ask=lambda uri: self.request("GET", uri)[0] == 200)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._running = RunningPrograms(folder=self.folder)
        self._ports = PortBlock.claim(random=Random())
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.end_all([PROGRAM])
        self._running.release()
        self._ports.close()

    @property
    def lock(self) -> int:
        """For the supervisors of what else belongs here."""
        return self._running.lock

    def process_ids(self) -> dict[str, int]:
        return self._running.ids()

    def service_account_kubeconfig(self, *, namespace: str, name: str) -> Path:
        """A kubeconfig with a token: here that is the name of its user."""
        user = f"system:serviceaccount:{namespace}:{name}"
        return self._credentials.for_token(url=self._url, user=user, token=user)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        seconds: float = 10,
    ) -> tuple[int, Json]:
        """Send one request as the harness. Raises ApiUnavailable when there is no answer."""
        return self._client.request(method, path, body, content_type=content_type, seconds=seconds)

    def audit_mark(self) -> int:
        return self._audit.mark()

    def audit_events(self, *, since: int = 0, user: str | None = None) -> list[dict[str, Any]]:
        return self._audit.events(since=since, user=user)

    def _start(self) -> None:
        self._credentials = Credentials(folder=self.folder / "credentials", now=datetime.datetime.now(datetime.UTC))
        address = f"127.0.0.1:{self._ports.take()}"
        self._url = f"https://{address}"
        self._client = ApiClient(kubeconfig=self._credentials.for_token(url=self._url, user=ADMIN, token=ADMIN))
        certificate, key = self._credentials.server_certificate, self._credentials.server_key
        files = ["--certificate", str(certificate), "--key", str(key), "--record", str(self._audit.path)]
        self._running.run(PROGRAM, [str(self._program), "--listen", address, *files])

        def ready() -> bool:
            if ended := self._running.first_ended([PROGRAM]):
                raise RecordingServerFailed(f"{PROGRAM} ended with {ended[1]}. {self._running.last_words(PROGRAM)}")
            try:
                return self.request("GET", "/readyz")[0] == 200
            except ApiUnavailable:
                return False

        wait_for(ready, seconds=30, what=PROGRAM, every=0.05)
        for file in sorted((ROOT / "crds").glob("*.yaml")):
            definition = yaml.safe_load(file.read_text(encoding="utf-8"))
            code, answer = self.request("POST", path(kind="CustomResourceDefinition"), definition)
            if code != 201:
                raise RecordingServerFailed(f"{file.name}: {code} {answer.get('message', answer)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened since churn was set: changes by what and where, drifts repaired and still open, writes by user and
    resource; `repair` is seconds from a drift to the answer to its repair, where one that is still open counts by its
    age, and None where there was none."""

    seconds: float
    made: Mapping[str, int]
    repaired: int
    open: int
    repair: Mapping[str, float | None]
    writes: Mapping[str, Mapping[str, int]]


class RecordedWorld(AnyWorld):
    """One that the recording server makes by itself, in seconds, of the same objects as the real one.

    Beside the guarded Services there may be others, without a policy. Each Service has an EndpointSlice; with `pods` it
    holds one that is ready, on the first node, else none.
    """

    def __init__(
        self, server: RecordingServer, *, size: int, unguarded: int = 0, nodes: int = 3, pods: bool = False
    ) -> None:
        super().__init__(server, size=size)
        self._sets = _sets(size=size, unguarded=unguarded, nodes=nodes, pods=pods)

    def create(self) -> None:
        """In place of whatever was there."""
        self.reset()

    def reset(self) -> None:
        self._send("POST", "/recording/world", {"perGroup": PER_NAMESPACE, "sets": self._sets})

    def churn(self, **rates: Mapping[str, float]) -> None:
        """So many `slices`, `drifts` and `heartbeats` a second in each set from now on, in place of those before; the
        figures begin anew."""
        self._send("POST", "/recording/churn", rates)

    def figures(self) -> Figures:
        return Figures(**self._send("GET", "/recording/figures"))


def _sets(*, size: int, unguarded: int, nodes: int, pods: bool) -> dict[str, Json]:
    def with_slice(one: Guarded) -> list[Json]:
        return [service_of(one), _slice_of(one, pods=pods)]

    return {
        NODES: {"count": nodes, "templates": [_node()]},
        GUARDED: {"count": size, "templates": [*with_slice(_TEMPLATE), policy_of(_TEMPLATE)]},
        UNGUARDED: {"count": unguarded, "templates": with_slice(_TEMPLATE_UNGUARDED)},
    }


def _node() -> Json:
    return objects.node(name="node-NUMBER", addresses=["NODE_ADDRESS"])


def _slice_of(one: Guarded, *, pods: bool) -> Json:
    """As the EndpointSlice controller makes it."""
    endpoint = {
        "addresses": ["POD_ADDRESS"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": "node-00000",
        "targetRef": {"kind": "Pod", "namespace": one.namespace, "name": f"{one.service}-0"},
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": one.namespace,
            "name": f"{one.service}-slice",
            "labels": {
                "kubernetes.io/service-name": one.service,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": [endpoint] if pods else [],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}] if pods else [],
    }
