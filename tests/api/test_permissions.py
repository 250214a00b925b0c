"""Each permission of the ClusterRole taken away in turn, under one running operator: it says which one it misses, does
all that it still may, asks in no hot loop, never opens anything, and goes on as soon as the permission is back.

Which ones there must be is checked by the whole run (`audited`): all that any test made the operator ask for is in
manifests/base/rbac.yaml, and all of that was asked for. Hundreds of situations are a better witness of it than one
scenario made up for the purpose, and no test can forget to look. Here the list comes from the file, so that a new
permission has to prove that it is missed.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

import pytest

from testbed.api_client import MERGE_PATCH
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import CutStream, FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, USER, OperatorProcess
from tests.api import tampered
from tests.api.access import ALLOWED, LABEL, Site, a_site, until
from tests.api.permissions import Permission, granted, may
from tests.api.witness import Witness

ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/nodeport-access-operator"
POLICIES, SERVICES, NETWORK_POLICIES = "nodeportaccesspolicies", "services", "networkpolicies"


@dataclass(slots=True)
class Guarded:
    """A namespace with a Service that an impatient operator guards, behind a proxy that can cut its streams."""

    site: Site
    plane: ControlPlane
    proxy: FaultProxy
    operator: OperatorProcess
    spares: list[str] = field(default_factory=list)
    """Names of Services and their policies, each good for one change: who changes one twice is out-waited."""
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def name(self) -> str:
        """One that nobody has had before."""
        return f"web-{next(self.numbers)}"

    def create(self) -> str:
        """One more Service with a policy."""
        name = self.name()
        self.site.create_service(name, selector={"app": name})
        self.site.create_policy(name, service=name)
        return name

    def guard(self) -> str:
        """One more that is guarded."""
        name = self.create()
        self.site.await_ready(name)
        return name


@pytest.fixture(scope="module")
def guarded(quiet_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    plane = quiet_control_plane
    site = a_site(plane, "permissions")
    log = tmp_path_factory.mktemp("permissions") / "operator.log"
    with FaultProxy(plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        environment = {"TAMPER": "impatient"}
        operator = OperatorProcess(
            plane, log=log, kubeconfig=kubeconfig, module=tampered.MODULE, environment=environment
        )
        try:
            operator.wait_until_ready()
            found = Guarded(site=site, plane=plane, proxy=proxy, operator=operator)
            site.create_pod()
            site.create_service()
            site.create_policy()
            site.await_ready()
            found.spares = [found.guard() for _ in granted()]
            witness = Witness(site)
            yield found
            witness.assert_never_wider()
            assert operator.exit_code is None
        finally:
            operator.close()


# --- what shows that one is missing: something is done that needs it, and what comes of that once it is back ----------


@dataclass(frozen=True, slots=True)
class Trial:
    """What cannot be done now: ``done`` tells when it is, None where it is done in another way; ``told`` is the policy
    whose status says why not."""

    done: Callable[[], bool] | None
    told: str = ""


def cut_streams(guarded: Guarded) -> Trial:
    """Lists and watches are asked for anew."""
    guarded.proxy.inject(CutStream()).remove()
    return Trial(lambda: guarded.operator.health()[0] == 200)


def vanished_child(guarded: Guarded) -> Trial:
    guarded.site.delete("NetworkPolicy", "web-allow")
    return Trial(lambda: "web-allow" in guarded.site.network_policies(), told="web")


def unread_policy(guarded: Guarded) -> Trial:
    """The policy of a child that vanished is read afresh; if it cannot be, the child is made all the same."""
    vanished_child(guarded)
    return Trial(None)


def changed_child(guarded: Guarded) -> Trial:
    site = guarded.site
    before = site.allowlist()
    site.edit("NetworkPolicy", "web-allow", spec={"ingress": []})
    return Trial(lambda: site.allowlist() == before, told="web")


def superfluous_child(guarded: Guarded) -> Trial:
    """A policy that only reports has no children, and the garbage collector keeps those of a living one."""
    site, name = guarded.site, guarded.guard()
    site.edit_policy(name, mode="Audit")
    return Trial(lambda: not {f"{name}-allow", f"{name}-deny-all"} & site.network_policies().keys())


def new_policy(guarded: Guarded) -> Trial:
    site, name = guarded.site, guarded.create()
    return Trial(lambda: site.guard_of(name) == ("Local", name), told=name)


def untold_status(guarded: Guarded) -> Trial:
    """The status has to speak of a new generation."""
    site, name = guarded.site, guarded.name()
    site.edit_policy(allowedPeers=[{"podSelector": {"matchLabels": {"peer": name}}}])
    return Trial(lambda: bool(site.status()))


def untold_drift(guarded: Guarded) -> Trial:
    """The repair of a drift is worth an Event; those that cannot be posted are lost, and later ones are posted."""
    site = guarded.site

    def is_told() -> bool:
        site.edit("NetworkPolicy", "web-allow", manager=guarded.name(), spec={"ingress": []})
        return len(site.cluster.list("Event", namespace=site.namespace)) > before

    before = len(site.cluster.list("Event", namespace=site.namespace))
    is_told()
    return Trial(is_told)


TRIALS: dict[tuple[str, str], Callable[[Guarded], Trial]] = {
    (POLICIES, "get"): unread_policy,
    (f"{POLICIES}/status", "patch"): untold_status,
    (SERVICES, "patch"): new_policy,
    (NETWORK_POLICIES, "create"): vanished_child,
    (NETWORK_POLICIES, "patch"): changed_child,
    (NETWORK_POLICIES, "delete"): superfluous_child,
    ("events", "create"): untold_drift,
}
"""For every permission but to list and to watch, which are tried by cutting streams."""


def holds(predicate: Callable[[], bool]) -> bool:
    try:
        return predicate()
    except AssertionError:
        return False


def tried(guarded: Guarded, missing: Permission) -> Trial:
    if missing.verb in ("list", "watch"):
        return cut_streams(guarded)
    return TRIALS[missing.resource, missing.verb](guarded)


def says(guarded: Guarded, missing: Permission, trial: Trial, *, since: int) -> bool:
    """Whether it says which permission it misses, in the API server's words."""
    words = f'cannot {missing.verb} resource "{missing.resource}" in API group "{missing.group}"'
    lines = [json.loads(line)["message"] for line in guarded.operator.log_lines()[since:]]
    assert any(words in line for line in lines), lines
    if missing.verb in ("list", "watch"):
        code, text = guarded.operator.health()
        assert (code, words in text) == (503, True), text
    if trial.told:
        ready = next(one for one in guarded.site.status(trial.told)["conditions"] if one["type"] == "Ready")
        assert (ready["reason"], words in ready["message"]) == ("ApplyForbidden", True), ready
    return True


