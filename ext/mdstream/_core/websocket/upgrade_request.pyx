# distutils: depends = ext/mdstream/_core/websocket/accept_key.h
"""Upgrade requests (RFC 6455 section 4.2.1), without I/O.

``read`` takes the requests that clients usually send: bounded, in one pass, without an object per header. Any other request,
allowed or not, is for picows' parser, which decides about it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from picows.picows cimport _parse_http_request, _validate_upgrade_request

from mdstream._core.base.check cimport check

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <string.h>
    #include <strings.h>
    """
    void* memchr(const void* data, int wanted, size_t size) nogil
    int strncasecmp(const char* a, const char* b, size_t size) nogil
    int memcmp(const void* a, const void* b, size_t size) nogil

cdef extern from "accept_key.h":
    enum:
        ACCEPT_KEY_SIZE
        ACCEPT_SIZE
    bint accept_sha_usable() noexcept nogil
    void accept_of_key(const char* key, char* accept, bint by_processor) noexcept nogil

cdef enum:
    MAX_HEADERS = 100

cdef bint BY_PROCESSOR = accept_sha_usable()
cdef uint8_t[256] TOKEN
cdef uint8_t[256] BASE64

for _octet in range(256):
    TOKEN[_octet] = _octet < 128 and (chr(_octet).isalnum() or chr(_octet) in "!#$%&'*+-.^_`|~")
    BASE64[_octet] = _octet < 128 and (chr(_octet).isalnum() or chr(_octet) in "+/")


cdef bint is_word(Text text, const char* word, Py_ssize_t size) noexcept nogil:
    return text.size == size and strncasecmp(text.data, word, size) == 0


cdef int header_of(Text name) noexcept nogil:
    if is_word(name, "host", 4):
        return HOST
    if is_word(name, "upgrade", 7):
        return UPGRADE
    if is_word(name, "connection", 10):
        return CONNECTION
    if is_word(name, "sec-websocket-key", 17):
        return KEY
    if is_word(name, "sec-websocket-version", 21):
        return VERSION
    if is_word(name, "sec-websocket-protocol", 22):
        return PROTOCOL
    if is_word(name, "sec-websocket-extensions", 24):
        return EXTENSIONS
    if is_word(name, "authorization", 13):
        return AUTHORIZATION
    if is_word(name, "origin", 6):
        return ORIGIN
    if is_word(name, "x-forwarded-for", 15):
        return FORWARDED_FOR
    if is_word(name, "forwarded", 9):
        return FORWARDED
    if is_word(name, "content-length", 14) or is_word(name, "transfer-encoding", 17):
        return FORBIDDEN
    return OTHER


cdef bint read_line(const char** at, const char* end, Text* line) noexcept nogil:
    """The bytes up to CR LF, or to the end; False if there is a CR or LF by itself."""
    cdef const char* cr = <const char*>memchr(at[0], 13, end - at[0])
    check(at[0] <= end)
    line.data = at[0]
    line.size = (cr if cr != NULL else end) - at[0]
    at[0] = end
    if memchr(line.data, 10, line.size) != NULL:
        return False
    if cr == NULL:
        return True
    if cr + 1 >= end or cr[1] != 10:
        return False
    at[0] = cr + 2
    return at[0] < end


cdef bint read_header(Text line, Text* name, Text* value) noexcept nogil:
    """`name: value` without the blanks around the value; False if it is something else or has a character that is not allowed."""
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t end = line.size
    cdef uint8_t octet
    while i < end and TOKEN[<uint8_t>line.data[i]]:
        i += 1
    if i == 0 or i == end or line.data[i] != c':':
        return False
    name.data = line.data
    name.size = i
    i += 1
    while i < end and (line.data[i] == c' ' or line.data[i] == c'\t'):
        i += 1
    while end > i and (line.data[end - 1] == c' ' or line.data[end - 1] == c'\t'):
        end -= 1
    value.data = line.data + i
    value.size = end - i
    while i < end:
        octet = <uint8_t>line.data[i]
        if octet < 32 and octet != 9 or octet > 126:
            return False
        i += 1
    return True


cdef bint read_target(Text line, Text* target) noexcept nogil:
    """The target of `GET target HTTP/1.1`; False unless it is visible ASCII and begins with a slash."""
    cdef Py_ssize_t i
    if line.size < 15 or memcmp(line.data, "GET ", 4) or memcmp(line.data + line.size - 9, " HTTP/1.1", 9):
        return False
    target.data = line.data + 4
    target.size = line.size - 13
    for i in range(target.size):
        if <uint8_t>target.data[i] <= 32 or <uint8_t>target.data[i] > 126:
            return False
    return target.data[0] == c'/'


