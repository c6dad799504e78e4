"""Two ``mdstream feed kraken`` processes that share a pair, each with its own connection to the same venue."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgpack

from mdstream.bus import BusOptions, StreamOptions, connect
from mdstream.bus.leases import Record, lease_subject
from mdstream.bus.streams import LEASES_STREAM
from support.fake_kraken import PAIR, FakeKraken
from support.program import Program
from truth.model import Levels, Truth
from truth.rig import Case

NAME = f"KRAKEN:{PAIR}"
GROUP = "main"
PAUSE_S = 0.02


class Venue:
    """One market behind two endpoints. ``marks`` are those of every book that it ever had."""

    def __init__(self, seed: int) -> None:
        self.ends = [FakeKraken(), FakeKraken()]
        self.marks = {0, self._mark()}
        self.trades = 0
        self._random = random.Random(seed)

    def change(self) -> None:
        draw = self._random
        bids = {Decimal(100) - draw.randrange(10): Decimal(draw.randrange(1, 9000)) / 1000}
        asks = {Decimal(101) + draw.randrange(10): Decimal(draw.randrange(1, 9000)) / 1000}
        for end in self.ends:
            end.change(bids, asks)
            if not self.trades % 5:
                end.trade()
        self.trades += 1
        self.marks.add(self._mark())

    def _mark(self) -> int:
        end = self.ends[0]
        flat = [
            [number for price, size in side.items() for number in (int(price * 10), int(size * 1000))]
            for side in (end.bids, end.asks)
        ]
        return Levels(*flat).mark

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.change()
            await asyncio.sleep(PAUSE_S)


class Bus:
    """What a plain subscriber sees: who has the lease, when which epoch was heard, and what MD_STATE has stored in which order."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.first_at: dict[int, float] = {}
        """When the first update of an epoch was heard."""
        self.updates: list[tuple[float, int, int]] = []
        """Time, epoch and number of each."""
        self.trades: list[tuple[int, int, int]] = []
        """Epoch, number and the venue's id of each."""
        self.stored: list[tuple[int, str, int]] = []
        """Number in MD_STATE, stream and epoch."""

    async def listen(self, case: Case) -> None:
        nats = await case.nats()
        await nats.subscribe(f"md.KRAKEN.{PAIR}.book", cb=self._on_book)
        await nats.subscribe(f"md.KRAKEN.{PAIR}.trade", cb=self._on_trade)
        await nats.jetstream().subscribe(
            "md.KRAKEN.*.*", stream="MD_STATE", ordered_consumer=True, cb=self._on_stored
        )
        # What the server refuses to store is heard by plain subscribers all the same.
        await nats.jetstream().subscribe(
            lease_subject("KRAKEN", GROUP), stream=LEASES_STREAM, ordered_consumer=True, cb=self._on_lease
        )
        await nats.flush()

    async def _on_lease(self, message: Any) -> None:
        record = Record.parse(message.data)
        assert record is not None
        self.records.append(record)

    async def _on_book(self, message: Any) -> None:
        for value in _values(message.data):
            self.first_at.setdefault(value[1], time.monotonic())
            self.updates.append((time.monotonic(), value[1], value[2]))

    async def _on_trade(self, message: Any) -> None:
        self.trades += [(value[1], value[2], value[7]) for value in _values(message.data)]

    async def _on_stored(self, message: Any) -> None:
        stream = message.subject.rpartition(".")[2]
        for value in _values(message.data):
            epoch = value["epoch"] if stream == "ref" else value[1]
            self.stored.append((message.metadata.sequence.stream, stream, epoch))

    @property
    def holder(self) -> str:
        """Who has the lease; empty if it was given up."""
        record = self.records[-1] if self.records else None
        return "" if record is None or record.released else record.holder

    @property
    def epoch(self) -> int:
        return max(self.first_at, default=0)

    def old_ones_stored(self) -> list[tuple[int, str, int]]:
        """Of each stream what was stored after something of a greater epoch."""
        greatest: dict[str, int] = {}
        old = []
        for number, stream, epoch in sorted(self.stored):
            if epoch < greatest.get(stream, 0):
                old.append((number, stream, epoch))
            greatest[stream] = max(epoch, greatest.get(stream, 0))
        return old

    def unseen(self) -> int:
        """Numbers of MD_STATE between the first and the last that we have not seen: they were replaced before they came to us."""
        numbers = [number for number, _, _ in self.stored]
        return max(numbers) - min(numbers) + 1 - len(set(numbers)) if numbers else 0


