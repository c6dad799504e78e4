"""The asyncio shell: carries out the decisions of ``ClientCore`` with a real clock and a real network."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random as random_module
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import replace
from time import perf_counter, time_ns
from types import TracebackType
from typing import Any, Final
from uuid import uuid4
from weakref import WeakValueDictionary

from mdstream.auth.client_key import ClientKey
from mdstream.client import protocol
from mdstream.client.actions import DialNow, HangUp, RenewToken, Send
from mdstream.client.api import Client, S, until
from mdstream.client.backoff import Backoff
from mdstream.client.core import ClientCore
from mdstream.client.events import Answer, Published, Refused, Welcome
from mdstream.client.lines import Line, LinedClient, deal
from mdstream.client.observers import Observer
from mdstream.client.policy import TEMPORARY_ERRORS, Policy
from mdstream.client.protocol import Command, FormatName, Request
from mdstream.client.protocol_factory import make_codec
from mdstream.client.states import ConnectionState, Stats
from mdstream.client.subscription import Link, Subscription
from mdstream.client.transport import Dial, Transport
from mdstream.client.transport_picows import PicowsDial
from mdstream.client.urls import check_url, of_line
from mdstream.errors import ClientError, ConnectionFailed, HandshakeRefused, PublishRefused

log = logging.getLogger(__name__)

Token = str | Callable[[], str | Awaitable[str]]

CLOSE_TIMEOUT_S = 2.0
_SENDING: Final = (ConnectionState.OPEN, ConnectionState.DRAINING, ConnectionState.CLOSED)
"""States in which nothing is waited for before an event is published."""
DEFAULT_URL = "ws://127.0.0.1:8080/v1/stream"


class SingleClient(Line):
    """One connection."""

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        format: FormatName,
        token: Token | None,
        dial: Dial,
        policy: Policy,
        random: Callable[[], float],
        line: int = 1,
    ) -> None:
        """``line``: its number, from 1, among those of one client."""
        make_codec(format)
        urls = (url,) if isinstance(url, str) else tuple(url)
        self._token = token
        self._dial = dial
        self._line = line
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
        self._publishing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By topic: its events are published one after the other, so that their order is kept."""

    # ---- for the user (documented in ``Client``)

    @property
    def url(self) -> str:
        return self._core.url

    @property
    def state(self) -> ConnectionState:
        return self._core.state

    @property
    def reason(self) -> str | None:
        return self._core.reason

    @property
    def error(self) -> ClientError | None:
        return self._core.error

    @property
    def stats(self) -> Stats:
        return self._core.stats

    @property
    def welcome(self) -> Welcome | None:
        return self._core.welcome

    @property
    def lines(self) -> tuple[Client, ...]:
        return (self,)

    def on_state(self, observer: Observer[ConnectionState]) -> Callable[[], None]:
        return self._core.on_state(observer)

    def on_payload(self, observer: Observer[bytes]) -> Callable[[], None]:
        return self._core.on_payload(observer)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        return self._core.subscriptions

    async def ping(self) -> float:
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

    async def _call(self, make: Callable[[int], Command]) -> Answer:
        answered: asyncio.Future[Answer] = self._loop.create_future()

        def take(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self._core.call(make, take)
        return await answered

    async def publish(self, topic: str, type: str, data: Any, *, key: str | None = None) -> Published:
        key = key or uuid4().hex
        lock = self._publishing.setdefault(topic, asyncio.Lock())
        try:
            async with asyncio.timeout(self._core.policy.publish_timeout_s), lock:
                return await self._publish(topic, type, data, key)
        except TimeoutError:
            raise ConnectionFailed(
                f"whether the event to {topic} is stored is not known; publish it again with the key {key!r}, so that it is once"
            ) from None

    async def _publish(self, topic: str, type: str, data: Any, key: str) -> Published:
        """Tries until it is stored, or refused for good; what follows on this topic waits meanwhile."""
        backoff = Backoff.of(self._core.random, self._core.policy)
        while True:
            await until(self.on_state, lambda: self.state in _SENDING)
            if self.state is ConnectionState.CLOSED:
                raise self.error or ConnectionFailed(f"the client of {self.url} is closed")
            answer = await self._call(lambda number: protocol.publish(number, topic, type, data, key))
            if isinstance(answer, Published):
                return answer
            if isinstance(answer, Refused) and answer.code not in TEMPORARY_ERRORS:
                raise PublishRefused(f"{topic}: {answer.message or answer.code}", code=answer.code)
            await asyncio.sleep(backoff.next_delay())

    def attach(self, make: Callable[[Link], S]) -> S:
        """Adds the subscription that ``make`` returns, and asks for it as soon as there is a connection."""
        subscription = make(self._core)
        self._core.subscribe(subscription, self._loop.time())
        return subscription

    def release(self, subscription: Subscription) -> None:
        self._core.release(subscription)

    def _find(self, request: Request) -> Subscription | None:
        return self._core.find(request)

    def _start(self, kind: type[S], request: Request) -> S:
        return self.attach(lambda link: kind(request, link))

    # ---- opening and closing

    def start(self) -> None:
        """Begins to connect."""
        self._core.start(self._loop.time())

    async def open(self) -> None:
        self._core.start(self._loop.time())
        try:
            await until(self.on_state, lambda: self.state in (ConnectionState.OPEN, ConnectionState.CLOSED))
        except BaseException:
            await self.close()
            raise
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self._core.close()
        self._pump()
        for task in (self._dialing, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*self._closing)

    # ---- driving the core

    def _wake(self) -> None:
        if self._pump_soon is None:
            self._pump_soon = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Carries out the actions of the core, and sets the timer for its next ``tick``."""
        if self._pump_soon is not None:
            self._pump_soon.cancel()
            self._pump_soon = None
        self._core.flush_acks(self._loop.time())
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
                of_line(self.url, self._line),
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

    def __init__(self, client: SingleClient) -> None:
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

    ``url`` is a URL, or several: if a gateway fails, the client tries the next one. ``lines=2`` holds two gateways at once, and shows
    what comes first from either; the URLs are dealt out, and each line tries its own in turn.
    ``format`` is ``msgpack`` (smaller, faster) or ``json``. ``token`` goes into the ``Authorization`` header. It is a string,
    or a plain or async function that is called for a fresh token before each connection, and when the gateway says that the
    present one expires: the connection then goes on. ``api_key`` signs each upgrade request instead. ``ssl`` replaces the default TLS
    context. ``compression`` asks the gateway to compress its messages to a half or a quarter of the bytes, which costs this
    process some µs per message. ``policy`` has the times and bounds. ``on_payload`` is an observer for ``Client.on_payload``
    from the first message on. ``dial`` and ``random`` (floats in [0, 1)) are for tests.

    Raises ConnectionFailed or HandshakeRefused if the first connection fails, unless ``policy.persist``. After that the
    client reconnects by itself; see ``Client.state``. Raises ValueError for an invalid URL or format, or both a token and an API key.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        format: FormatName = "msgpack",
        token: Token | None = None,
        api_key: ClientKey | None = None,
        ssl: ssl_module.SSLContext | None = None,
        compression: bool = False,
        policy: Policy | None = None,
        lines: int = 1,
        on_payload: Observer[bytes] | None = None,
        dial: Dial | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        if token is not None and api_key is not None:
            raise ValueError("connect takes a token or an api_key, not both")
        self._urls = deal(url, lines)
        self._options: dict[str, Any] = {
            "format": format,
            "token": token,
            "dial": dial or PicowsDial(ssl, compression=compression, api_key=api_key),
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
        client = self._make()
        if self._on_payload is not None:
            client.on_payload(self._on_payload)
        await client.open()
        return client

    def _make(self) -> Client:
        if len(self._urls) == 1:
            return SingleClient(self._urls[0], **self._options)
        policy: Policy = self._options["policy"]
        options = self._options | {"policy": replace(policy, persist=True)}
        lines = [SingleClient(urls, line=line, **options) for line, urls in enumerate(self._urls, 1)]
        return LinedClient(lines, policy)
