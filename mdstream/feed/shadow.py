"""An instrument as another writer publishes it, followed as it comes: where that writer's numbers and book stand."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress

from nats.aio.subscription import Subscription

from mdstream._core.codec.feed_decoder import BookValue, SnapValue, StatusValue, TradeValue, decode_payload
from mdstream._core.orderbook.book import Book
from mdstream.bus import MD_LOG, MD_STATE, Bus, Stored, subject
from mdstream.errors import BookError, BusError, PayloadError
from mdstream.feed.claim import ServerClock, plausible
from mdstream.feed.writer import TradeId
from mdstream.model import InstrumentId, Ref, VenueState

log = logging.getLogger("mdstream.feed")

READ_S = 2.0
"""How long reading what is stored may take."""
AGAIN_S = 1.0
MARGIN_US = 10_000_000
"""So much of the log before the stored snapshot is read too."""
MOST_HELD = 20_000

Value = BookValue | TradeValue


class Shadow:
    """``known``: whether book and numbers are the other writer's. If something is missing, it is read from storage."""

    def __init__(self, bus: Bus, instrument: InstrumentId, clock: ServerClock) -> None:
        self.id = instrument
        self._clock = clock
        self.book = Book(str(instrument), log_capacity=1024)
        self.trade_seq = 0
        self.trade_id: TradeId | None = None
        """The venue's id of the last trade that was published."""
        self.ref: Ref | None = None
        self.state: str = VenueState.FEED_DOWN
        self.known = False
        self._bus = bus
        self._held: list[Value] = []
        """What comes while we read."""
        self._subscription: Subscription | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def position(self) -> tuple[int, int, int]:
        """Epoch, book seq and trade seq."""
        return self.book.epoch, self.book.seq, self.trade_seq

    @property
    def has_book(self) -> bool:
        return self.book.seq > 0 and self.state != VenueState.FEED_DOWN

    async def start(self) -> None:
        self._subscription = await self._bus.subscribe(subject(self.id, "*"), self._on_message)
        self._read_soon()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=READ_S)

    async def stop(self) -> None:
        self._stopped = True
        if self._reading is not None:
            self._reading.cancel()
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)
            self._subscription = None

    async def _read_once(self) -> None:
        """Reads what is stored, if JetStream answers; ``known`` tells."""
        self.known = False
        with suppress(TimeoutError):
            try:
                async with asyncio.timeout(READ_S):
                    await self._read()
            except (BusError, PayloadError, BookError) as error:
                log.debug("%s: what its writer has published cannot be read: %s", self.id, error)

    async def agrees(self, position: tuple[int, int, int]) -> bool:
        """Whether what is stored, and what we have, are the last words of a writer who stopped at this position."""
        if self.known and self.position == position:
            return await self._log_ends_at(position)
        if self._reading is not None:
            self._reading.cancel()
        await self._read_once()
        return self.known and self.position == position and await self._log_ends_at(position)

    # ---- what comes

    def _on_message(self, name: bytes, _: bytes, payload: bytes, __: bytes | None) -> None:
        stream = name.rpartition(b".")[2].decode()
        try:
            values = decode_payload(stream, payload)
        except PayloadError:
            return
        for value in values:
            if isinstance(value, BookValue | TradeValue):
                self._take(value)
            elif isinstance(value, StatusValue):
                self._on_status(value)
            elif isinstance(value, Ref):
                self._on_ref(value)

    def _on_status(self, status: StatusValue) -> None:
        if status.epoch >= self.book.epoch:
            self.state = status.state
        if status.epoch == self.book.epoch and status.trade_seq is not None:
            # Beyond the last trade there may be numbers that were left out.
            self.trade_seq = max(self.trade_seq, status.trade_seq)

    def _on_ref(self, ref: Ref) -> None:
        if ref.epoch >= (self.ref.epoch if self.ref is not None else 0) and plausible(
            ref.epoch, self._clock.now_us()
        ):
            self.ref = ref

    def _take(self, value: Value) -> None:
        if self.known:
            self.known = self._apply(value)
            if self.known:
                return
        if len(self._held) < MOST_HELD:
            self._held.append(value)
        self._read_soon()

    def _apply(self, value: Value) -> bool:
        """False if something is missing before it."""
        if value.epoch < self.book.epoch:
            return True
        if value.epoch > self.book.epoch:
            if not plausible(value.epoch, self._clock.now_us()):
                return True
            self._begin(value.epoch)
        return self._apply_book(value) if isinstance(value, BookValue) else self._apply_trade(value)

    def _begin(self, epoch: int) -> None:
        self.book.reset(epoch)
        self.trade_seq = 0

    def _apply_book(self, value: BookValue) -> bool:
        if value.last <= self.book.seq:
            return True
        try:
            self.book.apply(value.first, value.last, value.ts_us, value.bids, value.asks)
        except BookError:
            return False
        return True

    def _apply_trade(self, value: TradeValue) -> bool:
        # Numbers that are left out are trades that the writer has lost: nothing that we could read.
        if value.seq > self.trade_seq:
            self.trade_seq, self.trade_id = value.seq, value.trade_id
        return True

    # ---- what is stored

    def _read_soon(self) -> None:
        if not self._stopped and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self._read_again())

    async def _read_again(self) -> None:
        while not self._stopped and not self.known:
            await self._read_once()
            if not self.known:
                await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        self._held.clear()
        ref, snap, status = await asyncio.gather(
            *(
                self._bus.last_stored(MD_STATE, subject(self.id, stream))
                for stream in ("ref", "snap", "status")
            )
        )
        if ref is not None:
            for value in decode_payload("ref", ref.payload):
                self._on_ref(value)
        self._load(snap)
        await self._read_log(snap)
        if status is not None:
            for last in decode_payload("status", status.payload):
                self._on_status(last)
        held, self._held = self._held, []
        self.known = all(self._apply(value) for value in held)

    def _load(self, snap: Stored | None) -> None:
        self._begin(1)
        if snap is not None:
            value: SnapValue = decode_payload("snap", snap.payload)[-1]
            self.book.load(value.epoch, value.seq, value.ts_us, value.bids, value.asks)

    async def _read_log(self, snap: Stored | None) -> None:
        since_us = None if snap is None else snap.stored_us - MARGIN_US
        async with aclosing(self._bus.log(subject(self.id, "book"), since_us=since_us)) as log_of_book:
            async for payload in log_of_book:
                for value in decode_payload("book", payload):
                    self._apply(value)
        trade = await self._bus.last(MD_LOG, subject(self.id, "trade"))
        if trade is not None:
            self._apply(decode_payload("trade", trade)[-1])

    async def _log_ends_at(self, position: tuple[int, int, int]) -> bool:
        """Whether nothing is stored beyond, and nothing before it is on its way still. What has aged out of the log is no objection."""
        epoch, *numbers = position
        try:
            async with asyncio.timeout(READ_S):
                for stream, number in zip(("book", "trade"), numbers, strict=True):
                    payload = await self._bus.last(MD_LOG, subject(self.id, stream))
                    if payload is None:
                        continue
                    last = decode_payload(stream, payload)[-1]
                    assert isinstance(last, BookValue | TradeValue)
                    newest = last.last if isinstance(last, BookValue) else last.seq
                    if last.epoch > epoch or (last.epoch == epoch and newest > number):
                        return False
                    if stream == "book" and (last.epoch, newest) < (epoch, number):
                        return False
        except (BusError, PayloadError, TimeoutError):
            return False
        return True
