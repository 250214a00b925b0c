"""The demo's story, step by step: read, open, guarded, broken twice, repaired twice, handed back.

Everything that is shown is looked up in the cluster in memory or judged by ``evaluate``; only the prose between is
fixed. Not the business of this module: the operator (``stage``), verdicts (``access``), the look (``paper``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from nodeport_access.api import Body, Policy
from nodeport_access.demo import access, kubectl_view, telling
from nodeport_access.demo.access import Attempt, Intent
from nodeport_access.demo.cluster import Sent
from nodeport_access.demo.folder import Scenario
from nodeport_access.demo.paper import Cell, Paper
from nodeport_access.demo.stage import Stage
from nodeport_access.evaluate import ByClusterAddress
from nodeport_access.kube import NETWORK_POLICIES, POLICIES, SERVICES
from nodeport_access.observed import ServicePort
from nodeport_access.policy_body import parse_policy

PAUSE = 10.0
"""Seconds of the cluster's own time between two steps; nobody waits for them."""


async def show(scenario: Scenario, *, start: datetime, paper: Paper, origin: str) -> Stage:
    """Tells the whole story of one scenario, from ``origin`` as the user knows it; the cluster as it is at the end."""
    story = _Story(Stage(scenario, start=start), paper)
    story.read(origin)
    await story.before()
    await story.apply()
    story.status()
    story.after()
    await story.set_to_cluster()
    await story.delete_allowlist()
    await story.delete_policy()
    story.what_next(origin)
    return story.stage


