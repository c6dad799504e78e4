from cpython.bytearray cimport PyByteArray_FromStringAndSize
from libc.string cimport memset

from mdstream._core.base.check cimport check
from mdstream._core.orderbook.changelog cimport (
    Change, Changes, changes_reserve, log_clear, log_collapse, log_commit, log_find, log_free, log_next,
    log_open, log_place, log_prefetch, log_reserve,
)
from mdstream._core.orderbook.checksum cimport levels_crc
from mdstream._core.orderbook.levels cimport (
    MAX_NUMBER, levels_diff, levels_free, levels_from_object, levels_reserve, levels_to_list,
)
from mdstream._core.orderbook.side cimport (
    side_best_key, side_clear, side_fill, side_free, side_get, side_in_order, side_prefetch, side_set, side_top,
    side_touch, sides_reserve,
)
from mdstream._core.orderbook.view cimport view_side

from mdstream.errors import BookError

cdef extern from *:
    """
    #define MDSTREAM_NO_KEY (-((int64_t) 1 << 60))
    """
    const int64_t NO_KEY "MDSTREAM_NO_KEY"      # below every key; with any key of the other side it does not cross

# Scratch for all books. The functions that touch it are not nogil, so the GIL guards it; none runs Python while it is in use.
cdef Changes scratch
memset(&scratch, 0, sizeof(scratch))


