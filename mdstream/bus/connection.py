"""The connection to NATS: made within a deadline or not at all, then kept until it is closed."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, Self

import nats.errors
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from mdstream.bus import streams
from mdstream.bus._client import Handler, TapClient
from mdstream.bus.denied import Denial, denial_in
from mdstream.bus.log import Since, replay
from mdstream.bus.options import BusOptions
from mdstream.bus.stored_message import ask_one
from mdstream.bus.streams import MD_STATE, Stored, StoredAt
from mdstream.errors import BusError, BusUnavailable, MdstreamError

logger = logging.getLogger(__name__)

P = ParamSpec("P")

CONNECT_RETRY_S = 0.25
CLOSE_DEADLINE_S = 2.0
MAX_STALE_PINGS = 2
MAX_LOGGED = 100
SERVER_CLOCK_S = 5.0
"""How long an answer about the server's clock is used: our clocks do not drift apart that fast."""
EXPECTED_SEQ = "Nats-Expected-Last-Subject-Sequence"


async def connect(options: BusOptions | str) -> Bus:
    """Connects, retrying for ``connect_deadline_s``; a string is a comma-separated list of URLs.

    Raises ConfigError for invalid options, BusError if the server refuses the connection, BusUnavailable if no server answers.
    """
    bus = Bus(BusOptions.parse(options) if isinstance(options, str) else options)
    await bus._open()
    return bus


