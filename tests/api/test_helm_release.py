"""The life of a Helm release on a real API server: installed, upgraded, rolled back, uninstalled, and what is left.

There is no kubelet, so no pod of the Deployment ever runs; where the operator has work to do, a test starts it, with
the permissions that the release gave it.

Not the business of this module: what the chart renders (`test_chart`), and how the API server takes each object
(`test_install`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.helm import Helm
from testbed.kubectl import KubectlFailed
from testbed.operator_process import NAMESPACE, install_crd, wait_until_served
from tests.api.access import Site, until
from tests.api.conftest import StartOperator
from tests.api.variants import CHART, CRD, RELEASE, Key, delete_crd

# What Kubernetes itself makes in a namespace and for a CRD.
COMPANIONS = {
    Key("Namespace", "", NAMESPACE),
    Key("ServiceAccount", NAMESPACE, "default"),
    Key("ConfigMap", NAMESPACE, "kube-root-ca.crt"),
    Key("APIService", "", "v1alpha1.nodeport-access.io"),
}


class Releases:
    """Releases on one control plane, which are gone afterwards with all that they left."""

    def __init__(self, helm: Helm, control_plane: ControlPlane) -> None:
        self.control_plane = control_plane
        self._helm = helm

    def install(
        self, *words: str | Path, name: str = RELEASE, namespace: str = NAMESPACE, chart: Path = CHART, **values: Any
    ) -> str:
        """Install it into a namespace that is made, and wait until policies are served; what Helm says."""
        said = self._run("install", name, chart, "--create-namespace", *words, namespace=namespace, **values)
        wait_until_served(self.control_plane)
        return said

    def upgrade(self, *words: str | Path, chart: Path = CHART, **values: Any) -> str:
        return self._run("upgrade", RELEASE, chart, *words, namespace=NAMESPACE, **values)

    def rollback(self, revision: int) -> str:
        return self._run("rollback", RELEASE, str(revision), namespace=NAMESPACE)

    def uninstall(self, name: str = RELEASE, *, namespace: str = NAMESPACE) -> str:
        return self._run("uninstall", name, namespace=namespace)

    def refused(self, *words: str | Path, **values: Any) -> str:
        """The sentence by which Helm refuses to install it."""
        result = self._helm(
            *("install", "second", CHART, "--namespace", "second", "--create-namespace", *words),
            *self._settings(values),
            control_plane=self.control_plane,
            check=False,
        )
        assert result.returncode == 1, result.stdout
        return result.stderr

    def _run(self, command: str, *words: str | Path, namespace: str, **values: Any) -> str:
        settings = self._settings(values)
        return self._helm(command, *words, "--namespace", namespace, *settings, control_plane=self.control_plane).stdout

    def _settings(self, values: dict[str, Any]) -> list[str]:
        return [word for name, value in values.items() for word in ("--set-json", f"{name}={json.dumps(value)}")]

    def everything(self) -> set[Key]:
        """Every object of every kind, but for Events, and what comes and goes by itself with a namespace."""
        kubectl = self.control_plane.kubectl
        kinds = kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
        wanted = ",".join(kind for kind in kinds if not kind.startswith(("events", "componentstatuses")))
        return {Key.of(body) for body in json.loads(kubectl("get", wanted, "-A", "-o", "json").stdout)["items"]}

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = Cluster(self.control_plane).get(
            "Deployment", "nodeport-access-operator", namespace=NAMESPACE
        )
        return found


@pytest.fixture
def releases(helm: Helm, bare_control_plane: ControlPlane) -> Iterator[Releases]:
    yield Releases(helm, bare_control_plane)
    listed = helm("list", "--all-namespaces", "--output", "json", control_plane=bare_control_plane).stdout
    for release in json.loads(listed):
        helm("uninstall", release["name"], "--namespace", release["namespace"], control_plane=bare_control_plane)
    delete_crd(bare_control_plane)


@pytest.fixture
def place(request: pytest.FixtureRequest, bare_control_plane: ControlPlane) -> Site:
    """A namespace with a Service, for policies."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    site = Site(Cluster(bare_control_plane), name)
    site.cluster.create_namespace(objects.namespace(name=name))
    site.create_service()
    return site


