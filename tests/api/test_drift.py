"""What somebody else does to the objects that the operator keeps: it is undone, counted in /metrics, and told in
`status.lastDrift` with its writer and what it did to access.

Not the business of this module: the order of repairs, objects that were never the operator's (`test_name_conflicts`),
and what an apply does not undo (`test_additions`).
"""

from __future__ import annotations

import collections
import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from testbed.operator_process import OperatorProcess
from tests.api.access import LABEL, Json, Site, await_told, drifts, until
from tests.api.witness import Witness, assert_never_wider

TRAFFIC_POLICY = "spec.externalTrafficPolicy"


# --- children --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What somebody does to a child (`change` None deletes it), and what is to be told of it. The writer is empty where
    the API does not tell: nobody holds a field that is gone."""

    child: str
    change: Mapping[str, Any] | None
    field: str
    effect: str
    writer: str = "kubectl-edit"
    policy: Mapping[str, Any] = dataclass_field(default_factory=dict)


ELSEWHERE = {"matchLabels": {"app": "elsewhere"}}
ROWS = {
    "an allowlist deleted": Row(child="allow", change=None, field="deleted", writer="", effect="closed"),
    "a deny-all deleted beside its allowlist": Row(
        child="deny-all", change=None, field="deleted", writer="", effect="none"
    ),
    "a deny-all of the namespace deleted": Row(
        child="deny-all", change=None, field="deleted", writer="", effect="opened", policy={"isolation": "Namespace"}
    ),
    "an allowlist opened to everyone": Row(
        child="allow", change={"spec": {"ingress": [{}]}}, field="spec.ingress", effect="opened"
    ),
    "an allowlist opened on one more port": Row(
        child="allow",
        change={"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "10.2.3.4/32"}}], "ports": [{"port": 22}]}]}},
        field="spec.ingress",
        effect="opened",
    ),
    "an allowlist emptied": Row(
        child="allow", change={"spec": {"ingress": None}}, field="spec.ingress", effect="closed", writer=""
    ),
    "an allowlist cut down to one network": Row(
        child="allow",
        change={
            "spec": {
                "ingress": [
                    {"from": [{"ipBlock": {"cidr": "10.2.3.4/32"}}], "ports": [{"port": 8080, "protocol": "TCP"}]}
                ]
            }
        },
        field="spec.ingress",
        effect="closed",
    ),
    "an allowlist that selects other pods": Row(
        child="allow", change={"spec": {"podSelector": ELSEWHERE}}, field="spec.podSelector", effect="opened"
    ),
    "an allowlist for the way out only": Row(
        child="allow", change={"spec": {"policyTypes": ["Egress"]}}, field="spec.policyTypes", effect="opened"
    ),
    "an allowlist that shuts the way out": Row(
        child="allow",
        change={"spec": {"policyTypes": ["Ingress", "Egress"]}},
        field="spec.policyTypes",
        effect="closed",
    ),
    "a deny-all that admits": Row(
        child="deny-all",
        change={"spec": {"ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]}},
        field="spec.ingress",
        effect="opened",
    ),
    "a deny-all that selects other pods": Row(
        child="deny-all", change={"spec": {"podSelector": ELSEWHERE}}, field="spec.podSelector", effect="opened"
    ),
    "a way out in a deny-all": Row(
        child="deny-all", change={"spec": {"egress": [{"to": []}]}}, field="spec.egress", effect="none"
    ),
    "labels stripped": Row(
        child="allow", change={"metadata": {"labels": None}}, field="metadata.labels", effect="none", writer=""
    ),
    "our label changed": Row(
        child="deny-all", change={"metadata": {"labels": {LABEL: "web"}}}, field="metadata.labels", effect="none"
    ),
    "a deny-all that admits and tells nothing of us any more": Row(
        child="deny-all",
        change={"metadata": {"labels": None, "ownerReferences": None}, "spec": {"ingress": [{}]}},
        field="spec.ingress",
        effect="opened",
    ),
    "the owner removed": Row(
        child="deny-all",
        change={"metadata": {"ownerReferences": None}},
        field="metadata.ownerReferences",
        effect="none",
        writer="",
    ),
}


def essence(child: Json) -> Json:
    """What of a child the operator keeps."""
    return {
        "spec": child["spec"],
        "labels": child["metadata"].get("labels"),
        "owners": child["metadata"].get("ownerReferences"),
    }


def test_whatever_is_done_to_a_child_is_undone_by_one_write_counted_and_told(
    site: Site, shared_operator: OperatorProcess
) -> None:
    rows = {f"p{number}": row for number, row in enumerate(ROWS.values())}
    for name, row in rows.items():
        site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name, **row.policy)
    for name in rows:
        site.await_ready(name)
    before = {name: essence(child) for name, child in site.network_policies().items()}
    kinds = collections.Counter((row.field, row.effect) for row in rows.values())
    counted = {kind: drifts(shared_operator, "NetworkPolicy", *kind) for kind in kinds}

    with shared_operator.paused():
        for name, row in rows.items():
            child = f"{name}-{row.child}"
            if row.change is None:
                site.delete("NetworkPolicy", child)
            else:
                site.edit("NetworkPolicy", child, **row.change)
        begin, witness = site.cluster.control_plane.audit_mark(), Witness(site)

    def undone() -> bool:
        found = {name: essence(child) for name, child in site.network_policies().items()}
        differing = [name for name in before if found.get(name) != before[name]]
        assert not differing, {name: found.get(name) for name in differing}
        return True

    until(undone, "every child as it was")
    for name, row in rows.items():
        await_told(
            site,
            name,
            object=f"NetworkPolicy/{name}-{row.child}",
            field=row.field,
            effect=row.effect,
            writer=row.writer,
        )
        site.await_ready(name)
    assert {kind: drifts(shared_operator, "NetworkPolicy", *kind) - counted[kind] for kind in kinds} == kinds
    assert collections.Counter(site.writes(since=begin)) == collections.Counter(
        write
        for name, row in rows.items()
        for write in (f"patch networkpolicies {name}-{row.child}", f"patch nodeportaccesspolicies/status {name}")
    )
    states = witness.states()
    for name in rows:
        assert_never_wider(states, service=name, labels={"app": name})


def test_both_children_deleted_at_once_come_back(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    before = {name: essence(child) for name, child in site.network_policies().items()}

    site.kubectl("delete", "networkpolicy", "--all", "--wait=false")

    def back() -> bool:
        assert {name: essence(child) for name, child in site.network_policies().items()} == before
        return True

    until(back, "both children")
    until(lambda: site.status().get("lastDrift", {}).get("field") == "deleted", "the deletion in status")
    site.await_ready()


def test_what_others_add_to_a_child_is_theirs(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    begin = site.cluster.control_plane.audit_mark()

    site.edit("NetworkPolicy", "web-allow", metadata={"labels": {"team": "edge"}, "annotations": {"note": "ours"}})
    site.edit("Service", metadata={"labels": {"team": "edge"}, "annotations": {"note": "ours"}})
    time.sleep(0.5)

    assert site.writes(since=begin) == []
    assert site.network_policies()["web-allow"]["metadata"]["labels"]["team"] == "edge"


# --- the Service -----------------------------------------------------------------------------------------------------


def service_body(site: Site, name: str, **spec: Any) -> Json:
    """A Service as a user keeps it in a file, with an explicit Cluster unless told otherwise."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": site.namespace, "name": name},
        "spec": {
            "type": "NodePort",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            "externalTrafficPolicy": "Cluster",
            **spec,
        },
    }


