"""nats-py's client with a short path for market data, and with repairs of nats-py 2.16.

Each repair answers a fault in nats-py's source:

- A PONG for a ping that nobody waits for any more ends the read loop (``_process_pong``).
- Any other unexpected exception ends the read loop too, and nothing reconnects (``_read_loop``). An exception during a
  reconnect ends reconnecting (``_attempt_reconnect``).
- A PING overtakes what was published before it, so ``flush`` returns too early (``_send_ping``).
- An error from the server closes the client for good (``_process_err``). If the connection must end, the server closes it,
  and we reconnect.
- ``tls://`` does not require TLS (``_process_info``).
- A transport whose handshake failed stays open (``_connect_to_server``).
- ``close`` during a reconnect cancels a future that it then awaits, so its caller gets CancelledError (``_close``).
- A cancellation that arrives together with an answer or a failure is lost (``flush``, connecting). Each of them
  uses ``asyncio.wait_for``, which before Python 3.12 returns or raises the other one. Ctrl-C then does nothing, and a connect
  that was given up continues for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nats import errors
from nats.aio.client import PING_PROTO, Client, Server, Srv
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from mdstream._core.fanout.flush_scheduler import FlushScheduler
from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers
from mdstream.bus._requests import NO_RESPONDERS, Answer, Requests, headers_of
from mdstream.bus._tap import socket_of, tap, why_not_tapped
from mdstream.bus.denied import denial_in

logger = logging.getLogger(__name__)

Handler = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Takes the subject, reply subject, payload and header block of each message, as soon as it is parsed."""


T = TypeVar("T")


