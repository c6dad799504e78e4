"""One map that this gateway keeps: its rows, the topics that show it, and what became of the changes that clients asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway.fair_places import GATEWAY
from mdstream.gateway.map_log import CountView, MapLog, MapRow, MapView, PresentRow, WhoView
from mdstream.gateway.needed import Needed
from mdstream.maps import Applied, Change, MapState, Outcome
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic_composed import ComposedTopic
    from mdstream.bus.map_reader import MapReader, MapStream

log = logging.getLogger("mdstream.gateway.maps")

MOST_VIEWS: Final = 256
"""Prefixes and intervals of one map that clients look at."""
SHARE: Final = 4
"""One user, or one address where users are not known, may have this part of them."""
MOST_REFUSED: Final = 4_096
"""Changes of which it is remembered that they changed nothing."""


Lost = Callable[["OpenMap", str, list[tuple[str, Any]]], None]


class ViewKey(NamedTuple):
    """What clients have in common that share a topic of a map."""

    channel: Channel
    prefix: str
    interval_ms: int
    who: bool = False


class View:
    """A topic of a map."""

    def __init__(self, key: ViewKey, source: MapView, topic: ComposedTopic, asker: Hashable) -> None:
        self.key = key
        self.asker = asker
        """For whom it was made."""
        self.source = source
        self.topic = topic
        self.published_s = float("-inf")
        self.timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class OpenMap(Needed):
    """``reader`` tells it of each change."""

    def __init__(
        self,
        stream: MapStream,
        name: str,
        hub: Hub,
        *,
        make_reader: Callable[..., MapReader],
        wall_us: Callable[[], int],
        now_s: Callable[[], float],
        replaced: Callable[[OpenMap, list[ComposedTopic]], None],
    ) -> None:
        """``replaced``: the stream is another one, and what clients have of these topics means nothing any more."""
        super().__init__()
        self.name = name
        self.stream = stream
        self.reader = make_reader(stream, name, began=self._begin, followed=self._follow, ready=self._show)
        self.views: dict[ViewKey, View] = {}
        self.asker = GATEWAY
        """For whom it was opened."""
        self.asked_s = now_s()
        self.changed_s: float | None = None
        """When the oldest change came that is in no whole map."""
        self.stale_us = 0
        """Since when it may be old, because NATS is away; 0: it is not."""
        self.was_read = False
        """Whether it was ever read: while it is opened for the first time, nothing is shown that could be old."""
        self.live_us = 0
        """When that ended."""
        self.is_busy = False
        """A whole map is being stored."""
        self.tell_loaded: Callable[[], None] = lambda: None
        self.tell_set: Callable[[Iterable[str]], None] = lambda keys: None
        """Called when keys were set."""
        self.tell_dropped: Callable[[str], None] = lambda node: None
        """Called when all entries of a gateway were removed."""
        self.tell_lost: Lost | None = None
        """Called before that with the gateway, and the keys and values that go with it."""
        self._hub = hub
        self._wall_us = wall_us
        self._now_s = now_s
        self._replaced = replaced
        self._is_present = stream.kind.subject == Channel.PRESENCE
        self._log = MapLog(PresentRow if self._is_present else MapRow)
        self._epoch = 0
        self._known_from = 0
        """Changes after this number were seen one by one."""
        self._refused: dict[int, Applied] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}

    @property
    def state(self) -> MapState:
        return self.reader.state

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def is_used(self) -> bool:
        return self.holds > 0 or any(view.topic.subscribers for view in self.views.values())

    def __iter__(self) -> Iterator[View]:
        return iter(list(self.views.values()))

    # ---- views

    def view(self, key: ViewKey, asker: Hashable = None) -> View:
        """The topic that shows this of it, which must be read. Raises CommandError ``limit_subscriptions`` where there are too many."""
        found = self.views.get(key)
        if found is None:
            self._make_room(asker)
            source = self._source(key)
            topic = self._hub.compose(
                self.name, key.channel.value, key.interval_ms, source, epoch=self._epoch
            )
            source.sub = topic.number
            found = self.views[key] = View(key, source, topic, asker)
            if source.seq:
                self._hub.publish(topic, source.seq, self._wall_us())
        return found

    def _source(self, key: ViewKey) -> MapView:
        if not self._is_present:
            return MapView(self._log, key.prefix)
        return WhoView(self._log) if key.who else CountView(self._log)

    def _make_room(self, asker: Hashable) -> None:
        self._give_up_idle()
        own = sum(each.asker == asker for each in self.views.values())
        if len(self.views) >= MOST_VIEWS or own >= MOST_VIEWS // SHARE:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{self.name} is shown by as many prefixes and intervals as it can, or you have your part of them; one that others look "
                "at too has room",
            )

    def _give_up_idle(self) -> None:
        """Prefixes are the clients' choice: what nobody looks at goes when something new comes."""
        for key, view in list(self.views.items()):
            if not view.topic.subscribers:
                view.stop()
                del self.views[key]

    def close(self) -> None:
        for view in self:
            view.stop()
        self._wake()

    # ---- what comes from the bus

    async def _begin(self) -> None:
        """It is read, for the first time or again."""
        known, self._epoch = self._epoch, self.reader.epoch
        self._known_from = self.state.seq
        self._refused.clear()
        if known not in (0, self._epoch):
            self._start_anew()
        for _ in self._log.begin(self.state):
            await asyncio.sleep(0)

    def _show(self) -> None:
        """It was read."""
        self.was_read = True
        self.changed_s = self._now_s() if self.reader.changes else None
        for view in self:
            self._publish(view)
        self._wake()
        self.tell_loaded()

    def _start_anew(self) -> None:
        """Numbers begin again, so topics do too."""
        topics = [view.topic for view in self]
        for view in self:
            view.stop()
        self.views.clear()
        self._log = MapLog(PresentRow if self._is_present else MapRow)
        self._replaced(self, topics)

    def _follow(self, change: Change | None, applied: Applied) -> None:
        seq = self.state.seq
        if self.changed_s is None:
            self.changed_s = self._now_s()
        if change is not None and change.drop_node is not None:
            self._tell_lost(change.drop_node, applied.gone)
        self._log.follow(self.state, applied)
        if applied.outcome is not Outcome.APPLIED:
            self._refused[seq] = applied
            if len(self._refused) > MOST_REFUSED:
                oldest = next(iter(self._refused))
                del self._refused[oldest]
                self._known_from = oldest
        if not self.reader.is_read:
            return
        if seq in self._waiting:
            self._waiting.pop(seq).set_result(None)
        for view in self.views.values():
            if view.timer is None and view.source.is_touched(applied):
                self._publish_soon(view)
        if applied.set:
            self.tell_set(applied.set)
        if change is not None and change.drop_node is not None:
            self.tell_dropped(change.drop_node)

    def _tell_lost(self, node: str, gone: Iterable[str]) -> None:
        """What was before it was read, others have told."""
        if self.tell_lost is not None and self.reader.is_read:
            keys = set(gone)
            rows = [(row.key, row.entry.value) for row in self._log.rows(None, "") if row.key in keys]
            self.tell_lost(self, node, rows)

    def _publish_soon(self, view: View) -> None:
        """Now, or as soon as the interval since the last message is over."""
        interval_ms = view.key.interval_ms * self._hub.stretch
        wait_s = view.published_s + interval_ms / 1000 - self._now_s()
        if not interval_ms or wait_s <= 0:
            self._publish(view)
        else:
            view.timer = asyncio.get_running_loop().call_later(wait_s, self._publish, view)

    def _publish(self, view: View) -> None:
        view.stop()
        is_all = view.source.advance()
        if view.topic.seq < view.source.seq:
            view.published_s = self._now_s()
            self._hub.publish(view.topic, view.source.seq, self._wall_us())
        if not is_all:
            self._publish_soon(view)

    # ---- what became of a change

    def outcome(self, seq: int, change: Change) -> Applied | None:
        """What a change did; None: it has not come yet. Of one that was in the whole map that was read, it is told by what it set. Raises
        CommandError ``unavailable`` where others have set that since."""
        if seq > self.state.seq:
            return None
        if seq in self._refused:
            return self._refused[seq]
        if seq > self._known_from or any(self.state.rev(key) == seq for key in change.set):
            return Applied(Outcome.APPLIED)
        if change.expect:
            raise CommandError(
                ErrorCode.UNAVAILABLE,
                "it is not known what the change did: others have changed the same keys since",
            )
        return Applied(Outcome.APPLIED)

    async def wait_for(self, seq: int, change: Change) -> Applied:
        """Returns when it is known what the change with this number did; bound the time. Raises CommandError ``unavailable``."""
        while (found := self.outcome(seq, change)) is None:
            waiting = self._waiting.get(seq)
            if waiting is None:
                waiting = self._waiting[seq] = asyncio.get_running_loop().create_future()
            await asyncio.shield(waiting)
        return found

    def _wake(self) -> None:
        """Those that wait look again."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.set_result(None)

    async def reach(self, seq: int) -> None:
        """Returns when it is at this number or beyond; bound the time."""
        while self.state.seq < seq:
            await asyncio.sleep(0.01)
