"""``put``: changes of maps by clients, into the stream. They are answered once they are stored and it is known what they did."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from mdstream.alert import MAX_ALERTS
from mdstream.auth.topic_grants import Verb
from mdstream.codes import ErrorCode
from mdstream.errors import CommandError
from mdstream.gateway import messages
from mdstream.gateway.alert_checks import check_alerts
from mdstream.gateway.clients import client_of, tell
from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.desk import Desk
from mdstream.gateway.entitled import check_may
from mdstream.gateway.map_commands import Put, topic_of
from mdstream.gateway.map_shares import MapShares
from mdstream.gateway.open_map import OpenMap
from mdstream.gateway.topic_budgets import TopicBudgets
from mdstream.maps import Applied, Change, Outcome
from mdstream.model import Channel
from mdstream.topics import is_of_alerts

if TYPE_CHECKING:
    from mdstream._core.net.session import Session
    from mdstream.bus import stream_publisher

MOST_PUTS: Final = 64
"""Changes of one session that wait for their answer; more are refused."""
PUT_S: Final = 2.0
STORED_AT_ONCE: Final = 8
"""Changes handed on in one turn of the loop: each takes some 50 µs."""


class _Waiting:
    """The changes of one session that have no answer yet."""

    def __init__(self) -> None:
        self.count = 0
        self.to_store: deque[Put] = deque()
        """In the order in which they came."""
        self.is_storing = False


class MapPuts:
    """Answers ``put``."""

    def __init__(
        self,
        config: GatewayConfig,
        desk: Desk,
        find: Callable[[Session, str], Awaitable[OpenMap]],
        now_s: Callable[[], float],
    ) -> None:
        """``find``: the map of a topic, which is read for a session if it is not; raises CommandError."""
        self._desk = desk
        self._find = find
        self._rates = TopicBudgets(
            "puts", "too many changes of this map", config.puts_burst, config.puts_per_second, now_s
        )
        self._alerts = TopicBudgets(
            "alerts", "too many alerts were set", config.alerts_burst, config.alerts_per_second, now_s
        )
        self._shares = MapShares(config.max_user_map_bytes)
        self.total: Counter[str] = Counter()
        """By what became of them."""
        self._waiting: dict[Session, _Waiting] = {}

    def put(self, session: Session, command: Put) -> None:
        """Raises CommandError."""
        identity = client_of(session).identity
        topic = topic_of(command.topic, identity.subject)
        check_may(identity, Verb.WRITE, Channel.MAP, topic)
        self._rates.charge(self._desk.asker(session), topic)
        command.change(identity.subject)
        if is_of_alerts(topic):
            if command.set:
                self._alerts.charge(self._desk.asker(session), topic, len(command.set))
            check_alerts(identity, command)
        waiting = self._waiting.setdefault(session, _Waiting())
        if waiting.count >= MOST_PUTS:
            raise CommandError(
                ErrorCode.RATE_LIMITED, f"{MOST_PUTS} changes wait for their answer; wait for those"
            )
        waiting.count += 1
        waiting.to_store.append(command)
        if not waiting.is_storing:
            waiting.is_storing = True
            self._later(session, self._store_all(session, waiting))

    @property
    def kept(self) -> dict[Session, _Waiting]:
        """What ends with a session."""
        return self._waiting

    def closed(self, session: Session) -> None:
        """Call when a session has ended."""
        self._waiting.pop(session, None)

    # ---- storing

    async def _store_all(self, session: Session, waiting: _Waiting) -> None:
        """Hands them on in the order in which they came. None waits for what becomes of the one before it."""
        try:
            for count in itertools.count(1):
                if not (waiting.to_store and session.open):
                    break
                await self._store(session, waiting, waiting.to_store[0])
                waiting.to_store.popleft()
                if count % STORED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        finally:
            waiting.is_storing = False

    async def _store(self, session: Session, waiting: _Waiting, command: Put) -> None:
        identity = client_of(session).identity
        topic = topic_of(command.topic, identity.subject)
        try:
            check_may(identity, Verb.WRITE, Channel.MAP, topic)  # what is allowed may have changed
            if is_of_alerts(topic):
                check_alerts(identity, command)
            change = command.change(identity.subject)
            each = await self._find(session, topic)
            if not each.stream.bus.connected:
                raise _unavailable("NATS is not connected")
            if self._desk.counted(session).is_counted:
                self._shares.check(identity.subject, topic, each.state, change)
        except CommandError as error:
            self._refuse(session, command, error)
            self._answered(session, waiting)
            return
        stored = each.stream.put(topic, change, _id_of(identity.subject, topic, command.key))
        self._later(session, self._answer(session, waiting, command, each, change, stored))

    async def _answer(
        self,
        session: Session,
        waiting: _Waiting,
        command: Put,
        each: OpenMap,
        change: Change,
        stored: asyncio.Future[stream_publisher.Outcome],
    ) -> None:
        each.holds += 1
        try:
            seq, applied = await _applied(each, change, stored)
            if change.by is not None:
                self._shares.note(change.by, each.name, each.state)
            self._tell(session, command, each, seq, applied)
        except CommandError as error:
            self._refuse(session, command, error)
        finally:
            each.holds -= 1
            self._answered(session, waiting)

    def _answered(self, session: Session, waiting: _Waiting) -> None:
        waiting.count -= 1
        if not waiting.count and self._waiting.get(session) is waiting:
            del self._waiting[session]

    # ---- answers

    def _refuse(self, session: Session, command: Put, error: CommandError) -> None:
        self.total[error.code] += 1
        if session.open:
            self._desk.refuse(session, command.id, error)

    def _tell(self, session: Session, command: Put, each: OpenMap, seq: int, applied: Applied) -> None:
        self.total[applied.outcome.value] += 1
        if not session.open:
            return
        if applied.outcome is Outcome.APPLIED:
            tell(session, messages.stored(command.id, each.name, seq))
        elif applied.outcome is Outcome.CONFLICT:
            identity = client_of(session).identity
            may_read = identity.entitlements.may(Verb.READ, Channel.MAP, each.name, identity.subject)
            current = _current(each, command) if may_read else None
            tell(session, messages.conflict(command.id, each.name, current))
        else:
            error = CommandError(ErrorCode.MAP_FULL, _full(each.name))
            self._desk.refuse(session, command.id, error)

    def _later(self, session: Session, work: Coroutine[Any, Any, None]) -> None:
        self._desk.later(session, asyncio.get_running_loop().create_task(work))


async def _applied(
    each: OpenMap, change: Change, stored: asyncio.Future[stream_publisher.Outcome]
) -> tuple[int, Applied]:
    """The number of a change, and what it did. Raises CommandError ``unavailable``."""
    try:
        async with asyncio.timeout(PUT_S):
            outcome = await stored
            if outcome.failed is None:
                return outcome.seq, await each.wait_for(outcome.seq, change)
    except TimeoutError:
        raise _unavailable("it is not known whether the change is stored") from None
    raise _unavailable(outcome.failed)


def _unavailable(why: str) -> CommandError:
    return CommandError(ErrorCode.UNAVAILABLE, f"{why}; try again with the same key")


def _id_of(subject: str, topic: str, key: str | None) -> str | None:
    """The same change is stored once, of the same user."""
    if key is None:
        return None
    return hashlib.sha256(f"{subject}\n{topic}\n{key}".encode()).hexdigest()[:32]


def _current(each: OpenMap, command: Put) -> dict[str, list[object] | None]:
    """What holds of the keys that were expected to be otherwise."""
    found: dict[str, list[object] | None] = {}
    for key in command.expect:
        entry = each.state.find(key)
        found[key] = None if entry is None else [entry.value, entry.rev, entry.by, entry.ts_us]
    return found


def _full(topic: str) -> str:
    if is_of_alerts(topic):
        return f"{topic} has {MAX_ALERTS} alerts at most; nothing was changed: delete some first"
    return f"{topic} would have too many keys or bytes; nothing was changed"
