"""The files by which the programs of one control plane, and its clients, know each other.

Two authorities: one for the API server's own certificate, one for its clients', so that neither can stand in for the
other. To those who call it `localhost`, the API server shows a certificate of a third one, which like that of many an
older cluster does without key identifiers.

Not its business: what a user may do (RBAC in the cluster), and signing (`testbed.certificates`).
"""

from __future__ import annotations

import base64
import datetime
import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from testbed.certificates import Authority, KeyPair, service_account_keys

ADMIN = "testbed-admin"
OLDER_NAME = "localhost"
SERVER_NAMES = ("127.0.0.1", "::1", "10.99.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


class Credentials:
    """Keys, certificates and kubeconfigs in a folder of their own, readable by the user only."""

    def __init__(self, *, folder: Path, now: datetime.datetime) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._numbers = itertools.count(1)
        self._clients = Authority(name="testbed clients", now=now)
        servers = Authority(name="testbed servers", now=now)
        self._server_ca = servers.certificate
        self.server_ca = self._write("server-ca.crt", servers.certificate)
        self.client_ca = self._write("client-ca.crt", self._clients.certificate)
        self.server_certificate, self.server_key = self._write_pair("server", servers.server(hosts=SERVER_NAMES))
        older = Authority(name="testbed servers of old", now=now, key_identifiers=False)
        self.older_ca = self._write("older-ca.crt", older.certificate)
        self.older_certificate, self.older_key = self._write_pair("older", older.server(hosts=[OLDER_NAME]))
        keys = service_account_keys()
        self.service_account_key = self._write("service-accounts.key", keys.private)
        self.service_account_public_key = self._write("service-accounts.pub", keys.public)

    def for_client(self, *, url: str, user: str, groups: Iterable[str] = ()) -> Path:
        """A kubeconfig with a client certificate for this user."""
        pair = self._clients.client(user=user, groups=groups)
        identity = {"client-certificate-data": _base64(pair.public), "client-key-data": _base64(pair.private)}
        return self._kubeconfig(url=url, user=user, identity=identity)

    def for_token(self, *, url: str, user: str, token: str) -> Path:
        """A kubeconfig with a bearer token."""
        return self._kubeconfig(url=url, user=user, identity={"token": token})

    def _kubeconfig(self, *, url: str, user: str, identity: Mapping[str, str]) -> Path:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "clusters": [
                {
                    "name": "testbed",
                    "cluster": {"server": url, "certificate-authority-data": _base64(self._server_ca)},
                }
            ],
            "users": [{"name": user, "user": dict(identity)}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        }
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", user)
        number = next(self._numbers)  # the same user may come with other groups, or another token
        return self._write(f"{name}-{number}.kubeconfig", yaml.safe_dump(content, sort_keys=False).encode())

    def _write_pair(self, name: str, pair: KeyPair) -> tuple[Path, Path]:
        return self._write(f"{name}.crt", pair.public), self._write(f"{name}.key", pair.private)

    def _write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
