"""The connections of a load test: opening, reading, writing, closing. What the messages mean is for the Follower."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdstream._bench.follow cimport Follower
from mdstream._bench.histogram cimport Histogram
from mdstream._bench.sockets cimport epoll_event
from mdstream._bench.timers cimport Timers
from mdstream._bench.tracked cimport Tracked
from mdstream._core.base.buffer cimport Buffer

cdef enum ClientState:
    IDLE = 0                    # nothing is planned
    PLANNED                     # its timer will open it
    QUEUED                      # too many are on their way
    CONNECTING
    UPGRADING
    OPEN
    GIVEN_UP

cdef struct Client:
    Tracked tracked
    char* left                  # bytes of an incomplete frame or answer
    char* unsent
    char* fragments             # of a message in several frames
    int64_t began_ns            # connect
    int64_t cut_ns              # when the network died; 0 unless it is coming back from that
    uint32_t left_size
    uint32_t left_room
    uint32_t unsent_size
    uint32_t fragments_size
    uint32_t generation         # of its timers
    uint32_t attempts           # that failed, one after the other
    int fd
    uint16_t gateway
    uint8_t state
    bint ready
    bint paused
    bint resumes                # its group wishes to go on where it was
    bint leaving                # told to drain: its timer lets it go

cdef struct Gateway:
    uint32_t ip
    int port
    Buffer request              # the upgrade

cdef struct Traffic:            # of the window
    uint64_t frames
    uint64_t bytes
    uint64_t reads
    uint64_t pings

cdef struct Fates:              # of the run
    uint64_t opened
    uint64_t failed
    uint64_t refused
    uint64_t closed
    uint64_t cut
    uint64_t paused

cdef class Clients:
    cdef Follower follower
    cdef readonly Histogram ready
    cdef readonly Histogram recovery
    cdef Client* clients
    cdef Gateway* gateways
    cdef uint32_t* queue        # a ring of those that wait until fewer are on their way
    cdef int64_t* pauses        # ns, of each group: rests, 0 for none, and
    cdef int64_t* reads         # how long it reads between them
    cdef Traffic traffic
    cdef Fates fates
    cdef uint32_t[5000] close_counts
    cdef Timers timers
    cdef epoll_event[512] events
    cdef char[1024] failure     # why there is no use in going on
    cdef tuple answer_words     # what must stand in the answer to the upgrade
    cdef const char* accepted
    cdef const char* subprotocol
    cdef Buffer input
    cdef Py_ssize_t n_clients
    cdef Py_ssize_t n_gateways
    cdef uint32_t queue_at
    cdef uint32_t queued
    cdef int64_t on_their_way
    cdef int64_t in_flight      # at most
    cdef int64_t n_open
    cdef int64_t n_ready
    cdef int64_t n_wanted       # to be open, or to become so
    cdef int64_t n_given_up
    cdef int64_t now_ns
    cdef int64_t data_ns        # of the last data message
    cdef uint64_t random
    cdef uint32_t sources       # addresses to connect from, 0: the system's choice
    cdef uint32_t source_offset
    cdef uint32_t source_step   # clients on one address before the next
    cdef int epoll
    cdef bint useful            # a server has answered as it should, once

    cdef int c_plan(self, Client* client, int64_t at_ns) except -1 nogil
    # What the time brings: openings, rests of slow readers, leaving.
    cdef int c_timers(self) except -1 nogil
    cdef int c_start_queued(self) except -1 nogil
    cdef int c_event(self, const epoll_event* event) except -1 nogil
    # Lets a connection go; `resume`: it will want to go on where it is.
    cdef void c_hang_up(self, Client* client, bint reset) noexcept nogil
    # 1000, if it can be said at once.
    cdef void c_say_close(self, Client* client) noexcept nogil

    # within
    cdef int set_gateways(self, plan) except -1
    cdef int set_sources(self, plan) except -1
    cdef int set_clients(self, plan, list chosen) except -1
    cdef void forget_bytes(self, Client* client) noexcept nogil
    cdef int leave(self, Client* client) except -1 nogil
    cdef int toggle(self, Client* client) except -1 nogil
    cdef int connect(self, Client* client) except -1 nogil
    cdef int watch(self, Client* client, int how) except -1 nogil
    cdef int connected(self, Client* client) except -1 nogil
    cdef int fail(self, Client* client, const char* why, bint again) except -1 nogil
    cdef int fail_for_good(self, Client* client, const char* why, const char* advice) except -1 nogil
    cdef int come_back(self, Client* client, bint again) except -1 nogil
    cdef int give_up(self, Client* client) except -1 nogil
    cdef Py_ssize_t upgraded(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil
    cdef bint has(self, const char* answer, Py_ssize_t size, const char* words) noexcept nogil
    cdef int upgrade_refused(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil
    cdef int read(self, Client* client) except -1 nogil
    cdef int keep_left(self, Client* client, const char* data, Py_ssize_t size) except -1 nogil
    cdef Py_ssize_t frames(self, Client* client, const uint8_t* data, Py_ssize_t size) except -1 nogil
    cdef int frame(self, Client* client, uint8_t first, const uint8_t* payload, Py_ssize_t size) except -1 nogil
    cdef int fragment(self, Client* client, bint last, const uint8_t* payload, Py_ssize_t size) except -1 nogil
    cdef int message(self, Client* client, const uint8_t* payload, Py_ssize_t size) except -1 nogil
    cdef int refused(self, Client* client) except -1 nogil
    cdef int became_ready(self, Client* client) except -1 nogil
    cdef int send_answers(self, Client* client) except -1 nogil
    cdef int send(self, Client* client, const char* data, Py_ssize_t size) except -1 nogil
    cdef int lost(self, Client* client, int code, const char* why) except -1 nogil
