"""A table of faults: for each request that the operator sends on its own, everything that can go wrong with it.

While it does, the world changes; afterwards everything is as wanted, within seconds and with few writes, and at no
moment has the operator opened what was shut, taken anything for somebody else's, or asked for a new start. Every run
has each fault for some of the requests, in turn; `--long` all of them.

Not the business of this module: what comes by Kopf (`test_kopf_feed`), an API server that stops (`test_outages`).
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import (
    Answer,
    EndStream,
    ErrorEvent,
    Hang,
    Injected,
    StallStream,
)
from testbed.fault_proxy.faults import Fault, Forward, Reply, RequestFault
from testbed.waiting import wait_for
from tests.api.access import HTTP, Site, until
from tests.api.fault_table import AFTER, BEFORE, SLOW, STREAM
from tests.api.faulty import Behind, operator_behind_proxy
from tests.api.recording import Recording

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def behind(quiet_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with operator_behind_proxy(quiet_control_plane, folder=tmp_path_factory.mktemp("faults")) as behind:
        yield behind


@pytest.fixture
def recording(behind: Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    with Recording(behind.cluster, folder=tmp_path_factory.mktemp("faults-events")) as recording:
        yield recording


# --- what the operator reads ------------------------------------------------------------------------------------------


@dataclass
class Reading(ABC):
    """One resource that the operator watches: how it changes, and what comes of it if the operator has heard."""

    site: Site

    def arrange(self) -> None:
        self.site.cluster.create_namespace(objects.namespace(name=self.site.namespace))
        self.site.create_service()
        self.site.create_pod()
        self.site.create_network_policy("opener", podSelector={"matchLabels": {"tier": "open"}}, ingress=[{}])
        self.site.create_policy()
        self.site.await_condition("Reachable", "True NodesAnswer")
        self.site.await_ready()

    @abstractmethod
    def change(self) -> None: ...

    @abstractmethod
    def has_effect(self) -> bool: ...


class Services(Reading):
    """The Service gets a second port, which the allowlist opens to those who are allowed."""

    def change(self) -> None:
        self.site.edit_service(ports=[HTTP, {"name": "https", "port": 443, "targetPort": 8443}])

    def has_effect(self) -> bool:
        return self.site.allowlist().keys() == {"TCP/8080 TCP/8443"} and len(self.site.status()["nodePorts"]) == 2


class NetworkPolicies(Reading):
    """Somebody opens the deny-all, and it is shut again."""

    def change(self) -> None:
        self.site.edit("NetworkPolicy", "web-deny-all", spec={"ingress": [{}]})

    def has_effect(self) -> bool:
        return "ingress" not in self.site.network_policies()["web-deny-all"]["spec"]


class EndpointSlices(Reading):
    """The only pod stops being ready."""

    def change(self) -> None:
        self.site.cluster.set_ready("web-0", namespace=self.site.namespace, ready=False)

    def has_effect(self) -> bool:
        return self.site.conditions()["Reachable"] == "False NoReadyEndpoints"


class Nodes(Reading):
    """A node comes."""

    def change(self) -> None:
        name = f"passing-{self.site.namespace}"
        self.site.cluster.create(objects.node(name=name, addresses=["10.102.123.200"]))

    def has_effect(self) -> bool:
        return bool(self.site.status()["nodes"]["total"] == len(self.site.cluster.list("Node")) > 3)


class Pods(Reading):
    """A pod gets a label by which another NetworkPolicy opens it."""

    def change(self) -> None:
        labels = {"metadata": {"labels": {"tier": "open"}}}
        self.site.cluster.patch("Pod", "web-0", labels, namespace=self.site.namespace)

    def has_effect(self) -> bool:
        return self.site.conditions()["Exclusive"] == "False OpenedByOtherPolicy"


READ: dict[str, type[Reading]] = {
    "services": Services,
    "networkpolicies": NetworkPolicies,
    "endpointslices": EndpointSlices,
    "nodes": Nodes,
    "pods": Pods,
}
READING_SECONDS = 20.0
"""From the change to its effect; a watch that is refused by a 4xx waits 2 to 5 s."""
READINGS = [(name, verb) for name in STREAM for verb in ("watch",)] + [
    (name, verb) for name in BEFORE | AFTER for verb in ("watch", "list")
]
AT_ONCE = 40
"""An operator that serves namespaces by their names has a watch for each kind in each of them, so that many faults can
stand at the same time."""


@dataclass
class ReadingCell:
    """A fault of one request, and the change that the operator should hear of all the same."""

    fault: str
    verb: str
    resource: str
    reading: Reading
    injected: Injected[Fault]
    begin: float = 0.0
    took: float = 0.0

    def __str__(self) -> str:
        return f"{self.fault} at {self.verb} {self.resource}"

    def is_over(self) -> bool:
        if not self.took and self.injected.hits:
            if self.fault in LASTING:
                self.injected.remove()
            with suppress(AssertionError):
                self.took = self.reading.has_effect() and time.monotonic() - self.begin
        return bool(self.took)


LASTING = ("twice", "stalled-and-late")
"""They stand until they have met something."""


def begun(fault: str, verb: str, resource: str, *, reading: Reading, behind: Behind, faults: ExitStack) -> ReadingCell:
    """The fault stands, and the change is made."""
    namespaces = {reading.site.namespace} if resource != "nodes" else set[str]()
    kind = (STREAM | BEFORE | AFTER)[fault]
    inject = partial(behind.proxy.inject, resources={resource}, namespaces=namespaces)
    injected = faults.enter_context(inject(kind, verbs={verb}, times=None if fault in LASTING else 1))
    if fault not in STREAM:
        # Requests come when a stream has ended: a watch after any end, a list after a 410.
        faults.enter_context(inject(ErrorEvent() if verb == "list" else EndStream(), verbs={"watch"}, times=1))
    reading.change()
    return ReadingCell(fault, verb, resource, reading, injected, begin=time.monotonic())


def await_all(cells: Sequence[ReadingCell]) -> None:
    def are_over() -> bool:
        waiting = [str(cell) for cell in cells if not cell.is_over()]
        assert not waiting, waiting
        return True

    wait_for(are_over, seconds=READING_SECONDS, what="every change to have its effect", every=0.1)


def test_whatever_happens_to_what_it_reads_every_change_has_its_effect(
    quiet_control_plane: ControlPlane, tmp_path: Path, long: bool
) -> None:
    cluster, share = Cluster(quiet_control_plane), 1 if long else 6
    table = [(*request, resource) for request in READINGS for resource in READ if resource != "nodes"][::share]
    table += [(*request, "nodes") for request in READINGS][:: 4 * share]
    took: dict[str, float] = {}
    for chunk in (table[begin : begin + AT_ONCE] for begin in range(0, len(table), AT_ONCE)):
        sites = [Site(cluster, f"read-{next(_numbers)}") for _ in chunk]
        readings = [READ[resource](site) for site, (_, _, resource) in zip(sites, chunk, strict=True)]
        folder = tmp_path / sites[0].namespace
        folder.mkdir()
        with (
            ThreadPoolExecutor(4) as threads,
            operator_behind_proxy(
                quiet_control_plane, folder=folder, namespace=[site.namespace for site in sites]
            ) as behind,
            Recording(cluster, folder=folder) as recording,
            ExitStack() as faults,
        ):
            list(threads.map(lambda reading: reading.arrange(), readings))
            cells = [
                begun(*names, reading=reading, behind=behind, faults=faults)
                for names, reading in zip(chunk, readings, strict=True)
                if names[2] != "nodes"
            ]
            await_all(cells)
            for names, reading in zip(chunk, readings, strict=True):  # of the nodes there is one watch
                if names[2] == "nodes":
                    behind.await_ready()  # some faults meet a stream only, and it may have been broken by another
                    cells.append(begun(*names, reading=reading, behind=behind, faults=faults))
                    await_all(cells[-1:])
                    cluster.delete("Node", f"passing-{reading.site.namespace}")
            took |= {str(cell): cell.took for cell in cells}
            behind.await_ready()
            behind.assert_alive()
            for reading in readings:
                nodes = sum(resource == "nodes" for _, _, resource in chunk)
                assert_only_what_was_due(reading, nodes=nodes, behind=behind, recording=recording)
                cluster.vacate_namespace(reading.site.namespace)
    slowest = sorted(took.items(), key=lambda item: -item[1])[:8]
    print(f"{len(took)} cells; slowest: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in slowest)}")
    assert len(took) == len(table)


def assert_only_what_was_due(reading: Reading, *, nodes: int, behind: Behind, recording: Recording) -> None:
    """Nothing was written but the first convergence, a repair, and what status had to tell while so many nodes came and
    went; and nothing was opened."""
    writes = Counter(writes_of(behind, reading.site))
    expected = Counter(FIRST)
    match reading:
        case NetworkPolicies():
            expected["patch networkpolicies web-deny-all"] += 1
        case Services():
            expected["patch networkpolicies web-allow"] += 1
    statuses = writes.pop(STATUS)
    assert writes == expected - Counter({STATUS: 1}), reading
    assert statuses <= 6 + 2 * nodes, "status tells how many nodes there are"
    if not isinstance(reading, Services):  # whose second port is meant to be opened
        recording.assert_ours_never_widen(reading.site.namespace)


# --- what the operator writes -----------------------------------------------------------------------------------------

STATUS = "patch nodeportaccesspolicies/status web"
FIRST = ("patch networkpolicies web-allow", "patch services web", "patch networkpolicies web-deny-all", STATUS)


@dataclass
class Writing(ABC):
    """One kind of request: what has to happen for the operator to send it, and what comes of it."""

    site: Site
    verb: ClassVar[str] = "patch"
    resource: ClassVar[str] = "networkpolicies"
    names: ClassVar[frozenset[str]] = frozenset()
    writes: ClassVar[tuple[str, ...]] = ()
    """What it comes to when nothing goes wrong, status aside."""
    mark: int = 0
    before: int = 0
    """Revision and number of writes when the change was made."""

    def arrange(self) -> None:
        self.site.cluster.create_namespace(objects.namespace(name=self.site.namespace))
        self.site.create_service()
        self.site.create_policy()
        self.site.await_ready()

    @abstractmethod
    def make(self) -> None: ...

    @abstractmethod
    def has_effect(self) -> bool: ...


class FirstGuard(Writing):
    """A new policy."""

    writes = FIRST[:3]

    def arrange(self) -> None:
        self.site.cluster.create_namespace(objects.namespace(name=self.site.namespace))
        self.site.create_service()

    def make(self) -> None:
        self.site.create_policy()

    def has_effect(self) -> bool:
        return self.site.conditions()["Ready"] == "True Guarded"


class Creation(FirstGuard):
    names = frozenset({"web-allow"})


class Taking(FirstGuard):
    resource = "services"


class Update(Writing):
    """A changed allowlist."""

    names = frozenset({"web-allow"})
    writes = FIRST[:1]

    def make(self) -> None:
        self.site.edit_policy(allowedCIDRs=[{"cidr": "192.0.2.0/24"}])

    def has_effect(self) -> bool:
        return self.site.allowlist() == {"TCP/8080": ["192.0.2.0/24"]} and bool(self.site.status())


class Report(Update):
    resource = "nodeportaccesspolicies/status"
    names = frozenset[str]()


class Release(Writing):
    """A deleted policy: the Service goes back."""

    resource = "services"
    writes: ClassVar[tuple[str, ...]] = FIRST[1:2]

    def make(self) -> None:
        self.site.delete("NodePortAccessPolicy")

    def has_effect(self) -> bool:
        return self.site.guard_of() == ("Cluster", None) and not self.site.network_policies()


class Deletion(Release):
    """A policy that is to guard no more: the operator deletes what it has made for it."""

    verb = "delete"
    resource = "networkpolicies"
    writes = (*FIRST[1:2], "delete networkpolicies web-allow", "delete networkpolicies web-deny-all")

    def make(self) -> None:
        self.site.edit_policy(mode="Audit")


class ReadingAfresh(Writing):
    """A child that somebody deleted: before it is made anew, its policy is read."""

    verb = "get"
    resource = "nodeportaccesspolicies"
    writes = FIRST[:1]

    def make(self) -> None:
        self.site.delete("NetworkPolicy", "web-allow")

    def has_effect(self) -> bool:
        return bool(self.site.allowlist()) and self.site.conditions()["Ready"] == "True Guarded"


WRITTEN: dict[str, type[Writing]] = {
    kind.__name__.lower(): kind for kind in (Creation, Taking, Update, Report, Release, Deletion, ReadingAfresh)
}
WRITING_SECONDS = 60.0
"""From the change to its effect, with two failures in a row. A 4xx, or a policy that could not be read in 15 s, takes
longest."""


def written_under(
    cells: Mapping[tuple[str, str], Writing], *, faults: Mapping[str, Fault], behind: Behind, recording: Recording
) -> dict[str, float]:
    """All cells at once; the seconds of each from the change to its effect."""
    took: dict[str, float] = {}
    begun: dict[tuple[str, str], float] = {}
    met: dict[tuple[str, str], Callable[[], bool]] = {}
    with ExitStack() as injections:
        for cell, writing in cells.items():
            writing.before = len(writes_of(behind, writing.site))
            writing.mark = recording.mark()
            times = 1 if cell[0] in SLOW else 2
            injected = injections.enter_context(
                behind.proxy.inject(
                    faults[cell[0]],
                    verbs={writing.verb},
                    resources={writing.resource},
                    namespaces={writing.site.namespace},
                    names=writing.names,
                    times=times,
                )
            )
            met[cell] = partial(lambda injected: injected.hits > 0, injected)
        for cell, writing in cells.items():
            begun[cell] = time.monotonic()
            writing.make()

        def all_written() -> bool:
            waiting = [cell for cell in cells if " ".join(cell) not in took]
            for cell in waiting:
                with suppress(AssertionError):
                    if met[cell]() and cells[cell].has_effect():
                        took[" ".join(cell)] = time.monotonic() - begun[cell]
            assert not waiting, waiting
            return True

        wait_for(all_written, seconds=WRITING_SECONDS, what="everything to be written", every=0.2)
    return took


def await_garbage_collector(cluster: Cluster) -> None:
    """Until it knows of policies, half a minute after the start of a control plane: what it leaves, the operator takes
    in its place, by writes that are none of these faults' doing."""
    namespace = f"garbage-{next(_numbers)}"
    cluster.create_namespace(objects.namespace(name=namespace))
    owner = cluster.create(objects.policy(namespace=namespace, name="gone", service="none", allowedCIDRs=[]))
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    owned = objects.network_policy(namespace=namespace, name="owned", spec={"podSelector": {}})
    owned["metadata"]["ownerReferences"] = [reference]
    cluster.create(owned)
    cluster.delete("NodePortAccessPolicy", "gone", namespace=namespace)
    wait_for(
        lambda: cluster.find("NetworkPolicy", "owned", namespace=namespace) is None,
        seconds=90,
        what="the garbage collector",
    )


