"""The asyncio shell: carries out what the core decides, on a real clock and a real network."""

from __future__ import annotations

import asyncio
import inspect
import random as random_module
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Generator
from time import perf_counter, time_ns
from types import TracebackType
from typing import Any, TypeVar

from mdstream.client.book import Book
from mdstream.client.core import ClientCore, DialNow, HangUp, Send
from mdstream.client.events import Welcome
from mdstream.client.policy import Policy
from mdstream.client.protocol import FormatName, Request
from mdstream.client.protocol_factory import make_codec
from mdstream.client.states import ConnectionState, Stats, SubscriptionState
from mdstream.client.subscription import Observer, Subscription
from mdstream.client.ticker import Ticker
from mdstream.client.trades import Trades
from mdstream.client.transport import Dial, Transport
from mdstream.client.transport_picows import PicowsDial, check_url
from mdstream.errors import ClientError, ConnectionFailed
from mdstream.model import InstrumentId

Token = str | Callable[[], str | Awaitable[str]]
S = TypeVar("S", bound=Subscription)

GOODBYE_S = 2.0
DEFAULT_URL = "ws://127.0.0.1:8080/v1/stream"


class Client:
    """A connection that keeps itself up, and what is subscribed to over it. Made by ``connect``."""

    def __init__(
        self,
        url: str,
        *,
        format: FormatName,
        token: Token | None,
        dial: Dial,
        policy: Policy,
        random: Callable[[], float],
    ) -> None:
        make_codec(format)
        self.url = check_url(url)
        self._token = token
        self._dial = dial
        self._core = ClientCore(
            lambda: make_codec(format),
            random=random,
            policy=policy,
            renewable=callable(token),
            wake=self._wake,
        )
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._receiver: _Receiver | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._pump_soon: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0

    # ---- what a user sees

    @property
    def state(self) -> ConnectionState:
        return self._core.state

    @property
    def reason(self) -> str | None:
        """Why it is not open, where that is known."""
        return self._core.reason

    @property
    def error(self) -> ClientError | None:
        """Why it is closed for good; None if it is not, or was closed by its user."""
        return self._core.error

    @property
    def stats(self) -> Stats:
        return self._core.stats

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway said of itself: node, heartbeat, limits; None while there is no connection."""
        return self._core.welcome

    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        """Calls ``observer(state)`` at each change of the connection; returns a function that ends it."""
        return self._core.on_state(observer)

    def on_payload(self, observer: Observer[bytes]) -> Callable[[], None]:
        """Calls ``observer(payload)`` with each WebSocket message as it came, but unpacked, before it takes effect."""
        return self._core.on_payload(observer)

    # ---- subscriptions

    async def book(self, instrument: str, *, depth: int = 0, group: int = 1, interval_ms: int = 0) -> Book:
        """Subscribes to a book and returns it when its first snapshot is there.

        ``depth`` 0 is the full book, ``group`` the ticks per price bucket, ``interval_ms`` 0 every change. Asking twice
        for the same gives the same object; each ``close`` takes back one asking.

        Raises ValueError for what cannot be an instrument, SubscriptionRefused with the gateway's code, or the error that
        closed the connection for good.
        """
        return await self._subscribed(Book, Request("book", instrument, depth, group, interval_ms))

    async def trades(self, instrument: str) -> Trades:
        """Subscribes to the trades from now on; returns when the gateway has agreed. Raises as ``book`` does."""
        return await self._subscribed(Trades, Request("trades", instrument))

    async def ticker(self, instrument: str, *, interval_ms: int = 0) -> Ticker:
        """Subscribes to best bid, best ask and last trade; returns when the gateway has agreed. Raises as ``book`` does."""
        return await self._subscribed(Ticker, Request("ticker", instrument, interval_ms=interval_ms))

    async def ping(self) -> float:
        """Seconds until the gateway answered; raises ConnectionFailed if the connection is lost before that."""
        answer: asyncio.Future[float | None] = self._loop.create_future()

        def take(now: float | None) -> None:
            # The loop's clock may count in ms: too coarse.
            if not answer.done():
                answer.set_result(None if now is None else perf_counter())

        sent = perf_counter()
        self._core.ping(take)
        answered = await answer
        if answered is None:
            raise ConnectionFailed(f"there is no connection to {self.url}: {self.reason or self.state}")
        return answered - sent

    async def _subscribed(self, kind: type[S], request: Request) -> S:
        InstrumentId.parse(request.instrument)
        subscription = self._core.find(request)
        if isinstance(subscription, kind):
            subscription.users += 1
        else:
            subscription = kind(request, self._core)
            self._core.subscribe(subscription, self._loop.time())
        try:
            await self._until_ready(subscription)
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def _until_ready(self, subscription: Subscription) -> None:
        settled: asyncio.Future[None] = self._loop.create_future()

        def look(state: SubscriptionState | None = None) -> None:
            if not settled.done() and (subscription.ready or subscription.ended):
                settled.set_result(None)

        unregister = subscription.on_state(look)
        look()
        try:
            await settled
        finally:
            unregister()
        if subscription.error is not None:
            raise subscription.error
        if subscription.ended:
            raise ConnectionFailed(f"{subscription}: the client was closed")

    # ---- life

    async def open(self) -> None:
        """Connects; returns when the gateway has said ``welcome``. Raises ConnectionFailed or HandshakeRefused."""
        settled: asyncio.Future[None] = self._loop.create_future()

        def look(state: ConnectionState) -> None:
            if not settled.done() and state in (ConnectionState.OPEN, ConnectionState.CLOSED):
                settled.set_result(None)

        unregister = self.on_state(look)
        self._core.start(self._loop.time())
        try:
            await settled
        except BaseException:
            await self.close()
            raise
        finally:
            unregister()
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """Ends every subscription and hangs up; may be called more than once."""
        self._core.close()
        self._pump()
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.gather(self._dialing, return_exceptions=True)
        await asyncio.gather(*self._leaving)

    async def wait_closed(self) -> None:
        """Returns when the client is closed; raises the error if that was for good and not by the user."""
        settled: asyncio.Future[None] = self._loop.create_future()

        def look(state: ConnectionState) -> None:
            if state is ConnectionState.CLOSED and not settled.done():
                settled.set_result(None)

        unregister = self.on_state(look)
        look(self.state)
        try:
            await settled
        finally:
            unregister()
        if self.error is not None:
            raise self.error

    # ---- driving the core

    def _wake(self) -> None:
        if self._pump_soon is None:
            self._pump_soon = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Carries out what the core wants done, and sets the alarm for what it will want next."""
        if self._pump_soon is not None:
            self._pump_soon.cancel()
            self._pump_soon = None
        for action in self._core.take_actions():
            match action:
                case Send(payload):
                    if self._transport is not None:
                        self._transport.send(payload)
                case HangUp():
                    self._hang_up(action)
                case DialNow():
                    self._dialing = self._loop.create_task(self._connect())
        self._set_timer()

    def _set_timer(self) -> None:
        when = self._core.deadline()
        if self._timer is not None:
            if when is not None and self._timer_at <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None and self.state is not ConnectionState.CLOSED:
            self._timer, self._timer_at = self._loop.call_at(when, self._tick), when

    def _tick(self) -> None:
        self._timer = None
        self._core.tick(self._loop.time())
        self._pump()

    def _hang_up(self, action: HangUp) -> None:
        transport, self._transport, self._receiver = self._transport, None, None
        if transport is None:
            return
        if action.abort:
            transport.abort()
        else:
            transport.close(action.code, action.reason)
        leaving = self._loop.create_task(_see_off(transport))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _connect(self) -> None:
        receiver = self._receiver = _Receiver(self)
        try:
            codec = self._core.codec
            transport = await self._dial(
                self.url,
                receiver,
                subprotocol=codec.subprotocol,
                binary=codec.binary,
                token=await self._fresh_token(),
                timeout_s=self._core.policy.connect_timeout_s,
            )
        except ClientError as error:
            self._receiver = None
            self._core.dial_failed(error, self._loop.time())
        else:
            self._transport = transport
            self._core.dialed(self._loop.time())
            receiver.begin()
        self._pump()

    async def _fresh_token(self) -> str | None:
        if self._token is None or isinstance(self._token, str):
            return self._token
        try:
            token = self._token()
            return await token if inspect.isawaitable(token) else token
        except Exception as error:
            raise ConnectionFailed(f"no token could be had for {self.url}: {error}") from error

    def _received(self, receiver: _Receiver, payload: bytes) -> None:
        if receiver is self._receiver:
            self._core.received(payload, self._loop.time(), time_ns() // 1000)
            self._pump()

    def _closed(self, receiver: _Receiver, code: int, reason: str) -> None:
        if receiver is self._receiver:
            self._transport = self._receiver = None
            self._core.closed(code, reason, self._loop.time())
            self._pump()


async def _see_off(transport: Transport) -> None:
    """Sees to it that a connection hung up on is gone soon, also when the peer does not read any more."""
    try:
        async with asyncio.timeout(GOODBYE_S):
            await transport.wait_closed()
    except TimeoutError:
        transport.abort()
        await transport.wait_closed()


class _Receiver:
    """One connection's deliveries; keeps what comes in the same packet as the upgrade until the core knows of it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._early: list[tuple[bytes] | tuple[int, str]] | None = []

    def received(self, payload: bytes) -> None:
        if self._early is not None:
            self._early.append((payload,))
        else:
            self._client._received(self, payload)

    def closed(self, code: int, reason: str) -> None:
        if self._early is not None:
            self._early.append((code, reason))
        else:
            self._client._closed(self, code, reason)

    def begin(self) -> None:
        early, self._early = self._early, None
        for item in early or ():
            if len(item) == 1:
                self.received(*item)
            else:
                self.closed(*item)


class connect:
    """``async with connect(url) as client``, or ``client = await connect(url)`` and ``await client.close()`` later.

    ``format`` is ``msgpack`` (smaller, faster) or ``json``. ``token`` goes into the ``Authorization`` header: a string,
    or a function, plain or async, that is asked for a fresh one before each connection. ``ssl`` replaces the default TLS
    context. ``compression`` asks the gateway to compress what it sends: a half to a quarter of the bytes, for some µs of this
    process per message. ``policy`` holds the times and bounds. ``on_payload`` is called as ``Client.on_payload`` has it, from the
    first message on. ``dial`` and ``random`` (floats in [0, 1)) are there for tests.

    Raises ConnectionFailed or HandshakeRefused when the first connection fails, unless ``policy.persist``; after that
    the client comes back by itself, and its state tells. ValueError for a URL or format that cannot be.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        format: FormatName = "msgpack",
        token: Token | None = None,
        ssl: ssl_module.SSLContext | None = None,
        compression: bool = False,
        policy: Policy | None = None,
        on_payload: Observer[bytes] | None = None,
        dial: Dial | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._url = url
        self._options: dict[str, Any] = {
            "format": format,
            "token": token,
            "dial": dial or PicowsDial(ssl, compression=compression),
            "policy": policy or Policy(),
            "random": random,
        }
        self._on_payload = on_payload
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def _open(self) -> Client:
        client = Client(self._url, **self._options)
        if self._on_payload is not None:
            client.on_payload(self._on_payload)
        await client.open()
        return client
