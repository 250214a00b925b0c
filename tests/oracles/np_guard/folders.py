"""One of np-guard's test folders, read as netpol-analyzer reads it: workloads, namespaces and NetworkPolicies.

Not its business: what is expected of the folder (`lists`), or what we say to it (`comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nodeport_access.api import Body
from tests.oracles import case as bodies

ADMIN_KINDS = frozenset({"AdminNetworkPolicy", "BaselineAdminNetworkPolicy"})
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"), ("spec", "template")
    ),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """``pods`` are by the workload's name in np-guard's spelling, "namespace/name[Kind]", one for each workload."""

    namespaces: tuple[Body, ...]
    pods: Mapping[str, Body]
    policies: tuple[Body, ...]
    kinds: frozenset[str]


def read(path: Path) -> Folder:
    """Reads every object below a folder; what is no object is passed over, as upstream does."""
    objects = list(_objects(path))
    workloads = dict(_workloads(objects))
    names = dict.fromkeys(name.partition("/")[0] for name in workloads)
    labels: dict[str, dict[str, str]] = {name: {} for name in names}
    for body in objects:
        if body["kind"] == "Namespace":
            labels[body["metadata"]["name"]] = body["metadata"].get("labels") or {}
    return Folder(
        namespaces=tuple(bodies.namespace(name, found) for name, found in labels.items()),
        pods={name: _pod(name, template, number) for number, (name, template) in enumerate(workloads.items(), start=1)},
        policies=tuple(_policy(body) for body in objects if body["kind"] == "NetworkPolicy"),
        kinds=frozenset(body["kind"] for body in objects),
    )


def _objects(path: Path) -> Iterator[Body]:
    for file in sorted(path.rglob("*")):
        if file.suffix not in (".yaml", ".yml", ".json"):
            continue
        try:
            documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        except yaml.YAMLError:
            continue
        for document in documents:
            yield from _expanded(document)


def _expanded(document: Any) -> Iterator[Body]:
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        return
    if document["kind"].endswith("List"):
        for item in document.get("items") or ():
            yield from _expanded({"kind": document["kind"].removesuffix("List"), **item})
    elif isinstance(document.get("metadata"), dict):
        yield document


def _workloads(objects: list[Body]) -> Iterator[tuple[str, Body]]:
    """Pods under their owners' names; of those that one owner has, the last."""
    for body in objects:
        kind, metadata = body["kind"], body["metadata"]
        namespace = metadata.get("namespace") or "default"
        if kind == "Pod":
            owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
            if owner is not None and owner.get("kind") != "Node":
                yield f"{namespace}/{owner['name']}[{owner.get('kind', 'Pod')}]", body
            else:
                yield f"{namespace}/{metadata['name']}[Pod]", body
        elif kind in TEMPLATES:
            template = body
            for step in TEMPLATES[kind]:
                template = template[step]
            yield f"{namespace}/{metadata['name']}[{kind}]", template


def _pod(name: str, template: Body, number: int) -> Body:
    """A pod with an address of its own making, because most of these have none."""
    ports = [
        {"protocol": "TCP", **port}
        for container in template["spec"].get("containers") or ()
        for port in container.get("ports") or ()
        if "containerPort" in port
    ]
    labels = (template.get("metadata") or {}).get("labels") or {}
    return bodies.pod(name, number=number, labels=labels, ports=ports)


def _policy(body: Body) -> Body:
    metadata = body["metadata"]
    spec = {name: value for name, value in body["spec"].items() if value is not None}
    return bodies.policy(f"{metadata.get('namespace') or 'default'}/{metadata['name']}", spec)
