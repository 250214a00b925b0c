"""The API client on the wire, against a server on loopback that answers what a real one does not when asked.

What a real API server answers to the same verbs is in `tests/api/test_client.py`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import datetime
import gc
import json
import os
import socket
import ssl
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import incluster_config

from nodeport_access.kube import (
    EVENTS,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
    ApiError,
    Client,
    ConfigurationError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Lent,
    NotFound,
    SchemaOutdated,
    Unauthorized,
    Unreachable,
    WatchEvent,
    configuration,
    lending,
    load_configuration,
    wire,
)
from testbed.certificates import Authority
from tests.unit.misbehaving_api_server import (
    Handler,
    ServiceWorld,
    answering,
    bookmark,
    configuration_for,
    connected,
    cut,
    expired,
    half_a_line,
    opened,
    refusing,
    send,
    serving,
    silent,
    status,
)

# --- where the API server is, and who we are ------------------------------------------------------------


def kubeconfig(
    folder: Path,
    *,
    name: str = "config",
    context: str | None = "here",
    user: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    **more: Any,
) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster or {"server": f"http://{name}.test"}}],
        "users": [{"name": "user", "user": user or {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "cluster", "user": "user"}}],
        **({"current-context": context} if context else {}),
    }
    path = folder / name
    path.write_text(yaml.safe_dump(content | more))
    return path


async def load(
    path: Path | str | None = None, *, context: str | None = None, environ: Mapping[str, str] | None = None
) -> Configuration:
    return await load_configuration(kubeconfig=str(path) if path else None, context=context, environ=environ or {})


async def test_the_file_given_wins_over_the_environment(tmp_path: Path) -> None:
    given, other = kubeconfig(tmp_path, name="given"), kubeconfig(tmp_path, name="other")
    assert (await load(given, environ={"KUBECONFIG": str(other)})).host == "http://given.test"
    assert (await load(environ={"KUBECONFIG": str(other)})).host == "http://other.test"


async def test_of_several_files_the_first_decides_and_missing_and_empty_ones_are_passed_over(tmp_path: Path) -> None:
    # As kubectl does, `kubectl help config`: the first file to set a value wins.
    empty = tmp_path / "empty"
    empty.touch()
    there = {"name": "there", "context": {"cluster": "far", "user": "user"}}
    far = {"name": "far", "cluster": {"server": "http://far.test"}}
    first = kubeconfig(tmp_path, name="first", context=None)
    second = kubeconfig(tmp_path, name="second")
    here = {"name": "here", "context": {"cluster": "far", "user": "nobody"}}
    third = kubeconfig(tmp_path, name="third", context="there", contexts=[there, here], clusters=[far])
    environ = {"KUBECONFIG": os.pathsep.join(map(str, [tmp_path / "missing", empty, "", first, second, third]))}
    assert (await load(environ=environ)).host == "http://first.test"
    assert (await load(environ=environ, context="there")).host == "http://far.test"


async def test_a_user_without_credentials_is_somebody_too(tmp_path: Path) -> None:
    nobody = kubeconfig(tmp_path, users=[{"name": "user", "user": {}}])  # as for `kubectl proxy`
    assert (await load(nobody)).api_key == {}


async def test_a_token_file_may_end_in_a_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    loaded = await load(kubeconfig(tmp_path, user={"tokenFile": "token"}))
    assert loaded.api_key == {"BearerToken": "Bearer from-a-file"}


async def test_an_exec_plugin_gives_the_token(tmp_path: Path) -> None:
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-a-plugin"},
    }
    plugin = {"apiVersion": answer["apiVersion"], "command": "echo", "args": [json.dumps(answer)]}
    loaded = await load(kubeconfig(tmp_path, user={"exec": plugin | {"interactiveMode": "Never"}}))
    assert loaded.api_key == {"BearerToken": "Bearer from-a-plugin"}


def a_directory(folder: Path) -> Path:
    (folder / "directory").mkdir()
    return folder / "directory"


def a_file(folder: Path, content: str) -> Path:
    path = folder / "broken"
    path.write_text(content)
    return path


UNUSABLE: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    "missing": (lambda it: it / "missing", None, "kubeconfig {}/missing does not exist: name another by --kubeconfig."),
    "a directory": (a_directory, None, "kubeconfig {}/directory cannot be read ([Errno 21] Is a directory: "),
    "not YAML": (lambda it: a_file(it, "a: [b"), None, "kubeconfig {}/broken cannot be read (while parsing a flow "),
    "not text": (lambda it: a_file(it, "\0"), None, "kubeconfig {}/broken cannot be read ("),
    "no mapping": (lambda it: a_file(it, "- a"), None, "kubeconfig {}/broken is not a mapping: name another by"),
    "empty": (lambda it: a_file(it, ""), None, "kubeconfig {}/broken holds nothing: name another by --kubeconfig."),
    "unknown context": (
        kubeconfig,
        "nowhere",
        "kubeconfig {}/config has no context 'nowhere': choose one with --context (it has: here).",
    ),
    "no context": (
        lambda it: kubeconfig(it, context=None),
        None,
        "kubeconfig {}/config has no current-context: choose one with --context (it has: here).",
    ),
    "no contexts": (
        lambda it: a_file(it, "apiVersion: v1"),
        "here",
        "kubeconfig {}/broken has no context 'here': choose one with --context (it has: none).",
    ),
    "no credentials": (
        lambda it: kubeconfig(it, users=[]),
        None,
        "kubeconfig {}/config has no credentials for 'user', the user of its context 'here'.",
    ),
    "no cluster": (
        lambda it: kubeconfig(it, clusters=[]),
        None,
        "kubeconfig {}/config: its context 'here' cannot be used (Invalid kube-config file. Expected object with name",
    ),
    "no user": (
        lambda it: kubeconfig(
            it,
            cluster={"server": "https://a.test"},
            contexts=[{"name": "here", "context": {"cluster": "cluster"}}],
        ),
        None,
        "kubeconfig {}/config: its context 'here' cannot be used (it names no user).",
    ),
    "missing certificate": (
        lambda it: kubeconfig(it, cluster={"server": "https://a.test", "certificate-authority": "ca.crt"}),
        None,
        "kubeconfig {}/config: its context 'here' cannot be used (File does not exists: {}/ca.crt).",
    ),
    "broken certificate": (
        lambda it: kubeconfig(it, cluster={"server": "https://a.test", "certificate-authority-data": "YQ=="}),
        None,
        "the certificates for https://a.test cannot be used (",
    ),
    "an exec plugin that fails": (
        lambda it: kubeconfig(it, user={"exec": {"command": "false", "apiVersion": "client.authentication.k8s.io/v1"}}),
        None,
        "kubeconfig {}/config: the exec plugin 'false' of user 'user' gave no credentials.",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_an_unusable_kubeconfig_is_one_sentence_that_names_the_file(case: str, tmp_path: Path) -> None:
    make, context, sentence = UNUSABLE[case]
    path = make(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        await load(path, context=context)
    said = str(caught.value)
    assert said.startswith(sentence.replace("{}", str(tmp_path)))
    assert said.endswith(".")
    assert "\n" not in said


async def test_with_no_configuration_at_all_the_sentence_says_what_can_be_given() -> None:
    with pytest.raises(ConfigurationError, match=r"^no configuration: give --kubeconfig FILE, or set \$KUBECONFIG "):
        await load()
    with pytest.raises(ConfigurationError, match=r"^context 'here' needs a kubeconfig: give --kubeconfig FILE, or set"):
        await load(context="here")
    with pytest.raises(ConfigurationError, match=r"^kubeconfig /missing holds nothing"):
        await load(environ={"KUBECONFIG": "/missing"})


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificate: str) -> Path:
    """The token file of a pod; the certificate of its cluster lies beside it."""
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("first")
    authority.write_text(certificate)
    monkeypatch.setattr(configuration, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(configuration, "SERVICE_CERT_FILENAME", str(authority))
    return token


def test_the_namespace_of_our_own_pod_stands_beside_its_token(service_account: Path) -> None:
    assert configuration.own_namespace() == ""
    service_account.with_name("namespace").write_text("nodeport-access-system\n")
    assert configuration.own_namespace() == "nodeport-access-system"


@pytest.fixture(scope="session")
def certificate() -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2046))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


IN_A_POD = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}


async def test_in_a_pod_the_service_account_is_used_and_its_token_file_read_again_after_a_minute(
    service_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = await load(environ=IN_A_POD)
    assert loaded.host == "https://[fd00::1]:443"
    later = datetime.datetime.now() + datetime.timedelta(seconds=61)

    async def sent(use: Configuration) -> str:
        connection = wire.Connection(use)
        try:
            return (await connection.credentials())["Authorization"]
        finally:
            await connection.close()

    assert await sent(loaded) == "bearer first"
    rewrite(service_account, "second")
    assert await sent(loaded) == "bearer first"
    clock = types.SimpleNamespace(now=lambda: later)
    monkeypatch.setattr(incluster_config, "datetime", types.SimpleNamespace(datetime=clock))
    assert await sent(loaded) == "bearer second"
    assert await sent(copy.deepcopy(loaded)) == "bearer second"  # as for the pool of the watches


@pytest.mark.parametrize("content", ["", None])
async def test_a_token_file_that_cannot_be_read_again_is_waited_for(
    content: str | None, service_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = await load(environ=IN_A_POD)
    later = datetime.datetime.now() + datetime.timedelta(seconds=61)
    clock = types.SimpleNamespace(now=lambda: later)
    monkeypatch.setattr(incluster_config, "datetime", types.SimpleNamespace(datetime=clock))
    rewrite(service_account, content)

    async def unexpected() -> Configuration:
        raise AssertionError

    client = Client(configuration=loaded, load=unexpected, observer=lambda *_: None)
    with pytest.raises(Unreachable, match=r"^the service account's token cannot be read: "):
        await client.list(SERVICES)
    await client.close()


def rewrite(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_text(content)


async def test_a_pod_without_a_token_is_told_so(service_account: Path) -> None:
    rewrite(service_account, None)
    with pytest.raises(
        ConfigurationError, match=r"not a pod with a service account: Service token file does not exist"
    ):
        await load(environ=IN_A_POD)


# --- what an answer means -------------------------------------------------------------------------------


async def first_event(client: Client) -> WatchEvent | None:
    async with client.watch(SERVICES, resource_version="1", timeout_seconds=300) as events:
        return await anext(events, None)


async def all_events(client: Client) -> list[WatchEvent]:
    async with client.watch(SERVICES, resource_version="1", timeout_seconds=300) as events:
        return [event async for event in events]


NOT_IN_SCHEMA = "failed to create typed patch object: .status.x: field not declared in schema"

MEANINGS: list[tuple[Handler, type[ApiError], str]] = [
    (refusing(400, reason="BadRequest", message="no"), Invalid, "400 BadRequest: no"),
    (refusing(403, reason="Forbidden", message="no"), Forbidden, "403 Forbidden: no"),
    (refusing(404, reason="NotFound", message="no"), NotFound, "404 NotFound: no"),
    (refusing(409, reason="Conflict", message="no"), Conflict, "409 Conflict: no"),
    (refusing(410, reason="Expired", message="no"), Gone, "410 Expired: no"),
    (refusing(415, reason="UnsupportedMediaType", message="no"), Invalid, "415 UnsupportedMediaType: no"),
    (refusing(422, reason="Invalid", message="no"), Invalid, "422 Invalid: no"),
    (refusing(429, reason="TooManyRequests", message="no"), Unreachable, "429 TooManyRequests: no"),
    (refusing(500, reason="InternalError", message="no"), Unreachable, "500 InternalError: no"),
    (refusing(500, reason="", message=NOT_IN_SCHEMA), SchemaOutdated, f"500 Internal Server Error: {NOT_IN_SCHEMA}"),
    (refusing(503, reason="", message=""), Unreachable, "503 Service Unavailable: Service Unavailable"),
    (answering(404, text="404 page not found\n"), NotFound, "404 Not Found: 404 page not found"),
    (answering(502, text="<html>\n<b>Bad</b>"), Unreachable, "502 Bad Gateway: <html> <b>Bad</b>"),
    (answering(503, text='["no status"]'), Unreachable, '503 Service Unavailable: ["no status"]'),
    (answering(520), Unreachable, "520 Unknown: Unknown"),
    (answering(200, text="<html>please log in"), Unreachable, "the answer is not JSON: b'<html>please log in'"),
    (answering(200, text="[]"), Unreachable, "the answer is not an object: b'[]'"),
]


@pytest.mark.parametrize(("handler", "kind", "said"), MEANINGS, ids=[said for _, _, said in MEANINGS])
async def test_each_answer_has_one_meaning_for_requests_and_watches(
    handler: Handler, kind: type[ApiError], said: str
) -> None:
    async with serving(handler) as url, connected(url) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(SERVICES, namespace="web", name="shop")
        assert (type(caught.value), str(caught.value)) == (kind, said)
        with pytest.raises(kind):
            await first_event(client)


async def test_a_conflict_names_the_owners_and_tells_a_missing_object_from_a_foreign_one() -> None:
    owned = {"reason": "FieldManagerConflict", "field": ".spec.x", "message": 'conflict with "helm" using v1'}
    missing = "uid mismatch: the provided object specified uid 1, and no existing object was found"
    answers = [
        status(409, reason="Conflict", message="Apply failed", details={"causes": [owned]}),
        status(409, reason="Conflict", message=missing),
    ]

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    async with serving(handler) as url, connected(url) as client:
        errors = []
        for _ in range(2):
            with pytest.raises(Conflict) as caught:
                await client.apply(SERVICES, namespace="web", name="shop", body={}, force=False)
            errors.append(caught.value)
    assert [(cause.reason, cause.field, cause.message) for cause in errors[0].causes] == [tuple(owned.values())]
    assert [error.object_missing for error in errors] == [False, True]


@pytest.mark.parametrize(
    ("where", "unknown"),
    [
        (".status.phase", {"phase"}),
        (".status.plan[2].fields", {"plan"}),
        (".status.nodes.total", {"nodes"}),
        (".spec.x", set()),
    ],
)
def test_a_schema_that_is_outdated_names_what_it_does_not_know_of_a_status(where: str, unknown: set[str]) -> None:
    message = (
        f"failed to create typed patch object (n/p; nodeport-access.io/v1alpha1): {where}: field not declared in schema"
    )
    assert SchemaOutdated(status=500, reason="", message=message).unknown_to_status == unknown


async def test_a_refusal_that_does_not_say_what_is_missing_is_one_to_create() -> None:
    said = ['networkpolicies.networking.k8s.io "shop" is forbidden: ', 'networkpolicies "shop" is forbidden: why']

    async def handler(_: web.Request) -> web.Response:
        return status(403, message=said.pop(0))

    async with serving(handler) as url, connected(url) as client:
        told = []
        for _ in range(2):
            with pytest.raises(Forbidden) as caught:
                await client.apply(NETWORK_POLICIES, namespace="web", name="shop", body={}, force=False)
            told.append(caught.value.message)
    missing = 'cannot create resource "networkpolicies" in API group "networking.k8s.io"'
    assert told == [
        f'networkpolicies.networking.k8s.io "shop" is forbidden: {missing}',
        'networkpolicies "shop" is forbidden: why',
    ]


async def test_a_namespace_that_is_going_is_told_from_a_missing_permission() -> None:
    details = {"causes": [{"reason": "NamespaceTerminating", "message": "going", "field": "metadata.namespace"}]}
    answers = [status(403, details=details), status(403)]

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    async with serving(handler) as url, connected(url) as client:
        going = []
        for _ in range(2):
            with pytest.raises(Forbidden) as caught:
                await client.apply(SERVICES, namespace="web", name="shop", body={}, force=False)
            going.append(caught.value.namespace_terminating)
    assert going == [True, False]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (lambda: web.Response(status=429, headers={"Retry-After": "7"}), 7.0),
        (lambda: web.Response(status=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), None),
        (lambda: status(504, details={"retryAfterSeconds": 3}), 3.0),
        (lambda: web.Response(status=503), None),
    ],
)
async def test_the_api_server_may_name_the_time_of_the_next_try(answer: Any, seconds: float | None) -> None:
    async def handler(_: web.Request) -> web.Response:
        response: web.Response = answer()
        return response

    async with serving(handler) as url, connected(url) as client:
        with pytest.raises(Unreachable) as caught:
            await client.list(SERVICES)
    assert caught.value.retry_after == seconds


async def test_an_api_server_that_is_not_there_is_unreachable_and_counted_as_no_answer() -> None:
    async with serving(answering(200)) as url:
        pass
    seen: list[tuple[str, str, int]] = []
    async with connected(url, observer=lambda verb, what, code, _: seen.append((verb, what, code))) as client:
        with pytest.raises(Unreachable, match=f"^{url} cannot be reached: ") as caught:
            await client.list(NETWORK_POLICIES)
        with pytest.raises(Unreachable):
            await first_event(client)
    assert caught.value.status == 0
    assert seen == [("list", "networkpolicies", 0), ("watch", "services", 0)]


async def test_every_answer_is_counted_by_its_code() -> None:
    now = iter(range(100))
    answers = [web.json_response({}), status(401), status(404)]

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    seen: list[tuple[str, str, int, float]] = []
    async with (
        serving(handler) as url,
        connected(url, observer=lambda *it: seen.append(it), time=lambda: float(next(now))) as client,
    ):
        await client.get(SERVICES, namespace="web", name="shop")
        with pytest.raises(NotFound):
            await client.get(PODS, namespace="web", name="shop")
    assert seen == [("get", "services", 200, 1), ("get", "pods", 401, 1), ("get", "pods", 404, 1)]


async def test_a_connection_that_drops_in_the_answer_is_unreachable() -> None:
    async with serving(cut) as url, connected(url) as client:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await client.list(SERVICES)


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_an_api_server_that_does_not_answer_is_given_up(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "REQUEST_SECONDS", 0.1)

    async def mute(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with serving(mute) as url, connected(url) as client:
        ask = client.list(SERVICES) if verb == "list" else first_event(client)
        with pytest.raises(Unreachable, match="did not answer in time"):
            await ask


# --- what goes over the wire ----------------------------------------------------------------------------


async def test_an_apply_carries_manager_force_validation_token_and_the_whole_body() -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response({"metadata": {"uid": "1"}}, status=201 if len(seen) == 1 else 200)

    body = {"metadata": {"name": "shop"}, "spec": {"ingress": [], "egress": []}}
    async with serving(handler) as url, connected(url) as client:
        first = await client.apply(NETWORK_POLICIES, namespace="web", name="shop", body=body, force=False)
        second = await client.apply(NETWORK_POLICIES, namespace="web", name="shop", body=body, force=True)
        written = await client.apply_status(POLICIES, namespace="web", name="shop", body=body)
    assert (first.created, second.created, first.object, written) == (True, False, *[{"metadata": {"uid": "1"}}] * 2)
    assert bodies == [body] * 3
    query = {"fieldManager": "nodeport-access-operator", "fieldValidation": "Ignore"}
    assert [dict(it.query) for it in seen] == [query | {"force": it} for it in ("false", "true", "true")]
    assert [it.path for it in seen] == [
        "/apis/networking.k8s.io/v1/namespaces/web/networkpolicies/shop",
        "/apis/networking.k8s.io/v1/namespaces/web/networkpolicies/shop",
        "/apis/nodeport-access.io/v1alpha1/namespaces/web/nodeportaccesspolicies/shop/status",
    ]
    assert {it.method for it in seen} == {"PATCH"}
    assert {it.headers["Content-Type"] for it in seen} == {"application/apply-patch+yaml"}
    assert {it.headers["Authorization"] for it in seen} == {"Bearer good"}
    assert {it.headers["User-Agent"].partition("/")[0] for it in seen} == {"nodeport-access"}


async def test_a_creation_carries_manager_strictness_and_the_whole_body() -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        return web.json_response({"metadata": {"uid": "1"}}, status=201)

    async with serving(handler) as url, connected(url) as client:
        stored = await client.create(EVENTS, namespace="web", body={"metadata": {"name": "shop.1"}})
    assert stored == {"metadata": {"uid": "1"}}
    assert bodies == [{"metadata": {"name": "shop.1"}}]
    (request,) = seen
    assert (request.method, request.path) == ("POST", "/apis/events.k8s.io/v1/namespaces/web/events")
    assert dict(request.query) == {"fieldManager": "nodeport-access-operator", "fieldValidation": "Strict"}
    assert request.headers["Content-Type"] == "application/json"


def test_paths_are_those_of_the_api_and_names_cannot_lead_out_of_them() -> None:
    assert SERVICES.path() == "/api/v1/services"
    assert SERVICES.path(namespace="web") == "/api/v1/namespaces/web/services"
    assert NODES.path(namespace="web", name="a") == "/api/v1/nodes/a"
    assert POLICIES.path() == "/apis/nodeport-access.io/v1alpha1/nodeportaccesspolicies"
    assert SERVICES.path(namespace="web", name="../x?y") == "/api/v1/namespaces/web/services/..%2Fx%3Fy"
    assert [str(SERVICES), str(POLICIES)] == ["services", "nodeportaccesspolicies.nodeport-access.io"]


async def test_a_deletion_is_guarded_by_uid_and_version_and_an_object_already_gone_is_no_error() -> None:
    bodies: list[Any] = []
    held = {"kind": "Service", "metadata": {"name": "shop", "finalizers": ["example.com/hold"]}}
    answers: list[Any] = [
        held,
        {"kind": "Status", "metadata": {}, "status": "Success"},
        {"kind": "Service", "metadata": {"name": "shop"}},
    ]

    async def handler(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        gone = status(404, reason="NotFound", details={"name": "shop", "kind": "services"})
        return web.json_response(answers.pop(0)) if answers else gone

    async with serving(handler) as url, connected(url) as client:
        left = [
            await client.delete(SERVICES, namespace="web", name="shop", uid="u", resource_version="7") for _ in range(4)
        ]
    assert left == [held, None, None, None]
    assert bodies[0]["preconditions"] == {"uid": "u", "resourceVersion": "7"}


async def test_metadata_is_replaced_under_our_name_on_exactly_the_object_that_was_seen() -> None:
    seen: list[web.Request] = []
    bodies: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        answers = [web.json_response({"metadata": {"uid": "u"}}), status(409, reason="Conflict"), status(404)]
        return answers[len(seen) - 1]

    async def replace(client: Client) -> Any:
        metadata = {"finalizers": [], "ownerReferences": [{"uid": "o"}]}
        return await client.replace_metadata(
            NETWORK_POLICIES, namespace="web", name="shop", uid="u", resource_version="7", metadata=metadata
        )

    async with serving(handler) as url, connected(url) as client:
        assert await replace(client) == {"metadata": {"uid": "u"}}
        for refusal in (Conflict, NotFound):
            with pytest.raises(refusal):
                await replace(client)
    assert bodies[0] == {
        "metadata": {"finalizers": [], "ownerReferences": [{"uid": "o"}], "uid": "u", "resourceVersion": "7"}
    }
    assert (seen[0].method, seen[0].headers["Content-Type"]) == ("PATCH", "application/merge-patch+json")
    assert seen[0].path == "/apis/networking.k8s.io/v1/namespaces/web/networkpolicies/shop"
    assert dict(seen[0].query) == {"fieldManager": "nodeport-access-operator", "fieldValidation": "Strict"}


@pytest.mark.parametrize(
    "answer", [answering(404, text="404 page not found\n"), refusing(404, reason="NotFound", message="no resource")]
)
async def test_a_404_that_speaks_of_no_object_does_not_prove_that_it_is_gone(answer: Handler) -> None:
    async with serving(answer) as url, connected(url) as client:
        with pytest.raises(NotFound) as caught:
            await client.delete(SERVICES, namespace="web", name="shop", uid="u", resource_version="7")
    assert not caught.value.object_missing


async def test_requests_one_after_another_use_one_connection() -> None:
    peers = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response({}) if len(peers) % 2 else status(404)

    async with serving(handler) as url, connected(url) as client:
        for _ in range(10):
            await client.get(SERVICES, namespace="web", name="shop")
    assert len(peers) == 1


async def test_many_watches_leave_room_for_requests() -> None:
    world = ServiceWorld("shop")
    async with serving(world) as url, connected(url) as client, asyncio.TaskGroup() as group:

        async def hold() -> None:
            async with client.watch(SERVICES, resource_version="1", timeout_seconds=300) as events:
                await anext(events)
                standing.release()
                await asyncio.sleep(60)

        standing = asyncio.Semaphore(0)
        tasks = [group.create_task(hold()) for _ in range(120)]
        for _ in tasks:
            await standing.acquire()
        assert len((await client.list(SERVICES)).items) == 1
        for task in tasks:
            task.cancel()


# --- lists ----------------------------------------------------------------------------------------------


def connections_to(url: str) -> int:
    """How many sockets of this process are connected to a server, whoever holds them."""
    port = urlsplit(url).port
    sockets = [found for found in gc.get_objects() if isinstance(found, socket.socket) and found.fileno() != -1]
    peers = []
    for found in sockets:
        if found.family == socket.AF_INET:
            with contextlib.suppress(OSError):  # one that listens has no peer
                peers.append(found.getpeername())
    return sum(peer[1] == port for peer in peers)


async def test_a_stream_that_is_left_leaves_no_connection_behind(tmp_path: Path) -> None:
    authority = Authority(name="servers", now=datetime.datetime.now(datetime.UTC))
    pair = authority.server(hosts=("127.0.0.1",))
    for name, content in (("ca", authority.certificate), ("certificate", pair.public), ("key", pair.private)):
        (tmp_path / name).write_bytes(content)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "certificate", tmp_path / "key")

    async def one_event_and_then_silence(request: web.Request) -> web.StreamResponse:
        response = await opened(request)
        await send(response, bookmark(5))
        await asyncio.sleep(60)
        return response

    async def never() -> Configuration:
        raise AssertionError("the credentials are good")

    async with serving(one_event_and_then_silence, tls=tls) as url:
        configuration = configuration_for(url)
        configuration.ssl_ca_cert = str(tmp_path / "ca")
        client = Client(configuration=configuration, load=never, observer=lambda *_: None)
        try:
            async with client.watch(PODS, resource_version="4", timeout_seconds=300) as events:
                await anext(events)
                assert connections_to(url) == 1
        finally:
            await client.close()
        await asyncio.sleep(0)  # a loop that ends now must not have more to do than this
        assert connections_to(url) == 0


async def test_a_list_in_chunks_is_complete_and_its_items_say_what_they_are() -> None:
    world = ServiceWorld(*(f"s{number:03}" for number in range(25)))
    async with serving(world) as url, connected(url) as client:
        listing = await client.list(SERVICES, limit=10)
    assert [it["metadata"]["name"] for it in listing.items] == sorted(world.services)
    assert listing.resource_version == str(world.version)
    assert {(it["apiVersion"], it["kind"]) for it in listing.items} == {("v1", "Service")}
    assert world.asked == ["list"] * 3


async def test_a_continue_token_that_expires_begins_the_list_again() -> None:
    world = ServiceWorld(*(f"s{number:03}" for number in range(25)))

    async def first_chunk_then_compaction(request: web.Request) -> web.Response:
        response = await world.list(request)
        await world.delete("s001")
        world.forget()
        return response

    world.list_faults = [first_chunk_then_compaction]
    async with serving(world) as url, connected(url) as client:
        listing = await client.list(SERVICES, limit=10)
    assert {it["metadata"]["name"] for it in listing.items} == world.services.keys()
    assert len(listing.items) == 24


async def test_a_continue_token_that_expires_twice_is_told_to_the_caller() -> None:
    world = ServiceWorld(*(f"s{number:03}" for number in range(25)))

    async def first_chunk_then_compaction(request: web.Request) -> web.Response:
        response = await world.list(request)
        world.forget()
        return response

    world.list_faults = [first_chunk_then_compaction, world.list, first_chunk_then_compaction]
    async with serving(world) as url, connected(url) as client:
        with pytest.raises(Gone):
            await client.list(SERVICES, limit=10)


async def test_an_empty_collection_may_be_null_and_what_is_no_list_is_refused() -> None:
    answers: list[Any] = [{"metadata": {"resourceVersion": "5"}, "items": None}, {"items": []}]

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(answers.pop(0))

    async with serving(handler) as url, connected(url) as client:
        listing = await client.list(SERVICES)
        assert (listing.items, listing.resource_version) == ((), "5")
        with pytest.raises(Unreachable, match="the answer to a list of services is not a list"):
            await client.list(SERVICES)


# --- streams --------------------------------------------------------------------------------------------


def sending(*lines: bytes) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = await opened(request)
        for line in lines:
            await response.write(line)
        return response

    return handler


def line(kind: str, version: int) -> bytes:
    metadata = {"name": "shop", "resourceVersion": str(version)}
    return json.dumps({"type": kind, "object": {"metadata": metadata}}).encode() + b"\n"


BROKEN_STREAMS: list[tuple[Handler, type[ApiError], str]] = [
    (sending(line("ADDED", 1), json.dumps(expired()).encode() + b"\n"), Gone, "410 Expired: too old resource version"),
    (
        sending(line("ADDED", 1), b'{"type": "ERROR", "object": {"code": 500, "message": "etcd"}}\n'),
        Unreachable,
        "500 Internal Server Error: etcd",
    ),
    (half_a_line, Unreachable, "the stream broke off in the middle of an event"),
    (sending(line("ADDED", 1), line("ADDED", 2)[:-1]), Unreachable, "the stream broke off in the middle of an event"),
    (cut, Unreachable, "127.0.0.1 cannot be reached: "),
    (sending(b"<html>\n"), Unreachable, "the answer is not JSON: "),
    (sending(b'{"type": "ADDED", "object": {}}\n'), Unreachable, "the stream holds what is not an event: "),
    (sending(b'{"type": "ADDED", "object": {"metadata": null}}\n'), Unreachable, "the stream holds what is not"),
    (
        sending(b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "1"}}}\n'),
        Unreachable,
        "the stream holds what is not an event: ",
    ),
    (sending(b'{"object": 1}\n'), Unreachable, "the stream holds what is not an event: "),
    (sending(b" " * 5_000_000, b"\n"), Unreachable, "127.0.0.1 cannot be reached: "),
]


@pytest.mark.parametrize(("handler", "kind", "said"), BROKEN_STREAMS)
async def test_a_broken_stream_says_how_it_broke(handler: Handler, kind: type[ApiError], said: str) -> None:
    async with serving(handler) as url, connected(url) as client:
        with pytest.raises(ApiError) as caught:
            await all_events(client)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(said)


async def test_a_silent_stream_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 0.1)
    async with serving(silent) as url, connected(url) as client:
        with pytest.raises(Unreachable, match="did not answer in time"):
            await first_event(client)


async def test_a_watch_asks_for_bookmarks_from_its_version_and_ends_with_the_stream() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        response = await opened(request)
        await send(response, bookmark(9))
        return response

    options: Any = {"namespace": "web", "resource_version": "7", "metadata_only": True, "timeout_seconds": 300}
    async with serving(handler) as url, connected(url) as client, client.watch(SERVICES, **options) as events:
        got = [(event.type, event.resource_version) async for event in events]
    assert got == [("BOOKMARK", "9")]
    assert seen[0].path == "/api/v1/namespaces/web/services"
    assert dict(seen[0].query) == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "300",
    }
    assert seen[0].headers["Accept"] == "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


# --- credentials that are refused -----------------------------------------------------------------------


class Door:
    """Lets in who has the token of the day; its watch streams stay open."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.streaming = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)  # so that all who come together are refused together
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return status(401, reason="Unauthorized", message="Unauthorized")
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "5"}})
        response = await opened(request)
        self.streaming += 1
        for version in range(1000):
            await send(response, bookmark(version + 1))
            await asyncio.sleep(0.02)
        return response


