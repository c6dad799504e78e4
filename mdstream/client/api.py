"""What a user of the client holds, whether it has one connection or several."""

from __future__ import annotations

import asyncio
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mdstream.auth.patterns import ANY, Pattern
from mdstream.candle import MAX_HISTORY, SPANS
from mdstream.client import protocol
from mdstream.client.alerts import Alerts
from mdstream.client.board import Board
from mdstream.client.book import Book
from mdstream.client.candles import Candles
from mdstream.client.events import Answer, Published, Refused, Stored, Welcome
from mdstream.client.listing import InstrumentList
from mdstream.client.map import Map, MapEntry
from mdstream.client.observers import Observer
from mdstream.client.presence import Presence
from mdstream.client.protocol import Command, Request
from mdstream.client.states import ConnectionState, Stats
from mdstream.client.subscription import Subscription
from mdstream.client.ticker import Ticker
from mdstream.client.topic_events import Events
from mdstream.client.trades import Trades
from mdstream.codes import ErrorCode
from mdstream.errors import ClientError, ConnectionFailed, PutConflict, PutRefused
from mdstream.model import InstrumentId
from mdstream.topics import ALERTS, OWN, TOPIC_CHANNELS, check_topic

AGAIN_S = 0.5
"""How long a change waits that the gateway could not store."""
_AGAIN = frozenset({ErrorCode.UNAVAILABLE, ErrorCode.RATE_LIMITED})
_ABLE = (ConnectionState.OPEN, ConnectionState.CLOSED)
DATA_WAIT_S = 5.0
"""How long a subscription waits for its data if the gateway says why there is none."""

S = TypeVar("S", bound=Subscription)


