"""Checks what a client of a load test receives: consecutive numbers, equal books. No I/O.

One ``Follower`` serves all clients of a process and has their counts; the state of one client is a ``Tracked``.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int8_t, int64_t, uint8_t, uint64_t

from mdstream._bench.histogram cimport Histogram
from mdstream._bench.message cimport Message, Slice
from mdstream._bench.orders cimport Format, Name, Topic, WantedInstrument
from mdstream._bench.tracked cimport Sub, Tracked
from mdstream._core.base.buffer cimport Buffer
from mdstream._core.orderbook.levels cimport Levels

cdef enum Fault:
    FAULT_GAP = 0               # a number is missing
    FAULT_REPEAT                # its numbers are not new
    FAULT_OVERLAP
    FAULT_EARLY                 # data before the snapshot
    FAULT_UNKNOWN_SUB
    FAULT_UNASKED               # `subscribed` without a request
    FAULT_BACKWARDS             # a snapshot or a ticker with an earlier number
    FAULT_MALFORMED
    FAULT_NO_WELCOME
    FAULT_LOST_TAIL             # the heartbeat has a later number
    FAULT_BEYOND                # a number that was never published
    FAULT_CRC
    FAULT_CROSSED
    FAULT_ORDER                 # a snapshot that is not best first
    FAULT_DEPTH                 # a view deeper than asked
    FAULT_DECIMALS
    FAULTS

cdef struct Counts:             # of the window
    uint64_t messages
    uint64_t deltas
    uint64_t updates
    uint64_t trades
    uint64_t tickers
    uint64_t snapshots
    uint64_t skipped
    uint64_t heartbeats
    uint64_t states
    uint64_t lost
    uint64_t recovers
    uint64_t checked

cdef struct Totals:             # of the run
    uint64_t subscribed
    uint64_t resumed
    uint64_t not_resumed
    uint64_t errors
    uint64_t drains

cdef struct InstrumentState:
    Name name
    uint64_t expected           # the last number of its book; 0: unknown
    uint64_t expected_trade
    int8_t price_exp
    int8_t size_exp

cdef struct GroupState:
    Topic topic
    bint is_trades
    bint is_slow                # it pauses: its latencies are not in the sum
    PyObject* latency           # Histogram

cdef class Follower:
    cdef Format format
    cdef bint floor
    cdef bint recover
    cdef Counts counts
    cdef Totals totals
    cdef uint64_t[FAULTS] faults
    cdef char[400] first_fault
    cdef char[300] first_error
    cdef Buffer out             # frames that the current client must send; the owner empties it
    cdef InstrumentState* instruments
    cdef Py_ssize_t n_instruments
    cdef GroupState* groups
    cdef Py_ssize_t n_groups
    cdef readonly Histogram latency
    cdef readonly list group_latency
    cdef int64_t now_us         # when the current bytes were received
    cdef int64_t drain_ms       # of the last `drain`; -1: none
    cdef list _keep             # keeps alive what the C side points to
    cdef Levels _levels
    cdef WantedInstrument* _wanted  # room for one command

    # Handles one complete message: counts and checks its data, and puts the answers into `out`.
    cdef int c_take(self, Tracked* client, const uint8_t* data, Py_ssize_t size) except -1 nogil
    # The last number of the subscription's stream; 0: unknown.
    cdef uint64_t c_expected(self, const Tracked* client, const Sub* sub) noexcept nogil
    cdef int c_fault(self, int kind, const Tracked* client, const Sub* sub, uint64_t a, uint64_t b) noexcept nogil

    # within
    cdef int set_name(self, Name* target, str name) except -1
    cdef int set_group(self, GroupState* state, group) except -1
    cdef int take(self, Tracked* client, const Message* message) except -1 nogil
    cdef int take_control(self, Tracked* client, const Message* message) except -1 nogil
    cdef void take_error(self, Tracked* client, const Message* message) noexcept nogil
    cdef int subscribe(self, Tracked* client) except -1 nogil
    cdef int take_subscribed(self, Tracked* client, const Message* message) except -1 nogil
    cdef void begin(self, Tracked* client, Sub* sub, bint resumed) noexcept nogil
    cdef int take_snapshot(self, Tracked* client, const Message* message) except -1 nogil
    cdef int take_delta(self, Tracked* client, const Message* message) except -1 nogil
    cdef bint take_unexpected(self, Tracked* client, Sub* sub, const Message* message) except -1 nogil
    cdef void record(self, const Tracked* client, uint64_t ts_us) noexcept nogil
    cdef void check_expected(self, const Tracked* client, const Sub* sub) noexcept nogil
    cdef int take_trades(self, Tracked* client, const Message* message) except -1 nogil
    cdef bint read_trades(self, const Message* message, uint64_t* ts_us) noexcept nogil
    cdef int take_lost(self, Tracked* client, const Message* message) except -1 nogil
    cdef int take_ticker(self, Tracked* client, const Message* message) except -1 nogil
    cdef int take_heartbeat(self, Tracked* client, const Message* message) except -1 nogil
    cdef void check_tail(self, const Tracked* client, int64_t number, uint64_t seq) noexcept nogil
    cdef int read_side(self, const Tracked* client, const Sub* sub, const Slice* side) except -1 nogil
    cdef int load_book(self, const Tracked* client, Sub* sub, const Message* message) except -1 nogil
    cdef bint load_side(self, const Tracked* client, const Sub* sub, Levels* side, const Slice* rows, bint is_bid) except -1 nogil
    cdef int apply_book(self, Tracked* client, Sub* sub, const Message* message) except -1 nogil
    cdef bint check_book(self, const Tracked* client, Sub* sub, uint64_t crc) noexcept nogil
    cdef int reload(self, Sub* sub) except -1 nogil
