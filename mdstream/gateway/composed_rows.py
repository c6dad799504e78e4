"""What boards and lists have in common: numbered rows, each encoded once, and the messages that lead from a number to now; without I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import msgspec

from mdstream.gateway.row_log import RowLog

K = TypeVar("K", int, str)


class Encoded(Protocol):
    """One state of a row."""

    def encoded(self, format: int) -> msgspec.Raw: ...


R = TypeVar("R", bound=Encoded)


class ComposedRows(ABC, Generic[K, R]):
    """The ``source`` of a composed topic, whose number is ``sub``."""

    def __init__(self) -> None:
        self.sub = 0
        self._log: RowLog[K, R] = RowLog()
        self._made: dict[tuple[int, int | None], list[bytes]] = {}
        """Messages that lead to the present number; several clients may need the same."""
        self._formats: set[int] = set()
        """In which rows are encoded as soon as they are put, not all at once when they are sent."""

    @property
    def seq(self) -> int:
        return self._log.seq

    def __len__(self) -> int:
        return len(self._log)

    @abstractmethod
    def names(self) -> list[str]:
        """Of the instruments that it shows."""

    @abstractmethod
    def _make(self, format: int, since: int | None) -> list[bytes]:
        """As ``missing``."""

    # ---- what it shows

    def _put(self, key: K, row: R) -> None:
        self._log.put(key, row)
        for format in self._formats:
            row.encoded(format)

    def use(self, format: int) -> Iterator[None]:
        """Somebody wants this format: the steps that encode all rows, unless that was done before."""
        if format in self._formats:
            return
        self._formats.add(format)
        for _, row in list(self._log.rows()):
            row.encoded(format)
            yield

    def _commit(self) -> bool:
        """Whether anything has changed; it then has the next number."""
        if not self._log.commit():
            return False
        self._made.clear()
        return True

    # ---- for its topic

    def reaches(self, since: int) -> bool:
        return self._log.reaches(since)

    def missing(self, format: int, since: int | None) -> list[bytes]:
        """The messages that lead from number ``since`` to now; None: everything."""
        made = self._made.get((format, since))
        if made is None:
            made = self._made[format, since] = self._make(format, since)
        return made
