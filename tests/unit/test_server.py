"""The endpoints answer over real HTTP on the loopback, and an address that cannot be listened on is one sentence."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nodeport_access.metrics import Metrics, PolicyView, View
from nodeport_access.server import BindError, health_app, metrics_app, serving
from nodeport_access.settings import BindAddress

LOOPBACK = BindAddress("127.0.0.1", 0)


async def fetched(port: int, path: str, *, method: str = "GET", accept: str = "*/*") -> tuple[int, str, str]:
    """Status, content type and text."""
    timeout = aiohttp.ClientTimeout(total=10)
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
        session.request(method, f"http://127.0.0.1:{port}{path}", headers={"Accept": accept}) as answer,
    ):
        return answer.status, answer.headers.get("Content-Type", ""), await answer.text()


def healthy() -> str:
    return ""


async def test_healthy_and_ready_say_ok() -> None:
    async with serving(health_app(unhealthy=healthy, unready=healthy), LOOPBACK) as port:
        assert (await fetched(port, "/healthz"))[::2] == (200, "ok\n")
        assert (await fetched(port, "/readyz"))[::2] == (200, "ok\n")


async def test_each_says_its_own_reason_and_only_while_it_lasts() -> None:
    reasons = {"unhealthy": "", "unready": "services: not listed yet"}
    app = health_app(unhealthy=lambda: reasons["unhealthy"], unready=lambda: reasons["unready"])
    async with serving(app, LOOPBACK) as port:
        assert (await fetched(port, "/healthz"))[::2] == (200, "ok\n")
        assert (await fetched(port, "/readyz"))[::2] == (503, "services: not listed yet\n")
        reasons.update(unhealthy="no pass has ended for 301 s", unready="")
        assert (await fetched(port, "/healthz"))[::2] == (503, "no pass has ended for 301 s\n")
        assert (await fetched(port, "/readyz"))[::2] == (200, "ok\n")


def view_of(*names: str) -> View:
    policies = tuple(
        PolicyView(namespace="web", name=name, service="shop", ready=True, deviating=(), next_expiry=None)
        for name in names
    )
    return View(
        policies=policies, unguarded=(), covering_nodes=tuple, queue_depth=0, oldest_key_age=0.0, watches=(), leads=True
    )


async def test_metrics_are_prometheus_text_and_follow_the_view() -> None:
    names = ["first", "second"]
    async with serving(metrics_app(Metrics(), lambda: view_of(*names)), LOOPBACK) as port:

        async def policies() -> set[str]:
            status, kind, text = await fetched(port, "/metrics")
            assert status == 200
            assert kind.startswith("text/plain; version=0.0.4")
            return {
                sample.labels["policy"]
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "nodeport_access_policy_ready"
            }

        assert await policies() == {"first", "second"}
        names.remove("first")
        assert await policies() == {"second"}


async def test_who_asks_for_openmetrics_gets_it_and_a_strange_wish_is_answered_in_text() -> None:
    async with serving(metrics_app(Metrics(), lambda: view_of("first")), LOOPBACK) as port:
        status, kind, text = await fetched(port, "/metrics", accept="application/openmetrics-text;version=1.0.0")
        assert (status, kind) == (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        assert text.endswith("# EOF\n")
        for strange in ("application/openmetrics-text;version=abc", "text/plain;version=x", ";,="):
            status, kind, _ = await fetched(port, "/metrics", accept=strange)
            assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics", 404), ("POST", "/healthz", 405), ("HEAD", "/healthz", 200)],
)
async def test_nothing_else_is_served(method: str, path: str, status: int) -> None:
    async with serving(health_app(unhealthy=healthy, unready=healthy), LOOPBACK) as port:
        assert (await fetched(port, path, method=method))[0] == status


async def test_a_taken_port_is_refused_with_one_sentence_and_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = BindAddress(*taken.getsockname())
        with pytest.raises(BindError, match=rf"^cannot listen on 127\.0\.0\.1:{address.port}: \S.*[^\n]$") as refused:
            async with serving(health_app(unhealthy=healthy, unready=healthy), address):
                pass
        assert "\n" not in str(refused.value)


async def test_an_address_of_somebody_else_is_refused_with_one_sentence() -> None:
    with pytest.raises(BindError, match=r"^cannot listen on "):
        async with serving(health_app(unhealthy=healthy, unready=healthy), BindAddress("203.0.113.1", 0)):
            pass


async def test_the_port_is_free_again_when_the_block_ends() -> None:
    async with serving(health_app(unhealthy=healthy, unready=healthy), LOOPBACK) as port:
        pass
    with pytest.raises(aiohttp.ClientConnectionError):
        await fetched(port, "/healthz")
    async with serving(health_app(unhealthy=healthy, unready=healthy), BindAddress("127.0.0.1", port)) as again:
        assert again == port
