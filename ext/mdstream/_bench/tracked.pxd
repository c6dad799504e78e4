"""The subscriptions of one client of a load test: the server's number of each, and the last update that it has."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdstream._bench.ladder cimport Ladder

cdef enum SubState:
    SUB_ASKED = 0               # not answered yet
    SUB_WAITING                 # subscribed, its snapshot has not come yet
    SUB_LIVE
    SUB_HELD                    # a gap: waits for the answer to its recover
    SUB_RELOADING               # its book is wrong: waits for the snapshot that it requested

cdef struct Sub:
    int64_t number              # the server's; meaningless while SUB_ASKED
    uint64_t epoch              # 0: none known
    uint64_t seq                # its last update
    Ladder* book                # NULL unless its client is verified
    uint32_t instrument         # index in the plan
    uint8_t state
    bint resuming               # asked to resume from epoch and seq

cdef struct Tracked:
    Sub* subs                   # in the order of the plan
    uint16_t* index             # open addressing by the server's number: index in subs + 1
    uint32_t mask               # of the index
    uint32_t count
    uint32_t live               # subs that have data from this connection
    uint32_t answered
    uint32_t group
    uint32_t client             # its number in the text of a fault
    bint verify
    bint welcomed
    bint refused                # the server answered `error`: it cannot become ready
    bint unavailable            # the error was temporary: another try may succeed

# Allocates so many subscriptions, all SUB_ASKED.
cdef int tracked_make(Tracked* client, Py_ssize_t count) except -1
cdef void tracked_free(Tracked* client) noexcept nogil
# The subscription with that number, NULL if there is none.
cdef Sub* find_sub(const Tracked* client, int64_t number) noexcept nogil
# Enters the sub at an index of `subs` under its number.
cdef void enter_sub(Tracked* client, uint32_t place) noexcept nogil
cdef void drop_book(Sub* sub) noexcept nogil
# The connection is gone: no subscription has a number. With `resume` they keep their epoch and seq.
cdef void tracked_reset(Tracked* client, bint resume) noexcept nogil


cdef inline bint is_ready(const Tracked* client) noexcept nogil:
    return client.welcomed and client.live == client.count


cdef inline void go_live(Tracked* client, Sub* sub) noexcept nogil:
    client.live += sub.state < SUB_LIVE
    sub.state = SUB_LIVE
