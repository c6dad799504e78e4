from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream.gateway.addresses import Networks, shown_address
from mdstream.gateway.forwarded import MAX_HOPS, MOST_COMMAS, MOST_LINES, forwarded_for, is_short

TRUSTED = Networks(["10.0.0.0/8", "2001:db8:ffff::/48"])
X, F = "x-forwarded-for", "forwarded"


def found(header: str, *lines: str) -> str | None:
    head = "\r\n".join(["GET /v1/stream HTTP/1.1", "Host: a", *lines, "Accept: */*"])
    address = forwarded_for(head.encode("latin-1"), header, TRUSTED)
    return None if address is None else shown_address(address)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], None),
        (["X-Forwarded-For: 203.0.113.7"], "203.0.113.7"),
        (["x-forwarded-for:203.0.113.7"], "203.0.113.7"),
        (["X-Forwarded-For: 1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        (["X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.2,10.0.0.3"], "203.0.113.7"),
        (["X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.0.0.2"], "203.0.113.7"),
        (["X-Forwarded-For: 10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        (["X-Forwarded-For: 127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        (["X-Forwarded-For: 203.0.113.7:4711, [2001:db8:ffff::1]:80"], "203.0.113.7"),
        (["X-Forwarded-For: 2001:db8::1"], "2001:db8::1"),
        (["X-Forwarded-For: [2001:db8::1]"], "2001:db8::1"),
        (["X-Forwarded-For: ::ffff:203.0.113.7"], "203.0.113.7"),
        (["X-Forwarded-For: 1.1.1.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        (["X-Forwarded-For: 1.1.1.1, nonsense"], None),
        (["X-Forwarded-For: "], None),
        (["X-Forwarded-For: , ,203.0.113.7,"], "203.0.113.7"),
        (["Forwarded: for=203.0.113.7"], None),
        (["X-Forwarded-For-Me: 203.0.113.7"], None),
    ],
)  # fmt: skip
def test_the_right_most_hop_that_is_not_trusted_is_the_client(lines: list[str], client: str | None) -> None:
    assert found(X, *lines) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["Forwarded: for=203.0.113.7"], "203.0.113.7"),
        (["Forwarded: for=1.1.1.1, For=203.0.113.7;proto=https;by=10.0.0.1, for=10.0.0.2"], "203.0.113.7"),
        (['Forwarded: proto=http;for="[2001:db8::1]:4711"'], "2001:db8::1"),
        (['Forwarded: for="203.0.113.7:80"'], "203.0.113.7"),
        (["Forwarded: for=1.1.1.1", "Forwarded: for=203.0.113.7"], "203.0.113.7"),
        (['Forwarded: for=1.1.1.1;host="a, for=2.2.2.2"'], "1.1.1.1"),
        (['Forwarded: host="x;for=2.2.2.2";for=1.1.1.1'], "1.1.1.1"),
        (["Forwarded: for=1.1.1.1, for=unknown"], None),
        (["Forwarded: for=1.1.1.1, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (["Forwarded: by=1.1.1.1"], None),
        (['Forwarded: by=10.0.0.1;host="a;for=2.2.2.2;b";for=203.0.113.7'], "203.0.113.7"),
        (['Forwarded: host=";for=2.2.2.2'], None),
        (['Forwarded: for=1.1.1.1;host=", for=203.0.113.7'], "203.0.113.7"),
        (['Forwarded: host="\\", for=203.0.113.7'], "203.0.113.7"),
        (["Forwarded: ;;for=203.0.113.7;;"], "203.0.113.7"),
        (["Forwarded: for=203.0.113.7 x"], None),
        (["X-Forwarded-For: 203.0.113.7"], None),
    ],
)
def test_the_same_in_the_header_of_rfc_7239(lines: list[str], client: str | None) -> None:
    assert found(F, *lines) == client


def test_no_more_than_so_many_proxies_are_looked_at() -> None:
    hops = ", ".join(["203.0.113.7", *["10.0.0.2"] * MAX_HOPS])
    assert found(X, f"X-Forwarded-For: {hops}") == "10.0.0.2"


def test_a_request_is_short_up_to_so_many_commas_and_lines() -> None:
    assert is_short(b"," * MOST_COMMAS + b"\r\n" * MOST_LINES)
    assert not is_short(b"," * (MOST_COMMAS + 1))
    assert not is_short(b"\r\n" * (MOST_LINES + 1))


LONG = 1_000_000


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ('"\\' * LONG, None),
        ('"\\' * LONG + ", for=203.0.113.7", "203.0.113.7"),
        ("for=" + " " * LONG + 'x""', None),
        (" " * LONG + "for=203.0.113.7", "203.0.113.7"),
        (";" * LONG + "for=203.0.113.7", "203.0.113.7"),
        ("," * LONG + "for=203.0.113.7", "203.0.113.7"),
        ('""' * LONG, None),
        ("a=b;" * (LONG // 8), None),
    ],
    ids=[
        "escapes",
        "escapes, then ours",
        "blanks",
        "blanks before",
        "semicolons",
        "commas",
        "quotes",
        "pairs",
    ],
)
def test_the_time_that_a_value_takes_grows_with_its_length_alone(value: str, client: str | None) -> None:
    """With a pattern that reads again and again, each of these would take hours."""
    assert found(F, f"Forwarded: {value}") == client


@given(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60), st.sampled_from([X, F])
)
def test_what_a_client_writes_changes_nothing_right_of_it(nonsense: str, header: str) -> None:
    proxied = "203.0.113.7, 10.0.0.2" if header == X else "for=203.0.113.7, for=10.0.0.2"
    if header == F and (nonsense.count('"') or "\\" in nonsense):
        lines = [f"{header}: {nonsense}", f"{header}: {proxied}"]  # as proxies add a header of their own
    else:
        lines = [f"{header}: {nonsense}, {proxied}"]
    assert found(header, *lines) == "203.0.113.7"
