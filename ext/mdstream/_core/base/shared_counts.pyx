"""Counts of many keys that several processes keep together, in memory that all of them have mapped.

Each process has a column: it alone writes the counts there, and the count of a key is the sum of its row. So nothing needs a lock, and
of a process that died nothing is left once its column is cleared. Budgets are one number of a row, changed by compare-and-swap.

    row     word                  its key's upper 48 bits, and how many processes hold it (16 bits)
            full_at_ns[RATES]     when each budget is full again
            cells[columns]        counts of each process, and whether it holds the row

A row that nobody holds keeps its key and its budgets until another key takes it.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

cdef extern from *:
    """
    #define mds_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define mds_store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    static inline int mds_swap_u(uint64_t *p, uint64_t old, uint64_t new_) {
        return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline int mds_swap_i(int64_t *p, int64_t old, int64_t new_) {
        return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t load_word "mds_load"(uint64_t* place) noexcept
    int64_t load_time "mds_load"(int64_t* place) noexcept
    int32_t load_count "mds_load"(int32_t* place) noexcept
    void store_count "mds_store"(int32_t* place, int32_t value) noexcept
    void store_time "mds_store"(int64_t* place, int64_t value) noexcept
    bint swap_word "mds_swap_u"(uint64_t* place, uint64_t old, uint64_t new) noexcept
    bint swap_time "mds_swap_i"(int64_t* place, int64_t old, int64_t new) noexcept

cdef enum:
    KINDS = 3                   # counts of a cell
    RATES = 4                   # budgets of a row
    WINDOW = 64                 # rows in which a key may be
    HOLDERS = 0xFFFF            # the bits of a word that say how many hold the row
    AGAIN = -2                  # another process changed the word meanwhile

cdef struct Cell:
    int32_t counts[KINDS]
    int32_t held

cdef struct Row:
    uint64_t word
    int64_t full_at_ns[RATES]
    int64_t unused              # cells begin at a multiple of their size


cdef class SharedCounts:
    """One process's view of the table in ``memory``, which is zero at first; ``column`` is this process's own."""

    cdef unsigned char[::1] memory
    cdef Py_ssize_t stride
    cdef uint64_t rows
    cdef int columns, column

    def __init__(self, memory, int columns, int column) -> None:
        """``memory`` is writable and as large as ``size`` says. Raises ValueError where it is not, or there is no such column."""
        self.memory = memory
        self.columns, self.column = columns, column
        self.stride = sizeof(Row) + columns * sizeof(Cell)
        self.rows = self.memory.shape[0] // self.stride
        if not 0 <= column < columns or self.rows < WINDOW or self.rows & (self.rows - 1):
            raise ValueError("the memory must hold a power of two of rows, 64 at least, and a column of this process")

    @staticmethod
    def size(Py_ssize_t rows, int columns) -> int:
        """Bytes of a table."""
        return rows * (<Py_ssize_t>sizeof(Row) + columns * <Py_ssize_t>sizeof(Cell))

    def hold(self, uint64_t key) -> int:
        """The row of a key (a hash that nobody else can choose), which stays its row until ``release``; -1 where all that it could
        have are taken.

        Two processes that begin to hold a new key in the same instant may, very rarely, get a row each.
        """
        cdef int row
        while True:
            row = self.find_or_claim((key >> 16) or 1, key)
            if row != AGAIN:
                return row

    cdef int find_or_claim(self, uint64_t name, uint64_t key) noexcept:
        cdef uint64_t word, free_word = 0
        cdef int i
        cdef Py_ssize_t at, free = -1
        cdef int row
        for i in range(WINDOW):
            at = (key + i) & (self.rows - 1)
            word = load_word(&self.row_at(at).word)
            if word >> 16 == name:
                return self.enter(at, word, word + 1)
            if free < 0 and not word & HOLDERS:
                free, free_word = at, word
            if not word:
                break
        if free < 0:
            return -1
        row = self.enter(free, free_word, name << 16 | 1)
        if row >= 0:
            for i in range(RATES):
                store_time(&self.row_at(free).full_at_ns[i], 0)
        return row

    cdef int enter(self, Py_ssize_t at, uint64_t old, uint64_t new) noexcept:
        if not swap_word(&self.row_at(at).word, old, new):
            return AGAIN
        store_count(&self.cell_at(at, self.column).held, 1)
        return <int>at

    def release(self, int row) -> None:
        """This process has nothing of the row any more."""
        self.leave(self.checked(row), self.column)

    cdef void leave(self, Py_ssize_t row, int column) noexcept:
        cdef uint64_t word
        memset(self.cell_at(row, column), 0, sizeof(Cell))
        word = load_word(&self.row_at(row).word)
        while word & HOLDERS and not swap_word(&self.row_at(row).word, word, word - 1):
            word = load_word(&self.row_at(row).word)

    def put(self, int row, int kind, int count) -> None:
        """This process's own count."""
        store_count(&self.cell_at(self.checked(row), self.column).counts[kind % KINDS], count)

    def elsewhere(self, int row, int kind) -> int:
        """The sum of the other processes' counts."""
        cdef int column, total = 0
        cdef Py_ssize_t at = self.checked(row)
        for column in range(self.columns):
            if column != self.column:
                total += load_count(&self.cell_at(at, column).counts[kind % KINDS])
        return total

    def take(self, int row, int rate, double amount, double most, double per_second, double now_s) -> bool:
        """Takes from a budget of the row as ``Budget.take`` does; ``now_s`` is of the monotonic clock of the machine."""
        cdef int64_t* place = &self.row_at(self.checked(row)).full_at_ns[rate % RATES]
        cdef int64_t full_at, then
        cdef double left
        while True:
            full_at = load_time(place)
            left = most - max(full_at / 1e9 - now_s, 0.0) * per_second
            if left < min(amount, most):
                return False
            left = max(left - amount, -most)
            then = <int64_t>((now_s + (most - left) / per_second) * 1e9)
            if swap_time(place, full_at, then):
                return True

    def fill(self, int row) -> None:
        """Every budget of the row is full again."""
        cdef int rate
        for rate in range(RATES):
            store_time(&self.row_at(self.checked(row)).full_at_ns[rate], 0)

    def clear(self, int column) -> None:
        """Another process has died: what it counted is no more, and its column is free."""
        cdef Py_ssize_t row
        if not 0 <= column < self.columns:
            raise ValueError("there is no such column")
        for row in range(<Py_ssize_t>self.rows):
            if load_word(&self.row_at(row).word) and load_count(&self.cell_at(row, column).held):
                self.leave(row, column)

    cdef Py_ssize_t checked(self, int row) except -1:
        if not 0 <= row < <Py_ssize_t>self.rows:
            raise ValueError("there is no such row")
        return row

    cdef inline Row* row_at(self, Py_ssize_t at) noexcept:
        return <Row*>(&self.memory[0] + at * self.stride)

    cdef inline Cell* cell_at(self, Py_ssize_t at, int column) noexcept:
        return <Cell*>(&self.memory[0] + at * self.stride + sizeof(Row) + column * sizeof(Cell))
