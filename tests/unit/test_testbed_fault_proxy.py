"""The fault proxy as a client sees it, before an API server that only keeps what it was asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import gc
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
import yaml
from aiohttp import web
from yarl import URL

from testbed.credentials import Credentials
from testbed.fault_proxy import (
    Answer,
    CloseConnection,
    CutStream,
    DuplicateEvents,
    EndStream,
    ErrorEvent,
    FaultProxy,
    GarbledLine,
    HalfAnswer,
    Hang,
    Latency,
    LoseAnswer,
    SlowAnswer,
    StallStream,
)
from testbed.fault_proxy.closing import Sockets
from testbed.fault_proxy.faults import ConnectionCut
from testbed.fault_proxy.request_info import Match, RequestInfo
from testbed.ports import PortBlock

SERVICE = "/api/v1/namespaces/a/services/web"
POLICY = "/apis/nodeport-access.io/v1alpha1/namespaces/a/nodeportaccesspolicies/web"
COMPRESSED = "/api/v1/nodes"
WATCH = "/api/v1/services?watch=true"
SECONDS = 5.0
"""The longest that anything here may take that is not to last."""
CLOSED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


class ApiServer:
    """Keeps the requests, answers each with 200 and what it was, and says on watches what a test has it say."""

    def __init__(self, *, credentials: Credentials, ports: PortBlock) -> None:
        self.credentials = credentials
        self.ports = ports
        self.port = ports.take()
        self.requests: list[str] = []
        self.connections: set[object] = set()
        self.watches: list[asyncio.Queue[str | None]] = []
        self.open_watches = 0
        self.codes: dict[str, int] = {}
        """Other answers than 200, by method."""
        self.answering = asyncio.Event()
        self.answering.set()
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def service_account_kubeconfig(self, *, namespace: str, name: str, url: str | None = None) -> Path:
        return self.credentials.for_token(url=url or self.url, user=f"{namespace}-{name}", token="secret")

    async def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.credentials.server_certificate, self.credentials.server_key)
        self._runner = web.ServerRunner(web.Server(self._answer, handler_cancellation=True, access_log=None))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context, reuse_address=True).start()

    async def stop(self) -> None:
        """As a crash."""
        if self._runner is not None and self._runner.server is not None:
            for handler in self._runner.server.connections:
                if handler.transport is not None:
                    handler.transport.abort()
            await self._runner.cleanup()
            self._runner = None

    def say(self, *lines: str) -> None:
        """Sends lines on every watch."""
        for queue in self.watches:
            for line in lines:
                queue.put_nowait(line)

    def end_watches(self) -> None:
        for queue in self.watches:
            queue.put_nowait(None)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.connections.add(request.protocol)
        self.requests.append(f"{request.method} {request.raw_path}")
        body = await request.read()
        await self.answering.wait()
        if "watch" in request.query:
            return await self._watch(request)
        seen = {"headers": dict(request.headers), "body": body.decode()}
        answer = web.json_response(
            seen, status=self.codes.get(request.method, 200), headers={"Retry-After": "7", "Audit-Id": "x"}
        )
        if request.path == COMPRESSED:
            answer.enable_compression()
        return answer

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.watches.append(queue)
        self.open_watches += 1
        try:
            while (line := await queue.get()) is not None:
                await response.write(line.encode() + b"\n")
        finally:
            self.watches.remove(queue)
            self.open_watches -= 1
        return response


class Client:
    """A client with one token and kept connections, as the operator is."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        self.url: str = content["clusters"][0]["cluster"]["server"]
        token = content["users"][0]["user"]["token"]
        self._sockets = Sockets()
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust(kubeconfig), socket_factory=self._sockets.create),
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=SECONDS),
        )

    async def close(self) -> None:
        await self.session.close()
        await self._sockets.shut()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, URL(self.url + path, encoded=True), data=data) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def get(self) -> int:
        return (await self.ask("GET", SERVICE))[0]

    async def patch(self, path: str = SERVICE) -> int:
        return (await self.ask("PATCH", path, {}))[0]

    @contextlib.asynccontextmanager
    async def watch(self, path: str = WATCH) -> AsyncIterator[aiohttp.StreamReader]:
        async with self.session.get(URL(self.url + path, encoded=True)) as answer:
            assert answer.status == 200, await answer.text()
            yield answer.content


