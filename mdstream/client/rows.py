"""What boards and lists of instruments have in common: numbered messages of whole rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

from mdstream.client.protocol import Request
from mdstream.client.recovery import NumberedSubscription
from mdstream.client.subscription import Link


class Change(Protocol):
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...


C = TypeVar("C", bound=Change)


class RowsSubscription(NumberedSubscription[C], Generic[C]):
    """Rows that are replaced as a whole, and then one by one; a missing message is noticed and recovered."""

    def __init__(self, request: Request, link: Link) -> None:
        super().__init__(request, link)
        self._seq: int | None = None

    @property
    def seq(self) -> int:
        """The number of the last message; 0 before the first."""
        return self._seq or 0

    @property
    def patterns(self) -> tuple[str, ...]:
        return self.request.patterns

    # ---- for the connection

    def _begin(self, now: float, *, resumed: bool, rescaled: bool) -> None:
        if resumed and self._seq is not None:
            self._synced = True
            return
        self._forget()
        self._recovery.expect(now)

    def _take_heartbeat(self, seq: int, now: float) -> None:
        if not self._recovery.active and seq > self.seq:
            self._recover_missing(now)

    # ---- for boards and lists

    @abstractmethod
    def _apply(self, event: C) -> bool:
        """Takes over the rows of a change; False if they cannot be understood."""

    def _forget(self) -> None:
        """What comes now is a new beginning; what is shown stays until then."""
        self._seq = None
        self._synced = False

    def _loaded(self, seq: int, now: float) -> None:
        """All rows were replaced by those at a number."""
        self._seq = seq
        self._go_on(now)

    def _take_change(self, event: C, now: float) -> None:
        if self._seq is not None and event.last <= self._seq:
            return
        if self._seq is None or event.first > self._seq + 1:
            self._recovery.hold(event)
            if not self._recovery.active:
                self._recover_missing(now)
            return
        if not self._apply(event):
            self._start_anew("a name is", now)
            return
        self._seq = event.last
        self._recovery.reset_delay()
        self._go_on(now)

    def _start_anew(self, what: str, now: float) -> None:
        """``what`` is missing, so that only a new beginning helps."""
        self._forget()
        self._recover_gap(what, 0, now)

    def _go_on(self, now: float) -> None:
        self._synced = True
        for event in self._recovery.complete() if self._recovery.deadline is not None else ():
            self._take_change(event, now)

    def _recover_missing(self, now: float) -> None:
        self._synced = False
        from_seq = 0 if self._seq is None else self._seq + 1
        self._recover_gap(f"what follows number {self.seq} is", from_seq, now)
