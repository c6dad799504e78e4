from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport UINT64_MAX
from libc.string cimport memcmp, memset

from mdstream._core.codec.msgpack_reader cimport Cursor, cursor_open
from mdstream._core.codec.feed_decoder cimport BookUpdate, next_book, next_snap, next_trade
from mdstream._core.orderbook.levels cimport Levels
from mdstream._core.orderbook.trade_log cimport Trade

from mdstream.model import MAX_EXPONENT

# Scratch for all instruments. The core never releases the interpreter's lock, and no Python runs from the reading of a value to
# its use.
cdef BookUpdate scratch
memset(&scratch, 0, sizeof(scratch))
cdef Levels kept_bids, kept_asks
memset(&kept_bids, 0, sizeof(kept_bids))
memset(&kept_asks, 0, sizeof(kept_asks))


cdef class Instrument:
    """One instrument: its scale, book and trades, and the checks between bytes from the bus and the book.

    An instrument that was never opened (epoch 0) takes only what begins an epoch; anything else is a GAP. Once ``begin`` was called,
    a greater epoch begins by another call only. ``last_trade`` is the newest trade that had a size; lots 0: none yet.
    """

    def __init__(self, str name not None, int price_exp, int size_exp, *, log_capacity=16384, trade_capacity=4096,
                 max_levels=65536):
        for label, exponent in (("price_exp", price_exp), ("size_exp", size_exp)):
            if not -MAX_EXPONENT <= exponent <= MAX_EXPONENT:
                raise ValueError(f"{label} of {name} must be -{MAX_EXPONENT} to {MAX_EXPONENT}, not {exponent}")
        self.name = name
        self.book = Book(name, log_capacity=log_capacity, max_levels=max_levels)
        self.trades = TradeLog(trade_capacity)
        self.scale.price_exp = price_exp
        self.scale.size_exp = size_exp
        self.greatest_epoch = UINT64_MAX
        self.topics = []
        self.book_label, self.trades_label, self.snap_label = f"{name} book", f"{name} trade", f"{name} snap"

    # ---- book

    cdef Outcome c_take_book(self, const char* payload, Py_ssize_t size) except? NOTHING:
        cdef Cursor cursor
        cdef Outcome outcome, strongest = NOTHING
        cursor_open(&cursor, <PyObject*> self.book_label, payload, size)
        while next_book(&cursor, &scratch):
            outcome = take_update(self, &scratch)
            if outcome == GAP or outcome == UNKNOWN:
                return outcome
            strongest = max(strongest, outcome)
        return strongest

    cdef int c_load_snap(self, const char* payload, Py_ssize_t size, bint force) except -1:
        cdef Cursor cursor
        cdef int loaded = 0
        cursor_open(&cursor, <PyObject*> self.snap_label, payload, size)
        while next_snap(&cursor, &scratch):
            if judge(self, scratch.epoch) != APPLIED:
                continue
            if not force and scratch.epoch == self.book.epoch and scratch.last <= self.book.seq:
                continue
            self.book.c_load(scratch.epoch, scratch.last, scratch.ts_us, scratch.bids.values, scratch.bids.count,
                             scratch.asks.values, scratch.asks.count)
            loaded = 1
        return loaded

    cdef int c_agrees(self, const char* payload, Py_ssize_t size) except -1:
        cdef Cursor cursor
        cdef Book book = self.book
        cdef bint same = True
        cursor_open(&cursor, <PyObject*> self.snap_label, payload, size)
        while next_snap(&cursor, &scratch):
            if scratch.epoch != book.epoch or scratch.last > book.seq:
                return NOT_KEPT
            if not book.c_view(scratch.last, 0, 1, &kept_bids, &kept_asks):
                return NOT_KEPT
            same = same and equal(&scratch.bids, &kept_bids) and equal(&scratch.asks, &kept_asks)
        return AGREES if same else DIFFERS

    # ---- trades

    cdef Outcome c_take_trades(self, const char* payload, Py_ssize_t size) except? NOTHING:
        cdef Cursor cursor
        cdef Trade trade
        cdef uint64_t epoch = 0
        cdef Outcome outcome, strongest = NOTHING
        cursor_open(&cursor, <PyObject*> self.trades_label, payload, size)
        while next_trade(&cursor, &epoch, &trade):
            outcome = take_trade(self, epoch, &trade)
            if outcome == GAP or outcome == UNKNOWN:
                return outcome
            strongest = max(strongest, outcome)
        return strongest

    # ---- Python

    @property
    def price_exp(self):
        return self.scale.price_exp

    @property
    def size_exp(self):
        return self.scale.size_exp

    def take_book(self, bytes payload not None):
        """One payload of stream ``book``: one update or several.

        Raises PayloadError (the contract does not allow these bytes) or BookError (the book refuses the update). Values before
        the refused one stay applied, those after it are not read; the next update is then a GAP.
        """
        return self.c_take_book(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    def take_trades(self, bytes payload not None):
        """One payload of stream ``trade``. Raises PayloadError; trades before the refused one stay applied."""
        return self.c_take_trades(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))

    def load_snap(self, bytes payload not None, *, bint force=False):
        """Loads a ``snap`` payload if it is newer than the book: of a greater epoch, or further on in the same.

        ``force`` loads any whose epoch is not smaller than ``epoch``. Raises PayloadError, or BookError if it is no valid book; the
        book is then unchanged. Returns whether it was loaded; the book's log then begins at its number.
        """
        return self.c_load_snap(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), force) == 1

    def agrees(self, bytes snap not None):
        """Whether the book was equal to a ``snap`` payload at its number; None if the log does not keep that number. Raises PayloadError."""
        cdef int agreement = self.c_agrees(PyBytes_AS_STRING(snap), PyBytes_GET_SIZE(snap))
        return None if agreement == NOT_KEPT else agreement == AGREES

    def begin(self, uint64_t epoch):
        """Begins an epoch, greater than ``epoch``: book and trades are at 0 and nothing of a smaller one is left, values of which are
        dropped; those of a greater one are UNKNOWN. Raises ValueError for one that is not greater."""
        if epoch <= self.epoch:
            raise ValueError(f"{self.name}: epoch {epoch} does not follow epoch {self.epoch}")
        self.epoch = self.greatest_epoch = epoch
        self.awaited = 0
        self.last_trade.ticks = self.last_trade.lots = 0
        self.book.c_reset(epoch)
        self.trades.c_reset(epoch, 0)

    def reset_trades(self, uint64_t epoch, uint64_t seq):
        """Gives up trades up to ``seq`` of ``epoch``; the next one taken is ``seq + 1``."""
        self.trades.c_reset(epoch, seq)
        self.epoch = max(self.epoch, epoch)

    def __repr__(self):
        return f"<Instrument {self.name} epoch {self.epoch}: book {self.book.seq}, trades {self.trades.seq}>"


