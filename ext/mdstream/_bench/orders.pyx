from libc.string cimport memcpy

from mdstream._core.base.buffer cimport buffer_reserve
from mdstream._core.base.digits cimport INT_MAX_MSGPACK, SLACK, UINT_MAX_TEXT, pack_array, pack_int, pack_text_header, pack_uint, put_int, put_text
from mdstream._core.websocket.frame cimport HEADER_MAX, put_header

cdef enum:
    MASK_SIZE = 4
    FIXED_MAX = 256             # bytes of a command without its instruments
    EACH_MAX = 16 + 2 * UINT_MAX_TEXT + 2 * INT_MAX_MSGPACK

# A fixed mask is enough: masks protect proxies, and there are none here.
cdef uint8_t[MASK_SIZE] MASK = [0x9E, 0x37, 0x79, 0xB9]


cdef int put_client_frame(Buffer* out, uint8_t opcode, const char* payload, Py_ssize_t size) except -1 nogil:
    buffer_reserve(out, size + HEADER_MAX + MASK_SIZE)
    memcpy(out.data + out.size + HEADER_MAX + MASK_SIZE, payload, <size_t>size)
    close_frame(out, opcode, size)
    return 0


cdef void close_frame(Buffer* out, uint8_t opcode, Py_ssize_t size) noexcept nogil:
    """Masks the payload, which starts HEADER_MAX + MASK_SIZE past the end, and moves it to its header."""
    cdef char* start = out.data + out.size
    cdef const uint8_t* payload = <const uint8_t*>start + HEADER_MAX + MASK_SIZE
    cdef Py_ssize_t head = put_header(start, opcode, size)
    cdef Py_ssize_t i
    start[1] |= <char>0x80
    memcpy(start + head, MASK, MASK_SIZE)
    start += head + MASK_SIZE
    for i in range(size):
        start[i] = <char>(payload[i] ^ MASK[i & 3])
    out.size += head + MASK_SIZE + size


cdef inline char* put_bytes(char* at, const char* text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, <size_t>size)
    return at + size


cdef inline char* pack_text(char* at, const char* text, Py_ssize_t size) noexcept nogil:
    return put_bytes(pack_text_header(at, size), text, size)


cdef inline char* pack_map(char* at, int count) noexcept nogil:
    at[0] = <char>(0x80 | count)
    return at + 1


cdef int put_subscribe(Buffer* out, Format format, int64_t id, const Topic* topic, const WantedInstrument* wanted, Py_ssize_t count) except -1 nogil:
    cdef Py_ssize_t room = FIXED_MAX + topic.channel.size + HEADER_MAX + MASK_SIZE + SLACK
    cdef Py_ssize_t i
    cdef char* start
    cdef char* end
    for i in range(count):
        room += 2 * wanted[i].name.size + EACH_MAX          # it may also be in `resume`
    buffer_reserve(out, room)
    start = out.data + out.size + HEADER_MAX + MASK_SIZE
    if format == FORMAT_JSON:
        end = json_subscribe(start, id, topic, wanted, count)
    else:
        end = msgpack_subscribe(start, id, topic, wanted, count)
    close_frame(out, <uint8_t>format, end - start)
    return 0


