"""An instrument as another writer publishes it, followed as it comes: where that writer's numbers and book stand.

What is missing at the beginning, or is lost on the way, is in the next snapshot. So nothing is asked that a feed handler may not ask: no
consumer of a stream.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from nats.aio.subscription import Subscription

from mdstream._core.codec.feed_decoder import BookValue, SnapValue, StatusValue, TradeValue, decode_payload
from mdstream._core.orderbook.book import Book
from mdstream.bus import MD_LOG, MD_STATE, Bus, subject
from mdstream.errors import BookError, BusError, PayloadError
from mdstream.feed.claim import ServerClock, plausible
from mdstream.feed.writer import TradeId
from mdstream.model import InstrumentId, Ref, VenueState

log = logging.getLogger("mdstream.feed")

READ_S = 2.0
"""How long reading what is stored may take."""
AGAIN_S = 1.0
LOG_S = 1.0
"""How long the last words may take into the log."""
LOOK_S = 0.02
MOST_HELD = 20_000
"""Updates that wait for a snapshot."""

Value = BookValue | TradeValue


class Shadow:
    """``known``: whether book and numbers are the other writer's. If something is missing, they are from the next snapshot on."""

    def __init__(self, bus: Bus, instrument: InstrumentId, clock: ServerClock) -> None:
        self.id = instrument
        self._clock = clock
        self.book = Book(str(instrument), log_capacity=1024)
        self.trade_seq = 0
        self.trade_id: TradeId | None = None
        """The venue's id of the last trade that was published."""
        self.ref: Ref | None = None
        self.state = ""
        self.known = False
        self._bus = bus
        self._held: list[Value] = []
        """What comes while the book is not known."""
        self._subscription: Subscription | None = None
        self._reading: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def position(self) -> tuple[int, int, int]:
        """Epoch, book seq and trade seq."""
        return self.book.epoch, self.book.seq, self.trade_seq

    @property
    def has_book(self) -> bool:
        """Whether its writer has one, or may have: it is only ruled out by what we know."""
        return self.state != VenueState.FEED_DOWN and (self.book.seq > 0 or not self.known)

    async def start(self) -> None:
        self._subscription = await self._bus.subscribe(subject(self.id, "*"), self._on_message)
        self._read_soon()

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
            elif isinstance(value, SnapValue):
                self._on_snap(value)
            elif isinstance(value, StatusValue):
                self._on_status(value)
            elif isinstance(value, Ref):
                self._on_ref(value)

    def _on_snap(self, snap: SnapValue) -> None:
        is_newer = (snap.epoch, snap.seq) > (self.book.epoch, self.book.seq)
        if not plausible(snap.epoch, self._clock.now_us()) or snap.epoch < self.book.epoch:
            return
        if self.known and not is_newer:
            return
        with suppress(BookError):
            self._load(snap)
            self._catch_up()

    def _on_status(self, status: StatusValue) -> None:
        if not plausible(status.epoch, self._clock.now_us()):
            return
        if status.epoch >= self.book.epoch:
            self.state = status.state
        if status.epoch == self.book.epoch and status.trade_seq is not None:
            # Beyond the last trade there may be numbers that were left out.
            self.trade_seq = max(self.trade_seq, status.trade_seq)
        if (status.epoch, status.book_seq or 0) > (self.book.epoch, self.book.seq) and self.known:
            self.known = False
            self._read_soon()

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
        names = (
            (MD_STATE, "ref"),
            (MD_STATE, "snap"),
            (MD_STATE, "status"),
            (MD_LOG, "book"),
            (MD_LOG, "trade"),
        )
        stored = await asyncio.gather(
            *(self._bus.last(stream, subject(self.id, name)) for stream, name in names)
        )
        ref, snap, status, book, trade = (
            None if payload is None else decode_payload(name, payload)[-1]
            for (_, name), payload in zip(names, stored, strict=True)
        )
        if isinstance(ref, Ref):
            self._on_ref(ref)
        if self.known:
            return  # a live snapshot was quicker
        if isinstance(snap, SnapValue) and (snap.epoch, snap.seq) >= (self.book.epoch, self.book.seq):
            self._load(snap)
        if isinstance(trade, TradeValue):
            self._apply(trade)
        self._catch_up()
        if isinstance(status, StatusValue):
            self._on_status(status)
        if isinstance(book, BookValue) and (book.epoch, book.last) > (self.book.epoch, self.book.seq):
            self.known = False  # until the next snapshot, which comes within seconds

    def _load(self, snap: SnapValue) -> None:
        if snap.epoch != self.book.epoch:
            self._begin(snap.epoch)
        self.book.load(snap.epoch, snap.seq, snap.ts_us, snap.bids, snap.asks)

    def _catch_up(self) -> None:
        """Applies what came meanwhile."""
        self.known = all(self._apply(value) for value in self._held)
        if self.known:
            self._held.clear()

    async def _log_ends_at(self, position: tuple[int, int, int]) -> bool:
        """Whether nothing is stored beyond; waits a little for what is on its way. What has aged out of the log is no objection."""
        epoch, book_seq, trade_seq = position
        with suppress(BusError, PayloadError, TimeoutError):
            async with asyncio.timeout(LOG_S):
                while True:
                    book = await self._newest("book")
                    if book > (epoch, book_seq) or await self._newest("trade") > (epoch, trade_seq):
                        return False
                    if not book_seq or book in ((0, 0), (epoch, book_seq)):
                        return True
                    await asyncio.sleep(LOOK_S)
        return False

    async def _newest(self, stream: str) -> tuple[int, int]:
        """Epoch and number of the last value in MD_LOG; zeros if there is none."""
        payload = await self._bus.last(MD_LOG, subject(self.id, stream))
        value = None if payload is None else decode_payload(stream, payload)[-1]
        if isinstance(value, BookValue):
            return value.epoch, value.last
        return (value.epoch, value.seq) if isinstance(value, TradeValue) else (0, 0)
