"""The reader of one open instrument, from the bus into the core: opens it, recovers it, closes it.

Live payloads go straight to the core. What the core does not take, and the streams without numbers, go to ``Incoming``. What is
missing is recovered in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from mdstream._core.ingest.intake import InstrumentReceiver
from mdstream.bus.freshness import Freshness
from mdstream.bus.gap_recovery import InstrumentCore
from mdstream.bus.gate import StreamGate
from mdstream.bus.incoming import Incoming
from mdstream.bus.lookout import Lookout
from mdstream.bus.opening import announced, ask, first_epoch
from mdstream.bus.streams import MD_STATE
from mdstream.bus.subjects import subject
from mdstream.bus.watcher import Watcher
from mdstream.errors import BusError, FeedError
from mdstream.model import InstrumentId, Ref, State, StateCode

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from mdstream.bus.shared import Shared

logger = logging.getLogger(__name__)

SEEK_EVERY_S = 1.0
"""Time between two questions for the ``ref`` of an epoch."""


class InstrumentReader:
    """One open instrument; ``Readers.open`` makes it, ``close`` ends it."""

    def __init__(
        self,
        shared: Shared,
        instrument: InstrumentId,
        watcher: Watcher,
        on_close: Callable[[InstrumentReader], object],
    ) -> None:
        self.instrument = instrument
        self._shared = shared
        self._on_close = on_close
        self._bus = shared.bus
        self._receiver = InstrumentReceiver(self._receive, self._on_heard, shared.scheduler)
        shared.watch.add(self._receiver, self._check)
        freshness = Freshness(shared.clock, shared.options.stale_after_s, lambda: self._receiver.heard_us)
        self._incoming = Incoming(shared, instrument, self, self._receiver, freshness, watcher)
        self._telling = self._incoming.telling
        self._book, self._trades = self._incoming.book, self._incoming.trades
        self._gates = {self._book: "book", self._trades: "trade"}
        self._lookout = Lookout(self, shared.bus, shared.clock)
        self._early: dict[bytes, bytes] = {}
        """The newest payload of each stream without a gate, while there is no core yet."""
        self._subscription: Subscription | None = None
        self._tasks: dict[StreamGate | str, asyncio.Task[None]] = {}

    # ---- what users see

    @property
    def ref(self) -> Ref | None:
        epochs = self._telling.epochs
        return epochs.ref if epochs is not None else None

    @property
    def book_state(self) -> State:
        return self._telling.states["book"].state

    @property
    def trade_state(self) -> State:
        return self._telling.states["trade"].state

    async def wait_live(self) -> None:
        """Returns when book and trades are up to date."""
        await self._book.turned_live.wait()
        await self._trades.turned_live.wait()

    @property
    def book_position(self) -> tuple[int, int]:
        """Epoch and seq of the book."""
        return self._incoming.position("book")

    @property
    def age_ms(self) -> int | None:
        """The age of the venue's last word; None if it was never heard."""
        return self._telling.age_ms

    @property
    def lacks_ref(self) -> bool:
        """Whether values of a greater epoch have come, but not the ``ref`` to read them by."""
        return self._telling.epochs is not None and self._telling.epochs.waiting > 0

    def bears_out(self, epoch: int, seq: int) -> bool:
        """Whether the bus has this number of the book, or a greater one, and the book has not reached it; also while nobody can say."""
        return not self._telling.stopped and self._incoming.bears_out(epoch, seq)

    def look_for(self, epoch: int, seq: int) -> None:
        """Asks the bus whether there is a number that the book has not reached; for some seconds, once a second. If there is, the
        book is ``recovering`` until it is reached."""
        if self._incoming.is_open and not self._telling.stopped and self.book_position < (epoch, seq):
            self._lookout.want(epoch, seq)
            self._run("look for", self._lookout.run())

    async def close(self) -> None:
        """Unsubscribes and ends all tasks; nothing is called afterwards."""
        self._telling.closed = True
        self._shared.watch.discard(self._receiver)
        self.stop("closed")
        self._on_close(self)
        tasks = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)

    # ---- for Readers

    async def start(self, make_core: Callable[[Ref], InstrumentCore]) -> None:
        self._subscription = await self._bus.subscribe(subject(self.instrument, "*"), self._receiver)
        # The server takes these requests after the subscription, so we receive what is published later.
        shared = self._shared
        stored = await announced(shared.bus, shared.asking, self.instrument, shared.refs.get)
        known = shared.refs.get(self.instrument)
        ref = None if stored.ref is None else self._usable_ref(stored.ref, known)
        epochs = first_epoch(self.instrument, ref, known, shared.wall_clock_us)
        shared.refs.note(self.instrument, epochs.ref)
        self._incoming.use(epochs, make_core(epochs.ref))
        if stored.status is not None:
            self._incoming.take_status(stored.status, stored_s=stored.status_s)
        early, self._early = self._early, {}
        for stream in (b"ref", b"status", b"snap"):  # at least as new as what was asked for
            if stream in early:
                self._receive_state(stream, early[stream])
        for gate in self._gates:
            self.recover(gate)

    def _usable_ref(self, payload: bytes, known: Ref | None) -> Ref | None:
        """Raises FeedError for a ``ref`` that cannot be used, unless another one is known."""
        try:
            return self._incoming.decode_ref(payload)
        except FeedError:
            if known is None:
                raise
            return None

    def disconnected(self) -> None:
        """NATS is away: something may be missing before the next payload."""
        for task in self._tasks.values():
            task.cancel()
        for gate in self._gates:
            gate.close()
        self._telling.report()

    def reconnected(self) -> None:
        if not self._incoming.is_open:
            return  # still opening: the failing requests tell the caller
        self._run("refresh", self._refresh())
        if self._lookout.is_looking:
            self._lookout.begin()
            self._run("look for", self._lookout.run())
        for gate, stream in self._gates.items():
            gate.close(complete=False)  # a snapshot in the old connection's last bytes may have made it live
            if stream not in self._telling.reasons:
                self._telling.recover(stream, StateCode.GAP, "NATS was away")
        self._telling.report()  # now: a snapshot may end it before a recovery has started
        for gate in self._gates:
            self.recover(gate)

    def _check(self) -> None:
        """Called when time alone may change something. The hot path only sets a flag."""
        self._incoming.go_on()
        self._telling.check()

    # ---- messages

    def _receive(self, subject: bytes, payload: bytes) -> None:
        """Takes each message, in order, that the receiver does not hand straight to the core."""
        stream = subject.rpartition(b".")[2]
        if stream == b"book":
            self._book.receive(payload)
        elif stream == b"trade":
            self._trades.receive(payload)
        else:
            self._receive_state(stream, payload)

    def _receive_state(self, stream: bytes, payload: bytes) -> None:
        if self._telling.stopped:
            return
        if not self._incoming.is_open:
            self._early[stream] = payload
        elif stream == b"snap":
            self._incoming.take_snap(payload)
        elif stream == b"status":
            self._incoming.take_status(payload)
        elif stream == b"ref":
            self._incoming.take_ref(payload)

    def _on_heard(self) -> None:
        """The receiver accepted something, for the first time since it was silent, or something else was wrong."""
        self._incoming.hear()
        self._telling.check()

    # ---- what takes time (IncomingOwner)

    def recover(self, gate: StreamGate) -> None:
        if not self._telling.stopped and not gate.live and self._bus.connected:
            self._run(gate, self._run_recovery(gate))

    async def _run_recovery(self, gate: StreamGate) -> None:
        self._telling.report()
        await self._incoming.recoveries[gate].run()
        self.recovered(gate)

    def recovered(self, gate: StreamGate) -> None:
        self._telling.reasons.pop(self._gates[gate], None)
        self._telling.report()

    def seek_ref(self) -> None:
        self._run("seek ref", self._seek_ref())

    async def _seek_ref(self) -> None:
        """Asks for the ``ref`` of an epoch whose values wait for it, now and every second."""
        epochs = self._telling.epochs
        while epochs is not None and epochs.waiting and not self._telling.stopped:
            try:
                ref = await self._bus.last(MD_STATE, self._incoming.subjects["ref"])
            except BusError as error:
                logger.debug("%s: its ref cannot be asked for: %s", self.instrument, error)
            else:
                if ref is not None and epochs.waiting:
                    self._incoming.take_stored_ref(ref)
            await asyncio.sleep(SEEK_EVERY_S)

    async def _refresh(self) -> None:
        """Reads what may have been announced while NATS was away."""
        options = self._shared.options.recovery
        delay_s = options.retry_base_s
        while True:
            try:
                stored = await ask(self._bus, self._shared.asking, self.instrument)
                break
            except BusError:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, options.retry_cap_s)
        if stored.ref is not None:
            self._incoming.take_stored_ref(stored.ref)
        if stored.status is not None and not self._telling.stopped:
            self._incoming.take_status(stored.status, stored_s=stored.status_s)

    def stop(self, why: str) -> None:
        self._telling.stopped = self._telling.stopped or why
        for gate in self._gates:
            gate.close()
            gate.clear()
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    def _run(self, key: StreamGate | str, work: Coroutine[Any, Any, None]) -> None:
        running = self._tasks.get(key)
        if running is not None and not running.done() and not running.cancelling():
            work.close()
            return
        self._tasks[key] = asyncio.get_running_loop().create_task(work)

    # ---- what the bus has beyond the book (LookoutOwner)

    def meet(self, payload: bytes) -> None:
        """A payload of the log is of a greater epoch: it begins, or its ref is looked for."""
        self._book.apply(payload)

    def meet_status(self, payload: bytes, stored_s: float) -> None:
        """The stored status is of a greater epoch: its ref is looked for."""
        self._incoming.take_status(payload, stored_s=stored_s)

    def owe(self, named: int, wanted: int) -> None:
        """The bus has a number of this epoch that the book has not reached."""
        self._incoming.expect(named, f"a client was shown {wanted}, and the bus has {named}")

    def suspect(self, epoch: int, seq: int, since_s: float) -> bool:
        """Nobody can say whether the bus has this number."""
        return self._incoming.suspect(epoch, seq, since_s)

    def clear(self) -> None:
        """The bus has not what was suspected."""
        self._incoming.clear()
