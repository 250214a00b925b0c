"""A policy is deleted, in every way that the API has, while somebody who would have to notice or to help is away: its
Service goes back to what its other owner says, or to the default, and nothing of the policy is left.

Not the business of this module: policies of which another takes over (`test_claims`), and whole namespaces
(`test_terminating_namespaces`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from testbed import objects
from testbed.cluster import Cluster, path
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import ErrorEvent, FaultProxy, SlowAnswer, StallStream
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, OperatorProcess
from tests.api.access import MANAGER, Json, Site, until
from tests.api.conftest import StartOperator
from tests.api.witness import Witness, assert_never_wider

PROPAGATIONS = ("background", "orphan", "foreground")
KOPFS_STREAM: dict[str, Any] = {"verbs": {"watch"}, "resources": {"nodeportaccesspolicies"}}
"""Nobody else watches policies; the roster lists them."""
LISTS: dict[str, Any] = {"verbs": {"list"}, "resources": {"nodeportaccesspolicies"}}


def made_by_default(site: Site, name: str) -> None:
    """Nobody ever said anything about externalTrafficPolicy."""
    site.create_service(name, type="LoadBalancer", selector={"app": name})


def made_local(site: Site, name: str) -> None:
    """A server-side applier wants it Local, as we do."""
    site.cluster.apply(service_body(site, name, "Local"), manager="gitops")


def made_cluster(site: Site, name: str) -> None:
    """A user keeps it in a file with an explicit Cluster."""
    site.kubectl("apply", "-f", "-", stdin=service_body(site, name, "Cluster"))


def service_body(site: Site, name: str, traffic_policy: str) -> Json:
    return objects.service(
        namespace=site.namespace, name=name, selector={"app": name}, externalTrafficPolicy=traffic_policy
    )


MAKERS = {"default": made_by_default, "local": made_local, "cluster": made_cluster}
EVERY = tuple(f"{propagation}-{owner}" for propagation in PROPAGATIONS for owner in MAKERS)
SOME = tuple(f"{propagation}-{owner}" for propagation, owner in zip(PROPAGATIONS, MAKERS, strict=True))


@dataclass(frozen=True, slots=True)
class Guarded:
    """Services with a policy each, of the same name: how the policy is to be deleted, and who else owns the field."""

    site: Site
    before: dict[str, Json]
    witness: Witness

    def delete_policies(self, names: Iterable[str] = ()) -> None:
        """All of them, or some."""
        for name in names or self.before:
            self.site.delete("NodePortAccessPolicy", name, propagationPolicy=name.partition("-")[0].capitalize())

    def await_released(self, *, seconds: float) -> None:
        """Until all Services are as they were, and no child is left."""

        def released() -> bool:
            assert {name: self.site.service(name)["spec"] for name in self.before} == self.before
            assert self.site.network_policies() == {}
            return True

        until(released, f"the release in {self.site.namespace}", seconds=seconds)
        for name in self.before:
            metadata = self.site.service(name)["metadata"]
            assert MANAGER not in {entry["manager"] for entry in metadata["managedFields"]}
            assert not [label for label in metadata.get("labels", {}) if label.startswith("nodeport-access.io/")]
        states = self.witness.states()
        for name in self.before:
            assert_never_wider(states, service=name, labels={"app": name})

    def await_end(self) -> None:
        """Until no policy is left: the garbage collector takes its own finalizers off, once it knows of the kind, which
        is within 30 s after a CRD was created."""
        list_all = partial(self.site.cluster.list, "NodePortAccessPolicy", namespace=self.site.namespace)
        until(lambda: not list_all(), f"the end of the policies in {self.site.namespace}", seconds=60)


def guard(cluster: Cluster, namespace: str, names: Iterable[str]) -> Guarded:
    """The Services and their policies, before the operator has seen them."""
    site = Site(cluster, namespace)
    if cluster.find("Namespace", namespace) is None:
        cluster.create_namespace(objects.namespace(name=namespace))
    before = {}
    for name in names:
        MAKERS[name.partition("-")[2]](site, name)
        before[name] = site.service(name)["spec"]
        site.create_policy(name, service=name)
    return Guarded(site, before, Witness(site))


def await_ready(*guarded: Guarded) -> None:
    for each in guarded:
        for name in each.before:
            each.site.await_ready(name)


def test_a_deleted_policy_leaves_everything_as_it_was_before_it(
    cluster: Cluster, namespace: str, shared_operator: OperatorProcess
) -> None:
    assert shared_operator.exit_code is None
    guarded = guard(cluster, namespace, EVERY)
    await_ready(guarded)

    guarded.delete_policies()

    guarded.await_released(seconds=10)
    guarded.await_end()


def test_policies_are_released_without_garbage_collector_also_by_an_operator_that_was_deaf_or_away(
    quiet_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    plane, cluster = quiet_control_plane, Cluster(quiet_control_plane)
    heard, unheard, missed = (guard(cluster, f"release-{name}", SOME) for name in ("heard", "unheard", "missed"))
    with FaultProxy(plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = start_operator(plane, kubeconfig=kubeconfig)
        await_ready(heard, unheard, missed)
        plane.stop_controller_manager()
        try:
            heard.delete_policies()
            with proxy.inject(StallStream(lost=True), **KOPFS_STREAM):
                unheard.delete_policies(SOME[1:])
                # Kopf lists anew, and says nothing of those that are gone; one more goes while it does.
                slow = proxy.inject(SlowAnswer(bytes_per_second=40_000), **LISTS, times=1)
                proxy.inject(ErrorEvent(code=410), **KOPFS_STREAM, times=1)
            until(lambda: slow.hits, "Kopf to list")
            unheard.delete_policies(SOME[:1])
            heard.await_released(seconds=20)
            unheard.await_released(seconds=20)

            operator.stop()
            missed.delete_policies()
            start_operator(plane, kubeconfig=kubeconfig, ready=False)
            missed.await_released(seconds=20)
        finally:
            plane.start_controller_manager()
        for guarded in (heard, unheard, missed):
            guarded.await_end()
            cluster.vacate_namespace(guarded.site.namespace)


def start_api_server(plane: ControlPlane) -> None:
    """And wait until it serves policies, which takes a moment longer than other kinds."""
    plane.start_api_server()
    policies = path(kind="NodePortAccessPolicy")
    until(lambda: plane.request("GET", policies)[0] == 200, "policies to be served")


def test_policies_that_go_during_an_outage_of_the_api_server_are_released(
    own_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    # One of its own: the controller manager takes half a minute to find the API server again.
    plane = own_control_plane
    guarded = guard(Cluster(plane), "outage", SOME)
    operator = start_operator(plane)
    await_ready(guarded)

    # Deleted while it is back for a moment, of which the operator hears nothing.
    with operator.paused():
        plane.stop_api_server()
        start_api_server(plane)
        guarded.delete_policies()
        plane.stop_api_server()
    start_api_server(plane)

    # An API server does not look back beyond its start, and neither can a witness.
    guarded = replace(guarded, witness=Witness(guarded.site))
    guarded.await_released(seconds=60)