def _values(payload: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(payload)
    return list(unpacker)


class Redundant:
    """``handlers`` 0 and 1, of which one writes; ``readers`` are clients of a gateway."""

    def __init__(self, case: Case, temporary: Path, seed: int = 1, ttl: str = "2s") -> None:
        self.case = case
        self.venue = Venue(seed)
        self.bus = Bus()
        self.truth = Truth(NAME)
        self.handlers: list[Program | None] = [None, None]
        self.urls: list[str] = []
        self._temporary = temporary
        self._ttl = ttl
        self._told: list[int] = []

    def start(self, number: int) -> None:
        self.handlers[number] = Program(
            "mdstream.cli", "feed", "kraken", "--pairs", PAIR, "--depth", "10",
            "--url", self.urls[number], "--nats", self.case.nats_url,
            "--lease", GROUP, "--lease-ttl", self._ttl,
            temporary=self._temporary,
        )  # fmt: skip

    def program(self, number: int) -> Program:
        program = self.handlers[number]
        assert program is not None
        return program

    @property
    def writer(self) -> int | None:
        """Whose process has the lease."""
        for number, program in enumerate(self.handlers):
            if program is not None and f"/{program.process.pid}/" in self.bus.holder:
                return number
        return None

    async def ready(self) -> None:
        """Returns when one writes, the other is ready to, and readers are live."""
        await self.until(lambda: self.writer is not None and self.bus.updates)
        await self.until(lambda: "ready to take over" in self.program(1 - (self.writer or 0)).errors)
        await asyncio.gather(*(reader.current() for reader in self.case.readers))
        self._told = [len(reader.moments) for reader in self.case.readers]

    def states_since_ready(self) -> set[str]:
        """What clients were told since both were ready last."""
        pairs = zip(self.case.readers, self._told, strict=True)
        return {moment.state for reader, told in pairs for moment in reader.moments[told:]}

    async def until(self, condition: Any, within_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await asyncio.sleep(0.002)
        except TimeoutError:
            said = [program.errors for program in self.handlers if program is not None]
            raise AssertionError("\n\n".join(["not in time; the handlers said", *said])) from None

    async def end(self, number: int, how: signal.Signals) -> None:
        """Ends a handler's process."""
        program, self.handlers[number] = self.program(number), None
        await asyncio.to_thread(program.end, how)
        program.__exit__(None, None, None)

    async def put_to_sleep_and_wake(self) -> float:
        """The writer is stopped until the other one writes, then continued: it must find out. Returns how long nothing was published."""
        writer, epoch = self.writer, self.bus.epoch
        assert writer is not None
        program = self.program(writer)
        followed = program.errors.count("ready to take over")
        program.signal(signal.SIGSTOP)
        asleep_at = time.monotonic()
        await self.until(lambda: self.bus.epoch > epoch)
        silent_s = self.bus.first_at[self.bus.epoch] - asleep_at
        program.signal(signal.SIGCONT)
        await self.until(lambda: program.errors.count("ready to take over") > followed)
        return silent_s

    def stop(self) -> None:
        for program in self.handlers:
            if program is not None:
                with suppress(ProcessLookupError):
                    program.signal(signal.SIGCONT)
                program.__exit__(None, None, None)

    def books_that_never_were(self) -> list[tuple[int, int]]:
        """Positions at which what was published is no book that the venue ever had."""
        return [at for at, mark in self.truth.marks.items() if mark not in self.venue.marks]

    def trades_told(self) -> list[int]:
        """The venue's ids, in the order of the bus."""
        return [trade_id for _, _, trade_id in self.bus.trades]


@asynccontextmanager
async def redundant(case: Case, temporary: Path, **options: Any) -> AsyncIterator[Redundant]:
    """Both handlers run, and two clients of each gateway read, before this begins."""
    made = Redundant(case, temporary, **options)
    async with AsyncExitStack() as stack:
        made.urls = [await stack.enter_async_context(end.serving()) for end in made.venue.ends]
        urls = tuple(case.nats_url.split(","))
        options = BusOptions(urls, streams=StreamOptions(replicas=len(urls)))
        async with await connect(options) as bus:
            await bus.ensure_leases()
        await made.bus.listen(case)
        await case.tap(made.truth)
        running = asyncio.create_task(made.venue.run())
        stack.callback(made.stop)
        stack.callback(running.cancel)
        for number in range(2):
            made.start(number)
        await made.until(lambda: made.bus.updates)
        for gateway in range(len(case.gateways)):
            for name in ("json", "msgpack"):
                await case.read(gateway, made.truth, format=name)
        await made.ready()
        yield made