class Client(ABC):
    """One or more connections that reconnect by themselves, and the subscriptions on them. Made by ``connect``."""

    # ---- connections

    @property
    @abstractmethod
    def url(self) -> str:
        """The gateway that it is connected to, or tries next; of several lines all, joined by commas."""

    @property
    @abstractmethod
    def state(self) -> ConnectionState:
        """Of several lines the best."""

    @property
    @abstractmethod
    def reason(self) -> str | None:
        """Why the client is not open, if that is known."""

    @property
    @abstractmethod
    def error(self) -> ClientError | None:
        """The error that closed the client for good; None if it is not closed, or the user closed it."""

    @property
    @abstractmethod
    def stats(self) -> Stats:
        """The counters; of several lines their sums, and the smallest latencies."""

    @property
    @abstractmethod
    def welcome(self) -> Welcome | None:
        """What the gateway sent about itself: node, heartbeat, limits; None while there is no connection."""

    @property
    @abstractmethod
    def lines(self) -> tuple[Client, ...]:
        """Its connections, each with its own ``url``, ``state``, ``reason`` and ``stats``: itself, or those of ``lines=2``."""

    @abstractmethod
    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        """Calls ``observer(state)`` at each change of the connection; returns a function that stops the calls."""

    @abstractmethod
    def on_payload(self, observer: Observer[bytes]) -> Callable[[], None]:
        """Calls ``observer(payload)`` with each WebSocket message, decompressed, before the client handles it."""

    @abstractmethod
    async def ping(self) -> float:
        """Returns the seconds until the gateway answered; raises ConnectionFailed if the connection is lost before."""

    @abstractmethod
    async def open(self) -> None:
        """Connects; returns when the gateway has sent ``welcome``. Raises ConnectionFailed or HandshakeRefused."""

    @abstractmethod
    async def close(self) -> None:
        """Ends every subscription and closes the connection. May be called more than once."""

    async def wait_closed(self) -> None:
        """Returns when the client is closed; raises the error that closed it, if there was one."""
        await until(self.on_state, lambda: self.state is ConnectionState.CLOSED)
        if self.error is not None:
            raise self.error

    # ---- subscriptions

    @property
    @abstractmethod
    def subscriptions(self) -> tuple[Subscription, ...]:
        """All that have not ended, also those whose first data has not come yet."""

    async def book(
        self,
        instrument: str,
        *,
        depth: int = 0,
        group: int = 1,
        interval_ms: int = 0,
        group_digits: int = 0,
    ) -> Book:
        """Subscribes to a book and returns it when its first snapshot has come; after 5 s also without one, if the gateway says why
        there is none (``state``, ``state_code``).

        ``depth`` 0 is the full book, ``group`` is the number of ticks per price bucket, ``interval_ms`` 0 gives every change.
        ``group_digits``, 3 to 6, has the gateway choose the group for so many significant figures of the present price (``granted_group``).
        A second request for the same view returns the same object; each request needs its own ``close``.

        Raises ValueError for an invalid instrument, SubscriptionRefused with the gateway's code, or the error that closed
        the client for good.
        """
        request = Request("book", instrument, depth, group, interval_ms, group_digits)
        return await self._subscribed(Book, request)

    async def trades(self, instrument: str) -> Trades:
        """Subscribes to the trades from now on; returns when the gateway has accepted. Raises the errors of ``book``."""
        return await self._subscribed(Trades, Request("trades", instrument))

    async def ticker(self, instrument: str, *, interval_ms: int = 0) -> Ticker:
        """Subscribes to best bid, best ask and last trade; returns when the gateway has accepted. Raises the errors of ``book``."""
        return await self._subscribed(Ticker, Request("ticker", instrument, interval_ms=interval_ms))

    async def instruments(self, *patterns: str, interval_ms: int = 0) -> InstrumentList:
        """Subscribes to the list of the instruments that match ``*``, ``SIM:*``, ``SIM:BTC*`` or names, all without any; returns it when
        it is there. ``interval_ms`` 0: the gateway's usual one. Raises the errors of ``book``."""
        return await self._subscribed(InstrumentList, many("instruments", patterns, interval_ms))

    async def board(self, *patterns: str, interval_ms: int = 0) -> Board:
        """Subscribes to the newest prices of the instruments that match, as for ``instruments``; the gateway opens them all. Returns it
        when all rows are there."""
        return await self._subscribed(Board, many("board", patterns, interval_ms))

    async def candles(self, instrument: str, *, span: str = "1m", history: int = 0) -> Candles:
        """Subscribes to candles of ``1s``, ``1m``, ``5m``, ``15m``, ``1h`` or ``1d``; returns when the gateway has sent ``history`` closed
        ones (at most 1,000) and the newest.

        A second request for the same instrument and span returns the same object, with the history of the first. Raises ValueError
        for a span that is none, and the errors of ``book``.
        """
        if span not in SPANS:
            raise ValueError(f"span is {span!r}; it must be one of {', '.join(SPANS)}")
        if not 0 <= history <= MAX_HISTORY:
            raise ValueError(f"history is {history}; it must be 0 to {MAX_HISTORY}")
        request = Request("candles", instrument, span=span, history=history)
        same = (
            each.request for each in self.subscriptions if each.request._replace(history=history) == request
        )
        return await self._subscribed(Candles, next(same, request))

    async def map(self, topic: str, *, prefix: str = "", interval_ms: int = 0) -> Map:
        """Subscribes to the keys of a map that begin with ``prefix``; returns it when all of them are there.

        ``topic`` "user" is the user's own. Raises ValueError for what is no topic, and the errors of ``book``.
        """
        return await self._subscribed(Map, Request("map", topic, interval_ms=interval_ms, prefix=prefix))

    async def alerts(self) -> Alerts:
        """The user's own price alerts, once they are there; `mdstream alerts` must run, or none fires. Raises the errors of ``book``."""
        entries = await self.map(ALERTS)
        try:
            return Alerts(entries, await self.events(), self.put)
        except BaseException:
            await entries.close()
            raise

    async def presence(
        self, topic: str, *, join: bool = False, info: Any = None, who: bool = False, interval_ms: int = 0
    ) -> Presence:
        """Subscribes to how many sessions are present at a topic; with ``who`` also to which ones. ``join``: this one is, too, and says
        ``info`` of itself. ``interval_ms`` 0: the gateway's usual one. Raises as ``map``."""
        said = "" if info is None else json.dumps(info)
        request = Request("presence", topic, interval_ms=interval_ms, who=who, join=join, info=said)
        return await self._subscribed(Presence, request)

    async def put(
        self,
        topic: str,
        set: Mapping[str, Any] | None = None,
        *,
        delete: Sequence[str] = (),
        expect: Mapping[str, int] | None = None,
        ttl_ms: int | None = None,
        timeout_s: float = 10.0,
    ) -> int:
        """Changes a map, all of it or nothing, and returns the number of the change.

        ``expect``: by key, the ``rev`` that must hold, 0 for a key that must not exist. ``ttl_ms``: when the keys that are set end by
        themselves. While the gateway or the bus is away it tries again, for ``timeout_s``; the change is made once. Raises PutConflict
        with what holds where something else was expected, PutRefused with the gateway's code, or ConnectionFailed after ``timeout_s``.
        """
        fields: dict[str, Any] = {"topic": topic, "key": secrets.token_hex(12)}
        given = {"set": set, "delete": list(delete), "expect": expect, "ttl_ms": ttl_ms}
        fields.update({name: value for name, value in given.items() if value})
        try:
            async with asyncio.timeout(timeout_s):
                return await self._put(fields)
        except TimeoutError:
            raise ConnectionFailed(
                f"{topic} was not changed within {timeout_s:g} s, as far as is known"
            ) from None

    async def _put(self, fields: Mapping[str, Any]) -> int:
        while True:
            await until(self.on_state, lambda: self.state in _ABLE)
            if self.state is ConnectionState.CLOSED:
                raise self.error or ConnectionFailed("the client is closed")
            answer = await self._call(lambda number: protocol.put(number, fields))
            if isinstance(answer, Stored):
                return answer.seq
            if isinstance(answer, Refused) and answer.code not in _AGAIN:
                raise _refused(str(fields["topic"]), answer)
            await asyncio.sleep(AGAIN_S)

    @abstractmethod
    async def _call(self, make: Callable[[int], Command]) -> Answer:
        """The answer to a command; None if the connection is lost before."""

    async def events(self, topic: str = OWN, *, device: str = "", since: int | None = None) -> Events:
        """Subscribes to the events of a topic, by default the user's own; returns when the gateway has accepted.

        Where the topic is acknowledged, what the user has not acknowledged comes first; ``device`` names this device where each one
        acknowledges by itself. Else events come from now on, or from those after the number ``since`` (0: all that are kept). Raises
        ValueError for what is no topic, and the errors of ``book``.
        """
        return await self._subscribed(Events, Request("events", topic, device=device, since=since))

    @abstractmethod
    async def publish(self, topic: str, type: str, data: Any, *, key: str | None = None) -> Published:
        """Publishes an event; returns when it is stored, with its number (``seq``).

        Events to one topic are stored in the order of the calls. The client tries again while the gateway cannot store it; by ``key``, or
        one that it makes itself, the event is stored once. Raises PublishRefused with the gateway's code, or ConnectionFailed after 30 s
        (``Policy.publish_timeout_s``): then it may be stored or not.
        """

    @abstractmethod
    def _find(self, request: Request) -> Subscription | None:
        """The subscription that has not ended, if there is one."""

    @abstractmethod
    def _start(self, kind: type[S], request: Request) -> S:
        """A new subscription, asked for as soon as there is a connection."""

    async def _subscribed(self, kind: type[S], request: Request) -> S:
        if request.channel in TOPIC_CHANNELS:
            check_topic(request.instrument)
        elif not request.patterns:
            InstrumentId.parse(request.instrument)
        subscription = self._find(request)
        if isinstance(subscription, kind):
            subscription.users += 1
        else:
            subscription = self._start(kind, request)
        try:
            await _until_ready(subscription)
        except BaseException:
            await subscription.close()
            raise
        return subscription