def trust(kubeconfig: Path) -> ssl.SSLContext:
    cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    return ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())


async def line_of(stream: aiohttp.StreamReader) -> str:
    """The next line, "" at the end in order."""
    return (await asyncio.wait_for(stream.readline(), SECONDS)).decode().rstrip("\n")


async def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def under_way(*requests: Any) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Requests that run during the block, and are given up at its end."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(folder=tmp_path_factory.mktemp("credentials"), now=datetime.datetime.now(datetime.UTC))


@pytest.fixture(scope="module")
def ports() -> Iterator[PortBlock]:
    block = PortBlock.claim(random=Random())
    yield block
    block.close()


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """What is found by the garbage collector complains, and fails the last test here."""
    yield
    gc.collect()


@pytest.fixture
async def server(credentials: Credentials, ports: PortBlock) -> AsyncIterator[ApiServer]:
    server = ApiServer(credentials=credentials, ports=ports)
    await server.start()
    yield server
    await server.stop()
    ports.give_back(server.port)


@pytest.fixture
def proxy(server: ApiServer) -> Iterator[FaultProxy]:
    with FaultProxy(server) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = Client(proxy.service_account_kubeconfig(namespace="a", name="operator"))
    yield client
    await client.close()


# --- what goes through ----------------------------------------------------------------------------------------------


async def test_requests_and_answers_pass_as_they_are(server: ApiServer, client: Client) -> None:
    path = f"{SERVICE}/status?fieldManager=a%2Fb&force=true"
    sent = {"Accept": "application/json;as=Table", "Content-Type": "application/apply-patch+yaml"}
    server.codes["PATCH"] = 409
    async with client.session.patch(
        URL(client.url + path, encoded=True), data=b'{"a": "\xc3\xa9"}', headers=sent
    ) as answer:
        seen = await answer.json()
        assert answer.status == 409
        assert (answer.headers["Retry-After"], answer.headers["Audit-Id"]) == ("7", "x")
    assert server.requests == [f"PATCH {path}"]
    assert seen["body"] == '{"a": "é"}'
    assert {**sent, "Authorization": "Bearer secret"}.items() <= seen["headers"].items()


async def test_what_is_compressed_stays_so(client: Client) -> None:
    async with client.session.get(client.url + COMPRESSED) as answer:
        assert answer.headers["Content-Encoding"] in ("deflate", "gzip")
        assert (await answer.json())["headers"]["Accept-Encoding"].startswith("gzip")


async def test_what_the_client_does_not_say_is_not_said_for_it(server: ApiServer, client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(client.url).port, ssl=trust_of(server))
    writer.write(f"GET {SERVICE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await asyncio.wait_for(reader.read(), SECONDS)).partition(b"\r\n\r\n")
    writer.transport.abort()
    assert head.startswith(b"HTTP/1.1 200")
    assert json.loads(body)["headers"] == {"Host": server.url.removeprefix("https://")}


def trust_of(server: ApiServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.credentials.server_ca))


async def test_connections_are_kept_on_both_sides(server: ApiServer, client: Client) -> None:
    assert client.session.connector is not None
    for _ in range(5):
        assert await client.get() == 200
        assert await client.patch() == 200
    assert len(server.connections) == 1
    with FaultProxy(server) as other, contextlib.closing(Kept(other.url, trust_of(server))) as kept:
        assert [await asyncio.to_thread(kept.get) for _ in range(3)] == [200, 200, 200]


