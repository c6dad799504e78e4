"""A client that stops reading for some seconds among a hundred others: they notice nothing, and it costs the gateway nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import picows
import pytest

from mdstream import feed
from mdstream.bus import EmbeddedNats
from mdstream.client import BookUpdate, Client, connect
from mdstream.client.transport_picows import PicowsDial
from support.pipeline import Moments, announced, equal, untroubled
from support.program import Program

SYMBOLS = ("A", "B", "C")
NAMES = tuple(f"SIM:{symbol}" for symbol in SYMBOLS)
DEPTHS = (0, 100, 50, 20, 10, 5)
OTHERS = 100
LEVELS = 200
TICK_S = 0.01
"""Between two updates of each book."""
WARM_TICKS, AFTER_TICKS = 300, 100
CATCH_UP_SPAN = 100
"""A message over so many numbers, a second's worth, is no ordinary one."""
SEND_BUFFER_BYTES, LOG_CAPACITY = 16_384, 4_096


class Venue:
    """Three books that change at every tick; event times are the moments of publishing."""

    def __init__(self, publisher: feed.Publisher) -> None:
        self._publisher = publisher
        self._random = Random(1)
        self.instruments: list[feed.Instrument] = []

    async def open(self) -> None:
        for symbol in SYMBOLS:
            instrument = await self._publisher.instrument(symbol, price_exp=-2, size_exp=-3)
            bids = [number for i in range(LEVELS) for number in (10_000 - i, 1_000)]
            asks = [number for i in range(LEVELS) for number in (10_001 + i, 1_000)]
            instrument.replace_ticks(bids, asks)
            self.instruments.append(instrument)
        await self._publisher.flush()

    async def play(self, ticks: int) -> None:
        """Updates all books once a tick, by the clock."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        for tick in range(ticks):
            for instrument in self.instruments:
                now_us = time.time_ns() // 1_000
                instrument.update_ticks(self._side(10_000, -1), self._side(10_001, 1), ts_us=now_us)
            await self._publisher.flush()
            await asyncio.sleep(max(0.0, start + (tick + 1) * TICK_S - loop.time()))

    def _side(self, best: int, away: int) -> list[int]:
        """Ten levels, the best one always among them so that every view changes."""
        distances = [0, *self._random.sample(range(1, 50), 9)]
        return [number for i in distances for number in (best + away * i, self._random.randint(1, 9_999))]


class Quick(picows.WSListener):  # type: ignore[misc]
    """One of the others: reads everything, sees that no number is missing, and notes how old each message is."""

    def __init__(self, latencies_us: list[int], moments: Moments) -> None:
        super().__init__()
        self.latencies_us = latencies_us
        self.moments = moments
        self.seqs: dict[int, int] = {}
        self.wrong: list[Any] = []

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type != picows.WSMsgType.BINARY:
            return
        now_us = time.time_ns() // 1_000
        unpacker = msgpack.Unpacker()
        unpacker.feed(frame.get_payload_as_bytes())
        for message in unpacker:
            if isinstance(message, list):
                self._take(message, now_us)

    def _take(self, message: list[Any], now_us: int) -> None:
        if message[0] == 1:
            _, sub, first, last, ts_us = message[:5]
            if first != self.seqs.get(sub, -1) + 1:
                self.wrong.append(message)
            self.seqs[sub] = last
            self.latencies_us.append(now_us - ts_us)
        elif message[0] == 2:
            self.seqs[message[1]] = message[3]
        self.moments.changed()


class Twin(picows.WSListener):  # type: ignore[misc]
    """Subscribed to what the slow client has: what it is sent is what would pile up."""

    bytes = 0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self.bytes += frame.payload_size


class Tap:
    """Dials, with a small receive buffer, and can stop reading."""

    def __init__(self) -> None:
        self._dial = PicowsDial()
        self._transport: asyncio.Transport

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        made = await self._dial(*arguments, **options)
        self._transport = made._ws.underlying_transport
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        return made

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def read_on(self) -> None:
        self._transport.resume_reading()


@asynccontextmanager
async def listening(
    url: str, listener: picows.WSListener, format: str, commands: list[dict[str, Any]]
) -> AsyncIterator[None]:
    """A connection that subscribes, and hands what comes to the listener."""
    headers = {"Sec-WebSocket-Protocol": f"mdstream.v1.{format}"}
    transport, _ = await picows.ws_connect(lambda: listener, url, extra_headers=headers)
    try:
        for command in commands:
            if format == "json":
                transport.send(picows.WSMsgType.TEXT, json.dumps(command).encode())
            else:
                transport.send(picows.WSMsgType.BINARY, msgpack.packb(command))
        yield
    finally:
        transport.disconnect()
        await transport.wait_disconnected()


def subscribe(name: str, depth: int) -> dict[str, Any]:
    return {"op": "subscribe", "channel": "book", "instruments": [name], "depth": depth}


async def figures(url: str) -> dict[str, float]:
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{url}/metrics").read().decode())
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def quantiles(latencies_us: list[int]) -> str:
    cuts = statistics.quantiles(latencies_us, n=100)
    return f"{cuts[49] / 1000:.2f}/{cuts[98] / 1000:.2f}"


async def follow(client: Client, moments: Moments) -> dict[Any, list[BookUpdate]]:
    """The updates of each book that the slow client has."""
    updates: dict[Any, list[BookUpdate]] = {}
    for name in NAMES:
        for depth in DEPTHS:
            book = moments.watch(await announced(client.book, name, depth=depth))
            updates[book] = []
            book.on_update(updates[book].append)
    return updates


@pytest.mark.parametrize("stopped_ticks", [400, pytest.param(1_000, marks=pytest.mark.complete)])
def test_the_others_notice_nothing_and_it_catches_up_with_one_message_per_book(
    run: Callable[..., Any],
    nats_server: EmbeddedNats,
    tmp_path: Path,
    report: Callable[[str], None],
    stopped_ticks: int,
) -> None:
    async def scenario(url: str, admin_url: str) -> None:
        moments, tap = Moments(), Tap()
        before, during, after = [], [], []
        async with AsyncExitStack() as stack:
            publisher = await stack.enter_async_context(feed.connect(nats_server.url, venue="SIM"))
            venue = Venue(publisher)
            await venue.open()
            slow = await stack.enter_async_context(connect(url, format="json", dial=tap))
            updates = await follow(slow, moments)
            quick, twin = [Quick(before, moments) for _ in range(OTHERS)], Twin()
            for i, listener in enumerate(quick):
                commands = [subscribe(NAMES[i % len(NAMES)], 20)]
                await stack.enter_async_context(listening(url, listener, "msgpack", commands))
            everything = [subscribe(name, depth) for name in NAMES for depth in DEPTHS]
            await stack.enter_async_context(listening(url, twin, "json", everything))

            await venue.play(WARM_TICKS)
            at_stop, received = await figures(admin_url), twin.bytes
            for listener in quick:
                listener.latencies_us = during
            tap.stop_reading()
            for book_updates in updates.values():
                book_updates.clear()
            await venue.play(stopped_ticks)
            at_end, missed = await figures(admin_url), twin.bytes - received
            for listener in quick:
                listener.latencies_us = after
            assert at_end["mdstream_slow_sessions"] == 1
            tap.read_on()
            await venue.play(AFTER_TICKS)
            for book in updates:
                number = NAMES.index(book.instrument)
                await moments.until(lambda b=book, n=number: equal(b, venue.instruments[n].book))

            for book, book_updates in updates.items():
                jumps = [u for u in book_updates if u.kind == "snapshot" or u.last - u.first >= CATCH_UP_SPAN]
                assert len(jumps) == 1, (str(book), book.depth, jumps)
            assert untroubled(slow), slow.stats
            last = WARM_TICKS + stopped_ticks + AFTER_TICKS + 1
            await moments.until(lambda: all([*listener.seqs.values()] == [last] for listener in quick))
            assert not any(listener.wrong for listener in quick)
            grown = at_end["process_resident_memory_bytes"] - at_stop["process_resident_memory_bytes"]
            assert grown < missed / 4, "what was not sent is not kept"
        report(
            f"a client that stops reading for {stopped_ticks * TICK_S:g} s among {OTHERS}: the others' latency, "
            f"median/99 % in ms: {quantiles(before)} before, {quantiles(during)} meanwhile, {quantiles(after)} after"
        )
        report(
            f"  of the {missed / 1e6:.1f} MB that it was not sent, {grown / 1e6:.2f} MB stayed in the gateway; "
            f"it caught up with one message for each of {len(updates)} books"
        )

    arguments = ("--nats", nats_server.url, "--port", "0", "--admin-port", "0")
    # The log is full before the client stops, so that it does not count as growth.
    sizes = ("--send-buffer-bytes", str(SEND_BUFFER_BYTES), "--log-capacity", str(LOG_CAPACITY))
    with Program("mdstream.cli", "serve", *arguments, *sizes, temporary=tmp_path) as gateway:
        found = gateway.until_error(r"serving clients at (ws://\S+), probes and metrics at (http://\S+)")
        gateway.until_error("connected to NATS")
        run(scenario(found[1], found[2]), deadline_s=80, debug=False)
        assert gateway.end(signal.SIGTERM) == 0
        assert "Traceback" not in gateway.errors