def _refused(topic: str, answer: Refused) -> ClientError:
    message = f"{topic}: {answer.message or answer.code}"
    if answer.code != ErrorCode.CONFLICT:
        return PutRefused(message, code=answer.code)
    current = answer.current or {}
    held = {
        key: None if row is None else MapEntry(row.value, row.rev, row.by, row.ts_us)
        for key, row in current.items()
    }
    return PutConflict(message, current=held)


def many(channel: str, patterns: tuple[str, ...], interval_ms: int) -> Request:
    """Raises ValueError for a pattern that is none."""
    patterns = patterns or (ANY,)
    for pattern in patterns:
        try:
            Pattern.parse(pattern)
        except ValueError as error:
            raise ValueError(f"the pattern {error}") from None
    return Request(channel, ", ".join(patterns), interval_ms=interval_ms, patterns=patterns)


async def _until_ready(subscription: Subscription) -> None:
    """Returns when its data is there; after some seconds also if the gateway has said why there is none."""

    def settled() -> bool:
        return subscription.ready or subscription.ended

    with suppress(TimeoutError):
        async with asyncio.timeout(DATA_WAIT_S):
            await until(subscription.on_state, settled)
    await until(subscription.on_state, lambda: settled() or subscription.state_code is not None)
    if subscription.error is not None:
        raise subscription.error
    if subscription.ended:
        raise ConnectionFailed(f"{subscription}: the client was closed")


async def until(on_state: Callable[[Observer[Any]], Callable[[], None]], reached: Callable[[], bool]) -> None:
    """Returns once ``reached()`` is true; checks it now and at each change of state."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def check(_: object = None) -> None:
        if not done.done() and reached():
            done.set_result(None)

    unregister = on_state(check)
    check()
    try:
        await done
    finally:
        unregister()
