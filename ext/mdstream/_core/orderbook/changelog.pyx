from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from mdstream._core.base.prefetch cimport CACHE_LINE

cdef enum:
    FIRST_SLOTS = 64
    SMALL_SLOTS = 1024          # copying so many takes a few µs
    SPARE_SHARE = 64            # one in so many entries of a full log is dropped at a time


# Books that are updated in turn would write to the same offset of their rings, that is to few sets of the cache. So each log
# begins at another offset.
cdef uint32_t logs_made = 0


cdef void log_open(ChangeLog* log, uint64_t limit) noexcept:
    global logs_made
    log.limit = limit
    log.head = log.tail = <uint32_t> (logs_made * <uint32_t> 0x9E3779B1)
    logs_made += 1


cdef void log_free(ChangeLog* log) noexcept:
    PyMem_RawFree(log.memory)
    log.memory = log.changes = NULL


cdef void log_clear(ChangeLog* log, uint64_t seq) noexcept nogil:
    log.tail = log.head
    log.floor_seq = seq


# ---- growth: a small ring doubles on demand; then it takes the power of two that holds the limit

cdef inline uint64_t slots_for(uint64_t slots, uint64_t needed, uint64_t limit) noexcept nogil:
    """The system provides memory when it is written to, so a ring that takes all at once costs no more, and never copies again.

    The books of a venue move together, so their logs fill together: 100 that doubled in the same burst took 6 ms of it.
    """
    slots = max(slots, <uint64_t> FIRST_SLOTS)
    while slots < limit and (slots < needed or slots > SMALL_SLOTS):
        slots *= 2
    return slots


cdef int log_grow(ChangeLog* log, uint64_t n) except -1:
    cdef uint64_t needed = log.head - log.tail + max(n, <uint64_t> 1)
    cdef uint64_t slots, at
    cdef void* memory
    cdef Change* grown
    if needed <= log.slots:
        return 0
    slots = slots_for(log.slots, needed, log.limit)
    memory = PyMem_RawMalloc(slots * sizeof(Change) + CACHE_LINE)
    if memory == NULL:
        raise MemoryError(f"no memory to log {slots} level changes")
    grown = <Change*> (<uintptr_t> memory + CACHE_LINE - <uintptr_t> memory % CACHE_LINE)
    for at in range(log.tail, log.head):
        grown[at & (slots - 1)] = log.changes[at & (log.slots - 1)]
    PyMem_RawFree(log.memory)
    log.memory, log.changes = memory, grown
    log.slots = slots
    return 0


# ---- writing

cdef inline uint64_t log_last(const ChangeLog* log) noexcept nogil:
    """The number after the newest update."""
    return log.changes[(log.head - 1) & (log.slots - 1)].last if log.head != log.tail else log.floor_seq


cdef inline bint are_of_update(const Change* changes, uint64_t n, uint64_t last) noexcept nogil:
    cdef uint64_t i
    for i in range(n):
        if changes[i].last != last or changes[i].level == NO_LEVEL or changes[i].lots_new == changes[i].lots_old:
            return False
    return True


cdef void log_commit(ChangeLog* log, uint64_t last, const Change* changes, uint64_t n) noexcept nogil:
    cdef Change nothing
    check(log_last(log) < last)
    check(are_of_update(changes, n, last))
    if n > log.limit:
        log_clear(log, last)
        return
    if n == 0:
        nothing.level, nothing.last = NO_LEVEL, last
        nothing.lots_new = nothing.lots_old = 0
        changes, n = &nothing, 1
    if log.head - log.tail + n > log.limit:
        forget(log, n)
    copy_in(log, changes, n)
    log.head += n
    check(log.head - log.tail <= log.limit)
    check(log.floor_seq < log.changes[log.tail & (log.slots - 1)].last)