def test_whatever_happens_to_what_it_writes_it_is_written_in_the_end_and_nothing_else(
    behind: Behind, recording: Recording, long: bool
) -> None:
    faults, share = BEFORE | AFTER | SLOW, 1 if long else 4
    cells = {
        cell: WRITTEN[cell[1]](Site(behind.cluster, f"{cell[1]}-{cell[0]}-{next(_numbers)}"))
        for cell in [(fault, request) for fault in faults for request in WRITTEN][::share]
    }
    await_garbage_collector(behind.cluster)
    drifts, begin = drifts_in(behind), time.monotonic()
    told = len(behind.warnings())
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda writing: writing.arrange(), cells.values()))
    took = written_under(cells, faults=faults, behind=behind, recording=recording)
    slowest = sorted(took.items(), key=lambda item: -item[1])[:12]
    print(f"{len(took)} cells; slowest: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in slowest)}")

    behind.await_ready()
    behind.assert_alive()
    deleted = sum(isinstance(writing, ReadingAfresh) for writing in cells.values())
    assert drifts_in(behind) - drifts == deleted, "an answer that was lost is nobody's drift"
    for (fault, _), writing in cells.items():
        since = writing.mark
        writes = Counter(writes_of(behind, writing.site)[writing.before :])
        statuses = writes.pop(STATUS, 0)
        again = {"lost": 2, "half": 2, "slow": 1}.get(fault, 0)
        assert writes.keys() == set(writing.writes), (fault, writing)
        assert all(count <= 1 + again for count in writes.values()), (fault, writing, writes)
        assert statuses <= 4 + again, (fault, writing, statuses)
        if isinstance(writing, FirstGuard | Update):
            recording.assert_never_wider(writing.site.namespace, since=since)
        elif not isinstance(writing, Release):
            recording.assert_ours_never_widen(writing.site.namespace, since=since)
        assert "NameConflict" not in str(recording.states(writing.site.namespace, since=since))
        behind.cluster.vacate_namespace(writing.site.namespace)
    if time.monotonic() - begin < 60:
        messages = Counter(one["message"] for one in behind.warnings()[told:])
        assert not [message for message, count in messages.items() if count > 1], "once a minute"
    assert not [one for one in behind.warnings() if one["level"] == "ERROR"]


