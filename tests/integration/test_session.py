"""One client's WebSocket on a real socket: opened, read, written to, blocked, and closed in every way."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl

import pytest

from mdstream._core.fanout.hub import Hub
from mdstream._core.net.session import Session
from mdstream.errors import SessionClosed
from support.certificates import certificate, needs_openssl
from support.fanout import JSON, MSGPACK, PRICE_EXP, SIZE_EXP, Feed, Subscription, decode_json
from support.uring import uring
from support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawClient,
    close_frame,
    frame,
    serving,
)

TRANSPORTS = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "uvloop"])
NOW = 1_000_000_000


@pytest.fixture(params=["alone", "io_uring"])
def hub(request) -> Hub:
    sender = uring() if request.param == "io_uring" else None
    hub = Hub(heartbeat_us=1_000_000, slow_limit_us=5_000_000, sender=sender)
    hub.tick(NOW)
    return hub


# ---- messages


@TRANSPORTS
@pytest.mark.parametrize(("format", "opcode"), [(JSON, TEXT), (MSGPACK, BINARY)])
def test_messages_both_ways(run, hub, compiled, format, opcode):
    async def scenario():
        async with serving(hub, format, compiled=compiled) as server:
            server.on_message = lambda session, payload: session.send_control(payload.upper())
            client, session = await server.connect()
            assert session.open and session.format == format and session.transport is not None
            client.send(frame(opcode, b"one"), frame(opcode, b"two", fin=False), frame(PING, b"now"))
            client.send(frame(CONTINUATION, b"!" * 300))
            assert await client.frame() == (opcode, b"ONE")
            assert await client.frame() == (PONG, b"now")
            assert await client.frame() == (opcode, b"TWO" + b"!" * 300)
            client.leave()
            assert await server.closes.get() == 1006

    run(scenario())


@pytest.mark.parametrize("cut", [0, 1, 3, 12])
def test_what_comes_with_the_handshake_is_read(run, hub, cut):
    async def scenario():
        async with serving(hub) as server:
            data = frame(TEXT, b"early") + frame(TEXT, b"and late")
            end = len(data) - cut
            client, _ = await server.connect(pipelined=data[:end])
            client.send(data[end:])
            assert [await server.messages.get() for _ in range(2)] == [b"early", b"and late"]
            client.send(close_frame(1000))
            assert (await client.closed_with())[0] == 1000

    run(scenario())


def test_what_a_callback_sends_leaves_in_one_write(run, hub):
    async def scenario():
        instrument = hub.add_instrument("SIM:X", PRICE_EXP, SIZE_EXP)
        hub.take_book(instrument, Feed().update({100: 1}, {101: 1}))
        topic = hub.topic(instrument, "book")

        def subscribe(session, payload):
            session.send_control(b'{"type":"subscribed"}')
            hub.subscribe(session.sink, topic)
            hub.catch_up(session.sink, topic)
            session.send_control(b'{"type":"state"}')

        async with serving(hub) as server:
            server.on_message = subscribe
            client, session = await server.connect()
            before = hub.stats()["writes"]
            client.send(frame(TEXT, b"{}"))
            kinds = [decode_json(await client.message())[0]["type"] for _ in range(3)]
            assert kinds == ["subscribed", "snapshot", "state"]
            assert hub.stats()["writes"] == before + 1
            assert session.sink.subscriptions == 1
            client.leave()
            await server.closes.get()
            assert not topic.alive

    run(scenario())


# ---- the end


@TRANSPORTS
@pytest.mark.parametrize(
    ("sent", "answer", "told"),
    [
        (close_frame(1000, b"bye"), 1000, 1000),
        (frame(CLOSE), 1000, 1005),
        (close_frame(4999), 4999, 4999),
        (close_frame(1006), 1002, 1002),
        (frame(CLOSE, b"\x03"), 1002, 1002),
        (close_frame(1000, b"\xff"), 1007, 1007),
        (close_frame(1000) + close_frame(1000) + frame(TEXT, b"behind"), 1000, 1000),
    ],
)
def test_the_client_closes(run, hub, compiled, sent, answer, told):
    async def scenario():
        async with serving(hub, compiled=compiled) as server:
            client, session = await server.connect()
            client.send(sent)
            assert (await client.closed_with())[0] == answer
            assert await server.closes.get() == told
            assert not session.open and session.transport is None and session.bytes_pending == 0

    run(scenario())


@TRANSPORTS
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(BINARY, b"x"), 1003),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"x"), 1007),
        (frame(TEXT, b"x" * 1001), 1009),
        (frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600), 1009),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(CLOSE, b"\x03\xe8", rsv=1), 1002),
        (frame(TEXT, b"x", mask=False), 1002),
        (frame(5), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(PING, b"x" * 126), 1002),
    ],
)
def test_violations_are_closed_with_their_code(run, hub, caplog, compiled, sent, code):
    async def scenario():
        async with serving(hub, compiled=compiled, max_message_bytes=1000) as server:
            client, _ = await server.connect()
            client.send(frame(TEXT, b"good"), sent, frame(TEXT, b"more"))
            assert (await client.closed_with())[0] == code
            assert await server.closes.get() == code
            assert await server.messages.get() == b"good" and server.messages.empty()

    run(scenario())
    ours = [record for record in caplog.records if not record.name.startswith("asyncio")]
    assert all(record.levelno <= logging.INFO for record in ours)


@TRANSPORTS
def test_the_server_closes(run, hub, compiled):
    async def scenario():
        async with serving(hub, compiled=compiled) as server:
            client, session = await server.connect()
            session.send_control(b"{}")
            session.close(4401, "é" * 100)
            session.close(1000)
            session.send_control(b"unheard")
            assert await client.message() == b"{}"
            assert await client.closed_with() == (4401, "é" * 61)
            assert await server.closes.get() == 4401

    run(scenario())


def test_a_client_that_does_not_answer_the_close_is_dropped(run, hub):
    async def scenario():
        async with serving(hub, close_timeout_s=0.05) as server:
            client, session = await server.connect()
            session.close(1012, "draining")
            assert (await client.frame())[0] == CLOSE
            assert await server.closes.get() == 1012

    run(scenario())


def test_errors_in_callbacks(run, hub, caplog):
    async def scenario():
        def fail(session, payload):
            session.send_control(b"{}")
            if payload == b"refuse":
                raise SessionClosed(4400, "error budget spent")
            raise ZeroDivisionError

        async with serving(hub) as server:
            server.on_message = fail
            client, _ = await server.connect()
            client.send(frame(TEXT, b"refuse"))
            assert await client.message() == b"{}"
            assert await client.closed_with() == (4400, "error budget spent")
            assert "mdstream.session" not in {record.name for record in caplog.records}
            client, _ = await server.connect()
            client.send(frame(TEXT, b"fail"))
            assert await client.message() == b"{}"
            assert await client.closed_with() == (1011, "internal error")
            assert [await server.closes.get() for _ in range(2)] == [4400, 1011]

    run(scenario())
    assert [record.name for record in caplog.records].count("mdstream.session") == 1


def test_nothing_holds_a_session_that_ended(run, hub):
    async def scenario():
        async with serving(hub) as server:
            client, session = await server.connect()
            client.send(close_frame(1000))
            await client.closed_with()
            await server.closes.get()
            del session
            await asyncio.sleep(0)
            gc.collect()
            assert not any(type(thing) is Session for thing in gc.get_objects())
            assert hub.stats()["sinks"] == 0

    run(scenario())


@TRANSPORTS
def test_one_whose_message_ends_all_others_in_the_middle_of_a_turn(run, hub, compiled):
    """What came from the others was ready at the same time: it is not read from what is gone."""

    async def scenario():
        async with serving(hub, compiled=compiled) as server:
            pairs = [await server.connect() for _ in range(20)]

            def end_the_others(session, payload):
                for _, other in pairs:
                    if other is not session:
                        other.drop()
                session.send_control(payload)

            server.on_message = end_the_others
            for client, _ in pairs:
                client.send(frame(TEXT, b"me"))
            assert [await server.closes.get() for _ in range(19)] == [1006] * 19
            assert server.messages.qsize() == 1
            (left,) = (client for client, session in pairs if session.open)
            assert await left.message() == b"me"

    run(scenario())


# ---- signs of life


def test_a_client_that_is_silent_between_heartbeats_is_pinged_and_silence_is_death(run, hub):
    async def scenario():
        async with serving(hub) as server:
            client, session = await server.connect()
            for second in range(1, 5):
                hub.tick(NOW + second * 1_000_000)
                assert decode_json(await client.message())[0]["type"] == "heartbeat"
                if second % 2 == 0:
                    assert await client.frame() == (PING, b"")
                    client.send(frame(PONG), frame(TEXT, b"{}"))
                    await server.messages.get()
                    assert session.last_received_us == NOW + second * 1_000_000
            hub.tick(NOW + 7_000_000)
            assert (await client.frame())[0] == TEXT
            hub.tick(NOW + 9_000_000)
            assert await client.closed_with() == (1001, "no sign of life")
            assert await server.closes.get() == 1001

    run(scenario())


@pytest.mark.parametrize("step_us", [3_600_000_000, -3_600_000_000])
def test_a_step_of_the_wall_clock_is_no_silence(run, hub, step_us):
    async def scenario():
        async with serving(hub) as server:
            client, session = await server.connect()
            for second in range(1, 4):
                hub.tick(NOW + second * 1_000_000, 10**15 + step_us)
                assert decode_json(await client.message())[0]["time"] == 10**15 + step_us
                if second > 1:
                    assert await client.frame() == (PING, b"")
            assert session.open
            hub.tick(NOW + 4_000_000, 10**15)
            assert await client.closed_with() == (1001, "no sign of life")

    run(scenario())


# ---- slow clients


LARGEST_MESSAGE = 40_000


class Market:
    """One instrument with a book of a few hundred levels, all of which change each time, to fill sockets with."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.instrument = hub.add_instrument("SIM:X", PRICE_EXP, SIZE_EXP)
        self.feed = Feed()
        self.topic = hub.topic(self.instrument, "book")
        self.publish(0)

    def publish(self, i: int) -> None:
        levels = range(1, 400)
        bids = {10_000 - level: 1 + (level * i) % 1000 for level in levels}
        asks = {10_000 + level: 1 + (level + i) % 1000 for level in levels}
        self.hub.take_book(self.instrument, self.feed.update(bids, asks))
        self.hub.flush(NOW)

    def subscribe(self, session, payload=b""):
        self.hub.subscribe(session.sink, self.topic)
        self.hub.catch_up(session.sink, self.topic)

    def fill(self, session) -> int:
        """Publishes until the session is blocked; how often that took."""
        for i in range(1, 10_000):
            self.publish(i)
            if session.sink.blocked:
                return i
        raise AssertionError("a client that does not read was never blocked")