class Kept:
    """One connection and no other."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=SECONDS)
        self._connection.connect()
        self._connection.auto_open = 0

    def get(self) -> int:
        self._connection.request("GET", SERVICE)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def close(self) -> None:
        self._connection.close()


async def test_an_event_is_there_before_the_next_one_is(server: ApiServer, client: Client) -> None:
    async with client.watch() as stream:
        await until(lambda: server.watches)
        for number in range(3):
            server.say(f"event {number}")
            assert await line_of(stream) == f"event {number}"
        server.say("x" * 300_000, "small")
        assert len(await asyncio.wait_for(stream.readexactly(300_001), SECONDS)) == 300_001
        assert await line_of(stream) == "small"
        server.end_watches()
        assert await line_of(stream) == ""


async def test_a_client_that_leaves_a_watch_ends_it_at_the_api_server(server: ApiServer, client: Client) -> None:
    async with client.watch():
        await until(lambda: server.open_watches == 1)
    await until(lambda: server.open_watches == 0)


async def test_without_an_api_server_the_connection_is_closed_until_there_is_one(
    server: ApiServer, client: Client
) -> None:
    async with client.watch() as stream:
        await server.stop()
        with pytest.raises(aiohttp.ClientPayloadError):
            await line_of(stream)
    with pytest.raises(CLOSED):
        await client.get()
    await server.start()
    assert await client.get() == 200


# --- what was carried out -------------------------------------------------------------------------------------------


async def test_writes_are_what_was_carried_out_in_order(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    event = {"metadata": {"namespace": "b", "name": "web.1"}}
    await client.get()
    await client.ask("PATCH", SERVICE, {})
    await client.ask("PATCH", f"{POLICY}/status", {})
    await client.ask("POST", "/apis/events.k8s.io/v1/namespaces/b/events", event)
    await client.ask("DELETE", "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies/web-allow")
    server.codes["PATCH"] = 409
    await client.ask("PATCH", SERVICE, {})
    assert proxy.writes() == [
        "patch services web",
        "patch nodeportaccesspolicies/status web",
        "create events web.1",
        "delete networkpolicies web-allow",
    ]
    assert proxy.writes(namespace="b") == ["create events web.1"]


async def test_a_write_whose_client_died_while_it_was_under_way_is_known_to_be_carried_out(
    server: ApiServer, proxy: FaultProxy, client: Client
) -> None:
    server.answering.clear()
    async with under_way(client.patch()):
        await until(lambda: server.requests)
    with proxy.inject(Answer(code=503), verbs={"get"}):
        assert await client.get() == 503, "by now the proxy has heard of its death"
    server.answering.set()
    await until(lambda: proxy.writes() == ["patch services web"])


# --- gates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_gate_lets_the_first_writes_through_and_holds_the_next(
    proxy: FaultProxy, client: Client, count: int
) -> None:
    gate = proxy.hold_after(writes=count)
    for number in range(count):
        assert not gate.reached.is_set()
        assert await client.patch() == 200
        await until(partial(lambda passed: gate.passed == passed, number + 1))
        assert await client.get() == 200
    async with under_way(client.patch(), client.patch(POLICY)) as (first, second):
        await until(lambda: len(gate.held) == 2)
        assert gate.reached.is_set()
        assert sorted(gate.held) == ["patch nodeportaccesspolicies web", "patch services web"]
        assert await client.get() == 200, "what only reads is not held"
        assert len(proxy.writes()) == count
        gate.release()
        assert [await first, await second] == [200, 200]
    assert gate.held == ()
    assert len(proxy.writes()) == count + 2


async def test_no_more_than_the_first_writes_pass_a_gate_at_the_same_time(
    server: ApiServer, proxy: FaultProxy, client: Client
) -> None:
    server.answering.clear()
    gate = proxy.hold_after(writes=2)
    async with under_way(*(client.patch() for _ in range(5))) as writes:
        await until(lambda: len(gate.held) == 3 and len(server.requests) == 2)
        assert not gate.reached.is_set(), "nothing was answered yet"
        server.answering.set()
        await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        assert await asyncio.to_thread(gate.reached.wait, SECONDS)
        assert (len(server.requests), len(gate.held), gate.passed) == (2, 3, 2)
        gate.release()
        assert await asyncio.gather(*writes) == [200] * 5


async def test_a_write_that_is_refused_does_not_count_for_a_gate(
    server: ApiServer, proxy: FaultProxy, client: Client
) -> None:
    server.codes["PATCH"] = 409
    with proxy.hold_after(writes=1) as gate:
        assert [await client.patch() for _ in range(3)] == [409, 409, 409]
        server.codes.clear()
        server.answering.clear()
        async with under_way(client.patch(), client.patch()) as writes:
            await until(lambda: gate.held)
            server.codes["PATCH"] = 409
            server.answering.set()
            assert [await write for write in writes] == [409, 409], "the second took the place that the first left"
        server.codes.clear()
        assert await client.patch() == 200
        async with under_way(client.patch()):
            await until(gate.reached.is_set)


async def test_a_gate_holds_only_what_it_is_for(proxy: FaultProxy, client: Client) -> None:
    with proxy.hold_after(writes=0, namespaces={"b"}) as gate, proxy.hold_after(writes=0, resources={"pods"}) as other:
        assert await client.patch() == 200
        async with under_way(client.patch("/api/v1/namespaces/b/pods/web")):
            await until(gate.reached.is_set)
            other.release()
            assert gate.held == ("patch pods web",)


async def test_what_a_killed_client_had_asked_for_is_never_carried_out(
    server: ApiServer, proxy: FaultProxy, client: Client
) -> None:
    busy = threading.Event()

    class KeepsBusy(Answer):
        """Stands for a loop that hears of the release before it hears of the death."""

        async def meet(self, *_: Any) -> Any:
            busy.set()
            time.sleep(0.05)  # noqa: ASYNC251 - it is the loop that must not go on
            raise ConnectionCut

    proxy.inject(KeepsBusy(code=0), verbs={"get"})
    for _ in range(3):
        gate = proxy.hold_after(writes=0)
        connection = trust_of(server).wrap_socket(
            socket.create_connection(("127.0.0.1", URL(proxy.url).port)), server_hostname="127.0.0.1"
        )
        connection.sendall(f"PATCH {SERVICE} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        assert gate.reached.wait(SECONDS)
        busy.clear()
        async with under_way(client.get()):
            assert await asyncio.to_thread(busy.wait, SECONDS)
            connection.close()
            gate.release()
        await until(partial(lambda gate: not gate.held, gate))
    assert server.requests == []
    assert proxy.writes() == []


# --- faults in place of the API server ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (409, "Conflict"),
        (410, "Expired"),
        (422, "Invalid"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ],
)
async def test_something_else_answers_as_the_api_server_would(
    server: ApiServer, proxy: FaultProxy, client: Client, code: int, reason: str
) -> None:
    with proxy.inject(Answer(code=code)) as injected:
        seen, status = await client.ask("PATCH", SERVICE, {})
    assert (seen, status["kind"], status["code"], status["reason"]) == (code, "Status", code, reason)
    assert injected.hits == 1
    assert (server.requests, proxy.writes()) == ([], [])
    assert await client.patch() == 200


async def test_an_answer_says_when_to_come_again_and_why(proxy: FaultProxy, client: Client) -> None:
    causes = {"causes": [{"reason": "FieldManagerConflict", "field": ".spec.externalTrafficPolicy"}]}
    proxy.inject(Answer(code=429, retry_after=3), verbs={"get"})
    proxy.inject(Answer(code=409, message="conflict with kubectl", details=causes), verbs={"patch"})
    async with client.session.get(client.url + SERVICE) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "3")
    _, status = await client.ask("PATCH", SERVICE, {})
    assert (status["message"], status["details"]) == ("conflict with kubectl", causes)


async def test_a_load_balancer_answers_with_a_page(proxy: FaultProxy, client: Client) -> None:
    proxy.inject(Answer(code=502, text="<h1>Bad Gateway</h1>"))
    assert await client.ask("GET", SERVICE) == (502, "<h1>Bad Gateway</h1>")


async def test_a_connection_is_closed_without_a_word(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    with proxy.inject(CloseConnection(), verbs={"patch"}) as injected:
        with pytest.raises(CLOSED):
            await client.patch()
        assert (server.requests, injected.hits) == ([], 1)
    assert await client.patch() == 200


async def test_a_request_hangs_until_the_fault_is_removed(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    injected = proxy.inject(Hang(), verbs={"patch"})
    async with under_way(client.patch()):
        await until(lambda: injected.hits == 1)
    async with under_way(client.patch()) as (waiting,):
        await until(lambda: injected.hits == 2)
        assert await client.get() == 200
        assert not waiting.done()
        injected.remove()
        assert await waiting == 200
    assert server.requests == [f"GET {SERVICE}", f"PATCH {SERVICE}"], "the one that was given up is not carried out"


async def test_a_request_takes_its_time(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    assert await client.get() == 200
    injected = proxy.inject(Latency(seconds=0.2), verbs={"patch"})
    begin = time.monotonic()
    async with under_way(client.patch()) as (write,):
        await until(lambda: injected.hits == 1)
        assert await client.get() == 200, "others do not wait for it"
        assert await write == 200
    assert time.monotonic() - begin >= 0.2
    assert server.requests == [f"GET {SERVICE}", f"GET {SERVICE}", f"PATCH {SERVICE}"]


# --- faults after the API server ------------------------------------------------------------------------------------


async def test_a_write_is_carried_out_and_its_answer_lost(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    with proxy.inject(LoseAnswer(), verbs={"patch"}, times=1) as injected:
        with pytest.raises(CLOSED):
            await client.patch()
        assert await client.patch() == 200
    assert injected.hits == 1
    assert len(server.requests) == 2
    assert proxy.writes() == ["patch services web"] * 2


async def test_half_of_an_answer_arrives(proxy: FaultProxy, client: Client) -> None:
    whole = len(json.dumps((await client.ask("GET", SERVICE))[1]))
    proxy.inject(HalfAnswer())
    async with client.session.get(client.url + SERVICE) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        assert (answer.status, answer.content_length) == (200, whole)
        assert answer.content.total_raw_bytes == whole // 2


async def test_an_answer_dribbles(proxy: FaultProxy, client: Client) -> None:
    whole = len(json.dumps((await client.ask("GET", SERVICE))[1]))
    proxy.inject(SlowAnswer(bytes_per_second=whole * 5))
    begin = time.monotonic()
    async with client.session.get(client.url + SERVICE) as answer:
        sizes = [len(chunk) async for chunk in answer.content.iter_any()]
    assert sum(sizes) == whole
    assert len(sizes) > 2
    assert 0.2 <= time.monotonic() - begin < 2


# --- faults of watches ----------------------------------------------------------------------------------------------


async def test_a_watch_is_refused_at_its_opening(proxy: FaultProxy, client: Client) -> None:
    with proxy.inject(Answer(code=410), verbs={"watch"}) as injected:
        async with client.session.get(client.url + WATCH) as answer:
            assert answer.status == 410
        assert await client.get() == 200
    assert injected.hits == 1


async def test_open_watches_are_cut(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    async with client.watch() as stream, client.watch("/api/v1/pods?watch=true") as other:
        await until(lambda: len(server.watches) == 2)
        injected = proxy.inject(CutStream(), resources={"services"})
        with pytest.raises(aiohttp.ClientPayloadError):
            await line_of(stream)
        injected.remove()
        assert injected.hits == 1
        await until(lambda: server.open_watches == 1)
        server.say("still there")
        assert await line_of(other) == "still there"


async def test_a_watch_can_be_struck_while_it_ends(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    for _ in range(10):
        async with client.watch():
            await until(lambda: server.open_watches == 1)
            with proxy.inject(CutStream(), times=1), proxy.inject(ErrorEvent(), times=1):
                pass
        await until(lambda: server.open_watches == 0)


async def test_watches_that_are_opened_later_are_cut_too(proxy: FaultProxy, client: Client) -> None:
    with proxy.inject(CutStream(), times=2) as injected:
        for _ in range(2):
            async with client.watch() as stream:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await line_of(stream)
        async with client.watch():
            assert injected.hits == 2


async def test_a_watch_breaks_in_the_middle_of_an_event(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    proxy.inject(HalfAnswer(), verbs={"watch"})
    async with client.watch() as stream:
        await until(lambda: server.watches)
        server.say("an event")
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(stream.read(), SECONDS)
        assert stream.total_raw_bytes == len("an event\n") // 2
    await until(lambda: server.open_watches == 0)


@pytest.mark.parametrize("fault", [CloseConnection(), LoseAnswer()])
async def test_a_watch_cannot_be_opened(
    server: ApiServer, proxy: FaultProxy, client: Client, fault: CloseConnection | LoseAnswer
) -> None:
    proxy.inject(fault, verbs={"watch"})
    with pytest.raises(CLOSED):
        async with client.watch():
            pass
    await until(lambda: server.open_watches == 0)


async def test_a_watch_ends_in_order(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    async with client.watch() as stream:
        await until(lambda: server.watches)
        server.say("last")
        assert await line_of(stream) == "last"
        with proxy.inject(EndStream()) as injected:
            assert await line_of(stream) == ""
            async with client.watch() as later:
                assert await line_of(later) == ""
            assert injected.hits == 2
    await until(lambda: server.open_watches == 0)


async def test_a_watch_says_that_its_version_is_gone_and_ends(proxy: FaultProxy, client: Client) -> None:
    async with client.watch() as stream:
        proxy.inject(ErrorEvent())
        event = json.loads(await line_of(stream))
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await line_of(stream) == ""


async def test_a_stalled_watch_stays_open_and_delivers_when_it_goes_on(
    server: ApiServer, proxy: FaultProxy, client: Client
) -> None:
    async with client.watch() as stream:
        await until(lambda: server.watches)
        with proxy.inject(StallStream()) as injected:
            server.say("one", "two")
            server.end_watches()
            await until(lambda: injected.hits == 1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.readany(), 0.1)
        assert [await line_of(stream) for _ in range(3)] == ["one", "two", ""]


async def test_a_stalled_watch_can_lose_what_it_missed(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    async with client.watch() as stream:
        await until(lambda: server.watches)
        with proxy.inject(StallStream(lost=True)) as injected:
            server.say("missed", "missed too")
            await until(lambda: injected.hits == 1)
            server.end_watches()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.readany(), 0.1)
        assert await line_of(stream) == ""


async def test_every_event_comes_twice(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    async with client.watch() as stream:
        await until(lambda: server.watches)
        with proxy.inject(DuplicateEvents()) as injected:
            assert injected.hits == 0, "nothing was doubled yet"
            server.say("one", "two")
            assert [await line_of(stream) for _ in range(4)] == ["one", "one", "two", "two"]
            assert injected.hits == 1
        server.say("three", "four")
        assert [await line_of(stream) for _ in range(2)] == ["three", "four"]


async def test_a_line_is_garbled_once(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    async with client.watch() as stream:
        await until(lambda: server.watches)
        with proxy.inject(GarbledLine()):
            with pytest.raises(json.JSONDecodeError):
                json.loads(await line_of(stream))
            server.say("{}")
            assert json.loads(await line_of(stream)) == {}


# --- faults together ------------------------------------------------------------------------------------------------


async def test_a_fault_meets_only_what_it_is_for_and_only_so_often(proxy: FaultProxy, client: Client) -> None:
    only = {"verbs": {"patch"}, "resources": {"services"}, "namespaces": {"a"}, "names": {"web"}}
    with proxy.inject(Answer(code=409), times=2, **only) as injected:
        assert await client.get() == 200
        assert await client.patch(POLICY) == 200
        assert await client.patch(f"{SERVICE}/status") == 200
        assert await client.patch(SERVICE.replace("/a/", "/b/")) == 200
        assert await client.patch(f"{SERVICE}-2") == 200
        assert injected.hits == 0
        assert [await client.patch() for _ in range(3)] == [409, 409, 200]
    assert injected.hits == 2


async def test_the_fault_that_was_injected_first_comes_first(proxy: FaultProxy, client: Client) -> None:
    late = proxy.inject(Latency(seconds=0.05))
    first = proxy.inject(Answer(code=409), times=1)
    second = proxy.inject(Answer(code=503))
    assert [await client.patch() for _ in range(2)] == [409, 503]
    assert (late.hits, first.hits, second.hits) == (2, 1, 1)


async def test_a_write_whose_answer_is_lost_counts_for_a_gate(proxy: FaultProxy, client: Client) -> None:
    proxy.inject(LoseAnswer(), times=1)
    with proxy.hold_after(writes=1) as gate:
        with pytest.raises(CLOSED):
            await client.patch()
        async with under_way(client.patch()):
            await until(gate.reached.is_set)
            assert proxy.writes() == ["patch services web"]


async def test_the_network_is_away_and_comes_back(server: ApiServer, proxy: FaultProxy, client: Client) -> None:
    proxy.inject(Hang(), verbs={"delete"})
    async with client.watch() as stream, under_way(client.ask("DELETE", SERVICE)) as (waiting,):
        await until(lambda: server.watches)
        with proxy.network_away():
            with pytest.raises(aiohttp.ClientPayloadError):
                await line_of(stream)
            with pytest.raises(CLOSED):
                await waiting
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get()
        assert await client.get() == 200
    await until(lambda: server.open_watches == 0)
    assert f"DELETE {SERVICE}" not in server.requests


# --- its end --------------------------------------------------------------------------------------------------------


async def test_it_ends_at_once_with_everything_open(server: ApiServer) -> None:
    with FaultProxy(server) as proxy:
        client = Client(proxy.service_account_kubeconfig(namespace="a", name="operator"))
        proxy.inject(Hang(), verbs={"delete"})
        stalled = proxy.inject(StallStream(), resources={"pods"})
        proxy.inject(SlowAnswer(bytes_per_second=1), verbs={"list"})
        gate = proxy.hold_after(writes=0, verbs={"patch"})
        shaking_hands = socket.create_connection(("127.0.0.1", URL(proxy.url).port))
        async with (
            client.watch(),
            client.watch("/api/v1/pods?watch=true"),
            under_way(client.patch(), client.ask("DELETE", SERVICE), client.ask("GET", "/api/v1/nodes")),
        ):
            await until(lambda: len(server.watches) == 2 and gate.held)
            server.say("held back", "x" * 4_000_000)  # more than all buffers take, so that reading is paused
            await until(lambda: stalled.hits)
            server.answering.clear()
            async with under_way(client.get(), client.get()):
                await until(lambda: len(server.requests) == 5)
                begin = time.monotonic()
                proxy.close()
                took = time.monotonic() - begin
        gate.release()
        proxy.close()
    assert took < 3, "it waited for somebody"
    assert gate.held == ()
    shaking_hands.close()
    server.answering.set()
    await client.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "fault-proxy"]


async def test_a_client_that_dies_in_the_middle_of_its_request_is_no_failure(server: ApiServer) -> None:
    with FaultProxy(server) as proxy:
        for _ in range(10):
            connection = trust_of(server).wrap_socket(
                socket.create_connection(("127.0.0.1", URL(proxy.url).port)), server_hostname="127.0.0.1"
            )
            connection.sendall(f"PATCH {SERVICE} HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{{".encode())
            connection.close()
        client = Client(proxy.service_account_kubeconfig(namespace="a", name="operator"))
        assert await client.patch() == 200
        await client.close()
    assert len(server.requests) == 1


async def test_what_cannot_start_says_so(server: ApiServer, tmp_path: Path) -> None:
    proxy = FaultProxy(server)
    server.credentials = Credentials(folder=tmp_path / "credentials", now=datetime.datetime.now(datetime.UTC))
    server.credentials.server_key.unlink()
    with pytest.raises(FileNotFoundError):
        proxy.start()
    proxy.close()


async def test_its_own_failure_is_not_taken_for_the_operators(server: ApiServer) -> None:
    class Broken(Answer):
        async def meet(self, *_: object) -> Any:
            raise ZeroDivisionError

    proxy = FaultProxy(server)
    proxy.start()
    client = Client(proxy.service_account_kubeconfig(namespace="a", name="operator"))
    proxy.inject(Broken(code=1))
    with pytest.raises(CLOSED):
        await client.get()
    await client.close()
    with pytest.raises(ExceptionGroup, match="the fault proxy failed by itself"):
        proxy.close()


# --- which request is which -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/api/v1/nodes", "list nodes"),
        ("GET", "/api/v1/nodes/n1", "get nodes n1"),
        ("GET", "/api/v1/namespaces", "list namespaces"),
        ("GET", "/api/v1/namespaces/a", "get namespaces a"),
        ("PUT", "/api/v1/namespaces/a/finalize", "update namespaces/finalize a"),
        ("GET", "/api/v1/services?watch=true&resourceVersion=1", "watch services"),
        ("GET", "/api/v1/services?watch=0", "list services"),
        ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch pods"),
        ("PATCH", SERVICE, "patch services web"),
        ("PATCH", f"{POLICY}/status", "patch nodeportaccesspolicies/status web"),
        ("POST", "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies", "create networkpolicies web"),
        ("POST", "/api/v1/namespaces/a/serviceaccounts/operator/token", "create serviceaccounts/token operator"),
        ("DELETE", "/api/v1/namespaces/a/pods/web", "delete pods web"),
        ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection pods"),
        ("GET", "/version", "get /version"),
        ("GET", "/apis/networking.k8s.io/v1", "get /apis/networking.k8s.io/v1"),
    ],
)
def test_a_request_is_named_as_in_the_audit_log(method: str, path: str, said: str) -> None:
    address, _, query = path.partition("?")
    info = RequestInfo.of(
        method=method, path=address, query=dict(parse_qsl(query)), body=b'{"metadata": {"name": "web"}}'
    )
    assert str(info) == said
    assert info.namespace == ("a" if "/namespaces/a" in path else "")


@pytest.mark.parametrize("body", [b"", b"k8s\x00\x0a", b"[]", b'{"metadata": {"generateName": "web-"}}', b"null"])
def test_a_new_object_whose_name_nobody_knows_has_none(body: bytes) -> None:
    assert str(RequestInfo.of(method="POST", path="/api/v1/namespaces/a/pods", query={}, body=body)) == "create pods"


def test_a_match_covers_what_fits_in_every_respect() -> None:
    info = RequestInfo(verb="patch", resource="services", namespace="a", name="web")
    assert Match().covers(info)
    assert Match(verbs={"patch", "delete"}, resources={"services"}, namespaces={"a"}, names={"web"}).covers(info)
    assert not Match(verbs={"patch"}, names={"other"}).covers(info)
    assert not Match(verbs={"patch"}, resources={"services/status"}).covers(info)
    with pytest.raises(ValueError, match="post: the API server has no such verb"):
        Match(verbs={"post"})
