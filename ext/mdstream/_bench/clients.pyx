from libc.errno cimport EADDRNOTAVAIL, EAGAIN, EINTR, EMFILE, ENFILE
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memmove, strerror, strlen

from mdstream._bench.chance cimport chance_unit
from mdstream._bench.follow cimport FAULT_MALFORMED
from mdstream._bench.memory cimport grown
from mdstream._bench.message cimport big_endian
from mdstream._bench.orders cimport put_client_frame
from mdstream._bench.planned cimport (
    CONNECTING, GIVEN_UP, IDLE, OPEN, PLANNED, QUEUED, SECURING, UPGRADING, Client, Gateway, PlannedClients,
)
from mdstream._bench.sockets cimport (
    EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, SECOND, epoll_watch, event_mark, monotonic_ns, realtime_us,
    socket_close, socket_connect, socket_problem, socket_recv, socket_send,
)
from mdstream._bench.timers cimport Timer, timers_add, timers_take
from mdstream._bench.tls cimport (
    STEP_DONE, STEP_FAILED, STEP_WRITES, Step, tls_begin, tls_handshake, tls_problem, tls_recv, tls_send,
)
from mdstream._bench.tracked cimport is_ready, tracked_reset
from mdstream._core.base.buffer cimport Buffer, buffer_reserve
from mdstream._core.websocket.frame cimport OP_CLOSE, OP_CONTINUATION, OP_PING, OP_PONG

from mdstream.codes import FINAL_CLOSE_CODES

cdef enum:
    READ_SIZE = 262144
    MESSAGE_MAX = 67108864      # bytes; no message of the contract is nearly as long
    ANSWER_MAX = 65536          # bytes of an answer to the upgrade
    ATTEMPTS_MAX = 10           # failures, one after the other, after which a client is given up
    SLOW_ROOM = 16384           # receive buffer of a slow reader, which the server cannot see
    NO_CODE = 1006

cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t size, const void* words, size_t words_size)


