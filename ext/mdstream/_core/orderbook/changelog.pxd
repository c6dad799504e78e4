"""The latest level changes of a book: they lead from any number that the log keeps to any later one.

A ring of changes in order. Each has the size that the level had before, so that a view can be undone, and the number of its
update; an update without changes is an entry too. Entries are counted, and the count only rises; an entry's slot is its count
modulo the ring.
"""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.base.check cimport check
from mdstream._core.base.prefetch cimport prefetch_range

cdef extern from *:
    """
    #define MDSTREAM_NO_LEVEL INT64_MIN
    """
    const int64_t NO_LEVEL "MDSTREAM_NO_LEVEL"

cdef struct Change:         # 32 bytes: two to a cache line
    int64_t level           # ticks × 2, + 1 for an ask; NO_LEVEL in the entry of an update that changed nothing
    int64_t lots_new
    int64_t lots_old
    uint64_t last           # the number of the book after its update

cdef struct ChangeLog:
    Change* changes         # in `memory`, at the start of a cache line
    uint64_t slots          # a power of two, or 0
    uint64_t head           # entries ever logged, counted from an arbitrary start
    uint64_t tail           # count of the oldest entry kept
    uint64_t floor_seq      # the number of the book before it: the oldest that the log keeps
    uint64_t limit          # most entries to keep
    void* memory

cdef struct Changes:        # a growing run of changes
    Change* values
    Py_ssize_t count
    Py_ssize_t capacity


# Opens a zeroed log of at most `limit` changes, at number 0.
cdef void log_open(ChangeLog* log, uint64_t limit) noexcept
cdef void log_free(ChangeLog* log) noexcept
# Empties the log: it begins at `seq`.
cdef void log_clear(ChangeLog* log, uint64_t seq) noexcept nogil
cdef int log_grow(ChangeLog* log, uint64_t n) except -1
cdef inline int log_reserve(ChangeLog* log, uint64_t n) except -1:
    """Makes room for an update of ``n`` changes; log_commit cannot fail then."""
    return 0 if log.slots >= log.limit else log_grow(log, n)


cdef inline Change* log_place(ChangeLog* log, uint64_t n) noexcept nogil:
    """Where ``n`` changes can be written so that log_commit need not copy them; NULL if they would go past the ring's end or
    overwrite entries that are kept."""
    cdef uint64_t slot = log.head & (log.slots - 1)
    check(log.slots > 0)
    check(log.head - log.tail <= log.slots)
    return &log.changes[slot] if slot + n <= log.slots and log.head - log.tail + n <= log.slots else NULL


cdef inline const Change* log_next(const ChangeLog* log) noexcept nogil:
    """Where the first change of the next update will be, if the ring does not grow; NULL if there is no ring yet."""
    return &log.changes[log.head & (log.slots - 1)] if log.slots else NULL


cdef inline void log_prefetch(const ChangeLog* log, uint64_t n) noexcept nogil:
    """Fetches the memory that logging ``n`` changes will write."""
    prefetch_range(log_next(log), n * sizeof(Change))


# Logs the update to number `last`: `n` changes, at log_place or copied from elsewhere.
cdef void log_commit(ChangeLog* log, uint64_t last, const Change* changes, uint64_t n) noexcept nogil
# Whether the log keeps number `seq`: an update ended there, or the log begins there. `at`: the count of entries until then.
cdef bint log_find(const ChangeLog* log, uint64_t seq, uint64_t* at) noexcept nogil
# The sum of entries start..end: each level once, in the order of its first change, with its size before and after; no level
# whose size is the same again.
cdef int log_collapse(const ChangeLog* log, uint64_t start, uint64_t end, Changes* out) except -1
cdef int changes_reserve(Changes* changes, Py_ssize_t capacity) except -1
