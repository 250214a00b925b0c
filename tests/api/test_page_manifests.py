"""The manifests on the pages of the documentation: a real API server takes them.

Not the business of this module: what the operator makes of them, and manifests/samples (`test_manifests`).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from testbed.control_plane import ControlPlane
from tests.pages import blocks, pages

KINDS = ("NodePortAccessPolicy", "Service", "NetworkPolicy")


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """Every whole object of one of these kinds, with the place where it stands."""
    return [
        (f"{block.where} {body['kind']}", body)
        for page in pages()
        for block in blocks(page, "yaml")
        for body in yaml.safe_load_all(block.text)
        if isinstance(body, dict) and body.get("kind") in KINDS and "apiVersion" in body and "metadata" in body
    ]


FOUND = manifests()


@pytest.mark.parametrize("body", [body for _, body in FOUND], ids=[where for where, _ in FOUND])
def test_a_manifest_on_a_page_is_valid(control_plane: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
    moved = {**body, "metadata": {**body["metadata"], "namespace": namespace}}

    taken = control_plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(moved))

    assert taken.stderr == "", "no warning either"


def test_manifests_are_found() -> None:
    assert {body["kind"] for _, body in FOUND} == set(KINDS)
