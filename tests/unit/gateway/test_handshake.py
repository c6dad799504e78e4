from __future__ import annotations

import pytest
from multidict import CIMultiDict
from picows import WSUpgradeRequest

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.extensions import negotiate
from mdstream.gateway.handshake import MOST_ITEMS, Accepted, Refused, decide

GOOD = [
    ("Host", "localhost"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]


def request(*more: tuple[str, str], without: str = "", path: bytes = b"/v1/stream") -> WSUpgradeRequest:
    made = WSUpgradeRequest()
    made.method, made.version, made.path = b"GET", b"HTTP/1.1", path
    made.headers = CIMultiDict([(name, value) for name, value in GOOD if name != without] + list(more))
    return made


def offering(*values: str) -> WSUpgradeRequest:
    return request(*[("Sec-WebSocket-Protocol", value) for value in values])


def test_without_an_offer_it_is_json_and_nothing_is_echoed() -> None:
    assert decide(request()) == Accepted(JSON, None)
    assert decide(request(path=b"/v1/stream?token=x")) == Accepted(JSON, None)


@pytest.mark.parametrize(
    ("offered", "format", "echoed"),
    [
        (["mdstream.v1.json"], JSON, "mdstream.v1.json"),
        (["mdstream.v1.msgpack"], MSGPACK, "mdstream.v1.msgpack"),
        (["mdstream.v9.cbor, mdstream.v1.msgpack,mdstream.v1.json"], MSGPACK, "mdstream.v1.msgpack"),
        (["chat", "mdstream.v1.json"], JSON, "mdstream.v1.json"),
        (["bearer.abc.def, mdstream.v1.msgpack"], MSGPACK, "mdstream.v1.msgpack"),
        (["mdstream.v1.json", "bearer.abc"], JSON, "mdstream.v1.json"),
        (["bearer.abc"], JSON, None),
        (["mdstream.v1.msgpack,"], MSGPACK, "mdstream.v1.msgpack"),
        ([", ,mdstream.v1.msgpack"], MSGPACK, "mdstream.v1.msgpack"),
        (["", "mdstream.v1.msgpack"], MSGPACK, "mdstream.v1.msgpack"),
    ],
)
def test_the_first_known_subprotocol_is_taken_and_a_token_never_echoed(
    offered: list[str], format: int, echoed: str | None
) -> None:
    assert decide(offering(*offered)) == Accepted(format, echoed)


@pytest.mark.parametrize(
    "offered", ["chat", "mdstream.v2.json", "mdstream.v1.JSON", "", ",", "a,,b", "mdstream.v1.json;x", "a b"]
)
def test_offers_that_are_refused(offered: str) -> None:
    verdict = decide(offering(offered))
    assert isinstance(verdict, Refused)
    assert verdict.status == 400


@pytest.mark.parametrize(
    "path", [b"/", b"/v1", b"/v1/stream/", b"/v1/streams", b"/V1/stream", b"//v1/stream", b"*", b"?"]
)
def test_other_paths_are_404_even_when_busy(path: bytes) -> None:
    verdict = decide(request(path=path), busy="full")
    assert isinstance(verdict, Refused)
    assert verdict.status == 404


def test_busy_is_503_with_retry_after_before_anything_is_judged() -> None:
    verdict = decide(request(without="Host"), busy="draining", retry_after_s=7)
    assert verdict == Refused(503, "draining", (("Retry-After", "7"),))


@pytest.mark.parametrize("name", [name for name, _ in GOOD])
def test_a_missing_header_is_400_and_named(name: str) -> None:
    verdict = decide(request(without=name))
    assert isinstance(verdict, Refused)
    assert verdict.status == 400
    assert name in verdict.reason


@pytest.mark.parametrize("name", ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"])
def test_a_repeated_header_is_400_and_named(name: str) -> None:
    verdict = decide(request((name, "13")))
    assert isinstance(verdict, Refused)
    assert verdict.status == 400
    assert name in verdict.reason


def test_another_version_is_400_and_told_which_there_is() -> None:
    verdict = decide(request(("Sec-WebSocket-Version", "8"), without="Sec-WebSocket-Version"))
    assert verdict == Refused(400, "the WebSocket version must be 13", (("Sec-WebSocket-Version", "13"),))


def test_lists_as_browsers_send_them_are_understood_and_normalised_for_picows() -> None:
    made = request(("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket"), without="Connection")
    assert decide(made) == Accepted(JSON, None)
    assert made.headers["Connection"].lower() == "upgrade"
    assert made.headers["Upgrade"].lower() == "websocket"


def test_permessage_deflate_is_agreed_on_where_it_is_offered_and_allowed() -> None:
    offer = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")
    assert decide(request(offer)) == Accepted(JSON, None, negotiate([offer[1]]))
    assert decide(request(offer), compression=False) == Accepted(JSON, None)


def test_extensions_that_cannot_be_read_are_400() -> None:
    malformed = ("Sec-WebSocket-Extensions", "permessage-deflate;")
    verdict = decide(request(malformed))
    assert isinstance(verdict, Refused)
    assert (verdict.status, "Sec-WebSocket-Extensions" in verdict.reason) == (400, True)
    assert decide(request(malformed), compression=False) == Accepted(JSON, None)


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("Upgrade", "websocket"),
        ("Connection", "upgrade"),
        ("Sec-WebSocket-Protocol", "mdstream.v1.json"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
    ],
)
def test_a_list_is_read_up_to_so_many_items(name: str, item: str) -> None:
    def asking(items: int, lists: int) -> Accepted | Refused:
        value = item + "," * (items // lists - 1)
        return decide(request(*[(name, value)] * lists, without=name))

    assert isinstance(asking(MOST_ITEMS, 1), Accepted)
    for lists in (1, 2, 100):
        verdict = asking(MOST_ITEMS + lists, lists)
        assert isinstance(verdict, Refused)
        assert verdict.reason == f"the header {name} lists more than 100 items"


def test_another_method_is_400_and_named() -> None:
    made = request()
    made.method = b"POST"
    assert decide(made) == Refused(
        400, "a WebSocket upgrade is a GET request, not POST", (("Sec-WebSocket-Version", "13"),)
    )


def test_http_1_0_is_400_and_told_what_a_proxy_must_do() -> None:
    made = request()
    made.version = b"HTTP/1.0"
    verdict = decide(made)
    assert isinstance(verdict, Refused)
    assert verdict.status == 400
    assert "HTTP/1.1" in verdict.reason and "proxy_http_version 1.1" in verdict.reason


@pytest.mark.parametrize("path", [b"/", b"*", b"/v1/stream", b"/v1/stream?x"])
def test_options_are_what_health_checks_ask_for(path: bytes) -> None:
    made = request(path=path)
    made.method = b"OPTIONS"
    verdict = decide(made)
    assert isinstance(verdict, Refused)
    assert (verdict.status, verdict.headers) == (200, (("Allow", "GET, HEAD, OPTIONS"),))
    busy = decide(made, busy="full", retry_after_s=3)
    assert busy == Refused(503, "full", (("Retry-After", "3"),))
    made.path = b"/other"
    assert isinstance(elsewhere := decide(made), Refused) and elsewhere.status == 404
