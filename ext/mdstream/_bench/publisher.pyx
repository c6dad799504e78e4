from libc.errno cimport EAGAIN, EINTR
from libc.math cimport floor
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

import time

from cpython.exc cimport PyErr_CheckSignals
from mdstream._bench.books cimport MadeBook
from mdstream._bench.chance cimport chance_seed, chance_unit
from mdstream._bench.nats cimport nats_open
from mdstream._bench.sockets cimport SECOND, monotonic_ns, realtime_us, socket_close, socket_recv, socket_send
from mdstream._core.base.buffer cimport buffer_free, buffer_reserve

from mdstream._bench.books import Books  # no-cython-lint
from mdstream.errors import BenchError

cdef extern from *:
    """
    #include <poll.h>
    #include <sys/prctl.h>
    #include <time.h>

    /* Sleeps until the server's socket is ready, the wake descriptor can be read, or so many ns have passed. */
    static inline int mdb_sleep(struct pollfd *both, int64_t ns)
    {
        struct timespec left = {ns / 1000000000, ns % 1000000000};
        return ppoll(both, both[1].fd < 0 ? 1 : 2, &left, NULL);
    }
    /* By default the kernel may wake a thread up to 50 us late. */
    static inline void mdb_be_punctual(void) { prctl(PR_SET_TIMERSLACK, 1); }
    """
    struct pollfd:
        int fd
        short events
        short revents
    short POLLIN
    short POLLOUT
    int sleep_ns "mdb_sleep" (pollfd* both, int64_t ns) noexcept nogil
    void be_punctual "mdb_be_punctual" () noexcept nogil

cdef enum:
    SUBJECT_MAX = 400           # bytes, with the stream
    SNAP_UPDATES = 1000         # between two snaps at most, by the contract
    LOOK_EACH = 64              # bursts without a pause between two looks at the server

cdef int64_t SNAP_NS = <int64_t>5 * SECOND
cdef int64_t LOOK_NS = SECOND // 10
cdef int64_t VERY_LATE_US = 10000
cdef int64_t STUCK_NS = <int64_t>10 * SECOND


