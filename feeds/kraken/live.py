"""Live: version 2 of the API, one connection for all pairs.

We subscribe to the instrument channel first, because the checksum needs each pair's decimals; then to books and trades.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from mdstream.errors import BusError, FeedError
from mdstream.feed import Publisher
from mdstream.feeds._garbled import Garbled
from mdstream.feeds._published import PublishedInstrument
from mdstream.feeds._venue import Backoff, Link
from mdstream.feeds._websocket import Connection
from mdstream.feeds.kraken.events import (
    Answer,
    BookMessage,
    Event,
    NoPairs,
    PairInfo,
    SystemStatus,
    TradeMessage,
    hint,
    parse,
)
from mdstream.feeds.kraken.pair import DELISTED, Pair, Told, scale_of, state_of
from mdstream.feeds.kraken.silence import Silence
from mdstream.feeds.kraken.subscriptions import ANSWER_S, Key, Subscriptions, request, requests

log = logging.getLogger("mdstream.feeds.kraken")

URL = "wss://ws.kraken.com/v2"
TICK_S = 0.05
"""How often we look for what is due."""
JUDGE_S = 0.25
"""How often we look for what is silent."""
OPENING_AT_ONCE = 8


class UnknownPair(FeedError):
    """The venue does not know any of the pairs."""


class Live:
    """Gets the pairs' data, then gives each event to its pair."""

    def __init__(
        self,
        publisher: Publisher,
        names: Sequence[str],
        *,
        depth: int = 100,
        url: str = URL,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pairs: dict[str, Pair] = {}
        """The pairs that the venue has listed since we started."""
        self._publisher = publisher
        self._names = list(dict.fromkeys(names))
        self._depth = depth
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._link = Link(url, self, backoff=self._backoff)
        self._subscriptions = Subscriptions(self._backoff, clock)
        self._silence = Silence(clock)
        self._judged_at = self._data_at = self._opened_at = clock()
        self._connection: Connection | None = None
        self._system = "online"
        self.garbled = Garbled(clock)
        self._listed: dict[str, PairInfo] = {}
        self._listed_now: set[str] = set()
        """Those of ``_listed`` that the present connection has listed."""
        self._is_listed = False
        """Whether the present connection has listed what the venue has."""
        self._preparing: set[str] = set()
        self._turn = asyncio.Semaphore(OPENING_AT_ONCE)
        self._fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Runs until cancelled. Raises UnknownPair; FeedError if the only pair cannot be published."""
        work = [asyncio.create_task(each) for each in (self._link.run(), self._tick())]
        try:
            either: set[asyncio.Future[Any]] = {*work, self._fatal}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for done in either:
                if done.done():
                    done.result()
        finally:
            for task in (*work, *self._tasks):
                task.cancel()
            await asyncio.gather(*work, *self._tasks, return_exceptions=True)

    # ---- the connection

    def on_open(self, connection: Connection) -> None:
        self._connection = connection
        self._opened_at = self._clock()
        self._listed_now.clear()
        self._is_listed = False
        self._subscriptions.on_open()
        self._silence.on_open(self._names)
        connection.send(request("subscribe", channel="instrument", snapshot=True))

    def on_message(self, message: bytes) -> None:
        try:
            events = parse(message)
        except FeedError as error:
            self._on_garbled(message, error)
            return
        for event in events:
            self._on_event(event)
        infos = [event for event in events if isinstance(event, PairInfo)]
        if infos:
            self._on_infos(infos)

    def _on_garbled(self, message: bytes, error: FeedError) -> None:
        """Costs this message, and what it was about: that is fetched again. Raises FeedError if there are too many."""
        self.garbled.note(error)
        about = hint(message)
        if about.channel == "instrument" and self._connection is not None:
            self._connection.send(request("unsubscribe", channel="instrument"))
            self._connection.send(request("subscribe", channel="instrument", snapshot=True))
        for name, pair in self.pairs.items():
            if name not in self._listed_now or about.pair not in (None, name):
                continue
            if about.channel in (None, "trade"):
                pair.miss_trades()
            if about.channel in (None, "book"):
                self._on_failed(Key("book", name), "a message of the venue could not be understood")

    def on_lost(self, reason: str) -> None:
        self._connection = None
        for pair in self.pairs.values():
            pair.on_lost(reason)

    def _on_event(self, event: Event) -> None:
        match event:
            case BookMessage() if event.pair in self.pairs:
                self._on_book(self.pairs[event.pair], event)
            case TradeMessage() if event.pair in self.pairs:
                self._on_trade(self.pairs[event.pair], event)
            case SystemStatus():
                self._on_system(event.system)
            case NoPairs():
                self._on_infos([])
            case Answer():
                self._on_answer(event)

    # ---- what the venue lists, and its states

    def _on_infos(self, infos: list[PairInfo]) -> None:
        """Takes pairs that changed or, of a snapshot, all that the venue has."""
        known = {info.pair: info for info in infos}
        whole = not infos or any(info.snapshot for info in infos)
        self._is_listed |= whole
        if whole and not self.pairs and not self._listed and known.keys().isdisjoint(self._names):
            self._fail(UnknownPair(f"Kraken knows no pair {_hinted(self._names, known)}"))
            return
        for name in self._names:
            info = known.get(name)
            if info is not None and info.status != DELISTED:
                self._on_listed(info)
            elif info is not None or whole:
                self._on_gone(name, info, known)

    def _on_listed(self, info: PairInfo) -> None:
        pair, former = self.pairs.get(info.pair), self._listed.get(info.pair)
        self._listed[info.pair] = info
        if pair is not None:
            self._show(pair)
        if info.pair not in self._listed_now:
            self._listed_now.add(info.pair)
            self._prepare(info.pair)
        elif former is not None and info.precision != former.precision:
            # Every number of the pair changes its meaning: start over with a new connection.
            self._reconnect(f"{info.pair}: the venue changed its decimals")

    def _on_gone(self, name: str, info: PairInfo | None, known: Iterable[str]) -> None:
        """The venue has delisted a pair, or does not even list it. That is told once, and does not concern the others."""
        self._listed_now.discard(name)
        self._subscriptions.drop(name)
        if self._listed.pop(name, None) is not None or name not in self.pairs:
            log.error("Kraken has no pair %s; the others go on", _hinted([name], known))
        if name in self.pairs:
            pair = self.pairs[name]
            pair.published.up = state_of(info, self._system)
            pair.published.show()
            pair.on_lost(pair.published.up[1])

    def _on_system(self, system: str) -> None:
        if system != self._system:
            log.warning("the venue's system status is %s", system)
        self._system = system
        for name in self._listed:
            if name in self.pairs:
                self._show(self.pairs[name])

    def _show(self, pair: Pair) -> None:
        pair.published.up = state_of(self._listed.get(pair.published.symbol), self._system)
        pair.published.show()

    # ---- opening instruments

    def _prepare(self, name: str) -> None:
        if name not in self._preparing:
            self._preparing.add(name)
            self._spawn(self._prepare_and_subscribe(name))

    async def _prepare_and_subscribe(self, name: str) -> None:
        """Opens a pair's instrument, or opens it again in another scale; then its channels are due."""
        backoff = self._backoff.fresh()
        try:
            while name in self._listed and not await self._fit(name):
                await asyncio.sleep(backoff.next_s())
        except FeedError as error:
            self._listed.pop(name, None)
            self._listed_now.discard(name)
            # The pair's own fault, such as a name that no instrument may have.
            if len(self._names) == 1:
                self._fail(error)
            log.error("%s", error)
        finally:
            self._preparing.discard(name)
        if name in self.pairs:
            self._show(self.pairs[name])
        if name in self.pairs and name in self._listed_now:
            self._subscriptions.ask(Key("book", name))
            if not self._subscriptions.confirmed(Key("trade", name)):
                self._subscriptions.ask(Key("trade", name))

    async def _fit(self, name: str) -> bool:
        """Gives a pair the scale that the venue lists; False if NATS refused it or the venue changed it meanwhile."""
        info, pair = self._listed[name], self.pairs.get(name)
        try:
            async with self._turn:
                if pair is None:
                    self.pairs[name] = await self._open(info)
                elif info.precision != pair.sync.book.precision:
                    pair.sync.use(info.precision)
                    await pair.published.rescale(scale_of(info))
                else:
                    await pair.published.rescale()
        except BusError as error:
            log.error("%s: %s", name, error)
            return False
        return self._listed.get(name, info).precision == info.precision

    async def _open(self, info: PairInfo) -> Pair:
        published = PublishedInstrument(self._publisher, info.pair, scale_of(info), depth=self._depth)
        published.up = state_of(info, self._system)
        await published.open()
        return Pair(published, self._depth, info.precision)

    # ---- the pairs' data

    def _on_book(self, pair: Pair, message: BookMessage) -> None:
        key, wanted = Key("book", pair.published.symbol), pair.wants_snapshot
        told = pair.on_book(message)
        if told is Told.NOTHING:
            if pair.wants_snapshot and (message.snapshot or not wanted):
                self._subscriptions.ask_again(key)
            return
        if told is Told.SAME and self._subscriptions.confirmed(key):
            return  # nobody has asked for it, and it says nothing new: a connection that stands still can do that
        self._data_at = self._clock()
        if not message.snapshot:
            self._silence.on_update(key.pair)
            return
        self._subscriptions.confirm(key)
        if self._silence.on_snapshot(key.pair, new=told is Told.NEW):
            pair.published.thaw()
            pair.published.heard()

    def _on_trade(self, pair: Pair, trade: TradeMessage) -> None:
        key, wanted = Key("trade", pair.published.symbol), pair.wants_snapshot
        self._subscriptions.confirm(key)
        if pair.on_trade(trade) is Told.NEW:
            self._data_at = self._clock()
            self._silence.on_trade()
        if pair.wants_snapshot and not wanted:
            self._subscriptions.ask_again(Key("book", key.pair))

    # ---- requests and answers

    def _on_answer(self, answer: Answer) -> None:
        if answer.success:
            if answer.method == "subscribe" and answer.result.get("channel") == "trade":
                self._subscriptions.confirm(Key("trade", answer.symbol))
            return
        keys = self._subscriptions.unanswered(answer.symbol) if answer.method == "subscribe" else []
        if not keys:
            log.error("the venue refused to %s %s: %s", answer.method, answer.symbol, answer.error)
        if not self._is_listed:
            self._reconnect(f"the venue refused to list its pairs: {answer.error}")
        for key in keys:
            if key.channel == "trade" and "already subscribed" in answer.error.lower():
                self._subscriptions.confirm(key)
            else:
                self._on_failed(key, f"the venue refused a subscription: {answer.error}")

    def _on_failed(self, key: Key, reason: str) -> None:
        if key.channel == "book":
            self.pairs[key.pair].doubt(reason)
        delay_s = self._subscriptions.ask_again(key)
        log.warning("%s %s: %s; next try in %.1f s", key.pair, key.channel, reason, delay_s)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._look_for_silence()
            self._look_for_answers()
            for name in self._listed_now:
                if name in self.pairs and self.pairs[name].published.wants_rescale:
                    self._prepare(name)
            if self._connection is not None:
                for text in requests(self._subscriptions.due(self._is_ready), self._depth):
                    self._connection.send(text)

    def _is_ready(self, key: Key) -> bool:
        return key.pair not in self._preparing

    def _look_for_answers(self) -> None:
        if self._connection is None:
            return
        now, reason = self._clock(), f"the venue has not answered for {ANSWER_S:g} s"
        if not self._is_listed and now - self._opened_at >= ANSWER_S:
            self._reconnect(reason)
        for key, asked_at in self._subscriptions.overdue():
            if key.channel == "book" and self._data_at < asked_at:
                self._reconnect(reason)
                return
            self._on_failed(key, reason)

    def _look_for_silence(self) -> None:
        if self._connection is None or self._clock() - self._judged_at < JUDGE_S:
            return
        self._judged_at = self._clock()
        complete = [name for name in self._listed_now if self._subscriptions.confirmed(Key("book", name))]
        trading = [name for name in complete if self.pairs[name].published.up[0] == "trading"]
        verdict = self._silence.judge(trading, set(complete) - set(trading))
        for name in verdict.heard:
            self.pairs[name].published.heard()
        frozen = [name for name in verdict.heard if self.pairs[name].published.frozen]
        for name in (*verdict.ask, *frozen):
            self._subscriptions.ask(Key("book", name))
        if verdict.dead_s:
            reason = f"the venue has sent no data for {verdict.dead_s:.0f} s"
            for pair in self.pairs.values():
                if pair.published.up[0] == "trading":
                    pair.published.freeze(reason)
            self._reconnect(reason)

    # ----

    def _reconnect(self, reason: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(reason)

    def _fail(self, error: FeedError) -> None:
        if not self._fatal.done():
            self._fatal.set_exception(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _hinted(names: Iterable[str], known: Iterable[str]) -> str:
    """Unknown names, each with what the venue has that is most like it. Upper and lower case differ: AAPLx/USD."""
    folded = {name.casefold(): name for name in known}
    texts = []
    for name in names:
        close = get_close_matches(name.casefold(), folded, n=1)
        texts.append(f"{name} (did you mean {folded[close[0]]}?)" if close else name)
    return ", ".join(texts)
