from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    TRADE_ID_MAX = 128      # bytes of an id's MessagePack form: an integer, or a string of up to 126 bytes

cdef struct Trade:
    uint64_t seq
    uint64_t ts_us
    int64_t price_ticks
    int64_t size_lots
    uint8_t side            # 0 unknown, 1 buy (buyer took), 2 sell
    uint8_t id_size
    uint8_t[TRADE_ID_MAX] id    # the id as the feed sent it: one MessagePack integer or UTF-8 string

cdef class TradeLog:
    """The latest trades of an instrument: a ring of `capacity`, grown on demand."""
    cdef readonly uint64_t epoch
    cdef readonly uint64_t seq          # of the newest trade; 0: none in this epoch

    cdef int c_append(self, const Trade* trade) except -1          # trade.seq must be seq + 1
    cdef int c_reset(self, uint64_t epoch, uint64_t seq) except -1 # empties the ring; the next trade is seq + 1
    cdef uint64_t c_oldest(self) noexcept nogil                     # seq of the oldest kept; seq + 1 if none
    cdef const Trade* c_get(self, uint64_t seq) noexcept nogil      # NULL if not kept