def assert_the_rest_works(guarded: Guarded, missing: Permission) -> None:
    """What it hears of by other ways is repaired, and what it may still write is changed."""
    site, spare = guarded.site, guarded.spares.pop()
    if (missing.resource, missing.verb) in NEEDED_TO_CHANGE:
        site.edit("Service", spare, metadata={"labels": {LABEL: "other"}})
        site.await_guard("Local", spare, service=spare)
    else:
        site.edit_policy(spare, allowedCIDRs=[{"cidr": "198.51.100.0/24"}])
        site.await_allowlist({"TCP/8080": ["198.51.100.0/24"]}, spare)


NEEDED_TO_CHANGE = {(POLICIES, "list"), (POLICIES, "watch"), (NETWORK_POLICIES, "patch")}
"""Without these a changed policy is not heard of, or its allowlist not written."""


def change_role(plane: ControlPlane, *, missing: Permission | None) -> None:
    """Give the operator its ClusterRole without one permission, or whole; each permission by a rule of its own."""
    left = [
        {"apiGroups": [one.group], "resources": [one.resource], "verbs": [one.verb]}
        for one in granted()
        if one != missing
    ]
    code, answer = plane.request("PATCH", ROLE, {"rules": left}, content_type=MERGE_PATCH)
    assert code == 200, answer


@pytest.mark.parametrize("missing", granted(), ids=str)
def test_without_one_permission_it_says_so_does_the_rest_and_goes_on_once_it_has_it(
    guarded: Guarded, missing: Permission
) -> None:
    plane, operator = guarded.plane, guarded.operator
    since, begin, mark = len(operator.log_lines()), monotonic(), plane.audit_mark()
    change_role(plane, missing=missing)
    try:
        until(lambda: not may(plane, missing), "RBAC to refuse it")
        trial = tried(guarded, missing)
        until(lambda: says(guarded, missing, trial, since=since), "the operator to say what it misses")
        assert_the_rest_works(guarded, missing)
        assert not (trial.done and holds(trial.done))
        assert operator.health("/healthz")[0] == 200
        refused = Counter(
            one["requestURI"].partition("?")[0]
            for one in plane.audit_events(since=mark, user=USER)
            if one["responseStatus"]["code"] == 403
        )
        assert refused
        assert max(refused.values()) <= 5 + 10 * (monotonic() - begin)
    finally:
        change_role(plane, missing=None)
        until(lambda: may(plane, missing), "RBAC to grant it")
    if trial.done:
        until(trial.done, "what could not be done")
    operator.wait_until_ready(seconds=10)
    guarded.site.await_ready()
    assert operator.exit_code is None


def test_where_pods_cannot_be_listed_a_new_namespace_is_guarded_and_status_says_what_nobody_knows(
    guarded: Guarded,
) -> None:
    missing = Permission(group="", resource="pods", verb="list")
    change_role(guarded.plane, missing=missing)
    try:
        until(lambda: not may(guarded.plane, missing), "RBAC to refuse it")
        site = a_site(guarded.plane, "unlisted-pods")
        site.create_service()
        site.create_policy()
        site.await_guard("Local", "web")
        site.await_allowlist({"TCP/8080": list(ALLOWED)})
        for kind in ("Exclusive", "Enforceable"):
            site.await_condition(kind, "Unknown PodsNotListed")
        site.await_condition("Ready", "False PodsNotListed")
    finally:
        change_role(guarded.plane, missing=None)
        until(lambda: may(guarded.plane, missing), "RBAC to grant it")
    site.await_condition("Exclusive", "True NoOtherOpening")
    site.await_ready()
    guarded.operator.wait_until_ready(seconds=10)