def writes_of(behind: Behind, site: Site) -> list[str]:
    """What the operator has written in a namespace, Events aside."""
    return [one for one in behind.proxy.writes(namespace=site.namespace) if not one.startswith("create events")]


def drifts_in(behind: Behind) -> int:
    """All drifts that /metrics counts."""
    found = re.findall(r"^nodeport_access_drift_total\{.*\} (\S+)$", behind.operator.metrics(), re.M)
    return sum(int(float(count)) for count in found)


# --- what a single fault shows ----------------------------------------------------------------------------------------


class Busy(RequestFault):
    """Answers 429 once, and knows when requests came."""

    def __init__(self, *, retry_after: int) -> None:
        self.came: list[float] = []
        self._answer = Answer(code=429, retry_after=retry_after)

    async def meet(self, forward: Forward, removed: asyncio.Event) -> Reply:
        self.came.append(time.monotonic())
        return await (self._answer.meet(forward, removed) if len(self.came) == 1 else forward())


@pytest.fixture
def site(behind: Behind) -> Iterator[Site]:
    """A namespace with a guarded Service."""
    site = Site(behind.cluster, f"fault-{next(_numbers)}")
    behind.cluster.create_namespace(objects.namespace(name=site.namespace))
    site.create_service()
    site.create_policy()
    site.await_ready()
    yield site
    behind.cluster.vacate_namespace(site.namespace)


