from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, strtol
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

import json

import msgpack

from mdstream._bench.memory cimport grown
from mdstream._bench.nats cimport nats_open
from mdstream._bench.orders cimport FORMAT_JSON, FORMAT_MSGPACK, Format
from mdstream._bench.read_msgpack cimport slice_cursor
from mdstream._bench.message cimport Slice
from mdstream._bench.relay cimport Update, relay_frame, relay_next
from mdstream._bench.sockets cimport (
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, SECOND, epoll_event, epoll_make, epoll_until,
    epoll_watch, event_mark, monotonic_ns, problem_text, resolve, socket_accept, socket_close, socket_listen, socket_port, socket_recv,
    socket_send,
)
from mdstream._core.base.buffer cimport Buffer, buffer_free, buffer_reserve
from mdstream._core.codec.msgpack_reader cimport Cursor
from mdstream._core.websocket.frame cimport OP_CLOSE, OP_PING, OP_PONG

from mdstream._bench.frames import accept_key, first_frame, framed
from mdstream.errors import BenchError

cdef enum:
    READ_SIZE = 262144
    LINE_MAX = 4096                 # bytes of a NATS line
    REQUEST_MAX = 65536             # bytes of a client's request
    BACKLOG_MAX = 67108864          # bytes that may wait for a slow client; with more the floor drops it
    PRICE_EXP = -2                  # of every instrument of a load test
    SIZE_EXP = -8
    LISTENER = 0xFFFFFFFF           # epoll marks that are not clients
    NATS = 0xFFFFFFFE
    WAKE = 0xFFFFFFFD

cdef struct Reader:                 # a client
    Buffer input                    # of an incomplete request or command
    Buffer out                      # frames that wait
    Py_ssize_t single               # offset in `frames` of the first frame since the last read of the bus; it needs no copy
    Py_ssize_t single_size          # its size; 0: none
    int fd                          # -1: unused
    Format format                   # 0: not upgraded yet
    bint touched
    bint waiting                    # until the socket takes more

cdef struct ReaderList:             # the readers of an instrument in one format
    uint32_t* readers
    Py_ssize_t count
    Py_ssize_t room

cdef struct Stream:
    ReaderList[3] listed            # by format
    uint64_t epoch
    uint64_t last

cdef struct FloorCounts:
    uint64_t accepted
    uint64_t updates
    uint64_t deliveries
    uint64_t sends
    uint64_t dropped