cdef bint lists_upgrade(Text value) noexcept nogil:
    """Whether `upgrade` is an item of a comma-separated list; browsers send others with it."""
    cdef Text item
    cdef Py_ssize_t i = 0
    while i < value.size:
        while i < value.size and (value.data[i] == c' ' or value.data[i] == c'\t' or value.data[i] == c','):
            i += 1
        item.data = value.data + i
        item.size = 0
        while i < value.size and TOKEN[<uint8_t>value.data[i]]:
            i += 1
            item.size += 1
        if item.size == 0:
            return False
        while i < value.size and (value.data[i] == c' ' or value.data[i] == c'\t'):
            i += 1
        if i < value.size and value.data[i] != c',':
            return False
        if is_word(item, "upgrade", 7):
            return True
    return False


cdef bint is_key(Text value) noexcept nogil:
    """Sixteen bytes in base64."""
    cdef Py_ssize_t i
    if value.size != ACCEPT_KEY_SIZE or value.data[ACCEPT_KEY_SIZE - 1] != c'=' or value.data[ACCEPT_KEY_SIZE - 2] != c'=':
        return False
    for i in range(ACCEPT_KEY_SIZE - 2):
        if not BASE64[<uint8_t>value.data[i]]:
            return False
    return True


cdef bint read_request(const char* at, Py_ssize_t size, Request* request) noexcept nogil:
    cdef const char* end = at + size
    check(size >= 0)
    cdef Text line, name, value
    cdef int header
    cdef int n = 0
    for header in range(OTHER):
        request.values[header].data = NULL
    if not read_line(&at, end, &line) or not read_target(line, &request.target):
        return False
    while at < end:
        n += 1
        if n > MAX_HEADERS or not read_line(&at, end, &line) or not read_header(line, &name, &value):
            return False
        header = header_of(name)
        if header == OTHER:
            continue
        if header == FORBIDDEN or request.values[header].data != NULL:
            return False
        check(value.data + value.size <= end)
        request.values[header] = value
    return is_upgrade(request)


cdef bint is_upgrade(const Request* request) noexcept nogil:
    cdef int header
    for header in range(HOST, PROTOCOL):
        if request.values[header].data == NULL:
            return False
    return (is_word(request.values[UPGRADE], "websocket", 9) and lists_upgrade(request.values[CONNECTION])
            and is_word(request.values[VERSION], "13", 2) and is_key(request.values[KEY]))


cdef bint is_accept_of(Text key, const char* accept) noexcept nogil:
    """By the code that every processor runs."""
    cdef char[ACCEPT_SIZE] again
    accept_of_key(key.data, again, False)
    return memcmp(again, accept, ACCEPT_SIZE) == 0


cdef bytes accept_of(Text key):
    cdef bytes accept = PyBytes_FromStringAndSize(NULL, ACCEPT_SIZE)
    check(key.size == ACCEPT_KEY_SIZE)
    accept_of_key(key.data, PyBytes_AS_STRING(accept), BY_PROCESSOR)
    check(is_accept_of(key, PyBytes_AS_STRING(accept)))
    return accept


cdef bytes to_bytes(Text text):
    return None if text.data == NULL else PyBytes_FromStringAndSize(text.data, text.size)


def read(head: bytes) -> tuple | None:
    """A usual upgrade request, given without its empty line: (target, ``Sec-WebSocket-Protocol``, ``Sec-WebSocket-Extensions``,
    ``Authorization``, ``Origin``, ``Host``, the value for ``Sec-WebSocket-Accept``), the headers None where they are missing.

    Returns None for a request that is wrong or just unusual, such as one with a header twice or a character beyond ASCII:
    ``parse`` it.
    """
    cdef Request request
    if not read_request(head, len(head), &request):
        return None
    return (
        to_bytes(request.target),
        to_bytes(request.values[PROTOCOL]),
        to_bytes(request.values[EXTENSIONS]),
        to_bytes(request.values[AUTHORIZATION]),
        to_bytes(request.values[ORIGIN]),
        to_bytes(request.values[HOST]),
        accept_of(request.values[KEY]),
    )


def parse(head: bytes):
    """Any HTTP/1.1 GET without a body, by picows. Raises RuntimeError, which says what is wrong."""
    return _parse_http_request(head)


def validate(request) -> bytes:
    """The value for ``Sec-WebSocket-Accept``, by picows. Raises RuntimeError if the request is no upgrade to a WebSocket."""
    return _validate_upgrade_request(request)
