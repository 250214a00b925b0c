"""What the product itself says to a question: the one place that knows how its evaluator is asked.

A client outside comes in by the node port of the node that has the pod, under externalTrafficPolicy Local, so that its
address shows; a pod comes by the cluster address. Not its business: who else is asked.
"""

from __future__ import annotations

from nodeport_access.api import Body
from nodeport_access.evaluate import Answer, ByClusterAddress, ByNodePort, Caller, Client, Entry, Scene, evaluate
from nodeport_access.evaluate.bodies import parse_backend_pod
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_service
from tests.oracles.case import NODE_ADDRESSES, Case, Question, addresses_of
from tests.unit import builders

NODE = "node-1"
SERVICE = "asked"


class OffTheCommonGroundError(AssertionError):
    """The product says that it depends: the question should not have been asked."""


def answers(case: Case) -> list[bool]:
    """Whether the product lets the client through, for each question. Raises as `admits`."""
    return [admits(case, question) for question in case.questions]


def admits(case: Case, question: Question, *, scene: Scene | None = None) -> bool:
    """Whether the product lets the client through; ``scene`` saves making it again, where it is the same for many
    questions. Raises OffTheCommonGroundError where the product says that this depends."""
    scene = scene or scene_for(case, question)
    outside = not question.source
    caller = None if outside else _caller(case, question.source)
    entry: Entry = ByNodePort(NODE) if outside else ByClusterAddress()
    verdict = evaluate(scene, client=Client(question.address, caller), port=scene.service.ports[0], entry=entry)
    if verdict.answer is Answer.DEPENDS:
        raise OffTheCommonGroundError(f"{question}: {' '.join(verdict.derivation)}")
    return verdict.answer is Answer.THROUGH


def scene_for(case: Case, question: Question) -> Scene:
    """What the evaluator has to know: the same for all clients of one port of one pod."""
    pod = case.pod(question.destination)
    namespace, labels = pod["metadata"]["namespace"], pod["metadata"]["labels"]
    addresses = [str(address) for address in addresses_of(pod)]
    target = builders.port(80, name=SERVICE, target=question.port, protocol=question.protocol, node=30080)
    service = builders.service(
        namespace=namespace,
        name=SERVICE,
        selector=labels,
        ports=[target],
        families=["IPv4", "IPv6"],
        traffic_policy="Local",
    )
    piece = builders.endpoint_slice(
        builders.endpoint(*addresses, node=NODE, ready=True),
        namespace=namespace,
        service=SERVICE,
        ports=[(SERVICE, question.port)],
    )
    for port in piece["ports"]:
        port["protocol"] = question.protocol
    return Scene(
        service=parse_service(service),
        slices=(parse_endpoint_slice(piece),),
        nodes=(parse_node(builders.node(NODE, addresses=NODE_ADDRESSES)),),
        network_policies=tuple(
            parse_network_policy(_as_read(body)) for body in case.policies if body["metadata"]["namespace"] == namespace
        ),
        pods=(parse_backend_pod(pod),),
    )


def _as_read(policy: Body) -> Body:
    return policy | {"metadata": {"uid": "1", "resourceVersion": "1", **policy["metadata"]}}


def _caller(case: Case, source: str) -> Caller:
    metadata = case.pod(source)["metadata"]
    return Caller(
        namespace=metadata["namespace"],
        namespace_labels=case.namespace_labels(metadata["namespace"]),
        labels=metadata["labels"],
    )