async def read_until(client: RawClient, sub: Subscription, seq: int) -> None:
    while sub.seq < seq:
        sub.take(decode_json(await client.message())[0])


@TRANSPORTS
def test_a_client_that_stops_reading_is_bounded_and_catches_up_with_one_message(run, hub, compiled):
    async def scenario():
        market = Market(hub)
        async with serving(
            hub, compiled=compiled, send_buffer_bytes=16384, notsent_lowat_bytes=16384
        ) as server:
            server.on_message = market.subscribe
            slow, slow_session = await server.connect(limit=4096)
            fast, _ = await server.connect()
            slow.writer.transport.pause_reading()
            slow_sub, fast_sub = Subscription(market.topic), Subscription(market.topic)
            for client in (slow, fast):
                client.send(frame(TEXT, b"subscribe"))
                await server.messages.get()
            await read_until(fast, fast_sub, 1)
            while not slow_session.sink.blocked:
                market.publish(market.feed.seq)
                await read_until(fast, fast_sub, market.feed.seq)
            blocked_at = market.feed.seq
            for _ in range(20):
                market.publish(market.feed.seq)
                await read_until(fast, fast_sub, market.feed.seq)
                assert slow_session.bytes_pending < LARGEST_MESSAGE
            slow.writer.transport.resume_reading()
            await read_until(slow, slow_sub, market.feed.seq)
            assert len(slow_sub.messages) < len(fast_sub.messages)
            assert sum(message.get("last", 0) > blocked_at for message in slow_sub.messages) < 20
            assert (slow_sub.bids, slow_sub.asks) == market.feed.view()
            assert hub.stats()["slow_sinks"] == 0

    run(scenario())