def test_uninstalling_takes_everything_but_the_crd_and_what_holds_in_force(
    releases: Releases, place: Site, start_operator: StartOperator
) -> None:
    before = releases.everything()
    releases.install()
    policy = place.create_policy()
    operator = start_operator(releases.control_plane)
    place.await_ready()
    operator.stop()
    in_force = place.guard_of(), {name: body["spec"] for name, body in place.network_policies().items()}

    releases.uninstall()

    guarding = {
        Key("NodePortAccessPolicy", place.namespace, "web"),
        Key("NetworkPolicy", place.namespace, "web-allow"),
        Key("NetworkPolicy", place.namespace, "web-deny-all"),
    }
    until(
        lambda: releases.everything() - before <= {Key("CustomResourceDefinition", "", CRD), *guarding, *COMPANIONS},
        "the end of what the Deployment had made",
    )
    assert place.policy()["metadata"]["uid"] == policy["metadata"]["uid"]
    assert in_force[0] == ("Local", "web")
    assert (place.guard_of(), {name: body["spec"] for name, body in place.network_policies().items()}) == in_force


def test_after_it_was_uninstalled_it_can_be_installed_again_and_goes_on(
    releases: Releases, place: Site, start_operator: StartOperator
) -> None:
    releases.install()
    place.create_policy()
    releases.uninstall()

    releases.install()
    start_operator(releases.control_plane)
    place.await_ready()

    place.delete("NodePortAccessPolicy")
    until(lambda: place.guard_of() == ("Cluster", None), "the Service to be handed back")
    until(lambda: not place.network_policies(), "the end of the NetworkPolicies")


def test_without_an_operator_policies_the_crd_and_the_namespace_can_be_deleted(
    releases: Releases, place: Site, start_operator: StartOperator
) -> None:
    releases.install()
    place.create_policy()
    operator = start_operator(releases.control_plane)
    place.await_ready()
    operator.stop()
    releases.uninstall()

    place.kubectl("delete", "npap", "--all", "--timeout=20s")
    # The garbage collector looks every 30 s for kinds that are new.
    until(lambda: not place.network_policies(), "the end of the NetworkPolicies", seconds=90)
    assert place.guard_of() == ("Local", "web"), "nobody was there to hand it back"
    delete_crd(releases.control_plane)
    place.kubectl("delete", "namespace", place.namespace, "--timeout=60s")


# --- the CRD ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """The chart of a release whose CRD does not know the field isolation yet."""
    chart = Path(shutil.copytree(CHART, tmp_path / "older"))
    (crd_file,) = (chart / "files" / "crds").iterdir()
    crd = yaml.safe_load(crd_file.read_text(encoding="utf-8"))
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["isolation"]
    crd_file.write_text(yaml.safe_dump(crd), encoding="utf-8")
    return chart


def test_an_upgrade_and_a_rollback_of_the_crd_keep_every_policy(
    older_chart: Path, releases: Releases, place: Site
) -> None:
    releases.install(chart=older_chart, image={"repository": "registry.example/mine"})
    old = place.create_policy("old")
    with pytest.raises(KubectlFailed, match=r'unknown field "spec\.isolation"'):
        create_isolating(place)

    releases.upgrade("--reset-then-reuse-values")
    assert image_of(releases.deployment()).startswith("registry.example/mine:")
    assert survived(old, place)
    create_isolating(place)
    assert place.policy("new")["spec"]["isolation"] == "Namespace"

    releases.rollback(1)
    assert survived(old, place)
    assert "isolation" not in place.policy("new")["spec"]

    releases.upgrade()
    assert survived(old, place)
    assert place.policy("new")["spec"]["isolation"] == "Namespace"


def image_of(deployment: dict[str, Any]) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def create_isolating(place: Site) -> None:
    """One that uses the newer field, which `--validate=strict` refuses where the CRD does not know it."""
    body = objects.policy(namespace=place.namespace, name="new", service="other", isolation="Namespace")

    def created() -> bool:
        ran = place.cluster.control_plane.kubectl(
            *("create", "--validate=strict", "-f", "-"), input=json.dumps(body), check=False
        )
        # A definition that has just changed is answered by nobody for a moment.
        assert "apiserver is shutting down" not in ran.stderr
        if ran.returncode:
            raise KubectlFailed(ran.stderr)
        return True

    until(created, "the API server to answer")


