"""The user's own price alerts: what is set, and what has fired."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

from mdstream.alert import EVENT, SENDER, Alert, read_alert, read_new_alert
from mdstream.client.map import Map
from mdstream.client.topic_events import Event, Events
from mdstream.topics import ALERTS

Put = Callable[..., Awaitable[int]]

_TEXTS: Final = ("alert", "instrument", "on", "when", "price", "crossed", "id")
_NUMBERS: Final = ("epoch", "seq", "ts", "rev", "count")


@dataclass(frozen=True, slots=True)
class Crossing:
    """An alert has fired. ``price`` is the alert's, ``crossed`` that of the market, at the number ``seq`` of ``epoch`` of the book, or of
    the trades, at the market's time ``ts_us``. ``count``: how often it has fired.

    ``late``: numbers were missing; it crossed there or before. ``paused``: it fires too often, and must be set again.
    """

    key: str
    instrument: str
    on: str
    when: str
    price: str
    crossed: str
    id: str
    """Names the crossing among those of the alert; it is told once."""
    epoch: int
    seq: int
    ts_us: int
    rev: int
    count: int
    note: str
    late: bool
    paused: bool
    event: Event

    @classmethod
    def of(cls, event: Event) -> Self | None:
        """What an event of one's own topic tells; None for one that is of no alert."""
        data = event.data
        if (event.type, event.sender) != (EVENT, SENDER) or not isinstance(data, dict):
            return None
        texts = [data.get(name) for name in _TEXTS]
        numbers = [data.get(name) for name in _NUMBERS]
        if not all(type(each) is str for each in texts) or not all(type(each) is int for each in numbers):
            return None
        late, paused = data.get("late") is True, data.get("paused") is True
        return cls(*texts, *numbers, str(data.get("note", "")), late, paused, event)  # type: ignore[arg-type,call-arg]


class Alerts:
    """Made by ``Client.alerts``; ``close`` it, or use it as an asynchronous context manager."""

    def __init__(self, entries: Map, inbox: Events, put: Put) -> None:
        self.entries = entries
        """The map of the alerts as it is, with ``rev`` and ``on_update``."""
        self.inbox = inbox
        """The events of the user's own topic."""
        self._put = put

    # ---- what is set

    def all(self) -> Mapping[str, Alert]:
        """By key; what programs on the bus wrote there that is no alert is left out."""
        return dict(self._each())

    def __len__(self) -> int:
        return len(self.all())

    def __getitem__(self, key: str) -> Alert:
        """Raises KeyError; ValueError for what is no alert."""
        return read_alert(self.entries[key])

    async def set(
        self,
        key: str,
        instrument: str,
        on: str,
        when: str,
        price: str | Decimal,
        *,
        once: bool = True,
        note: str = "",
        ttl_ms: int | None = None,
    ) -> int:
        """Sets an alert in place of the one with this key, and returns its ``rev``. ``on``: bid, ask or last; ``when``: above, below or
        crosses; ``price``: an exact decimal. ``all()`` has it a moment later.

        Raises ValueError for what is no alert, PutRefused with the gateway's code, ConnectionFailed.
        """
        text = format(price, "f") if isinstance(price, Decimal) else price
        value = {"instrument": instrument, "on": on, "when": when, "price": text, "once": once}
        if note:
            value["note"] = note
        read_new_alert(value)
        return await self._put(ALERTS, {key: value}, ttl_ms=ttl_ms)

    async def delete(self, *keys: str) -> int:
        """Removes alerts; those that do not exist count for nothing. Returns the number of the change. Raises as ``set``."""
        return await self._put(ALERTS, delete=keys)

    def _each(self) -> Iterator[tuple[str, Alert]]:
        for key, entry in self.entries.entries.items():
            try:
                yield key, read_alert(entry.value)
            except ValueError:
                continue

    # ---- what has fired

    async def fired(self) -> AsyncIterator[Crossing]:
        """Each crossing, in order; first those that were not acknowledged. One is acknowledged when the next one is asked for.

        What else comes to the user's topic is left to others: nothing is acknowledged beyond it until they have acknowledged it.
        """
        others = 0
        async for event in self.inbox:
            crossing = Crossing.of(event)
            if crossing is None:
                others = event.seq
                continue
            yield crossing
            if (self.inbox.acknowledged or 0) >= others:
                others = 0
                self.inbox.acknowledge(event)

    async def close(self) -> None:
        await self.entries.close()
        await self.inbox.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()
