from libc.stdlib cimport calloc, free
from libc.string cimport memmove

import msgpack

from mdstream._bench.chance cimport chance_below, chance_next, chance_seed
from mdstream._bench.sockets cimport monotonic_ns
from mdstream._core.base.buffer cimport buffer_reserve
from mdstream._core.orderbook.checksum cimport levels_crc
from mdstream._core.base.digits cimport INT_MAX_MSGPACK, SLACK, pack_array, pack_int, pack_levels, pack_uint
from mdstream._core.orderbook.levels cimport levels_append, levels_free, levels_reserve, levels_to_list
from mdstream._core.codec.feed_encoder import pack_book, pack_snap

cdef enum:
    HEAD_MAX = 64               # bytes of a payload before its levels
    TRIES = 16                  # to find a level that the update has not changed yet
    SNAP_EVERY_S = 5

_REF = {"price_exp": -2, "size_exp": -8, "tick": 1, "lot": 1, "name": "load test"}


cdef class Books:
    """The books of all symbols of a load test. They have 20 to ``levels`` levels a side and never cross; the same seed gives the same updates.

    ``subjects`` has the beginning of each symbol's NATS subjects, ``md.<venue>.<symbol>``. ``epoch`` is in µs since the Unix epoch,
    and greater than that of every earlier writer. ``levels`` is 20 to 1,000.
    """
    def __cinit__(self, subjects, *, uint64_t epoch, Py_ssize_t levels=40, int64_t seed=1):
        cdef int64_t now = monotonic_ns()
        if not 20 <= levels <= 1000:
            raise ValueError(f"levels is {levels}; it must be 20 to 1,000")
        self.subjects = list(subjects)
        self.epoch = epoch
        self.fewest, self.most = max(levels // 2, 20), max(levels, 25)
        self.random = chance_seed(<uint64_t>seed)
        self.made = <MadeBook*>calloc(max(len(self.subjects), 1), sizeof(MadeBook))
        if self.made == NULL:
            raise MemoryError(f"no memory for {len(self.subjects)} books")
        self.count = len(self.subjects)
        for symbol in range(self.count):
            self.build(&self.made[symbol], levels, 6000000 + 1000 * symbol)
            # Their snaps are due at different times.
            self.made[symbol].snap_ns = now - <int64_t>chance_below(&self.random, SNAP_EVERY_S * 1000) * 1000000

    def __dealloc__(self):
        for i in range(self.count):
            levels_free(&self.made[i].bids)
            levels_free(&self.made[i].asks)
        free(self.made)
        levels_free(&self.bids)
        levels_free(&self.asks)

    cdef int build(self, MadeBook* made, Py_ssize_t levels, int64_t middle) except -1:
        cdef int64_t bid = middle, ask = middle
        cdef Py_ssize_t _i
        levels_reserve(&made.bids, self.most)
        levels_reserve(&made.asks, self.most)
        for _i in range(levels):
            bid -= 1 + <int64_t>chance_below(&self.random, 3)
            ask += 1 + <int64_t>chance_below(&self.random, 3)
            levels_append(&made.bids, bid, self.lots())
            levels_append(&made.asks, ask, self.lots())
        made.seq = 1
        return 0

    cdef int64_t lots(self) noexcept nogil:
        return 100000 + <int64_t>chance_below(&self.random, 200000000)

    # ---- updates

    cdef int c_update(self, MadeBook* made, Py_ssize_t changes, uint64_t ts_us, Buffer* out) except -1 nogil:
        cdef Py_ssize_t _i
        self.bids.count = self.asks.count = 0
        for _i in range(changes):
            self.change(made)
        return self.put_update(made, ts_us, out)

    cdef int c_touch(self, MadeBook* made, uint64_t ts_us, Buffer* out) except -1 nogil:
        self.bids.count = self.asks.count = 0
        made.bids.values[1], made.asks.values[1] = self.lots(), self.lots()
        levels_append(&self.bids, made.bids.values[0], made.bids.values[1])
        levels_append(&self.asks, made.asks.values[0], made.asks.values[1])
        return self.put_update(made, ts_us, out)

    cdef int change(self, MadeBook* made) except -1 nogil:
        """Changes a level of one side, most often one near the best, that this update has not changed yet."""
        cdef bint is_bid = chance_next(&self.random) >> 63
        cdef Levels* side = &made.bids if is_bid else &made.asks
        cdef Levels* changes = &self.bids if is_bid else &self.asks
        cdef int64_t bound = (&made.asks if is_bid else &made.bids).values[0]
        cdef Py_ssize_t place, _i
        for _i in range(TRIES):
            place = <Py_ssize_t>(chance_below(&self.random, <uint64_t>side.count) * chance_below(&self.random, <uint64_t>side.count)
                                 // <uint64_t>side.count)
            if not has_level(changes, side.values[2 * place]):
                return self.change_level(side, changes, place, -1 if is_bid else 1, bound)
        return 0

    cdef int change_level(self, Levels* side, Levels* changes, Py_ssize_t place, int64_t away, int64_t bound) except -1 nogil:
        """Resizes or deletes a level, or adds one before it. ``away`` is the direction of worse prices, ``bound`` the other side's best price."""
        cdef uint64_t kind = chance_below(&self.random, 100)
        cdef int64_t lots = self.lots()
        cdef int64_t* level = side.values + 2 * place
        cdef int64_t before = level[0] - away
        cdef bint free_before = before != bound if place == 0 else before != (level - 2)[0]
        if kind < 15 and side.count > self.fewest:
            levels_append(changes, level[0], 0)
            side.count -= 1
            memmove(level, level + 2, <size_t>(side.count - place) * 2 * sizeof(int64_t))
            return 0
        if kind >= 85 and side.count < self.most and free_before and not has_level(changes, before):
            memmove(level + 2, level, <size_t>(side.count - place) * 2 * sizeof(int64_t))
            side.count += 1
            level[0] = before
        level[1] = lots
        return levels_append(changes, level[0], lots)

    cdef int put_update(self, MadeBook* made, uint64_t ts_us, Buffer* out) except -1 nogil:
        cdef char* at
        made.seq += 1
        made.unsaved += 1
        buffer_reserve(out, HEAD_MAX + SLACK + 2 * INT_MAX_MSGPACK * (self.bids.count + self.asks.count))
        at = pack_uint(pack_array(out.data + out.size, 7), 1)
        at = pack_uint(pack_uint(at, self.epoch), made.seq)
        at = pack_uint(pack_uint(at, made.seq), ts_us)
        at = pack_levels(at, self.bids.values, self.bids.count)
        at = pack_levels(at, self.asks.values, self.asks.count)
        out.size = at - out.data
        return 0

    cdef int c_trade(self, MadeBook* made, uint64_t ts_us, Buffer* out) except -1 nogil:
        cdef bint bought = chance_next(&self.random) >> 63
        cdef char* at
        made.trade_seq += 1
        buffer_reserve(out, HEAD_MAX + SLACK)
        at = pack_uint(pack_array(out.data + out.size, 8), 3)
        at = pack_uint(pack_uint(pack_uint(at, self.epoch), made.trade_seq), ts_us)
        at = pack_int(pack_int(at, (&made.asks if bought else &made.bids).values[0]), self.lots())
        at = pack_uint(pack_uint(at, 1 if bought else 2), made.trade_seq)
        out.size = at - out.data
        return 0

    cdef int c_snap(self, MadeBook* made, uint64_t ts_us, int64_t now_ns, Buffer* out) except -1 nogil:
        cdef char* at
        buffer_reserve(out, HEAD_MAX + SLACK + 2 * INT_MAX_MSGPACK * (made.bids.count + made.asks.count))
        at = pack_uint(pack_array(out.data + out.size, 6), 2)
        at = pack_uint(pack_uint(pack_uint(at, self.epoch), made.seq), ts_us)
        at = pack_levels(at, made.bids.values, made.bids.count)
        at = pack_levels(at, made.asks.values, made.asks.count)
        out.size = at - out.data
        made.unsaved = 0
        made.snap_ns = now_ns
        return 0

    # ---- for Python

    cdef MadeBook* at(self, Py_ssize_t symbol) except NULL:
        if not 0 <= symbol < self.count:
            raise IndexError(f"there is no symbol {symbol}; there are {self.count}")
        return &self.made[symbol]

    def announcements(self, uint64_t ts_us):
        """The messages that must be stored (with JetStream's ack, in this order) before a gateway asks for the symbols.

        For each symbol: ``ref`` (price_exp -2, size_exp -8), the ``book`` update that builds the book if it is new, and ``snap``.
        """
        cdef MadeBook* made
        announced = []
        for symbol, subject in enumerate(self.subjects):
            made = self.at(symbol)
            bids, asks = self.view(symbol)
            announced.append((f"{subject}.ref", msgpack.packb({"epoch": self.epoch, **_REF, "name": subject})))
            if made.seq == 1:
                announced.append((f"{subject}.book", pack_book(self.epoch, 1, 1, ts_us, bids, asks)))
            announced.append((f"{subject}.snap", pack_snap(self.epoch, made.seq, ts_us, bids, asks)))
        return announced

    def seq(self, Py_ssize_t symbol):
        """The number of a symbol's last update; ``symbol`` is an index in ``subjects``."""
        return self.at(symbol).seq

    def seqs(self):
        return [self.made[i].seq for i in range(self.count)]

    def trade_seqs(self):
        return [self.made[i].trade_seq for i in range(self.count)]

    def view(self, Py_ssize_t symbol, Py_ssize_t depth=0):
        """Bids and asks, flat and best first; ``depth`` 0 is the full book."""
        cdef MadeBook* made = self.at(symbol)
        sides = levels_to_list(&made.bids), levels_to_list(&made.asks)
        return (sides[0][:2 * depth], sides[1][:2 * depth]) if depth else sides

    def crc(self, Py_ssize_t symbol):
        """The contract's checksum of the book."""
        cdef MadeBook* made = self.at(symbol)
        return levels_crc(&made.bids, &made.asks)


cdef inline bint has_level(const Levels* levels, int64_t ticks) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(levels.count):
        if levels.values[2 * i] == ticks:
            return True
    return False