class Bus:
    """A connection that reconnects by itself; make it with ``connect`` and end it with ``close``."""

    def __init__(self, options: BusOptions) -> None:
        self.options = options
        self.client = TapClient(
            require_tls=options.wants_tls,
            backoff_base_s=options.reconnect_base_s,
            backoff_cap_s=options.reconnect_cap_s,
            compiled=options.parser == "compiled",
        )
        self.jetstream: JetStreamContext = self.client.jetstream(
            timeout=options.request_timeout_s, prefix=options.api_prefix
        )
        self._on_disconnect: list[Callable[[], None]] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self._on_denied: list[Callable[[Denial], None]] = []
        self._closing = False
        self._lost_at: float | None = None
        self._last_error: Exception | None = None
        self._refused: asyncio.Future[Exception] | None = None
        self._ensured = False
        self._ensuring: asyncio.Task[None] | None = None
        self._not_direct: set[str] = set()
        self._server_clock: dict[str, tuple[float, int]] = {}
        """By stream: our monotonic time, and the server's time then in µs."""
        self._logged: set[str] = set()

    # ---- state

    @property
    def connected(self) -> bool:
        return self.client.is_connected and self._lost_at is None

    @property
    def max_payload_bytes(self) -> int:
        """The largest payload that the server accepts."""
        return self.client.max_payload

    def on_disconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back when the connection is lost (not by ``close``); returns a function that unregisters."""
        return _register(self._on_disconnect, callback)

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back when the connection and all subscriptions are back; returns a function that unregisters."""
        return _register(self._on_reconnect, callback)

    def on_denied(self, callback: Callable[[Denial], None]) -> Callable[[], None]:
        """Calls back when the server does not let us publish or subscribe to a subject, instead of logging that; returns a function
        that unregisters."""
        return _register(self._on_denied, callback)

    # ---- messages

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """Calls ``handler(subject, reply, payload, headers)``, all of them bytes, for each message, at once and in order.

        The handler must not block. The subscription survives reconnects; end it with ``unsubscribe``.
        """
        try:
            return await self.client.tap(subject, handler)
        except nats.errors.ConnectionClosedError:
            raise BusUnavailable("the bus is closed") from None

    async def unsubscribe(self, subscription: Subscription) -> None:
        await self.client.untap(subscription)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        expected_seq: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Publishes without waiting for the server; without a connection the payload waits in the backlog.

        A stream answers to ``reply``, and with ``expected_seq`` stores the payload only if that is the subject's newest number.
        Raises BusUnavailable if the backlog is full, BusError if the payload is larger than ``max_payload_bytes``.
        """
        try:
            await self.client.publish(subject, payload, reply, headers or _expecting(expected_seq))
        except nats.errors.Error as error:
            self._refuse_publish(error, subject, payload)

    async def publish_acked(
        self,
        subject: str,
        payload: bytes,
        *,
        expected_seq: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        """Publishes, waits until the stream of this subject has stored the payload, and returns its number in the stream.

        With ``expected_seq`` it is stored only if that is the number of the subject's newest message (0: there is none); else
        raises BusConflict. Raises BusError, BusUnavailable.
        """
        try:
            told = {**(headers or {}), **(_expecting(expected_seq) or {})}
            stored = await self.jetstream.publish(subject, payload, headers=told or None)
            return stored.seq
        except (nats.errors.OutboundBufferLimitError, nats.errors.MaxPayloadError) as error:
            self._refuse_publish(error, subject, payload)
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"no stream of NATS at {self.options.where} acknowledged {subject}")

    def send(self, message: bytes, payload_size: int) -> None:
        """Sends a whole ``PUB`` or ``HPUB`` of NATS at once, while ``connected``. The caller heeds ``max_payload_bytes``."""
        self.client.send(message, payload_size)

    def new_inbox(self) -> str:
        """A subject for answers that nobody else uses."""
        return self.client.new_inbox()

    async def flush(self, deadline_s: float = 10.0) -> None:
        """Returns when the server has received everything that was published. Raises BusUnavailable."""
        if not self.connected:
            raise BusUnavailable(self._away())
        try:
            async with asyncio.timeout(deadline_s):
                await self.client.flush(timeout=int(deadline_s) + 1)
        except (nats.errors.Error, TimeoutError) as error:
            raise BusUnavailable(
                f"NATS at {self.options.where} did not answer within {deadline_s:g} s"
            ) from error

    # ---- JetStream

    async def ensure_streams(self) -> None:
        """Creates MD_STATE and MD_LOG if they do not exist, now and after each reconnect; never changes them.

        Raises BusError, which says what to do.
        """
        if not self.client.offers_jetstream:
            raise BusError(f"NATS at {self.options.where}: {streams.JETSTREAM_IS_OFF}")
        await self._create_streams()
        self._ensured = True

    async def _create_streams(self) -> None:
        await streams.ensure_streams(self.jetstream, self.options.streams)

    async def ensure_leases(self) -> None:
        """Creates the key-value bucket ``MD_LEASES`` if it does not exist. Raises BusError, which says what to do."""
        await streams.ensure_leases(self.jetstream, self.options.streams)

    async def ensured(self) -> None:
        """Returns when the streams exist that a reconnect may have to create again."""
        if self._ensuring is not None:
            await asyncio.wait({self._ensuring})

    async def server_us(self) -> int:
        """The clock of the JetStream server, in µs since the Unix epoch. Raises BusError, BusUnavailable."""
        return streams.time_us(await self._stream_info(MD_STATE))

    async def last(self, stream: str, subject: str) -> bytes | None:
        """The payload of the newest message on a subject, or None. Raises BusError, BusUnavailable."""
        stored = await self.last_stored(stream, subject)
        return None if stored is None else stored.payload

    async def last_stored(self, stream: str, subject: str) -> Stored | None:
        """As ``last``, with the stream's own number and time."""
        if not self.connected:
            raise BusUnavailable(f"{stream} cannot be asked for {subject}: {self._away()}")
        try:
            if stream not in self._not_direct:
                try:
                    return await self._ask_direct(stream, f".{subject}")
                except nats.errors.NoRespondersError:
                    # The stream was created without allow_direct, or is not ready yet.
                    if not (await self.jetstream.stream_info(stream)).config.allow_direct:
                        self._not_direct.add(stream)
            return await streams.newest_stored(self.jetstream, stream, subject)
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{stream} at {self.options.where} cannot be asked for {subject}")

    async def _ask_direct(self, stream: str, of: str = "", question: bytes = b"") -> Stored | None:
        options = self.options
        asked = f"{options.api_prefix}.DIRECT.GET.{stream}{of}"
        found = await ask_one(self.client, asked, question, options.request_timeout_s)
        return None if found is None else Stored(found.payload, found.seq, found.stored_us)

    async def newest_stored(self, stream: str, subject: str) -> Stored | None:
        """As ``last_stored``, but of the stream's leader: any other replica may lag behind. It may have none now: BusUnavailable."""
        if not self.connected:
            raise BusUnavailable(f"{stream} cannot be asked for {subject}: {self._away()}")
        try:
            return await streams.newest_stored(self.jetstream, stream, subject)
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{stream} at {self.options.where} cannot be asked for {subject}")

    async def first_stored(self, stream: str, subject: str, *, after: int = 0) -> Stored | None:
        """The oldest message on a subject that a stream keeps, beyond a number of the stream, or None. Raises BusError, BusUnavailable."""
        if not self.connected:
            raise BusUnavailable(f"{stream} cannot be asked for {subject}: {self._away()}")
        try:
            question = {"seq": after + 1, "next_by_subj": subject}
            return await self._ask_direct(stream, question=json.dumps(question).encode())
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(
                error, f"{stream} at {self.options.where} cannot be asked for the first {subject}"
            )

    async def has_leader(self, stream: str) -> bool:
        """Whether a stream can be written and read: in a cluster, whether enough servers are there. Raises BusError, BusUnavailable."""
        cluster = (await self._stream_info(stream)).get("cluster")
        return cluster is None or bool(cluster.get("leader"))

    async def is_in_touch(self, stream: str) -> bool:
        """Whether a stream's leader hears enough of the others to be their leader still: cut off, it would go on answering for ten
        seconds. Raises BusError, BusUnavailable."""
        return streams.is_in_touch(await self._stream_info(stream))

    async def stored_s(self, stream: str, stored: StoredAt) -> float:
        """How long ago a message was stored, by the server's own clock. Raises BusError, BusUnavailable."""
        now = time.monotonic()
        asked_at, server_us = self._server_clock.get(stream, (float("-inf"), 0))
        if now - asked_at > SERVER_CLOCK_S:
            info = await self._stream_info(stream)
            asked_at, server_us = now, streams.time_us(info)
            self._server_clock[stream] = asked_at, server_us
        return max((server_us - stored.stored_us) / 1e6 + now - asked_at, 0.0)

    async def _stream_info(self, stream: str) -> dict[str, Any]:
        """The server's answer, with its time as ``ts``, which nats-py leaves out."""
        if not self.connected:
            raise BusUnavailable(f"{stream} cannot be asked for: {self._away()}")
        try:
            return await streams.info(self.jetstream, stream)
        except (nats.errors.Error, TimeoutError) as error:
            streams.explain(error, f"{stream} at {self.options.where} cannot be asked for")

    def log(
        self,
        subject: str,
        *,
        since_us: int | None = None,
        since_seq: int | None = None,
        may_read: Callable[[int], bool] = lambda count: True,
    ) -> AsyncGenerator[bytes, None]:
        """The payloads of a subject that MD_LOG holds now, oldest first: since a number of the stream, since a time of the server,
        or all; nothing if ``may_read`` says so of their count.

        Close it (``contextlib.aclosing``) if you leave early. Raises BusError, BusUnavailable.
        """
        since = Since(since_us, since_seq)
        return replay(
            self.client,
            self.jetstream,
            subject,
            since,
            self.options.replay_silence_s,
            may_read=may_read,
        )

    # ---- opening and closing

    async def close(self) -> None:
        """Sends what waits to be sent, within 2 s, and closes."""
        self._closing = True
        if self._ensuring is not None:
            self._ensuring.cancel()
            await asyncio.gather(self._ensuring, return_exceptions=True)
        try:
            await self.flush(CLOSE_DEADLINE_S)
        except BusUnavailable:
            self.client.drop_backlog()
        await self.client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        self._refused = asyncio.get_running_loop().create_future()
        connecting = asyncio.ensure_future(self._connect_client())
        first: set[asyncio.Future[Any]] = {connecting, self._refused}
        try:
            await asyncio.wait(
                first,
                timeout=self.options.connect_deadline_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not connecting.done():
                self._raise_not_connected()
            connecting.result()
        except BaseException:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            await self._abandon()
            raise
        finally:
            self._refused.cancel()
            self._refused = None

    async def _connect_client(self) -> None:
        options = self.options
        await self.client.connect(
            list(options.urls),
            name=options.name,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            reconnect_to_server_handler=self.client.choose_server,
            max_reconnect_attempts=-1,
            reconnect_time_wait=CONNECT_RETRY_S,  # type: ignore[arg-type]  # seconds, slept
            # One that hangs must leave time for the others.
            connect_timeout=max(1, int(options.connect_deadline_s / max(2, len(options.urls)))),
            ping_interval=options.ping_interval_s,  # type: ignore[arg-type]  # seconds, slept
            max_outstanding_pings=MAX_STALE_PINGS,
            pending_size=options.pending_bytes,
            no_echo=not options.echo,
            user_credentials=options.credentials,
            nkeys_seed=None if options.nkey is None else str(options.nkey),
            inbox_prefix=options.inbox_prefix,
            user=options.user,
            password=options.password,
            token=options.token,
            tls=options.ssl_context(),
        )

    async def _abandon(self) -> None:
        """Closes what a failed connect left open; nats-py considers such a client closed."""
        self._closing = True
        self.client.drop_backlog()
        await self.client.close()
        await self.client.close_transport()

    def _raise_not_connected(self) -> NoReturn:
        where, error = self.options.where, self._last_error
        if self._refused is not None and self._refused.done():
            error = self._refused.result()
            raise BusError(f"NATS at {where} refused the connection: {_reason(error)}") from error
        within = f"within {self.options.connect_deadline_s:g} s"
        raise BusUnavailable(f"NATS at {where} could not be reached {within}: {_reason(error)}") from error

    # ---- events of the client

    async def _error(self, error: Exception) -> None:
        self._last_error = error
        if self._refused is not None:
            if not self._refused.done() and _is_final(error):
                self._refused.set_result(error)
        elif (denial := denial_in(str(error))) is not None:
            self._denied(denial)
        elif self._lost_at is not None:
            self._log_once(f"still away: {_reason(error)}", None)
        elif not isinstance(error, nats.errors.StaleConnectionError | OSError):
            # These end the connection, and its loss is logged with them as the reason.
            self._log_once(_reason(error), None if isinstance(error, nats.errors.Error) else error)

    def _denied(self, denial: Denial) -> None:
        if self._on_denied:
            _call(self._on_denied, denial)
        else:
            self._log_once(str(denial), None)

    async def _disconnected(self) -> None:
        if self._closing or self._lost_at is not None:
            return
        self._lost_at = time.monotonic()
        logger.warning("lost NATS at %s (%s); reconnecting", self.options.where, _reason(self._last_error))
        self.client.fail_requests()
        _call(self._on_disconnect)

    async def _reconnected(self) -> None:
        if self._closing:
            return
        away_s = time.monotonic() - (self._lost_at or time.monotonic())
        self._lost_at, self._last_error = None, None
        self._logged.clear()
        logger.warning("NATS at %s is back after %.1f s", self.options.where, away_s)
        if self._ensured and (self._ensuring is None or self._ensuring.done()):
            self._ensuring = asyncio.get_running_loop().create_task(self._ensure_again())
        _call(self._on_reconnect)

    async def _ensure_again(self) -> None:
        """A server that lost its data has no streams, and a server that has just started may not answer at once."""
        delay_s = 0.1
        while self.connected:
            try:
                await self._create_streams()
                return
            except MdstreamError as error:
                self._log_once(str(error), None)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, self.options.reconnect_cap_s)

    def _log_once(self, text: str, error: Exception | None) -> None:
        """Logs a text once per connection."""
        if text not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(text)
            logger.error("NATS at %s: %s", self.options.where, text, exc_info=error)

    def _away(self) -> str:
        reason = "the bus is closed" if self._closing else _reason(self._last_error)
        return f"not connected to NATS at {self.options.where}: {reason}"

    def _refuse_publish(self, error: Exception, subject: str, payload: bytes) -> NoReturn:
        if isinstance(error, nats.errors.OutboundBufferLimitError):
            backlog = f"and the backlog is full ({self.options.pending_bytes} bytes)"
            raise BusUnavailable(f"{self._away()}, {backlog}") from error
        if isinstance(error, nats.errors.MaxPayloadError):
            raise BusError(
                f"payload of {len(payload)} bytes for {subject} is more than the server's max_payload of "
                f"{self.max_payload_bytes}"
            ) from error
        if isinstance(error, nats.errors.ConnectionClosedError | nats.errors.ConnectionDrainingError):
            raise BusUnavailable("the bus is closed") from error
        raise BusError(f"{subject} cannot be published: {_reason(error)}") from error


def _expecting(seq: int | None) -> dict[str, str] | None:
    return None if seq is None else {EXPECTED_SEQ: str(seq)}


def _register(callbacks: list[Callable[P, None]], callback: Callable[P, None]) -> Callable[[], None]:
    callbacks.append(callback)

    def unregister() -> None:
        if callback in callbacks:
            callbacks.remove(callback)

    return unregister


def _call(callbacks: list[Callable[P, None]], *arguments: P.args, **named: P.kwargs) -> None:
    for callback in tuple(callbacks):
        try:
            callback(*arguments, **named)
        except Exception:
            logger.exception("a callback of the bus failed")


def _is_final(error: Exception) -> bool:
    """Whether another attempt with the same options is pointless."""
    if isinstance(error, ssl.SSLError | nats.errors.SecureConnWantedError):
        return True
    return "authorization violation" in str(error).lower() or "authentication" in str(error).lower()


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "no answer"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; is nats-server running there?"
    if isinstance(error, nats.errors.SecureConnWantedError):
        return "TLS was asked for and the server does not offer it"
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(error).removeprefix("nats: ") or type(error).__name__