cdef class Book:
    """An order book with a change log: the newest view, and the changes to it from any number that the log keeps.

    ``log_capacity``: most level changes to keep (an update without any counts as one); ``max_levels``: most levels a side; each
    1 to 2^24, else ValueError. ``seq`` is the number of the last update, ``ts_us`` its time.

    Ticks are integers within ±(2^53 - 1), lots 0 to 2^53 - 1. Levels are flat, ``[ticks, lots, …]``; a contiguous int64 array,
    flat or n × 2, is read without a Python object per number. TypeError or ValueError if they are no flat run of integers.
    """

    def __cinit__(self, str instrument not None, *, Py_ssize_t log_capacity=16384, Py_ssize_t max_levels=65536):
        if not 1 <= log_capacity <= 2**24:
            raise ValueError(f"log_capacity must be 1 to {2**24} changes, not {log_capacity}")
        if not 1 <= max_levels <= 2**24:
            raise ValueError(f"max_levels must be 1 to {2**24} a side, not {max_levels}")
        self.instrument = instrument
        self.max_levels = max_levels
        log_open(&self.log, <uint64_t> log_capacity)
        self.bids.sign = 1
        self.asks.sign = -1

    def __dealloc__(self):
        side_free(&self.bids)
        side_free(&self.asks)
        log_free(&self.log)

    # ---- writing

    cdef int c_apply(self, uint64_t first, uint64_t last, uint64_t ts_us,
                     const int64_t* bids, Py_ssize_t n_bids, const int64_t* asks, Py_ssize_t n_asks) except -1:
        cdef Py_ssize_t n = n_bids + n_asks
        cdef Change* changes
        cdef Change* end
        cdef bint safe
        if first > last or last <= self.seq:
            raise BookError(f"{self.instrument} update {first}..{last} does not lead on from {self.seq}")
        log_reserve(&self.log, <uint64_t> n)
        log_prefetch(&self.log, <uint64_t> n)
        safe = scan(self, first, last, bids, n_bids, asks, n_asks)
        sides_reserve(&self.bids, n_bids, &self.asks, n_asks)
        changes = log_place(&self.log, <uint64_t> n) if safe else NULL
        if changes == NULL:             # not yet into the log: the update may be refused, or overwrite entries that are kept
            changes_reserve(&scratch, n)
            changes = scratch.values
        end = set_levels(&self.bids, bids, n_bids, last, changes)
        end = set_levels(&self.asks, asks, n_asks, last, end)
        if not safe:
            accept(self, first, last, changes, end)
        log_commit(&self.log, last, changes, <uint64_t> (end - changes))
        self.seq = last
        self.ts_us = ts_us
        check(side_in_order(&self.bids))
        check(side_in_order(&self.asks))
        check(side_best_key(&self.bids, NO_KEY) + side_best_key(&self.asks, NO_KEY) < 0)
        return 0

    cdef int c_load(self, uint64_t epoch, uint64_t seq, uint64_t ts_us,
                    const int64_t* bids, Py_ssize_t n_bids, const int64_t* asks, Py_ssize_t n_asks) except -1:
        check_snapshot(self, seq, bids, n_bids, asks, n_asks)
        sides_reserve(&self.bids, n_bids, &self.asks, n_asks)
        side_fill(&self.bids, bids, n_bids)
        side_fill(&self.asks, asks, n_asks)
        log_clear(&self.log, seq)
        self.epoch = epoch
        self.seq = seq
        self.ts_us = ts_us
        return 0

    cdef void c_reset(self, uint64_t epoch) noexcept:
        side_clear(&self.bids)
        side_clear(&self.asks)
        log_clear(&self.log, 0)
        self.epoch = epoch
        self.seq = 0
        self.ts_us = 0

    # ---- reading

    cdef bint c_keeps(self, uint64_t seq) noexcept nogil:
        cdef uint64_t at
        return log_find(&self.log, seq, &at)

    cdef int64_t c_logged_since(self, uint64_t since) noexcept nogil:
        cdef uint64_t at = 0
        return <int64_t> (self.log.head - at) if log_find(&self.log, since, &at) else -1

    cdef int c_changes(self, uint64_t since, uint64_t until, Levels* bids, Levels* asks) except -1:
        cdef uint64_t start = 0, end = 0
        cdef Py_ssize_t i
        cdef const Change* change
        cdef Levels* side
        if since > until or not (log_find(&self.log, since, &start) and log_find(&self.log, until, &end)):
            return 0
        log_collapse(&self.log, start, end, &scratch)
        levels_reserve(bids, scratch.count)
        levels_reserve(asks, scratch.count)
        bids.count = asks.count = 0
        for i in range(scratch.count):
            change = &scratch.values[i]
            side = asks if change.level & 1 else bids
            side.values[2 * side.count], side.values[2 * side.count + 1] = change.level >> 1, change.lots_new
            side.count += 1
        return 1

    cdef int c_view(self, uint64_t at, Py_ssize_t depth, int64_t group, Levels* bids, Levels* asks) except -1:
        cdef uint64_t start = 0
        if not log_find(&self.log, at, &start):
            return 0
        scratch.count = 0
        if at != self.seq:
            log_collapse(&self.log, start, self.log.head, &scratch)
        view_side(&self.bids, depth, group, &scratch, bids)
        view_side(&self.asks, depth, group, &scratch, asks)
        return 1

    cdef void c_top(self, Levels* bid, Levels* ask) noexcept nogil:
        bid.count = side_top(&self.bids, 1, bid.values) if bid.capacity else 0
        ask.count = side_top(&self.asks, 1, ask.values) if ask.capacity else 0

    cdef void c_next_writes(self, NextWrites* out) noexcept nogil:
        out.change = log_next(&self.log)
        out.bid = side_touch(&self.bids, &out.bid_run, &out.bid_last)
        out.ask = side_touch(&self.asks, &out.ask_run, &out.ask_last)

    # ---- Python

    def reset(self, uint64_t epoch):
        """Empties the book and its log: number 0 of ``epoch``."""
        self.c_reset(epoch)

    def load(self, uint64_t epoch, uint64_t seq, uint64_t ts_us, bids, asks):
        """Replaces all by a snapshot, best first, and empties the log. BookError, for one that is no book, changes nothing."""
        cdef BothSides levels = BothSides(self, bids, asks)
        self.c_load(epoch, seq, ts_us, levels.bids.values, levels.bids.count, levels.asks.values, levels.asks.count)

    def apply(self, uint64_t first, uint64_t last, uint64_t ts_us, bids, asks):
        """Applies one atomic update; lots 0 deletes, the last of several entries for a price counts.

        ``last`` must be beyond ``seq``; the caller checks that ``first`` is ``seq + 1``. BookError (crossed, range, too deep,
        numbers) changes nothing, the log included.
        """
        cdef BothSides levels = BothSides(self, bids, asks)
        self.c_apply(first, last, ts_us, levels.bids.values, levels.bids.count, levels.asks.values, levels.asks.count)

    def keeps(self, uint64_t seq):
        """Whether the log keeps number ``seq``: an update ended there, and all later changes are logged."""
        return self.c_keeps(seq)

    def logged_since(self, uint64_t seq):
        """How many changes the log has after number ``seq``; None if it does not keep that number. It costs next to nothing."""
        cdef int64_t logged = self.c_logged_since(seq)
        return None if logged < 0 else logged

    def delta(self, uint64_t since, until=None, *, Py_ssize_t depth=0, int64_t group=1):
        """The changes from the view at ``since`` to the view at ``until`` (default: now); None if the log does not keep both.

        Each level that differs once, with its size at ``until``. A cut or grouped view: best first; the full view: in the order
        in which the levels first changed.
        """
        cdef BothSides before = BothSides(self)
        cdef BothSides after = BothSides(self)
        cdef BothSides changes = BothSides(self)
        cdef uint64_t end = self.seq if until is None else until
        check_view(depth, group)
        if depth == 0 and group == 1:
            return changes.lists() if self.c_changes(since, end, &changes.bids, &changes.asks) else None
        if since > end or not self.c_view(since, depth, group, &before.bids, &before.asks):
            return None
        if not self.c_view(end, depth, group, &after.bids, &after.asks):
            return None
        levels_diff(&before.bids, &after.bids, True, &changes.bids)
        levels_diff(&before.asks, &after.asks, False, &changes.asks)
        return changes.lists()

    def view(self, *, Py_ssize_t depth=0, int64_t group=1, at=None):
        """The view, best first, now or as it was at number ``at``; None if the log does not keep that number.

        The best ``depth`` levels (0: all) after summing into buckets of ``group`` ticks.
        """
        cdef BothSides levels = BothSides(self)
        check_view(depth, group)
        if not self.c_view(self.seq if at is None else at, depth, group, &levels.bids, &levels.asks):
            return None
        return levels.lists()

    def arrays(self, *, Py_ssize_t depth=0, int64_t group=1):
        """Bids and asks of the view as (n, 2) arrays of ticks and lots, best first (copies)."""
        cdef BothSides levels = BothSides(self)
        check_view(depth, group)
        self.c_view(self.seq, depth, group, &levels.bids, &levels.asks)
        return to_array(&levels.bids), to_array(&levels.asks)

    def crc(self, *, Py_ssize_t depth=0, int64_t group=1):
        """The contract's checksum of the view: CRC-32 of its best ten levels."""
        cdef BothSides levels = BothSides(self)
        check_view(depth, group)
        self.c_view(self.seq, min(depth, 10) if depth else 10, group, &levels.bids, &levels.asks)
        return levels_crc(&levels.bids, &levels.asks)

    def best(self):
        """Best bid and best ask as (ticks, lots), None where a side is empty."""
        cdef int64_t[2] bid = [0, 0]
        cdef int64_t[2] ask = [0, 0]
        cdef Py_ssize_t n_bids = side_top(&self.bids, 1, bid)
        cdef Py_ssize_t n_asks = side_top(&self.asks, 1, ask)
        return (bid[0], bid[1]) if n_bids else None, (ask[0], ask[1]) if n_asks else None

    def level(self, int side, int64_t ticks):
        """Lots at a price, 0 where there is no level; side 1 bid, 2 ask, else ValueError."""
        if side != 1 and side != 2:
            raise ValueError(f"side must be 1 (bid) or 2 (ask), not {side}")
        if not -MAX_NUMBER <= ticks <= MAX_NUMBER:
            return 0
        return side_get(&self.bids, ticks) if side == 1 else side_get(&self.asks, -ticks)

    def diff_to(self, bids, asks):
        """The changes that turn this book into the full book given, best first; for publishers that get full books.

        BookError if what is given is no book: unordered, a size of 0, out of range, crossed, too deep.
        """
        cdef BothSides target = BothSides(self, bids, asks)
        cdef BothSides now = BothSides(self)
        cdef BothSides changes = BothSides(self)
        check_snapshot(self, self.seq, target.bids.values, target.bids.count, target.asks.values, target.asks.count)
        self.c_view(self.seq, 0, 1, &now.bids, &now.asks)
        levels_diff(&now.bids, &target.bids, True, &changes.bids)
        levels_diff(&now.asks, &target.asks, False, &changes.asks)
        return changes.lists()

    def __len__(self):
        """Levels on both sides."""
        return self.bids.count + self.asks.count

    def __repr__(self):
        return (
            f"<Book {self.instrument} epoch {self.epoch} seq {self.seq}: "
            f"{self.bids.count} bids, {self.asks.count} asks>"
        )


