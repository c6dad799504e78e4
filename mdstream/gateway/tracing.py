"""Traces of sessions: for whoever asks, what one session sends and is sent, as it happens; bounded, and at no cost where nobody asks.

The callbacks of the sessions, and the way out of the one that is traced, lead through here only while there is a trace.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from mdstream.codes import CloseCode
from mdstream.gateway import trace_lines
from mdstream.gateway.budget import Budget
from mdstream.gateway.kept_page import SLICE_S
from mdstream.gateway.trace_lines import Frame, Line
from mdstream.printable import printable_json

if TYPE_CHECKING:
    from mdstream._core.net.session import Session

log = logging.getLogger("mdstream.gateway.tracing")

MOST_TRACES: Final = 4
MOST_WAITING: Final = 2_000
MOST_WAITING_BYTES: Final = 4_194_304
LINES_AT_ONCE, LINES_PER_SECOND = 4_000, 2_000
"""Of one trace. What is beyond is not looked at, but counted."""
LOOK_S: Final = 0.25
"""How often it is looked at whether the client reads."""


class Group(Protocol):
    """What is used of a ``SessionGroup``."""

    on_message: Callable[[Session, bytes], None]
    on_close: Callable[[Session, int], None]


class Trace:
    """What happens to one session, until it ends or ``end`` is called. What nobody fetches in time is lost, and counted."""

    def __init__(
        self,
        session: Session,
        first: Line,
        *,
        bodies: bool,
        wall_us: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self._session = session
        self._is_text = session.format == 0
        self._bodies = bodies
        self._wall_us = wall_us
        self._now_s = now_s
        self._budget = Budget(LINES_AT_ONCE, LINES_PER_SECOND, now_s())
        self._waiting: deque[tuple[int, Frame | bytes | Line]] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._slow = False
        self._ended = False
        self._news = asyncio.Event()
        self._note(first)

    # ---- what happens

    def sent(self, data: bytes) -> None:
        """One write to the client: whole frames."""
        for frame in trace_lines.frames(data):
            self._add(frame, len(frame.payload))

    def received(self, payload: bytes) -> None:
        self._add(payload, len(payload))

    def look(self) -> None:
        """Call a few times a second: notes when the client stops reading, and when it reads again."""
        is_slow = self._session.open and self._session.sink.blocked
        if is_slow != self._slow and not self._ended:
            self._slow = is_slow
            waits = {"unread_bytes": self._session.bytes_pending} if is_slow else {}
            self._note({"event": "slow" if is_slow else "reads", **waits})

    def closed(self, code: int) -> None:
        name = next((each.name.lower() for each in CloseCode if each == code), "other")
        self._note({"event": "closed", "code": code, "name": name})
        self.end("the session has ended")

    def end(self, reason: str) -> None:
        if not self._ended:
            self._note({"event": "end", "reason": reason})
            self._ended = True

    def _add(self, what: Frame | bytes, size: int) -> None:
        is_full = len(self._waiting) >= MOST_WAITING or self._waiting_bytes + size > MOST_WAITING_BYTES
        if self._ended:
            return
        if is_full or not self._budget.take(self._now_s()):
            self._lost += 1
            return
        self._tell_lost()
        self._waiting.append((self._wall_us(), what))
        self._waiting_bytes += size
        self._news.set()

    def _note(self, line: Line) -> None:
        """What happens rarely is never lost."""
        self._tell_lost()
        self._waiting.append((self._wall_us(), line))
        self._news.set()

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            self._waiting.append((self._wall_us(), {"event": "lost", "lines": lost}))

    # ---- who fetches it

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """JSON, a line for each; several at a time, made in slices of a millisecond."""
        while self._waiting or not self._ended:
            if not self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()
            self._news.clear()
            self.look()
            if self._waiting:
                yield self._fetch()
                await asyncio.sleep(0)

    def _fetch(self) -> bytes:
        made: list[bytes] = []
        until_s = self._now_s() + SLICE_S
        while self._waiting:
            at_us, what = self._waiting.popleft()
            made.append(_json({"at_us": at_us, **self._line(what)}))
            if self._now_s() > until_s:
                break
        return b"".join(made)

    def _line(self, what: Frame | bytes | Line) -> Line:
        if isinstance(what, Frame):
            self._waiting_bytes -= len(what.payload)
            return trace_lines.sent(what, bodies=self._bodies)
        if isinstance(what, bytes):
            self._waiting_bytes -= len(what)
            return trace_lines.received(what, is_text=self._is_text, bodies=self._bodies)
        return what


class Tracing:
    """All traces of this gateway."""

    def __init__(self, group: Group, *, wall_us: Callable[[], int], now_s: Callable[[], float]) -> None:
        self._group = group
        self._on_message, self._on_close = group.on_message, group.on_close
        self._wall_us = wall_us
        self._now_s = now_s
        self._traces: dict[Session, list[Trace]] = {}

    @property
    def is_full(self) -> bool:
        return sum(map(len, self._traces.values())) >= MOST_TRACES

    def begin(self, session: Session, first: Line, *, bodies: bool) -> Trace:
        """``first``: what its first line says of the session."""
        trace = Trace(session, first, bodies=bodies, wall_us=self._wall_us, now_s=self._now_s)
        traces = self._traces.setdefault(session, [])
        traces.append(trace)
        if len(traces) == 1:
            session.sink.trace(lambda data: self._sent(session, data))
            self._group.on_message, self._group.on_close = self._received, self._closed
        return trace

    def end(self, trace: Trace, reason: str = "nobody looks any more") -> None:
        trace.end(reason)
        for session, traces in list(self._traces.items()):
            if trace in traces:
                traces.remove(trace)
                self._let_go(session)

    def _let_go(self, session: Session) -> None:
        if not self._traces[session]:
            del self._traces[session]
            session.sink.trace(None)
        if not self._traces:
            self._group.on_message, self._group.on_close = self._on_message, self._on_close

    # ---- the callbacks while there is a trace

    def _sent(self, session: Session, data: bytes) -> None:
        for trace in self._traces.get(session, ()):
            trace.sent(data)

    def _received(self, session: Session, payload: bytes) -> None:
        for trace in self._traces.get(session, ()):
            trace.received(payload)
        self._on_message(session, payload)

    def _closed(self, session: Session, code: int) -> None:
        traces = self._traces.get(session, [])
        for trace in traces:
            trace.closed(code)
        if traces:
            traces.clear()
            self._let_go(session)
        self._on_close(session, code)


def _json(line: Line) -> bytes:
    """On one line, safe to print."""
    try:
        made = msgspec.json.encode(line, enc_hook=str)
    except Exception:  # a body that JSON cannot say
        made = msgspec.json.encode({key: each for key, each in line.items() if key != "body"}, enc_hook=str)
    return printable_json(made.decode()).encode() + b"\n"