cdef class Floor:
    """The floor for comparison with mdstream: as little as a C program can do between NATS and WebSocket.

    It relays each update as one ready ``delta`` to every subscriber of its instrument: one encoding for all, and one ``send`` per
    client for each read from the bus. It keeps no books (snapshots are empty, ``crc`` is constant), merges nothing, and sends no
    heartbeats. It reads the contract's MessagePack from NATS and speaks both subprotocols. Run it in its own process, because the
    CPU of that process is the result.

    The constructor connects to NATS, subscribes to the ``book`` stream of each ``md.<venue>.<symbol>`` in ``subjects``, and
    listens on ``port`` of 127.0.0.1. BenchError if one of these fails.
    """
    cdef readonly int port
    cdef int listener
    cdef int nats
    cdef int epoll
    cdef bint stopped
    cdef list instruments
    cdef dict places
    cdef Stream* streams
    cdef Py_ssize_t count
    cdef Reader* readers
    cdef Py_ssize_t n_readers
    cdef uint32_t* touched
    cdef Py_ssize_t n_touched
    cdef Buffer input               # of the bus
    cdef Buffer frames              # of this read of the bus
    cdef FloorCounts done
    cdef epoll_event[512] events
    cdef str where

    def __cinit__(self, instruments, subjects, str nats_host, int nats_port, *, int port=0, user=None, password=None):
        self.listener = self.nats = self.epoll = -1
        self.instruments = list(instruments)
        self.places = {name: place for place, name in enumerate(self.instruments)}
        self.where = f"nats-server {nats_host}:{nats_port}"
        if len(self.instruments) != len(subjects):
            raise ValueError(f"{len(self.instruments)} instruments and {len(subjects)} subjects; each has one")
        self.streams = <Stream*>calloc(max(len(self.instruments), 1), sizeof(Stream))
        if self.streams == NULL:
            raise MemoryError("no memory for the instruments")
        self.count = len(self.instruments)
        buffer_reserve(&self.input, 2 * READ_SIZE)
        self.epoll = epoll_make()
        self.listener = socket_listen(resolve("127.0.0.1"), port)
        if self.epoll < 0 or self.listener < 0:
            raise BenchError(f"127.0.0.1:{port}: {problem_text(-min(self.epoll, self.listener))}; is the port free?")
        self.port = socket_port(self.listener)
        self.nats = nats_open(nats_host, nats_port, "mdstream bench floor", user, password, None)
        self.subscribe(subjects)
        epoll_watch(self.epoll, EPOLL_CTL_ADD, self.nats, EPOLLIN, NATS)
        epoll_watch(self.epoll, EPOLL_CTL_ADD, self.listener, EPOLLIN, LISTENER)

    cdef int subscribe(self, subjects) except -1:
        cdef bytes orders = b"".join(f"SUB {subject}.book {sid}\r\n".encode() for sid, subject in enumerate(subjects, 1))
        cdef Py_ssize_t at = 0
        cdef int64_t sent, deadline = monotonic_ns() + <int64_t>10 * SECOND
        while at < len(orders):
            sent = socket_send(self.nats, <const char*>orders + at, len(orders) - at)
            if sent > 0:
                at += sent
            elif sent != -EAGAIN and sent != -EINTR or monotonic_ns() > deadline:
                raise BenchError(f"{self.where}: it does not accept the subscriptions")
        return 0

    def __dealloc__(self):
        self.release()
        for place in range(len(self.instruments) if self.streams != NULL else 0):
            free(self.streams[place].listed[<int>FORMAT_JSON].readers)
            free(self.streams[place].listed[<int>FORMAT_MSGPACK].readers)
        free(self.streams)
        free(self.readers)
        free(self.touched)
        buffer_free(&self.input)
        buffer_free(&self.frames)

    cdef void release(self) noexcept:
        cdef Py_ssize_t i
        for i in range(self.n_readers):
            if self.readers[i].fd >= 0:
                self.drop(<uint32_t>i)
        for fd in (self.listener, self.nats, self.epoll):
            if fd >= 0:
                socket_close(fd, False)
        self.listener = self.nats = self.epoll = -1

    def close(self):
        """May be called twice."""
        self.release()

    def counters(self):
        """``clients`` now; since the start ``accepted``, ``updates`` (from the bus), ``deliveries``, ``sends``, ``dropped`` (clients that
        did not read).
        """
        cdef dict done = self.done
        clients = sum([1 for i in range(self.n_readers) if self.readers[i].fd >= 0])
        return {"clients": clients} | done

    # ---- the loop

    def run(self, double seconds, *, int wake_fd=-1):
        """Serves for ``seconds`` or until ``wake_fd`` can be read, without the interpreter's lock. BenchError if NATS hangs up."""
        cdef int64_t deadline = monotonic_ns() + <int64_t>(seconds * SECOND)
        if self.epoll < 0:
            raise BenchError("the floor is closed")
        if wake_fd >= 0 and epoll_watch(self.epoll, EPOLL_CTL_ADD, wake_fd, EPOLLIN, WAKE) < 0:
            raise ValueError(f"wake_fd {wake_fd} is not a descriptor that epoll can watch")
        self.stopped = False
        try:
            with nogil:
                self.loop(deadline)
        finally:
            if wake_fd >= 0 and self.epoll >= 0:
                epoll_watch(self.epoll, EPOLL_CTL_DEL, wake_fd, 0, 0)

    cdef int loop(self, int64_t deadline) except -1 nogil:
        cdef int64_t now = monotonic_ns(), look = 0
        cdef int i, count
        while not self.stopped and now < deadline:
            if now >= look:
                look = now + SECOND // 10
                with gil:
                    PyErr_CheckSignals()
            count = epoll_until(self.epoll, self.events, 512, min(deadline, look) - now)
            for i in range(count):
                self.event(event_mark(&self.events[i]), self.events[i].events)
            now = monotonic_ns()
        return 0

    cdef int event(self, uint32_t mark, uint32_t events) except -1 nogil:
        if mark == NATS:
            return self.read_bus()
        if mark == LISTENER:
            return self.accept()
        if mark == WAKE:
            self.stopped = True
            return 0
        if self.readers[mark].fd < 0:
            return 0                    # dropped earlier in this turn
        if events & EPOLLOUT:
            self.flush(mark)
        if self.readers[mark].fd >= 0 and events & (EPOLLIN | EPOLLERR | EPOLLHUP):
            return self.read_client(mark)
        return 0

    # ---- from the bus

    cdef int read_bus(self) except -1 nogil:
        cdef int64_t got
        cdef Py_ssize_t used
        buffer_reserve(&self.input, READ_SIZE)
        got = socket_recv(self.nats, self.input.data + self.input.size, READ_SIZE)
        if got == -EAGAIN or got == -EINTR:
            return 0
        if got <= 0:
            self.give_up(b"it hung up")
        self.input.size += got
        self.frames.size = 0
        used = self.take_bus()
        self.input.size -= used
        memmove(self.input.data, self.input.data + used, <size_t>self.input.size)
        return self.flush_touched()

    cdef int give_up(self, const char* why) except -1 nogil:
        with gil:
            raise BenchError(f"{self.where}: {why.decode()}")

    cdef Py_ssize_t take_bus(self) except -1 nogil:
        """Handles the complete lines and messages from NATS; returns their bytes."""
        cdef Py_ssize_t at = 0, taken = 1
        while taken > 0:
            taken = self.take_line(self.input.data + at, self.input.size - at)
            at += taken
        return at

    cdef Py_ssize_t take_line(self, char* line, Py_ssize_t size) except -1 nogil:
        cdef char* end = <char*>memchr(line, c"\n", <size_t>size) if size else NULL
        cdef Py_ssize_t head = end + 1 - line if end != NULL else 0
        if head == 0:
            if size > LINE_MAX:
                self.give_up(b"it sent a line without end")
            return 0
        if not memcmp(line, b"MSG ", 4) or not memcmp(line, b"HMSG", 4):
            return self.take_message(line, head, size)
        if not memcmp(line, b"PING", 4):
            socket_send(self.nats, b"PONG\r\n", 6)
        elif not memcmp(line, b"-ERR", 4):
            with gil:
                raise BenchError(f"{self.where}: it sent {line[:head].decode(errors='replace').strip()}")
        return head

    cdef Py_ssize_t take_message(self, char* line, Py_ssize_t head, Py_ssize_t size) except -1 nogil:
        """``MSG <subject> <sid> [reply] <size>``, and with headers ``HMSG … <size of headers> <size>``."""
        cdef char* at = <char*>memchr(line + (5 if line[0] == c"H" else 4), c" ", <size_t>head)
        cdef long sid = strtol(at, &at, 10) if at != NULL else 0
        cdef long headers = 0, whole = 0
        cdef char* last = line + head - 2
        while last > line and (last - 1)[0] != c" ":
            last -= 1
        whole = strtol(last, NULL, 10)
        if line[0] == c"H":
            last -= 1
            while last > line and (last - 1)[0] != c" ":
                last -= 1
            headers = strtol(last, NULL, 10)
        if size < head + whole + 2:
            return 0
        if 0 < sid <= <long>self.count and 0 <= headers <= whole:
            self.relay(<uint32_t>sid - 1, <uint8_t*>line + head + headers, whole - headers)
        return head + whole + 2

    cdef int relay(self, uint32_t place, const uint8_t* payload, Py_ssize_t size) except -1 nogil:
        cdef Slice whole = Slice(payload, size)
        cdef Stream* stream = &self.streams[place]
        cdef Update update
        cdef Cursor cursor
        slice_cursor(&whole, &cursor)
        while relay_next(&cursor, &update) > 0:
            self.done.updates += 1
            stream.epoch, stream.last = update.epoch, update.last
            self.spread(stream, FORMAT_JSON, place + 1, &update)
            self.spread(stream, FORMAT_MSGPACK, place + 1, &update)
        return 0

    cdef int spread(self, Stream* stream, Format format, uint64_t sub, const Update* update) except -1 nogil:
        cdef const ReaderList* listed = &stream.listed[<int>format]
        cdef Py_ssize_t start, i
        if not listed.count:
            return 0
        start = relay_frame(&self.frames, format, sub, update, PRICE_EXP, SIZE_EXP)
        for i in range(listed.count):
            self.give(listed.readers[i], start, self.frames.size - start)
        self.done.deliveries += <uint64_t>listed.count
        return 0

    cdef int give(self, uint32_t mark, Py_ssize_t start, Py_ssize_t size) except -1 nogil:
        cdef Reader* reader = &self.readers[mark]
        if not reader.touched:
            reader.touched = True
            self.touched[self.n_touched] = mark
            self.n_touched += 1
            if not reader.out.size:
                reader.single, reader.single_size = start, size
                return 0
        if reader.single_size:
            append(&reader.out, self.frames.data + reader.single, reader.single_size)
            reader.single_size = 0
        return append(&reader.out, self.frames.data + start, size)

    cdef int flush_touched(self) except -1 nogil:
        cdef Py_ssize_t i
        cdef Reader* reader
        for i in range(self.n_touched):
            reader = &self.readers[self.touched[i]]
            if reader.touched:
                reader.touched = False
                if not reader.waiting or reader.out.size > BACKLOG_MAX:
                    self.flush(self.touched[i])
        self.n_touched = 0
        return 0

    # ---- to the clients

    cdef int flush(self, uint32_t mark) except -1 nogil:
        """Sends everything at once; what the kernel does not take waits."""
        cdef Reader* reader = &self.readers[mark]
        cdef const char* data = reader.out.data
        cdef Py_ssize_t size = reader.out.size
        cdef int64_t sent
        if reader.single_size:
            data, size = self.frames.data + reader.single, reader.single_size
        if not size:
            return 0
        sent = socket_send(reader.fd, data, <size_t>size)
        self.done.sends += 1
        if sent < 0 and sent != -EAGAIN and sent != -EINTR or size > BACKLOG_MAX:
            self.done.dropped += 1
            self.drop(mark)
            return 0
        sent = max(sent, <int64_t>0)
        if reader.single_size and sent < size:
            append(&reader.out, data + sent, size - sent)
        elif not reader.single_size:
            reader.out.size -= sent
            memmove(reader.out.data, reader.out.data + sent, <size_t>reader.out.size)
        reader.single_size = 0
        if reader.waiting != (reader.out.size > 0):
            reader.waiting = reader.out.size > 0
            epoll_watch(self.epoll, EPOLL_CTL_MOD, reader.fd, EPOLLIN | (EPOLLOUT if reader.waiting else 0), mark)
        return 0

    cdef void drop(self, uint32_t mark) noexcept nogil:
        cdef Reader* reader = &self.readers[mark]
        cdef Py_ssize_t place
        for place in range(self.count):
            self.unlist(&self.streams[place].listed[<int>FORMAT_JSON], mark)
            self.unlist(&self.streams[place].listed[<int>FORMAT_MSGPACK], mark)
        socket_close(reader.fd, False)
        buffer_free(&reader.input)
        buffer_free(&reader.out)
        memset(reader, 0, sizeof(Reader))
        reader.fd = -1

    cdef void unlist(self, ReaderList* listed, uint32_t mark) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(listed.count):
            if listed.readers[i] == mark:
                listed.count -= 1
                listed.readers[i] = listed.readers[listed.count]
                return

    cdef int accept(self) except -1 nogil:
        cdef int fd = socket_accept(self.listener)
        cdef uint32_t mark
        while fd >= 0:
            mark = self.free_mark(fd)
            memset(&self.readers[mark], 0, sizeof(Reader))
            self.readers[mark].fd = fd
            epoll_watch(self.epoll, EPOLL_CTL_ADD, fd, EPOLLIN, mark)
            self.done.accepted += 1
            fd = socket_accept(self.listener)
        return 0

    cdef uint32_t free_mark(self, int fd) except? 0 nogil:
        """Descriptors are small and unique, so each is its own mark."""
        cdef Py_ssize_t room = self.n_readers, i
        if fd < room:
            return <uint32_t>fd
        while room <= fd:
            room = 2 * room + 64
        self.readers = <Reader*>grown(self.readers, room * <Py_ssize_t>sizeof(Reader))
        self.touched = <uint32_t*>grown(self.touched, room * <Py_ssize_t>sizeof(uint32_t))
        for i in range(self.n_readers, room):
            memset(&self.readers[i], 0, sizeof(Reader))
            self.readers[i].fd = -1
        self.n_readers = room
        return <uint32_t>fd

    # ---- from the clients: rare, so written in Python

    cdef int read_client(self, uint32_t mark) except -1 nogil:
        cdef Reader* reader = &self.readers[mark]
        cdef int64_t got
        buffer_reserve(&reader.input, LINE_MAX)
        got = socket_recv(reader.fd, reader.input.data + reader.input.size, LINE_MAX)
        if got == -EAGAIN or got == -EINTR:
            return 0
        if got <= 0 or reader.input.size + got > REQUEST_MAX:
            self.drop(mark)
            return 0
        reader.input.size += got
        with gil:
            self.take_client(mark)
        if self.readers[mark].fd >= 0 and not reader.input.size:
            buffer_free(&reader.input)
        return 0

    cdef int take_client(self, uint32_t mark) except -1:
        cdef Reader* reader = &self.readers[mark]
        cdef bytes received = reader.input.data[:reader.input.size]
        used = 0
        if not reader.format:
            head, end, _ = received.partition(b"\r\n\r\n")
            if not end:
                return 0
            used = len(head) + 4
            self.upgrade(mark, head)
        while reader.fd >= 0:
            opcode, payload, size = first_frame(received[used:])
            if not size:
                break
            used += size
            self.take_frame(mark, opcode, payload)
        if reader.fd >= 0:
            reader.input.size -= used
            memmove(reader.input.data, reader.input.data + <Py_ssize_t>used, <size_t>reader.input.size)
            self.flush(mark)
        return 0

    cdef int upgrade(self, uint32_t mark, bytes head) except -1:
        cdef Reader* reader = &self.readers[mark]
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
        accept = accept_key(headers.get(b"sec-websocket-key", b""))
        reader.format = FORMAT_MSGPACK if b"msgpack" in headers.get(b"sec-websocket-protocol", b"") else FORMAT_JSON
        name = b"msgpack" if reader.format == FORMAT_MSGPACK else b"json"
        self.answer(reader, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
                    + b"\r\nSec-WebSocket-Protocol: mdstream.v1." + name + b"\r\n\r\n")
        return self.send_message(reader, {"type": "welcome", "version": 1, "node": "floor", "session": str(mark), "time": 0, "heartbeat_ms": 0, "limits": {}})

    cdef int take_frame(self, uint32_t mark, int opcode, bytes payload) except -1:
        cdef Reader* reader = &self.readers[mark]
        if opcode == OP_CLOSE:
            self.drop(mark)
        elif opcode == OP_PING:
            self.answer(reader, framed(OP_PONG, payload))
        elif opcode == <int>reader.format:
            self.command(mark, json.loads(payload) if reader.format == FORMAT_JSON else msgpack.unpackb(payload))
        return 0

    cdef int command(self, uint32_t mark, order) except -1:
        cdef Reader* reader = &self.readers[mark]
        for name in order.get("instruments", ()) if order.get("op") == "subscribe" else ():
            if name not in self.places:
                self.send_message(reader, {"type": "error", "id": order.get("id"), "code": "unknown_instrument", "message": f"{name} is not relayed"})
                continue
            place = self.places[name]
            self.list_reader(&self.streams[<Py_ssize_t>place].listed[<int>reader.format], mark)
            self.send_message(reader, {
                "type": "subscribed", "id": order.get("id"), "sub": place + 1, "channel": "book", "instrument": name, "depth": 0, "group": 1,
                "interval_ms": 0, "price_exp": PRICE_EXP, "size_exp": SIZE_EXP, "resumed": False,
            })
            self.send_snapshot(reader, place)
        return 0

    cdef int list_reader(self, ReaderList* listed, uint32_t mark) except -1:
        if listed.count == listed.room:
            listed.room = 2 * listed.room + 8
            listed.readers = <uint32_t*>grown(listed.readers, listed.room * <Py_ssize_t>sizeof(uint32_t))
        listed.readers[listed.count] = mark
        listed.count += 1
        return 0

    cdef int send_snapshot(self, Reader* reader, Py_ssize_t place) except -1:
        cdef Stream* stream = &self.streams[place]
        if reader.format == FORMAT_MSGPACK:
            return self.answer(reader, framed(<int>FORMAT_MSGPACK, msgpack.packb([2, place + 1, stream.epoch, stream.last, 0, [], [], 0, "subscribe"])))
        return self.send_message(reader, {"type": "snapshot", "sub": place + 1, "epoch": stream.epoch, "seq": stream.last, "ts": 0, "bids": [], "asks": [],
                                 "crc": 0, "reason": "subscribe"})

    cdef int send_message(self, Reader* reader, dict message) except -1:
        payload = json.dumps(message).encode() if reader.format == FORMAT_JSON else msgpack.packb(message)
        return self.answer(reader, framed(<int>reader.format, payload))

    cdef int answer(self, Reader* reader, bytes data) except -1:
        return append(&reader.out, data, len(data))


cdef inline int append(Buffer* to, const char* data, Py_ssize_t size) except -1 nogil:
    buffer_reserve(to, size)
    memcpy(to.data + to.size, data, <size_t>size)
    to.size += size
    return 0
