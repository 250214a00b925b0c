"""Bind addresses and namespaces are taken in every common form, and refused with one sentence in every other."""

from __future__ import annotations

import pytest

from nodeport_access.settings import BindAddress, parse_bind_address, parse_namespace


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:8080", "0.0.0.0", 8080),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost:65535", "localhost", 65535),
        (":8080", "0.0.0.0", 8080),
        ("[::]:8080", "::", 8080),
        ("[::1]:08080", "::1", 8080),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_bind_address(text) == BindAddress(host, port)


@pytest.mark.parametrize(
    "text",
    ["", "8080", "localhost", "localhost:", "localhost:http", "localhost:65536", "localhost:-1", "::1:8080", "a:²"],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as 0\.0\.0\.0:8080") as refused:
        parse_bind_address(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:8080"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_bind_address(text)) == text


@pytest.mark.parametrize("text", ["shop", "a", "team-7", "x" * 63])
def test_a_namespace_is_a_label(text: str) -> None:
    assert parse_namespace(text) == text


@pytest.mark.parametrize(
    "text", ["", "*", "team-*", "!shop", "shop,tools", "Shop", "-shop", "shop-", "x" * 64, "a/b", "a\n"]
)
def test_a_pattern_or_a_list_is_no_namespace(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a namespace"):
        parse_namespace(text)
