"""The client with compressed messages, against a scripted gateway."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from picows import WSCloseCode, WSMsgType

from mdstream.client import ConnectionFailed, connect
from mdstream.client import transport_picows as transport
from mdstream.client.compression import OFFER
from support.scripted import Session, live_book, scripted, until

BOTH = pytest.mark.parametrize("name", ["json", "msgpack"])


def packed(payload: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def say_packed(session: Session, *messages: Any) -> None:
    session.transport.send(session.kind, packed(session.encode(*messages)), rsv1=True)


@BOTH
def test_compressed_and_plain_messages_are_read(run, name):
    async def scenario() -> None:
        seen: list[bytes] = []
        async with scripted() as gateway:
            gateway.extensions = f"{OFFER}; server_max_window_bits=9"
            options = {"compression": True, "on_payload": seen.append}
            async with live_book(gateway, name, **options) as (_client, session, book):
                assert gateway.extensions_offered == OFFER
                reached = until(book.on_update, lambda update: update.last == 8)
                say_packed(session, session.delta(6, 6, 8))
                session.say(session.delta(7, 7, 9))
                whole = packed(session.encode(session.delta(8, 8, 4)))
                session.transport.send(session.kind, whole[:5], fin=False, rsv1=True)
                session.transport.send_ping(b"between")
                session.transport.send(WSMsgType.CONTINUATION, whole[5:9], fin=False)
                session.transport.send(WSMsgType.CONTINUATION, whole[9:])
                await reached
                assert book.bids.tolist() == [[100, 4]]
                assert seen[-3:] == [
                    session.encode(session.delta(n, n, lots)) for n, lots in ((6, 8), (7, 9), (8, 4))
                ]

    run(scenario())


def test_a_gateway_that_declines_gets_no_compression(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway, compression=True) as (_client, session, book):
            reached = until(book.on_update, lambda update: update.last == 6)
            session.say(session.delta(6, 6, 8))
            await reached

    run(scenario())


def test_compression_is_offered_only_on_request(run):
    async def scenario() -> None:
        async with scripted() as gateway, connect(gateway.url):
            await gateway.session()
            assert gateway.extensions_offered is None

    run(scenario())


@pytest.mark.parametrize(
    ("compression", "answer"),
    [
        (False, OFFER),
        (True, "permessage-deflate"),
        (True, f"{OFFER}; client_max_window_bits=15"),
        (True, f"{OFFER}, {OFFER}"),
        (True, "x-webkit-deflate-frame"),
    ],
)
def test_an_answer_beyond_the_offer_is_refused(run, compression, answer):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.extensions = answer
            async with connect(gateway.url, compression=compression):
                pass

    with pytest.raises(ConnectionFailed, match=r"agreed to the extension '.*'; offered was "):
        run(scenario())


@pytest.mark.parametrize(
    ("payload", "frame", "code"),
    [
        (b"\xff\xff", {"rsv1": True}, WSCloseCode.INVALID_TEXT),
        (packed(b"{}" * 50)[:-4], {"rsv1": True}, WSCloseCode.INVALID_TEXT),
        (packed(bytes(100_001)), {"rsv1": True}, WSCloseCode.MESSAGE_TOO_BIG),
        (b"{}", {"rsv2": True}, WSCloseCode.PROTOCOL_ERROR),
        (b"{}", {"rsv1": True, "rsv3": True}, WSCloseCode.PROTOCOL_ERROR),
    ],
)
def test_a_corrupt_message_ends_the_connection_and_the_client_reconnects(
    run, monkeypatch, payload, frame, code
):
    async def scenario() -> None:
        async with scripted() as gateway:
            gateway.extensions = OFFER
            async with live_book(gateway, compression=True) as (_client, session, book):
                session.transport.send(session.kind, payload, **frame)
                session.say(session.delta(6, 6, 8))
                assert await session.gone == code
                session = await gateway.session()
                assert (await session.agree(resumed=True))["resume"] == {"SIM:BTC-USD": [1, 5]}
                assert book.seq == 5, "the messages after it are ignored"

    monkeypatch.setattr(transport, "MAX_MESSAGE_BYTES", 100_000)
    run(scenario())


def test_a_reserved_bit_without_an_agreement_ends_the_connection(run):
    async def scenario() -> None:
        async with scripted() as gateway, live_book(gateway, compression=True) as (_client, session, _book):
            say_packed(session, session.delta(6, 6, 8))
            assert await session.gone == WSCloseCode.PROTOCOL_ERROR
            await gateway.session()

    run(scenario())
