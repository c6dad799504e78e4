cdef int kind_of(const Slice* type) noexcept nogil:
    if slice_is(type, b"delta", 5):
        return KIND_DELTA
    if slice_is(type, b"snapshot", 8):
        return KIND_SNAPSHOT
    if slice_is(type, b"trades", 6):
        return KIND_TRADES
    if slice_is(type, b"ticker", 6):
        return KIND_TICKER
    if slice_is(type, b"heartbeat", 9):
        return KIND_HEARTBEAT
    return control_kind(type)


cdef int control_kind(const Slice* type) noexcept nogil:
    if slice_is(type, b"subscribed", 10):
        return KIND_SUBSCRIBED
    if slice_is(type, b"welcome", 7):
        return KIND_WELCOME
    if slice_is(type, b"state", 5):
        return KIND_STATE
    if slice_is(type, b"lost", 4):
        return KIND_LOST
    if slice_is(type, b"error", 5):
        return KIND_ERROR
    if slice_is(type, b"drain", 5):
        return KIND_DRAIN
    if slice_is(type, b"unsubscribed", 12):
        return KIND_UNSUBSCRIBED
    return KIND_PONG if slice_is(type, b"pong", 4) else KIND_NONE


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
