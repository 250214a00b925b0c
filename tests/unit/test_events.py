"""Events say in one sentence what happened, keep the API's bounds, and cost the operator nothing that matters.

The API server is a board that keeps what is posted, slow or refusing on demand; what a real one takes, and shows to
who asks kubectl, is in `tests/api/test_events.py`. When a pass tells of something is in `test_reconcile`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from nodeport_access.api import Body, Effect, Policy
from nodeport_access.drift import Difference
from nodeport_access.events import QUEUE_LIMIT, Event, Recorder, Type, drift_repaired, ready_changed
from nodeport_access.kube import EVENTS, ApiError, Cause, Conflict, Forbidden, Invalid, NotFound, Resource, Unreachable
from nodeport_access.metrics import Metrics, View
from nodeport_access.outcome import Kind
from nodeport_access.plan import DELETED, Verb, Write
from nodeport_access.policy_body import parse_policy
from nodeport_access.status import Drift, drift_of
from tests.unit import builders
from tests.unit.builders import NOW
from tests.unit.strategies import properties

DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
CALM_SECONDS = 1_000.0


def policy(name: str = "shop", **tweaks: Any) -> Policy:
    return parse_policy(builders.policy(name=name, **tweaks))


def drift(
    *, path: str = "spec.ingress", writer: str = "kubectl-edit", effect: Effect = Effect.OPENED, **tweaks: Any
) -> tuple[Write, Drift]:
    """A write, and what it repairs."""
    difference = Difference(path=path, want=None, have=None, foreign=True, writer=writer, effect=effect)
    fields: dict[str, Any] = {
        "verb": Verb.UPDATE,
        "kind": Kind.NETWORK_POLICY,
        "namespace": "web",
        "name": "shop-allow",
        "policy": policy().key,
        "uid": "uid-of-it",
        "differences": (difference,),
    }
    write = Write(**(fields | tweaks))
    repaired = drift_of(write, NOW)
    assert repaired is not None
    return write, repaired


def repaired(about: Policy | None = None, **tweaks: Any) -> Event:
    return drift_repaired(about or policy(), *drift(**tweaks))


def ready(status: str = "False", **tweaks: str) -> Event:
    condition = {"type": "Ready", "status": status, "reason": "ServiceNotFound", "message": "There is no Service."}
    return ready_changed(policy(), condition | tweaks)


@dataclass
class Board:
    """Keeps what is posted. A post takes `seconds`, and is refused with what `refuses` says of its number."""

    seconds: float = 0.0
    refuses: Callable[[int], Exception | None] = lambda _: None
    posted: list[Body] = field(default_factory=list)
    begun: int = 0
    at_once: int = 0
    most_at_once: int = 0

    async def create(self, resource: Resource, *, namespace: str | None, body: Body) -> Body:
        assert (resource, namespace) == (EVENTS, body["metadata"]["namespace"])
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            error = self.refuses(self.begun)
            await asyncio.sleep(self.seconds)
            if error is not None:
                raise error
        finally:
            self.at_once -= 1
        self.posted.append(body)
        return body


def recorder(board: Board, *, metrics: Metrics | None = None, instance: str = "pod-1") -> Recorder:
    return Recorder(
        client=board,
        metrics=metrics or Metrics(),
        clock=lambda: NOW + timedelta(microseconds=7),
        time=asyncio.get_running_loop().time,
        random=Random(0),
        instance=instance,
        log=logging.getLogger("test.events"),
    )


@asynccontextmanager
async def running(told: Recorder) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(told.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def posted(*events: Event, **tweaks: Any) -> list[Body]:
    """What stands on the board once all is calm."""
    board = Board()
    told = recorder(board, **tweaks)
    async with running(told):
        for event in events:
            told.tell(event)
        await asyncio.sleep(CALM_SECONDS)
    return board.posted


def outcomes(metrics: Metrics) -> dict[str, int]:
    view = View(
        policies=(), unguarded=(), covering_nodes=tuple, queue_depth=0, oldest_key_age=0.0, watches=(), leads=True
    )
    families = text_string_to_metric_families(metrics.render(view).decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        sample.labels["outcome"]: int(sample.value)
        for sample in samples
        if sample.name == "nodeport_access_events_total"
    }


# --- what is said ---


@pytest.mark.parametrize(
    ("tweaks", "kind", "note"),
    [
        (
            {"writer": "kubectl-edit", "effect": Effect.OPENED},
            Type.WARNING,
            "spec.ingress of NetworkPolicy/shop-allow was changed by kubectl-edit, which opened access; it is set "
            "back.",
        ),
        (
            {
                "kind": Kind.SERVICE,
                "name": "shop",
                "path": "spec.externalTrafficPolicy",
                "writer": "argocd-controller",
                "effect": Effect.DEPENDS,
            },
            Type.WARNING,
            "spec.externalTrafficPolicy of Service/shop was changed by argocd-controller, which may have opened "
            "access, depending on the CNI; it is set back.",
        ),
        (
            {"effect": Effect.CLOSED},
            Type.NORMAL,
            "spec.ingress of NetworkPolicy/shop-allow was changed by kubectl-edit, which closed access; it is set "
            "back.",
        ),
        (
            {"path": "metadata.labels", "writer": "", "effect": Effect.NONE},
            Type.NORMAL,
            "metadata.labels of NetworkPolicy/shop-allow was changed by a writer whom the API does not tell, which "
            "left access as it was; it is set back.",
        ),
        (
            {"verb": Verb.CREATE, "path": DELETED, "writer": "", "effect": Effect.CLOSED, "uid": ""},
            Type.NORMAL,
            "NetworkPolicy/shop-allow was deleted by a writer whom the API does not tell, which closed access; it is "
            "made again.",
        ),
    ],
)
def test_a_repaired_drift_is_one_sentence_with_object_field_writer_and_effect(
    tweaks: dict[str, Any], kind: Type, note: str
) -> None:
    event = repaired(**tweaks)
    assert (event.type, event.reason, event.action, event.note) == (kind, "DriftRepaired", "Repair", note)


def test_a_change_of_ready_has_the_words_of_the_condition() -> None:
    lost, back = ready(), ready("True", reason="Guarded", message="Node port 30080 admits the allowlist only.")
    assert (lost.type, lost.reason, lost.note) == (Type.WARNING, "ServiceNotFound", "There is no Service.")
    assert (back.type, back.reason, back.note) == (
        Type.NORMAL,
        "Guarded",
        "Node port 30080 admits the allowlist only.",
    )


@pytest.mark.looptime
async def test_an_event_is_about_the_policy_and_names_the_object_and_the_process() -> None:
    about = policy()
    (body,) = await posted(repaired(about))
    name = body["metadata"].pop("name")
    assert name.startswith("shop.")
    assert body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "web"},
        "eventTime": "2026-06-01T12:00:00.000007Z",
        "reportingController": "nodeport-access.io/operator",
        "reportingInstance": "pod-1",
        "type": "Warning",
        "reason": "DriftRepaired",
        "action": "Repair",
        "note": repaired().note,
        "regarding": {
            "apiVersion": "nodeport-access.io/v1alpha1",
            "kind": "NodePortAccessPolicy",
            "namespace": "web",
            "name": "shop",
            "uid": about.uid,
        },
        "related": {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "namespace": "web",
            "name": "shop-allow",
            "uid": "uid-of-it",
        },
    }


@pytest.mark.looptime
async def test_what_has_no_object_and_what_was_deleted_is_told_without_its_uid() -> None:
    changed, made = await posted(ready(), repaired(verb=Verb.CREATE, path=DELETED, uid=""))
    assert "related" not in changed
    assert "uid" not in made["related"]


# --- the API's bounds ---


@pytest.mark.looptime
@pytest.mark.parametrize("name", ["a", "a" * 253, f"{'a' * 199}.{'b' * 53}", f"{'a' * 198}--{'b' * 53}"])
async def test_names_are_unique_dns_subdomains_of_at_most_253_characters(name: str) -> None:
    names = [body["metadata"]["name"] for body in await posted(*[ready_of(name)] * 20)]
    assert len(set(names)) == 20
    assert all(DNS_SUBDOMAIN.fullmatch(each) for each in names)


def ready_of(name: str) -> Event:
    return ready_changed(policy(name), {"status": "False", "reason": "X", "message": "y"})


@pytest.mark.looptime
async def test_the_name_of_the_process_is_cut_to_128_characters() -> None:
    (body,) = await posted(ready(), instance="h" * 300)
    assert body["reportingInstance"] == "h" * 128


@properties(50)
@given(st.integers(0, 1100), st.sampled_from(["a", "é", "€", "🚪", "\ud800"]))
def test_a_note_keeps_to_1024_bytes_and_says_that_it_was_cut(count: int, character: str) -> None:
    # A lone surrogate is no text that UTF-8 knows, but JSON does.
    message = "x" * (count % 7) + character * count

    async def note() -> str:
        board = Board()
        told = recorder(board)
        async with running(told):
            told.tell(ready(message=message))
            await asyncio.sleep(0.001)
        (body,) = board.posted
        return str(body["note"])

    said = asyncio.run(note())
    assert len(said.encode(errors="replace")) <= 1024
    if said != message:
        assert len(message.encode(errors="replace")) > 1024
        assert said.endswith("...")
        assert len(said.encode()) > 1024 - 3 - 4
        assert message.replace("\ud800", "?").startswith(said.removesuffix("..."))


# --- how often ---


@pytest.mark.looptime
async def test_the_same_drift_is_told_once_a_minute() -> None:
    board = Board()
    told = recorder(board)
    async with running(told):
        for _ in range(150):
            told.tell(repaired())
            await asyncio.sleep(1)
    assert len(board.posted) == 3


@pytest.mark.looptime
async def test_drifts_of_another_object_field_writer_or_policy_are_told_apart() -> None:
    events = [
        repaired(),
        repaired(name="shop-deny-all"),
        repaired(path="spec.podSelector"),
        repaired(writer="argocd"),
        repaired(policy(uid="its-successor")),
    ]
    assert len(await posted(*events, *events)) == 5


@pytest.mark.looptime
async def test_every_change_of_ready_is_told() -> None:
    assert len(await posted(ready(), ready("True"), ready(), ready("True"))) == 4


@pytest.mark.looptime
async def test_a_storm_is_told_of_by_one_post_at_a_time_up_to_a_bound_and_the_rest_is_counted() -> None:
    board, metrics = Board(seconds=0.01), Metrics()
    told = recorder(board, metrics=metrics)
    async with running(told):
        for number in range(5_000):
            told.tell(repaired(name=f"shop-{number}"))
        await asyncio.sleep(30)
        assert board.most_at_once == 1
        assert len(board.posted) == QUEUE_LIMIT
        assert outcomes(metrics) == {"posted": QUEUE_LIMIT, "dropped": 5_000 - QUEUE_LIMIT}
        told.tell(repaired(name="shop-4999"))
        await asyncio.sleep(1)
    assert board.posted[-1]["related"]["name"] == "shop-4999", "what was dropped does not count as told"


# --- that nothing depends on it ---

FORBIDDEN = Forbidden(status=403, reason="Forbidden", message="events.events.k8s.io is forbidden")
TERMINATING = Forbidden(
    status=403,
    reason="Forbidden",
    message="namespace is being terminated",
    causes=(Cause(reason="NamespaceTerminating", field="", message=""),),
)
INVALID = Invalid(status=422, reason="Invalid", message="note: can have at most 1024 bytes")
AWAY = Unreachable(message="connection refused")


@pytest.mark.looptime
@pytest.mark.parametrize(
    "error",
    [
        FORBIDDEN,
        TERMINATING,
        INVALID,
        AWAY,
        NotFound(status=404, reason="NotFound", message="namespaces not found"),
        Conflict(status=409, reason="AlreadyExists", message="exists"),
    ],
)
async def test_an_event_that_fails_is_counted_and_not_tried_again_and_the_next_is_posted(error: ApiError) -> None:
    board, metrics = Board(refuses=lambda number: error if number == 1 else None), Metrics()
    told = recorder(board, metrics=metrics)
    async with running(told):
        told.tell(repaired())
        told.tell(ready())
        await asyncio.sleep(CALM_SECONDS)
    assert [body["reason"] for body in board.posted] == ["ServiceNotFound"]
    assert outcomes(metrics) == {"posted": 1, "failed": 1}


@pytest.mark.looptime
@pytest.mark.parametrize(("error", "times"), [(FORBIDDEN, 2), (INVALID, 2), (TERMINATING, 0), (AWAY, 0)])
async def test_what_only_a_person_can_mend_is_said_once_a_minute(
    error: ApiError, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    told = recorder(Board(refuses=lambda _: error))
    async with running(told):
        for _ in range(119):
            told.tell(ready())
            await asyncio.sleep(1)
    assert [record.getMessage() for record in caplog.records] == [
        f"event about policy web/shop not posted: {error.message}"
    ] * times


@pytest.mark.looptime
async def test_a_permission_that_is_missing_again_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    told = recorder(Board(refuses=lambda number: None if number == 2 else FORBIDDEN))
    async with running(told):
        for _ in range(3):
            told.tell(ready())
            await asyncio.sleep(1)
    assert len(caplog.records) == 2


@pytest.mark.looptime
async def test_whoever_tells_does_not_wait_for_an_api_server_that_does_not_answer() -> None:
    board = Board(seconds=CALM_SECONDS)
    told = recorder(board)
    loop = asyncio.get_running_loop()
    async with running(told) as task:
        for _ in range(3 * QUEUE_LIMIT):
            told.tell(ready())
        await asyncio.sleep(1)
        before = loop.time()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert loop.time() == before, "nor does the end of the process"
    assert (board.begun, board.posted) == (1, [])


@pytest.mark.looptime
async def test_what_is_no_answer_of_the_api_server_ends_the_task() -> None:
    told = recorder(Board(refuses=lambda _: RuntimeError("a bug")))
    task = asyncio.create_task(told.run())
    told.tell(ready())
    with pytest.raises(RuntimeError, match="a bug"):
        async with asyncio.timeout(CALM_SECONDS):
            await task
