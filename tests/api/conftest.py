"""What the tests on a real API server share. A test asks for what it needs:

- `cluster`, `namespace`: the session's control plane with CRD, RBAC and three nodes, and a namespace of the test's own
- `shared_operator`: the one operator of that control plane, watching all namespaces; enough for most tests
- `site`: such a namespace, watched by that operator
- `quiet_control_plane`: a second one for the session, without an operator; a test may start one there, and ends it, and
  leaves CRD and RBAC complete
- `locked_control_plane`, `locked_operator`: one more for the session, under the lock-down of manifests/overlays, and
  its one operator
- `bare_control_plane`, `helm`: one with nothing of ours on it, and the real Helm, for what installs the operator; a
  test takes away again what it installed, but for namespaces
- `own_control_plane`, `start_operator(...)`: for tests that need a whole control plane to themselves; two operators
  without a lease on one control plane would fight, so never start one beside `shared_operator`

The real programs are required: without them the run fails, with one sentence that says what to install.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from testbed import objects, scenario
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.helm import Helm
from testbed.operator_process import OperatorProcess, install
from testbed.processes import tail
from testbed.programs import TOOLS, Programs, find
from tests.api.access import Site
from tests.api.audited import Audited
from tests.api.locked import lock_down
from tests.programs import found

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def alone(no_other_cluster: None) -> None:
    """Every test here."""


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Programs:
    """The real programs."""
    return found(request)


@pytest.fixture(scope="session")
def control_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The session's control plane: CRD, manifests, and the nodes of `testbed.scenario`. One per xdist worker."""
    with running(programs, tmp_path_factory.mktemp("control-plane")) as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def quiet_control_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Another one for the session, on which no operator runs but the one that a test starts, and ends."""
    with running(programs, tmp_path_factory.mktemp("quiet-control-plane")) as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def locked_control_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Another one for the session, under the lock-down."""
    with running(programs, tmp_path_factory.mktemp("locked-control-plane")) as control_plane:
        lock_down(control_plane)
        yield control_plane


@pytest.fixture(scope="session")
def locked_operator(
    locked_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator of the locked control plane, ready."""
    with watching(locked_control_plane, tmp_path_factory.mktemp("locked-operator")) as operator:
        yield operator


@pytest.fixture(scope="session")
def bare_control_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One more for the session, on which nothing of ours is but what a test installs, and takes away."""
    with ControlPlane(folder=tmp_path_factory.mktemp("bare-control-plane"), programs=programs) as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The real Helm, built on first use."""
    return Helm(program=find(TOOLS)["helm"], home=tmp_path_factory.mktemp("helm"))


@pytest.fixture
def own_control_plane(programs: Programs, tmp_path: Path) -> Iterator[ControlPlane]:
    """A control plane of the test's own, in the same state, to stop and start as it likes (about 5 s)."""
    with running(programs, tmp_path / "control-plane") as control_plane:
        yield control_plane


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> Cluster:
    """The objects of the session's control plane."""
    return Cluster(control_plane)


@pytest.fixture
def namespace(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """A fresh namespace, named after the test."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    name = f"{test[:40].strip('-')}-{next(_numbers)}"
    cluster.create_namespace(objects.namespace(name=name))
    yield name
    cluster.vacate_namespace(name)


@pytest.fixture(scope="session")
def shared_operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The session's operator, ready, under its own ServiceAccount with the RBAC of manifests/."""
    with watching(control_plane, tmp_path_factory.mktemp("operator")) as operator:
        yield operator


@contextlib.contextmanager
def watching(control_plane: ControlPlane, folder: Path) -> Iterator[OperatorProcess]:
    """An operator that is ready, and ends with the block."""
    operator = OperatorProcess(control_plane, log=folder / "operator.log")
    try:
        operator.wait_until_ready()
        yield operator
    finally:
        operator.close()
    assert_without_fault(operator)


@pytest.fixture
def site(cluster: Cluster, namespace: str, shared_operator: OperatorProcess) -> Site:
    """A fresh namespace that the session's operator watches."""
    assert shared_operator.exit_code is None
    return Site(cluster, namespace)


def assert_without_fault(operator: OperatorProcess) -> None:
    """A pass that fails by a bug ends nothing, and may be made good by the next: nobody would notice."""
    faults = [line for line in operator.log_lines() if "by a fault of the operator" in line]
    assert faults == []


class StartOperator(Protocol):
    def __call__(
        self,
        control_plane: ControlPlane,
        *,
        ready: bool = True,
        kubeconfig: Path | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "nodeport_access",
        **flags: object,
    ) -> OperatorProcess:
        """Start an operator, and unless `ready` is False wait until it is. Flags as of `OperatorProcess`."""


@pytest.fixture
def start_operator(tmp_path: Path) -> Iterator[StartOperator]:
    """Starts operators of the test's own, each with a log of its own; they end with the test."""
    with contextlib.ExitStack() as started:

        def start(
            control_plane: ControlPlane,
            *,
            ready: bool = True,
            kubeconfig: Path | None = None,
            environment: Mapping[str, str] | None = None,
            module: str = "nodeport_access",
            **flags: object,
        ) -> OperatorProcess:
            log = tmp_path / f"operator-{next(_numbers)}.log"
            operator = OperatorProcess(
                control_plane, log=log, kubeconfig=kubeconfig, flags=flags, environment=environment, module=module
            )
            started.callback(operator.close)
            if module == "nodeport_access":
                ours.append(operator)
            if ready:
                operator.wait_until_ready()
            return operator

        ours: list[OperatorProcess] = []
        yield start
    for operator in ours:
        assert_without_fault(operator)


@contextlib.contextmanager
def running(programs: Programs, folder: Path) -> Iterator[ControlPlane]:
    """A control plane in the state that all tests expect."""
    try:
        with ControlPlane(folder=folder, programs=programs) as control_plane:
            install(control_plane)
            scenario.create_nodes(Cluster(control_plane))
            yield control_plane
    finally:
        _audited.read(folder / "audit.log")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what its operators said last."""
    report = yield
    if report.failed:
        values = getattr(item, "funcargs", {})
        logs = [value.log for value in values.values() if isinstance(value, OperatorProcess)]
        logs += sorted(values["tmp_path"].glob("operator-*.log")) if "tmp_path" in values else []
        report.sections += [(f"the end of {log}", tail(log, lines=40)) for log in logs]
    return report


# --- what the operators of the whole run have asked for ---------------------------------------------------------------

_audited = Audited()
_deselected: list[pytest.Item] = []


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    _deselected.extend(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    here = Path(__file__).parent
    chosen = any("::" in argument for argument in session.config.args) or bool(_deselected)
    _audited.whole.append(not chosen and {item.path for item in session.items} >= set(here.glob("test_*.py")))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker has seen a part; here, in the process that started them, they come together."""
    if "audited" in getattr(node, "workeroutput", {}):
        _audited.take(node.workeroutput["audited"])
    else:
        _audited.whole.append(False)


@pytest.hookimpl(trylast=True)  # after the last fixture has ended, and before xdist sends what a worker has to tell
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The run fails where anything is wrong with what was asked for."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["audited"] = _audited.told()
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    for sentence in _audited.wrong(passed=exitstatus == 0):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if reporter is not None:
            reporter.write_line(f"\nERROR: {sentence}", red=True)