class Loader:
    """Gives the tokens in turn, and counts how often it was asked."""

    def __init__(self, url: str, *tokens: str) -> None:
        self.url = url
        self.tokens = list(tokens)
        self.loads = 0

    async def __call__(self) -> Configuration:
        self.loads += 1
        await asyncio.sleep(0.01)
        if not self.tokens:
            raise ConfigurationError("kubeconfig x does not exist.")
        return configuration_for(self.url, token=self.tokens.pop(0))


async def test_credentials_are_read_again_once_though_twenty_requests_are_refused_at_once() -> None:
    door = Door("new")
    async with serving(door) as url:
        loader = Loader(url, "new")
        async with connected(url, load=loader) as client:
            before = client.configuration
            listings = await asyncio.gather(*(client.list(SERVICES) for _ in range(20)))
            assert {listing.resource_version for listing in listings} == {"5"}
            assert client.configuration is not before
            await client.get(SERVICES, namespace="web", name="shop")
    assert loader.loads == 1


async def test_a_refusal_that_comes_late_uses_what_was_read_meanwhile() -> None:
    late, now = asyncio.Event(), [0.0]

    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("/late"):
            await late.wait()
        if request.headers["Authorization"] != "Bearer new":
            return status(401)
        return web.json_response({})

    async with serving(handler) as url:
        loader = Loader(url, "new", "not to be read")
        async with connected(url, load=loader, time=lambda: now[0]) as client:
            waiting = asyncio.create_task(client.get(SERVICES, namespace="web", name="late"))
            await client.get(SERVICES, namespace="web", name="early")
            now[0] += 10 * wire.RENEWAL_PAUSE_SECONDS
            late.set()
            assert await waiting == {}
    assert loader.loads == 1


