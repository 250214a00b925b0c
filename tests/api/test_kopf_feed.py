"""Live events of policies come by Kopf: whatever happens to its list, its streams and its discovery, the operator goes
on, hears of changes within seconds, and says so while it does not hear.

Not the business of this module: the operator's own watches and its writes (`test_faults`), refused credentials
(`test_process`).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from testbed import objects
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import (
    Answer,
    CutStream,
    EndStream,
    ErrorEvent,
    FaultProxy,
    GarbledLine,
    Injected,
    StallStream,
)
from testbed.fault_proxy.faults import Fault, StreamFault
from testbed.waiting import wait_for
from tests.api.access import Site, until
from tests.api.fault_table import AFTER, BEFORE, STREAM
from tests.api.faulty import Behind, operator_behind_proxy
from tests.api.recording import Recording

POLICIES = {"nodeportaccesspolicies"}
FEED = "events of nodeportaccesspolicies.nodeport-access.io"
SECONDS = 15.0
"""From the fault until everything is as wanted; measured: 0.1 to 6."""
ONE, OTHER = "10.9.1.0/24", "10.9.2.0/24"
_numbers = itertools.count(1)

ALWAYS = {
    *((name, "watch") for name in ("404", "410", "a-page", "503")),
    *((name, "list") for name in ("422", "500", "half")),
}
"""Faults of requests that every run has; the others come to the same, and are for `--long`."""


@pytest.fixture(scope="module")
def behind(quiet_control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with operator_behind_proxy(quiet_control_plane, folder=tmp_path_factory.mktemp("kopf-feed")) as behind:
        yield behind


@pytest.fixture(scope="module")
def site(behind: Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A namespace with one policy, whose allowlist goes to and fro; in the end it never was anything else."""
    site = Site(behind.cluster, f"kopf-feed-{next(_numbers)}")
    behind.cluster.create_namespace(objects.namespace(name=site.namespace))
    site.create_service("web")
    site.create_policy("web", allowed=[ONE])
    site.await_ready("web")
    with Recording(behind.cluster, folder=tmp_path_factory.mktemp("kopf-feed-events")) as recording:
        yield site
        site.edit_policy("web", allowedCIDRs=[{"cidr": OTHER}])
        site.await_allowlist({"TCP/8080": [OTHER]}, "web")
        recording.assert_never_wider(site.namespace)
    assert not [one for one in behind.warnings() if one["level"] == "ERROR"]
    behind.cluster.vacate_namespace(site.namespace)


class Change:
    """A policy is edited and another one deleted: of the one, Kopf's events tell; of the other perhaps nothing does."""

    def __init__(self, behind: Behind, site: Site) -> None:
        behind.await_ready()
        self._site = site
        self._gone = f"gone-{next(_numbers)}"
        site.create_service(self._gone, selector={"app": self._gone})
        site.create_policy(self._gone, service=self._gone)
        site.await_guard("Local", self._gone, service=self._gone)
        until(lambda: f"{self._gone}-deny-all" in site.network_policies(), "the guard of the one that will go")
        self._now = site.allowlist("web")
        self._allowed = OTHER if self._now == {"TCP/8080": [ONE]} else ONE

    def make(self) -> None:
        self._site.edit_policy("web", allowedCIDRs=[{"cidr": self._allowed}])
        self._site.delete("NodePortAccessPolicy", self._gone)

    def await_effect(self, *, seconds: float = SECONDS) -> None:
        def has_arrived() -> bool:
            assert self._site.allowlist("web") == {"TCP/8080": [self._allowed]}
            assert self._site.guard_of(self._gone) == ("Cluster", None)
            return True

        wait_for(has_arrived, seconds=seconds, what="the effect of an edit and of a deletion", every=0.02)
        self._site.delete("Service", self._gone)


@pytest.mark.parametrize("name", STREAM)
def test_whatever_comes_over_its_stream_changes_of_policies_have_their_effect(
    behind: Behind, site: Site, name: str
) -> None:
    change, fault = Change(behind, site), STREAM[name]
    times = 1 if isinstance(fault, StreamFault) else None
    with behind.proxy.inject(fault, verbs={"watch"}, resources=POLICIES, times=times) as injected:
        change.make()
        until(lambda: injected.hits > 0, "the fault")
    change.await_effect()
    behind.await_ready()
    behind.assert_alive()


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        pytest.param(name, verb, marks=() if (name, verb) in ALWAYS else pytest.mark.long)
        for verb in ("watch", "list")
        for name in (BEFORE | AFTER)
    ],
)
def test_whatever_answers_its_requests_changes_of_policies_have_their_effect(
    behind: Behind, site: Site, name: str, verb: str
) -> None:
    change = Change(behind, site)
    # A stream that ends is opened again; one that says 410 is listed again before.
    again = EndStream() if verb == "watch" else ErrorEvent()
    with behind.proxy.inject((BEFORE | AFTER)[name], verbs={verb}, resources=POLICIES, times=2) as injected:
        with behind.proxy.inject(again, verbs={"watch"}, resources=POLICIES, times=1):
            until(lambda: injected.hits > 0, "the fault")
        change.make()
        change.await_effect()
    behind.await_ready()
    behind.assert_alive()


