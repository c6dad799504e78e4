"""A client with several lines: connections to different gateways at once, of which each subscription shows what comes first."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from mdstream.client.api import Client, S, until
from mdstream.client.board import Board
from mdstream.client.book import Book
from mdstream.client.candles import Candles
from mdstream.client.events import Answer, Published, Welcome
from mdstream.client.lined import (
    BookLeg,
    Leg,
    Lined,
    LinedBook,
    LinedTicker,
    LinedTrades,
    TickerLeg,
    TradesLeg,
)
from mdstream.client.lined_candles import CandlesLeg, LinedCandles
from mdstream.client.lined_rows import BoardLeg, LinedBoard, LinedList, ListLeg
from mdstream.client.listing import InstrumentList
from mdstream.client.moving import Moving
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.policy import TEMPORARY_ERRORS, Policy
from mdstream.client.protocol import Command, Request
from mdstream.client.states import ConnectionState, Stats
from mdstream.client.subscription import Link, Subscription
from mdstream.client.ticker import Ticker
from mdstream.client.trades import Trades
from mdstream.errors import ClientError, ConnectionFailed, SubscriptionRefused
from mdstream.topics import TOPIC_CHANNELS

KINDS: dict[type[Subscription], tuple[type[Lined], type[Leg]]] = {
    Book: (LinedBook, BookLeg),
    Ticker: (LinedTicker, TickerLeg),
    Trades: (LinedTrades, TradesLeg),
    Candles: (LinedCandles, CandlesLeg),
    Board: (LinedBoard, BoardLeg),
    InstrumentList: (LinedList, ListLeg),
}
BEST_FIRST = (
    ConnectionState.OPEN, ConnectionState.DRAINING, ConnectionState.CONNECTING, ConnectionState.RECONNECTING,
    ConnectionState.IDLE, ConnectionState.CLOSED,
)  # fmt: skip
UP = (ConnectionState.OPEN, ConnectionState.DRAINING)
FAILED = (ConnectionState.RECONNECTING, ConnectionState.CLOSED)


class Line(Client):
    """One connection of several. It tries again by itself, also if the first try fails."""

    @abstractmethod
    def start(self) -> None:
        """Begins to connect."""

    @abstractmethod
    def attach(self, make: Callable[[Link], S]) -> S:
        """Adds the subscription that ``make`` returns, and asks for it as soon as there is a connection."""

    @abstractmethod
    def release(self, subscription: Subscription) -> None:
        """Another line has this one from now on. Call while there is no connection here."""


def deal(url: str | Sequence[str], lines: int) -> list[tuple[str, ...]]:
    """Each line's URLs: the first to the first line, the second to the second, and so on in turn. One URL is for all lines.

    Raises ValueError if there are fewer than lines.
    """
    urls = (url,) if isinstance(url, str) else tuple(url)
    if lines < 1:
        raise ValueError(f"lines was {lines}; it must be at least 1")
    if lines > 1 and len(urls) == 1:
        return [urls] * lines
    if lines > max(len(urls), 1):
        raise ValueError(
            f"lines was {lines}, but there are {len(urls)} URLs; each line needs one, or all share one"
        )
    return [urls[line::lines] for line in range(lines)]


class LinedClient(Client):
    """Holds all lines at once. It is open as long as one of them is."""

    def __init__(self, lines: Sequence[Line], policy: Policy) -> None:
        self._lines = tuple(lines)
        self._link = _Link(self, policy)
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[Request, Lined] = {}
        self._moving: dict[Request, tuple[Moving, Subscription]] = {}
        """Those to topics."""
        self._closed = False
        self._known_state = ConnectionState.IDLE
        self._state_observers: list[Observer[ConnectionState]] = []
        self._later: set[asyncio.TimerHandle] = set()
        for number, line in enumerate(self._lines):
            line.on_state(partial(self._line_changed, number))

    # ---- for the user (documented in ``Client``)

    @property
    def lines(self) -> tuple[Client, ...]:
        return self._lines

    @property
    def url(self) -> str:
        return ",".join(line.url for line in self._lines)

    @property
    def state(self) -> ConnectionState:
        return min((line.state for line in self._lines), key=BEST_FIRST.index)

    @property
    def _best(self) -> Line:
        return min(self._lines, key=lambda line: BEST_FIRST.index(line.state))

    @property
    def reason(self) -> str | None:
        return self._best.reason

    @property
    def error(self) -> ClientError | None:
        if self.state is not ConnectionState.CLOSED:
            return None
        return next((line.error for line in self._lines if line.error is not None), None)

    @property
    def welcome(self) -> Welcome | None:
        return self._best.welcome

    @property
    def stats(self) -> Stats:
        return Stats.of([line.stats for line in self._lines])

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        return (*self._subscriptions.values(), *(each for _, each in self._moving.values()))

    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        return register(self._state_observers, observer)

    def on_payload(self, observer: Observer[bytes]) -> Callable[[], None]:
        return _on_all(line.on_payload(observer) for line in self._lines)

    def _on_line_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        return _on_all(line.on_state(observer) for line in self._lines)

    async def ping(self) -> float:
        return await self._best.ping()

    async def _call(self, make: Callable[[int], Command]) -> Answer:
        return await self._best._call(make)

    async def publish(self, topic: str, type: str, data: Any, *, key: str | None = None) -> Published:
        return await self._best.publish(topic, type, data, key=key)

    async def open(self) -> None:
        for line in self._lines:
            line.start()
        try:
            await until(self._on_line_state, lambda: self.state in UP or self._all_failed())
        except BaseException:
            await self.close()
            raise
        if self.state in UP:
            return
        error = self.error or ConnectionFailed(self.reason or f"no connection to {self.url}")
        await self.close()
        raise error

    def _all_failed(self) -> bool:
        states = [line.state for line in self._lines]
        if self._link.policy.persist:
            return all(state is ConnectionState.CLOSED for state in states)
        return all(state in FAILED for state in states)

    async def close(self) -> None:
        self._closed = True
        for timer in self._later:
            timer.cancel()
        for subscription in tuple(self._subscriptions.values()):
            self.end(subscription, None)
        await asyncio.gather(*(line.close() for line in self._lines))

    # ---- subscriptions

    def _find(self, request: Request) -> Subscription | None:
        moving = self._moving.get(request)
        return self._subscriptions.get(request) if moving is None else moving[1]

    def _start(self, kind: type[S], request: Request) -> S:
        if request.channel in TOPIC_CHANNELS:
            return self._start_moving(kind, request)
        subscription: Any = KINDS[kind][0](request, self._link)
        self._subscriptions[request] = subscription
        for line in self._lines_for(request):
            self._ask(subscription, line)
        return subscription  # type: ignore[no-any-return]

    def _start_moving(self, kind: type[S], request: Request) -> S:
        moving = Moving(kind, request, self._lines.index(self._best))
        subscription: Any = self._lines[moving.line].attach(moving.use)
        self._moving[request] = (moving, subscription)
        subscription.on_end(lambda: self._moving.pop(request, None))
        return subscription  # type: ignore[no-any-return]

    def _move_all(self) -> None:
        """To the line that is open, from those that are not."""
        best = self._lines.index(self._best)
        if self._closed or self._lines[best].state is not ConnectionState.OPEN:
            return
        for moving, subscription in tuple(self._moving.values()):
            if self._lines[moving.line].state not in UP:
                self._lines[moving.line].release(subscription)
                moving.line = best
                self._lines[best].attach(moving.use)

    def _lines_for(self, request: Request) -> range:
        """The first line alone chooses a group: two gateways may choose different ones, which must not meet in one book."""
        return range(1 if request.group_digits else len(self._lines))

    def _ask(self, subscription: Lined, line: int) -> None:
        """Subscribes on one line, for the first time or again."""
        if subscription.ended or self._closed:
            return
        make = KINDS[_kind_of(subscription)][1]

        def made(link: Link) -> Leg:
            leg = make(subscription.request, link)
            leg.line = line
            subscription.set_leg(leg)
            leg.on_end(lambda: self._leg_ended(subscription, leg))
            return leg

        self._lines[line].attach(made)

    def _leg_ended(self, subscription: Lined, leg: Leg) -> None:
        """One line refuses: the others go on, and it is asked again later, unless none is left."""
        if subscription.ended:
            return
        if not any(self._may_serve(subscription, line) for line in self._lines_for(subscription.request)):
            self.end(subscription, leg.error)
        elif isinstance(leg.error, SubscriptionRefused) and leg.error.code in TEMPORARY_ERRORS:
            timer = self._loop.call_later(
                self._link.policy.recover_timeout_s, lambda: self._ask(subscription, leg.line)
            )
            self._later = {each for each in self._later if each.when() > self._loop.time()} | {timer}

    def _may_serve(self, subscription: Lined, line: int) -> bool:
        leg = next((each for each in subscription.legs if each.line == line), None)
        if leg is not None and (leg.ended or subscription.ready):
            return not leg.ended
        return self._lines[line].state in UP

    def end(self, subscription: Subscription, error: Exception | None) -> None:
        self._subscriptions.pop(subscription.request, None)
        subscription.end(error)
        assert isinstance(subscription, Lined)
        for leg in subscription.legs:
            if not leg.ended:
                leg.leave()

    # ---- lines

    def _line_changed(self, number: int, state: ConnectionState) -> None:
        if state is ConnectionState.OPEN:
            self._loop.call_soon(self._move_all)  # once it has asked for what it has
        else:
            self._move_all()
        if state is ConnectionState.OPEN:
            for subscription in tuple(self._subscriptions.values()):
                if any(leg.line == number and leg.ended for leg in subscription.legs):
                    self._ask(subscription, number)
        if self.state is not self._known_state:
            self._known_state = self.state
            notify_all(self._state_observers, self.state)


def _on_all(registered: Iterable[Callable[[], None]]) -> Callable[[], None]:
    """One function that ends all registrations."""
    ends = list(registered)

    def unregister() -> None:
        for end in ends:
            end()

    return unregister


def _kind_of(subscription: Lined) -> type[Subscription]:
    return next(kind for kind, (lined, _) in KINDS.items() if isinstance(subscription, lined))


class _Link:
    """What subscriptions on several lines need; each leg has its line's."""

    def __init__(self, client: LinedClient, policy: Policy) -> None:
        self.policy = policy
        self.stats = Stats()
        self.random: Callable[[], float] = lambda: 0.0
        self.now = asyncio.get_running_loop().time
        self._client = client

    def due(self, when: float) -> None:
        """Nothing: legs have the timers."""

    def send_recover(self, subscription: Subscription, from_seq: int) -> None:
        """Nothing: legs recover."""

    def send_ack(self, subscription: Subscription, seq: int) -> None:
        """Nothing: what is acknowledged is on one line, which does that."""

    def unsubscribe(self, subscription: Subscription) -> None:
        self._client.end(subscription, None)
