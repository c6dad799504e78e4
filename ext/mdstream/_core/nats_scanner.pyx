"""The NATS client protocol, server to client, as far as a client must read it: no I/O, bytes in, operations out.

Source: NATS documentation, "Client Protocol" (INFO, MSG, HMSG, PING, PONG, +OK, -ERR). A market-data message costs no
Python object: its bytes are handed to the subscription's Receiver where they stand in the read buffer.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp, memcpy, memmove

cdef enum:
    MAX_LINE = 1 << 20          # an INFO line lists the servers of a cluster; anything longer is no NATS server
    MAX_PAYLOAD = 64 << 20      # nats-server's own upper bound of max_payload
    MAX_TOKENS = 6
    SPARE_CAPACITY = 1 << 18    # a buffer that grew beyond this for a large payload is given back when it is empty


class ScanError(Exception):
    """What came is not the NATS protocol; the connection must be given up."""


cdef struct Token:
    const char* start
    Py_ssize_t size


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == b" " or byte == b"\t"


cdef Py_ssize_t split(const char* line, Py_ssize_t size, Token* tokens) noexcept nogil:
    """Splits at blanks; MAX_TOKENS + 1 if there are more than MAX_TOKENS."""
    cdef Py_ssize_t i = 0, n = 0
    while True:
        while i < size and is_blank(line[i]):
            i += 1
        if i == size:
            return n
        if n == MAX_TOKENS:
            return MAX_TOKENS + 1
        tokens[n].start = line + i
        while i < size and not is_blank(line[i]):
            i += 1
        tokens[n].size = line + i - tokens[n].start
        n += 1


cdef int64_t number(Token token) noexcept nogil:
    """A decimal number of up to 18 digits, or -1."""
    cdef int64_t value = 0
    cdef Py_ssize_t i
    if token.size == 0 or token.size > 18:
        return -1
    for i in range(token.size):
        if token.start[i] < b"0" or token.start[i] > b"9":
            return -1
        value = value * 10 + (token.start[i] - <char>b"0")
    return value


cdef class Receiver:
    cdef int c_receive(self, const char* subject, Py_ssize_t subject_size,
                       const char* payload, Py_ssize_t payload_size) except -1:
        raise NotImplementedError

    def __call__(self, bytes subject not None, bytes reply, bytes payload not None, bytes headers):
        self.c_receive(PyBytes_AS_STRING(subject), PyBytes_GET_SIZE(subject),
                       PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef class NatsScanner:
    def __init__(self, dict handlers not None):
        self.handlers = handlers

    def __dealloc__(self):
        PyMem_Free(self.data)

    @property
    def capacity(self):
        return self.allocated

    def reset(self):
        self.size = self.position = self.needed = 0
        self._give_back()

    def feed(self, bytes data not None):
        cdef Py_ssize_t more = PyBytes_GET_SIZE(data)
        self._reserve(more)
        memcpy(self.data + self.size, PyBytes_AS_STRING(data), more)
        self.size += more

    cdef int _reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t rest = self.size - self.position
        cdef Py_ssize_t wanted
        cdef char* data
        if self.position:
            memmove(self.data, self.data + self.position, rest)
            self.size = rest
            self.position = 0
        if rest + more > self.allocated:
            wanted = max(65536, 2 * (rest + more))
            data = <char*>PyMem_Realloc(self.data, wanted)
            if data == NULL:
                raise MemoryError(f"no memory for {wanted} bytes read from NATS")
            self.data = data
            self.allocated = wanted
        return 0

    cdef int _give_back(self) noexcept:
        if self.allocated > SPARE_CAPACITY and self.size == self.position:
            PyMem_Free(self.data)
            self.data = NULL
            self.allocated = self.size = self.position = 0
        return 0

    def next(self):
        cdef const char* line
        cdef const char* end
        cdef Py_ssize_t rest, size
        while True:
            rest = self.size - self.position
            if rest == 0 or rest < self.needed:
                self._give_back()
                return None
            line = self.data + self.position
            end = <const char*>memchr(line, b"\n", rest)
            if end == NULL:
                if rest > MAX_LINE:
                    raise ScanError(f"no end of line within {MAX_LINE} bytes")
                return None
            size = end - line
            if size == 0 or line[size - 1] != b"\r":
                raise ScanError("a line does not end in CR LF")
            size -= 1
            if size >= 4 and memcmp(line, b"MSG", 3) == 0 and is_blank(line[3]):
                operation = self._message(line, size, False)
            elif size >= 5 and memcmp(line, b"HMSG", 4) == 0 and is_blank(line[4]):
                operation = self._message(line, size, True)
            else:
                self.position += size + 2
                return self._other(PyBytes_FromStringAndSize(line, size))
            if operation is not True:
                return operation

    def _other(self, bytes line):
        if line.startswith((b"INFO ", b"INFO\t")):
            return "INFO", line[5:]
        if line.startswith((b"-ERR ", b"-ERR\t")):
            return "-ERR", line[5:].strip()
        word = line.strip()
        if word in (b"PING", b"PONG", b"+OK"):
            return (word.decode(),)
        raise ScanError(f"unknown operation {line[:64]!r}")

    cdef object _message(self, const char* line, Py_ssize_t line_size, bint with_headers):
        """True: handed to its receiver. None: not whole yet. Else the operation. Moves past it when it is whole."""
        cdef Token[MAX_TOKENS] tokens
        cdef Py_ssize_t count = split(line, line_size, tokens)
        cdef Py_ssize_t fixed = 5 if with_headers else 4
        cdef bint with_reply = count == fixed + 1
        cdef int64_t sid, total, header_size = 0
        cdef Py_ssize_t whole
        cdef const char* body
        cdef PyObject* handler
        if count != fixed and not with_reply:
            raise ScanError(f"malformed message line {PyBytes_FromStringAndSize(line, min(line_size, 64))!r}")
        sid = number(tokens[2])
        total = number(tokens[count - 1])
        if with_headers:
            header_size = number(tokens[count - 2])
        if sid < 0 or total < 0 or total > MAX_PAYLOAD or header_size < 0 or header_size > total:
            raise ScanError(f"bad number in message line {PyBytes_FromStringAndSize(line, min(line_size, 64))!r}")
        whole = line_size + 2 + total + 2
        if self.size - self.position < whole:
            self.needed = whole
            return None
        self.needed = 0
        body = line + line_size + 2
        if body[total] != b"\r" or body[total + 1] != b"\n":
            raise ScanError("a payload does not end in CR LF")
        self.position += whole
        handler = PyDict_GetItem(self.handlers, sid)
        if handler == NULL:
            return (
                "MSG",
                sid,
                token_bytes(tokens[1]),
                token_bytes(tokens[3]) if with_reply else b"",
                PyBytes_FromStringAndSize(body + header_size, total - header_size),
                PyBytes_FromStringAndSize(body, header_size) if header_size else None,
            )
        self.messages += 1
        self.payload_bytes += total - header_size
        held = <object>handler      # it may take itself out of the handlers
        try:
            if isinstance(held, Receiver):
                (<Receiver>held).c_receive(tokens[1].start, tokens[1].size, body + header_size, total - header_size)
            else:
                held(
                    token_bytes(tokens[1]),
                    token_bytes(tokens[3]) if with_reply else b"",
                    PyBytes_FromStringAndSize(body + header_size, total - header_size),
                    PyBytes_FromStringAndSize(body, header_size) if header_size else None,
                )
        except Exception as error:
            return "FAULT", error
        return True


cdef bytes token_bytes(Token token):
    return PyBytes_FromStringAndSize(token.start, token.size)
