class TradeLog:
    """The latest trades of an instrument: a ring of ``capacity``, grown on demand."""

    def __init__(self, capacity: int = 4096) -> None: ...
    @property
    def epoch(self) -> int: ...
    @property
    def seq(self) -> int:
        """Number of the newest trade; 0: none in this epoch."""
    @property
    def oldest(self) -> int:
        """Number of the oldest trade kept; ``seq + 1`` if none."""
    def reset(self, epoch: int, seq: int) -> None:
        """Empties the log: the next trade is ``seq + 1`` of ``epoch``."""
    def append(
        self, seq: int, ts_us: int, price_ticks: int, size_lots: int, side: int, trade_id: int | str
    ) -> None:
        """Adds the next trade; side 0 unknown, 1 buy (buyer took), 2 sell. Raises SequenceError if it is not the next."""
    def get(self, seq: int) -> tuple[int, int, int, int, int, int | str] | None:
        """(seq, ts_us, price_ticks, size_lots, side, trade_id), or None if it is not kept."""
    def __len__(self) -> int:
        """Trades kept."""
