"""A rival without a framework: lists, sends four writes for each policy that lacks them, then watches and patches back.

It is the floor: as little Python as does the job, on the same HTTP library, as many writes at once. What it leaves out
makes it faster, never slower: no queue, no retries, no relist, no judgement, nothing but this one kind of policy.

Not its business: staying alive when anything goes wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Json = dict[str, Any]

GROUP = "/apis/nodeport-access.io/v1alpha1"
POLICIES = f"{GROUP}/nodeportaccesspolicies"
SERVICES = "/api/v1/services"
NETWORK_POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
SLICES, NODES, PODS = "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/nodes", "/api/v1/pods"
MANAGER = "nodeport-access-operator"
POLICY_LABEL = "nodeport-access.io/policy"
PAGE = 500


class Bare:
    """Everything it knows is in a few dictionaries by namespace and name."""

    def __init__(self, *, url: str, session: aiohttp.ClientSession, workers: int) -> None:
        self._url = url
        self._session = session
        self._turn = asyncio.Semaphore(workers)
        self._policies: dict[tuple[str, str], Json] = {}
        self._policy_of: dict[tuple[str, str], Json] = {}
        self._services: dict[tuple[str, str], Json] = {}
        self._nodes = 0

    async def run(self, *, all_kinds: bool) -> None:
        """Never returns."""
        kinds = [POLICIES, SERVICES, NETWORK_POLICIES, NODES, *([SLICES, PODS] if all_kinds else ())]
        listed = dict(zip(kinds, await asyncio.gather(*(self._list(kind) for kind in kinds)), strict=True))
        self._policies = {_key(policy): policy for policy in listed[POLICIES][0]}
        self._services = {_key(service): service for service in listed[SERVICES][0]}
        self._nodes = len(listed[NODES][0])
        children = {_key(child) for child in listed[NETWORK_POLICIES][0]}
        for (namespace, _), policy in self._policies.items():
            self._policy_of[namespace, policy["spec"]["serviceRef"]["name"]] = policy
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_services(listed[SERVICES][1]))
            group.create_task(self._watch_network_policies(listed[NETWORK_POLICIES][1]))
            async with asyncio.TaskGroup() as completing:
                for policy in self._policies.values():
                    completing.create_task(self._complete(policy, children))
            # Last, so that nothing of it delays a write.
            for kind in (POLICIES, NODES, SLICES, PODS) if all_kinds else ():
                group.create_task(self._hear(kind, listed[kind][1]))

    async def _complete(self, policy: Json, children: set[tuple[str, str]]) -> None:
        """One policy's writes in the order that leaves no gap, as many policies at once as there are workers."""
        namespace, name = _key(policy)
        service = self._services[namespace, policy["spec"]["serviceRef"]["name"]]
        async with self._turn:
            if (namespace, f"{name}-allow") not in children:
                await self._apply(NETWORK_POLICIES, allowlist(policy, service))
            if service["spec"]["externalTrafficPolicy"] != "Local":
                await self._apply(SERVICES, local(policy, service))
            if (namespace, f"{name}-deny-all") not in children:
                await self._apply(NETWORK_POLICIES, deny_all(policy, service))
            if not policy["status"]["observedGeneration"]:  # 0, the default of the CRD: nobody has looked yet
                body = status(policy, service, nodes=self._nodes)
                await self._apply(POLICIES, body, subresource="/status")

    # --- drift ------------------------------------------------------------------------------------------------------

    async def _watch_services(self, version: str) -> None:
        async with asyncio.TaskGroup() as group:
            async for event in self._watch(SERVICES, version):
                service = event["object"]
                if event["type"] == "MODIFIED" and service["spec"].get("externalTrafficPolicy") == "Cluster":
                    self._services[_key(service)] = service
                    if policy := self._policy_of.get(_key(service)):
                        group.create_task(self._in_turn(SERVICES, local(policy, service)))

    async def _watch_network_policies(self, version: str) -> None:
        async with asyncio.TaskGroup() as group:
            async for event in self._watch(NETWORK_POLICIES, version):
                child = event["object"]
                policy = self._policies.get((child["metadata"]["namespace"], _owner(child)))
                if event["type"] == "DELETED" and policy:
                    service = self._services[child["metadata"]["namespace"], policy["spec"]["serviceRef"]["name"]]
                    make = allowlist if child["metadata"]["name"].endswith("-allow") else deny_all
                    group.create_task(self._in_turn(NETWORK_POLICIES, make(policy, service)))

    async def _hear(self, kind: str, version: str) -> None:
        """Reads what comes, and does nothing about it: what it costs to watch at all."""
        async for _ in self._watch(kind, version):
            pass

    async def _in_turn(self, kind: str, body: Json) -> None:
        async with self._turn:
            await self._apply(kind, body)

    # --- the wire ---------------------------------------------------------------------------------------------------

    async def _list(self, kind: str) -> tuple[list[Json], str]:
        """All objects of a kind, and the version to watch from."""
        items: list[Json] = []
        query = {"limit": str(PAGE)}
        while True:
            headers = _accept(kind, "PartialObjectMetadataList")
            async with self._session.get(self._url + kind, params=query, headers=headers) as answer:
                answer.raise_for_status()
                page = json.loads(await answer.read())
            items += page["items"]
            if not page["metadata"].get("continue"):
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = page["metadata"]["continue"]

    async def _watch(self, kind: str, version: str) -> AsyncIterator[Json]:
        while True:
            query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "300"}
            query["allowWatchBookmarks"] = "true"
            headers = _accept(kind, "PartialObjectMetadata")
            async with self._session.get(self._url + kind, params=query, headers=headers) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    event = json.loads(line)
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event

    async def _apply(self, kind: str, body: Json, *, subresource: str = "") -> None:
        metadata = body["metadata"]
        group, plural = kind.rsplit("/", 1)
        path = f"{self._url}{group}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}{subresource}"
        async with self._session.patch(
            path,
            params={"fieldManager": MANAGER, "force": "true", "fieldValidation": "Ignore"},
            data=json.dumps(body),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ) as answer:
            await answer.read()
            answer.raise_for_status()