def test_a_write_that_is_to_be_put_off_waits_its_time_whatever_happens_meanwhile(behind: Behind, site: Site) -> None:
    busy = Busy(retry_after=3)
    with behind.proxy.inject(busy, verbs={"patch"}, namespaces={site.namespace}, names={"web-allow"}):
        for number in range(1, 30):
            site.edit_policy(allowedCIDRs=[{"cidr": f"192.0.2.{number}/32"}])
            if len(busy.came) > 1:
                break
            time.sleep(0.2)
        site.await_allowlist({"TCP/8080": [f"192.0.2.{number}/32"]})
    assert busy.came[1] - busy.came[0] >= 3.0
    assert busy.came[1] - busy.came[0] < 5.0


def test_twenty_services_whose_writes_hang_keep_no_other_from_its_repair(behind: Behind, site: Site) -> None:
    sick = Site(behind.cluster, f"fault-{next(_numbers)}")
    behind.cluster.create_namespace(objects.namespace(name=sick.namespace))
    names = [f"web-{number}" for number in range(20)]
    for name in names:
        sick.create_service(name, selector={"app": name})
        sick.create_policy(name, service=name)
    for name in names:
        sick.await_ready(name)
    with behind.proxy.inject(Hang(), verbs={"patch"}, namespaces={sick.namespace}) as injected:
        for name in names:
            sick.edit_policy(name, allowedCIDRs=[])
        until(lambda: injected.hits >= 16, "all workers to hang")
        begin = time.monotonic()
        site.edit("NetworkPolicy", "web-deny-all", spec={"ingress": [{}]})
        until(lambda: "ingress" not in site.network_policies()["web-deny-all"]["spec"], "the repair")
        assert time.monotonic() - begin < 5, "31 s where sixteen that hang are all there are"
        behind.assert_alive()
    for name in names:
        wait_for(partial(admits_nobody, sick, name), seconds=WRITING_SECONDS, what=name, every=0.2)
    behind.cluster.vacate_namespace(sick.namespace)