cdef class BothSides:
    """Levels from or to Python, freed with the object."""
    cdef Levels bids
    cdef Levels asks

    def __cinit__(self, Book book not None, bids=None, asks=None):
        try:
            if bids is not None:
                levels_from_object(&self.bids, bids)
            if asks is not None:
                levels_from_object(&self.asks, asks)
        except OverflowError as error:
            raise BookError(f"{book.instrument} after {book.seq}: a number of ticks or lots is beyond ±{MAX_NUMBER}") from error

    def __dealloc__(self):
        levels_free(&self.bids)
        levels_free(&self.asks)

    cdef tuple lists(self):
        return levels_to_list(&self.bids), levels_to_list(&self.asks)


cdef int check_view(Py_ssize_t depth, int64_t group) except -1:
    if depth < 0:
        raise ValueError(f"depth must be 0 (full) or more, not {depth}")
    if not 1 <= group <= MAX_NUMBER:
        raise ValueError(f"group must be 1 to {MAX_NUMBER} ticks, not {group}")
    return 0


cdef object to_array(const Levels* levels):
    import numpy            # nothing else here needs it

    numbers = PyByteArray_FromStringAndSize(<char*> levels.values, 2 * levels.count * sizeof(int64_t))
    return numpy.frombuffer(numbers, numpy.int64).reshape(-1, 2)


