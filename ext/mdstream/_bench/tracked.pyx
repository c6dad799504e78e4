from libc.stdlib cimport calloc, free
from libc.string cimport memset

from mdstream._bench.ladder cimport ladder_free


cdef int tracked_make(Tracked* client, Py_ssize_t count) except -1:
    cdef Py_ssize_t slots = 4
    while slots < 2 * count:
        slots *= 2
    client.subs = <Sub*>calloc(max(count, <Py_ssize_t>1), sizeof(Sub))
    client.index = <uint16_t*>calloc(slots, sizeof(uint16_t))
    if client.subs == NULL or client.index == NULL:
        raise MemoryError(f"no memory for {count} subscriptions")
    client.mask = <uint32_t>slots - 1
    client.count = <uint32_t>count
    return 0


cdef void tracked_free(Tracked* client) noexcept nogil:
    cdef uint32_t i
    if client.subs != NULL:
        for i in range(client.count):
            drop_book(&client.subs[i])
    free(client.subs)
    free(client.index)
    client.subs = NULL
    client.index = NULL


cdef inline uint32_t slot_of(int64_t number) noexcept nogil:
    return <uint32_t>(<uint64_t>number * 0x9E3779B97F4A7C15ULL >> 40)


cdef Sub* find_sub(const Tracked* client, int64_t number) noexcept nogil:
    cdef uint32_t slot = slot_of(number) & client.mask
    while client.index[slot]:
        if client.subs[client.index[slot] - 1].number == number:
            return &client.subs[client.index[slot] - 1]
        slot = (slot + 1) & client.mask
    return NULL


cdef void enter_sub(Tracked* client, uint32_t place) noexcept nogil:
    cdef uint32_t slot = slot_of(client.subs[place].number) & client.mask
    while client.index[slot]:
        slot = (slot + 1) & client.mask
    client.index[slot] = <uint16_t>(place + 1)


cdef void drop_book(Sub* sub) noexcept nogil:
    if sub.book != NULL:
        ladder_free(sub.book)
        free(sub.book)
        sub.book = NULL


cdef void tracked_reset(Tracked* client, bint resume) noexcept nogil:
    cdef Sub* sub
    cdef uint32_t i
    for i in range(client.count):
        sub = &client.subs[i]
        if not resume or sub.state > SUB_LIVE:          # one that waits for an answer starts from the beginning
            sub.epoch = sub.seq = 0
            drop_book(sub)
        sub.state = SUB_ASKED
    memset(client.index, 0, (client.mask + 1) * sizeof(uint16_t))
    client.live = client.answered = 0
    client.welcomed = client.refused = client.unavailable = False