def admits_nobody(site: Site, name: str) -> bool:
    return site.allowlist(name) == {}


@pytest.mark.parametrize("resource", ["services", "pods"])
def test_while_a_watch_is_refused_it_is_unready_says_why_and_needs_no_new_start(
    behind: Behind, site: Site, resource: str
) -> None:
    forbidden = Answer(code=403, message=f"no {resource} today")
    # Pods are followed by namespaces, and those of earlier tests are about to be left.
    streams: dict[str, Any] = {"verbs": {"watch"}, "resources": {resource}}
    streams |= {"namespaces": {site.namespace}} if resource == "pods" else {}
    with (
        behind.proxy.inject(forbidden, **streams) as injected,
        behind.proxy.inject(EndStream(), times=1, **streams),
    ):
        behind.await_unready(f"no {resource} today")
        behind.assert_alive()
        until(lambda: injected.hits > 1, "another try")
    behind.await_ready()
    told = [one["message"] for one in behind.warnings() if f"no {resource} today" in one["message"]]
    assert len(told) <= 1, "once a minute"
    assert behind.requests(verb="watch", resource=resource, code=403) > 1
    assert site.conditions()["Ready"] == "True Guarded"


@pytest.mark.long
def test_a_watch_that_falls_silent_is_left_after_75_seconds_and_misses_nothing(behind: Behind, site: Site) -> None:
    with behind.proxy.inject(StallStream(lost=True), verbs={"watch"}, resources={"services"}, times=1):
        site.edit_service(externalTrafficPolicy="Cluster")
        begin = time.monotonic()
        wait_for(lambda: site.guard_of() == ("Local", "web"), seconds=100, what="the repair", every=0.5)
        assert time.monotonic() - begin > 10, "somebody else told"
    behind.await_ready()
    behind.assert_alive()
