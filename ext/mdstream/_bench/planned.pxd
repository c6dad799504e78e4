"""The clients of a load test as planned: whom they connect to, what they ask for, and their memory. Nothing is opened here."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdstream._bench.follow cimport Follower
from mdstream._bench.histogram cimport Histogram
from mdstream._bench.timers cimport Timers
from mdstream._bench.tracked cimport Tracked
from mdstream._core.base.buffer cimport Buffer

cdef enum ClientState:
    IDLE = 0                    # not planned
    PLANNED                     # its timer will open it
    QUEUED                      # too many others are opening
    CONNECTING
    SECURING                    # in the TLS handshake
    UPGRADING
    OPEN
    GIVEN_UP

cdef struct Client:
    Tracked tracked
    char* left                  # bytes of an incomplete frame or answer
    char* unsent
    char* fragments             # of a message in several frames
    void* tls                   # NULL: plain TCP
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
    bint handshake_writes       # its TLS handshake waits until the socket can be written

cdef struct Gateway:
    uint32_t ip
    int port
    const char* host
    Buffer request              # the upgrade, without the end of its head

cdef class PlannedClients:
    cdef Follower follower
    cdef readonly Histogram ready
    cdef readonly Histogram recovery
    cdef Client* clients
    cdef Gateway* gateways
    cdef void* tls              # what the connections share; NULL: plain TCP
    cdef list keeps             # alive what the C side points to
    cdef char** tokens          # a line of the request for each client; NULL: none
    cdef uint32_t* queue        # a ring of clients in the state QUEUED
    cdef int64_t* pauses        # ns that each group pauses, 0: never
    cdef int64_t* reads         # ns that it reads between two pauses
    cdef Timers timers
    cdef tuple answer_words     # what the answer to the upgrade must contain
    cdef const char* accepted
    cdef const char* subprotocol
    cdef Buffer input
    cdef Py_ssize_t n_clients
    cdef Py_ssize_t n_gateways
    cdef int64_t in_flight      # most clients that may be opening
    cdef bint returns           # clients that were sent away connect again
    cdef uint64_t random
    cdef uint32_t sources       # addresses to connect from; 0: the system chooses
    cdef uint32_t source_offset
    cdef uint32_t source_step   # clients on one address before the next
    cdef int epoll

    cdef void c_forget_bytes(self, Client* client) noexcept nogil
    # Ends what a connection holds of TLS, without a word to the other side.
    cdef void c_forget_tls(self, Client* client) noexcept nogil

    # within
    cdef int set_gateways(self, plan) except -1
    cdef int set_tokens(self, plan, Py_ssize_t count) except -1
    cdef int set_sources(self, plan) except -1
    cdef int set_clients(self, plan, list chosen) except -1