def by_patch(site: Site, name: str, **_: Any) -> str:
    site.kubectl("patch", "service", name, "-p", '{"spec": {"externalTrafficPolicy": "Cluster"}}')
    return "kubectl-patch"


def by_client_side_apply(site: Site, name: str, **spec: Any) -> str:
    site.kubectl("apply", "-f", "-", stdin=service_body(site, name, **spec))
    return "kubectl-client-side-apply"


def by_server_side_apply(site: Site, name: str, **spec: Any) -> str:
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-")
    site.kubectl(*words, stdin=service_body(site, name, **spec))
    return "gitops"


def by_replace(site: Site, name: str, **spec: Any) -> str:
    """Puts the whole object in its place, so that no trace of the operator is left on it."""
    site.kubectl("replace", "-f", "-", stdin=service_body(site, name, **spec))
    return "kubectl-replace"


FLIPS = {"patch": by_patch, "apply": by_client_side_apply, "force": by_server_side_apply, "replace": by_replace}
TYPES = {"nodes": "NodePort", "balancer": "LoadBalancer"}


def test_a_service_set_to_cluster_is_local_again_by_one_write_and_probed_at_the_same_port(
    site: Site, shared_operator: OperatorProcess
) -> None:
    names = {f"{how}-{kind}": (flip, type) for how, flip in FLIPS.items() for kind, type in TYPES.items()}
    for name, (_, type) in names.items():
        site.create_service(name, type=type, selector={"app": name})
        site.create_policy(name, service=name)
    for name in names:
        site.await_ready(name)
    before = {name: site.service(name)["spec"] for name in names}
    counted = drifts(shared_operator, "Service", TRAFFIC_POLICY, "depends")

    with shared_operator.paused():
        writers = {name: flip(site, name, type=type) for name, (flip, type) in names.items()}
        assert {site.guard_of(name)[0] for name in names} == {"Cluster"}
        assert not [name for name in names if "healthCheckNodePort" in site.service(name)["spec"]]
        begin, witness = site.cluster.control_plane.audit_mark(), Witness(site)

    for name, writer in writers.items():
        site.await_guard("Local", name, service=name)
        await_told(site, name, object=f"Service/{name}", field=TRAFFIC_POLICY, writer=writer, effect="depends")
        site.await_ready(name)
        assert site.service(name)["spec"] == before[name], "the port that a load balancer probes is in it"
        assert site.status(name).get("healthCheckNodePort") == before[name].get("healthCheckNodePort")
    assert drifts(shared_operator, "Service", TRAFFIC_POLICY, "depends") == counted + len(names)
    assert collections.Counter(site.writes(since=begin)) == collections.Counter(
        write for name in names for write in (f"patch services {name}", f"patch nodeportaccesspolicies/status {name}")
    )
    states = witness.states()
    for name in names:
        assert_never_wider(states, service=name, labels={"app": name})


