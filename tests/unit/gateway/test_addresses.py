from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdstream._core.entry.networks import site_of
from mdstream.gateway.addresses import (
    UNKNOWN,
    Networks,
    parse_address,
    parse_network,
    shown_address,
)

addresses = st.ip_addresses()


@given(addresses)
def test_an_address_survives_text_and_bytes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    plain = mapped or address
    assert parse_address(str(address)) == plain.packed
    assert ipaddress.ip_address(shown_address(plain.packed)) == plain


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "01.2.3.4", "1.2.3.4.5", "256.1.1.1", "fe80::1%eth0", "::g", "a", "1.2.3.4:80", "[::1]", "\x00", "1.2.3.4\x00", "é"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


def test_ipv4_is_ipv4_also_where_it_comes_in_ipv6() -> None:
    assert parse_address("::ffff:203.0.113.7") == parse_address("203.0.113.7") == bytes((203, 0, 113, 7))


def test_a_site_is_an_address_or_a_64() -> None:
    def site(text: str) -> str:
        return shown_address(site_of(parse_address(text) or b""))

    assert site("203.0.113.7") == "203.0.113.7"
    assert site("2001:db8:1:2::1") == site("2001:db8:1:2:ffff::2") == "2001:db8:1:2::/64"
    assert site("2001:db8:1:3::1") == "2001:db8:1:3::/64"
    assert shown_address(site_of(UNKNOWN)) == "an unknown address"


@given(addresses, st.integers(0, 128), addresses)
def test_networks_hold_what_the_library_says(network: object, bits: int, address: object) -> None:
    made = ipaddress.ip_network((int(network), min(bits, network.max_prefixlen)), strict=False)  # type: ignore[call-overload, attr-defined]
    if network.version == 6:  # type: ignore[attr-defined]
        made = ipaddress.ip_network((network, bits), strict=False)
    for each in (address, network):
        plain = getattr(each, "ipv4_mapped", None) or each
        assert (plain.packed in Networks([str(made)])) == (plain in made)  # type: ignore[attr-defined]


def test_no_network_holds_an_unknown_address() -> None:
    assert UNKNOWN not in Networks(["0.0.0.0/0", "::/0"])
    assert not Networks([])


@pytest.mark.parametrize("text", ["10.0.0.1/8", "host", "", "10.0.0.0/33", "fe80::%1/64/2"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError):
        parse_network(text)
