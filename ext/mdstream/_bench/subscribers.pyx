from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

import os
import resource

from mdstream._bench.chance cimport chance_unit
from mdstream._bench.clients cimport Clients
from mdstream._bench.follow cimport FAULTS, Counts
from mdstream._bench.follow import FAULT_NAMES as _FAULT_NAMES
from mdstream._bench.ladder cimport Ladder
from mdstream._bench.orders cimport Topic
from mdstream._bench.planned cimport GIVEN_UP, IDLE, OPEN, Client
from mdstream._bench.sockets cimport EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, SECOND, epoll_until, epoll_watch, event_mark, monotonic_ns, problem_text
from mdstream._bench.tracked cimport SUB_LIVE, Sub
from mdstream._core.orderbook.levels cimport levels_to_list

from mdstream.errors import BenchError

cdef enum Until:
    UNTIL_TIME = 0
    UNTIL_READY
    UNTIL_EXPECTED
    UNTIL_QUIET

cdef enum Outcome:
    GOING_ON = 0
    REACHED
    TIME_OVER
    WOKEN
    IMPOSSIBLE                      # the condition can no longer be met

cdef enum:
    WAKE_MARK = 0xFFFFFFFF
    FILES_SPARE = 64                # open files of the process apart from its connections

cdef int64_t LOOK_NS = 20000000     # how often the loop checks its condition
cdef int64_t QUIET_NS = SECOND // 2
_UNTIL = {"time": UNTIL_TIME, "ready": UNTIL_READY, "expected": UNTIL_EXPECTED, "quiet": UNTIL_QUIET}