async def test_a_running_watch_outlives_the_credentials_it_was_opened_with() -> None:
    door = Door("good")
    async with serving(door) as url:
        loader = Loader(url, "new")
        async with connected(url, load=loader) as client:
            async with client.watch(SERVICES, resource_version="1", timeout_seconds=300) as events:
                first = await anext(events)
                door.token = "new"
                await client.list(SERVICES)
                assert loader.loads == 1
                later = [await anext(events) for _ in range(5)]
                assert int(later[-1].resource_version) == int(first.resource_version) + 5
            async with client.watch(SERVICES, resource_version="1", timeout_seconds=300) as events:
                await anext(events)


async def test_credentials_that_stay_refused_are_not_read_at_every_request() -> None:
    now = [0.0]
    async with serving(Door("never")) as url:
        loader = Loader(url, "a", "b", "c")
        async with connected(url, load=loader, time=lambda: now[0]) as client:
            for _ in range(3):
                with pytest.raises(Unauthorized, match=r"^401 Unauthorized: Unauthorized$"):
                    await client.list(SERVICES)
            assert loader.loads == 1
            now[0] += wire.RENEWAL_PAUSE_SECONDS
            with pytest.raises(Unauthorized):
                await first_event(client)
            assert loader.loads == 2


async def test_credentials_that_cannot_be_read_again_are_an_answer_with_the_reason_and_not_the_end() -> None:
    door = Door("new")
    now = [0.0]
    async with serving(door) as url:
        loader = Loader(url)
        async with connected(url, load=loader, time=lambda: now[0]) as client:
            with pytest.raises(Unauthorized, match="not to be read again: kubeconfig x does not exist"):
                await client.list(SERVICES)
            loader.tokens = ["new"]
            now[0] += wire.RENEWAL_PAUSE_SECONDS
            assert (await client.list(SERVICES)).resource_version == "5"


