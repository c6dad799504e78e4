from libc.string cimport strlen

ctypedef const char* Words
cdef Words[KINDS] KIND_WORDS = [
    b"", b"delta", b"snapshot", b"trades", b"ticker", b"heartbeat", b"welcome", b"subscribed", b"state", b"lost", b"error", b"drain",
    b"unsubscribed", b"pong", b"ref",
]


cdef int kind_of(const Slice* type) noexcept nogil:
    cdef int kind
    for kind in range(<int>KIND_DELTA, <int>KINDS):
        if slice_is(type, KIND_WORDS[kind], <Py_ssize_t>strlen(KIND_WORDS[kind])):
            return kind
    return KIND_NONE


cdef void take_number(Message* message, const Slice* key, int64_t value) noexcept nogil:
    if slice_is(key, b"sub", 3):
        message.sub = value
        message.has |= HAS_SUB
    elif slice_is(key, b"first", 5):
        message.first = <uint64_t>value
        message.has |= HAS_FIRST
    elif slice_is(key, b"last", 4) or slice_is(key, b"seq", 3):
        message.last = <uint64_t>value
        message.has |= HAS_LAST
    elif slice_is(key, b"ts", 2):
        message.ts_us = <uint64_t>value
        message.has |= HAS_TS
    elif slice_is(key, b"crc", 3):
        message.crc = <uint64_t>value
        message.has |= HAS_CRC
    elif slice_is(key, b"epoch", 5):
        message.epoch = <uint64_t>value
        message.has |= HAS_EPOCH
    elif slice_is(key, b"price_exp", 9):
        message.price_exp = value
    elif slice_is(key, b"size_exp", 8):
        message.size_exp = value
    elif slice_is(key, b"reconnect_after_ms", 18):
        message.reconnect_after_ms = value


cdef void take_text(Message* message, const Slice* key, const Slice* value) noexcept nogil:
    if slice_is(key, b"type", 4):
        message.kind = kind_of(value)
        message.has |= HAS_TYPE
    elif slice_is(key, b"instrument", 10):
        message.instrument = value[0]
    elif slice_is(key, b"code", 4):
        message.code = value[0]
    elif slice_is(key, b"message", 7):
        message.text = value[0]


cdef void take_flag(Message* message, const Slice* key, bint value) noexcept nogil:
    if slice_is(key, b"resumed", 7):
        message.resumed = value


cdef void take_list(Message* message, const Slice* key, const Slice* value) noexcept nogil:
    if slice_is(key, b"bids", 4):
        message.bids = value[0]
        message.has |= HAS_BIDS
    elif slice_is(key, b"asks", 4):
        message.asks = value[0]
        message.has |= HAS_ASKS
    elif slice_is(key, b"trades", 6) or slice_is(key, b"seqs", 4):
        message.rows = value[0]
        message.has |= HAS_ROWS
