"""What maps and presence have in common: rows by key, whole at first and then what changed, in messages of one page or several."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from mdstream.client.events import Subscribed
from mdstream.client.protocol import Request
from mdstream.client.recovery import NumberedSubscription
from mdstream.client.subscription import Link, StreamEvent


class Page(Protocol):
    """A message that leads from ``prev`` (None: from nothing) to ``seq``."""

    @property
    def prev(self) -> int | None: ...
    @property
    def seq(self) -> int: ...
    @property
    def page(self) -> int: ...
    @property
    def pages(self) -> int: ...


P = TypeVar("P", bound=Page)


class KeyedSubscription(NumberedSubscription[P], Generic[P]):
    """Values are absolute, so a message may begin before the number that is here; one that begins after it shows a gap."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._epoch = 0
        self._seq: int | None = None
        self._pages: list[P] = []
        """Of a message that is not complete."""

    # ---- for the user

    @property
    def topic(self) -> str:
        return self.request.instrument

    @property
    def seq(self) -> int:
        """The number of the last change that is shown; 0 before the first."""
        return self._seq or 0

    # ---- for the connection

    @property
    def resume(self) -> tuple[int, int] | None:
        return None if self._seq is None else (self._epoch, self._seq)

    def accept(self, event: Subscribed, now: float) -> None:
        if event.epoch != self._epoch:  # another stream, whose numbers begin again
            self._epoch, self._seq = event.epoch, None
        super().accept(event, now)

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        self._pages.clear()
        if resumed and self._seq is not None:
            self._synced = True
            return
        self._synced = False
        self._recovery.expect(now)

    def _interrupt(self) -> None:
        super()._interrupt()
        self._pages.clear()
        self._synced = False

    def _take(self, event: StreamEvent, now: float) -> None:
        page: P = event  # type: ignore[assignment]
        if page.page == 1:
            self._pages = [page]
        elif self._pages and page.page == len(self._pages) + 1 and page.seq == self._pages[0].seq:
            self._pages.append(page)
        else:
            self._pages.clear()
            self._recover_missing(now)
            return
        if page.page == page.pages:
            pages, self._pages = self._pages, []
            self._take_whole_message(pages, now)

    def _take_whole_message(self, pages: Sequence[P], now: float) -> None:
        prev, seq = pages[0].prev, pages[0].seq
        if prev is None:
            self._replace(pages)
        elif self._seq is None or prev > self._seq:
            self._recover_missing(now)
            return
        elif seq > self._seq:
            self._apply(pages)
        self._seq = seq if prev is None else max(seq, self._seq or 0)
        self._synced = True
        self._recovery.complete()
        self._recovery.reset_delay()

    def _take_heartbeat(self, seq: int, now: float) -> None:
        if self._synced and not self._pages and seq > self.seq:
            self._recover_missing(now)

    def _recover_missing(self, now: float) -> None:
        self._synced = False
        if not self._recovery.active:
            from_seq = 0 if self._seq is None else self._seq + 1
            self._recover_gap(f"what follows number {self.seq} is", from_seq, now)

    # ---- for maps and presence

    @abstractmethod
    def _replace(self, pages: Sequence[P]) -> None:
        """These are all rows."""

    @abstractmethod
    def _apply(self, pages: Sequence[P]) -> None:
        """These rows are new, and others are gone."""