cdef void forget(ChangeLog* log, uint64_t n) noexcept nogil:
    """Drops whole updates, the oldest first, until there is room for ``n`` changes and some more. With spare room the next
    updates need no copy."""
    log.tail = min(log.head - (log.limit - n) + log.limit // SPARE_SHARE, log.head)
    log.floor_seq = log.changes[(log.tail - 1) & (log.slots - 1)].last
    while log.tail < log.head and log.changes[log.tail & (log.slots - 1)].last == log.floor_seq:
        log.tail += 1


cdef inline void copy_in(ChangeLog* log, const Change* changes, uint64_t n) noexcept nogil:
    cdef uint64_t slot = log.head & (log.slots - 1)
    cdef uint64_t run = min(n, log.slots - slot)
    if changes == &log.changes[slot]:
        return
    memcpy(&log.changes[slot], changes, run * sizeof(Change))
    memcpy(log.changes, changes + run, (n - run) * sizeof(Change))


# ---- reading

cdef bint log_find(const ChangeLog* log, uint64_t seq, uint64_t* at) noexcept nogil:
    """Steps back from the newest entry in growing strides, since recent numbers are looked up most; then halves."""
    cdef uint64_t high = log.head       # entries from here on are beyond seq
    cdef uint64_t low = log.head        # entries before are not
    cdef uint64_t stride = 1
    cdef uint64_t middle
    while low > log.tail and log.changes[(low - 1) & (log.slots - 1)].last > seq:
        high = low - 1
        low = high - stride if high - log.tail > stride else log.tail
        stride *= 2
    while low < high:
        middle = low + ((high - low) >> 1)
        if log.changes[middle & (log.slots - 1)].last > seq:
            high = middle
        else:
            low = middle + 1
    check(log.tail <= low)
    check(low <= log.head)
    at[0] = low
    return seq == (log.changes[(low - 1) & (log.slots - 1)].last if low > log.tail else log.floor_seq)


# The index of each level in the result. One table for all logs: the functions that touch it are not nogil, so the GIL guards it.
# A slot is in use if it has the stamp of the current call, so nothing need be cleared between calls.
cdef struct Slot:
    int64_t level
    uint32_t stamp
    uint32_t index

cdef Slot* table = NULL
cdef uint64_t table_slots = 0
cdef uint32_t table_stamp = 0

# Multiply-shift with a random odd factor: nobody can choose prices that meet in one slot without knowing it. Python draws the key
# of its hashes for each process from the system, unless PYTHONHASHSEED names one.
cdef uint64_t table_factor = <uint64_t> <int64_t> hash("the levels of a book") | 1


def hash_factor():
    """The odd number that the levels of this process are hashed with."""
    return table_factor


def set_hash_factor(uint64_t factor):
    """For tests: hashes with this number from now on. Raises ValueError for an even one."""
    global table_factor
    if not factor & 1:
        raise ValueError(f"the factor of the hash must be odd, not {factor}")
    table_factor = factor


cdef int table_prepare(uint64_t entries, int* shift) except -1:
    """A table that ``entries`` fill at most by half; ``shift`` turns a 64-bit hash into a slot."""
    global table, table_slots, table_stamp
    cdef Slot* grown
    cdef uint64_t slots = FIRST_SLOTS
    shift[0] = 64 - 6
    while slots < 2 * entries:
        slots *= 2
        shift[0] -= 1
    if slots > table_slots:
        grown = <Slot*> PyMem_RawCalloc(slots, sizeof(Slot))
        if grown == NULL:
            raise MemoryError(f"no memory for a table of {slots} levels")
        PyMem_RawFree(table)
        table, table_slots, table_stamp = grown, slots, 0
    table_stamp += 1
    if table_stamp == 0:
        memset(table, 0, table_slots * sizeof(Slot))
        table_stamp = 1
    return 0


cdef int log_collapse(const ChangeLog* log, uint64_t start, uint64_t end, Changes* out) except -1:
    cdef int shift = 0
    check(start - log.tail <= end - log.tail)
    check(end - log.tail <= log.head - log.tail)
    changes_reserve(out, <Py_ssize_t> (end - start))
    table_prepare(end - start, &shift)
    out.count = collapse(log, start, end, out.values, shift)
    return 0


cdef Py_ssize_t collapse(
    const ChangeLog* log, uint64_t start, uint64_t end, Change* out, int shift
) noexcept:
    cdef uint64_t mask = (<uint64_t> 1 << (64 - shift)) - 1
    cdef uint64_t slot, at
    cdef uint32_t stamp = table_stamp
    cdef uint32_t n = 0
    cdef const Change* change
    cdef uint64_t factor = table_factor
    cdef Slot* slots = table
    cdef Slot* found
    for at in range(start, end):
        change = &log.changes[at & (log.slots - 1)]
        if change.level == NO_LEVEL:
            continue
        slot = (<uint64_t> change.level * factor) >> shift
        while slots[slot].stamp == stamp and slots[slot].level != change.level:
            slot = (slot + 1) & mask
        found = &slots[slot]
        if found.stamp == stamp:
            check(out[found.index].lots_new == change.lots_old)
            out[found.index].lots_new = change.lots_new
        else:
            found.level, found.stamp, found.index = change.level, stamp, n
            out[n] = change[0]
            n += 1
    return drop_unchanged(out, n)


cdef inline Py_ssize_t drop_unchanged(Change* changes, Py_ssize_t n) noexcept:
    cdef Py_ssize_t i, kept = 0
    for i in range(n):
        changes[kept] = changes[i]
        kept += changes[i].lots_new != changes[i].lots_old
    return kept


cdef int changes_reserve(Changes* changes, Py_ssize_t capacity) except -1:
    cdef Change* grown
    if capacity <= changes.capacity:
        return 0
    capacity = max(capacity, changes.capacity + (changes.capacity >> 1))
    grown = <Change*> PyMem_RawRealloc(changes.values, <size_t> capacity * sizeof(Change))
    if grown == NULL:
        raise MemoryError(f"no memory for {capacity} level changes")
    changes.values = grown
    changes.capacity = capacity
    return 0
