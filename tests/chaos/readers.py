"""Clients of a long run: independent readers, and the Python SDK on one line and on two, all held against the journal's truth."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mdstream.client import Book, BookUpdate, Client, Policy, connect
from mdstream.errors import ClientError
from truth.model import Levels, Position, Truth
from truth.reader import Message, Moment, Reader, Shown, checksum

QUIET_S = 0.3
"""A silence of this length is noted."""
BASE_S, CAP_S, HEALTHY_S = 0.5, 20.0, 30.0
MAX_GAPS = 4_000


class Silences:
    """When a client had nothing new for longer than ``QUIET_S``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None
        self.gaps: list[tuple[float, float]] = []

    def news(self) -> None:
        now = self._clock()
        if self._last is not None and now - self._last > QUIET_S and len(self.gaps) < MAX_GAPS:
            self.gaps.append((self._last, now))
        self._last = now

    def so_far(self) -> list[tuple[float, float]]:
        """With the one that has not ended."""
        now = self._clock()
        open_one = self._last is not None and now - self._last > QUIET_S
        return [*self.gaps, (self._last, now)] if open_one and self._last is not None else self.gaps


class ChaosReader(Reader):
    """Comes back as the contract says: with a random delay, to the next gateway, at once where a drain names the time."""

    def __init__(self, ports: Sequence[int], chance: random.Random, truth: Truth, **options: Any) -> None:
        self.ports, self.chance = list(ports), chance
        super().__init__(self.ports[0], truth, **options)
        self.silences = Silences()
        self.events: Counter[str] = Counter()
        self.is_reading = True
        self._readable = asyncio.Event()
        self._readable.set()
        self._attempt = 0
        self._drained = False
        self._opened_at = 0.0

    async def run(self) -> None:
        while True:
            try:
                await self._connect()
            except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError, AssertionError) as error:
                self._gone(error)
            await asyncio.sleep(self._delay_s())
            self.ports.append(self.ports.pop(0))
            self.port = self.ports[0]

    def _delay_s(self) -> float:
        drained, self._drained = self._drained, False
        if time.monotonic() - self._opened_at > HEALTHY_S and self._opened_at:
            self._attempt = 0
        self._opened_at = 0.0
        if drained:
            return 0.0
        ceiling = min(CAP_S, BASE_S * 2**self._attempt)
        self._attempt = min(self._attempt + 1, 10)
        return self.chance.random() * ceiling

    async def _frame(self, client: Any) -> bool:
        await self._readable.wait()
        return await super()._frame(client)

    async def pause(self, seconds: float) -> None:
        """A slow reader, who knows that what it has is old."""
        self.is_reading = False
        self._readable.clear()
        self._mark()
        await asyncio.sleep(seconds)
        self._readable.set()
        self.is_reading = True

    @property
    def live(self) -> bool:
        return self.is_reading and super().live

    # ---- what is counted

    def _on_welcome(self, message: Message) -> None:
        self._opened_at = time.monotonic()

    def _take(self, message: Message) -> None:
        if message["type"] == "welcome":
            self._opened_at = time.monotonic()
            self.events["connected"] += 1
        super()._take(message)

    def _on_subscribed(self, message: Message) -> None:
        had = (self.position if self.channel == "book" else self.trade) is not None
        if had:
            self.events["resumed" if message["resumed"] else "not resumed"] += 1
        super()._on_subscribed(message)

    def _on_drain(self, message: Message) -> None:
        self._drained = True
        self.events["drained"] += 1
        asyncio.get_running_loop().call_later(message["reconnect_after_ms"] / 1000, self.hang_up)

    def _on_state(self, message: Message) -> None:
        super()._on_state(message)
        self.events[f"told {self.code or self.state}"] += 1

    def _on_snapshot(self, message: Message) -> None:
        self.events[f"snapshot: {message['reason']}"] += 1
        super()._on_snapshot(message)
        self.silences.news()

    def _on_delta(self, message: Message) -> None:
        super()._on_delta(message)
        self.silences.news()

    def _on_ticker(self, message: Message) -> None:
        super()._on_ticker(message)
        self.silences.news()

    def _on_lost(self, message: Message) -> None:
        self.events["trades lost"] += message["last"] - message["first"] + 1
        super()._on_lost(message)

    def _note(self, kind: str, text: str) -> None:
        super()._note(kind, f"{text} (at {time.monotonic():.1f})")

    def _gone(self, error: BaseException) -> None:
        code = self.closes[-1] if isinstance(error, EOFError) and self.closes else type(error).__name__
        self.events[f"lost the connection: {code}"] += 1
        super()._gone(error)


class SdkReader:
    """``mdstream.client``, judged by a book of its own that knows the updates alone."""

    def __init__(self, urls: Sequence[str], truth: Truth, depth: int, lines: int) -> None:
        self.truth, self.urls, self.depth, self.line_count = truth, list(urls), depth, lines
        self.channel = "book"
        self.clock: Callable[[], float] = time.monotonic
        self.silences = Silences()
        self.events: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.moments: list[Moment] = []
        self.shown: list[Shown] = []
        self.levels = Levels()
        self.position: Position | None = None
        self.book: Book | None = None
        self.client: Client | None = None

    @property
    def who(self) -> str:
        return f"SDK on {self.line_count} of {self.truth.name}"

    async def run(self) -> None:
        policy = Policy(persist=True)
        while True:
            try:
                async with connect(self.urls, lines=self.line_count, policy=policy) as self.client:
                    self.book = await self.client.book(self.truth.name, depth=self.depth)
                    self._begin(self.book)
                    await self.book.wait_ended()
            except ClientError as error:
                self._note("broken", f"the SDK gave up: {error}")
            await asyncio.sleep(1.0)

    def _begin(self, book: Book) -> None:
        bids, asks = book.bids.flatten().tolist(), book.asks.flatten().tolist()
        self._show("snapshot", book, bids, asks)
        book.on_update(lambda update: self._take(book, update))
        book.on_state(lambda _: self._mark())

    def _take(self, book: Book, update: BookUpdate) -> None:
        self.events[f"update: {update.kind}"] += 1
        if update.kind == "delta" and (update.epoch, update.first - 1) != self.position:
            self._note("broken", f"delta {update.first}..{update.last} after {self.position}")
        self._show(update.kind, book, update.flat_bids, update.flat_asks)
        self.silences.news()

    def _show(self, kind: str, book: Book, bids: list[int], asks: list[int]) -> None:
        if kind == "snapshot":
            self.levels = Levels()
        self.levels.apply(bids, asks)
        position = book.epoch, book.seq
        if self.position is not None and position < self.position:
            self._note("back", f"{position} after {self.position}")
        self.position = position
        if book.crc != checksum(self.levels):
            self._note("broken", f"the updates do not lead to the book at {position}")
        scale = book.price_exp, book.size_exp
        self.shown.append(Shown("book", position, (self.levels.mark, self.levels.best()), scale))
        self._mark()

    def _mark(self) -> None:
        book = self.book
        live = book is not None and book.state == "live"
        state = "none" if book is None else str(book.state)
        code = None if book is None else book.state_code
        self.moments.append(
            Moment(time.monotonic(), live, state, code, None, self.position, self.levels.mark)
        )

    def _note(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if len(self.notes) < 3:
            self.notes.append(f"{kind}: {text}")

    def hang_up(self) -> None:
        """As a link that is lost, on every line."""
        for line in self.client.lines if self.client is not None else ():
            transport = getattr(line, "_transport", None)
            if transport is not None:
                transport.abort()

    async def pause(self, seconds: float) -> None:
        """The SDK always reads."""
