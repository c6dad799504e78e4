"""permessage-deflate in the core: shared, bounded, and what is on the wire reads as RFC 7692 says."""

from __future__ import annotations

import os
import tracemalloc
import zlib

import pytest
from doubles.frame_parser import FrameParser
from doubles.memory_sink import MemorySink
from doubles.message_assembler import Assembler
from hypothesis import given
from hypothesis import strategies as st

from mdstream._core.codec.deflate import Deflater, inflate
from mdstream._core.fanout.hub import Hub
from support.websocket import BINARY, CONTINUATION, PING, TEXT, frame

HELLO = bytes.fromhex("f248cdc9c90700")  # RFC 7692 section 7.2.3.1
TAIL = b"\x00\x00\xff\xff"


def deflated(payload: bytes, window_bits: int = 15, level: int = 6) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -window_bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (HELLO, b"Hello"),
        (bytes.fromhex("000500faff48656c6c6f00"), b"Hello"),  # 7.2.3.3: a block without compression
        (bytes.fromhex("f348cdc9c9070000"), b"Hello"),  # 7.2.3.4: a final block
        (bytes.fromhex("f348cdc9c90700"), b"Hello"),  # the same without the byte that 7.2.3.4 adds
        (bytes.fromhex("f24805000000ffffcac9c90700"), b"Hello"),  # 7.2.3.5: two blocks
        (b"\x00", b""),  # 7.2.3.6
        (b"\x02\x00", b""),
    ],
)
def test_the_examples_of_the_rfc(packed, message):
    assert inflate(packed, 100) == message


@pytest.mark.parametrize(
    "packed",
    [
        b"\xff",
        HELLO[:-2],
        HELLO + b"\x07",
        b"\x00\x05\x00\x00\x00Hello",
        deflated(os.urandom(300))[:-40],
        bytes.fromhex("f348cdc9c90700") + HELLO,  # something behind a final block
    ],
)
def test_what_is_corrupt_is_1007(packed):
    assert inflate(packed, 1 << 20) == 1007


@given(st.binary(max_size=4000), st.integers(9, 15))
def test_any_message_comes_back_and_its_bound_is_exact(payload, window_bits):
    packed = deflated(payload, window_bits)
    assert inflate(packed, len(payload)) == payload
    if payload:
        assert inflate(packed, len(payload) - 1) == 1009


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_violation(packed):
    result = inflate(packed, 1000)
    assert result in (1007, 1009) or len(result) <= 1000


def test_a_bomb_takes_no_more_memory_than_a_message_may():
    bomb = deflated(bytes(1 << 28), level=9)
    tracemalloc.start()
    try:
        assert inflate(bomb, 65536) == 1009
        assert tracemalloc.get_traced_memory()[1] < len(bomb) * 3 + 65536 * 8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("level", "least"), [(0, 1), (10, 1), (1, 0)])
def test_what_a_deflater_refuses(level, least):
    with pytest.raises(ValueError, match="must be"):
        Deflater(level, least)
    with pytest.raises(ValueError, match="must be"):
        Hub(compression_level=level, compression_threshold_bytes=least)


def test_a_sink_has_a_window_that_zlib_knows():
    for window_bits in (8, 16, -1):
        with pytest.raises(ValueError, match="9 to 15"):
            MemorySink(0, window_bits=window_bits)


# ---- what is shared


@pytest.mark.parametrize("channel", ["book", "ticker", "trades"])
def test_a_broadcast_is_compressed_once_however_many_it_is_for(make_world, channel):
    world = make_world(compression_threshold_bytes=1)
    topic = world.topic(channel)
    clients = [world.packed_client(format, 15) for format in (0, 0, 0, 1, 1)]
    clients += [world.packed_client(0, 9), world.packed_client(0, 10), world.client(0), world.client(1)]
    for client in clients:
        client.subscribe(topic)
    for number in range(1, 6):
        before = world.hub.stats()["compressed"]
        if channel == "trades":
            deliveries = world.publish_trades(world.feed.trade())
        else:
            deliveries = world.publish(world.feed.update({100: 5 + number}))
        assert deliveries == len(clients)
        compressed = world.hub.stats()["compressed"] - before
        assert compressed == 3, "JSON, MessagePack, and JSON in a small window"
        payloads = [client.sink.take() for client in clients]
        assert all(payload == payloads[0] for payload in payloads[:3] + payloads[5:8])
        assert payloads[3] == payloads[4] == payloads[8]


