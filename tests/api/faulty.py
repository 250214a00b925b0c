"""An operator behind the fault proxy: how tests start it, and what has to hold of it whatever goes wrong.

Not its business: which faults there are (`fault_table`), and what should come of each.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess
from tests.api.access import until


@dataclass(frozen=True, slots=True)
class Behind:
    """A cluster, the operator on it, and the proxy between them. The test itself goes past the proxy."""

    cluster: Cluster
    proxy: FaultProxy
    operator: OperatorProcess

    def assert_alive(self) -> None:
        """It has not ended, and does not ask for a new start."""
        assert self.operator.exit_code is None
        assert self.operator.health("/healthz") == (200, "ok\n")

    def await_ready(self, *, seconds: float = 20) -> None:
        until(lambda: self.operator.health()[0] == 200, "readiness", seconds=seconds)

    def await_unready(self, saying: str, *, seconds: float = 10) -> None:
        """Wait for a 503 with a reason that contains this."""

        def is_unready() -> bool:
            code, reason = self.operator.health()
            assert (code, saying in reason) == (503, True), reason
            return True

        until(is_unready, f"unreadiness because of {saying}", seconds=seconds)

    def warnings(self) -> list[dict[str, Any]]:
        """What it has logged from warnings upwards; nothing but JSON, so no traceback that nobody caught."""
        records = [json.loads(line) for line in self.operator.log_lines()]
        return [record for record in records if record["level"] not in ("DEBUG", "INFO")]

    def requests(self, *, verb: str, resource: str, code: int) -> int:
        """How many such requests /metrics counts."""
        labels = f'code="{code}",resource="{resource}",verb="{verb}"'
        found = re.search(rf"^nodeport_access_api_requests_total{{{labels}}} (\S+)$", self.operator.metrics(), re.M)
        return int(float(found[1])) if found else 0


def nothing(_: FaultProxy) -> AbstractContextManager[object]:
    return contextlib.nullcontext()


@contextlib.contextmanager
def operator_behind_proxy(
    control_plane: ControlPlane,
    *,
    folder: Path,
    begin_with: Callable[[FaultProxy], AbstractContextManager[object]] = nothing,
    **flags: object,
) -> Iterator[Behind]:
    """Start both, with a fault in the way from the beginning, wait until the operator is ready, and end both.

    Flags as of `OperatorProcess`.
    """
    with FaultProxy(control_plane) as proxy, begin_with(proxy):
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = OperatorProcess(control_plane, log=folder / "operator.log", kubeconfig=kubeconfig, flags=flags)
        try:
            operator.wait_until_ready()
            yield Behind(Cluster(control_plane), proxy, operator)
        finally:
            operator.close()
