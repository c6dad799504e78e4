"""An independent reader: speaks the gateway's contract itself, and keeps what it is shown and told, with the time.

It uses nothing of ``mdstream.client``. ``verdict.judge`` compares what it kept with the truth.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import msgpack

from support.websocket import BINARY, CLOSE, PING, PONG, TEXT, RawClient, frame
from truth import patience
from truth.model import Exponents, Level, Levels, Position, Truth

RETRY_S = 0.05
MAX_NOTES = 3
Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """What holds from ``at`` until the next moment."""

    at: float
    live: bool
    """Connected, subscribed, and told ``live`` or nothing else."""
    state: str
    code: str | None
    age_ms: int | None
    position: Position | None
    """What the client has of the book; None for nothing."""
    mark: int


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing that it was shown, to be compared with the truth."""

    what: str
    """``book ticker last trade``"""
    position: Position
    value: Any
    scale: Exponents


class Reader:
    """One subscription of one client, which comes back and resumes after a lost connection, also on another gateway."""

    def __init__(
        self, port: int, truth: Truth, channel: str = "book", format: str = "json", **fields: Any
    ) -> None:
        self.port = port
        """Of the gateway; set another one, and the next connection goes there."""
        self.truth, self.channel, self.format = truth, channel, format
        self.clock: Callable[[], float] = time.monotonic
        self.moments: list[Moment] = []
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.shown: list[Shown] = []
        self.connections = self.heartbeats = self.snapshots = 0
        self.closes: list[int] = []
        self.lost: set[int] = set()
        self.refs: list[Message] = []
        self.book = Levels()
        self.position: Position | None = None
        self.trade: Position | None = None
        self.state, self.code, self.age_ms = "live", None, None
        self.sub: int | None = None
        self._fields = fields
        self._scale: Exponents = (0, 0)
        self._heartbeat_s = 15.0
        self._greatest: Position = (0, 0)
        self._changed = asyncio.Event()
        self._client: RawClient | None = None

    @property
    def who(self) -> str:
        return f"{self.channel} of {self.truth.name} in {self.format}"

    # ---- what a scenario waits for

    async def until(self, condition: Callable[[], object], within_s: float = 10.0) -> bool:
        """Whether the condition came to hold in time; looked at after each message."""
        try:
            async with asyncio.timeout(patience.within(within_s)):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def current(self, within_s: float = 10.0) -> None:
        """Returns when it is told ``live`` and has the newest; fails if that takes too long."""
        newest = self.truth.newest
        if not await self.until(lambda: self.live and (self.position or (0, 0)) >= newest, within_s):
            raise AssertionError(
                f"{self.who}: not live at {newest} within {within_s:g} s, but {self.state} {self.code} at {self.position}"
            )

    async def told(self, *codes: str, within_s: float = 10.0, since: int | None = None) -> None:
        """Returns when it is told one of these codes (or a state that is not live, if none is given). ``since``: it may also have
        been told so before, after it had had so many ``moments``."""

        def is_told() -> bool:
            if since is not None and any(moment.code in codes for moment in self.moments[since:]):
                return True
            return not self.live and (not codes or self.code in codes)

        if not await self.until(is_told, within_s):
            raise AssertionError(
                f"{self.who}: not told {' or '.join(codes) or 'that it is not live'} within {within_s:g} s, "
                f"but {self.state} {self.code} at {self.position}"
            )

    @property
    def live(self) -> bool:
        return self.sub is not None and self.state == "live"

    @property
    def codes(self) -> list[str]:
        """The codes that it was told, in order, without repetitions."""
        codes: list[str] = []
        for moment in self.moments:
            if moment.code and codes[-1:] != [moment.code]:
                codes.append(moment.code)
        return codes

    def hang_up(self) -> None:
        """Ends the connection without a word; the reader comes back and resumes."""
        if self._client is not None:
            self._client.leave()

    def left(self) -> None:
        """From now on it is told nothing."""
        self.sub = None
        self._mark()

    # ---- connections

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._connect()
            except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError, AssertionError) as error:
                self._gone(error)
            await asyncio.sleep(RETRY_S)

    async def _connect(self) -> None:
        protocol = f"mdstream.v1.{self.format}"
        async with asyncio.timeout(5):
            client = await RawClient.connect(self.port, subprotocol=protocol, limit=2**24)
        self._client = client
        self.connections += 1
        try:
            self._subscribe()
            while await self._frame(client):
                pass
        finally:
            self._client = None
            await client.end()

    async def _frame(self, client: RawClient) -> bool:
        """Takes one frame; a link that is silent for two heartbeats is dead."""
        async with asyncio.timeout(2 * self._heartbeat_s):
            opcode, payload = await client.frame()
        if opcode == PING:
            client.send(frame(PONG, payload))
        elif opcode == CLOSE:
            self.closes.append(int.from_bytes(payload[:2]))
            raise EOFError("closed")
        elif opcode in (TEXT, BINARY):
            for message in self._decode(payload):
                self._take(message)
        return True

    def _gone(self, error: BaseException) -> None:
        if isinstance(error, AssertionError) and self.sub is not None:
            self._note("broken", str(error))
        self.left()

    def _subscribe(self) -> None:
        command: Message = {"op": "subscribe", "channel": self.channel, "instruments": [self.truth.name]}
        have = self.trade if self.channel == "trades" else self.position
        if have is not None:
            command["resume"] = {self.truth.name: list(have)}
        self._say(command | self._fields)

    def _say(self, command: Message) -> None:
        if self._client is None:
            return
        if self.format == "json":
            self._client.send(frame(TEXT, json.dumps(command).encode()))
        else:
            self._client.send(frame(BINARY, msgpack.packb(command)))

    # ---- messages

    def _decode(self, payload: bytes) -> list[Message]:
        if self.format == "json":
            return [json.loads(payload)]
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(payload)
        return [value if isinstance(value, dict) else _named(value) for value in unpacker]

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "error" and self.sub is None:
            asyncio.get_running_loop().call_later(RETRY_S, self._subscribe)
        elif kind == "error":
            self._note("broken", f"error {message}")
        elif kind == "welcome":
            self._heartbeat_s = message["heartbeat_ms"] / 1000
        elif kind == "heartbeat":
            self.heartbeats += 1
            self._on_heartbeat(dict(message["seqs"]))
        elif kind == "subscribed" or message.get("sub", self.sub) == self.sub:
            getattr(self, f"_on_{kind}", _ignore)(message)
        self._changed.set()

    def _on_subscribed(self, message: Message) -> None:
        self.sub, self._scale = message["sub"], (message["price_exp"], message["size_exp"])
        self.refs.append(message.get("ref", {}))
        self.state, self.code, self.age_ms = "live", None, None
        if not message["resumed"]:
            self.trade = None  # what came since is not sent, which this says
        self._mark()

    def _on_unsubscribed(self, message: Message) -> None:
        """Unasked, because this reader never asks: subscribe again, with nothing of before."""
        self.sub = self.position = self.trade = None
        self._mark()
        self._subscribe()

    def _on_ref(self, message: Message) -> None:
        self.refs.append(message["ref"])

    def _on_state(self, message: Message) -> None:
        self.state, self.code, self.age_ms = message["state"], message.get("code"), message.get("age_ms")
        if (self.state == "live") != (self.code is None) and "code" in message:
            self._note("broken", f"state {self.state} with code {self.code}")
        self._mark()

    def _on_heartbeat(self, seqs: dict[int, int]) -> None:
        if self.channel == "book" and self.position and seqs.get(self.sub or 0, 0) > self.position[1]:
            self._note("broken", f"heartbeat names {seqs}, we have {self.position}")

    # ---- the book

    def _on_snapshot(self, message: Message) -> None:
        self.snapshots += 1
        self.book = Levels(*(self._flat(message[side]) for side in ("bids", "asks")))
        if message["seq"] == 0:
            self._note("empty", f"snapshot of epoch {message['epoch']} with {self.book.best()}")
        self._show((message["epoch"], message["seq"]), message["crc"])

    def _on_delta(self, message: Message) -> None:
        if self.position is None or message["first"] != self.position[1] + 1:
            self._note("broken", f"delta {message['first']}..{message['last']} after {self.position}")
            self._say({"op": "recover", "sub": self.sub, "from": 0})
            return
        self.book.apply(*(self._flat(message[side]) for side in ("bids", "asks")))
        self._show((self.position[0], message["last"]), message["crc"])

    def _show(self, position: Position, crc: int) -> None:
        self._advance(position)
        self.position = position
        if crc != checksum(self.book):
            self._note("broken", f"checksum at {position}")
        self._keep("book", position, (self.book.mark, self.book.best()))
        self._mark()

    def _advance(self, position: Position) -> None:
        if position < self._greatest:
            self._note("back", f"{position} after {self._greatest}")
        self._greatest = max(self._greatest, position)

    def _keep(self, what: str, position: Position, value: Any) -> None:
        self.shown.append(Shown(what, position, value, self._scale))

    # ---- tickers and trades

    def _on_ticker(self, message: Message) -> None:
        position = message["epoch"], message["seq"]
        self._advance(position)
        if position[1]:
            self._keep("ticker", position, (self._level(message["bid"]), self._level(message["ask"])))
        last = self._level(message["last"])
        if last is not None:
            self._keep("last", position, last)
        self.position = position if position[1] else None
        self._mark()

    def _on_trades(self, message: Message) -> None:
        for seq, _, ticks, lots, *_ in message["trades"]:
            position = message["epoch"], seq
            if self.trade is not None and position <= self.trade:
                self._note("back", f"trade {position} after {self.trade}")
            if self.trade is not None and position[0] == self.trade[0]:
                missing = set(range(self.trade[1] + 1, seq)) - self.lost
                if missing:
                    self._note("broken", f"trades {missing} were neither shown nor told lost")
            self.trade = position
            self._keep("trade", position, self._level([ticks, lots]))
        self._mark()

    def _on_lost(self, message: Message) -> None:
        self.lost.update(range(message["first"], message["last"] + 1))

    # ---- numbers

    def _flat(self, levels: Sequence[Any]) -> list[int]:
        if self.format == "msgpack":
            return list(levels)
        return [number for level in levels for number in self._integers(level)]

    def _level(self, level: Sequence[Any] | None) -> Level:
        if level is None or level[0] is None:
            return None
        return (level[0], level[1]) if self.format == "msgpack" else self._integers(level)

    def _integers(self, level: Sequence[str]) -> tuple[int, int]:
        ticks, lots = (_integer(text, exp) for text, exp in zip(level, self._scale, strict=True))
        return ticks, lots

    # ---- notes

    def _note(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"{kind}: {text}")

    def _mark(self) -> None:
        at = self.clock()
        moment = Moment(at, self.live, self.state, self.code, self.age_ms, self.position, self.book.mark)
        self.moments.append(moment)
        self._changed.set()