def survived(policy: dict[str, Any], place: Site) -> bool:
    """Whether it is the same object with all that was in it; a newer schema may add defaults."""
    found = place.policy(policy["metadata"]["name"])
    same = [found["metadata"][name] == policy["metadata"][name] for name in ("uid", "generation", "creationTimestamp")]
    return all(same) and policy["spec"].items() <= found["spec"].items()


def test_a_crd_that_somebody_else_applied_is_left_alone_or_taken_over_as_helm_is_told(
    older_chart: Path, releases: Releases, place: Site
) -> None:
    install_crd(releases.control_plane)
    releases.control_plane.kubectl("apply", "-f", older_chart / "files" / "crds")
    place.create_policy()

    assert f'CustomResourceDefinition "{CRD}" in namespace "" exists and cannot be imported' in releases.refused()
    releases.install(crds={"install": False})
    releases.uninstall()
    releases.install("--take-ownership", "--force-conflicts")

    annotations = place.cluster.get("CustomResourceDefinition", CRD)["metadata"]["annotations"]
    create_isolating(place)
    assert annotations["meta.helm.sh/release-name"] == RELEASE
    assert annotations["helm.sh/resource-policy"] == "keep"
    assert place.policy()


# --- one operator, or more --------------------------------------------------------------------------------------------


def test_a_second_operator_for_the_same_namespaces_is_refused(releases: Releases) -> None:
    releases.install()

    sentence = releases.refused(crds={"install": False})

    assert 'ClusterRole "nodeport-access-operator" in namespace "" exists and cannot be imported' in sentence


def test_from_one_replica_to_two_and_back(releases: Releases) -> None:
    releases.install()
    assert releases.deployment()["spec"]["strategy"] == {"type": "Recreate"}

    releases.upgrade(replicas=2)
    assert (releases.deployment()["spec"]["replicas"], releases.deployment()["spec"]["strategy"]["type"]) == (
        2,
        "RollingUpdate",
    )

    releases.upgrade(replicas=1)
    assert releases.deployment()["spec"]["strategy"] == {"type": "Recreate"}
    releases.rollback(2)
    assert releases.deployment()["spec"]["replicas"] == 2


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_namespace_is_asked_to_be_restricted_until_it_is(releases: Releases) -> None:
    releases.control_plane.kubectl("create", "namespace", "loose")
    advice = "kubectl label namespace loose pod-security.kubernetes.io/enforce=restricted"

    assert advice in releases.install(namespace="loose")
    releases.control_plane.kubectl(*advice.split()[1:])
    releases.uninstall(namespace="loose")
    assert "pod-security" not in releases.install(namespace="loose")


def test_a_value_that_only_the_api_server_can_judge_is_refused_by_it(releases: Releases) -> None:
    sentence = releases.refused(tolerations=[{"key": "x", "operater": "Exists"}])

    assert "operater" in sentence


# --- what the operator may do by what the release gave it -------------------------------------------------------------


def test_replicas_of_a_release_may_keep_their_lease(
    releases: Releases, place: Site, start_operator: StartOperator
) -> None:
    releases.install(replicas=2)
    place.create_policy()

    start_operator(releases.control_plane, leader_elect=True, leader_elect_namespace=NAMESPACE)

    until(lambda: place.conditions()["Ready"] == "True Guarded", "the first replica to lead", seconds=60)
    lease = place.cluster.get("Lease", "nodeport-access-operator", namespace=NAMESPACE)
    assert lease["spec"]["holderIdentity"]


def test_roles_in_listed_namespaces_are_enough_to_guard_there(
    releases: Releases, place: Site, start_operator: StartOperator
) -> None:
    releases.install(watchNamespaces=[place.namespace])
    place.create_policy()

    start_operator(releases.control_plane, namespace=[place.namespace])

    until(lambda: place.guard_of() == ("Local", "web"), "the Service to be taken")
    place.await_network_policies("web-allow", "web-deny-all")