cdef char* json_subscribe(char* at, int64_t id, const Topic* topic, const WantedInstrument* wanted, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    at = put_int(put_text(at, b'{"op":"subscribe","id":'), id)
    at = put_bytes(put_text(at, b',"channel":"'), topic.channel.text, topic.channel.size)
    at = put_text(at, b'"')
    if topic.is_book:
        at = put_int(put_text(at, b',"depth":'), topic.depth)
        at = put_int(put_text(at, b',"group":'), topic.group)
        at = put_int(put_text(at, b',"interval_ms":'), topic.interval_ms)
    elif topic.interval_ms:
        at = put_int(put_text(at, b',"interval_ms":'), topic.interval_ms)
    at = put_text(at, b',"instruments":[')
    for i in range(count):
        at = json_name(at, &wanted[i].name, i > 0)
    at = json_resume(put_text(at, b"]"), wanted, count)
    return put_text(at, b"}")


cdef char* json_name(char* at, const Name* name, bint follows) noexcept nogil:
    if follows:
        at = put_text(at, b",")
    return put_text(put_bytes(put_text(at, b'"'), name.text, name.size), b'"')


cdef char* json_resume(char* at, const WantedInstrument* wanted, Py_ssize_t count) noexcept nogil:
    cdef bint follows = False
    cdef Py_ssize_t i
    for i in range(count):
        if not wanted[i].epoch:
            continue
        if not follows:
            at = put_text(at, b',"resume":{')
        at = json_name(at, &wanted[i].name, follows)
        at = put_int(put_text(at, b":["), <int64_t>wanted[i].epoch)
        at = put_text(put_int(put_text(at, b","), <int64_t>wanted[i].seq), b"]")
        follows = True
    return put_text(at, b"}") if follows else at


cdef char* msgpack_subscribe(char* at, int64_t id, const Topic* topic, const WantedInstrument* wanted, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i, resumed = 0
    cdef int more
    for i in range(count):
        resumed += wanted[i].epoch != 0
    more = 3 if topic.is_book else 1 if topic.interval_ms else 0
    at = pack_map(at, 4 + more + (resumed > 0))
    at = pack_text(pack_text(at, b"op", 2), b"subscribe", 9)
    at = pack_int(pack_text(at, b"id", 2), id)
    at = pack_text(pack_text(at, b"channel", 7), topic.channel.text, topic.channel.size)
    if topic.is_book:
        at = pack_int(pack_text(at, b"depth", 5), topic.depth)
        at = pack_int(pack_text(at, b"group", 5), topic.group)
        at = pack_int(pack_text(at, b"interval_ms", 11), topic.interval_ms)
    elif topic.interval_ms:
        at = pack_int(pack_text(at, b"interval_ms", 11), topic.interval_ms)
    at = pack_array(pack_text(at, b"instruments", 11), count)
    for i in range(count):
        at = pack_text(at, wanted[i].name.text, wanted[i].name.size)
    return msgpack_resume(at, wanted, count, resumed)


cdef char* msgpack_resume(char* at, const WantedInstrument* wanted, Py_ssize_t count, Py_ssize_t resumed) noexcept nogil:
    cdef Py_ssize_t i
    if resumed == 0:
        return at
    at = pack_text(at, b"resume", 6)
    if resumed < 16:
        at = pack_map(at, <int>resumed)
    else:
        at[0] = <char>0xDE
        at[1], at[2] = <char>(resumed >> 8), <char>resumed
        at += 3
    for i in range(count):
        if wanted[i].epoch:
            at = pack_array(pack_text(at, wanted[i].name.text, wanted[i].name.size), 2)
            at = pack_uint(pack_uint(at, wanted[i].epoch), wanted[i].seq)
    return at


cdef int put_recover(Buffer* out, Format format, int64_t sub, uint64_t first) except -1 nogil:
    cdef char* start
    cdef char* at
    buffer_reserve(out, FIXED_MAX + HEADER_MAX + MASK_SIZE)
    start = out.data + out.size + HEADER_MAX + MASK_SIZE
    if format == FORMAT_JSON:
        at = put_int(put_text(start, b'{"op":"recover","sub":'), sub)
        at = put_text(put_int(put_text(at, b',"from":'), <int64_t>first), b"}")
    else:
        at = pack_text(pack_text(pack_map(start, 3), b"op", 2), b"recover", 7)
        at = pack_int(pack_text(at, b"sub", 3), sub)
        at = pack_uint(pack_text(at, b"from", 4), first)
    close_frame(out, <uint8_t>format, at - start)
    return 0