def test_a_watch_that_is_cut_again_and_again_is_no_hot_loop_and_makes_it_unready(behind: Behind, site: Site) -> None:
    change = Change(behind, site)
    with behind.proxy.inject(CutStream(), verbs={"watch"}, resources=POLICIES) as injected:
        behind.await_unready("broke off as soon as it had begun, several times")
        before = injected.hits
        until(lambda: injected.hits > before, "some more of it")
        time.sleep(3.0)
        assert injected.hits - before <= 5, "at first after one second, then two, then three"
        assert behind.operator.health("/healthz")[0] == 200
        change.make()
    change.await_effect()
    behind.await_ready()


@pytest.fixture
def another(quiet_control_plane: ControlPlane, tmp_path: Path) -> Iterator[Behind]:
    """An operator that has complained of nothing yet."""
    with operator_behind_proxy(quiet_control_plane, folder=tmp_path) as behind:
        yield behind


def test_a_watch_that_is_refused_is_told_by_readiness_metrics_and_one_sentence(another: Behind) -> None:
    forbidden = Answer(code=403, message="watching is for admins")
    with (
        another.proxy.inject(forbidden, verbs={"watch"}, resources=POLICIES) as injected,
        another.proxy.inject(EndStream(), verbs={"watch"}, resources=POLICIES, times=1),
    ):
        another.await_unready("watching is for admins")
        until(lambda: injected.hits >= 3, "some tries")
        another.assert_alive()
        assert another.requests(verb="watch", resource="nodeportaccesspolicies", code=403) >= 2
    another.await_ready()
    assert [one["message"] for one in another.warnings()] == [
        f"{FEED}: not allowed to watch nodeportaccesspolicies.nodeport-access.io: watching is for admins"
    ]


def test_sigterm_ends_it_at_once_while_kopf_is_about_to_be_started_again(another: Behind) -> None:
    with another.proxy.inject(GarbledLine(), verbs={"watch"}, resources=POLICIES) as injected:
        until(lambda: injected.hits >= 2, "a second start of Kopf")
        another.await_unready("Kopf broke off")
        another.operator.stop()
    assert another.operator.exit_code == 0


@pytest.mark.long
def test_it_hears_although_discovery_knew_nothing_of_policies_when_it_began(
    quiet_control_plane: ControlPlane, tmp_path: Path
) -> None:
    def unknown(behind: FaultProxy) -> AbstractContextManager[Injected[Fault]]:
        kind = {"/apis/nodeport-access.io/v1alpha1"}
        return behind.inject(Answer(code=404), verbs={"get"}, resources=kind, times=1)

    with operator_behind_proxy(quiet_control_plane, folder=tmp_path, begin_with=unknown) as behind:
        site = Site(behind.cluster, f"kopf-feed-{next(_numbers)}")
        behind.cluster.create_namespace(objects.namespace(name=site.namespace))
        site.create_service()
        site.create_policy()
        site.await_ready()
        begin = time.monotonic()
        site.edit_policy(allowedCIDRs=[{"cidr": OTHER}])
        site.await_allowlist({"TCP/8080": [OTHER]})
        assert time.monotonic() - begin < 2, "by an event, not by a roster"
        assert [one["message"] for one in behind.warnings() if one["logger"] == "nodeport_access"] == [
            f"{FEED}: Kopf broke off, and is started again: SilenceError: it does not ask for policies"
        ]
        behind.cluster.vacate_namespace(site.namespace)


@pytest.mark.long
def test_a_stream_that_falls_silent_without_an_end_is_left_within_75_seconds(behind: Behind, site: Site) -> None:
    change = Change(behind, site)
    # A roster would tell, and one is taken whenever Kopf begins to hear.
    lists = behind.requests(verb="list", resource="nodeportaccesspolicies", code=200)
    time.sleep(2)
    assert behind.requests(verb="list", resource="nodeportaccesspolicies", code=200) <= lists + 1
    with behind.proxy.inject(StallStream(lost=True), verbs={"watch"}, resources=POLICIES, times=1):
        change.make()
        begin = time.monotonic()
        change.await_effect(seconds=80)
        # Earlier where a bookmark had been due: silence counts from the last word.
        assert time.monotonic() - begin > 5, "somebody else told"
