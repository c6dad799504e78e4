"""Which names the admin pages may be asked for by."""

from __future__ import annotations

import pytest

from mdstream.gateway.hosts import Hosts, hosts_of


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8081", True),
        ("localhost.:8081", True),
        ("127.0.0.1:8081", True),
        ("[::1]:8081", True),
        ("10.1.2.3", True),
        ("gateway-1.internal:8081", True),
        ("Metrics.Example", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("gateway-1.internal.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:80@evil.example", False),
        ("evil.example:8081:1", False),
        ("", False),
        ("a b", False),
        ("[localhost]", False),
    ],
)
def test_known_names_and_addresses(host: str, allowed: bool) -> None:
    assert Hosts("gateway-1.internal", ["metrics.example"]).allow(host) is allowed


def test_a_star_is_every_name() -> None:
    assert Hosts("127.0.0.1", ["*"]).allow("anything.example:1")
    assert not Hosts("127.0.0.1", ["*"]).allow("not a name")


@pytest.mark.parametrize(
    ("head", "hosts"),
    [
        (b"GET / HTTP/1.0", []),
        (b"GET / HTTP/1.1\r\nHost: a:1\r\nX: y", ["a:1"]),
        (b"\r\nGET / HTTP/1.1\r\nX: y\r\nHOST:\t a \t", ["a"]),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil", ["localhost", "evil"]),
        (b"GET http://evil:8081/metrics HTTP/1.1\r\nHost: localhost", ["localhost", "evil:8081"]),
        (b"GET / HTTP/1.1\r\nHost:", [""]),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y", ["a\nX: y"]),
        (b"GET / HTTP/1.1\r\nX-Host: a", []),
    ],
)
def test_whom_a_request_asks(head: bytes, hosts: list[str]) -> None:
    assert hosts_of(head) == hosts


def test_the_time_that_a_host_takes_grows_with_its_length_alone() -> None:
    """With a pattern that reads again and again, this would take hours."""
    long = b"a" + b" " * 1_000_000 + b"b"
    assert hosts_of(b"GET / HTTP/1.1\r\nHost: " + long) == [long.decode()]