# --- bodies -----------------------------------------------------------------------------------------------------------


def allowlist(policy: Json, service: Json) -> Json:
    peers = [{"ipBlock": {"cidr": str(network)}} for network in networks(policy)]
    ports = [{"protocol": port.get("protocol", "TCP"), "port": port["targetPort"]} for port in service["spec"]["ports"]]
    return _network_policy(policy, service, suffix="allow", ingress=[{"from": peers, "ports": ports}] if peers else [])


def deny_all(policy: Json, service: Json) -> Json:
    return _network_policy(policy, service, suffix="deny-all", ingress=[])


def local(policy: Json, service: Json) -> Json:
    namespace, name = _key(service)
    metadata = {"name": name, "namespace": namespace, "uid": service["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**metadata, "labels": {POLICY_LABEL: policy["metadata"]["name"]}},
        "spec": {"externalTrafficPolicy": "Local"},
    }


def status(policy: Json, service: Json, *, nodes: int) -> Json:
    """Of a Service without a ready pod: this rival does not look for any."""
    generation, now = policy["metadata"]["generation"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answers = {
        "Ready": "Guarded",
        "ServiceResolved": "ServiceFound",
        "ClientIPPreserved": "LocalInForce",
        "AllowlistApplied": "Applied",
        "DefaultDenyApplied": "Applied",
        "Reachable": "NoReadyEndpoints",
        "Exclusive": "NoOtherOpening",
        "Enforceable": "NothingBypasses",
    }
    namespace, name = _key(policy)
    return {
        "apiVersion": "nodeport-access.io/v1alpha1",
        "kind": "NodePortAccessPolicy",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": policy["metadata"]["resourceVersion"]},
        "status": {
            "observedGeneration": generation,
            "conditions": [
                {
                    "type": kind,
                    "status": "False" if kind == "Reachable" else "True",
                    "reason": reason,
                    "message": "A sentence about as long as those of the operator, so that as many bytes are sent.",
                    "observedGeneration": generation,
                    "lastTransitionTime": now,
                }
                for kind, reason in answers.items()
            ],
            "serviceUID": service["metadata"]["uid"],
            "nodePorts": sorted(port["nodePort"] for port in service["spec"]["ports"]),
            "effectiveCIDRs": len(networks(policy)),
            "nodes": {"ready": 0, "draining": 0, "total": nodes, "share": f"0/{nodes}"},
        },
    }


def networks(policy: Json) -> list[ipaddress.IPv4Network]:
    entries = policy["spec"].get("allowedCIDRs", ())
    return list(ipaddress.collapse_addresses(ipaddress.IPv4Network(entry["cidr"]) for entry in entries))


def _network_policy(policy: Json, service: Json, *, suffix: str, ingress: list[Json]) -> Json:
    namespace, name = _key(policy)
    selector = {"matchLabels": service["spec"]["selector"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"{name}-{suffix}",
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": MANAGER,
                POLICY_LABEL: name,
                "nodeport-access.io/service": service["metadata"]["name"],
            },
            "ownerReferences": [
                {
                    "apiVersion": "nodeport-access.io/v1alpha1",
                    "kind": "NodePortAccessPolicy",
                    "name": name,
                    "uid": policy["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress, "egress": []},
    }


def _accept(kind: str, only: str) -> dict[str, str]:
    """Of pods, of which there may be many, only metadata."""
    return {"Accept": f"application/json;as={only};g=meta.k8s.io;v=v1"} if kind == PODS else {}


def _key(body: Json) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _owner(child: Json) -> str:
    references: Iterable[Json] = child["metadata"].get("ownerReferences", ())
    return next((str(reference["name"]) for reference in references), "")


# --- the process ------------------------------------------------------------------------------------------------------


async def _main(content: Json, *, workers: int, all_kinds: bool) -> None:
    cluster, token = content["clusters"][0]["cluster"], content["users"][0]["user"]["token"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    never = aiohttp.ClientTimeout(total=None)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(
        connector=connector, timeout=never, headers=headers, read_bufsize=2**22
    ) as session:
        await Bare(url=cluster["server"], session=session, workers=workers).run(all_kinds=all_kinds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--all-kinds", action="store_true", help="list EndpointSlices and Pods too, and watch all")
    given = parser.parse_args()
    asyncio.run(_main(yaml.safe_load(given.kubeconfig.read_text()), workers=given.workers, all_kinds=given.all_kinds))
