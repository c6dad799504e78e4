"""The answers that a gateway may give to the client's offer of permessage-deflate: RFC 7692 section 7.1."""

from __future__ import annotations

import pytest

from mdstream.client.compression import OFFER, is_agreed
from mdstream.gateway.extensions import negotiate


@pytest.mark.parametrize(
    "answer",
    [
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate;server_no_context_takeover ;client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
    ],
)
def test_answers_to_the_offer(answer):
    assert is_agreed(answer, offered=True)


def test_our_own_gateway_accepts_the_offer():
    agreed = negotiate([OFFER])
    assert agreed is not None
    assert is_agreed(agreed.answer, offered=True)


def test_no_answer_is_no_compression():
    assert not is_agreed(None, offered=True)
    assert not is_agreed(None, offered=False)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover; x",
        "permessage-deflate; server_no_context_takeover, permessage-deflate; server_no_context_takeover",
        "permessage-bzip2; server_no_context_takeover",
    ],
)
def test_answers_that_the_offer_does_not_allow(answer):
    with pytest.raises(ValueError, match="agreed to the extension"):
        is_agreed(answer, offered=True)


def test_an_answer_without_an_offer_is_refused():
    with pytest.raises(ValueError, match="offered was 'none'"):
        is_agreed("permessage-deflate; server_no_context_takeover", offered=False)