def test_our_label_taken_from_the_service_is_put_back(site: Site, shared_operator: OperatorProcess) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    counted = drifts(shared_operator, "Service", "metadata.labels", "none")
    begin = site.cluster.control_plane.audit_mark()

    site.kubectl("label", "service", "web", f"{LABEL}-")

    site.await_guard("Local", "web")
    await_told(site, "web", object="Service/web", field="metadata.labels", effect="none")
    assert drifts(shared_operator, "Service", "metadata.labels", "none") == counted + 1
    assert site.writes(since=begin) == ["patch services web", "patch nodeportaccesspolicies/status web"]


def test_a_writer_that_keeps_taking_the_field_back_is_out_waited_and_named(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()

    for _ in range(2):
        site.edit_service(externalTrafficPolicy="Cluster", manager="gitops")
        site.await_guard("Local", "web")
    begin = time.monotonic()
    site.edit_service(externalTrafficPolicy="Cluster", manager="gitops")

    message = site.await_condition("ClientIPPreserved", "False ForeignWriter")
    assert message == "gitops keeps setting externalTrafficPolicy; set it to Local at its source."
    assert site.conditions()["Ready"] == "False ForeignWriter"
    assert site.conditions()["Reconciling"] == "True ForeignWriter"
    site.await_guard("Local", "web")
    assert time.monotonic() - begin > 1.5, "the third repair waits two seconds"
    site.await_ready()
