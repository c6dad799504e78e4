"""A client's compressed WebSocket on a real socket: both ways, bounded, and closed where it breaks RFC 7692."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
import zlib
from typing import Any

import pytest

from mdstream._core.fanout.hub import Hub
from support.fanout import JSON, MSGPACK, PRICE_EXP, SIZE_EXP, Feed, Subscription, decode_json
from support.websocket import BINARY, CONTINUATION, PING, PONG, TEXT, frame, serving

OFFER = "permessage-deflate; client_max_window_bits"
RSV1 = 4
MOST = 10_000


def packed(payload: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


@pytest.fixture
def hub() -> Hub:
    hub = Hub(compression_threshold_bytes=100)
    hub.tick(1_000_000_000)
    return hub


def conversation(run: Any, hub: Hub, talk: Any, format: int = JSON, extensions: str = OFFER) -> None:
    async def scenario() -> None:
        async with serving(hub, format, max_message_bytes=MOST) as server:
            server.echo()
            client, _ = await server.connect(extensions=extensions)
            await talk(client)

    run(scenario())


@pytest.mark.parametrize(("format", "opcode"), [(JSON, TEXT), (MSGPACK, BINARY)])
def test_messages_both_ways_compressed_or_not_whole_or_in_fragments(run, hub, format, opcode):
    async def talk(client):
        text = "größer ".encode() * 100
        wire = packed(text)
        client.send(frame(opcode, wire, rsv=RSV1), frame(opcode, b"short"))
        client.send(frame(opcode, wire[:9], fin=False, rsv=RSV1), frame(PING, b"!"))
        client.send(frame(CONTINUATION, wire[9:20], fin=False), frame(CONTINUATION, wire[20:]))
        assert await client.frame() == (opcode, text)
        assert await client.frame() == (opcode, b"short")
        assert client.packed == 1, "what is shorter than the threshold goes as it is"
        assert await client.frame() == (PONG, b"!")
        assert await client.frame() == (opcode, text)
        assert client.packed == 2

    conversation(run, hub, talk, format)


def test_the_bound_is_that_of_the_message_also_where_compression_made_it_longer(run, hub):
    async def talk(client):
        noise = os.urandom(MOST)
        client.send(frame(BINARY, packed(noise), rsv=RSV1))
        assert await client.frame() == (BINARY, noise)
        client.send(frame(BINARY, packed(noise + b"!"), rsv=RSV1))
        assert await client.closed_with() == (1009, "the message is too big")

    assert len(packed(os.urandom(MOST))) > MOST
    conversation(run, hub, talk, MSGPACK)


@pytest.mark.parametrize(
    ("frames", "code", "reason"),
    [
        ([frame(TEXT, packed(bytes(1 << 24)), rsv=RSV1)], 1009, "the message is too big"),
        ([frame(TEXT, b"\xff\xff", rsv=RSV1)], 1007, "a compressed message that is corrupt"),
        ([frame(TEXT, packed(b"hello" * 99)[:-3], rsv=RSV1)], 1007, "a compressed message that is corrupt"),
        ([frame(TEXT, packed(b"\xff\xfe"), rsv=RSV1)], 1007, "text that is not UTF-8"),
        ([frame(TEXT, b"\x00" * (MOST + 1))], 1009, "the message is too big"),
        (
            [frame(TEXT, b"x", fin=False), frame(CONTINUATION, b"x", rsv=RSV1)],
            1002,
            "a frame that the WebSocket protocol does not allow here",
        ),
        ([frame(PING, b"x", rsv=RSV1)], 1002, "a frame that the WebSocket protocol does not allow here"),
    ],
)
def test_violations(run, hub, frames, code, reason):
    async def talk(client):
        client.send(*frames)
        assert await client.closed_with() == (code, reason)

    conversation(run, hub, talk)


def test_compression_that_was_not_agreed_on_is_1002(run, hub):
    async def talk(client):
        assert client.extensions == ""
        client.send(frame(TEXT, packed(b"hello"), rsv=RSV1))
        assert (await client.closed_with())[0] == 1002

    conversation(run, hub, talk, extensions="permessage-deflate; server_max_window_bits=8")


def test_a_compressed_frame_that_came_with_the_handshake_is_read(run, hub):
    async def scenario():
        async with serving(hub) as server:
            pipelined = frame(TEXT, packed(b"early"), rsv=RSV1)
            await server.connect(extensions=OFFER, pipelined=pipelined)
            assert await server.messages.get() == b"early"

    run(scenario())


def test_clients_with_and_without_compression_are_told_the_same(run, hub):
    instrument = hub.add_instrument("SIM:X", PRICE_EXP, SIZE_EXP)
    feed = Feed()

    def publish() -> None:
        levels = {100 - i: feed.seq + i + 1 for i in range(20)}
        hub.take_book(instrument, feed.update(levels, {101 + i: 7 for i in range(20)}))
        hub.flush(1_000_000_001 + feed.seq)

    async def scenario() -> None:
        async with serving(hub) as server:
            publish()
            topic = hub.topic(instrument, "book")
            offers = (OFFER, "permessage-deflate; server_max_window_bits=10", "")
            connected = [await server.connect(extensions=offer) for offer in offers]
            for _, session in connected:
                hub.subscribe(session.sink, topic)
                hub.catch_up(session.sink, topic)
            for _ in range(3):
                publish()
            for client, _ in connected:
                sub = Subscription(topic)
                while sub.seq < feed.seq:
                    sub.take(decode_json(await client.message())[0])
                assert (sub.bids, sub.asks) == (feed.bids, feed.asks)
            assert [client.packed for client, _ in connected] == [4, 4, 0]

    run(scenario())


@pytest.mark.parametrize("format", [JSON, MSGPACK])
def test_an_idle_compressed_session_keeps_nothing_of_zlib(run, hub, format):
    """Python's zlib takes its memory where tracemalloc sees it: some 40 KiB to unpack, 250 KiB to pack."""
    count = 20
    text = b"0123456789" * 100

    async def held_by(extensions: str) -> int:
        async with serving(hub, format) as server:
            server.echo()
            client, _ = await server.connect(extensions=extensions)
            wire = frame(TEXT + format, packed(text), rsv=RSV1) if extensions else frame(TEXT + format, text)

            async def talk(client: Any) -> None:
                client.send(wire)
                assert (await client.frame())[1] == text

            await talk(client)  # what all share is there from here on
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(count):
                client, _ = await server.connect(extensions=extensions)
                await talk(client)
            return tracemalloc.get_traced_memory()[0] - before

    async def scenario() -> None:
        tracemalloc.start()
        try:
            plain, compressed = await held_by(""), await held_by(OFFER)
        finally:
            tracemalloc.stop()
        assert compressed - plain < count * 2048, f"{(compressed - plain) // count} bytes a session"

    run(scenario())


def test_what_was_unpacked_and_refused_is_a_debt(run, hub):
    async def scenario():
        limits = {"decoded_bytes_burst": 1_000, "decoded_bytes_per_second": 0}
        async with serving(hub, max_message_bytes=MOST, **limits) as server:
            kinds: list[str] = []
            server.on_limited = lambda session, kind: kinds.append(kind)
            client, _ = await server.connect(extensions=OFFER)
            client.send(frame(TEXT, packed(b"x" * 600), rsv=RSV1))
            assert len(await server.messages.get()) == 600
            client.send(frame(TEXT, packed(b"y" * 600), rsv=RSV1), frame(TEXT, b"short"))
            while len(kinds) < 2:
                await asyncio.sleep(0.005)
            assert server.messages.empty(), "neither: 400 are left, and what the first one took is owed"

    run(scenario())
