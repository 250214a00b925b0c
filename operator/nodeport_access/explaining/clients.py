"""Who a client is: an address outside, a node, or a pod, found by its address or by the pod's name.

Not the business of this module: what becomes of his connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from nodeport_access.cidrs import Address
from nodeport_access.evaluate import Client
from nodeport_access.explaining.asking import NotThere
from nodeport_access.inventory import Inventory
from nodeport_access.inventory.endpoints import addresses
from nodeport_access.inventory.scenes import callers
from nodeport_access.kube import NODES, PODS
from nodeport_access.observed import Node, parse_node


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """A client under each of the addresses that he may dial from, and the sentence that says who he is."""

    clients: tuple[Client, ...]
    sentence: str

    @property
    def inside(self) -> bool:
        """Whether he is a pod."""
        return self.clients[0].pod is not None


def find_client(inventory: Inventory, text: str) -> Asker:
    """The client by an address, or by NAMESPACE/POD. Raises NotThere."""
    if "/" in text:
        return _pod(inventory, *text.split("/", 1))
    try:
        address = ip_address(text)
    except ValueError:
        raise NotThere(f"{text!r} is neither an IP address nor NAMESPACE/POD.") from None
    return _by_address(inventory, address)


def _pod(inventory: Inventory, namespace: str, name: str) -> Asker:
    body = inventory.get(PODS, namespace=namespace, name=name)
    if body is None:
        here = sorted(
            each["metadata"]["name"] for each in inventory.bodies(PODS) if each["metadata"]["namespace"] == namespace
        )
        raise NotThere(
            f"there is no pod {namespace}/{name}; there is {', '.join(here[:12]) or 'none in that namespace'}."
        )
    if not addresses(body):
        raise NotThere(f"pod {namespace}/{name} has no address yet, so nothing can come from it.")
    node = (body.get("spec") or {}).get("nodeName", "")
    if (body.get("spec") or {}).get("hostNetwork"):
        found = tuple(Client(address) for address in addresses(body))
        return Asker(clients=found, sentence=f"Pod {namespace}/{name} is in the network of {node}, and calls as it.")
    caller = next(caller for caller in callers(inventory) if caller.name == f"{namespace}/{name}")
    return Asker(clients=caller.clients, sentence=_pod_sentence(f"{namespace}/{name}", caller.clients))


def _by_address(inventory: Inventory, address: Address) -> Asker:
    for caller in callers(inventory):
        for client in caller.clients:
            if client.address == address:
                return Asker(clients=(client,), sentence=_pod_sentence(caller.name, (client,)))
    client = Client(address)
    for node in map(parse_node, inventory.bodies(NODES)):
        if address in node.addresses:
            return Asker(clients=(client,), sentence=f"{address} is {_which(node, address)} of node {node.name}.")
        if address in node.pod_ranges:
            sentence = f"{address} is in the pod range of node {node.name}, but no pod is known to have it."
            return Asker(clients=(client,), sentence=sentence)
    return Asker(clients=(client,), sentence=f"{address} is outside the cluster, as far as its objects tell.")


def _which(node: Node, address: Address) -> str:
    return "the tunnel's address" if address in node.tunnels else "an address"


def _pod_sentence(name: str, clients: tuple[Client, ...]) -> str:
    pod = clients[0].pod
    where = f" on node {pod.node}" if pod is not None and pod.node else ""
    texts = " and ".join(str(client.address) for client in clients)
    return f"{texts} is pod {name}{where}."
