"""The connections of a load test: opening, reading, writing, closing. The Follower handles the messages."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdstream._bench.follow cimport Follower
from mdstream._bench.histogram cimport Histogram
from mdstream._bench.sockets cimport epoll_event
from mdstream._bench.timers cimport Timers
from mdstream._bench.tracked cimport Tracked
from mdstream._core.base.buffer cimport Buffer

cdef enum ClientState:
    IDLE = 0                    # not planned
    PLANNED                     # its timer will open it
    QUEUED                      # too many others are opening
    CONNECTING
    UPGRADING
    OPEN
    GIVEN_UP

cdef struct Client:
    Tracked tracked
    char* left                  # bytes of an incomplete frame or answer
    char* unsent
    char* fragments             # of a message in several frames
    int64_t began_ns            # when it called connect
    int64_t cut_ns              # when `cut` broke it; 0 if it is ready again
    uint32_t left_size
    uint32_t left_room
    uint32_t unsent_size
    uint32_t fragments_size
    uint32_t generation         # of its timers
    uint32_t attempts           # failures, one after the other
    int fd
    uint16_t gateway
    uint8_t state
    bint ready
    bint paused
    bint resumes                # its group uses `resume`
    bint leaving                # told to drain: it leaves when its timer ends

cdef struct Gateway:
    uint32_t ip
    int port
    Buffer request              # the upgrade

cdef struct Traffic:            # counts of the window
    uint64_t frames
    uint64_t bytes
    uint64_t reads
    uint64_t pings

cdef struct RunCounts:          # of the whole run
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
    cdef uint32_t* queue        # a ring of clients in the state QUEUED
    cdef int64_t* pauses        # ns that each group pauses, 0: never
    cdef int64_t* reads         # ns that it reads between two pauses
    cdef Traffic traffic
    cdef RunCounts run_counts
    cdef uint32_t[5000] close_counts
    cdef Timers timers
    cdef epoll_event[512] events
    cdef char[1024] failure     # why no connection can succeed
    cdef tuple answer_words     # what the answer to the upgrade must contain
    cdef const char* accepted
    cdef const char* subprotocol
    cdef Buffer input
    cdef Py_ssize_t n_clients
    cdef Py_ssize_t n_gateways
    cdef uint32_t queue_at
    cdef uint32_t queued
    cdef int64_t n_opening
    cdef int64_t in_flight      # most clients that may be opening
    cdef int64_t n_open
    cdef int64_t n_ready
    cdef int64_t n_wanted       # that should become ready
    cdef int64_t n_given_up
    cdef int64_t now_ns
    cdef int64_t data_ns        # of the last data message
    cdef uint64_t random
    cdef uint32_t sources       # addresses to connect from; 0: the system chooses
    cdef uint32_t source_offset
    cdef uint32_t source_step   # clients on one address before the next
    cdef int epoll
    cdef bint useful            # a server has accepted a client at least once
    cdef bint returns           # clients that were sent away connect again

    cdef int c_plan(self, Client* client, int64_t at_ns) except -1 nogil
    # Runs the timers that are due: openings, pauses of slow readers, leaving.
    cdef int c_timers(self) except -1 nogil
    cdef int c_start_queued(self) except -1 nogil
    cdef int c_event(self, const epoll_event* event) except -1 nogil
    # Closes a connection; `reset`: without a close handshake of TCP.
    cdef void c_hang_up(self, Client* client, bint reset) noexcept nogil
    # Sends a close frame (1000) if it can be sent at once.
    cdef void c_send_close(self, Client* client) noexcept nogil

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
    cdef int reconnect(self, Client* client, bint again) except -1 nogil
    cdef int stay_away(self, Client* client) except -1 nogil
    cdef int give_up(self, Client* client) except -1 nogil
    cdef Py_ssize_t take_answer(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil
    cdef bint contains(self, const char* answer, Py_ssize_t size, const char* words) noexcept nogil
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
