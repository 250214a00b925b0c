"""A scenario: the objects of a small cluster, read from a folder of YAML that anybody may copy and edit.

Whatever is wrong with it is one sentence with the file, and the line where YAML gives one. Not the business of this
module: what happens in the cluster (``stage``, ``show``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from nodeport_access.api import Body, ServiceKey
from nodeport_access.cidrs import Address
from nodeport_access.fields import shown
from nodeport_access.inventory import InputError
from nodeport_access.inventory.checking import check
from nodeport_access.inventory.documents import Document, read_documents
from nodeport_access.inventory.endpoints import is_backend
from nodeport_access.kube import NAMESPACES, NETWORK_POLICIES, NODES, PODS, POLICIES, SERVICES, Resource
from nodeport_access.label_selectors import Labels

PACKAGED = Path(__file__).with_name("scenario")
CLIENTS = "external-clients"
"""The name of the ConfigMap whose data holds the clients outside the cluster: name, and address."""

_KINDS: dict[str, Resource] = {
    resource.kind: resource for resource in (NODES, PODS, SERVICES, NETWORK_POLICIES, POLICIES)
}
_NAMESPACE, _CONFIG_MAP = "Namespace", "ConfigMap"
_GIVEN_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


class ScenarioError(Exception):
    """The folder cannot be used: one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What the folder holds. ``bodies`` are the objects that are there before the policy is applied, in the order of
    files and lines; ``clients`` those outside the cluster, by name; ``namespaces`` their labels by name."""

    bodies: tuple[tuple[Resource, Body], ...]
    policy: Body
    clients: tuple[tuple[str, Address], ...]
    namespaces: dict[str, Labels]

    def of(self, resource: Resource) -> list[Body]:
        """The objects of one kind."""
        return [body for found, body in self.bodies if found == resource]

    @property
    def service(self) -> ServiceKey:
        """The Service that the policy guards."""
        return ServiceKey(self.policy["metadata"]["namespace"], self.policy["spec"]["serviceRef"]["name"])

    def is_backend(self, pod: Body) -> bool:
        """Whether the guarded Service selects this pod."""
        return any(is_backend(pod, body) for body in self.of(SERVICES) if _is(body, self.service))


def read(folder: Path) -> Scenario:
    """Reads every ``*.yaml`` and ``*.yml`` of the folder. Raises ScenarioError."""
    if not folder.is_dir():
        raise ScenarioError(f"{folder} is no folder; name one with the YAML of a cluster, as {PACKAGED} is one.")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    if not files:
        raise ScenarioError(f"{folder} holds no YAML; copy {PACKAGED} and edit the copy.")
    try:
        documents = read_documents([str(path) for path in files], stdin=str).documents
        for document in documents:
            _check_kind(document)
        bodies = [(_KINDS[document.kind], document) for document in documents if document.kind in _KINDS]
        namespaces = _namespaces(documents)
        for resource, document in bodies:
            _check(resource, document, namespaces)
    except InputError as error:
        raise ScenarioError(str(error)) from error
    _check_names(documents)
    policy = _only_policy(folder, [document for resource, document in bodies if resource == POLICIES])
    scenario = Scenario(
        bodies=tuple((resource, document.body) for resource, document in bodies if resource != POLICIES),
        policy=policy.body,
        clients=tuple(_clients(folder, documents)),
        namespaces=namespaces,
    )
    _check_story(folder, scenario, policy, bodies)
    return scenario


def _check_kind(document: Document) -> None:
    known = [*_KINDS, _NAMESPACE, _CONFIG_MAP]
    if document.kind not in known:
        names = ", ".join(sorted(known))
        raise ScenarioError(f"{document.origin.place()}: kind {document.kind} is not known here; known are {names}.")
    metadata = document.body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ScenarioError(f"{document.origin.place('metadata')}: this {document.kind} has no metadata.name.")
    for section in ("spec", "status", "data"):
        if not isinstance(document.body.setdefault(section, {}), dict):
            raise document.refuse(f"{section}: {shown(document.body[section])} is not an object")
    if document.kind != _NAMESPACE and (document.kind not in _KINDS or _KINDS[document.kind].namespaced):
        metadata.setdefault("namespace", "default")


def _check_names(documents: Iterable[Document]) -> None:
    seen: dict[str, Document] = {}
    for document in documents:
        first = seen.setdefault(document.object, document)
        if first is not document:
            where = f"{document.origin.place()}: {document.object}"
            raise ScenarioError(f"{where} is in {first.origin.place()} already.")


def _namespaces(documents: Iterable[Document]) -> dict[str, Labels]:
    """Labels by name, with the one that the API server gives to each."""
    found: dict[str, Labels] = {name: {} for name in _GIVEN_NAMESPACES}
    for document in documents:
        if document.kind == _NAMESPACE:
            check(NAMESPACES, document)
            metadata = document.body["metadata"]
            found[metadata["name"]] = metadata.get("labels") or {}
    return {name: {**labels, "kubernetes.io/metadata.name": name} for name, labels in found.items()}


def _check(resource: Resource, document: Document, namespaces: dict[str, Labels]) -> None:
    """What the operator and the cluster will read can be read."""
    check(resource, document)
    namespace = document.body["metadata"].get("namespace")
    if namespace is not None and namespace not in namespaces:
        raise ScenarioError(f"{document.origin.place()}: {document.object} is in a namespace that no file holds.")


def _only_policy(folder: Path, found: list[Document]) -> Document:
    if not found:
        raise ScenarioError(f"{folder} holds no NodePortAccessPolicy; the demo is about one.")
    if len(found) > 1:
        raise ScenarioError(
            f"{found[1].origin.place()}: a second NodePortAccessPolicy; the demo is about one, `make up` takes any"
            " number."
        )
    return found[0]


def _clients(folder: Path, documents: Iterable[Document]) -> Iterator[tuple[str, Address]]:
    for document in documents:
        if document.kind != _CONFIG_MAP:
            continue
        if document.body["metadata"]["name"] != CLIENTS:
            raise ScenarioError(f"{document.origin.place()}: the only ConfigMap that is known here is {CLIENTS}.")
        for name, text in (document.body.get("data") or {}).items():
            try:
                yield str(name), ip_address(str(text))
            except ValueError as error:
                where = document.origin.place(f"data.{name}")
                raise ScenarioError(f"{where}: the client {name} has no IP address: {text!r}.") from error
        return
    raise ScenarioError(f"{folder} holds no ConfigMap {CLIENTS}, which names the clients outside the cluster.")


def _check_story(folder: Path, scenario: Scenario, policy: Document, bodies: list[tuple[Resource, Document]]) -> None:
    """There is a Service with node ports to tell of, and a node to enter by."""
    services = [document for resource, document in bodies if resource == SERVICES]
    wanted, named = scenario.service, policy.origin.place("spec.serviceRef.name")
    service = next((document.body for document in services if _is(document.body, wanted)), None)
    if service is None:
        raise ScenarioError(f"{named}: no file holds the policy's Service {wanted}.")
    if service["spec"].get("type") not in ("NodePort", "LoadBalancer"):
        raise ScenarioError(f"{named}: the policy's Service {wanted} must be of type NodePort or LoadBalancer.")
    if not scenario.of(NODES):
        raise ScenarioError(f"{folder} holds no Node, so there is no node to enter by.")


def _is(body: Body, key: ServiceKey) -> bool:
    return (body["metadata"]["namespace"], body["metadata"]["name"]) == (key.namespace, key.name)