cdef class Clients(PlannedClients):
    # ---- when

    cdef int c_plan(self, Client* client, int64_t at_ns) except -1 nogil:
        client.state = PLANNED
        client.generation += 1
        return timers_add(&self.timers, at_ns, <uint32_t>(client - self.clients), client.generation)

    cdef int c_timers(self) except -1 nogil:
        cdef Timer timer
        cdef Client* client
        while self.timers.count and self.timers.heap[0].at_ns <= self.now_ns:
            timer = timers_take(&self.timers)
            client = &self.clients[timer.client]
            if timer.generation != client.generation:
                continue
            if client.state == PLANNED:
                client.state = QUEUED
                self.queue[(self.queue_at + self.queued) % self.n_clients] = timer.client
                self.queued += 1
            elif client.leaving:
                self.leave(client)
            elif client.state == OPEN:
                self.toggle(client)
        return 0

    cdef int c_start_queued(self) except -1 nogil:
        cdef Client* client
        while self.queued and self.n_opening < self.in_flight and not self.failure[0]:
            client = &self.clients[self.queue[self.queue_at]]
            self.queue_at = (self.queue_at + 1) % <uint32_t>self.n_clients
            self.queued -= 1
            if client.state == QUEUED:
                self.connect(client)
        return 0

    cdef int leave(self, Client* client) except -1 nogil:
        """Leaves a draining gateway with a close frame, and goes to the next one."""
        self.c_send_close(client)
        self.c_hang_up(client, False)
        if not self.returns:
            return self.stay_away(client)
        client.gateway = <uint16_t>((client.gateway + 1) % self.n_gateways)
        return self.c_plan(client, self.now_ns)

    cdef int toggle(self, Client* client) except -1 nogil:
        """A slow reader starts or ends a pause."""
        cdef int64_t next_ns
        client.paused = not client.paused
        self.run_counts.paused += client.paused
        next_ns = (self.pauses if client.paused else self.reads)[client.tracked.group]
        self.watch(client, EPOLL_CTL_MOD)
        return timers_add(&self.timers, self.now_ns + next_ns, <uint32_t>(client - self.clients), client.generation)

    # ---- opening

    cdef int connect(self, Client* client) except -1 nogil:
        cdef Gateway* gateway = &self.gateways[client.gateway]
        cdef uint32_t place = <uint32_t>(client - self.clients) + self.source_offset
        cdef uint32_t source = 0x7F000001 + place // self.source_step if self.sources else 0
        cdef int room = SLOW_ROOM if self.pauses[client.tracked.group] else 0
        cdef int fd = socket_connect(gateway.ip, gateway.port, source, room)
        client.began_ns = self.now_ns
        if fd < 0:
            if -fd in (EMFILE, ENFILE, EADDRNOTAVAIL):
                return self.fail_for_good(client, strerror(-fd), b"it needs more open files (ulimit -n), or more source addresses")
            return self.fail(client, strerror(-fd), True)
        client.fd = fd
        client.state = CONNECTING
        self.n_opening += 1
        return self.watch(client, EPOLL_CTL_ADD)

    cdef int watch(self, Client* client, int how) except -1 nogil:
        cdef uint32_t events = EPOLLIN
        if client.state == CONNECTING or client.handshake_writes:
            events = EPOLLOUT
        elif client.paused:
            events = 0
        if client.unsent_size:
            events |= EPOLLOUT
        epoll_watch(self.epoll, how, client.fd, events, <uint32_t>(client - self.clients))
        return 0

    cdef int connected(self, Client* client) except -1 nogil:
        cdef int problem = socket_problem(client.fd)
        cdef Gateway* gateway = &self.gateways[client.gateway]
        if problem:
            return self.fail(client, strerror(problem), True)
        client.state = UPGRADING if self.tls == NULL else SECURING
        if self.tls == NULL:
            self.watch(client, EPOLL_CTL_MOD)
            return self.ask(client)
        client.tls = tls_begin(self.tls, client.fd, gateway.host)
        if client.tls == NULL:
            return self.fail_for_good(client, b"no memory for TLS", b"use fewer connections")
        return self.secure(client)

    cdef int secure(self, Client* client) except -1 nogil:
        """Goes on with the TLS handshake; when it is done, asks for the upgrade."""
        cdef Step step = tls_handshake(client.tls)
        if step == STEP_FAILED and not self.useful:
            return self.fail_for_good(client, tls_problem(client.tls), b"does it speak TLS, and has --ca what its certificate is signed with?")
        if step == STEP_FAILED:
            return self.fail(client, tls_problem(client.tls), True)
        client.handshake_writes = step == STEP_WRITES
        self.watch(client, EPOLL_CTL_MOD)
        if step != STEP_DONE:
            return 0
        client.state = UPGRADING
        return self.ask(client)

    cdef int ask(self, Client* client) except -1 nogil:
        """Sends the request for the upgrade."""
        cdef Buffer* out = &self.follower.out
        cdef const Buffer* request = &self.gateways[client.gateway].request
        cdef char* token = NULL if self.tokens == NULL else self.tokens[client - self.clients]
        cdef Py_ssize_t size = 0 if token == NULL else <Py_ssize_t>strlen(token)
        buffer_reserve(out, request.size + size + 2)
        memcpy(out.data, request.data, <size_t>request.size)
        if size:
            memcpy(out.data + request.size, token, <size_t>size)
        memcpy(out.data + request.size + size, b"\r\n", 2)
        out.size = request.size + size + 2
        return self.send_answers(client)

    cdef int fail(self, Client* client, const char* why, bint again) except -1 nogil:
        """This connection failed. If none has ever succeeded, gives up the whole test."""
        if not self.useful:
            return self.fail_for_good(client, why, b"is a gateway running there?")
        self.c_hang_up(client, False)
        return self.reconnect(client, again)

    cdef int fail_for_good(self, Client* client, const char* why, const char* advice) except -1 nogil:
        cdef Gateway* gateway = &self.gateways[client.gateway]
        cdef uint32_t ip = gateway.ip
        self.c_hang_up(client, False)
        if not self.failure[0]:
            snprintf(
                self.failure, sizeof(self.failure), b"gateway %u.%u.%u.%u:%d: %s; %s", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255,
                gateway.port, why, advice,
            )
        return self.give_up(client)

    cdef int reconnect(self, Client* client, bint again) except -1 nogil:
        """Reconnects to the next gateway, with full jitter as the contract asks; gives up after too many failures."""
        cdef double delay_s
        client.attempts += 1
        if not again or client.attempts > ATTEMPTS_MAX:
            return self.give_up(client)
        client.gateway = <uint16_t>((client.gateway + 1) % self.n_gateways)
        delay_s = chance_unit(&self.random) * min(20.0, 0.25 * (1 << client.attempts))
        return self.c_plan(client, self.now_ns + <int64_t>(delay_s * SECOND))

    cdef int stay_away(self, Client* client) except -1 nogil:
        """Its connection is closed, and it is not expected back."""
        client.state = IDLE
        self.n_wanted -= 1
        return 0

    cdef int give_up(self, Client* client) except -1 nogil:
        self.n_given_up += 1
        self.run_counts.failed += 1
        client.state = GIVEN_UP
        return 0

    cdef Py_ssize_t take_answer(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil:
        """Handles the answer to the upgrade; returns its size, or 0 if it is not complete or a refusal."""
        cdef const char* end = <const char*>memmem(answer, <size_t>size, b"\r\n\r\n", 4)
        cdef Py_ssize_t head
        if end == NULL:
            if size > ANSWER_MAX:
                self.fail(client, b"its answer to the upgrade has no end", False)
            return 0
        head = end + 4 - answer
        if size < 12 or memcmp(answer, b"HTTP/1.1 101", 12):
            self.upgrade_refused(client, answer, size)
            return 0
        if not self.contains(answer, head, self.accepted) or not self.contains(answer, head, self.subprotocol):
            self.fail(client, b"its upgrade leads to no stream of the contract (no Sec-WebSocket-Accept, or another subprotocol)", False)
            return 0
        client.state = OPEN
        self.useful = True
        self.n_open += 1
        return head

    cdef bint contains(self, const char* answer, Py_ssize_t size, const char* words) noexcept nogil:
        return memmem(answer, <size_t>size, words, strlen(words)) != NULL

    cdef int upgrade_refused(self, Client* client, const char* answer, Py_ssize_t size) except -1 nogil:
        """Another try may succeed after 429 (too many) and 503 (draining or full)."""
        cdef char[700] why
        cdef bint later = size >= 12 and (self.contains(answer + 9, 3, b"429") or self.contains(answer + 9, 3, b"503"))
        self.run_counts.refused += 1
        snprintf(why, sizeof(why), b"it refused the upgrade: %.*s", <int>min(size, <Py_ssize_t>600), answer)
        return self.fail(client, why, later)

    # ---- reading

    cdef int c_event(self, const epoll_event* event) except -1 nogil:
        cdef Client* client = &self.clients[event_mark(event)]
        if client.state == CONNECTING:
            return self.connected(client)
        if client.state == SECURING:
            return self.secure(client)
        if event.events & EPOLLOUT:
            self.send(client, NULL, 0)
        if client.fd >= 0 and event.events & (EPOLLIN | EPOLLERR | EPOLLHUP):
            while self.read(client) and client.fd >= 0:
                pass
        return 0

    cdef int read(self, Client* client) except -1 nogil:
        """Handles what has come; returns whether more may wait of which epoll does not tell, because it is in the buffers of TLS."""
        cdef Py_ssize_t size = client.left_size, used = 0
        cdef int64_t got
        self.input.size = 0
        buffer_reserve(&self.input, size + READ_SIZE)
        got = self.receive(client, self.input.data + size)
        if got == -EAGAIN or got == -EINTR:
            return 0
        if got == 0:
            return self.lost(client, NO_CODE, b"it hung up")
        if got < 0:
            return self.lost(client, NO_CODE, strerror(<int>-got))
        self.follower.now_us = realtime_us()
        self.traffic.reads += 1
        self.traffic.bytes += <uint64_t>got
        memcpy(self.input.data, client.left, <size_t>size)
        size += got
        if client.state == UPGRADING:
            used = self.take_answer(client, self.input.data, size)
        if client.state == OPEN:
            used += self.frames(client, <uint8_t*>self.input.data + used, size - used)
        if client.fd >= 0:
            self.send_answers(client)
        if client.fd >= 0:
            self.keep_left(client, self.input.data + used, size - used)
        return client.tls != NULL and got == READ_SIZE

    cdef int64_t receive(self, Client* client, char* to) noexcept nogil:
        return socket_recv(client.fd, to, READ_SIZE) if client.tls == NULL else tls_recv(client.tls, to, READ_SIZE)

    cdef int64_t put(self, Client* client, const void* data, Py_ssize_t size) noexcept nogil:
        return socket_send(client.fd, data, <size_t>size) if client.tls == NULL else tls_send(client.tls, data, <size_t>size)

    cdef int keep_left(self, Client* client, const char* data, Py_ssize_t size) except -1 nogil:
        if size > client.left_room:
            client.left = <char*>grown(client.left, size)
            client.left_room = <uint32_t>size
        elif size == 0 and client.left_room:
            free(client.left)
            client.left = NULL
            client.left_room = 0
        if size:
            memcpy(client.left, data, <size_t>size)
        client.left_size = <uint32_t>size
        return 0

    cdef Py_ssize_t frames(self, Client* client, const uint8_t* data, Py_ssize_t size) except -1 nogil:
        """Handles the complete frames; returns their bytes. The answers are in ``follower.out``."""
        cdef Py_ssize_t at = 0, head, length
        while size - at >= 2 and client.state == OPEN:
            head, length = 2, data[at + 1] & 0x7F
            if length >= 126:
                head = 4 if length == 126 else 10
                if size - at < head:
                    break
                length = <Py_ssize_t>min(big_endian(data + at + 2, <int>head - 2), <uint64_t>MESSAGE_MAX + 1)
            if data[at + 1] & 0x80 or data[at] & 0x70 or length > MESSAGE_MAX:
                self.follower.c_fault(FAULT_MALFORMED, &client.tracked, NULL, data[at], <uint64_t>length)
                self.lost(client, NO_CODE, b"it sent a frame that no server may send")
                break
            if size - at < head + length:
                break
            self.frame(client, data[at], data + at + head, length)
            at += head + length
        return at

    cdef int frame(self, Client* client, uint8_t first, const uint8_t* payload, Py_ssize_t size) except -1 nogil:
        cdef int opcode = first & 15
        self.traffic.frames += 1
        if opcode == OP_PING:
            self.traffic.pings += 1
            return put_client_frame(&self.follower.out, OP_PONG, <const char*>payload, size)
        if opcode == OP_PONG:
            return 0
        if opcode == OP_CLOSE:
            return self.lost(client, payload[0] << 8 | payload[1] if size >= 2 else 1005, b"it closed the connection")
        if opcode == OP_CONTINUATION or not first & 0x80:
            return self.fragment(client, first & 0x80 != 0, payload, size)
        if opcode != <int>self.follower.format:
            return self.follower.c_fault(FAULT_MALFORMED, &client.tracked, NULL, <uint64_t>size, <uint64_t>opcode)
        return self.message(client, payload, size)

    cdef int fragment(self, Client* client, bint last, const uint8_t* payload, Py_ssize_t size) except -1 nogil:
        cdef Py_ssize_t whole = client.fragments_size + size
        if whole > MESSAGE_MAX:
            return self.lost(client, NO_CODE, b"it sent a message without end")
        client.fragments = <char*>grown(client.fragments, max(whole, <Py_ssize_t>1))
        memcpy(client.fragments + client.fragments_size, payload, <size_t>size)
        client.fragments_size = <uint32_t>whole
        if last:
            self.message(client, <const uint8_t*>client.fragments, whole)
            free(client.fragments)
            client.fragments = NULL
            client.fragments_size = 0
        return 0

    cdef int message(self, Client* client, const uint8_t* payload, Py_ssize_t size) except -1 nogil:
        self.data_ns = self.now_ns
        self.follower.c_take(&client.tracked, payload, size)
        if not client.ready and is_ready(&client.tracked):
            self.became_ready(client)
        if self.follower.drain_ms >= 0:
            client.leaving = True
            client.generation += 1
            timers_add(&self.timers, self.now_ns + self.follower.drain_ms * 1000000, <uint32_t>(client - self.clients), client.generation)
            self.follower.drain_ms = -1
        if client.tracked.refused and not client.ready and client.fd >= 0:
            return self.refused(client)
        return 0

    cdef int refused(self, Client* client) except -1 nogil:
        cdef char[400] why
        if client.tracked.unavailable:
            self.c_hang_up(client, False)
            return self.reconnect(client, True)
        if self.run_counts.opened == 0:
            snprintf(why, sizeof(why), b"it refused to subscribe: %s", self.follower.first_error)
            return self.fail_for_good(client, why, b"are these instruments published, and this depth and interval served?")
        self.c_hang_up(client, False)
        return self.give_up(client)

    cdef int became_ready(self, Client* client) except -1 nogil:
        cdef int64_t now = monotonic_ns(), delay_ns
        client.ready = True
        client.attempts = 0
        self.n_ready += 1
        self.n_opening -= 1
        self.run_counts.opened += 1
        self.ready.c_record((now - client.began_ns) // 1000, 1)
        if client.cut_ns:
            self.recovery.c_record((now - client.cut_ns) // 1000, 1)
            client.cut_ns = 0
        if self.pauses[client.tracked.group]:           # slow readers pause at different times
            delay_ns = <int64_t>(chance_unit(&self.random) * <double>self.reads[client.tracked.group])
            timers_add(&self.timers, now + delay_ns, <uint32_t>(client - self.clients), client.generation)
        return 0

    # ---- writing

    cdef int send_answers(self, Client* client) except -1 nogil:
        cdef Buffer* out = &self.follower.out
        cdef Py_ssize_t size = out.size
        out.size = 0
        return self.send(client, out.data, size) if size else 0

    cdef int send(self, Client* client, const char* data, Py_ssize_t size) except -1 nogil:
        """Sends what waits, then ``data``; what the kernel does not take waits."""
        cdef int64_t sent = 0
        cdef Py_ssize_t whole = client.unsent_size + size
        if client.unsent_size:
            client.unsent = <char*>grown(client.unsent, whole)
            if size:
                memcpy(client.unsent + client.unsent_size, data, <size_t>size)
            data = client.unsent
        if whole:
            sent = self.put(client, data, whole)
        if sent < 0 and sent != -EAGAIN and sent != -EINTR:
            return self.lost(client, NO_CODE, strerror(<int>-sent))
        sent = max(sent, <int64_t>0)
        if sent < whole and not client.unsent_size:
            client.unsent = <char*>grown(NULL, whole - sent)
            memcpy(client.unsent, data + sent, <size_t>(whole - sent))
        elif sent and client.unsent_size:
            memmove(client.unsent, client.unsent + sent, <size_t>(whole - sent))
        if (whole - sent > 0) != (client.unsent_size > 0):
            client.unsent_size = <uint32_t>(whole - sent)
            self.watch(client, EPOLL_CTL_MOD)
        client.unsent_size = <uint32_t>(whole - sent)
        if not client.unsent_size:
            free(client.unsent)
            client.unsent = NULL
        return 0

    cdef void c_send_close(self, Client* client) noexcept nogil:
        cdef uint8_t[8] frame = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8]
        if client.state == OPEN and not client.unsent_size:
            self.put(client, frame, 8)

    # ---- closing

    cdef void c_hang_up(self, Client* client, bint reset) noexcept nogil:
        if client.fd < 0:
            return
        self.c_forget_tls(client)
        socket_close(client.fd, reset)
        client.fd = -1
        self.n_open -= client.state == OPEN
        self.n_ready -= client.ready
        self.n_opening -= not client.ready
        self.follower.out.size = 0
        self.c_forget_bytes(client)
        tracked_reset(&client.tracked, client.resumes)
        client.state = IDLE
        client.generation += 1
        client.ready = client.paused = client.leaving = client.handshake_writes = False

    cdef int lost(self, Client* client, int code, const char* why) except -1 nogil:
        """The connection is gone. After most codes the client may reconnect; before the upgrade it is a failure."""
        cdef bint final
        if client.state != OPEN:
            return self.fail(client, why, True)
        if client.ready or self.run_counts.opened:
            self.run_counts.closed += 1
            self.close_counts[code if 0 <= code < 5000 else 0] += 1
            self.c_hang_up(client, False)
            if not self.returns:
                return self.stay_away(client)
            with gil:
                final = code in FINAL_CLOSE_CODES
            return self.reconnect(client, not final)
        return self.fail_for_good(client, why, b"it accepted the first connection, and did not let it subscribe")
