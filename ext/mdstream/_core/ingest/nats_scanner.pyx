"""The NATS client protocol, server to client: finds messages in a read buffer and hands them to their handlers. No I/O.

Source: NATS documentation, "Client Protocol" (INFO, MSG, HMSG, PING, PONG, +OK, -ERR). A message with market data costs no
Python object: the subscription's Receiver reads its bytes where they are in the buffer. The scanner finds a few messages
ahead and prefetches the memory that they need while it works on one.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove

from mdstream._core.base.digits cimport count_low_zeros, load_little
from mdstream._core.base.prefetch cimport prefetch_range
from mdstream._core.ingest.receiver cimport Entry, Receiver

cdef extern from *:
    const uint64_t EACH_BYTE "0x0101010101010101ull"

cdef enum:
    MAX_LINE = 1 << 20          # an INFO line lists the servers of a cluster; anything longer is no NATS server
    MAX_PAYLOAD = 64 << 20      # nats-server's own upper bound of max_payload
    MAX_TOKENS = 6
    SPARE_CAPACITY = 1 << 19    # a buffer that grew beyond this for a large payload is given back when it is empty
    BATCH = 32                  # messages found before they are handed over
    AHEAD = 3                   # messages between prefetching memory and using it

cdef enum Found:
    FOUND_MESSAGE
    FOUND_LINE                  # an operation of another kind
    FOUND_PART                  # not whole yet
    LINE_TOO_LONG               # from here on: no NATS protocol
    LINE_END_WRONG
    LINE_UNKNOWN
    LINE_MALFORMED
    NUMBER_WRONG
    PAYLOAD_END_WRONG


class ScanError(Exception):
    """The server does not speak the NATS protocol; the connection must be closed."""


cdef struct Token:
    const char* start
    Py_ssize_t size


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == b" " or byte == b"\t"

cdef inline bint is_operation(const char* line, const char* name, Py_ssize_t size) noexcept nogil:
    """Whether a line, which has an end, begins with the word ``name``."""
    return memcmp(line, name, size) == 0 and (is_blank(line[size]) or line[size] == b"\r")

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

# ---- finding an operation

cdef inline const char* word_end(const char* at, const char* end) noexcept nogil:
    """The first byte that is a blank or another control character, found eight bytes at a time; ``end`` if there is none."""
    cdef uint64_t word, found
    while end - at >= 8:
        word = load_little(at)
        found = (word - EACH_BYTE * 0x21) & ~word & (EACH_BYTE * 0x80)
        if found:
            return at + (count_low_zeros(found) >> 3)
        at += 8
    while at < end and <unsigned char> at[0] > b" ":
        at += 1
    return at


cdef inline const char* digits(const char* at, const char* end, int64_t* value) noexcept nogil:
    """Reads up to nine digits; NULL if there are none or more."""
    cdef const char* start = at
    cdef int64_t number = 0
    while at < end and b"0" <= at[0] <= b"9":
        number = number * 10 + (at[0] - <char>b"0")
        at += 1
    value[0] = number
    return at if 1 <= at - start <= 9 else NULL


cdef inline bint is_plain(const char* line, const char* end, Message* out) noexcept nogil:
    """Whether it is ``MSG subject sid size`` as nats-server writes it, with single blanks and without reply; sets all but ``whole``."""
    cdef const char* at
    cdef int64_t size
    if end - line < 12 or memcmp(line, b"MSG ", 4) != 0:
        return False
    out.subject = line + 4
    at = word_end(out.subject, end)
    if at == end or at[0] != b" " or at == out.subject:
        return False
    out.subject_size = at - out.subject
    at = digits(at + 1, end, &out.sid)
    if at == NULL or at == end or at[0] != b" ":
        return False
    at = digits(at + 1, end, &size)
    if at == NULL or end - at < 2 or at[0] != b"\r" or at[1] != b"\n" or size > MAX_PAYLOAD:
        return False
    out.reply, out.reply_size, out.header_size = at, 0, 0
    out.payload_size = size
    out.body = at + 2
    return True


cdef Found find(const char* line, const char* end, Message* out) noexcept nogil:
    """The operation that begins at ``line``; of a message or line, ``out.whole`` is its size, also if a part is missing."""
    cdef Found found
    if is_plain(line, end, out):
        return find_body(line, end, out)
    out.whole = 0
    out.body = <const char*> memchr(line, b"\n", end - line)
    if out.body == NULL:
        return LINE_TOO_LONG if end - line > MAX_LINE else FOUND_PART
    out.body += 1
    out.whole = out.body - line
    if out.whole < 2 or out.body[-2] != b"\r":
        return LINE_END_WRONG
    if out.whole >= 6 and memcmp(line, b"MSG", 3) == 0 and is_blank(line[3]):
        found = find_fields(line, 4, out)
    elif out.whole >= 7 and memcmp(line, b"HMSG", 4) == 0 and is_blank(line[4]):
        found = find_fields(line, 5, out)
    else:
        return FOUND_LINE if is_known(line, out.whole) else LINE_UNKNOWN
    return find_body(line, end, out) if found == FOUND_MESSAGE else found


cdef bint is_known(const char* line, Py_ssize_t size) noexcept nogil:
    """Whether a whole line is an operation that is no message."""
    if size < 5:
        return False
    if is_operation(line, b"+OK", 3):
        return True
    return size > 5 and (is_operation(line, b"PING", 4) or is_operation(line, b"PONG", 4)
                         or is_operation(line, b"INFO", 4) or is_operation(line, b"-ERR", 4))


cdef Found find_fields(const char* line, Py_ssize_t fixed, Message* out) noexcept nogil:
    """What the line of a message of ``fixed`` words (HMSG: 5), or one more with a reply, says."""
    cdef Token[MAX_TOKENS] tokens
    cdef Py_ssize_t count = split(line, out.body - 2 - line, tokens)
    cdef int64_t total, header_size = 0
    if count != fixed and count != fixed + 1:
        return LINE_MALFORMED
    out.sid = number(tokens[2])
    total = number(tokens[count - 1])
    if fixed == 5:
        header_size = number(tokens[count - 2])
    if out.sid < 0 or total < 0 or total > MAX_PAYLOAD or header_size < 0 or header_size > total:
        return NUMBER_WRONG
    out.subject, out.subject_size = tokens[1].start, tokens[1].size
    out.reply, out.reply_size = tokens[3].start, tokens[3].size if count == fixed + 1 else 0
    out.header_size, out.payload_size = header_size, total - header_size
    return FOUND_MESSAGE


cdef inline Found find_body(const char* line, const char* end, Message* out) noexcept nogil:
    cdef Py_ssize_t total = out.header_size + out.payload_size
    out.whole = out.body - line + total + 2
    if end - line < out.whole:
        return FOUND_PART
    if out.body[total] != b"\r" or out.body[total + 1] != b"\n":
        return PAYLOAD_END_WRONG
    return FOUND_MESSAGE


cdef int refuse(Found why, const char* line, const Message* message) except -1:
    if why == LINE_TOO_LONG:
        raise ScanError(f"no end of line within {MAX_LINE} bytes")
    if why == LINE_END_WRONG:
        raise ScanError("a line does not end in CR LF")
    if why == PAYLOAD_END_WRONG:
        raise ScanError("a payload does not end in CR LF")
    what = {LINE_UNKNOWN: "unknown operation", LINE_MALFORMED: "malformed message line"}.get(why, "bad number in message line")
    raise ScanError(f"{what} {PyBytes_FromStringAndSize(line, min(message.body - 2 - line, 64))!r}")


# ---- the scanner

cdef class NatsScanner:
    def __cinit__(self, Handlers handlers not None):
        self.handlers = handlers

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int c_feed(self, bytes data) except -1:
        cdef Py_ssize_t more = PyBytes_GET_SIZE(data)
        if not more:
            return 0                # there may be no memory yet, and memcpy to NULL is undefined
        self.c_reserve(more)
        memcpy(self.data + self.size, PyBytes_AS_STRING(data), more)
        self.size += more
        return 0

    cdef int c_reserve(self, Py_ssize_t more) except -1:
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

    cdef int c_give_back(self) noexcept:
        if self.allocated > SPARE_CAPACITY and self.size == self.position:
            PyMem_Free(self.data)
            self.data = NULL
            self.allocated = self.size = self.position = 0
        return 0

    cdef Py_ssize_t c_run(self) except -1:
        cdef Message[BATCH] messages
        cdef Found found = FOUND_PART
        cdef Py_ssize_t n, handed
        cdef const char* at
        while self.size > self.position and self.size - self.position >= self.needed:
            at, n = self.data + self.position, 0
            while n < BATCH:
                found = find(at, self.data + self.size, &messages[n])
                if found != FOUND_MESSAGE:
                    break
                prefetch_receiver(self.handlers.c_find(messages[n].sid))
                at += messages[n].whole
                n += 1
            if n:
                self.needed = 0
                handed = self.c_hand_over(messages, n)
                if handed < n:
                    return messages[handed].whole
            elif found == FOUND_PART:
                self.needed = messages[0].whole
                return 0
            elif found == FOUND_LINE:
                return messages[0].whole
            else:
                refuse(found, at, &messages[0])
        return 0

    cdef int c_hand_over(self, const Message* messages, Py_ssize_t n) except -1:
        """Returns how many of them had a handler, up to the first that has none."""
        cdef Py_ssize_t i
        cdef const Entry* entry
        cdef const Message* message
        for i in range(min(n, <Py_ssize_t> AHEAD)):
            announce(self.handlers.c_find(messages[i].sid), &messages[i])
        for i in range(n):
            if i + AHEAD < n:
                announce(self.handlers.c_find(messages[i + AHEAD].sid), &messages[i + AHEAD])
            message = &messages[i]
            entry = self.handlers.c_find(message.sid)
            if entry == NULL:
                return i
            self.position += message.whole
            self.messages += 1
            self.payload_bytes += message.payload_size
            call(<object> entry.handler, entry.receiver_bytes, message)   # holds the handler, which may take itself out
        return n


cdef inline int call(object handler, bint compiled, const Message* message) except -1:
    if compiled:
        return (<Receiver> handler).c_receive(
            message.subject, message.subject_size, message.body + message.header_size, message.payload_size
        )
    handler(*message_parts(message))
    return 0


cdef inline void prefetch_receiver(const Entry* entry) noexcept nogil:
    if entry != NULL:
        prefetch_range(entry.handler, entry.receiver_bytes)


cdef inline void announce(const Entry* entry, const Message* message) noexcept:
    if entry != NULL and entry.receiver_bytes:
        (<Receiver> entry.handler).c_prefetch(message.body + message.header_size, message.payload_size)


cdef tuple message_parts(const Message* message):
    """Subject, reply, payload and header block, as any handler is given them."""
    return (
        PyBytes_FromStringAndSize(message.subject, message.subject_size),
        PyBytes_FromStringAndSize(message.reply, message.reply_size),
        PyBytes_FromStringAndSize(message.body + message.header_size, message.payload_size),
        PyBytes_FromStringAndSize(message.body, message.header_size) if message.header_size else None,
    )