def _allow_files(wanted):
    """Raises the limit of open files to ``wanted``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BenchError(
            f"{wanted - FILES_SPARE} connections need {wanted} open files, and this process may have {hard}: "
            f"raise the limit (ulimit -n {wanted}), or spread the connections over more processes"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


cdef class Subscribers(Clients):
    """The WebSocket clients of one process, in one thread; each checks what it receives. ``mdstream._bench.plan`` tells what they do.

    Nothing opens before ``open``, and nothing happens outside ``run``. A client is *ready* when each of its subscriptions has its
    snapshot (a trades subscription: its ``subscribed``). BenchError tells what failed, where, and what to do: too few file
    descriptors (``ulimit -n``), no gateway, an upgrade refused (status and body), a server that does not speak the contract.
    Later faults are counted, not raised.

    ``ready`` has the time from ``connect`` to ready of each connection, ``recovery`` the time from ``cut`` to ready again, with
    the random delay.
    """
    cdef int64_t mark_ns
    cdef list names
    cdef dict places

    def __init__(self, plan):
        _allow_files(self.n_clients + FILES_SPARE)
        self.names = list(plan.instruments)
        self.places = {name: place for place, name in enumerate(self.names)}
        self.mark_ns = monotonic_ns()

    def open(self, double per_second=0.0):
        """Plans to open all clients, also those that were closed: so many each second, or (0) all at once, ``plan.in_flight`` at a time."""
        cdef int64_t now = monotonic_ns()
        cdef int64_t step = <int64_t>(SECOND / per_second) if per_second > 0 else 0
        cdef int64_t planned = 0
        cdef Py_ssize_t i
        if per_second < 0:
            raise ValueError(f"per_second is {per_second}; it must not be negative")
        for i in range(self.n_clients):
            if self.clients[i].state == GIVEN_UP:
                self.n_given_up -= 1
            elif self.clients[i].state != IDLE:
                continue
            else:
                self.n_wanted += 1
            self.clients[i].attempts = 0
            self.c_plan(&self.clients[i], now + planned * step)
            planned += 1

    # ---- the loop

    def run(self, double seconds, *, until="time", int wake_fd=-1):
        """Runs the clients for at most ``seconds``, without the interpreter's lock; returns whether the condition was met.

        ``until`` is the condition. ``time``: always True. ``ready``: each client that should be open has become ready; False as soon
        as one of them is given up. ``expected``: every book and trades subscription of an open client has the number from
        ``expect``. ``quiet``: no data message for 0.5 s. If ``wake_fd`` can be read, returns False at once, so that another process
        can stop it. Raises BenchError if the first connections fail and none was ever ready, and KeyboardInterrupt.
        """
        cdef int what, outcome = GOING_ON
        cdef int64_t deadline
        if until not in _UNTIL:
            raise ValueError(f"until is {until!r}; it must be one of {', '.join(_UNTIL)}")
        what = _UNTIL[until]
        self.now_ns = self.data_ns = monotonic_ns()
        deadline = self.now_ns + <int64_t>(seconds * SECOND)
        if wake_fd >= 0 and epoll_watch(self.epoll, EPOLL_CTL_ADD, wake_fd, EPOLLIN, WAKE_MARK) < 0:
            raise ValueError(f"wake_fd {wake_fd} is not a descriptor that epoll can watch")
        try:
            with nogil:
                outcome = self.loop(what, deadline)
        finally:
            if wake_fd >= 0:
                epoll_watch(self.epoll, EPOLL_CTL_DEL, wake_fd, 0, 0)
        if self.failure[0]:
            raise BenchError(self.failure.decode("utf-8", "replace"))
        return outcome == REACHED or outcome == TIME_OVER and what == UNTIL_TIME

    cdef int loop(self, int what, int64_t deadline) except -1 nogil:
        cdef int64_t look = 0
        cdef int outcome
        while not self.failure[0]:
            self.c_timers()
            self.c_start_queued()
            if self.now_ns >= look:
                look = self.now_ns + LOOK_NS
                outcome = self.judge(what)
                if outcome != GOING_ON:
                    return outcome
                with gil:
                    PyErr_CheckSignals()
            if self.now_ns >= deadline:
                return TIME_OVER
            if self.turn(min(look, deadline)):
                return WOKEN
        return IMPOSSIBLE

    cdef bint turn(self, int64_t until_ns) except -1 nogil:
        """Waits, and handles the events; returns whether ``wake_fd`` can be read."""
        cdef int i, count
        cdef bint woken = False
        if self.timers.count:
            until_ns = min(until_ns, self.timers.heap[0].at_ns)
        count = epoll_until(self.epoll, self.events, 512, until_ns - self.now_ns)
        if count < 0 and count != -EINTR:
            with gil:
                raise BenchError(f"epoll: {problem_text(-count)}")
        self.now_ns = monotonic_ns()
        for i in range(count):
            if event_mark(&self.events[i]) == WAKE_MARK:
                woken = True
            else:
                self.c_event(&self.events[i])
        return woken

    cdef int judge(self, int what) noexcept nogil:
        if what == UNTIL_READY:
            if self.n_ready >= self.n_wanted:
                return REACHED
            return IMPOSSIBLE if self.n_ready + self.n_given_up >= self.n_wanted else GOING_ON
        if what == UNTIL_EXPECTED:
            return REACHED if self.count_behind() == 0 else GOING_ON
        if what == UNTIL_QUIET:
            return REACHED if self.now_ns - self.data_ns >= QUIET_NS else GOING_ON
        return GOING_ON

    cdef int64_t count_behind(self) noexcept nogil:
        cdef int64_t behind = 0
        cdef uint64_t expected
        cdef Client* client
        cdef Sub* sub
        cdef Py_ssize_t i
        cdef uint32_t k
        for i in range(self.n_clients):
            client = &self.clients[i]
            if client.state == IDLE or client.state == GIVEN_UP:
                continue
            for k in range(client.tracked.count):
                sub = &client.tracked.subs[k]
                expected = self.follower.c_expected(&client.tracked, sub)
                if expected and (sub.seq < expected or sub.state != SUB_LIVE):
                    behind += 1
        return behind

    def expect(self, seqs, channel="book"):
        """Sets the last number of instruments, by name, for ``run(until="expected")`` and ``behind``; others are not checked."""
        if channel not in ("book", "trades"):
            raise ValueError(f"channel is {channel!r}; it must be book or trades")
        for name, seq in seqs.items():
            if name not in self.places:
                raise ValueError(f"instrument {name!r} is not in the plan")
            if channel == "book":
                self.follower.instruments[self.places[name]].expected = seq
            else:
                self.follower.instruments[self.places[name]].expected_trade = seq

    def behind(self):
        """The subscriptions of open clients that have not reached their expected number. A number beyond it is a fault."""
        return self.count_behind()

    def cut(self, double window_s, double share=1.0):
        """Breaks the connections of this share of the open clients (RST, no close frame); returns how many.

        Each reconnects to the next gateway of the plan after a random delay within ``window_s`` (full jitter), with ``resume`` if its
        group uses it.
        """
        cdef int64_t now = monotonic_ns()
        cdef int64_t cut = 0
        cdef Client* client
        cdef Py_ssize_t i
        if window_s < 0 or not 0 <= share <= 1:
            raise ValueError(f"window_s is {window_s} and share is {share}; window_s must not be negative, and share must be 0 to 1")
        for i in range(self.n_clients):
            client = &self.clients[i]
            if client.state != OPEN or chance_unit(&self.random) >= share:
                continue
            self.c_hang_up(client, True)
            client.cut_ns = now
            client.gateway = <int>((client.gateway + 1) % self.n_gateways)
            self.c_plan(client, now + <int64_t>(chance_unit(&self.random) * window_s * SECOND))
            cut += 1
        self.run_counts.cut += cut
        return cut

    def close(self):
        """Closes all clients, with a close frame (1000) if it can be sent at once. May be called twice."""
        cdef Py_ssize_t i
        for i in range(self.n_clients):
            self.c_send_close(&self.clients[i])
            self.c_hang_up(&self.clients[i], False)
            self.clients[i].generation += 1
            self.clients[i].state = IDLE
            self.clients[i].attempts = 0
        self.queued = 0
        self.n_wanted = self.n_given_up = 0

    # ---- results

    def mark(self):
        """Starts a window: sets ``latency`` and ``counters()`` to zero. Faults and positions stay."""
        memset(&self.follower.counts, 0, sizeof(Counts))
        memset(&self.traffic, 0, sizeof(self.traffic))
        self.follower.latency.c_reset()
        for histogram in self.follower.group_latency:
            histogram.reset()
        self.mark_ns = monotonic_ns()

    @property
    def cpu_s(self):
        """CPU seconds of this process since its start, user and system: the cost of the load itself."""
        spent = os.times()
        return spent.user + spent.system

    @property
    def open_clients(self):
        return self.n_open

    @property
    def ready_clients(self):
        return self.n_ready

    @property
    def latency(self):
        """From the ``ts`` of a delta or trade, its *due* time at the publisher, to its ``recv``; since ``mark``."""
        return self.follower.latency

    def latency_of(self, group):
        """The latency of one group of the plan, by its index."""
        return self.follower.group_latency[group]

    def counters(self):
        """Sums over all clients since ``mark`` (or the start).

        ``messages`` (protocol messages), ``frames``, ``bytes`` (from the socket), ``reads`` (recv calls), ``deltas``, ``updates``
        (their numbers, ``last - first + 1``), ``trades``, ``tickers``, ``snapshots``, ``skipped`` (numbers that later snapshots
        skipped), ``heartbeats``, ``pings``, ``states``, ``lost`` (trades), ``recovers`` (sent), ``checked`` (books compared by crc),
        ``window_us`` (since ``mark``).
        """
        cdef dict counts = self.follower.counts
        return counts | self.traffic | {"window_us": (monotonic_ns() - self.mark_ns) // 1000}

    def totals(self):
        """Sums over the whole run.

        ``opened`` (connections that became ready), ``failed`` (that never did), ``refused`` (HTTP status other than 101), ``closed``
        (by the server), ``cut``, ``subscribed``, ``resumed``, ``not_resumed`` (asked to resume, got a snapshot), ``errors`` (the
        gateway's ``error``), ``drains``, ``paused`` (pauses of slow readers), and each kind of fault that happened, as
        ``fault_<kind>``.
        """
        cdef dict totals = self.run_counts
        cdef int kind
        faults = {}
        for kind in range(<int>FAULTS):
            if self.follower.faults[kind]:
                faults[f"fault_{_FAULT_NAMES[kind]}"] = self.follower.faults[kind]
        return totals | self.follower.totals | faults

    @property
    def faults(self):
        """The number of faults of all kinds: violations of the contract. 0 means *exact*."""
        cdef int kind
        cdef uint64_t found = 0
        for kind in range(<int>FAULTS):
            found += self.follower.faults[kind]
        return found

    @property
    def first_fault(self):
        """The first fault in words: kind, client, instrument, numbers; empty if there is none."""
        return self.follower.first_fault.decode("utf-8", "replace")

    @property
    def close_codes(self):
        """How often the server closed with each code; 1006: without a close frame."""
        return {code: self.close_counts[code] for code in range(5000) if self.close_counts[code]}

    def positions(self, channel="book"):
        """By instrument: the smallest and the greatest number of the open clients, and the number of subscriptions."""
        found = {}
        for i in range(self.n_clients):
            if self.clients[i].state == OPEN:
                self.add_positions(&self.clients[i], channel, found)
        return found

    cdef int add_positions(self, Client* client, str channel, dict found) except -1:
        cdef Sub* sub
        cdef uint32_t i
        if self.follower.groups[client.tracked.group].topic.channel.text[:4] != channel[:4].encode():
            return 0
        for i in range(client.tracked.count):
            sub = &client.tracked.subs[i]
            if sub.state == SUB_LIVE:
                low, high, count = found.get(self.names[sub.instrument], (sub.seq, sub.seq, 0))
                found[self.names[sub.instrument]] = (min(low, sub.seq), max(high, sub.seq), count + 1)
        return 0

    def books(self):
        """The books of verified clients: (instrument, depth, group, epoch, seq, bids, asks), flat and best first."""
        cdef Client* client
        cdef Ladder* book
        cdef Sub* sub
        cdef Topic* topic
        cdef Py_ssize_t i
        cdef uint32_t k
        found = []
        for i in range(self.n_clients):
            client = &self.clients[i]
            for k in range(client.tracked.count if client.state == OPEN else 0):
                sub = &client.tracked.subs[k]
                book = sub.book
                if book != NULL:
                    topic = &self.follower.groups[client.tracked.group].topic
                    sides = levels_to_list(&book.bids), levels_to_list(&book.asks)
                    found.append((self.names[sub.instrument], topic.depth, topic.group, sub.epoch, sub.seq, *sides))
        return found
