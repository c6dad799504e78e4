from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import base64

from mdstream._bench.chance cimport chance_seed
from mdstream._bench.sockets cimport SECOND, epoll_make, problem_text, resolve, socket_close
from mdstream._bench.timers cimport timers_free
from mdstream._bench.tls cimport tls_context, tls_context_free, tls_free
from mdstream._bench.tracked cimport tracked_free, tracked_make
from mdstream._core.base.buffer cimport buffer_free, buffer_reserve

from mdstream._bench.frames import accept_key
from mdstream.errors import BenchError

cdef enum:
    PORTS = 25000               # usable ports of one source address

KEY = base64.b64encode(b"mdstream-bench--")


cdef class PlannedClients:
    def __cinit__(self, plan):
        self.follower = Follower(plan)
        self.ready = Histogram()
        self.recovery = Histogram()
        self.epoll = -1
        self.in_flight = plan.in_flight
        self.returns = plan.returns
        self.keeps = []
        self.random = chance_seed(plan.seed * 1000003 + plan.offset)
        self.n_gateways = len(plan.gateways)
        self.gateways = <Gateway*>calloc(self.n_gateways, sizeof(Gateway))
        chosen = plan.chosen()
        self.clients = <Client*>calloc(max(len(chosen), 1), sizeof(Client))
        self.queue = <uint32_t*>calloc(max(len(chosen), 1), sizeof(uint32_t))
        self.pauses = <int64_t*>calloc(len(plan.groups), sizeof(int64_t))
        self.reads = <int64_t*>calloc(len(plan.groups), sizeof(int64_t))
        if NULL in (self.gateways, self.clients, self.queue) or self.pauses == NULL or self.reads == NULL:
            raise MemoryError(f"no memory for {len(chosen)} clients")
        self.set_gateways(plan)
        self.set_clients(plan, chosen)
        self.set_tokens(plan, len(chosen))
        if plan.tls:
            self.tls = tls_context(plan.ca)
        self.epoll = epoll_make()
        if self.epoll < 0:
            raise BenchError(f"epoll: {problem_text(-self.epoll)}")

    cdef int set_gateways(self, plan) except -1:
        cdef bytes request, name
        cdef Py_ssize_t i
        headers = "".join(f"{line}\r\n" for line in plan.headers)
        for i, (host, port) in enumerate(plan.gateways):
            self.gateways[i].ip, self.gateways[i].port = resolve(host), port
            name = host.encode()
            self.keeps.append(name)
            self.gateways[i].host = name
            request = (
                f"GET {plan.path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {KEY.decode()}\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Protocol: mdstream.v1.{plan.format}\r\n{headers}"
            ).encode("latin-1")
            buffer_reserve(&self.gateways[i].request, len(request))
            memcpy(self.gateways[i].request.data, <const char*>request, len(request))
            self.gateways[i].request.size = len(request)
        self.answer_words = (accept_key(KEY), f"mdstream.v1.{plan.format}".encode())
        self.accepted, self.subprotocol = self.answer_words[0], self.answer_words[1]
        self.set_sources(plan)
        return 0

    cdef int set_tokens(self, plan, Py_ssize_t count) except -1:
        cdef bytes line
        cdef Py_ssize_t i
        if not plan.tokens:
            return 0
        if len(plan.tokens) != count:
            raise ValueError(f"{len(plan.tokens)} tokens for {count} clients; each brings one of its own")
        self.tokens = <char**>calloc(max(count, 1), sizeof(char*))
        if self.tokens == NULL:
            raise MemoryError(f"no memory for {count} tokens")
        for i, token in enumerate(plan.tokens):
            line = f"Authorization: Bearer {token}\r\n".encode("ascii")
            self.keeps.append(line)
            self.tokens[i] = <char*>line
        return 0

    cdef int set_sources(self, plan) except -1:
        """Takes the next source address when the ports of one run out. This works only for a gateway on this machine, with loopback addresses."""
        clients = plan.offset + plan.connections
        self.source_step = plan.of_an_address or PORTS
        self.sources = (clients + self.source_step - 1) // self.source_step
        self.source_offset = plan.offset
        if any(self.gateways[i].ip >> 24 != 127 for i in range(self.n_gateways)) or self.sources < 2:
            self.sources = 0
        return 0

    cdef int set_clients(self, plan, list chosen) except -1:
        cdef Client* client
        cdef Py_ssize_t i
        verified = [group.verify for group in plan.groups]
        for i, group in enumerate(plan.groups):
            self.pauses[i], self.reads[i] = <int64_t>(group.pause_s * SECOND), <int64_t>(group.read_s * SECOND)
        for i, (group, mine) in enumerate(chosen):
            client = &self.clients[i]
            client.fd = -1
            client.gateway = <uint16_t>((plan.offset + i) % self.n_gateways)
            self.n_clients += 1
            tracked_make(&client.tracked, len(mine))
            client.tracked.group, client.tracked.client = group, plan.offset + i
            client.tracked.verify = verified[group] > 0
            client.resumes = plan.groups[group].resume and plan.groups[group].channel != "ticker"
            verified[group] -= 1
            for place, instrument in enumerate(mine):
                client.tracked.subs[place].instrument = instrument
        return 0

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.n_clients):
            self.c_forget_tls(&self.clients[i])
            if self.clients[i].fd >= 0:
                socket_close(self.clients[i].fd, False)
            self.c_forget_bytes(&self.clients[i])
            tracked_free(&self.clients[i].tracked)
        for i in range(self.n_gateways if self.gateways != NULL else 0):
            buffer_free(&self.gateways[i].request)
        for pointer in (<size_t>self.clients, <size_t>self.gateways, <size_t>self.queue, <size_t>self.pauses, <size_t>self.reads):
            free(<void*><size_t>pointer)
        free(self.tokens)
        if self.tls != NULL:
            tls_context_free(self.tls)
        timers_free(&self.timers)
        buffer_free(&self.input)
        if self.epoll >= 0:
            socket_close(self.epoll, False)

    cdef void c_forget_bytes(self, Client* client) noexcept nogil:
        free(client.left)
        free(client.unsent)
        free(client.fragments)
        client.left = client.unsent = client.fragments = NULL
        client.left_size = client.left_room = client.unsent_size = client.fragments_size = 0

    cdef void c_forget_tls(self, Client* client) noexcept nogil:
        if client.tls != NULL:
            tls_free(client.tls)
            client.tls = NULL