async def preserve_cancellation(work: Awaitable[T]) -> T:
    """Awaits ``work`` in the current task; raises the CancelledError that ``work`` may have lost."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        return await work
    finally:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError


MAX_FAULTS = 100
"""Faults of handlers that wait to be reported; further ones are dropped."""

_warned: set[str] = set()
"""Why connections were not tapped; each reason is logged once."""


def _warn_once(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        logger.warning("%s: nats-py reads from NATS instead of the compiled core, more slowly", reason)


class TapClient(Client):
    """A client that can also call a handler synchronously: no queue, no task and no object between parser and core.

    A slow handler slows the reading of the socket. The server then notices, instead of a queue in this process.
    """

    _tap: NatsTap | None = None

    def __init__(
        self, *, require_tls: bool, backoff_base_s: float, backoff_cap_s: float, compiled: bool = True
    ) -> None:
        """``compiled``: the compiled core reads market data, if it knows this nats-py."""
        super().__init__()
        self._taps = Handlers()
        self._no_messages: asyncio.Queue[Msg] = asyncio.Queue()
        """Of all that are tapped: nothing is ever put into it, and a queue for each would take 3 kB."""
        self._tap = None
        self._scheduler: FlushScheduler | None = None
        self._faults: list[Exception] = []
        self._requests = Requests()
        self._reporting: asyncio.Task[None] | None = None
        self._require_tls = require_tls
        self._backoff_base_s = backoff_base_s
        self._backoff_cap_s = backoff_cap_s
        self._compiled = compiled

    def schedule_by(self, scheduler: FlushScheduler) -> Callable[[], None]:
        """From now on the scheduler is told of each read, and may pause the socket; until what is returned is called."""
        if self._scheduler is not None:
            raise RuntimeError("a bus serves one scheduler of flushes")
        self._scheduler = scheduler
        self._tell_scheduler()
        return self._unschedule

    def _unschedule(self) -> None:
        if self._scheduler is not None:
            self._scheduler.attach(None)
        self._scheduler = None
        self._tell_scheduler()

    def _tell_scheduler(self) -> None:
        """Joins the scheduler and the tap that reads now."""
        if self._tap is not None:
            self._tap.scheduler = self._scheduler
            if self._scheduler is not None:
                self._scheduler.attach(socket_of(self._transport))

    @property
    def stats(self) -> dict[str, int]:
        """nats-py's counters. What the tap took is added to them when somebody looks."""
        if self._tap is not None:
            self._tap.count()
        return self._counters

    @stats.setter
    def stats(self, counters: dict[str, int]) -> None:
        self._counters = counters

    @property
    def socket(self) -> object | None:
        """The socket to the server; None while there is none."""
        try:
            found: object = socket_of(self._transport).get_extra_info("socket")
            return found
        except AttributeError:  # there is no transport, or not one of asyncio's
            return None

    @property
    def offers_jetstream(self) -> bool:
        """Whether the server announced that JetStream is on."""
        return bool(self._server_info.get("jetstream"))

    async def tap(self, subject: str, handler: Handler) -> Subscription:
        """Subscribes; ``handler`` must not block and should not raise."""
        if self.is_closed:
            raise errors.ConnectionClosedError
        self._sid += 1
        subscription = Subscription(self, self._sid, subject)
        subscription._pending_queue = self._no_messages
        self._subs[self._sid] = subscription
        self._taps[self._sid] = handler
        # Without a connection nothing is sent: a reconnect subscribes to everything in _subs. A SUB in the backlog would
        # survive an unsubscribe that comes before the reconnect.
        if self.is_connected:
            await self._send_subscribe(subscription)
        return subscription

    async def untap(self, subscription: Subscription) -> None:
        """Ends a subscription at once, in any state of the connection."""
        if self._subs.get(subscription._id) is not subscription:
            return
        self._remove_sub(subscription._id)
        if self.is_connected:
            await self._send_unsubscribe(subscription._id)

    def send(self, message: bytes, payload_size: int) -> None:
        """Sends a whole ``PUB`` or ``HPUB`` in this turn of the loop, behind what waits: ``publish`` takes a task and two turns for it."""
        self._counters["out_msgs"] += 1
        self._counters["out_bytes"] += payload_size
        self._pending.append(message)
        self._pending_data_size += len(message)
        if not isinstance(self._transport, TcpTransport):
            if self._flush_queue is not None and self._flush_queue.empty():
                self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())
        elif not socket_of(self._transport).is_closing():
            self._transport.writelines(self._pending)  # type: ignore[no-untyped-call]
            self._pending, self._pending_data_size = [], 0

    def fail_requests(self) -> None:
        """Fails every request that waits for an answer: the connection of that answer is gone."""
        self._requests.fail(errors.ConnectionReconnectingError())

    def drop_backlog(self) -> None:
        """Drops what waits to be sent: closing would write it to a closed transport, which uvloop refuses."""
        self._pending = []
        self._pending_data_size = 0

    async def close_transport(self) -> None:
        """Closes the socket, also of a client that was never connected."""
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]
            # Not wait_closed: its future was cancelled together with the attempt to connect.
            await asyncio.sleep(0)

    def choose_server(self, servers: list[Server], info: dict[str, Any]) -> tuple[Server, float]:
        """The server to try next (the one with the fewest failures), and how long to wait first, with full jitter."""
        server = min(servers, key=lambda candidate: candidate.reconnects)
        greatest = min(self._backoff_cap_s, self._backoff_base_s * 2 ** min(server.reconnects, 16))
        return server, random.uniform(0, greatest)

    async def flush(self, *arguments: Any, **named: Any) -> None:
        await preserve_cancellation(super().flush(*arguments, **named))

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109 - the signature is nats-py's
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """As nats-py's. Raises DeniedError at once where the server does not let us ask."""
        found = await self.ask(subject, payload, within_s=timeout, headers=headers)
        known = None if found.headers is None else headers_of(found.headers)
        if known is not None and known.get("Status") == NO_RESPONDERS.decode():
            raise errors.NoRespondersError
        return Msg(self, found.subject.decode(), found.reply.decode(), found.payload, known)

    async def ask(
        self, subject: str, payload: bytes = b"", *, within_s: float, headers: dict[str, Any] | None = None
    ) -> Answer:
        """As ``request``, but the answer is as it came: the status of its header was not looked at."""
        requests = self._requests
        if not requests.inbox:
            requests.inbox = self.new_inbox()
            await self.tap(f"{requests.inbox}.*", requests.hear)
        number, answer = requests.ask(subject, within_s)
        try:
            await self.publish(subject, payload, reply=requests.reply_to(number), headers=headers)
            return await answer
        finally:
            requests.close(number)

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        self._taps.pop(sid, None)
        super()._remove_sub(sid, max_msgs)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        handler = self._taps.get(sid)
        if handler is None:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            handler(subject, reply, data, headers)
        except Exception as error:
            await self._error_cb(error)

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        await self._send_command(PING_PROTO)
        await self._flush_pending()

    async def _process_pong(self) -> None:
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_err(self, err_msg: str) -> None:
        denial = denial_in(err_msg)
        if denial is not None:
            self._requests.deny(denial)
        self._err = errors.Error(f"nats: {err_msg}")
        await self._error_cb(self._err)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._require_tls and not info.get("tls_required"):
            raise errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        """Ignores a CancelledError that nobody asked for: everything is done when it is raised."""
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            await super()._close(status, do_cbs)
        except asyncio.CancelledError:
            if task and task.cancelling() > before:
                raise

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]
        await preserve_cancellation(super()._connect_to_server(s))

    async def _process_connect_init(self) -> None:
        await preserve_cancellation(super()._process_connect_init())

    async def _read_loop(self) -> None:
        await self._tap_connection()
        await super()._read_loop()
        if asyncio.current_task() is self._reading_task and self.is_connected:
            await self._process_op_err(errors.Error("nats: reading ended"))

    async def _tap_connection(self) -> None:
        """Takes the messages of taps out of the connection before nats-py reads from it."""
        counters, self._tap = self.stats, None
        if not self._compiled:
            return
        reason = why_not_tapped(self)
        if reason is None:
            assert self._transport is not None
            self._tap = await tap(self._transport, self._taps, counters, self._report)
            self._tell_scheduler()
        else:
            _warn_once(reason)

    def _report(self, error: Exception) -> None:
        """Reports an error from synchronous code."""
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(error)
        if self._reporting is None or self._reporting.done():
            self._reporting = asyncio.get_running_loop().create_task(self._report_all())

    async def _report_all(self) -> None:
        while self._faults:
            await self._error_cb(self._faults.pop(0))

    async def _attempt_reconnect(self) -> None:
        while True:
            try:
                await super()._attempt_reconnect()
                return
            except Exception as error:
                await self._error_cb(error)
                await asyncio.sleep(self._backoff_cap_s)
