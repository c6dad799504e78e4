"""Removes alerts of a user that his credential does not allow any more: nobody is told a price that he may not see.

The watcher of alerts knows no credentials; gateways see them. So the gateway looks at the alerts of each user who begins a session, or
renews his token, and deletes those that this credential does not allow. Who has no alerts costs a look into a set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mdstream.alert import read_alert
from mdstream.bus.alerts import alert_topics
from mdstream.bus.map_streams import LIVE, MAPS
from mdstream.errors import BusError, BusUnavailable, CommandError
from mdstream.gateway.alert_checks import check_may_see
from mdstream.maps import Change
from mdstream.topics import ALERTS, own_topic

if TYPE_CHECKING:
    from mdstream.auth.entitlements import Entitlements
    from mdstream.auth.identity import Identity
    from mdstream.bus import Bus
    from mdstream.gateway.open_map import OpenMap

log = logging.getLogger("mdstream.gateway.alerts")

BY: Final = "mdstream gateway"
"""Who removes them, as the map shows it."""
AT_ONCE: Final = 16
"""Users whose alerts are looked at at a time."""
READ_S: Final = 10.0
_LIVE: Final = f"{LIVE}.{MAPS.log(ALERTS)}."
_RETRY_LEAST_S: Final = 0.5
_RETRY_MOST_S: Final = 10.0
_MOST_WANTED: Final = 65_536
_MOST_TOPICS: Final = 1_000_000
"""Users who have alerts; with more of them, the alerts of each who comes are looked at."""


class AlertRights:
    """``use`` a bus; ``seen`` tells it of each credential."""

    def __init__(self, find: Callable[[str], Awaitable[OpenMap]]) -> None:
        """``find``: the map of a topic, which is read if it is not; raises CommandError."""
        self._find = find
        self._topics: set[str] = set()
        """The users' maps that there are."""
        self._is_known = False
        self._wanted: dict[str, Entitlements] = {}
        """By topic: what the newest credential allows; the oldest first."""
        self._working = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, bus: Bus) -> None:
        """From now on."""
        self._spawn(self._learn(bus))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def seen(self, identity: Identity) -> None:
        """A user has begun a session, or renewed his token."""
        if self._is_known and not self._topics:
            return
        topic = own_topic(identity.subject, ALERTS)
        if topic is None or not self._may_have(topic):
            return
        self._wanted.pop(topic, None)
        if len(self._wanted) < _MOST_WANTED:
            self._wanted[topic] = identity.entitlements
        if self._is_known:
            self._work()

    # ---- who has alerts

    def _may_have(self, topic: str) -> bool:
        return not self._is_known or topic in self._topics or len(self._topics) >= _MOST_TOPICS

    async def _learn(self, bus: Bus) -> None:
        await bus.subscribe(f"{_LIVE}*", self._hear)
        bus.on_reconnect(lambda: self._spawn(self._read(bus)))
        await self._read(bus)

    async def _read(self, bus: Bus) -> None:
        delay_s = _RETRY_LEAST_S
        while True:
            with suppress(BusError):
                self._topics |= await alert_topics(bus)
                break
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MOST_S)
        self._is_known = True
        for topic in self._wanted.keys() - self._topics:
            del self._wanted[topic]
        self._work()

    def _hear(self, subject: bytes, *_: object) -> None:
        if len(self._topics) < _MOST_TOPICS:
            self._topics.add(subject.decode("ascii", "replace").removeprefix(f"{LIVE}.{MAPS.subject}."))

    # ---- what they may see

    def _work(self) -> None:
        while self._wanted and self._working < AT_ONCE:
            topic = next(iter(self._wanted))
            self._working += 1
            self._spawn(self._check(topic, self._wanted.pop(topic)))

    async def _check(self, topic: str, entitlements: Entitlements) -> None:
        try:
            async with asyncio.timeout(READ_S):
                await self._remove(await self._find(topic), entitlements)
        except (CommandError, BusError, TimeoutError) as error:
            log.debug("%s is looked at again: %s", topic, error)
            await asyncio.sleep(_RETRY_LEAST_S)
            self._wanted.setdefault(topic, entitlements)
        finally:
            self._working -= 1
        self._work()

    async def _remove(self, each: OpenMap, entitlements: Entitlements) -> None:
        """By compare-and-set, until none is left: the watcher may mark one at the same moment."""
        while forbidden := _forbidden(each, entitlements):
            log.info(
                "%s: %d alerts go: their user may not see these prices any more", each.name, len(forbidden)
            )
            for key, rev in forbidden.items():
                change = Change(delete=(key,), expect={key: rev}, by=BY)
                outcome = await each.stream.put(each.name, change, None)
                if outcome.failed is not None:
                    raise BusUnavailable(outcome.failed)
            await each.reach(outcome.seq)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _forbidden(each: OpenMap, entitlements: Entitlements) -> dict[str, int]:
    """Keys and their ``rev``."""
    return {key: entry.rev for key, entry in each.state.items() if not _may_see(entitlements, entry.value)}


def _may_see(entitlements: Entitlements, value: object) -> bool:
    """What is no alert is never watched, and may stay."""
    try:
        check_may_see(entitlements, read_alert(value))
    except ValueError:
        return True
    except CommandError:
        return False
    return True
