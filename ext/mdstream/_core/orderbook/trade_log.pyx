from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc

from libc.string cimport memcpy

from mdstream._core.base.check cimport check
from mdstream._core.base.digits cimport pack_negative, pack_text_header, pack_uint

from mdstream.errors import SequenceError

cdef enum:
    FIRST_SIZE = 16


cdef class TradeLog:
    """The latest trades of an instrument: a ring of ``capacity`` (1 to 2^24, else ValueError), grown on demand.

    ``seq`` is the number of the newest trade, 0 if there is none in this ``epoch``.
    """

    def __cinit__(self, capacity=4096):
        if not 1 <= capacity <= 2**24:
            raise ValueError(f"a trade log holds 1 to {2**24} trades, not {capacity}")
        self.capacity = capacity

    def __dealloc__(self):
        PyMem_RawFree(self.ring)

    cdef int c_append(self, const Trade* trade) except -1:
        if trade.seq != self.seq + 1:
            raise SequenceError(f"trade {trade.seq} does not follow trade {self.seq} of epoch {self.epoch}")
        if self.kept == self.size and self.size < self.capacity:
            grow(self)
        self.ring[trade.seq & (self.size - 1)] = trade[0]
        self.seq = trade.seq
        self.kept = min(self.kept + 1, self.capacity)
        check(self.kept <= self.size)
        check(self.c_get(self.c_oldest()) != NULL)
        return 0

    cdef int c_reset(self, uint64_t epoch, uint64_t seq) except -1:
        self.epoch = epoch
        self.seq = seq
        self.kept = 0
        return 0

    cdef uint64_t c_oldest(self) noexcept nogil:
        return self.seq - self.kept + 1

    cdef const Trade* c_get(self, uint64_t seq) noexcept nogil:
        if seq > self.seq or seq + self.kept <= self.seq:
            return NULL
        check(self.ring[seq & (self.size - 1)].seq == seq)
        return &self.ring[seq & (self.size - 1)]

    cdef Py_ssize_t c_id_bytes(self, uint64_t first, uint64_t last) except -1:
        cdef uint64_t seq
        cdef const Trade* trade
        cdef Py_ssize_t total = 0
        if first < 1 or first > last:
            raise SequenceError(f"trades {first} to {last} are no range of sequence numbers")
        for seq in range(first, last + 1):
            trade = self.c_get(seq)
            if trade == NULL:
                raise SequenceError(
                    f"trade {seq} of {first} to {last} is not kept; {self.c_oldest()} to {self.seq} are"
                )
            total += trade.id_size
        return total

    # ---- Python: for tests and tools

    def __len__(self):
        """Trades kept."""
        return self.kept

    @property
    def oldest(self):
        """Number of the oldest trade kept; ``seq + 1`` if none is."""
        return self.c_oldest()

    def reset(self, uint64_t epoch, uint64_t seq):
        """Empties the log: the next trade is ``seq + 1`` of ``epoch``."""
        self.c_reset(epoch, seq)

    def append(self, uint64_t seq, uint64_t ts_us, int64_t price_ticks, int64_t size_lots, uint8_t side, trade_id):
        """Adds the next trade; side 0 unknown, 1 buy (the buyer took), 2 sell. Raises SequenceError if it is not the next."""
        cdef Trade trade
        trade.seq, trade.ts_us, trade.price_ticks, trade.size_lots = seq, ts_us, price_ticks, size_lots
        trade.side = side
        set_id(&trade, trade_id)
        self.c_append(&trade)

    def get(self, uint64_t seq):
        """(seq, ts_us, price_ticks, size_lots, side, trade_id), or None if the trade is not kept."""
        cdef const Trade* trade = self.c_get(seq)
        if trade == NULL:
            return None
        return trade.seq, trade.ts_us, trade.price_ticks, trade.size_lots, trade.side, trade_id(trade)


cdef int grow(TradeLog log) except -1:
    cdef uint64_t size = max(<uint64_t> FIRST_SIZE, 2 * log.size)
    cdef uint64_t seq
    cdef Trade* ring = <Trade*> PyMem_RawMalloc(size * sizeof(Trade))
    if ring == NULL:
        raise MemoryError(f"no memory for {size} trades")
    for seq in range(log.c_oldest(), log.seq + 1):
        ring[seq & (size - 1)] = log.ring[seq & (log.size - 1)]
    PyMem_RawFree(log.ring)
    log.ring = ring
    log.size = size
    return 0


# ---- ids

cdef void trade_set_integer_id(Trade* trade, uint64_t value, bint negative) noexcept nogil:
    cdef char* id = <char*> trade.id
    cdef char* end = pack_negative(id, <int64_t> value) if negative else pack_uint(id, value)
    trade.id_size = <uint8_t> (end - id)


cdef void trade_set_text_id(Trade* trade, const char* text, Py_ssize_t size) noexcept nogil:
    cdef char* id = <char*> trade.id
    cdef char* at = pack_text_header(id, size)
    check(0 <= size)
    check(size <= TRADE_ID_MAX - 2)
    memcpy(at, text, <size_t> size)
    trade.id_size = <uint8_t> (at + size - id)


cdef object trade_id(const Trade* trade):
    cdef TradeId id = trade_read_id(trade)
    if id.text != NULL:
        return id.text[:id.size].decode("utf-8")
    if id.unsigned:
        return <uint64_t> id.number
    return id.number


cdef int set_id(Trade* trade, object value) except -1:
    cdef bytes text
    if isinstance(value, str):
        text = value.encode()
        if len(text) > TRADE_ID_MAX - 2:
            raise ValueError(f"trade id {value!r} is longer than {TRADE_ID_MAX - 2} bytes")
        trade_set_text_id(trade, text, len(text))
    elif value < 0:
        trade_set_integer_id(trade, <uint64_t> <int64_t> value, True)
    else:
        trade_set_integer_id(trade, <uint64_t> value, False)
    return 0