# ---- applying an update

cdef inline Change* set_levels(Side* side, const int64_t* flat, Py_ssize_t n, uint64_t last, Change* change) noexcept:
    """Sets ``n`` levels and writes one change for each whose size changes; returns the end of them. The entry there may hold a
    change that does not count."""
    cdef int64_t sign = side.sign
    cdef int64_t is_ask = sign < 0
    cdef int64_t ticks, lots, old
    cdef Py_ssize_t i
    for i in range(n):
        ticks, lots = flat[2 * i], flat[2 * i + 1]
        old = side_set(side, ticks * sign, lots)
        change.level = ticks * 2 + is_ask
        change.lots_new = lots
        change.lots_old = old
        change.last = last
        change += old != lots
    return change


cdef inline Py_ssize_t first_bad(
    const int64_t* flat, Py_ssize_t n, int64_t sign, int64_t* best, const Side* side
) noexcept nogil:
    """The first level out of range, or -1; raises ``best`` to the best key that is set.

    Prefetches what setting the levels in ``side`` will need, unless that is NULL.
    """
    cdef int64_t ticks, lots, key
    cdef Py_ssize_t i
    for i in range(n):
        ticks, lots = flat[2 * i], flat[2 * i + 1]
        if <uint64_t> ticks + <uint64_t> MAX_NUMBER > <uint64_t> (2 * MAX_NUMBER) or <uint64_t> lots > <uint64_t> MAX_NUMBER:
            return i
        key = ticks * sign
        if side != NULL:
            side_prefetch(side, key)
        best[0] = max(best[0], key + (lots == 0) * NO_KEY)
    return -1


cdef bint scan(Book book, uint64_t first, uint64_t last, const int64_t* bids, Py_ssize_t n_bids,
               const int64_t* asks, Py_ssize_t n_asks) except -1:
    """Checks every number. True if the update can neither cross the book nor make it too deep, whatever the order of its levels."""
    cdef int64_t bid = side_best_key(&book.bids, NO_KEY)
    cdef int64_t ask = side_best_key(&book.asks, NO_KEY)
    cdef Py_ssize_t bad
    if n_bids > 2 * book.max_levels or n_asks > 2 * book.max_levels:
        raise BookError(
            f"{book.instrument} update {first}..{last}: {n_bids} bids and {n_asks} asks are too many for a book of at most "
            f"{book.max_levels} levels a side"
        )
    bad = first_bad(bids, n_bids, 1, &bid, &book.bids)
    if bad >= 0:
        refuse_range(book, f"update {first}..{last}", "bid", bad, bids)
    bad = first_bad(asks, n_asks, -1, &ask, &book.asks)
    if bad >= 0:
        refuse_range(book, f"update {first}..{last}", "ask", bad, asks)
    return (
        bid + ask < 0
        and book.bids.count + n_bids <= book.max_levels
        and book.asks.count + n_asks <= book.max_levels
    )


