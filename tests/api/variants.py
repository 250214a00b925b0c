"""The ways to install the operator, each by kustomize and by Helm: what either makes of it, as objects.

Not its business: what an API server makes of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from testbed import kubectl
from testbed.api_client import MERGE_PATCH
from testbed.control_plane import ControlPlane
from testbed.helm import Helm
from testbed.operator_process import NAMESPACE
from testbed.waiting import TimedOut, wait_for

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "nodeport-access-operator"
MANIFESTS = ROOT / "manifests"
RELEASE = "nodeport-access"
CRD = "nodeportaccesspolicies.nodeport-access.io"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What names an object in a cluster; a cluster-wide one is in the namespace ""."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Key:
        metadata = body["metadata"]
        return cls(body["kind"], metadata.get("namespace", ""), metadata["name"])


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to install it: a folder of kustomize, and a file of values that says the same to the chart. `written` are
    kustomizations of a user's own by their folders, beside `manifests`; without them it is a folder that is shipped."""

    name: str
    written: Mapping[str, Object] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return MANIFESTS if self.name == "default" else MANIFESTS / "overlays" / self.name

    @property
    def values(self) -> Path:
        return CHART / "ci" / f"{self.name}-values.yaml"

    def kustomized(self) -> dict[Key, Object]:
        """What `kubectl apply -k` sends, and the CRD, which is applied by itself."""
        with tempfile.TemporaryDirectory() as folder:
            text = kubectl.kustomize(write(self.written, Path(folder)) if self.written else self.folder)
        crds = [body for file in sorted((ROOT / "crds").glob("*.yaml")) for body in objects(file.read_text())]
        return by_key([*crds, *objects(text)])

    def templated(self, helm: Helm) -> dict[Key, Object]:
        """What `helm install` sends."""
        result = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", self.values)
        return by_key(objects(result.stdout))


def write(kustomizations: Mapping[str, Object], folder: Path) -> Path:
    """Write them below a folder, and say where the outermost is."""
    (folder / "manifests").symlink_to(MANIFESTS)
    for name, body in kustomizations.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "kustomization.yaml").write_text(yaml.safe_dump(body))
    return folder


OVERLAYS = [folder.name for folder in sorted((MANIFESTS / "overlays").glob("*"))]
COMPONENTS = ("namespaced", "high-availability", "monitoring", "lock-down")
EVERYTHING = Variant(
    "everything",
    written={
        "own": {"namespace": NAMESPACE, "resources": ["../manifests/components/namespaced/role"]},
        ".": {
            "resources": ["manifests/base", "manifests/overlays/namespaced/shop", "own"],
            "components": [f"manifests/components/{name}" for name in COMPONENTS],
            "patches": [
                {
                    "target": {"kind": "Deployment", "name": "nodeport-access-operator"},
                    "patch": "\n".join(
                        f"- {{op: add, path: /spec/template/spec/containers/0/args/-, value: --namespace={name}}}"
                        for name in ("shop", NAMESPACE)
                    ),
                }
            ],
        },
    },
)
"""All components at once, for listed namespaces, one of them the operator's own."""
VARIANTS = [*(Variant(name) for name in ("default", *OVERLAYS)), EVERYTHING]


def delete_crd(control_plane: ControlPlane) -> None:
    """Delete it if it is there, and wait until it is gone and could be made anew.

    The API server's own controller ends it, by events: one that it gave up on it takes up again when the CRD changes,
    or after five minutes.
    """
    control_plane.kubectl("delete", "crd", CRD, "--ignore-not-found", "--wait=false")
    address = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}"

    def is_gone() -> bool:
        code, found = control_plane.request("GET", address)
        assert code == 404, found.get("status", {}).get("conditions", found)
        return True

    for number in range(15):
        with suppress(TimedOut):
            wait_for(is_gone, seconds=20, what="the end of the CRD")
            return
        change = {"metadata": {"annotations": {"tests/touched": str(number)}}}
        control_plane.request("PATCH", address, change, content_type=MERGE_PATCH)
    wait_for(is_gone, seconds=20, what="the end of the CRD")


def objects(text: str) -> list[Object]:
    return [body for body in yaml.safe_load_all(text) if body]


def by_key(bodies: Iterable[Object]) -> dict[Key, Object]:
    found: dict[Key, Object] = {}
    for body in bodies:
        assert Key.of(body) not in found, f"{Key.of(body)} is there twice"
        found[Key.of(body)] = body
    return found
