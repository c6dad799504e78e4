"""Offers of permessage-deflate and what is answered: RFC 7692 section 7.1."""

from __future__ import annotations

import pytest

from mdstream.gateway.extensions import Deflate, negotiate

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WIDE = Deflate(15, PLAIN)
NARROW = Deflate(9, f"{PLAIN}; server_max_window_bits=9")


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        ([], None),
        ([""], None),
        (["permessage-deflate"], WIDE),
        ([" permessage-deflate ,"], WIDE),
        (["permessage-deflate; client_max_window_bits"], WIDE),
        (["permessage-deflate; client_max_window_bits=8"], WIDE),
        (['permessage-deflate;client_max_window_bits = "15"'], WIDE),
        (["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], WIDE),
        (
            ["permessage-deflate; server_max_window_bits=15"],
            Deflate(15, f"{PLAIN}; server_max_window_bits=15"),
        ),
        (["permessage-deflate; server_max_window_bits=14"], NARROW),
        (["permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"], NARROW),
        (["permessage-deflate; server_max_window_bits=9"], NARROW),
        # declined
        (["permessage-deflate; server_max_window_bits=8"], None),
        (["permessage-deflate; server_max_window_bits"], None),
        (["permessage-deflate; server_max_window_bits=7"], None),
        (["permessage-deflate; server_max_window_bits=16"], None),
        (["permessage-deflate; server_max_window_bits=010"], None),
        (["permessage-deflate; server_max_window_bits=+9"], None),
        (["permessage-deflate; client_max_window_bits=16"], None),
        (["permessage-deflate; client_max_window_bits=nine"], None),
        (["permessage-deflate; server_no_context_takeover=1"], None),
        (["permessage-deflate; client_no_context_takeover=true"], None),
        (["permessage-deflate; client_max_window_bits; client_max_window_bits=9"], None),
        (["permessage-deflate; server_no_context_takeover; server_no_context_takeover"], None),
        (["permessage-deflate; x"], None),
        (["x-webkit-deflate-frame"], None),
        # the first that will do
        (["permessage-deflate; server_max_window_bits=8, permessage-deflate"], WIDE),
        (["permessage-deflate; mode=fast", "permessage-deflate; server_max_window_bits=10"], NARROW),
        (["permessage-bzip2; level=9, permessage-deflate"], WIDE),
        (["permessage-deflate; server_max_window_bits=10, permessage-deflate"], NARROW),
    ],
)
def test_offers_and_answers(offered: list[str], agreed: Deflate | None) -> None:
    assert negotiate(offered) == agreed


@pytest.mark.parametrize(
    "malformed",
    [
        "permessage deflate",
        "permessage-deflate;",
        "permessage-deflate; =9",
        "permessage-deflate; client_max_window_bits=",
        'permessage-deflate; client_max_window_bits="9',
        'permessage-deflate; client_max_window_bits="9 "',
        "; client_max_window_bits",
        "permessage-deflate; a\x00",
        "permessage-deflate\n",
    ],
)
def test_what_is_no_list_of_extensions(malformed: str) -> None:
    with pytest.raises(ValueError, match="character"):
        negotiate(["permessage-deflate", malformed])
