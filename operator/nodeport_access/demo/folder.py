"""A scenario: the objects of a small cluster, read from a folder of YAML that anybody may copy and edit.

Whatever is wrong with it is one sentence with the file, and the line where YAML gives one. Not the business of this
module: what happens in the cluster (``stage``, ``show``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import yaml

from nodeport_access.api import Body, ServiceKey
from nodeport_access.cidrs import Address
from nodeport_access.demo.endpoints import addresses, endpoint_slices, is_backend
from nodeport_access.kube import NETWORK_POLICIES, NODES, PODS, POLICIES, SERVICES, Resource
from nodeport_access.label_selectors import Labels
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_pod, parse_service
from nodeport_access.policy_body import parse_policy
from nodeport_access.rules import admission

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


@dataclass(frozen=True, slots=True)
class _Document:
    """One object and where it stands."""

    file: str
    line: int
    body: Body

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.line}"

    @property
    def object(self) -> str:
        """Kind, namespace and name, as sentences name it."""
        metadata = self.body["metadata"]
        space = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
        return f"{self.body['kind']} {space}{metadata['name']}"


class _Loader(yaml.SafeLoader):
    """YAML as kubectl reads it: a time is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(folder: Path) -> Scenario:
    """Reads every ``*.yaml`` and ``*.yml`` of the folder. Raises ScenarioError."""
    if not folder.is_dir():
        raise ScenarioError(f"{folder} is no folder; name one with the YAML of a cluster, as {PACKAGED} is one.")
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    if not files:
        raise ScenarioError(f"{folder} holds no YAML; copy {PACKAGED} and edit the copy.")
    documents = [document for path in files for document in _documents(path)]
    _check_names(documents)
    namespaces = _namespaces(documents)
    bodies = [(_KINDS[document.body["kind"]], document) for document in documents if document.body["kind"] in _KINDS]
    for resource, document in bodies:
        _check(resource, document, namespaces)
    policy = _only_policy(folder, [document for resource, document in bodies if resource == POLICIES])
    scenario = Scenario(
        bodies=tuple((resource, document.body) for resource, document in bodies if resource != POLICIES),
        policy=policy.body,
        clients=tuple(_clients(folder, documents)),
        namespaces=namespaces,
    )
    _check_story(folder, scenario, policy, bodies)
    return scenario


