"""A real Prometheus and a real Alertmanager, the system's own: `python -m testbed can-monitor` says why there are none.

Not the business of this module: what is scraped, and which rules there are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import urllib3
import yaml

from testbed.failure import Failure
from testbed.ports import PortBlock
from testbed.processes import SupervisedProcess, tail
from testbed.waiting import TimedOut, wait_for

Json = dict[str, Any]

PROMETHEUS, PROMTOOL, ALERTMANAGER, AMTOOL = "prometheus", "promtool", "prometheus-alertmanager", "amtool"
PACKAGES = {
    PROMETHEUS: "prometheus",
    PROMTOOL: "prometheus",
    ALERTMANAGER: "prometheus-alertmanager",
    AMTOOL: "prometheus-alertmanager",
}
UPSTREAM = {ALERTMANAGER: "alertmanager"}
"""What a program is called where it is not Debian's."""
START_SECONDS = 30.0


class QueryFailed(Failure):
    """Prometheus could not answer a query; the message says what is wrong with it."""


def find(program: str) -> str | None:
    """Its path, None where there is none."""
    return shutil.which(program) or shutil.which(UPSTREAM.get(program, program))


def missing() -> str:
    """Which programs are not there, in a sentence with the way out; empty where all are."""
    absent = [program for program in PACKAGES if find(program) is None]
    if not absent:
        return ""
    packages = " ".join(dict.fromkeys(PACKAGES[program] for program in absent))
    return f"{', '.join(absent)} not found: install them (on Debian: apt-get install {packages})"


class _Server:
    """A program with an HTTP API on loopback. Ended at the latest with this process."""

    def __init__(self, *, command: Sequence[str], port: int, folder: Path, ready: str) -> None:
        self._port = port
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(10))
        self._process = SupervisedProcess(command=command, log=folder / "log", folder=folder)
        try:
            wait_for(lambda: self._answers(ready), seconds=START_SECONDS, what=self._process.name)
        except TimedOut:
            self.close()
            raise Failure(f"{self._process.name} did not start:\n{tail(folder / 'log')}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def close(self) -> None:
        """End it. Safe to repeat."""
        self._process.end()
        self._http.clear()

    def get(self, path: str, fields: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """The code and the JSON of an answer."""
        answer: Any = self._http.request("GET", f"http://{self.address}{path}", fields=fields)
        return answer.status, json.loads(answer.data)

    def _answers(self, path: str) -> bool:
        assert self._process.exit_code() is None, "it has ended"
        try:
            return bool(self._http.request("GET", f"http://{self.address}{path}").status == 200)
        except urllib3.exceptions.HTTPError:
            return False


class Prometheus(_Server):
    """A Prometheus with a configuration of the caller's, in a folder of its own."""

    def __init__(self, *, folder: Path, ports: PortBlock, configuration: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True)
        file, port = folder / "prometheus.yaml", ports.take()
        file.write_text(yaml.safe_dump(dict(configuration), sort_keys=False))
        words = {
            "config.file": file,
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
            "log.level": "warn",
        }
        command = [str(find(PROMETHEUS)), *(f"--{name}={value}" for name, value in words.items())]
        super().__init__(command=command, port=port, folder=folder, ready="/-/ready")

    def query(self, expression: str) -> list[Json]:
        """What an expression comes to now: the samples of a vector. Raises QueryFailed."""
        return self._asked("/api/v1/query", {"query": expression})

    def query_range(self, expression: str, *, start: float, end: float, step: float) -> list[Json]:
        """The series of an expression over time. Raises QueryFailed."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return self._asked("/api/v1/query_range", {"query": expression, **times})

    def alerts(self) -> list[Json]:
        """Its alerts, pending and firing."""
        found: list[Json] = self.get("/api/v1/alerts")[1]["data"]["alerts"]
        return found

    def rules(self) -> list[Json]:
        """Every rule with its health, and what was wrong when it was evaluated last."""
        groups = self.get("/api/v1/rules")[1]["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _asked(self, path: str, fields: Mapping[str, str]) -> list[Json]:
        code, answer = self.get(path, fields)
        if code != 200:
            raise QueryFailed(f"{fields['query']}: {answer['error']}")
        found: list[Json] = answer["data"]["result"]
        return found


class Alertmanager(_Server):
    """An Alertmanager by itself, with a configuration file of the caller's."""

    def __init__(self, *, folder: Path, ports: PortBlock, configuration: Path) -> None:
        folder.mkdir(parents=True)
        port = ports.take()
        words = {
            "config.file": configuration,
            "storage.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
            "cluster.listen-address": "",  # no other is looked for
            "log.level": "warn",
        }
        command = [str(find(ALERTMANAGER)), *(f"--{name}={value}" for name, value in words.items())]
        super().__init__(command=command, port=port, folder=folder, ready="/-/ready")

    def alerts(self) -> list[Json]:
        """The alerts that are active now, inhibited ones included (API v2)."""
        found: list[Json] = self.get("/api/v2/alerts")[1]
        return found
