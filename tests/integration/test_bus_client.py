"""What nats-py does is the same with the compiled tap and without it; and market data takes the short way."""

from __future__ import annotations

import asyncio
import logging

import pytest
from nats import errors

from mdstream.bus import BusOptions, connect

pytestmark = pytest.mark.usefixtures("parser")


class Impostor:
    """Greets as a NATS server does, then says to each connection what it is told to."""

    def __init__(self, *words: bytes) -> None:
        self._words = list(words)
        self.greeted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.greeted += 1
        writer.write(b'INFO {"server_id":"X","max_payload":1048576,"headers":true}\r\n')
        try:
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n" + (self._words.pop(0) if self._words else b""))
        finally:
            writer.close()


@pytest.mark.parametrize("words", [b"HELLO WORLD\r\n", b"MSG a\r\n", b"MSG a 1 x\r\n"])
def test_what_is_not_nats_ends_the_connection_and_the_next_is_tried(run, words: bytes) -> None:
    async def scenario() -> None:
        impostor = Impostor(words)
        server = await asyncio.start_server(impostor.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with await connect(BusOptions((f"nats://127.0.0.1:{port}",), reconnect_cap_s=0.05)) as bus:
            back = asyncio.Event()
            bus.on_reconnect(back.set)
            await back.wait()
            await bus.flush()
            assert impostor.greeted == 2
        server.close()

    run(scenario())


def test_absurd_sizes_end_the_connection_and_the_log_says_why(run, parser: str, caplog) -> None:
    if parser == "plain":
        pytest.skip("nats-py's own parser waits for any number of bytes")

    async def scenario() -> None:
        impostor = Impostor(b"MSG a 1 99999999999\r\n")
        server = await asyncio.start_server(impostor.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with await connect(BusOptions((f"nats://127.0.0.1:{port}",), reconnect_cap_s=0.05)) as bus:
            back = asyncio.Event()
            bus.on_reconnect(back.set)
            await back.wait()
        server.close()

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert "bad number in message line b'MSG a 1 99999999999'" in caplog.text


def test_the_option_decides(run, parser: str, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.flush()
            assert (bus.client._tap is not None) is (parser == "compiled")

    run(scenario())


def test_subscriptions_of_nats_py_get_headers_and_replies(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:

            async def answer(message) -> None:
                await message.respond(message.data + message.headers["Who"].encode())

            await bus.client.subscribe("question", cb=answer)
            reply = await bus.client.request("question", b"hi ", timeout=5, headers={"Who": "joe"})
            assert reply.data == b"hi joe"
            with pytest.raises(errors.NoRespondersError):
                await bus.client.request("nobody", b"", timeout=5)

    run(scenario())


def test_a_queue_that_is_full_is_told_of_and_counted(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            told: list[Exception] = []
            bus.client._error_cb = _collector(told)
            subscription = await bus.client.subscribe("a", pending_msgs_limit=2)
            for _ in range(5):
                await bus.publish("a", b"abc")
            await bus.flush()
            assert [type(error) for error in told] == [errors.SlowConsumerError] * 3
            assert subscription.pending_msgs == 2
            assert bus.client.stats["in_msgs"] == 5 and bus.client.stats["in_bytes"] == 15

    run(scenario())


def test_a_subscription_drains(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            taken: list[bytes] = []

            async def take(message) -> None:
                taken.append(message.data)

            subscription = await bus.client.subscribe("a", cb=take)
            for number in range(100):
                await bus.publish("a", b"%d" % number)
            await bus.flush()
            await subscription.drain()
            assert taken == [b"%d" % number for number in range(100)]

    run(scenario())


def test_live_books_and_trades_pass_without_a_call_per_message(run, market) -> None:
    async def scenario() -> None:
        async with market() as m:
            writer = m.writer()
            await writer.announce()
            await writer.update(5)
            await writer.trade()
            await writer.stored()
            reader, model = await m.open()
            if not hasattr(model, "_core"):
                return  # the plain model has no short way
            await m.equal(writer, model)
            m.flushes = 0
            reader._book.receive = reader._trades.receive = _never
            await writer.update(200)
            await writer.trade(200)
            await m.equal(writer, model)
            await m.until(lambda: model.trade_position() == (1, 201))
            assert 0 < m.flushes <= 400

    run(scenario())


def _never(payload: bytes) -> None:
    raise AssertionError("a live payload took the slow way")


def _collector(told: list[Exception]):
    async def collect(error: Exception) -> None:
        told.append(error)

    return collect
