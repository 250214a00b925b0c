"""Certificates that the strictest verifier accepts, and from which Kubernetes reads the right user."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from testbed.certificates import Authority, KeyPair

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def servers() -> Authority:
    return Authority(name="servers", now=NOW)


@pytest.fixture(scope="module")
def clients() -> Authority:
    return Authority(name="clients", now=NOW)


def loaded(context: ssl.SSLContext, pair: KeyPair, folder: Path, *, trust: Authority) -> ssl.SSLContext:
    file = folder / "pair.pem"
    file.write_bytes(pair.public + pair.private)
    context.load_cert_chain(file)
    context.load_verify_locations(cadata=trust.certificate.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, *, host: str) -> None:
    """A TLS handshake in memory, both sides verified. Raises ssl.SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=host)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    left = {one, other}
    for _ in range(10):
        for side in list(left):
            try:
                side.do_handshake()
                left.discard(side)
            except ssl.SSLWantReadError:
                pass
        if not left:
            return
    raise AssertionError("no end to the handshake")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_both_sides_pass_strict_verification(host: str, servers: Authority, clients: Authority, tmp_path: Path) -> None:
    pair = servers.server(hosts=["localhost", "127.0.0.1", "::1"])
    server = loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair, tmp_path, trust=clients)
    user = clients.client(user="jane", groups=["a"])
    client = loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), user, tmp_path, trust=servers)

    shake_hands(client, server, host=host)


def test_an_authority_without_key_identifiers_is_what_strict_verification_refuses(tmp_path: Path) -> None:
    older = Authority(name="servers of old", now=NOW, key_identifiers=False)
    pair = older.server(hosts=["localhost"])
    server = loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair, tmp_path, trust=older)
    server.verify_mode = ssl.CERT_NONE
    client = ssl.create_default_context(cadata=older.certificate.decode())

    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with pytest.raises(ssl.SSLCertVerificationError, match="Missing Authority Key Identifier"):
        shake_hands(client, server, host="localhost")

    client.verify_flags &= ~ssl.VERIFY_X509_STRICT
    shake_hands(client, server, host="localhost")


def test_an_authority_does_not_vouch_for_the_other_kind(servers: Authority, clients: Authority, tmp_path: Path) -> None:
    pair = clients.client(user="jane")
    impostor = loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair, tmp_path, trust=clients)
    client = loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pair, tmp_path, trust=servers)

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, impostor, host="127.0.0.1")


def test_a_client_is_a_user_with_groups(clients: Authority) -> None:
    pair = clients.client(user="system:kube-proxy", groups=["one", "two"])

    subject = x509.load_pem_x509_certificate(pair.public).subject
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["system:kube-proxy"]
    assert [name.value for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["one", "two"]


def test_certificates_are_good_now_and_for_months_to_come(servers: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(servers.server(hosts=["localhost"]).public)

    assert certificate.not_valid_before_utc < NOW
    assert certificate.not_valid_after_utc > NOW + datetime.timedelta(days=180)