class _Story:
    def __init__(self, stage: Stage, paper: Paper) -> None:
        self.stage = stage
        self._paper = paper
        self._scenario = stage.scenario
        self._outsiders = access.outsiders(stage.scenario)
        self._callers = access.callers(stage.scenario)
        self._policy = _unapplied(stage.scenario.policy)
        self._intent = Intent(self._policy, stage.clock.now())
        self._before: list[Attempt] = []

    # --- the steps ---

    def read(self, origin: str) -> None:
        paper, service = self._paper, self.stage.service
        paper.prose(
            "The NodePort Access Operator on a cluster in memory: its own reconcile code, and an API server that "
            "answers as a real one did."
        )
        paper.headline(f"1. The cluster, read from {origin}")
        rows: list[list[Cell]] = []
        for node in self.stage.store.nodes:
            rows.append(["node", node.name, telling.about_node(node)])
        kind = f"{service.type}, externalTrafficPolicy {service.external_traffic_policy}"
        rows.append(["service", service.key.name, f"in {service.key.namespace}, {kind}"])
        for port in service.ports:
            rows.append(["", "", f"port {port.port} is node port {port.node_port} of every node"])
        for piece in self.stage.scene().slices:
            for endpoint in piece.endpoints:
                state = "" if endpoint.ready else ", not ready"
                rows.append(["backend", telling.addresses(endpoint.addresses), f"on {endpoint.node}{state}"])
        for asker in self._outsiders:
            rows.append(["outside", asker.name, str(asker.client.address)])
        for asker in self._callers:
            where = telling.about_namespace(asker.client.pod.namespace_labels) if asker.client.pod else ""
            rows.append(["pod", asker.name, f"{asker.client.address}, {where}"])
        paper.table(rows, header=False)

    async def before(self) -> None:
        """Nothing is applied yet: the policy is only looked at, to tell whom it will name."""
        await self.stage.settle()
        self._paper.headline("2. Before: who gets in, and the address that the pod sees")
        self._before = self._tables()
        self._paper.line()
        self._paper.prose(
            "New connections only, as a CNI judges them that decides on the pod's own node before masquerading "
            f"(Calico, kube-router, Cilium). {telling.MARK} marks those whom the policy of step 3 does not let in."
        )
        self._paper.line()
        self._paper.prose(
            "The obvious fix is an allowlist and a deny-all, and the Service as it is. Then, with the list of the "
            "policy, and with the addresses of the nodes and their tunnels added to it:"
        )
        self._paper.line()
        for port in self.stage.service.ports:
            self._naive(port)
        self._paper.line()
        self._paper.prose(
            "Behind a node without the pod, the pod sees that node's address and not the client's. So the first list "
            "refuses whom it names, and the second lets in the world, through the node next door."
        )

    async def apply(self) -> None:
        self._paper.headline("3. The policy is applied: what the operator writes, in this order")
        self.stage.clock.wait(PAUSE)
        self.stage.apply_policy()
        self._paper.command("kubectl apply -f policy.yaml")
        self._paper.yaml({"spec": self._scenario.policy["spec"]})
        sent = await self.stage.settle()
        for number, write in enumerate(sent, start=1):
            self._paper.line()
            self._paper.line(f"{number}. {telling.title(write)}")
            if not write.subresource:
                self._paper.yaml(telling.trimmed(write.body), indent=6)
        self._paper.line()
        if all(write.subresource for write in sent):
            self._paper.prose("Nothing but status was written; the conditions below say why.")
        else:
            self._paper.prose("Left out above: apiVersion, namespace, uid, and the ownerReferences to the policy.")

    def status(self) -> None:
        self._paper.headline("4. What the policy says of itself")
        self._get()
        self._paper.line()
        self._paper.table(kubectl_view.conditions(self._body()), wrap_last=True)

    def after(self) -> None:
        self._paper.headline("5. After: who gets in, and the address that the pod sees")
        found = self._tables()
        self._paper.line()
        self._paper.table(telling.reasons(found), wrap_last=True)
        if self.stage.service.external_traffic_policy == "Local":
            self._paper.line()
            self._paper.prose(
                "Nodes without a ready pod are dark for everybody, which is what Local means: a load balancer probes "
                "its way to the others."
            )

    async def set_to_cluster(self) -> None:
        service = self.stage.service
        self._paper.headline("6. Somebody sets the Service back to Cluster")
        if service.external_traffic_policy == "Cluster":
            self._paper.prose("It has been Cluster all along: this policy does not ask for Local, and only says so.")
            return
        patch = {"spec": {"externalTrafficPolicy": "Cluster"}}
        where, name = service.key.namespace, service.key.name
        self._paper.command(f"kubectl -n {where} edit service {name}   # externalTrafficPolicy: Cluster")
        self.stage.clock.wait(PAUSE)
        self.stage.cluster.patch(SERVICES, namespace=where, name=name, patch=patch, manager="kubectl-edit")
        self._paper.line()
        self._tables()
        self._paper.line()
        self._paper.prose(
            "What that opens depends on the CNI and on the list: hence the effect below. The table holds for a verdict "
            "before masquerading. Where it comes after, everybody looks like the pod's own node, which NetworkPolicy "
            "always lets in."
        )
        await self._repair()

    async def delete_allowlist(self) -> None:
        where, name = self._policy.key.namespace, self._policy.allow_name
        self._paper.headline("7. Somebody deletes the allowlist")
        self.stage.clock.wait(PAUSE)
        if self.stage.store.network_policies.get(where, name) is None:
            self._paper.prose(f"There is no NetworkPolicy {name} to delete.")
            return
        self._paper.command(f"kubectl -n {where} delete networkpolicy {name}")
        self.stage.cluster.remove(NETWORK_POLICIES, namespace=where, name=name)
        self._paper.line()
        self._tables()
        self._paper.line()
        self._paper.prose("The deny-all is still there, and still shuts the pods.")
        await self._repair()

    async def delete_policy(self) -> None:
        where, name = self._policy.key.namespace, self._policy.key.name
        self._paper.headline("8. The policy is deleted: what it took is handed back")
        self._paper.command(f"kubectl -n {where} delete npap {name}")
        self.stage.clock.wait(PAUSE)
        children = self._children()
        self.stage.cluster.remove(POLICIES, namespace=where, name=name)
        gone = sorted(children - self._children())
        self._paper.line()
        for child in gone:
            self._paper.line(f"-  NetworkPolicy {child} goes with its owner (garbage collector)")
        self._written(await self.stage.settle())
        if gone:
            self._paper.line()
        self._paper.line(f"The Service has externalTrafficPolicy {self.stage.service.external_traffic_policy}.")
        self._paper.line()
        if self._tables() == self._before:
            self._paper.line()
            self._paper.prose("That is step 2 again.")

    def what_next(self, origin: str) -> None:
        self._paper.headline("What to try next")
        self._paper.prose("Edit a copy of the scenario: move the pod, add a node, widen the list to 10.0.0.0/8.")
        self._paper.command(f"cp -r {origin} my-scenario")
        again = "nodeport-access demo --scenario my-scenario"
        self._paper.command(f'{again}   # or: make demo ARGS="--scenario my-scenario"')
        self._paper.line()
        self._paper.prose("The operator on a real API server, with the same scenario:")
        self._paper.command("make up")

    # --- parts of steps ---

    def _tables(self) -> list[Attempt]:
        """Outside clients by each node, for each port; pods by the cluster address; what all of them come to."""
        scene, found = self.stage.scene(), list[Attempt]()
        nodes = access.by_nodes(scene)
        for port in scene.service.ports:
            rows = access.attempts(scene, self._outsiders, nodes, port, intent=self._intent)
            header: list[Cell] = [f"NODE PORT {port.node_port}", *(node.name for node in scene.nodes)]
            self._paper.table([header, *([row[0].asker.name, *map(telling.cell, row)] for row in rows if row)])
            self._paper.line()
            callers = access.attempts(scene, self._callers, [ByClusterAddress()], port, intent=self._intent)
            header = [f"CLUSTER ADDRESS, PORT {port.port}", ""]
            if callers:
                self._paper.table([header, *([row[0].asker.name, *map(telling.cell, row)] for row in callers)])
                self._paper.line()
            found += [attempt for row in (*rows, *callers) for attempt in row]
        self._paper.prose(telling.summary(found))
        return found

    def _naive(self, port: ServicePort) -> None:
        scene, now = self.stage.scene(), self.stage.clock.now()
        header: list[Cell] = [f"NODE PORT {port.node_port}", "allowlist", *(node.name for node in scene.nodes)]
        rows: list[list[Cell]] = [header]
        for label, with_nodes in (("the policy's", False), ("with the nodes'", True)):
            wrong = access.naive(scene, self._policy, now, with_nodes=with_nodes)
            for row in access.attempts(wrong, self._outsiders, access.by_nodes(scene), port, intent=self._intent):
                rows.append([row[0].asker.name, label, *(telling.cell(attempt, source=False) for attempt in row)])
        self._paper.table(rows)

    async def _repair(self) -> None:
        self._paper.line()
        sent = await self.stage.settle()
        repairs = len([write for write in sent if not write.subresource])
        if repairs:
            self._paper.prose(f"The operator repairs it with {repairs} write{'' if repairs == 1 else 's'}:")
        else:
            self._paper.prose("The operator leaves it at that, as the policy asks, and says so in status.")
        self._paper.line()
        self._written(sent)
        drift = self._body().get("status", {}).get("lastDrift")
        self._paper.line()
        self._get()
        if drift is not None:
            told = {name: value for name, value in drift.items() if value}
            told["time"] = f"{kubectl_view.ago(drift['time'], now=self.stage.clock.now())} ago"
            self._paper.line()
            self._paper.yaml({"status": {"lastDrift": told}})

    def _written(self, sent: Iterable[Sent]) -> None:
        for number, write in enumerate(sent, start=1):
            self._paper.line(f"{number}. {telling.title(write)}{telling.told(write)}")

    def _get(self) -> None:
        metadata = self._scenario.policy["metadata"]
        self._paper.command(f"kubectl -n {metadata['namespace']} get npap {metadata['name']}")
        self._paper.table(kubectl_view.get(self._body(), now=self.stage.clock.now()))

    def _body(self) -> Body:
        return next(self.stage.cluster.objects(POLICIES))

    def _children(self) -> set[str]:
        return {body["metadata"]["name"] for body in self.stage.cluster.objects(NETWORK_POLICIES)}


def _unapplied(body: Body) -> Policy:
    """The policy as it is in the folder, before an API server gave it a uid and a version."""
    return parse_policy({**body, "metadata": {**body["metadata"], "uid": "", "resourceVersion": "0"}})