# ---- one value

cdef inline Outcome judge(Instrument instrument, uint64_t epoch) noexcept:
    """What becomes of values of an epoch: APPLIED, or NOTHING (a smaller one: it is fenced), or UNKNOWN."""
    if epoch == instrument.epoch:
        return APPLIED
    if epoch < instrument.epoch:
        instrument.fenced += 1
        return NOTHING
    if epoch > instrument.greatest_epoch:
        return UNKNOWN
    instrument.epoch = epoch
    return APPLIED


cdef inline bint equal(const Levels* one, const Levels* other) noexcept nogil:
    if one.count != other.count:
        return False
    return one.count == 0 or memcmp(one.values, other.values, 2 * one.count * sizeof(one.values[0])) == 0


cdef inline Outcome take_update(Instrument instrument, const BookUpdate* update) except? NOTHING:
    cdef Book book = instrument.book
    cdef Outcome outcome = judge(instrument, update.epoch)
    if outcome != APPLIED:
        return outcome
    if update.epoch != book.epoch:
        if update.first != 1:
            return GAP
        book.c_reset(update.epoch)
        outcome = NEW_EPOCH
    elif update.last <= book.seq:
        instrument.updates_dropped += 1
        return NOTHING
    elif update.first > book.seq + 1:
        return GAP
    # An update that overlaps what is applied already is applied: its sizes are absolute.
    book.c_apply(update.first, update.last, update.ts_us, update.bids.values, update.bids.count,
                 update.asks.values, update.asks.count)
    instrument.updates_applied += 1
    return outcome


cdef Outcome take_trade(Instrument instrument, uint64_t epoch, const Trade* trade) except? NOTHING:
    cdef TradeLog log = instrument.trades
    cdef Outcome outcome = judge(instrument, epoch)
    if outcome != APPLIED:
        return outcome
    if epoch != log.epoch:
        if trade.seq != 1:
            return GAP
        log.c_reset(epoch, 0)
        outcome = NEW_EPOCH
    elif trade.seq <= log.seq:
        instrument.trades_dropped += 1
        return NOTHING
    elif trade.seq != log.seq + 1:
        return GAP
    log.c_append(trade)
    instrument.trades_applied += 1
    if trade.size_lots:         # a ticker shows a size of 0 as none
        instrument.last_trade.ticks = trade.price_ticks
        instrument.last_trade.lots = trade.size_lots
    return outcome