cdef int accept(Book book, uint64_t first, uint64_t last, const Change* changes, const Change* end) except -1:
    """Checks the book after the update; if it is crossed or too deep, takes the changes back and raises."""
    cdef int64_t bid = side_best_key(&book.bids, NO_KEY)
    cdef int64_t ask = side_best_key(&book.asks, NO_KEY)
    cdef Py_ssize_t n_bids = book.bids.count
    cdef Py_ssize_t n_asks = book.asks.count
    cdef int64_t bid_lots, ask_lots
    if bid + ask < 0 and n_bids <= book.max_levels and n_asks <= book.max_levels:
        return 0
    bid_lots = side_get(&book.bids, bid)
    ask_lots = side_get(&book.asks, ask)
    take_back(book, changes, end)
    if bid + ask >= 0:
        refuse_crossed(book, f"update {first}..{last}", bid, bid_lots, -ask, ask_lots)
    raise BookError(
        f"{book.instrument} update {first}..{last}: {n_bids} bids and {n_asks} asks would be more than "
        f"{book.max_levels} levels a side"
    )


cdef void take_back(Book book, const Change* changes, const Change* change) noexcept:
    check(changes <= change)
    while change > changes:
        change -= 1
        if change.level & 1:
            side_set(&book.asks, -(change.level >> 1), change.lots_old)
        else:
            side_set(&book.bids, change.level >> 1, change.lots_old)
    check(side_in_order(&book.bids))
    check(side_in_order(&book.asks))


# ---- loading a snapshot

cdef int check_snapshot(Book book, uint64_t seq, const int64_t* bids, Py_ssize_t n_bids,
                        const int64_t* asks, Py_ssize_t n_asks) except -1:
    check_side(book, seq, "bid", bids, n_bids, 1)
    check_side(book, seq, "ask", asks, n_asks, -1)
    if n_bids and n_asks and bids[0] >= asks[0]:
        refuse_crossed(book, f"snapshot {seq}", bids[0], bids[1], asks[0], asks[1])
    return 0


cdef int check_side(Book book, uint64_t seq, str side, const int64_t* flat, Py_ssize_t n, int64_t sign) except -1:
    cdef int64_t best = NO_KEY
    cdef Py_ssize_t i
    if n > book.max_levels:
        raise BookError(f"{book.instrument} snapshot {seq}: {n} {side}s are more than {book.max_levels} levels a side")
    i = first_bad(flat, n, sign, &best, NULL)
    if i >= 0:
        refuse_range(book, f"snapshot {seq}", side, i, flat)
    for i in range(n):
        if flat[2 * i + 1] == 0:
            raise BookError(f"{book.instrument} snapshot {seq}: {side} {i} at {flat[2 * i]} ticks has size 0")
        if i and flat[2 * i] * sign >= flat[2 * i - 2] * sign:
            raise BookError(
                f"{book.instrument} snapshot {seq}: {side} {i} at {flat[2 * i]} ticks does not follow "
                f"{flat[2 * i - 2]}; levels stand best first, each once"
            )
    return 0


# ---- refusals

cdef int refuse_range(Book book, str what, str side, Py_ssize_t i, const int64_t* flat) except -1:
    raise BookError(
        f"{book.instrument} {what}: {side} {i} is {flat[2 * i]} ticks, {flat[2 * i + 1]} lots; ticks may be "
        f"-{MAX_NUMBER} to {MAX_NUMBER}, lots 0 to {MAX_NUMBER}"
    )


cdef int refuse_crossed(Book book, str what, int64_t bid, int64_t bid_lots, int64_t ask, int64_t ask_lots) except -1:
    raise BookError(
        f"{book.instrument} {what} would cross the book: best bid {bid} ticks ({bid_lots} lots) is not below "
        f"best ask {ask} ticks ({ask_lots} lots)"
    )
