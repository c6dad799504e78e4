"""The latest level changes of a book: what leads from any number that the log still reaches to any later one.

A ring of changes in their order, each with the size that a level had before, so that a view can be undone, and with the number
of its update; an update without any is an entry too. Counts only rise; an entry's slot is its count modulo the ring.
"""

from libc.stdint cimport int64_t, uint64_t

from mdstream._core.base.prefetch cimport prefetch

cdef extern from *:
    """
    #define MDSTREAM_NO_LEVEL INT64_MIN
    """
    const int64_t NO_LEVEL "MDSTREAM_NO_LEVEL"

cdef struct Change:         # 32 bytes: two to a line of the cache
    int64_t level           # ticks × 2, + 1 for an ask; NO_LEVEL of an update that changed nothing
    int64_t lots_new
    int64_t lots_old
    uint64_t last           # the number that its update leads to

cdef struct ChangeLog:
    Change* changes         # within `memory`, where a line of the cache begins
    uint64_t slots          # a power of two, or 0
    uint64_t head           # changes ever logged, counted from anywhere
    uint64_t tail           # the oldest that is kept
    uint64_t floor_seq      # the number before it
    uint64_t limit          # most to keep
    void* memory

cdef struct Changes:        # a growing run of changes
    Change* values
    Py_ssize_t count
    Py_ssize_t capacity


# A zeroed log, of at most `limit` changes; begins at number 0.
cdef void log_open(ChangeLog* log, uint64_t limit) noexcept
cdef void log_free(ChangeLog* log) noexcept
# Forgets everything: the log begins at `seq`.
cdef void log_clear(ChangeLog* log, uint64_t seq) noexcept nogil
cdef int log_grow(ChangeLog* log, uint64_t n) except -1
cdef inline int log_reserve(ChangeLog* log, uint64_t n) except -1:
    """Makes room for an update of ``n`` changes. After it log_commit cannot fail."""
    return 0 if log.slots >= log.limit else log_grow(log, n)


cdef inline Change* log_place(ChangeLog* log, uint64_t n) noexcept nogil:
    """Where ``n`` changes may be written in one run so that they stand in the log already; NULL: write them elsewhere, for
    there they would go beyond the ring or lie on what is kept."""
    cdef uint64_t slot = log.head & (log.slots - 1)
    return &log.changes[slot] if slot + n <= log.slots and log.head - log.tail + n <= log.slots else NULL


# Where the next update's first change will stand, if the ring does not grow.
cdef inline const Change* log_next(const ChangeLog* log) noexcept nogil:
    return &log.changes[log.head & (log.slots - 1)]


cdef inline void log_prefetch(const ChangeLog* log, uint64_t n) noexcept nogil:
    """Has the memory fetched that logging ``n`` changes will write."""
    cdef const char* place = <const char*> log_next(log)
    cdef uint64_t offset
    for offset in range(0, n * sizeof(Change), 64):
        prefetch(place + offset)

# Logs the update that leads to `last`: `n` changes, written at log_place or copied from elsewhere.
cdef void log_commit(ChangeLog* log, uint64_t last, const Change* changes, uint64_t n) noexcept nogil
# Whether number `seq` is where an update ended (or the log begins), and the changes logged until then.
cdef bint log_find(const ChangeLog* log, uint64_t seq, uint64_t* at) noexcept nogil
# What changes number start..end of the log come to: each level once, in the order of its first change, with the size before
# and the newest; not a level that ended as it began.
cdef int log_collapse(const ChangeLog* log, uint64_t start, uint64_t end, Changes* out) except -1
cdef int changes_reserve(Changes* changes, Py_ssize_t capacity) except -1
cdef void changes_free(Changes* changes) noexcept
