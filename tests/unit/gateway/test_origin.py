from __future__ import annotations

import pytest

from mdstream.gateway.origin import REMEMBERED, Origins

HOST = b"gw.example.com"


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, HOST, True),
        (b"https://gw.example.com", HOST, True),
        (b"http://gw.example.com", HOST, True),
        (b"https://GW.example.com", b"gw.EXAMPLE.com", True),
        (b"https://gw.example.com", b"gw.example.com:443", True),
        (b"https://gw.example.com:8443", b"gw.example.com:8443", True),
        (b"http://127.0.0.1:8080", b"127.0.0.1:8080", True),
        (b"http://[::1]:8080", b"[::1]:8080", True),
        (b"https://gw.example.com:8443", HOST, False),
        (b"https://evil.example", HOST, False),
        (b"https://gw.example.com.evil.example", HOST, False),
        (b"https://evil.example/gw.example.com", HOST, False),
        (b"https://gw.example.com@evil.example", HOST, False),
        (b"https://gw.example.com/", HOST, False),
        (b"null", HOST, False),
        (b"", HOST, False),
        (b"file://", HOST, False),
        (b"chrome-extension://abc", HOST, False),
        (b"https://gw.example.com:99999", b"gw.example.com:99999", False),
        (b"https://gw.example.com https://evil.example", HOST, False),
        (b"https://" + b"a" * 600, b"a" * 600, False),
        (b"https://gw\xff", b"gw\xff", True),
    ],
)
def test_by_default_pages_of_the_own_host_and_port_may_connect(
    origin: bytes | None, host: bytes, allowed: bool
) -> None:
    origins = Origins()
    assert [origins.allows(origin, host) for _ in range(2)] == [allowed, allowed]


@pytest.mark.parametrize(
    ("rule", "origin", "allowed"),
    [
        ("https://app.example.com", b"https://app.example.com", True),
        ("https://app.example.com", b"http://app.example.com", False),
        ("https://app.example.com", b"https://app.example.com:8443", False),
        ("https://app.example.com", b"https://gw.example.com", False),
        ("https://app.example.com:443", b"https://app.example.com", True),
        ("https://*.example.com", b"https://a.b.example.com", True),
        ("https://*.example.com", b"https://example.com", False),
        ("https://*.example.com", b"https://.example.com", False),
        ("https://*.example.com", b"https://evilexample.com", False),
        ("http://localhost:*", b"http://localhost:3000", True),
        ("http://localhost:*", b"http://localhost", True),
        ("*", b"https://evil.example", True),
        ("*", b"null", True),
    ],
)
def test_a_list_says_which_others_may(rule: str, origin: bytes, allowed: bool) -> None:
    assert Origins([rule]).allows(origin, HOST) == allowed


@pytest.mark.parametrize(
    "rule",
    ["", "app.example.com", "https://", "https://a.*.com", "https://a/b", "ftp://a", "null", "https://*"],
)
def test_rules_that_are_none(rule: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        Origins([rule])


def test_on_loopback_a_name_of_elsewhere_is_not_the_own_one() -> None:
    origins = Origins(any_host=False)
    for own in (b"localhost:8080", b"127.0.0.1:8080", b"[::1]:8080", b"app.localhost:8080"):
        assert origins.allows(b"http://" + own, own)
    assert not origins.allows(b"http://rebound.example:8080", b"rebound.example:8080")


def test_what_is_remembered_is_bounded() -> None:
    origins = Origins()
    for i in range(REMEMBERED + 10):
        assert not origins.allows(b"https://evil%d.example" % i, HOST)
    assert len(origins._known) == REMEMBERED
    assert origins.allows(b"https://gw.example.com", HOST)
    assert (b"https://gw.example.com", HOST) in origins._known
    assert not origins.allows(b"https://evil.example/" + b"x" * 10_000, HOST)
    assert len(origins._known) == REMEMBERED
    assert max(map(len, [origin for origin, _ in origins._known])) < 100
