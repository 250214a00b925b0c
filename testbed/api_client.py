"""A small synchronous client of the API server, for the harness: JSON in, code and JSON out, on a kept connection.

kubectl costs about 100 ms a call and this about 2, so it is what tests look at the world with.

Not its business: kinds and their paths (`testbed.cluster`), retries, what the events of a watch mean.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import urllib3
import yaml

from testbed.failure import Failure

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML


class ApiUnavailable(Failure):
    """The API server did not answer: it is down, paused, or cut the connection."""


class ApiClient:
    """Speaks with one API server as the user of a kubeconfig. May be used from several threads."""

    def __init__(self, *, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        context = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        if "client-key-data" in user:
            _load_client_certificate(context, user)
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._url = cluster["server"]
        self._pool = urllib3.PoolManager(ssl_context=context, maxsize=4, retries=False)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        seconds: float = 10,
    ) -> tuple[int, Json]:
        """Send one request; the answer's code and its JSON, or `{"text": ...}` where it is none.

        An error of the API server is an answer like any other. Raises ApiUnavailable when there is none within
        `seconds`.
        """
        try:
            answer = self._pool.request(
                method,
                self._url + path,
                body=None if body is None else json.dumps(body),
                headers={**self._headers, "Content-Type": content_type, **(headers or {})},
                timeout=urllib3.Timeout(seconds),
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiUnavailable(f"{method} {path}: {error}") from error
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            return answer.status, answer.json()
        return answer.status, {"text": answer.data.decode(errors="replace")}

    def stream(self, path: str, *, seconds: float = 10) -> Generator[Json]:
        """Send one GET and yield the answer line by line as it comes, each line as JSON: a watch. Whoever has seen
        enough closes the iterator.

        Raises ApiUnavailable when there is no answer, or when the next line does not come within `seconds`.
        """
        try:
            answer = self._pool.request(
                "GET",
                self._url + path,
                headers=self._headers,
                timeout=urllib3.Timeout(seconds),
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiUnavailable(f"GET {path}: {error}") from error
        try:
            for line in answer:
                yield json.loads(line)
        except urllib3.exceptions.HTTPError as error:
            raise ApiUnavailable(f"GET {path}: {error}") from error
        finally:
            answer.close()

    def close(self) -> None:
        """Close the kept connections. Safe to repeat."""
        self._pool.clear()


def _load_client_certificate(context: ssl.SSLContext, user: Mapping[str, str]) -> None:
    """The ssl module takes certificate and key from files only."""
    descriptor, name = tempfile.mkstemp(prefix="client-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
        context.load_cert_chain(name)
    finally:
        os.unlink(name)


def _decoded(data: str) -> str:
    return base64.b64decode(data).decode("ascii")
