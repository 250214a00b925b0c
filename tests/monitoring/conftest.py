"""A real control plane with the operator on it, a real Prometheus that scrapes it every second under the shipped rules,
quickened, and a real Alertmanager that is told of what fires: one of each for the run.

The programs are required: without them the run fails, with one sentence that says what to install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml

from docs.monitoring_page import rules
from testbed import objects, prometheus, scenario
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import OperatorProcess, install
from testbed.programs import Programs
from testbed.prometheus import Alertmanager, Prometheus
from tests.api.access import Site
from tests.monitoring.expressions import MONITORING
from tests.monitoring.quickened import quickened
from tests.programs import found

TARGET = {"namespace": "nodeport-access-system", "service": "nodeport-access-operator-metrics"}
"""Labels that a ServiceMonitor gives to all that it has scraped, but for what says otherwise (honorLabels)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--picture", metavar="FILE", help="draw the dashboard into this file")


@pytest.fixture(scope="session", autouse=True)
def alone(no_other_cluster: None) -> None:
    """Every test here."""


@pytest.fixture(scope="session", autouse=True)
def programs_of_monitoring() -> None:
    """Without them every test here fails."""
    if unable := prometheus.missing():
        pytest.exit(unable, returncode=1)


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Programs:
    """The real programs of the control plane."""
    return found(request)


@pytest.fixture(scope="session")
def control_plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(folder=tmp_path_factory.mktemp("control-plane"), programs=programs) as plane:
        install(plane)
        scenario.create_nodes(Cluster(plane))
        yield plane


@pytest.fixture(scope="session")
def operator(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    started = OperatorProcess(control_plane, log=tmp_path_factory.mktemp("operator") / "operator.log")
    try:
        started.wait_until_ready()
        yield started
    finally:
        started.close()
    assert [line for line in started.log_lines() if "by a fault of the operator" in line] == []


@pytest.fixture(scope="session")
def alertmanager(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """With the configuration that is shipped as a beginning."""
    folder = tmp_path_factory.mktemp("alertmanager") / "run"
    configuration = MONITORING / "alertmanager.yaml"
    with Alertmanager(folder=folder, ports=control_plane.ports, configuration=configuration) as started:
        yield started


@pytest.fixture(scope="session")
def watched(
    control_plane: ControlPlane,
    operator: OperatorProcess,
    alertmanager: Alertmanager,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """The Prometheus."""
    folder = tmp_path_factory.mktemp("prometheus")
    shipped = folder / "rules.yaml"
    shipped.write_text(yaml.safe_dump(quickened(rules()), sort_keys=False))
    scraped = operator.metrics_url.removeprefix("http://").removesuffix("/metrics")
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(shipped)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}]},
        "scrape_configs": [
            {
                "job_name": "nodeport-access-operator",
                "honor_labels": True,
                "static_configs": [{"targets": [scraped], "labels": TARGET}],
            }
        ],
    }
    with Prometheus(folder=folder / "run", ports=control_plane.ports, configuration=configuration) as started:
        yield started


@pytest.fixture(scope="session")
def site(control_plane: ControlPlane) -> Callable[[str], Site]:
    """Makes a namespace."""

    def make(name: str) -> Site:
        cluster = Cluster(control_plane)
        cluster.create_namespace(objects.namespace(name=name))
        return Site(cluster, name)

    return make