def test_a_client_that_stays_slow_is_closed(run, hub):
    async def scenario():
        market = Market(hub)
        async with serving(hub, send_buffer_bytes=16384, close_timeout_s=0.05) as server:
            server.on_message = market.subscribe
            client, session = await server.connect(limit=4096)
            client.writer.transport.pause_reading()
            client.send(frame(TEXT, b"subscribe"))
            await server.messages.get()
            market.fill(session)
            hub.tick(NOW + 5_000_001)
            assert await server.closes.get() == 4408
            assert session.sink.closed and not market.topic.alive

    run(scenario())


@pytest.mark.parametrize("what", ["control", "pongs"])
def test_control_for_a_client_that_does_not_read_is_bounded(run, hub, what):
    async def scenario():
        market = Market(hub)
        bound = 50_000
        options = {"send_buffer_bytes": 16384, "control_backlog_bytes": bound, "close_timeout_s": 0.05}
        async with serving(hub, **options) as server:
            server.on_message = lambda session, payload: None
            client, session = await server.connect(limit=4096)
            client.writer.transport.pause_reading()
            market.subscribe(session)
            market.fill(session)
            most = session.bytes_pending
            while server.closes.empty():
                if what == "control":
                    session.send_control(b"x" * 1000)
                else:
                    client.send(*[frame(PING, b"x" * 125)] * 50)
                most = max(most, session.bytes_pending)
                await asyncio.sleep(0)
            assert server.closes.get_nowait() == 4408
            assert most < 10 * bound

    run(scenario())


def test_a_client_that_vanishes_while_it_is_written_to(run, hub):
    async def scenario():
        market = Market(hub)
        async with serving(hub) as server:
            client, session = await server.connect()
            market.subscribe(session)
            client.leave()
            for i in range(1, 200):
                market.publish(i)
            assert await server.closes.get() == 1006
            assert hub.stats()["sinks"] == 0

    run(scenario())


@needs_openssl
@TRANSPORTS
def test_over_tls(run, hub, tmp_path, compiled):
    cert, key = certificate(tmp_path, "server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)

    async def scenario():
        market = Market(hub)
        async with serving(hub, tls=tls, compiled=compiled) as server:
            server.on_message = market.subscribe
            trusted = ssl.create_default_context(cafile=str(cert))
            client, session = await server.connect(tls=trusted, limit=4096)
            sub = Subscription(market.topic)
            client.send(frame(TEXT, b"subscribe"))
            await server.messages.get()
            market.fill(session)
            market.publish(7)
            await read_until(client, sub, market.feed.seq)
            assert (sub.bids, sub.asks) == market.feed.view()
            client.send(close_frame(1000))
            assert (await client.closed_with())[0] == 1000

    run(scenario())
