"""The asyncio shell: carries out the decisions of ``ClientCore`` with a real clock and a real network."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random as random_module
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from time import perf_counter, time_ns
from types import TracebackType
from typing import Any, TypeVar

from mdstream.client.actions import DialNow, HangUp, RenewToken, Send
from mdstream.client.book import Book
from mdstream.client.core import ClientCore
from mdstream.client.events import Welcome
from mdstream.client.observers import Observer
from mdstream.client.policy import Policy
from mdstream.client.protocol import FormatName, Request
from mdstream.client.protocol_factory import make_codec
from mdstream.client.states import ConnectionState, Stats
from mdstream.client.subscription import Subscription
from mdstream.client.ticker import Ticker
from mdstream.client.trades import Trades
from mdstream.client.transport import Dial, Transport
from mdstream.client.transport_picows import PicowsDial
from mdstream.client.urls import check_url
from mdstream.errors import ClientError, ConnectionFailed, HandshakeRefused
from mdstream.model import InstrumentId

log = logging.getLogger(__name__)

DATA_WAIT_S = 5.0
"""How long a subscription waits for its data if the gateway says why there is none."""

Token = str | Callable[[], str | Awaitable[str]]
S = TypeVar("S", bound=Subscription)

CLOSE_TIMEOUT_S = 2.0
DEFAULT_URL = "ws://127.0.0.1:8080/v1/stream"


class Client:
    """A connection that reconnects by itself, and the subscriptions on it. Made by ``connect``."""

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        format: FormatName,
        token: Token | None,
        dial: Dial,
        policy: Policy,
        random: Callable[[], float],
    ) -> None:
        make_codec(format)
        urls = (url,) if isinstance(url, str) else tuple(url)
        self._token = token
        self._dial = dial
        self._core = ClientCore(
            lambda: make_codec(format),
            random=random,
            urls=[check_url(each) for each in urls],
            policy=policy,
            renewable=callable(token),
            wake=self._wake,
        )
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._receiver: _Receiver | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._used_token: str | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._pump_soon: asyncio.Handle | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0

    # ---- for the user

    @property
    def url(self) -> str:
        """The gateway that it is connected to, or tries next."""
        return self._core.url

    @property
    def state(self) -> ConnectionState:
        return self._core.state

    @property
    def reason(self) -> str | None:
        """Why the client is not open, if that is known."""
        return self._core.reason

    @property
    def error(self) -> ClientError | None:
        """The error that closed the client for good; None if it is not closed, or the user closed it."""
        return self._core.error

    @property
    def stats(self) -> Stats:
        return self._core.stats

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway sent about itself: node, heartbeat, limits; None while there is no connection."""
        return self._core.welcome

    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        """Calls ``observer(state)`` at each change of the connection; returns a function that stops the calls."""
        return self._core.on_state(observer)

    def on_payload(self, observer: Observer[bytes]) -> Callable[[], None]:
        """Calls ``observer(payload)`` with each WebSocket message, decompressed, before the client handles it."""
        return self._core.on_payload(observer)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """All that have not ended, also those whose first data has not come yet."""
        return self._core.subscriptions

    # ---- subscriptions

    async def book(self, instrument: str, *, depth: int = 0, group: int = 1, interval_ms: int = 0) -> Book:
        """Subscribes to a book and returns it when its first snapshot has come; after 5 s also without one, if the gateway says why
        there is none (``state``, ``state_code``).

        ``depth`` 0 is the full book, ``group`` is the number of ticks per price bucket, ``interval_ms`` 0 gives every change.
        A second request for the same view returns the same object; each request needs its own ``close``.

        Raises ValueError for an invalid instrument, SubscriptionRefused with the gateway's code, or the error that closed
        the client for good.
        """
        return await self._subscribed(Book, Request("book", instrument, depth, group, interval_ms))

    async def trades(self, instrument: str) -> Trades:
        """Subscribes to the trades from now on; returns when the gateway has accepted. Raises the errors of ``book``."""
        return await self._subscribed(Trades, Request("trades", instrument))

    async def ticker(self, instrument: str, *, interval_ms: int = 0) -> Ticker:
        """Subscribes to best bid, best ask and last trade; returns when the gateway has accepted. Raises the errors of ``book``."""
        return await self._subscribed(Ticker, Request("ticker", instrument, interval_ms=interval_ms))

    async def ping(self) -> float:
        """Returns the seconds until the gateway answered; raises ConnectionFailed if the connection is lost before."""
        answer: asyncio.Future[float | None] = self._loop.create_future()

        def take(now: float | None) -> None:
            # The loop's clock may have a resolution of 1 ms, which is too coarse.
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
        """Returns when its data is there; after some seconds also if the gateway has said why there is none."""

        def settled() -> bool:
            return subscription.ready or subscription.ended

        with suppress(TimeoutError):
            async with asyncio.timeout(DATA_WAIT_S):
                await self._until(subscription.on_state, settled)
        await self._until(subscription.on_state, lambda: settled() or subscription.state_code is not None)
        if subscription.error is not None:
            raise subscription.error
        if subscription.ended:
            raise ConnectionFailed(f"{subscription}: the client was closed")

    # ---- opening and closing

    async def open(self) -> None:
        """Connects; returns when the gateway has sent ``welcome``. Raises ConnectionFailed or HandshakeRefused."""
        self._core.start(self._loop.time())
        try:
            await self._until(
                self.on_state, lambda: self.state in (ConnectionState.OPEN, ConnectionState.CLOSED)
            )
        except BaseException:
            await self.close()
            raise
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        """Ends every subscription and closes the connection. May be called more than once."""
        self._core.close()
        self._pump()
        for task in (self._dialing, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*self._closing)

    async def wait_closed(self) -> None:
        """Returns when the client is closed; raises the error that closed it, if there was one."""
        await self._until(self.on_state, lambda: self.state is ConnectionState.CLOSED)
        if self.error is not None:
            raise self.error

    async def _until(
        self, on_state: Callable[[Observer[Any]], Callable[[], None]], reached: Callable[[], bool]
    ) -> None:
        """Returns once ``reached()`` is true; checks it now and at each change of state."""
        done: asyncio.Future[None] = self._loop.create_future()

        def check(_: object = None) -> None:
            if not done.done() and reached():
                done.set_result(None)

        unregister = on_state(check)
        check()
        try:
            await done
        finally:
            unregister()

    # ---- driving the core

    def _wake(self) -> None:
        if self._pump_soon is None:
            self._pump_soon = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Carries out the actions of the core, and sets the timer for its next ``tick``."""
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
                case RenewToken():
                    self._renewing = self._loop.create_task(self._renew(self._receiver))
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
        closing = self._loop.create_task(_await_gone(transport))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _connect(self) -> None:
        receiver = self._receiver = _Receiver(self)
        try:
            codec = self._core.codec
            transport = await self._dial(
                self.url,
                receiver,
                subprotocol=codec.subprotocol,
                binary=codec.binary,
                token=await self._token_to_connect(),
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

    async def _token_to_connect(self) -> str | None:
        """After a refusal the same token is not tried again."""
        token = await self._fresh_token()
        if self._core.token_refused and token == self._used_token:
            raise HandshakeRefused(f"{self.url} refused the token, and there is no other one", status=401)
        self._used_token = token
        return token

    async def _renew(self, receiver: _Receiver | None) -> None:
        """Sends a fresh token over the present connection, so that it goes on."""
        if not callable(self._token):
            log.warning("the token for %s expires; `token` is no function that gives a fresh one", self.url)
            return
        try:
            token = await self._fresh_token()
        except ConnectionFailed as error:
            log.warning("%s; the connection ends with its token", error)
            return
        if receiver is self._receiver and token is not None:
            self._used_token = token
            self._core.authenticate(token)
            self._pump()

    async def _fresh_token(self) -> str | None:
        if self._token is None or isinstance(self._token, str):
            return self._token
        try:
            token = self._token()
            return await token if inspect.isawaitable(token) else token
        except Exception as error:
            raise ConnectionFailed(f"the token function for {self.url} failed: {error}") from error

    def _received(self, receiver: _Receiver, payload: bytes) -> None:
        if receiver is self._receiver:
            self._core.received(payload, self._loop.time(), time_ns() // 1000)
            self._pump()

    def _closed(self, receiver: _Receiver, code: int, reason: str) -> None:
        if receiver is self._receiver:
            self._transport = self._receiver = None
            self._core.closed(code, reason, self._loop.time())
            self._pump()


async def _await_gone(transport: Transport) -> None:
    """Returns when the connection is gone; aborts it if the peer does not let it close in time."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await transport.wait_closed()
    except TimeoutError:
        transport.abort()
        await transport.wait_closed()


class _Receiver:
    """Receives from one connection. Keeps what came together with the upgrade until the core knows of the connection."""

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

    ``url`` is a URL, or several: if a gateway fails, the client tries the next one.
    ``format`` is ``msgpack`` (smaller, faster) or ``json``. ``token`` goes into the ``Authorization`` header. It is a string,
    or a plain or async function that is called for a fresh token before each connection, and when the gateway says that the
    present one expires: the connection then goes on. ``ssl`` replaces the default TLS
    context. ``compression`` asks the gateway to compress its messages to a half or a quarter of the bytes, which costs this
    process some µs per message. ``policy`` has the times and bounds. ``on_payload`` is an observer for ``Client.on_payload``
    from the first message on. ``dial`` and ``random`` (floats in [0, 1)) are for tests.

    Raises ConnectionFailed or HandshakeRefused if the first connection fails, unless ``policy.persist``. After that the
    client reconnects by itself; see ``Client.state``. Raises ValueError for an invalid URL or format.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
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
