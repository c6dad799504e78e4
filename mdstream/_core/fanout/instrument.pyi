from enum import IntEnum
from typing import Any, TypedDict

from mdstream._core.orderbook.book import Book
from mdstream._core.orderbook.trade_log import TradeLog

class Outcome(IntEnum):
    """What a payload came to; of several, the strongest: GAP, then NEW_EPOCH, APPLIED, NOTHING."""

    NOTHING = 0
    """All of it was known already, or of a fenced (smaller) epoch: dropped and counted."""
    APPLIED = 1
    """Something changed."""
    GAP = 2
    """A number is missing; what came before it was applied, it and the rest of the payload were not."""
    NEW_EPOCH = 3
    """A greater epoch began, at its number 1: the view was replaced, then went on."""

class Quote(TypedDict):
    ticks: int
    lots: int

class Instrument:
    """One instrument: its scale, book and trades, and the checks between bytes from the bus and the book.

    An instrument that was never opened (epoch 0) takes only what begins an epoch; anything else is a GAP.
    """

    topics: list[Any]
    def __init__(
        self,
        name: str,
        price_exp: int,
        size_exp: int,
        *,
        log_capacity: int = 16384,
        trade_capacity: int = 4096,
        max_levels: int = 65536,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def book(self) -> Book: ...
    @property
    def trades(self) -> TradeLog: ...
    @property
    def last_trade(self) -> Quote:
        """Newest trade that had a size; lots 0: none yet. It is kept when a new epoch begins."""
    @property
    def price_exp(self) -> int: ...
    @property
    def size_exp(self) -> int: ...
    @property
    def epoch(self) -> int:
        """The greatest epoch seen on any stream; what carries a smaller one is dropped."""
    @property
    def updates_applied(self) -> int: ...
    @property
    def updates_dropped(self) -> int:
        """Updates whose numbers were applied already."""
    @property
    def trades_applied(self) -> int: ...
    @property
    def trades_dropped(self) -> int: ...
    @property
    def fenced(self) -> int:
        """Values dropped because they carried a smaller epoch."""
    def take_book(self, payload: bytes) -> Outcome:
        """One payload of stream ``book``: one update or several.

        Raises PayloadError (no such bytes in the contract) or BookError (the book refuses the update): what stood before the
        refused value stays applied, nothing after it was read. The hole shows as GAP with the next update.
        """
    def take_trades(self, payload: bytes) -> Outcome:
        """One payload of stream ``trade``. Raises PayloadError; trades before the refused value stay applied."""
    def load_snap(self, payload: bytes, *, force: bool = False) -> bool:
        """Loads a ``snap`` payload if it is newer than the book: of a greater epoch, or further on in the same.

        ``force`` loads any that does not carry a smaller epoch than ``epoch``. Raises PayloadError, or BookError if it is no
        book; the book is then unchanged. Returns whether it was loaded; the book's log then begins at its number.
        """
    def reset_trades(self, epoch: int, seq: int) -> None:
        """Gives up trades up to ``seq`` of ``epoch``; the next one taken is ``seq + 1``."""