# --- sessions for somebody else's requests ------------------------------------------------------------


class Teller:
    """Holds what was told of requests."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def __call__(self, verb: str, path: str, error: ApiError | None) -> None:
        self.heard.append((verb, path, type(error).__name__ if error else "ok"))


async def asked(lent: Lent, path: str = "/things", **query: str) -> tuple[int, str]:
    """What somebody gets who asks on a lent session."""
    async with lent.session.get(f"{lent.server}{path}", params=query) as response:
        return response.status, await response.text()


async def test_a_lent_session_carries_the_credentials_and_tells_what_becomes_of_requests() -> None:
    told, observed = Teller(), []
    async with (
        serving(Door("good")) as url,
        connected(url, observer=lambda *request: observed.append(request[:3])) as client,
    ):
        lent = await client.lender(told=told).lend()
        async with lent.session:
            assert (await asked(lent, "/things"))[0] == 200
            async with lent.session.get(f"{url}/things", params={"watch": "true"}) as stream:
                assert stream.status == 200
    assert told.heard == [("get", "/things", "ok"), ("watch", "/things", "ok")]
    assert observed == [("get", "things", 200), ("watch", "things", 200)]


async def test_what_we_list_ourselves_the_borrower_lists_without_its_items() -> None:
    told, asked_for = Teller(), []

    async def answer(request: web.Request) -> web.Response:
        asked_for.append(request.path_qs)
        return web.json_response({"metadata": {"resourceVersion": "5"}})

    async with serving(answer) as url, connected(url) as client:
        lent = await client.lender(told=told, listed=["/things"]).lend()
        async with lent.session:
            await asked(lent, "/things", limit="500")
            await asked(lent, "/things", watch="true", resourceVersion="5")
            await asked(lent, "/others", limit="500")
    assert asked_for == [
        "/things?limit=500&labelSelector=nodeport-access.io/none",
        "/things?watch=true&resourceVersion=5",
        "/others?limit=500",
    ]
    assert told.heard == [("get", "/things", "ok"), ("watch", "/things", "ok"), ("get", "/others", "ok")]


async def test_a_refusal_is_told_in_our_words_and_can_still_be_read() -> None:
    told = Teller()
    async with serving(refusing(403, reason="Forbidden", message="not yours")) as url, connected(url) as client:
        lent = await client.lender(told=told).lend()
        async with lent.session:
            code, text = await asked(lent)
    assert code == 403
    assert json.loads(text)["message"] == "not yours"
    assert told.heard == [("get", "/things", "Forbidden")]


@pytest.mark.parametrize(("verb", "query"), [("get", {}), ("watch", {"watch": "true"})])
async def test_a_borrower_who_asks_the_same_again_and_again_is_slowed_down_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, verb: str, query: dict[str, str]
) -> None:
    monkeypatch.setattr(lending, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(lending, "MOST_PAUSES", 5)
    told, now = Teller(), 0.0
    async with serving(answering(200, text="{}")) as url, connected(url, time=lambda: now) as client:
        lent = await client.lender(told=told).lend()
        async with lent.session:
            begin = time.monotonic()
            for _ in range(8):
                assert (await asked(lent, **query))[0] == 200
            assert time.monotonic() - begin >= 0.01 * (1 + 2 + 3 + 4 + 5 + 5 + 5)
            assert told.heard == [
                *[(verb, "/things", "ok")] * 2,
                *[(verb, "/things", outcome) for outcome in ("Unreachable", "ok")] * 6,
            ]
            now += lending.SOON_SECONDS
            assert (await asked(lent, **query))[0] == 200
            assert len(told.heard) == 15, "a second later it is no row any more"


async def test_the_pages_of_a_list_are_not_slowed_down() -> None:
    told = Teller()
    async with serving(answering(200, text="{}")) as url, connected(url) as client:
        lent = await client.lender(told=told).lend()
        async with lent.session:
            for page in "abc":
                assert (await asked(lent, **{"continue": page}))[0] == 200
    assert told.heard == [("get", "/things", "ok")] * 3


async def test_an_api_server_that_is_not_there_is_told_and_still_an_error_to_the_borrower() -> None:
    told = Teller()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # taken, and not listened on
        async with connected(f"http://127.0.0.1:{bound.getsockname()[1]}") as client:
            lent = await client.lender(told=told).lend()
            async with lent.session:
                with pytest.raises(aiohttp.ClientConnectionError):
                    await asked(lent)
    assert told.heard == [("get", "/things", "Unreachable")]


async def test_a_lent_session_follows_credentials_that_were_read_again_meanwhile() -> None:
    door = Door("good")
    async with serving(door) as url:
        loader = Loader(url, "new")
        async with connected(url, load=loader) as client:
            lent = await client.lender(told=Teller()).lend()
            async with lent.session:
                assert (await asked(lent))[0] == 200
                door.token = "new"
                assert (await asked(lent))[0] == 401
                await client.list(SERVICES)
                assert (await asked(lent))[0] == 200
    assert loader.loads == 1


async def test_who_comes_back_for_another_session_has_the_credentials_read_again_but_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lending, "RENEWAL_PAUSE_SECONDS", 0.2)
    async with serving(Door("new")) as url:
        loader = Loader(url, "new")
        async with connected(url, load=loader) as client:
            lender = client.lender(told=Teller())
            began = time.monotonic()
            for expected in (401, 200):
                lent = await lender.lend()
                async with lent.session:
                    assert (await asked(lent))[0] == expected
            assert time.monotonic() - began >= 0.2
    assert loader.loads == 1


async def test_credentials_that_cannot_be_read_again_are_lent_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "RENEWAL_PAUSE_SECONDS", 0.0)
    async with serving(Door("new")) as url, connected(url, load=Loader(url)) as client:
        lender = client.lender(told=Teller())
        for _ in range(2):
            lent = await lender.lend()
            async with lent.session:
                assert (await asked(lent))[0] == 401


async def test_a_lent_session_verifies_the_server_as_the_client_does_and_by_the_name_that_the_kubeconfig_gives(
    tmp_path: Path,
) -> None:
    authority = Authority(name="servers", now=datetime.datetime.now(datetime.UTC), key_identifiers=False)
    pair = authority.server(hosts=["kubernetes"])
    (tmp_path / "server.pem").write_bytes(pair.public + pair.private)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    async with serving(Door("good"), tls=tls) as url:
        cluster = {
            "server": url,
            "certificate-authority-data": base64.b64encode(authority.certificate).decode(),
            "tls-server-name": "kubernetes",
        }
        file = kubeconfig(tmp_path, cluster=cluster, user={"token": "good"})
        client = Client(configuration=await load(file), load=lambda: load(file), observer=lambda *_: None)
        try:
            lent = await client.lender(told=Teller()).lend()
            async with lent.session:
                assert (await asked(lent))[0] == 200
        finally:
            await client.close()
