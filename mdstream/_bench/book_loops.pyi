"""Loops over prepared numbers, so that a benchmark times the book and not the interpreter that drives it."""

import numpy as np
from numpy.typing import NDArray

from mdstream._core.orderbook.book import Book

def apply_script(books: list[Book], script: NDArray[np.int64], diff_depth: int = 0) -> int:
    """Applies updates ``[book, n_bids, n_asks, ticks, lots, …]`` one after the other; returns the number of level changes.

    With ``diff_depth``, after each update also extracts the top view and diffs it against the one before.
    """

def conflate(book: Book, since: int, rounds: int) -> int:
    """Computes the changes since number ``since``, ``rounds`` times over; returns how many levels changed."""
