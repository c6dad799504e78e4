"""The connections of a load test: opening, reading, writing, closing. The Follower handles the messages."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from mdstream._bench.planned cimport Client, PlannedClients
from mdstream._bench.sockets cimport epoll_event

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

cdef class Clients(PlannedClients):
    cdef Traffic traffic
    cdef RunCounts run_counts
    cdef uint32_t[5000] close_counts
    cdef epoll_event[512] events
    cdef char[1024] failure     # why no connection can succeed
    cdef uint32_t queue_at
    cdef uint32_t queued
    cdef int64_t n_opening
    cdef int64_t n_open
    cdef int64_t n_ready
    cdef int64_t n_wanted       # that should become ready
    cdef int64_t n_given_up
    cdef int64_t now_ns
    cdef int64_t data_ns        # of the last data message
    cdef bint useful            # a server has accepted a client at least once

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
    cdef int leave(self, Client* client) except -1 nogil
    cdef int toggle(self, Client* client) except -1 nogil
    cdef int connect(self, Client* client) except -1 nogil
    cdef int watch(self, Client* client, int how) except -1 nogil
    cdef int connected(self, Client* client) except -1 nogil
    cdef int secure(self, Client* client) except -1 nogil
    cdef int ask(self, Client* client) except -1 nogil
    cdef int fail(self, Client* client, const char* why, bint again) except -1 nogil
    cdef int fail_for_good(self, Client* client, const char* why, const char* advice) except -1 nogil
    cdef int reconnect(self, Client* client, bint again) except -1 nogil
    cdef int stay_away(self, Client* client) except -1 nogil
    cdef int give_up(self, Client* client) except -1 nogil
    cdef Py_ssize_t take_answer(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil
    cdef bint contains(self, const char* answer, Py_ssize_t size, const char* words) noexcept nogil
    cdef int upgrade_refused(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil
    cdef int read(self, Client* client) except -1 nogil
    cdef int64_t receive(self, Client* client, char* to) noexcept nogil
    cdef int64_t put(self, Client* client, const void* data, Py_ssize_t size) noexcept nogil
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
