import numpy as np
from numpy.typing import NDArray

from mdstream._core.orderbook.book import Book

def apply_script(books: list[Book], script: NDArray[np.int64], diff_depth: int = 0) -> int: ...
def conflate(book: Book, since: int, rounds: int) -> int: ...
