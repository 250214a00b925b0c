"""A namespace is deleted with a policy, its children and its Service in it, and a stranger's finalizer may hold on to
some of it: all of it ends, and the operator neither tries again in a hot loop nor fills its log.

Not the business of this module: a policy that is deleted alone (`test_release`).
"""

from __future__ import annotations

import json
import time
from functools import partial

from testbed import objects
from testbed.cluster import Cluster
from testbed.operator_process import OperatorProcess
from tests.api.access import Site, until

CHILDREN = (("NetworkPolicy", "web-allow"), ("NetworkPolicy", "web-deny-all"))
HELD = (("Service", "web"), ("NodePortAccessPolicy", "web"))
OTHER = ("ConfigMap", "kube-root-ca.crt")
"""What every namespace has."""
HOLDING_SECONDS = 2.0
MOST_WRITES = 16
"""Of the operator in one namespace; a retry each 0.2 s would be 25 in the 5 s that a namespace takes to die."""


def create_site(cluster: Cluster, name: str) -> Site:
    site = Site(cluster, name)
    cluster.create_namespace(objects.namespace(name=name))
    site.create_service(type="LoadBalancer")
    site.create_pod()
    site.create_policy()
    site.await_ready()
    return site


def hold(site: Site, kind: str, name: str) -> None:
    site.edit(kind, name, metadata={"finalizers": ["example.org/hold"]})


def let_go(site: Site, kind: str, name: str) -> None:
    site.edit(kind, name, metadata={"finalizers": None})


def test_a_namespace_ends_with_few_writes_and_no_complaints_whatever_holds_on_to_it(
    cluster: Cluster, shared_operator: OperatorProcess
) -> None:
    plain, beside, within = (create_site(cluster, f"terminating-{name}") for name in ("plain", "beside", "within"))
    hold(beside, *OTHER)
    for kind, name in HELD:
        hold(within, kind, name)
    begin, lines = cluster.control_plane.audit_mark(), len(shared_operator.log_lines())

    for site in (plain, beside, within):
        cluster.delete_namespace(site.namespace)
    # Nothing of it is gone for five seconds, but nothing can be created any more.
    plain.delete("NetworkPolicy", "web-deny-all")

    until(lambda: beside.network_policies() == {} == plain.network_policies(), "the end of the children", seconds=30)
    # While its policy lives on, its children are tried for with growing intervals.
    until(
        lambda: beside.cluster.find(*HELD[1], namespace=beside.namespace) is None, "the end of the policy", seconds=30
    )
    within.await_guard("Cluster", None)
    held_since = cluster.control_plane.audit_mark()
    time.sleep(HOLDING_SECONDS)
    for site in (beside, within):
        assert site.writes(since=held_since) == [], site.namespace

    let_go(beside, *OTHER)
    for kind, name in HELD:
        let_go(within, kind, name)
    for site in (plain, beside, within):
        until(partial(is_gone, site), f"the end of {site.namespace}", seconds=60)
        written = site.writes(since=begin)
        assert len(written) <= MOST_WRITES, written
        complaints = [line for line in shared_operator.log_lines()[lines:] if site.namespace in line and is_loud(line)]
        assert complaints == []


def test_children_that_a_stranger_holds_hold_up_no_namespace(
    cluster: Cluster, shared_operator: OperatorProcess
) -> None:
    site = create_site(cluster, "terminating-children")
    begin = cluster.control_plane.audit_mark()
    with shared_operator.paused():
        for kind, name in CHILDREN:
            hold(site, kind, name)
        cluster.delete_namespace(site.namespace)
        until(lambda: is_all_marked(site), "the deletion of the children", seconds=30)

    until(partial(is_gone, site), f"the end of {site.namespace}", seconds=60)

    written = site.writes(since=begin)
    assert len(written) <= MOST_WRITES, written


def is_all_marked(site: Site) -> bool:
    return all("deletionTimestamp" in one["metadata"] for one in site.network_policies().values())


def is_gone(site: Site) -> bool:
    return site.cluster.find("Namespace", site.namespace) is None


def is_loud(line: str) -> bool:
    return bool(json.loads(line)["level"] != "INFO")
