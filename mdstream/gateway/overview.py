"""One list or board that clients look at: which instruments are in it, and when they are opened for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Final

from mdstream.auth.entitlements import Scope
from mdstream.auth.patterns import Pattern, PatternSet
from mdstream.errors import CommandError
from mdstream.gateway.board import UNKNOWN, Board
from mdstream.gateway.listing import Listing
from mdstream.gateway.turns import Steps
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.topic_composed import ComposedTopic
    from mdstream.bus.directory import Directory
    from mdstream.gateway.open_instruments import OpenInstruments
    from mdstream.gateway.quotes import Quotes

log = logging.getLogger("mdstream.gateway.overview")

OPENED_AT_ONCE: Final = 16
RETRY_S: Final = 5.0
"""After an instrument could not be opened."""
STEP: Final = 50
"""Instruments that are looked at before others may have their turn of the loop."""


class Selection:
    """The instruments of some patterns that a client may see. Equal ones select the same, so that their clients share a topic."""

    __slots__ = ("_allowed", "_wanted", "patterns", "scope")

    def __init__(self, patterns: Iterable[Pattern], scope: Scope) -> None:
        self.patterns = frozenset(patterns)
        self.scope = scope
        self._wanted = PatternSet((pattern, 1) for pattern in self.patterns)
        self._allowed = PatternSet((pattern, 1) for pattern in scope)

    def takes(self, name: str) -> bool:
        return bool(self._wanted.match(name) and self._allowed.match(name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and (self.patterns, self.scope) == (other.patterns, other.scope)

    def __hash__(self) -> int:
        return hash((self.patterns, self.scope))


class Opener:
    """Opens instruments a few at a time. What cannot be opened is tried again when it is wanted again, some seconds later."""

    def __init__(self, instruments: OpenInstruments) -> None:
        self._instruments = instruments
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[str] = deque()
        self._known: dict[str, float] = {}
        """What waits, is being opened, or could not be; and when it may be tried again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def want(self, name: str) -> None:
        """Opens it, unless that is under way or failed a moment ago."""
        if self._is_closed or self._loop.time() < self._known.get(name, 0.0):
            return
        self._known[name] = float("inf")
        self._waiting.append(name)
        self._start()

    def forget(self, name: str) -> None:
        self._known.pop(name, None)

    def close(self) -> None:
        self._is_closed = True
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()

    def _start(self) -> None:
        while self._waiting and len(self._tasks) < OPENED_AT_ONCE:
            task = self._loop.create_task(self._open(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._start()

    async def _open(self, name: str) -> None:
        if name not in self._known:
            return
        retry_s = 0.0
        try:
            await self._instruments.open([name], Channel.TICKER, asker=self)
        except CommandError as error:
            log.debug("%s cannot be shown on a board now: %s", name, error)
            retry_s = RETRY_S
        if name in self._known:
            self._known[name] = self._loop.time() + retry_s


class Overview:
    """What lists and boards have in common."""

    topic: ComposedTopic
    source: Board | Listing
    asker: Hashable = None
    """For whom it was made."""

    def __init__(self, selection: Selection, directory: Directory, quotes: Quotes) -> None:
        self.selection = selection
        self.is_closed = False
        self.is_over = False
        """More is selected than it may show."""
        self.idle_since_s: float | None = None
        """Since when nobody is subscribed."""
        self.is_paced = False
        """It is brought up to date again and again."""
        self.timer: asyncio.TimerHandle | None = None
        self._directory = directory
        self._quotes = quotes
        self._version = -1
        self._pending: dict[str, None] = {}
        """Names that are to be looked at."""
        directory.hold()

    @property
    def ts_us(self) -> int:
        """Event time of the newest data; 0: there is none."""
        return 0

    def __len__(self) -> int:
        return len(self.source)

    @property
    def looks_per_s(self) -> int:
        """How many instruments it looks at in a second while it is shown: what it costs."""
        return self._looked_at() * 1000 // self.topic.interval_ms

    def _looked_at(self) -> int:
        """In an interval."""
        raise NotImplementedError

    def steps(self) -> Steps:
        """Brings it to now; then commit the source."""
        self._note_news()
        for number, name in enumerate(iter(self._take_pending, None), 1):
            self._look_at(name)
            if number % STEP == 0:
                yield
        yield from self._read()

    def commit(self) -> bool:
        """Whether it shows anything new."""
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True
        if self.timer is not None:
            self.timer.cancel()
        self._directory.release()

    def _note_news(self) -> None:
        """Names that are new, gone or announced anew since the last call. While the list of all cannot be read, what is known stays."""
        directory = self._directory
        if not directory.is_ready or self._version == directory.version:
            return
        changed = directory.changes(self._version)
        self._version = directory.version
        if changed is None:
            changed = [*directory.names, *self.source.names()]
        self._pending.update(dict.fromkeys(reversed(changed)))

    def _take_pending(self) -> str | None:
        return self._pending.popitem()[0] if self._pending else None

    def _look_at(self, name: str) -> None:
        """It is new, or announced anew, or gone, or not selected at all."""
        raise NotImplementedError

    def _read(self) -> Steps:
        """Takes over what it shows of the instruments."""
        return iter(())


class ListOverview(Overview):
    """Opens nothing: it shows the states of those instruments that are open anyway."""

    source: Listing

    def __init__(
        self, selection: Selection, directory: Directory, quotes: Quotes, instruments: OpenInstruments
    ) -> None:
        super().__init__(selection, directory, quotes)
        self.source = Listing()
        self._instruments = instruments
        self._opened: set[str] = set()

    def commit(self) -> bool:
        return self.source.commit()

    def _looked_at(self) -> int:
        return len(self._opened)

    def _look_at(self, name: str) -> None:
        ref = self._directory.refs.get(name)
        if ref is None:
            self.source.remove(name)
        elif self.source.has(name) or self.selection.takes(name):
            self.source.set(self._quotes.list(name, ref))

    def _read(self) -> Steps:
        opened = {each.name for each in self._instruments if self.source.has(each.name)}
        for number, name in enumerate(opened | self._opened, 1):
            self._look_at(name)
            if number % STEP == 0:
                yield
        self._opened = opened


class BoardOverview(Overview):
    """Opens its instruments, and keeps them open."""

    source: Board

    def __init__(
        self,
        selection: Selection,
        directory: Directory,
        quotes: Quotes,
        instruments: OpenInstruments,
        *,
        epoch: int,
        most: int,
    ) -> None:
        """``most``: instruments that are shown; others are left out."""
        super().__init__(selection, directory, quotes)
        self.source = Board(epoch)
        self._instruments = instruments
        self._opener = Opener(instruments)
        self._statistics = None if instruments.readers is None else instruments.readers.statistics
        self._names: dict[str, None] = {}
        self._most = most
        self._newest_us = 0
        if self._statistics is not None:
            self._statistics.hold()

    @property
    def ts_us(self) -> int:
        return self.source.ts_us

    def commit(self) -> bool:
        return self.source.commit(self._newest_us)

    def _looked_at(self) -> int:
        return len(self._names)

    def close(self) -> None:
        super().close()
        self._opener.close()
        self._instruments.wanted.remove(self._names)
        for name in self._names:
            self._quotes.forget(name)
        if self._statistics is not None:
            self._statistics.release()

    def _look_at(self, name: str) -> None:
        is_there = name in self._directory.refs
        if name in self._names:
            if not is_there:
                self._remove(name)
        elif is_there and self.selection.takes(name):
            self._add(name)

    def _add(self, name: str) -> None:
        if len(self._names) >= self._most:
            self.is_over = True
            return
        self._names[name] = None
        self._instruments.wanted.add((name,))

    def _remove(self, name: str) -> None:
        del self._names[name]
        self.source.remove(name)
        self._opener.forget(name)
        self._instruments.wanted.remove((name,))

    def _read(self) -> Steps:
        refs = self._directory.refs
        for number, name in enumerate(list(self._names), 1):
            if (ref := refs.get(name)) is not None and name in self._names:
                scale, quote, read_us = self._quotes.read(name, ref)
                self._newest_us = max(self._newest_us, read_us)
                self.source.set(name, scale, quote)
                if quote.state == UNKNOWN:
                    self._opener.want(name)
            if number % STEP == 0:
                yield
