"""The other implementations, each in a process that lives as long as the tests: a line of questions in, a line of
answers out, to all of them at once.

Not its business: what to ask (`generate`), and who is right (`deviations`).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from testbed.programs import ORACLES, find
from tests.oracles.case import Case, Question, addresses_of

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-oracles" / "bin" / "python"
WORKER = Path(__file__).with_name("network_config_analyzer.py")

CYCLONUS = "cyclonus"
KUBE_NETWORK_POLICIES = "kube-network-policies"
NETPOL_ANALYZER = "netpol-analyzer"
NETWORK_CONFIG_ANALYZER = "network-config-analyzer"

BEHIND_AN_API_SERVER = (CYCLONUS, KUBE_NETWORK_POLICIES)
"""They read what an API server has given defaults to."""
ON_FILES = (NETPOL_ANALYZER, NETWORK_CONFIG_ANALYZER)
"""They read what a user wrote."""
ENGINES = (*BEHIND_AN_API_SERVER, *ON_FILES)

YES, NO = "yes", "no"

Answers = Mapping[str, Sequence[str]]
"""By engine, for each question YES, NO, or the words with which it gave up."""


class Oracles:
    """All engines. Use it as a context: its end is theirs."""

    def __init__(self) -> None:
        if not PYTHON.exists():
            raise FileNotFoundError(f"{PYTHON} is not there: `make .venv-oracles/.ready` makes it")
        self._go = _Worker([str(find(ORACLES)["oracles"])])
        self._python = _Worker([str(PYTHON), str(WORKER)])

    def __enter__(self) -> Oracles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._go.end()
        self._python.end()

    def ask(self, case: Case) -> Answers:
        """What each engine says to each question, of the objects in the form that it reads."""
        return self._asked({each: case.as_stored() for each in BEHIND_AN_API_SERVER} | dict.fromkeys(ON_FILES, case))

    def ask_as_written(self, case: Case, engine: str) -> Sequence[str]:
        """What one engine says to the objects exactly as they are."""
        return self._asked({engine: case})[engine]

    def _asked(self, wanted: Mapping[str, Case]) -> Answers:
        waiting = []
        for engine, case in wanted.items():
            worker = self._python if engine == NETWORK_CONFIG_ANALYZER else self._go
            worker.send(_batch(engine, case))
            waiting.append(worker)
        found: dict[str, Sequence[str]] = {}
        for worker in waiting:
            found |= worker.receive()
        return found


class _Worker:
    def __init__(self, command: Sequence[str]) -> None:
        # Their warnings, which nobody reads unless they die.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process: `end` closes it
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        )

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, list[str]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            last = self._log.read()[-2000:]
            raise ChildProcessError(f"{self._process.args!r} ended with {self._process.wait(10)}: {last}")
        answers: dict[str, list[str]] = json.loads(line)
        return answers

    def end(self) -> None:
        """Ends the process by closing its input."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)
        self._log.close()


def _batch(engine: str, case: Case) -> str:
    return json.dumps(
        {
            "engines": [engine],
            "namespaces": case.namespaces,
            "pods": case.pods,
            "policies": case.policies,
            "questions": [_spelled(case, question) for question in case.questions],
        }
    )


def _spelled(case: Case, question: Question) -> dict[str, Any]:
    version = question.address.version
    addresses = addresses_of(case.pod(question.destination))
    return {
        "source": question.source,
        "sourceIP": str(question.address),
        "destination": question.destination,
        "destinationIP": next(str(address) for address in addresses if address.version == version),
        "protocol": question.protocol,
        "port": question.port,
    }