def test_a_snapshot_is_compressed_once_for_all_who_come(make_world):
    world = make_world(compression_threshold_bytes=1)
    topic = world.topic()
    first = world.packed_client(0, 15)
    first.subscribe(topic)
    before = world.hub.stats()["compressed"]
    others = [world.packed_client(0, 15) for _ in range(5)]
    for client in others:
        client.subscribe(topic)
        assert client.subs[topic.number].has_view
    assert world.hub.stats()["compressed"] == before
    assert all(client.sink.compressed == 1 for client in others)


def test_small_messages_are_sent_as_they_are(make_world):
    world = make_world(compression_threshold_bytes=10_000)
    client = world.packed_client(0, 15)
    client.subscribe(world.topic())
    assert (client.sink.compressed, world.hub.stats()["compressed"]) == (0, 0)
    assert client.subs[world.topic().number].has_view


@pytest.mark.parametrize(("size", "compressed"), [(131_072, 1), (131_073, 0)])
def test_what_would_hold_up_the_loop_is_sent_as_it_is(make_world, size, compressed):
    world = make_world()
    client = world.packed_client(1, 15)
    world.hub.attach(client.sink)
    world.hub.send(client.sink, b"x" * size)
    assert (client.sink.take(), client.sink.compressed) == ([b"x" * size], compressed)


@pytest.mark.parametrize("size", [0, 1, 16, 1000, 100_000])
def test_what_cannot_be_compressed_grows_by_next_to_nothing(make_world, size):
    world = make_world(compression_threshold_bytes=1)
    client = world.packed_client(1, 15)
    world.hub.attach(client.sink)
    noise = os.urandom(size)
    world.hub.send(client.sink, noise)
    assert (client.sink.take(), client.sink.compressed) == ([noise], size > 0)
    assert world.hub.stats()["compressed_bytes_out"] <= size + 10 + size // 1000


def test_no_message_leans_on_an_earlier_one(make_world):
    """Each is unpacked by a fresh stream: there is no context takeover."""
    world = make_world(compression_threshold_bytes=1)
    text = b"abcdefghijklmnopqrstuvwxyz" * 100
    for client in [world.packed_client(0, bits) for bits in (9, 15)]:
        world.hub.attach(client.sink)
        for _ in range(3):
            world.hub.send(client.sink, text)
        assert client.sink.take() == [text] * 3
        assert client.sink.compressed == 3


def test_the_small_window_is_kept_to(make_world):
    """A repetition a thousand bytes back is out of its reach."""
    world = make_world(compression_threshold_bytes=1)
    block = os.urandom(1000)
    sizes = []
    for bits in (9, 15):
        sink = world.packed_client(1, bits).sink
        world.hub.attach(sink)
        world.hub.send(sink, block * 20)
        assert sink.take() == [block * 20]
        sizes.append(sink.bytes_written)
    assert sizes[0] > 19_000
    assert sizes[1] < 3_000


# ---- frames


def test_a_compressed_message_is_marked_on_its_first_frame_alone():
    data = frame(TEXT, HELLO[:3], fin=False, rsv=4) + frame(CONTINUATION, HELLO[3:])
    pieces = [(0x40 | TEXT, False, HELLO[:3]), (CONTINUATION, True, HELLO[3:])]
    assert FrameParser(compression=True).feed(data) == pieces
    assert FrameParser().feed(data) == [1002]


def test_a_compressed_frame_in_parts_is_marked_on_its_first_piece_alone():
    data = frame(BINARY, HELLO, rsv=4)
    parser = FrameParser(compression=True)
    assert parser.feed(data[:8]) == [(0x40 | BINARY, False, HELLO[:2])]
    assert parser.feed(data[8:]) == [(CONTINUATION, True, HELLO[2:])]
    assert parser.feed(frame(BINARY, b"plain")) == [(BINARY, True, b"plain")]


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x", rsv=2),
        frame(TEXT, b"x", rsv=6),
        frame(PING, b"x", rsv=4),
        frame(CONTINUATION, b"x", rsv=4),
    ],
)
def test_the_mark_is_allowed_nowhere_else(data):
    assert FrameParser(compression=True).feed(data) == [1002]


def test_compressed_text_is_not_taken_for_text_before_it_is_unpacked():
    assembler = Assembler()
    assert assembler.feed(TEXT, b"\xff\xfe", fin=False, compressed=True) is None
    assert assembler.feed(CONTINUATION, b"\xfd") == (TEXT, b"\xff\xfe\xfd")
    assert assembler.feed(TEXT, b"\xff") == 1007
