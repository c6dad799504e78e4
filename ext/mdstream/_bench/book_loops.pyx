"""Loops over prepared numbers, so that a benchmark times the book and not the interpreter that calls it."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t

from mdstream._core.orderbook.book cimport Book
from mdstream._core.orderbook.levels cimport Levels, levels_diff, levels_free, levels_swap


cdef class _Scratch:
    cdef Levels bids
    cdef Levels asks
    cdef Levels old_bids
    cdef Levels old_asks
    cdef Levels out

    def __dealloc__(self):
        levels_free(&self.bids)
        levels_free(&self.asks)
        levels_free(&self.old_bids)
        levels_free(&self.old_asks)
        levels_free(&self.out)


def apply_script(list books not None, script not None, Py_ssize_t diff_depth=0):
    """Applies updates ``[book, n_bids, n_asks, ticks, lots, …]`` in order; returns the number of level changes.

    With ``diff_depth`` also computes the top view after each update, and its difference from the view before.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(script, &view, PyBUF_C_CONTIGUOUS)
    try:
        return run_script(books, <const int64_t*> view.buf, <const int64_t*> view.buf + view.len // 8, diff_depth)
    finally:
        PyBuffer_Release(&view)


cdef Py_ssize_t run_script(list books, const int64_t* at, const int64_t* end, Py_ssize_t diff_depth) except -1:
    """An update is the index of its book, the numbers of bids and asks, then their levels."""
    cdef Py_ssize_t n_bids, n_asks, changes = 0
    cdef _Scratch scratch = _Scratch()
    cdef Book book
    while at < end:
        book = <Book> books[at[0]]
        n_bids, n_asks = at[1], at[2]
        at += 3
        book.c_apply(book.seq + 1, book.seq + 1, 0, at, n_bids, at + 2 * n_bids, n_asks)
        at += 2 * (n_bids + n_asks)
        changes += n_bids + n_asks
        if diff_depth:
            diff_top(book, diff_depth, scratch)
    return changes


cdef int diff_top(Book book, Py_ssize_t depth, _Scratch scratch) except -1:
    """The work of a depth-limited topic at each flush: the current view, and its difference from the view sent last."""
    book.c_view(book.seq, depth, 1, &scratch.bids, &scratch.asks)
    levels_diff(&scratch.old_bids, &scratch.bids, True, &scratch.out)
    levels_diff(&scratch.old_asks, &scratch.asks, False, &scratch.out)
    levels_swap(&scratch.old_bids, &scratch.bids)
    levels_swap(&scratch.old_asks, &scratch.asks)
    return 0


def conflate(Book book not None, uint64_t since, Py_ssize_t rounds):
    """Computes the changes since number ``since`` ``rounds`` times; returns how many levels changed."""
    cdef _Scratch scratch = _Scratch()
    for _ in range(rounds):
        if not book.c_changes(since, book.seq, &scratch.bids, &scratch.asks):
            raise ValueError(f"the log of {book!r} does not reach back to {since}")
    return scratch.bids.count + scratch.asks.count
