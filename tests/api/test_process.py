"""What ends the process and how fast, and what it lives through: credentials, certificates, crashes.

Not the business of this module: what it waits for at its start (`test_startup`), permissions (`test_permissions`), time
(`test_time`).
"""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pytest
import yaml

from testbed.control_plane import ControlPlane
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT
from tests.api import tampered
from tests.api.access import a_site
from tests.api.conftest import StartOperator


@pytest.fixture
def plane(quiet_control_plane: ControlPlane) -> ControlPlane:
    """A control plane that each test leaves complete."""
    return quiet_control_plane


def test_a_certificate_authority_without_key_identifiers_is_good_enough_on_every_python(
    plane: ControlPlane, start_operator: StartOperator
) -> None:
    kubeconfig = plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
    content = yaml.safe_load(kubeconfig.read_text())
    authority = (kubeconfig.parent / "older-ca.crt").read_bytes()
    content["clusters"][0]["cluster"] = {
        "server": f"https://localhost:{urlsplit(plane.url).port}",
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    kubeconfig.write_text(yaml.safe_dump(content))
    operator = start_operator(plane, kubeconfig=kubeconfig, module=tampered.MODULE, environment={"TAMPER": "strict"})
    site = a_site(plane, "older-authority")
    site.create_service()
    site.create_policy()
    site.await_ready()
    operator.stop()
