"""One client of a load test as far as its subscriptions go: which number of the server's is which, and where each stands."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdstream._bench.ladder cimport Ladder

cdef enum SubState:
    SUB_ASKED = 0               # not answered yet
    SUB_WAITING                 # subscribed, its snapshot is to come
    SUB_LIVE
    SUB_HELD                    # a gap: waits for what it asked to recover
    SUB_RELOADING               # its book is wrong: waits for the snapshot that it asked for

cdef struct Sub:
    int64_t number              # the server's; meaningless while SUB_ASKED
    uint64_t epoch              # 0: none known
    uint64_t seq                # the last that it has
    Ladder* book                # NULL unless its client is verified
    uint32_t instrument         # index in the plan
    uint8_t state
    bint resuming               # asked to go on from epoch and seq

cdef struct Tracked:
    Sub* subs                   # in the order of the plan
    uint16_t* index             # open addressing by the server's number: place in subs + 1
    uint32_t mask               # of the index
    uint32_t count
    uint32_t live               # subs that stand at a number of this connection
    uint32_t answered
    uint32_t group
    uint32_t client             # for what is said of faults
    bint verify
    bint welcomed
    bint refused                # the server answered `error`: it will not become ready,
    bint unavailable            # now: it may later

# Makes room for so many subscriptions, all SUB_ASKED.
cdef int tracked_make(Tracked* client, Py_ssize_t count) except -1
cdef void tracked_free(Tracked* client) noexcept nogil
# The subscription of that number, NULL if there is none.
cdef Sub* find_sub(const Tracked* client, int64_t number) noexcept nogil
# Lets the sub at a place of `subs` be found by its number.
cdef void enter_sub(Tracked* client, uint32_t place) noexcept nogil
cdef void drop_book(Sub* sub) noexcept nogil
# The connection is gone: no subscription has a number any more. They keep where they stand if they may `resume`.
cdef void tracked_reset(Tracked* client, bint resume) noexcept nogil


cdef inline bint is_ready(const Tracked* client) noexcept nogil:
    return client.welcomed and client.live == client.count


cdef inline void go_live(Tracked* client, Sub* sub) noexcept nogil:
    client.live += sub.state < SUB_LIVE
    sub.state = SUB_LIVE
