"""Which instruments there are, by patterns, with their reference data and state, kept equal to the gateway's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

from mdstream.client.events import InstrumentRow, Instruments, InstrumentsChanged
from mdstream.client.observers import Observer, notify_all, register
from mdstream.client.protocol import Request
from mdstream.client.rows import RowsSubscription
from mdstream.client.stream import UpdateStream
from mdstream.client.subscription import Link, StreamEvent


@dataclass(frozen=True, slots=True)
class ListedInstrument:
    """``state`` is ``unknown`` where the gateway does not read the instrument; ``code`` says why it is not live. ``since_us``: since
    when, in µs since the Unix epoch."""

    instrument: str
    price_exp: int
    size_exp: int
    epoch: int
    ref: dict[str, Any]
    state: str
    code: str | None
    since_us: int


@dataclass(frozen=True, slots=True)
class ListUpdate:
    """What one message changed; ``whole``: it replaced the list."""

    seq: int
    changed: tuple[ListedInstrument, ...]
    gone: tuple[str, ...]
    whole: bool = False
    skipped: int = 0

    def with_skipped(self, skipped: int) -> Self:
        return replace(self, skipped=skipped)


class InstrumentList(RowsSubscription[InstrumentsChanged]):
    """The instruments, in ``rows``."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._rows: dict[str, ListedInstrument] = {}
        self._pages: list[ListedInstrument] = []
        self._page = 0
        """The last page that came; 0: none."""
        self._observers: list[Observer[ListUpdate]] = []

    # ---- for the user

    @property
    def rows(self) -> Mapping[str, ListedInstrument]:
        """By instrument. It changes with each message."""
        return MappingProxyType(self._rows)

    def on_update(self, observer: Observer[ListUpdate]) -> Callable[[], None]:
        """Calls ``observer(update)`` after each change; returns a function that stops the calls."""
        return register(self._observers, observer)

    def updates(self, buffer: int = 64) -> UpdateStream[ListUpdate]:
        """Returns an iteration that keeps at most ``buffer`` updates for a slow consumer."""
        return UpdateStream(self, self.on_update, buffer)

    def __aiter__(self) -> AsyncIterator[ListUpdate]:
        return self.updates()

    # ---- for the connection

    def _take(self, event: StreamEvent, now: float) -> None:
        if isinstance(event, Instruments):
            self._take_page(event, now)
        elif isinstance(event, InstrumentsChanged):
            self._take_change(event, now)

    def _take_page(self, event: Instruments, now: float) -> None:
        if event.page == 1:
            self._pages, self._page = [], 0
        if event.page != self._page + 1:
            self._start_anew("a page is", now)
            return
        self._page = event.page
        self._pages += map(_listed, event.rows)
        if event.more:
            return
        rows = {row.instrument: row for row in self._pages}
        gone = tuple(self._rows.keys() - rows.keys())
        self._rows, self._pages, self._page = rows, [], 0
        self._loaded(event.seq, now)
        self._tell(tuple(rows.values()), gone, whole=True)

    def _apply(self, event: InstrumentsChanged) -> bool:
        changed = tuple(map(_listed, event.rows))
        self._rows.update((row.instrument, row) for row in changed)
        gone = tuple(name for name in event.gone if self._rows.pop(name, None) is not None)
        self._seq = event.last
        self._tell(changed, gone)
        return True

    def _tell(
        self, changed: tuple[ListedInstrument, ...], gone: tuple[str, ...], *, whole: bool = False
    ) -> None:
        notify_all(self._observers, ListUpdate(self.seq, changed, gone, whole))


def _listed(row: InstrumentRow) -> ListedInstrument:
    return ListedInstrument(
        row.instrument, row.price_exp, row.size_exp, row.epoch, row.ref, row.state, row.code, row.since
    )