def _ignore(message: Message) -> None:
    """A message that says nothing about what is shown."""


def _named(value: list[Any]) -> Message:
    """A data message of the MessagePack form, with the names of the JSON form."""
    kind, *rest = value
    if kind == 1:
        return dict(
            zip(("sub", "first", "last", "ts", "bids", "asks", "crc"), rest, strict=True), type="delta"
        )
    if kind == 2:
        names = ("sub", "epoch", "seq", "ts", "bids", "asks", "crc", "reason")
        return dict(zip(names, rest, strict=True), type="snapshot")
    if kind == 3:
        return dict(zip(("sub", "epoch", "first", "last", "trades"), rest, strict=True), type="trades")
    if kind == 4:
        sub, epoch, seq, ts, *levels = rest
        bid, ask, last = levels[:2], levels[2:4], levels[4:]
        return {
            "type": "ticker",
            "sub": sub,
            "epoch": epoch,
            "seq": seq,
            "ts": ts,
            "bid": bid,
            "ask": ask,
            "last": last,
        }
    assert kind == 5, value
    return {"type": "heartbeat", "time": rest[0], "seqs": zip(rest[1][::2], rest[1][1::2], strict=True)}


def _integer(text: str, exp: int) -> int:
    """The integer of a decimal text, which must have exactly -exp decimals."""
    _, _, decimals = text.partition(".")
    assert len(decimals) == max(-exp, 0), f"{text} does not have {-exp} decimals"
    return int(text.replace(".", "")) // 10 ** max(exp, 0)


def checksum(book: Levels) -> int:
    bids, asks = book.flat() if len(book.bids) + len(book.asks) < 40 else top(book)
    text: list[str] = []
    for at in range(0, 20, 2):
        text += [str(number) for side in (bids, asks) for number in side[at : at + 2]]
    return zlib.crc32(":".join(text).encode())


def top(book: Levels, depth: int = 10) -> tuple[list[int], list[int]]:
    """The best levels of each side, flat."""
    bids, asks = heapq.nlargest(depth, book.bids), heapq.nsmallest(depth, book.asks)
    return (
        [number for ticks in bids for number in (ticks, book.bids[ticks])],
        [number for ticks in asks for number in (ticks, book.asks[ticks])],
    )


@asynccontextmanager
async def reading(reader: Reader) -> AsyncIterator[Reader]:
    """Runs a reader."""
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        reader.left()
