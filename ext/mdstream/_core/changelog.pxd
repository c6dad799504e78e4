"""The latest level changes of a book: what leads from any number that the log still reaches to any later one.

Two rings: the changes in their order, each with the size that a level had before (so that a view can be undone), and the
updates, each with its number and where its changes end. Counts only rise; an entry's slot is its count modulo the ring.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from mdstream._core.prefetch cimport prefetch

cdef struct Change:
    int64_t level           # ticks × 2, + 1 for an ask
    int64_t lots_new
    int64_t lots_old

cdef struct Mark:           # an update
    uint64_t last           # the number it leads to
    uint64_t end            # changes ever logged, up to and with its own

cdef struct ChangeLog:
    Change* changes
    Mark* marks
    uint64_t change_slots   # a power of two, or 0; likewise mark_slots
    uint64_t mark_slots
    uint64_t change_head    # changes ever logged, counted from anywhere
    uint64_t mark_head      # updates ever logged, likewise
    uint64_t mark_tail      # the oldest update kept
    uint64_t floor_seq      # the number before the oldest update kept
    uint64_t floor_at       # changes ever logged, up to that number
    uint64_t limit          # most changes, and most updates, to keep

cdef struct Changes:        # a growing run of changes
    Change* values
    Py_ssize_t count
    Py_ssize_t capacity


# A zeroed log, of at most `limit` changes and as many updates; begins at number 0.
cdef void log_open(ChangeLog* log, uint64_t limit) noexcept
cdef void log_free(ChangeLog* log) noexcept
# Forgets everything: the log begins at `seq`.
cdef void log_clear(ChangeLog* log, uint64_t seq) noexcept nogil
cdef int log_grow(ChangeLog* log, uint64_t n) except -1
cdef inline int log_reserve(ChangeLog* log, uint64_t n) except -1:
    """Makes room for an update of ``n`` changes. After it log_commit cannot fail."""
    if log.change_slots >= log.limit and log.mark_slots >= log.limit:
        return 0                # full-grown
    return log_grow(log, n)


cdef inline Change* log_place(ChangeLog* log, uint64_t n) noexcept nogil:
    """Where ``n`` changes may be written in one run so that they stand in the log already; NULL: write them elsewhere."""
    cdef uint64_t slot = log.change_head & (log.change_slots - 1)
    return &log.changes[slot] if slot + n <= log.change_slots else NULL


cdef inline void log_prefetch(const ChangeLog* log, uint64_t n) noexcept nogil:
    """Has the memory fetched that logging ``n`` changes will write."""
    cdef const char* place = <const char*> &log.changes[log.change_head & (log.change_slots - 1)]
    cdef uint64_t offset
    for offset in range(0, n * sizeof(Change), 64):
        prefetch(place + offset)


# Where the next update's mark will stand, if the ring does not grow.
cdef inline const Mark* log_next_mark(const ChangeLog* log) noexcept nogil:
    return &log.marks[log.mark_head & (log.mark_slots - 1)]

# Logs the update that leads to `last`: `n` changes, written at log_place or copied from elsewhere. `spilled`: one more was
# written behind them, which does not count.
cdef void log_commit(ChangeLog* log, uint64_t last, const Change* changes, uint64_t n, bint spilled) noexcept nogil
# Whether number `seq` is where an update ended (or the log begins), and the changes logged until then.
cdef bint log_find(const ChangeLog* log, uint64_t seq, uint64_t* at) noexcept nogil
# What changes number start..end of the log come to: each level once, in the order of its first change, with the size before
# and the newest; not a level that ended as it began.
cdef int log_collapse(const ChangeLog* log, uint64_t start, uint64_t end, Changes* out) except -1
cdef int changes_reserve(Changes* changes, Py_ssize_t capacity) except -1
cdef void changes_free(Changes* changes) noexcept
