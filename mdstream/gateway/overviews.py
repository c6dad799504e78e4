"""The channels of many instruments: subscriptions to lists and boards, and when those are brought up to date.

Clients that select the same instruments at the same interval share a topic. While nobody is subscribed nothing is read or encoded;
some time after that it is given up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mdstream.auth.entitlements import MAX_MS
from mdstream.auth.patterns import Pattern, PatternSet
from mdstream.codes import RESCALED, ErrorCode
from mdstream.errors import BusError, CommandError
from mdstream.gateway import messages
from mdstream.gateway.budget import Cost
from mdstream.gateway.clients import charge_work, client_of
from mdstream.gateway.commands import SubscribeMany
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.costs import Work
from mdstream.gateway.desk import Desk
from mdstream.gateway.overview import BoardOverview, ListOverview, Overview, Selection
from mdstream.gateway.quotes import Quotes
from mdstream.gateway.turns import Steps, Turns
from mdstream.model import Channel

if TYPE_CHECKING:
    from mdstream._core.fanout.hub import Hub
    from mdstream._core.fanout.topic import Topic
    from mdstream._core.net.session import Session
    from mdstream.auth.entitlements import Entitlements
    from mdstream.bus.directory import Directory
    from mdstream.gateway.open_instruments import OpenInstruments

log = logging.getLogger("mdstream.gateway.overviews")

OF_MANY: Final = (Channel.INSTRUMENTS, Channel.BOARD)
KEPT_S: Final = 30.0
"""How long one is kept that nobody is subscribed to: clients come back, and resume."""
MOST: Final = 256
"""Lists and boards of all clients together, of different selections or intervals."""
MOST_LOOKS_PER_S: Final = 100_000
"""At instruments, of all lists and boards together: about a tenth of a core."""
SHARE: Final = 4
"""One user, or one address where users are not known, may have this part of both."""
_EPOCH_BITS: Final = 52
_LEVELS_PER_NAME: Final = 100
"""What it costs to look at each instrument that there is, for a list or board that nobody else has, as many levels."""
_READ_PER_ROW: Final = 10
_SENT_PER_ROW: Final = 4
"""And what a row costs."""


class RowDesk(Desk, Protocol):
    def check_one_more(self, session: Session) -> None: ...
    def count_rows(self, session: Session, topic: Topic, names: Sequence[str]) -> None: ...


class _Key(NamedTuple):
    channel: str
    interval_ms: int
    selection: Selection


class Overviews:
    """All lists and boards of this gateway."""

    def __init__(
        self,
        config: GatewayConfig,
        hub: Hub,
        instruments: OpenInstruments,
        desk: RowDesk,
        turns: Turns,
        wall_us: Callable[[], int],
    ) -> None:
        self._config = config
        self._hub = hub
        self._instruments = instruments
        self._desk = desk
        self._turns = turns
        self._wall_us = wall_us
        self.quotes = Quotes(instruments, wall_us)
        self._open: dict[_Key, Overview] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Overview]:
        return iter(list(self._open.values()))

    # ---- begin

    def subscribe(self, session: Session, command: SubscribeMany) -> Steps | None:
        """Raises CommandError, or returns the steps of the answer."""
        self._key(session, command)
        self._check_room(session)
        directory = self._directory()
        if directory.is_ready:
            return self._commit(session, command, directory)
        work = asyncio.get_running_loop().create_task(self._commit_once_read(session, command, directory))
        self._desk.later(session, work)
        return None

    async def _commit_once_read(self, session: Session, command: SubscribeMany, directory: Directory) -> None:
        directory.hold()
        try:
            await self._wait_read(session, directory)
            if session.open:
                self._turns.run(session, self._commit(session, command, directory))
        except BusError as error:
            if session.open:
                refused = CommandError(ErrorCode.UNAVAILABLE, f"{error}; try again")
                self._desk.refuse(session, command.id, refused)
        finally:
            directory.release()

    async def _wait_read(self, session: Session, directory: Directory) -> None:
        client = client_of(session)
        client.opening += 1
        try:
            await directory.ready(self._config.open_timeout_ms / 1000)
        finally:
            client.opening -= 1

    def _directory(self) -> Directory:
        readers = self._instruments.readers
        if readers is None or not readers.bus.connected:
            raise CommandError(ErrorCode.UNAVAILABLE, "NATS is not connected; try again")
        return readers.directory

    def _key(self, session: Session, command: SubscribeMany) -> _Key:
        """What the client selects; raises CommandError ``bad_value``, or ``not_entitled`` for a pattern of which it may see nothing."""
        patterns = command.patterns()
        interval_ms = command.interval_ms
        entitlements = client_of(session).identity.entitlements
        scope = entitlements.scope(command.channel, interval_ms, self._config.delay_ms)
        allowed = PatternSet((each, 1) for each in scope)
        for text, pattern in zip(command.instruments, patterns, strict=True):
            sees = allowed.match(text) if pattern.end is None else any(map(pattern.overlaps, scope))
            if not sees:
                raise CommandError(
                    ErrorCode.NOT_ENTITLED, _explain(entitlements, command, text, self._config.delay_ms)
                )
        return _Key(command.channel.value, interval_ms, Selection(patterns, scope))

    def _check_room(self, session: Session) -> None:
        self._desk.check_one_more(session)
        most = self._config.max_boards
        have = sum(topic.channel in OF_MANY for topic in session.sink.topics())
        if have >= most:
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"{have} of {most} subscriptions to lists and boards are in use (welcome.limits.max_boards)",
            )

    def _commit(self, session: Session, command: SubscribeMany, directory: Directory) -> Steps:
        try:
            self._check_room(session)
            identity = client_of(session).identity
            key = self._key(session, command)  # what is allowed may have changed
            overview = self._open.get(key)
            if overview is None:
                names = len(directory.refs)
                client_of(session).budgets.charge(Cost.LEVELS, _LEVELS_PER_NAME * names)
                overview = self._make(key, directory, self._desk.asker(session))
            yield from self._prepare(key, overview)
            yield from overview.source.use(session.format)
            if session.open:
                if client_of(session).identity is not identity and self._key(session, command) != key:
                    raise CommandError(
                        ErrorCode.UNAVAILABLE, "what you may see has changed meanwhile; try again"
                    )
                self._join(session, command, key, overview)
        except CommandError as error:
            self._desk.refuse(session, command.id, error)

    def _prepare(self, key: _Key, overview: Overview) -> Steps:
        """Brings what nobody is subscribed to up to date. Raises CommandError ``limit_subscriptions`` for a board that is too large."""
        if overview.topic.subscribers:
            return
        overview.idle_since_s = asyncio.get_running_loop().time()
        yield from overview.steps()
        self._publish(overview)
        if overview.is_over:
            if self._open.pop(key, None) is not None:
                overview.close()
            most = self._config.max_board_rows
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                f"these are more than {most} instruments, which a board may have (welcome.limits.max_board_rows); narrower patterns "
                "have less",
            )

    def _join(self, session: Session, command: SubscribeMany, key: _Key, overview: Overview) -> None:
        if self._open.get(key) is not overview:
            raise CommandError(ErrorCode.UNAVAILABLE, "it was given up meanwhile; try again")
        topic = overview.topic
        is_there = self._hub.find(session.sink, topic.number) is not None
        if not is_there:
            charge_work(session, _work_of(overview), command.echo_bytes)
        resumed = is_there or self._hub.subscribe(session.sink, topic, command.resume)
        told = messages.subscribed_many(
            command.id, topic, command.instruments, resumed=resumed, delay_ms=self._config.delay_ms
        )
        answer = messages.encode(session.format, told)
        if is_there:
            session.send_control(answer)
            return
        overview.idle_since_s = None
        self._hub.catch_up(session.sink, topic, answer)
        self._desk.tally(session)
        self._desk.begun(session, topic)
        if key.channel == Channel.BOARD:
            self._desk.count_rows(session, topic, overview.source.names())
        if not overview.is_paced:
            overview.is_paced = True
            self._pace(overview)

    def _make(self, key: _Key, directory: Directory, asker: Hashable) -> Overview:
        self._make_room(asker)
        if key.channel == Channel.BOARD:
            epoch = secrets.randbits(_EPOCH_BITS) + 1
            overview: Overview = BoardOverview(
                key.selection,
                directory,
                self.quotes,
                self._instruments,
                epoch=epoch,
                most=self._config.max_board_rows,
            )
        else:
            epoch = 1
            overview = ListOverview(key.selection, directory, self.quotes, self._instruments)
        overview.topic = self._hub.compose("*", key.channel, key.interval_ms, overview.source, epoch=epoch)
        overview.source.sub = overview.topic.number
        overview.asker = asker
        self._open[key] = overview
        return overview

    def _make_room(self, asker: Hashable) -> None:
        """Gives up what nobody is subscribed to, if that is needed. Raises CommandError ``limit_subscriptions`` if it does not help."""
        if self._is_full(asker):
            self._give_up(float("inf"))
        if self._is_full(asker):
            raise CommandError(
                ErrorCode.LIMIT_SUBSCRIPTIONS,
                "this gateway shows as many different lists and boards as it can, or you have your part of them; one that others look "
                "at too has room, and so has a greater interval_ms",
            )

    def _is_full(self, asker: Hashable) -> bool:
        own = [each for each in self._open.values() if each.asker == asker]
        if len(self._open) >= MOST or len(own) >= MOST // SHARE:
            return True
        looks, own_looks = (sum(each.looks_per_s for each in some) for some in (self._open.values(), own))
        return looks >= MOST_LOOKS_PER_S or own_looks >= MOST_LOOKS_PER_S // SHARE

    # ---- while it is shown

    def _publish(self, overview: Overview) -> None:
        if overview.commit():
            self._hub.publish(overview.topic, overview.source.seq, overview.ts_us or self._wall_us())

    def _pace(self, overview: Overview) -> None:
        delay_s = overview.topic.interval_ms / 1000 * self._hub.stretch
        overview.timer = asyncio.get_running_loop().call_later(delay_s, self._due, overview)

    def _due(self, overview: Overview) -> None:
        overview.timer = None
        if overview.topic.subscribers:
            self._turns.run_own(self._update(overview))
        else:
            self._rest(overview)

    def _update(self, overview: Overview) -> Steps:
        try:
            yield from overview.steps()
            self._publish(overview)
        finally:
            if not overview.is_closed:
                self._go_on(overview)

    def _go_on(self, overview: Overview) -> None:
        if overview.topic.subscribers:
            self._pace(overview)
        else:
            self._rest(overview)

    def _rest(self, overview: Overview) -> None:
        """Nobody looks at it any more."""
        overview.is_paced = False
        overview.idle_since_s = asyncio.get_running_loop().time()

    def recover(self, session: Session, topic: Topic, from_seq: int) -> None:
        """Answers ``recover``. Raises CommandError ``rate_limited``."""
        overview = next(each for each in self if each.topic is topic)
        charge_work(session, _work_of(overview))
        self._hub.recover(session.sink, topic, from_seq)

    # ---- end

    def end_forbidden(self, session: Session) -> None:
        """Call when a client's entitlements have changed: what would now show other instruments ends, and the client is told."""
        entitlements = client_of(session).identity.entitlements
        by_number = {each.topic.number: (key, each) for key, each in self._open.items()}
        for topic in session.sink.topics():
            if topic.channel not in OF_MANY:
                continue
            key, _ = by_number[topic.number]
            scope = entitlements.scope(key.channel, key.interval_ms, self._config.delay_ms)
            if scope != key.selection.scope:
                sees = any(one.overlaps(other) for one in key.selection.patterns for other in scope)
                self._desk.end(session, [topic], RESCALED if sees else ErrorCode.NOT_ENTITLED.value)

    def sweep(self) -> None:
        """Call about once a second."""
        if self._open:
            self._give_up(asyncio.get_running_loop().time() - KEPT_S)
        else:
            self.quotes.forget_all()

    def _give_up(self, idle_before_s: float) -> None:
        """What nobody has been subscribed to since then."""
        for key, overview in list(self._open.items()):
            idle_since_s = overview.idle_since_s
            if not overview.topic.subscribers and idle_since_s is not None and idle_since_s <= idle_before_s:
                del self._open[key]
                overview.close()

    def close(self) -> None:
        for overview in self:
            overview.close()
        self._open.clear()


def _work_of(overview: Overview) -> Work:
    return Work(_READ_PER_ROW * (1 + len(overview)), _SENT_PER_ROW * (1 + len(overview)))


def _explain(entitlements: Entitlements, command: SubscribeMany, pattern: str, served_ms: int) -> str:
    wanted = Pattern.parse(pattern)

    def sees(late_ms: int) -> bool:
        """Anything of it, at some interval."""
        return any(map(wanted.overlaps, entitlements.scope(command.channel, MAX_MS, late_ms)))

    if sees(served_ms):
        return f"you may see {command.channel} of {pattern} only with a greater interval_ms"
    if sees(MAX_MS):
        return f"you may see {command.channel} of {pattern} only late, on a gateway with that delay"
    return f"no instrument of {pattern} is among those of which you may see {command.channel}"
