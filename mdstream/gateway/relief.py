"""Measures the load of a gateway, and does what ``overload`` decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from mdstream.codes import OVERLOAD, CloseCode
from mdstream.gateway import messages
from mdstream.gateway.heap import memory_bytes, trim
from mdstream.gateway.overload import Load, Overload
from mdstream.gateway.sockets import unread_bytes
from mdstream.gateway.strain import Strain
from mdstream.model import State

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.net.session import Session
    from mdstream._core.net.session_group import SessionGroup
    from mdstream.gateway.open_instruments import OpenInstruments
    from mdstream.gateway.subscriptions import Subscriptions
    from mdstream.gateway.turns import Steps, Turns

log = logging.getLogger("mdstream.gateway.relief")

LOOK_S: Final = 0.25
SHARE: Final = 20
"""One in so many clients is shed at a time."""


class Desk(Protocol):
    """What is used of ``Sessions``."""

    turns: Turns
    subscriptions: Subscriptions

    def newest_first(self) -> Iterator[Session]: ...


class Relief:
    """``start`` it; ``look`` is called by a timer of its own."""

    def __init__(
        self,
        hub: Hub,
        desk: Desk,
        instruments: OpenInstruments,
        group: SessionGroup,
        *,
        max_memory_bytes: int,
        nats_socket: Callable[[], object | None],
        overload: Overload | None = None,
        now_s: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = memory_bytes,
    ) -> None:
        """``max_memory_bytes`` 0: no bound."""
        self.overload = overload or Overload()
        self.shed_total: Counter[str] = Counter()
        """``subscriptions`` that were ended, ``clients`` that were closed."""
        self.memory_bytes = 0
        self._hub = hub
        self._desk = desk
        self._instruments = instruments
        self._group = group
        self._max_unread = group.max_unread
        self._max_memory = max_memory_bytes
        self._nats_socket = nats_socket
        self._now_s = now_s
        self._memory = memory
        self._due_s = 0.0
        self._turn_s = 0.0
        """How long the loop took for the turn after the last look."""
        self._timer: asyncio.TimerHandle | None = None
        self._trimmed_at = float("-inf")

    def start(self) -> None:
        self._due_s = self._now_s() + LOOK_S
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look_again(self) -> None:
        now = self._now_s()
        try:
            self.look(max(now - self._due_s, self._turn_s))
        finally:
            self.start()
            asyncio.get_running_loop().call_soon(self._turn_ended, now)

    def _turn_ended(self, began_s: float) -> None:
        self._turn_s = self._now_s() - began_s

    def look(self, late_s: float) -> None:
        """``late_s``: how late the loop calls this."""
        self.memory_bytes = self._memory() if self._max_memory else 0
        share = self.memory_bytes / self._max_memory if self._max_memory else 0.0
        level = self.overload.level
        self.overload.look(Load(late_s, unread_bytes(self._nats_socket()), share), self._now_s())
        if self.overload.level != level:
            self._change(level)
        self._relieve_memory()
        if self.overload.must_shed:
            self._desk.turns.run_own(self._shed())
        if self.overload.must_close:
            self._desk.turns.run_own(self._close())

    def _change(self, before: int) -> None:
        overload = self.overload
        load = overload.load
        log.warning(
            "overload level %d, was %d: the loop is %.0f ms late, %d bytes from NATS are unread",
            overload.level,
            before,
            load.late_s * 1000,
            load.unread_bytes,
        )
        self._hub.stretch = overload.stretch
        if bool(before) != bool(overload.level):
            self._instruments.strain.is_told = overload.level > 0
            self._desk.turns.run_own(self._tell())

    def _tell(self) -> Steps:
        """Tells those who asked for intervals whether they get less; a step for each instrument."""
        for instrument in self._instruments:
            for topic in instrument.core.topics:
                status = instrument.statuses[topic.channel]
                if status.state is State.LIVE and Strain.may_concern(topic):
                    told = messages.encode_both(status.message(topic, instrument.age_ms))
                    self._hub.broadcast(topic, *told, to_apart=False)
            yield

    def _relieve_memory(self) -> None:
        overload = self.overload
        self._group.max_unread = 0 if overload.is_short else self._max_unread
        self._instruments.lingers = not overload.is_tight
        if overload.is_tight and self._now_s() - self._trimmed_at >= 5.0:
            self._trimmed_at = self._now_s()
            log.warning(
                "memory is short: %d of %d bytes are in use; no new clients and instruments",
                self.memory_bytes,
                self._max_memory,
            )
            trim()

    # ---- who must go

    def _newest(self) -> list[Session]:
        """The newest clients, one in twenty."""
        sessions = list(self._desk.newest_first())
        return sessions[: -(-len(sessions) // SHARE)]

    def _shed(self) -> Steps:
        """Those that have no subscription cost nothing, so they do not count."""
        sessions = [each for each in self._desk.newest_first() if each.sink.subscriptions]
        for session in sessions[: -(-len(sessions) // SHARE)]:
            if session.open:
                topics = session.sink.topics()
                self.shed_total["subscriptions"] += len(topics)
                self._desk.subscriptions.end(session, topics, OVERLOAD)
            yield

    def _close(self) -> Steps:
        for session in self._newest():
            if session.open:
                self.shed_total["clients"] += 1
                session.close(CloseCode.OVER_CAPACITY, "this gateway is short of memory")
            yield