def _documents(path: Path) -> Iterator[_Document]:
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        while loader.check_node():
            node = loader.get_node()
            assert node is not None, "check_node has seen one"
            body = loader.construct_document(node)
            if body is not None:
                yield _object(str(path), node.start_mark.line + 1, body)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ScenarioError(f"{where}: this is not YAML: {error.problem}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error


def _object(file: str, line: int, body: object) -> _Document:
    place = f"{file}, line {line}"
    if not isinstance(body, dict) or not isinstance(body.get("kind"), str):
        raise ScenarioError(f"{place}: this is no Kubernetes object, it has no kind.")
    kind = body["kind"]
    known = [*_KINDS, _NAMESPACE, _CONFIG_MAP]
    if kind not in known:
        raise ScenarioError(f"{place}: kind {kind} is not known here; known are {', '.join(sorted(known))}.")
    version = _KINDS[kind].api_version if kind in _KINDS else "v1"
    if body.get("apiVersion") != version:
        raise ScenarioError(f"{place}: apiVersion of a {kind} must be {version}, not {body.get('apiVersion')}.")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ScenarioError(f"{place}: this {kind} has no metadata.name.")
    for section in ("spec", "status", "data"):
        if not isinstance(body.setdefault(section, {}), dict):
            raise ScenarioError(f"{place}: {section} of {kind} {metadata['name']} is no mapping.")
    labels = metadata.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ScenarioError(f"{place}: the labels of {kind} {metadata['name']} must be texts; quote them.")
    if kind != _NAMESPACE and (kind not in _KINDS or _KINDS[kind].namespaced):
        metadata.setdefault("namespace", "default")
    return _Document(file, line, body)


def _check_names(documents: Iterable[_Document]) -> None:
    seen: dict[str, _Document] = {}
    for document in documents:
        first = seen.setdefault(document.object, document)
        if first is not document:
            raise ScenarioError(f"{document.place}: {document.object} is in {first.place} already.")


def _namespaces(documents: Iterable[_Document]) -> dict[str, Labels]:
    """Labels by name, with the one that the API server gives to each."""
    found: dict[str, Labels] = {name: {} for name in _GIVEN_NAMESPACES}
    for document in documents:
        if document.body["kind"] == _NAMESPACE:
            metadata = document.body["metadata"]
            found[metadata["name"]] = metadata.get("labels") or {}
    return {name: {**labels, "kubernetes.io/metadata.name": name} for name, labels in found.items()}


def _check(resource: Resource, document: _Document, namespaces: dict[str, Labels]) -> None:
    """What the operator and the cluster will read can be read."""
    namespace = document.body["metadata"].get("namespace")
    if namespace is not None and namespace not in namespaces:
        raise ScenarioError(f"{document.place}: {document.object} is in a namespace that no file holds.")
    body = {**document.body, "metadata": {"uid": "", "resourceVersion": "0", **document.body["metadata"]}}
    with _reading(document):
        problems = _problems(resource, body)
    if problems:
        raise ScenarioError(f"{document.place}: {document.object}: {problems[0]}.")


@contextmanager
def _reading(document: _Document) -> Iterator[None]:
    """Turns what Python says to a malformed object into a sentence."""
    try:
        yield
    except KeyError as error:
        raise ScenarioError(
            f"{document.place}: {document.object} has no {error.args[0]} where one is needed."
        ) from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ScenarioError(f"{document.place}: {document.object} cannot be read: {error}.") from error


def _problems(resource: Resource, body: Body) -> tuple[str, ...]:
    match resource.kind:
        case "Node":
            parse_node(body)
        case "Pod":
            parse_pod(body)
            addresses(body)
        case "Service":
            parse_service(body)
        case "NetworkPolicy":
            admission(parse_network_policy(body).spec, target=None)
        case "NodePortAccessPolicy":
            return parse_policy(body).problems
    return ()


def _only_policy(folder: Path, found: list[_Document]) -> _Document:
    if not found:
        raise ScenarioError(f"{folder} holds no NodePortAccessPolicy; the demo is about one.")
    if len(found) > 1:
        raise ScenarioError(
            f"{found[1].place}: a second NodePortAccessPolicy; the demo is about one, `make up` takes any number."
        )
    return found[0]


def _clients(folder: Path, documents: Iterable[_Document]) -> Iterator[tuple[str, Address]]:
    for document in documents:
        if document.body["kind"] != _CONFIG_MAP:
            continue
        if document.body["metadata"]["name"] != CLIENTS:
            raise ScenarioError(f"{document.place}: the only ConfigMap that is known here is {CLIENTS}.")
        for name, text in (document.body.get("data") or {}).items():
            try:
                yield str(name), ip_address(str(text))
            except ValueError as error:
                raise ScenarioError(f"{document.place}: the client {name} has no IP address: {text!r}.") from error
        return
    raise ScenarioError(f"{folder} holds no ConfigMap {CLIENTS}, which names the clients outside the cluster.")


def _check_story(folder: Path, scenario: Scenario, policy: _Document, bodies: list[tuple[Resource, _Document]]) -> None:
    """There is a Service with node ports to tell of, and a node to enter by."""
    services = [document for resource, document in bodies if resource == SERVICES]
    for document in services:
        with _reading(document):
            for piece in endpoint_slices(document.body, scenario.of(PODS)):
                parse_endpoint_slice(piece)
    wanted = scenario.service
    service = next((document.body for document in services if _is(document.body, wanted)), None)
    if service is None:
        raise ScenarioError(f"{policy.place}: no file holds the policy's Service {wanted}.")
    if service["spec"].get("type") not in ("NodePort", "LoadBalancer"):
        raise ScenarioError(f"{policy.place}: the policy's Service {wanted} must be of type NodePort or LoadBalancer.")
    if not scenario.of(NODES):
        raise ScenarioError(f"{folder} holds no Node, so there is no node to enter by.")


def _is(body: Body, key: ServiceKey) -> bool:
    return (body["metadata"]["namespace"], body["metadata"]["name"]) == (key.namespace, key.name)