cdef class Publisher:
    """The feed of a load test: one plain TCP connection to nats-server that publishes changes of ``books`` on an open-loop schedule.

    Each update's ``ts`` is the time at which it was *due*. A publisher that falls behind tries to catch up with its schedule, so that
    its lateness shows in the latencies, as it would to a user (no coordinated omission). ``lateness`` counts how late updates were
    written to the socket, since the start.

    The constructor connects. BenchError if nothing listens there, it is not a nats-server, or it refuses the connection.
    """
    def __cinit__(self, MadeBooks books not None, str host, int port, *, user=None, password=None, token=None):
        self.fd = self.wake_fd = -1
        self.books = books
        self.lateness = Histogram()
        self.where = f"nats-server {host}:{port}"
        self.random = chance_seed(books.epoch)
        self._names = [subject.encode() for subject in books.subjects]
        self.names = <char**>calloc(max(len(self._names), 1), sizeof(char*))
        if self.names == NULL:
            raise MemoryError("no memory for the subjects")
        for i, name in enumerate(self._names):
            if not 0 < len(name) <= SUBJECT_MAX - 16 or b" " in name:
                raise ValueError(f"subject {books.subjects[i]!r} must have 1 to {SUBJECT_MAX - 16} bytes and no space")
            self.names[i] = <char*>name
        self.fd = nats_open(host, port, "mdstream bench publisher", user, password, token)

    def __dealloc__(self):
        if self.fd >= 0:
            socket_close(self.fd, False)
        free(self.names)
        free(self.weights)
        buffer_free(&self.out)
        buffer_free(&self.payload)

    def close(self):
        """May be called twice."""
        if self.fd >= 0:
            socket_close(self.fd, False)
            self.fd = -1

    # ---- the schedule

    def run(self, double seconds, *, double rate, int64_t burst=1, int64_t changes=10, int64_t per_message=1, double zipf=0.0, double trades=0.0, int wake_fd=-1):
        """Publishes ``rate`` updates a second until ``seconds`` have passed or ``wake_fd`` can be read, without the interpreter's lock.

        ``burst`` updates leave together (500 with rate 5,000: 500 each 100 ms); rate 0 publishes as fast as it can. Each update has
        ``changes`` level changes, and a NATS message has ``per_message`` updates of one symbol. The symbols take turns; with ``zipf``
        s > 0 they are drawn with weight 1/rank^s. ``trades`` is the share of the updates that are trades instead of changes of a book.

        Returns ``updates``, ``messages``, ``bytes`` (payload), ``snaps``, ``elapsed_s``, ``offered`` (updates that were due),
        ``late_max_us`` (when an update left minus when it was due), ``late`` (True if more than 1 % were over 10 ms late, or less
        than 99.5 % was sent), ``cpu_s``. BenchError if the server hangs up, sends ``-ERR`` or takes nothing for 10 s.
        """
        cdef Schedule* schedule = &self.schedule
        cdef double cpu = time.process_time()
        if self.fd < 0:
            raise BenchError("the publisher is closed")
        for name, number in (("burst", burst), ("changes", changes), ("per_message", per_message)):
            if number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1")
        if rate < 0 or zipf < 0 or seconds < 0 or not 0 <= trades <= 1 or self.books.count == 0:
            raise ValueError("rate, zipf and seconds must not be negative, trades must be 0 to 1, and there must be a symbol")
        self.set_weights(zipf)
        memset(&self.published, 0, sizeof(self.published))
        self.wake_fd = wake_fd
        schedule.burst, schedule.changes, schedule.per_message = burst, changes, per_message
        schedule.trades = trades
        schedule.step_ns = SECOND * burst / rate if rate else 0
        schedule.begin_ns, schedule.begin_us = monotonic_ns(), realtime_us()
        schedule.end_ns = schedule.begin_ns + <int64_t>(seconds * SECOND)
        schedule.total = <int64_t>(seconds * rate + 0.5) if rate else -1
        with nogil:
            be_punctual()
            self.loop()
        return self.report(rate, time.process_time() - cpu)

    cdef dict report(self, double rate, double cpu_s):
        cdef double elapsed = (monotonic_ns() - self.schedule.begin_ns) / <double>SECOND
        cdef Published* done = &self.published
        offered = min(self.schedule.total, <int64_t>floor(elapsed * rate)) if rate else done.updates
        late = done.very_late > 0.01 * done.updates or done.updates < 0.995 * offered - self.schedule.burst
        return {
            "updates": done.updates, "messages": done.messages, "bytes": done.bytes, "snaps": done.snaps, "elapsed_s": elapsed,
            "offered": max(offered, done.updates), "late_max_us": done.late_max_us, "late": late, "cpu_s": cpu_s,
        }

    cdef int set_weights(self, double zipf) except -1:
        cdef double sum = 0
        free(self.weights)
        self.weights = NULL
        if not zipf:
            return 0
        self.weights = <double*>malloc(self.books.count * sizeof(double))
        if self.weights == NULL:
            raise MemoryError("no memory for the weights of the symbols")
        for i in range(self.books.count):
            sum += (i + 1.0) ** -zipf
            self.weights[i] = sum
        return 0

    cdef int loop(self) except -1 nogil:
        cdef Schedule* schedule = &self.schedule
        cdef int64_t due = schedule.begin_ns, bursts = 0, now
        while schedule.total < 0 or <int64_t>self.published.updates < schedule.total:
            now = monotonic_ns()
            if schedule.step_ns:
                due = schedule.begin_ns + <int64_t>(<double>bursts * schedule.step_ns)
            else:
                due = now
                if now >= schedule.end_ns:
                    return 0
            while now < due:
                if self.wait(min(due, now + LOOK_NS), 0):
                    return 0
                now = monotonic_ns()
            if bursts % LOOK_EACH == 0 and self.wait(now, 0):
                return 0
            self.publish_burst(due, bursts * schedule.burst)
            bursts += 1
        return 0

    cdef int publish_burst(self, int64_t due_ns, int64_t already) except -1 nogil:
        cdef Schedule* schedule = &self.schedule
        cdef uint64_t ts_us = <uint64_t>(schedule.begin_us + (due_ns - schedule.begin_ns) // 1000)
        cdef int64_t left = schedule.burst, updates, late_us
        if schedule.total >= 0:
            left = min(left, schedule.total - already)
        updates = left
        while left > 0:
            self.publish_message(self.pick(), ts_us, min(left, schedule.per_message))
            left -= schedule.per_message
        self.send()
        late_us = (monotonic_ns() - due_ns) // 1000
        self.lateness.c_record(late_us, <uint64_t>updates)
        self.published.late_max_us = max(self.published.late_max_us, late_us)
        self.published.updates += <uint64_t>updates
        if late_us > VERY_LATE_US:
            self.published.very_late += <uint64_t>updates
        return 0

    cdef int publish_message(self, Py_ssize_t symbol, uint64_t ts_us, int64_t updates) except -1 nogil:
        cdef MadeBook* made = &self.books.made[symbol]
        cdef int64_t now
        self.payload.size = 0
        if self.schedule.trades and chance_unit(&self.random) < self.schedule.trades:
            return self.publish_trades(symbol, ts_us, updates)
        while updates > 0:
            self.books.c_update(made, self.schedule.changes, ts_us, &self.payload)
            updates -= 1
        self.published.messages += 1
        self.published.bytes += <uint64_t>self.payload.size
        self.append(symbol, b"book")
        now = monotonic_ns()
        if made.unsaved >= SNAP_UPDATES or now - made.snap_ns > SNAP_NS:
            self.payload.size = 0
            self.books.c_snap(made, ts_us, now, &self.payload)
            self.append(symbol, b"snap")
            self.published.snaps += 1
        return 0

    cdef int publish_trades(self, Py_ssize_t symbol, uint64_t ts_us, int64_t trades) except -1 nogil:
        while trades > 0:
            self.books.c_trade(&self.books.made[symbol], ts_us, &self.payload)
            trades -= 1
        self.published.messages += 1
        self.published.bytes += <uint64_t>self.payload.size
        return self.append(symbol, b"trade")

    cdef Py_ssize_t pick(self) noexcept nogil:
        cdef Py_ssize_t low = 0, high = self.books.count - 1, middle
        cdef double at
        if self.weights == NULL:
            self.turn = (self.turn + 1) % self.books.count
            return self.turn
        at = chance_unit(&self.random) * self.weights[high]
        while low < high:
            middle = (low + high) // 2
            if self.weights[middle] > at:
                high = middle
            else:
                low = middle + 1
        return low

    def finish(self, *, bint trades=False):
        """Publishes the last update of each symbol and a ``snap``, with ``trades`` also a last trade; returns when the server has confirmed (PING, PONG) that it read all.

        The last update changes the best bid and ask, so every view must reach its number.
        """
        cdef int64_t deadline, now
        cdef Py_ssize_t i
        if self.fd < 0:
            raise BenchError("the publisher is closed")
        self.wake_fd = -1
        self.confirmed = False
        for i in range(self.books.count):
            self.payload.size = 0
            self.books.c_touch(&self.books.made[i], <uint64_t>realtime_us(), &self.payload)
            self.append(i, b"book")
            self.payload.size = 0
            self.books.c_snap(&self.books.made[i], <uint64_t>realtime_us(), monotonic_ns(), &self.payload)
            self.append(i, b"snap")
            if trades:
                self.payload.size = 0
                self.books.c_trade(&self.books.made[i], <uint64_t>realtime_us(), &self.payload)
                self.append(i, b"trade")
        buffer_reserve(&self.out, 6)
        memcpy(self.out.data + self.out.size, b"PING\r\n", 6)
        self.out.size += 6
        now = monotonic_ns()
        deadline = now + STUCK_NS
        with nogil:
            self.send()
            while not self.confirmed and now < deadline:
                self.wait(min(deadline, now + LOOK_NS), 0)
                now = monotonic_ns()
        if not self.confirmed:
            raise BenchError(f"{self.where}: it has not confirmed within 10 s that it has read everything")

    # ---- the connection

    cdef int append(self, Py_ssize_t symbol, const char* stream) except -1 nogil:
        cdef Buffer* out = &self.out
        buffer_reserve(out, self.payload.size + SUBJECT_MAX + 64)
        out.size += snprintf(
            out.data + out.size, SUBJECT_MAX + 60, b"PUB %s.%s %zd\r\n", self.names[symbol], stream, self.payload.size
        )
        memcpy(out.data + out.size, self.payload.data, <size_t>self.payload.size)
        memcpy(out.data + out.size + self.payload.size, b"\r\n", 2)
        out.size += self.payload.size + 2
        return 0

    cdef int send(self) except -1 nogil:
        cdef Py_ssize_t at = 0
        cdef int64_t sent, stuck = monotonic_ns() + STUCK_NS, now
        while at < self.out.size:
            sent = socket_send(self.fd, self.out.data + at, <size_t>(self.out.size - at))
            if sent > 0:
                at += sent
            elif sent == -EAGAIN or sent == -EINTR:
                now = monotonic_ns()
                if now > stuck:
                    with gil:
                        raise BenchError(f"{self.where}: it has taken nothing for 10 s")
                self.wait(now + LOOK_NS, POLLOUT)
            else:
                self.fail()
        self.out.size = 0
        return 0

    cdef bint wait(self, int64_t until_ns, short events) except -1 nogil:
        """Waits until a time, or for ``events`` of the socket; returns whether ``wake_fd`` can be read."""
        cdef pollfd[2] both = [pollfd(self.fd, POLLIN | events, 0), pollfd(self.wake_fd, POLLIN, 0)]
        if sleep_ns(both, max(until_ns - monotonic_ns(), <int64_t>0)) < 0:
            with gil:
                PyErr_CheckSignals()
            return False
        if both[0].revents & ~POLLOUT:
            self.read_server()
        return both[1].revents != 0 and self.wake_fd >= 0

    cdef int read_server(self) except -1 nogil:
        cdef char[4096] data
        cdef int64_t got = socket_recv(self.fd, data, sizeof(data))
        cdef int64_t i
        if got == 0 or got < 0 and got != -EAGAIN and got != -EINTR:
            self.fail()
        for i in range(got):
            self.take_byte(data[i])
        return 0

    cdef int take_byte(self, char byte) except -1 nogil:
        if byte != c"\n":
            if self.line_size < <Py_ssize_t>sizeof(self.line) - 1:
                self.line[self.line_size] = byte
                self.line_size += 1
            return 0
        self.line[self.line_size] = 0
        self.line_size = 0
        if not memcmp(self.line, b"PING", 4):
            socket_send(self.fd, b"PONG\r\n", 6)
        elif not memcmp(self.line, b"PONG", 4):
            self.confirmed = True
        elif not memcmp(self.line, b"-ERR", 4):
            self.refused = True
            self.fail()
        return 0

    cdef int fail(self) except -1 nogil:
        with gil:
            why = f"it sent {self.line[:strlen(self.line)].decode(errors='replace').strip()}" if self.refused else "it hung up"
            self.close()
            raise BenchError(f"{self.where}: {why}")
