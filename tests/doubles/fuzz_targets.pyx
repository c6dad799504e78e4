"""The decoders as fuzz targets: functions of C that a fuzzer calls with any bytes, and the same for Python.

A target fails where a decoder raises what it does not document, or where two ways to read the same bytes disagree. Of bytes that
leave their buffer, and of broken invariants, a build with sanitizers and assertions tells.
"""

import traceback

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, memset

from mdstream._core.codec.deflate cimport Deflater, decompress
from mdstream._core.codec.feed_decoder cimport BookUpdate, next_book, next_snap, next_trade, sides_touched, snap_head
from mdstream._core.codec.msgpack_reader cimport Cursor, cursor_open
from mdstream._core.codec.variant cimport DEFLATE
from mdstream._core.entry.shares cimport Share, ShareTable
from mdstream._core.entry.visitor cimport Visitor
from mdstream._core.fanout.flush_scheduler cimport FlushScheduler
from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.net.session cimport Session
from mdstream._core.orderbook.levels cimport levels_free
from mdstream._core.orderbook.trade_log cimport Trade
from mdstream._core.websocket.frame cimport OP_CLOSE, OP_TEXT, RSV1
from mdstream._core.websocket.frame_parser cimport FrameParser, Piece, frame_parser_free, frame_parser_next
from mdstream._core.websocket.message_assembler cimport (
    FED_WHOLE, MessageAssembler, assembler_feed, assembler_free, close_code
)

import decimal
import json
import re
from decimal import Decimal

import msgspec

from mdstream._core.base.decimals import format_decimal, parse_levels, ticks_of, to_integer
from mdstream._core.codec import encode, feed_encoder
from mdstream._core.codec.duplicate_keys import count_json_keys, count_keys, count_msgpack_keys
from mdstream._core.codec.feed_decoder import decode_payload
from mdstream._core.fanout.hub import Hub
from mdstream._core.ingest.intake import BookIntake, InstrumentReceiver, TradeIntake
from mdstream._core.ingest.nats_scanner import ScanError
from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers
from mdstream._core.net.session_group import SessionGroup, SessionLimits
from mdstream._core.websocket import upgrade_request
from mdstream.errors import BookError, PayloadError
from mdstream.model import MAX_NUMBER

cdef enum:
    MAX_MESSAGE = 512           # bytes: small, so that inputs reach it
    MAX_UNPACKED = 4096

cdef tuple STREAMS = ("book", "snap", "trade", "status", "ref")
cdef tuple OPERATIONS = ("book", "trade", "snap", "snap by force", "agrees", "begin")
cdef str NAME = "SIM:X"
cdef tuple VIOLATIONS = (1002, 1007, 1009)
cdef dict PACKERS = {"book": feed_encoder.pack_book, "snap": feed_encoder.pack_snap, "trade": feed_encoder.pack_trade}
DECIMAL_TEXT = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII).fullmatch
LEVEL = re.compile(r"level (\d+): ").match
cdef tuple NO_NUMBER = ("is no decimal number",)
cdef tuple NOT_FINITE = ("is not finite",)
cdef tuple TOO_BIG = ("is out of range",)
cdef tuple TOO_FINE = ("off tick",)
cdef object EXACT = decimal.Context(prec=40_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
cdef int LONG = 128             # so many times as long: beyond what Python turns from text into an integer
cdef int FAR = 1_000            # decimal places beyond which the context of EXACT might round
cdef Deflater deflater = Deflater(1, 1)
cdef object BOUNDED = SessionLimits(
    max_message_bytes=MAX_MESSAGE, control_frames_burst=2, control_frames_per_second=1, decoded_bytes_burst=64, decoded_bytes_per_second=1
)
cdef bytes CLOSE_FRAME = b"\x88"


class Failed(AssertionError):
    """What a target found."""


cdef int need(bint condition, str what) except -1:
    if not condition:
        raise Failed(what)
    return 0


# ---- payloads of feeds

cdef int decode_feed(const uint8_t* data, size_t size) except -1:
    """The first byte chooses the stream."""
    if size == 0:
        return 0
    payload = PyBytes_FromStringAndSize(<const char*>data + 1, size - 1)
    try:
        decode_in_place(data[0] % 5, <const char*>data + 1, size - 1)
        values = decode_payload(STREAMS[data[0] % 5], payload)
    except PayloadError as error:
        need(0 <= error.offset <= len(payload) and error.value >= 0, "a refusal that names no place")
        str(error)
    else:
        need(len(values) > 0, "a payload without a value")
    return 0


cdef int decode_in_place(int stream, const char* payload, Py_ssize_t size) except -1:
    """As live messages are read, without a copy: a sanitizer knows where they end."""
    cdef Cursor cursor
    cdef BookUpdate update
    cdef Trade trade
    cdef uint64_t epoch = 0
    cdef uint64_t seq = 0
    cdef bint more = True
    cdef bint bids, asks
    memset(&update, 0, sizeof(update))
    snap_head(payload, size, &epoch, &seq)
    sides_touched(payload, size, &bids, &asks)
    cursor_open(&cursor, <PyObject*>NAME, payload, size)
    try:
        while more:
            if stream == 0:
                more = next_book(&cursor, &update)
            elif stream == 1:
                more = next_snap(&cursor, &update)
            else:
                more = stream == 2 and next_trade(&cursor, &epoch, &trade)
    finally:
        levels_free(&update.bids)
        levels_free(&update.asks)
    return 0


cdef int drive_instrument(const uint8_t* data, size_t size) except -1:
    """Operations one after another: a byte that chooses it, a byte with the size of its payload, the payload."""
    cdef size_t at = 0
    cdef size_t length
    cdef Instrument instrument = Instrument(NAME, -2, -8, log_capacity=8, max_levels=15)
    while at + 2 <= size:
        operation = OPERATIONS[data[at] % 6]
        length = min(<size_t>data[at + 1], size - at - 2)
        operate(instrument, operation, <const char*>data + at + 2, length)
        at += 2 + length
    bids, asks = instrument.book.view() or ([], [])
    need(bids[::2] == sorted(set(bids[::2]), reverse=True) and asks[::2] == sorted(set(asks[::2])), "levels out of order")
    need(not bids or not asks or bids[0] < asks[0], "a crossed book")
    need(max(len(bids), len(asks)) <= 30, "more levels than allowed")
    return 0


cdef int operate(Instrument instrument, str operation, const char* data, Py_ssize_t size) except -1:
    """The payload is a copy of its own size: a sanitizer knows where it ends."""
    cdef char* payload = <char*>malloc(size)
    memcpy(payload, data, size)
    try:
        if operation == "book":
            instrument.c_take_book(payload, size)
        elif operation == "trade":
            instrument.c_take_trades(payload, size)
        elif operation == "agrees":
            instrument.c_agrees(payload, size)
        elif operation == "begin":
            instrument.begin(instrument.epoch + 1 + size)
        else:
            instrument.c_load_snap(payload, size, operation == "snap by force")
    except (PayloadError, BookError) as error:
        str(error)
    finally:
        free(payload)
    return 0


# ---- what a feed says, as it is told

cdef int encode_values(const uint8_t* data, size_t size) except -1:
    """The values of a feed's payload, published again and told to clients, are the same in every form. The first byte chooses the stream,
    the next two the exponents."""
    if size < 3:
        return 0
    stream = STREAMS[data[0] % 3]
    try:
        values = decode_payload(stream, PyBytes_FromStringAndSize(<const char*>data + 3, size - 3))
    except PayloadError:
        return 0
    scale = data[1] % 37 - 18, data[2] % 37 - 18
    for value in values:
        packed = PACKERS[stream](*value)
        if decode_payload(stream, packed) != [value]:
            raise Failed(f"{value} is published as {packed}")
        if stream == "trade":
            tell_trade(value, scale)
        else:
            tell_book(value, stream == "snap", scale)
    return 0


cdef int tell_book(object value, bint snap, tuple scale) except -1:
    epoch, seq, ts_us, bids, asks = value if snap else (value.epoch, value.last, value.ts_us, value.bids, value.asks)
    sub, crc = epoch & 0xFFFFFFFF, seq & 0xFFFFFFFF
    sides = {"bids": as_text(bids, scale), "asks": as_text(asks, scale)}
    quotes = [side[:2] if side and side[1] else None for side in (bids, asks, bids[-2:])]
    if snap:
        told = {"type": "snapshot", "sub": sub, "epoch": epoch, "seq": seq, "ts": ts_us, **sides, "crc": crc, "reason": "epoch"}
        agree(encode.snapshot, (sub, epoch, seq, ts_us, bids, asks, crc, "epoch", *scale), told,
              [2, sub, epoch, seq, ts_us, bids, asks, crc, "epoch"])
    else:
        told = {"type": "delta", "sub": sub, "first": value.first, "last": seq, "ts": ts_us, **sides, "crc": crc}
        agree(encode.delta, (sub, value.first, seq, ts_us, bids, asks, crc, *scale), told,
              [1, sub, value.first, seq, ts_us, bids, asks, crc])
    told = {"type": "ticker", "sub": sub, "epoch": epoch, "seq": seq, "ts": ts_us}
    told |= {name: quote and as_text(quote, scale)[0] for name, quote in zip(("bid", "ask", "last"), quotes, strict=True)}
    agree(encode.ticker, (sub, epoch, seq, ts_us, *quotes, *scale), told,
          [4, sub, epoch, seq, ts_us, *(number for quote in quotes for number in quote or (None, None))])
    agree(encode.heartbeat, (ts_us, [(sub, seq), (crc, epoch)]),
          {"type": "heartbeat", "time": ts_us, "seqs": [[sub, seq], [crc, epoch]]}, [5, ts_us, [sub, seq, crc, epoch]])
    return 0


cdef int tell_trade(object value, tuple scale) except -1:
    epoch, seq, ts_us, ticks, lots, side, trade_id = value
    sub = epoch & 0xFFFFFFFF
    trade = ts_us, ticks, lots, (None, "buy", "sell")[side], trade_id
    price, amount = as_text([ticks, lots], scale)[0]
    told = {"type": "trades", "sub": sub, "epoch": epoch, "first": seq, "last": seq + 1}
    told["trades"] = [[number, ts_us, price, amount, trade[3], trade_id] for number in (seq, seq + 1)]
    agree(encode.trades, (sub, epoch, seq, [trade, trade], *scale), told,
          [3, sub, epoch, seq, seq + 1, [[number, ts_us, ticks, lots, side, trade_id] for number in (seq, seq + 1)]])
    return 0


cdef int agree(object encoder, tuple values, dict told, list packed) except -1:
    text, binary = encoder(encode.JSON, *values), encoder(encode.MSGPACK, *values)
    if msgspec.json.decode(text) != told:
        raise Failed(f"{told} is told as {text}")
    if msgspec.msgpack.decode(binary) != packed:
        raise Failed(f"{packed} is told as {binary}")
    return 0


cdef list as_text(list levels, tuple scale):
    return [
        [format_decimal(ticks, scale[0]), format_decimal(lots, scale[1])]
        for ticks, lots in zip(levels[::2], levels[1::2], strict=True)
    ]


# ---- decimals

cdef int read_decimals(const uint8_t* data, size_t size) except -1:
    """The first byte chooses the exponent, the second what the others are: text, a Decimal, an integer, or levels in JSON."""
    cdef int exp
    if size < 2:
        return 0
    exp = data[0] % 37 - 18
    raw = PyBytes_FromStringAndSize(<const char*>data + 2, size - 2)
    text = raw.decode("utf-8", "surrogateescape")
    if data[1] & 0x80:
        text *= LONG
    if data[1] & 3 == 0:
        read_text(text, exp)
    elif data[1] & 3 == 1:
        read_decimal(text, exp)
    elif data[1] & 3 == 2:
        read_integer(int.from_bytes(raw, "little", signed=True) << ((data[1] & 0x7C) * LONG if data[1] & 0x80 else 0), exp)
    else:
        read_levels(raw, exp, data[1] % 37 - 18)
    return 0


cdef int read_text(str text, int exp) except -1:
    wanted = exact(Decimal(text), exp) if DECIMAL_TEXT(text) else NO_NUMBER
    agree_on(ticks_of, text, exp, wanted)
    return agree_on(to_integer, text, exp, wanted)


cdef int read_decimal(str text, int exp) except -1:
    try:
        value = Decimal(text)
    except decimal.InvalidOperation:
        return 0
    return agree_on(to_integer, value, exp, exact(value, exp))


cdef int read_integer(object value, int exp) except -1:
    cdef int64_t wrapped = <int64_t><uint64_t>(value & 0xFFFFFFFFFFFFFFFF)
    agree_on(to_integer, value, exp, exact(Decimal(value), exp))
    text = format_decimal(wrapped, exp)
    if Decimal(text) != Decimal(wrapped).scaleb(exp, EXACT):
        raise Failed(f"{wrapped} with exponent {exp} becomes {text}")
    if len(text.partition(".")[2]) != max(-exp, 0):
        raise Failed(f"{text} has another number of decimals than {-exp}")
    return agree_on(ticks_of, text, exp, exact(Decimal(text), exp))


cdef int agree_on(object read, object value, int exp, object wanted) except -1:
    """``wanted``: the integer, or what the refusal may say."""
    try:
        found = read(value, exp)
    except ValueError as error:
        said = str(error)
        if not isinstance(wanted, tuple) or not any([part in said for part in wanted]):
            raise Failed(f"refused, with exponent {exp}: {said:.200}") from error
    else:
        if found != wanted:
            raise Failed(f"with exponent {exp}, {found} is read, not {wanted}")
    return 0


cdef object exact(object value, int exp):
    """By the decimal module: the value in units of 10^exp, or what a refusal may say, where it is none."""
    if not value.is_finite():
        return NOT_FINITE
    if not value:
        return 0
    if abs(value.adjusted()) > FAR:
        return TOO_BIG + TOO_FINE if value.adjusted() > 0 else TOO_FINE
    scaled = value.scaleb(-exp, EXACT)
    why = (TOO_BIG if scaled.copy_abs() > MAX_NUMBER else ()) + (TOO_FINE if scaled != scaled.to_integral_value() else ())
    return why or int(scaled)


cdef int read_levels(bytes payload, int price_exp, int size_exp) except -1:
    """Pairs of any shape, as JSON has them: what is taken is what each number is by itself, and what is refused is so at that level."""
    try:
        pairs = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0
    try:
        flat = parse_levels(pairs, price_exp, size_exp).tolist()
    except (TypeError, ValueError) as error:
        refused = LEVEL(str(error))
        if refused is None and isinstance(pairs, (list, dict, str)):
            raise Failed(f"a refusal that names no level: {error}")
        if refused is not None:
            parse_levels(list(pairs)[:int(refused[1])], price_exp, size_exp)
            if are_numbers(list(pairs)[int(refused[1])], price_exp, size_exp):
                raise Failed(f"refused, though each is a number: {error}")
        return 0
    need(flat == [to_integer(*each) for pair in pairs for each in zip(pair, (price_exp, size_exp), strict=True)], "other levels")
    return 0


cdef bint are_numbers(object pair, int price_exp, int size_exp) except -1:
    try:
        price, size = pair
        to_integer(price, price_exp)
        to_integer(size, size_exp)
    except (TypeError, ValueError):
        return False
    return True


# ---- frames and messages

cdef class Frames:
    """One client's bytes through the parser and the assembler; keeps what came out."""
    cdef FrameParser parser
    cdef MessageAssembler assembler
    cdef list out
    cdef bint over

    def __cinit__(self, bint compression):
        self.parser.compression = compression
        self.out = []

    def __dealloc__(self):
        assembler_free(&self.assembler)
        frame_parser_free(&self.parser)

    cdef int feed(self, const uint8_t* data, size_t size) except -1:
        cdef char* copied = <char*>malloc(size)             # it is unmasked in place
        memcpy(copied, data, size)
        try:
            self.parse(copied, copied + size)
        finally:
            free(copied)
        return 0

    cdef int parse(self, char* at, char* end) except -1:
        cdef Piece piece
        cdef int result = 1
        while result > 0 and not self.over:
            result = frame_parser_next(&self.parser, &at, end, MAX_MESSAGE, &piece)
            if result > 0:
                self.take(&piece)
        if result < 0 and not self.over:
            self.end(-result)
        return 0

    cdef int end(self, int code) except -1:
        if code not in VIOLATIONS:
            raise Failed(f"a violation is told as {code}")
        self.out.append(code)
        self.over = True
        return 0

    cdef int take(self, const Piece* piece) except -1:
        cdef Piece whole
        cdef int fed
        if piece.opcode >= OP_CLOSE:
            self.out.append((piece.opcode, piece.data[:piece.size]))
            if piece.opcode == OP_CLOSE:
                self.out.append(close_code(piece.data, piece.size))
                self.over = True
            return 0
        fed = assembler_feed(&self.assembler, piece, MAX_MESSAGE, &whole)
        if fed < 0:
            return self.end(-fed)
        if fed == FED_WHOLE:
            need(whole.size <= MAX_MESSAGE, "a message is larger than allowed")
            if whole.opcode == OP_TEXT and not whole.compressed:
                PyUnicode_DecodeUTF8(whole.data, whole.size, NULL)
            self.out.append((whole.opcode | (RSV1 if whole.compressed else 0), whole.data[:whole.size]))
        return 0


cdef int parse_frames(const uint8_t* data, size_t size) except -1:
    """However the bytes are cut into reads, the same messages come out. The first byte chooses compression, the second the cuts."""
    cdef Frames whole, cut
    cdef size_t at = 2
    cdef size_t step
    if size < 2:
        return 0
    whole = Frames(data[0] & 1)
    whole.feed(data + 2, size - 2)
    cut = Frames(data[0] & 1)
    step = 1 + data[1] % 16
    while at < size:
        cut.feed(data + at, min(step, size - at))
        at += step
    if comparable(whole.out) != comparable(cut.out):
        raise Failed(f"{whole.out} came in one read, {cut.out} in several")
    return 0


cdef list comparable(list out):
    """A message both too big and no UTF-8 is refused for what is seen first, which depends on the reads."""
    return [1007 if each == 1009 else each for each in out]


cdef int inflate_message(const uint8_t* data, size_t size) except -1:
    """Unpacks the bytes; compresses them too, and unpacks that."""
    cdef int violation = 0
    cdef Py_ssize_t packed_size = 0
    message = decompress(<const char*>data, size, MAX_UNPACKED, &violation)
    if message is None:
        if violation != 1007 and violation != 1009:
            raise Failed(f"a violation is told as {violation}")
    else:
        need(len(message) <= MAX_UNPACKED, "more bytes than allowed")
    if 0 < size <= MAX_UNPACKED:
        packed = deflater.c_compress(DEFLATE, <const char*>data, size, &packed_size)
        message = decompress(<const char*>(<bytes>packed), packed_size, MAX_UNPACKED, &violation)
        need(message == data[:size], "what was compressed comes back as something else")
    return 0


# ---- sessions

cdef class Wire:
    """A transport as that of TLS: it takes all that is written at once, and has no socket. ``told``: what the session's callbacks were."""
    cdef list written
    cdef readonly list told
    cdef list close_codes
    cdef bint closing
    cdef bint gone
    cdef bint reading

    def __cinit__(self):
        self.written, self.told, self.close_codes = [], [], []
        self.reading = True

    def get_extra_info(self, name):
        return self if name == "ssl_object" else None

    def get_write_buffer_size(self):
        return 0

    def can_write_eof(self):
        return True

    def write(self, bytes data):
        need(not self.gone, "something is written after the end")
        if data[:1] == CLOSE_FRAME:
            self.close_codes.append(int.from_bytes(data[2:4]))
        else:
            self.written.append(data)

    def write_eof(self):
        self.closing = True

    def close(self):
        self.closing = self.gone = True

    def abort(self):
        self.closing = self.gone = True

    def is_closing(self):
        return self.gone

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    cdef list all_of_it(self):
        """What must be the same however the bytes came."""
        return [self.told, b"".join(self.written), comparable(self.close_codes), self.gone]


cdef class Room:
    """Sessions of one format, one after another. Each request is accepted at once, or ``late``: when all has come."""
    cdef object group
    cdef int format, window_bits
    cdef bint late

    def __init__(self, int format, int window_bits, limits):
        self.format, self.window_bits = format, window_bits
        self.group = SessionGroup(
            Hub(), on_request=self.requested, on_open=self.opened, on_message=self.received, on_close=self.closed, on_gone=self.left,
            on_limited=self.limited, limits=limits,
        )

    def requested(self, Session session, bytes head):
        session.context.told.append(head)
        if not self.late:
            self.accept(session)

    def opened(self, Session session):
        session.context.told.append("opened")

    def received(self, Session session, bytes payload):
        """Answers, and reads no more for a while if that begins with ``p``."""
        need(len(payload) <= MAX_MESSAGE, "a message is larger than allowed")
        session.context.told.append(payload)
        session.send_control(payload)
        if payload[:1] == b"p":
            session.pause_input()

    def closed(self, Session session, int code):
        session.context.told.append(1007 if code == 1009 else code)

    def left(self, Session session):
        session.context.told.append("left")

    def limited(self, Session session, str kind):
        session.context.told.append(kind)

    cdef int accept(self, Session session) except -1:
        session.accept(b"accepted", self.format, self.window_bits)
        return 0

    cdef Wire serve(self, const uint8_t* data, size_t size, size_t step, bint late):
        """A client's whole life; its bytes come in steps."""
        cdef Session session = Session.__new__(Session)
        cdef Wire wire = Wire()
        cdef size_t at = 0
        self.late = late
        session.c_begin(self.group)
        session.c_on_connection(wire)
        session.context = wire
        while at < size and not wire.gone:
            feed_copy(session, data + at, min(step, size - at))
            at += step
            while not wire.reading and not late:
                session.resume_input()
        if late and not wire.gone and wire.told:
            self.accept(session)
            while not wire.reading:
                session.resume_input()
        session.c_lost()
        need(not wire.close_codes or wire.close_codes[0] != 1011, "an internal error")
        need(len(wire.close_codes) <= 1, "two close frames")
        need(self.group.connections == self.group.half_open == 0, "a session that has ended is still counted")
        need("left" in wire.told or "opened" in wire.told, "nobody is told of its end")
        return wire


cdef list ROOMS = [
    Room(number & 1, 15 if number & 2 else 0, BOUNDED if number & 4 else SessionLimits(max_message_bytes=MAX_MESSAGE)) for number in range(6)
]


cdef int feed_copy(Session session, const uint8_t* data, size_t size) except -1:
    cdef char* copied = <char*>malloc(size)             # it is unmasked in place
    memcpy(copied, data, size)
    try:
        session.c_received(copied, size)
    finally:
        free(copied)
    return 0


cdef int serve_session(const uint8_t* data, size_t size) except -1:
    """However a client's bytes come, from its request on, the same is said and answered. The first byte chooses format, compression and
    when the request is accepted, or bounds what may be sent; the second the steps."""
    cdef Room room
    cdef Wire whole, cut
    cdef bint bounded
    if size < 2:
        return 0
    bounded = data[0] & 8
    room = ROOMS[data[0] & 1 | (4 if bounded else data[0] & 2)]
    whole = room.serve(data + 2, size - 2, size, data[0] & 4)
    if not bounded:                 # by the time that passes
        cut = room.serve(data + 2, size - 2, 1 + data[1] % 32, data[0] & 4)
        if whole.all_of_it() != cut.all_of_it():
            raise Failed(f"{whole.all_of_it()} in one read, {cut.all_of_it()} in several")
    return 0


# ---- upgrade requests and commands

cdef int read_upgrade(const uint8_t* data, size_t size) except -1:
    """The quick reader accepts nothing that the strict one refuses."""
    head = PyBytes_FromStringAndSize(<const char*>data, size)
    usual = upgrade_request.read(head)
    try:
        request = upgrade_request.parse(head)
    except (RuntimeError, ValueError) as error:
        if usual is not None:
            raise Failed(f"accepted, though {error}")
        return 0
    if usual is not None:
        need(request.path == usual[0], "another target")
        request.headers["Connection"] = "upgrade"
        need(upgrade_request.validate(request) == usual[-1], "another key")
    return 0


cdef int count_all_keys(const uint8_t* data, size_t size) except -1:
    """The first byte chooses the format. Of valid bytes, the decoded value has as many keys as were sent, or fewer if one was sent twice."""
    if size == 0:
        return 0
    payload = PyBytes_FromStringAndSize(<const char*>data + 1, size - 1)
    counted = count_msgpack_keys(payload) if data[0] & 1 else count_json_keys(payload)
    try:
        value = (msgspec.msgpack if data[0] & 1 else msgspec.json).decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0
    kept = count_keys(value)
    if kept > counted:
        raise Failed(f"{counted} keys were counted of {kept}")
    if not data[0] & 1 and kept >= 0:
        pairs = []
        json.loads(payload, object_pairs_hook=lambda some: pairs.extend(some) or dict(some))
        if len(pairs) != counted:
            raise Failed(f"{counted} keys were counted of {len(pairs)}")
    return 0


# ---- the bus

cdef list scan(bytes data, size_t step):
    """What a tap makes of the bytes, read in steps."""
    cdef list taken = []
    return [taken, *tapped(Handlers({7: lambda *message: taken.append(message)}), data, step)]


cdef list tapped(object handlers, bytes data, size_t step):
    """What it passes on, and what goes wrong."""
    cdef list passed = []
    cdef list faults = []
    cdef size_t at = 0
    cdef size_t end
    tap = NatsTap(handlers, {"in_msgs": 0, "in_bytes": 0}, passed.append, lambda error: faults.append(type(error)))
    while at < <size_t>len(data):
        end = min(at + step, <size_t>len(data))
        tap.feed(data[at:end])      # not through get_buffer: its 256 KiB would take most of the time under a sanitizer
        at = end
    return [b"".join(passed), faults]


cdef int scan_nats(const uint8_t* data, size_t size) except -1:
    """However what the server sends is cut into reads, the same messages are taken and the rest is passed on. The first byte chooses
    the cuts."""
    if size == 0:
        return 0
    payload = PyBytes_FromStringAndSize(<const char*>data + 1, size - 1)
    whole, cut = scan(payload, 1 << 16), scan(payload, 1 + data[0] % 32)
    if whole[0] != cut[0]:
        raise Failed(f"{whole[0]} was taken in one read, {cut[0]} in several")
    need(bool(whole[2]) or whole[1] == cut[1] or bool(cut[2]), "other bytes are passed on")
    return 0


cdef object BUS = Hub(log_capacity=8, trade_capacity=8, max_levels=15)
cdef FlushScheduler SCHEDULER = FlushScheduler(BUS)
SCHEDULER.reading = True        # so it is never asked for a flush


cdef list receive(bytes data, size_t step):
    """What the receiver of an instrument makes of the messages in these bytes, read in steps."""
    cdef list passed = []
    cdef Instrument instrument = BUS.add_instrument(NAME, -2, -8)
    receiver = InstrumentReceiver(lambda *message: passed.append(message), lambda: None, SCHEDULER)
    receiver.book, receiver.trades = BookIntake(BUS, instrument), TradeIntake(BUS, instrument)
    try:
        rest, faults = tapped(Handlers({7: receiver}), data, step)
    finally:
        BUS.flush(1)
        BUS.remove_instrument(instrument)
    need(all([fault is ScanError for fault in faults]), "a receiver raises something")
    book, trades = instrument.book, instrument.trades
    return [passed, rest, faults, instrument.epoch, book.epoch, book.seq, book.view(), trades.epoch, trades.seq, trades.get(trades.seq)]


cdef int receive_live(const uint8_t* data, size_t size) except -1:
    """However what the server sends is cut into reads, an instrument takes the same and passes on the same. The first byte chooses the
    cuts."""
    if size == 0:
        return 0
    payload = PyBytes_FromStringAndSize(<const char*>data + 1, size - 1)
    whole, cut = receive(payload, 1 << 16), receive(payload, 1 + data[0] % 32)
    if whole[0] != cut[0] or whole[3:] != cut[3:]:
        raise Failed(f"{whole} came of one read, {cut} of several")
    need(bool(whole[2]) or whole[1] == cut[1] or bool(cut[2]), "other bytes are passed on")
    return 0


# ---- counts

cdef int count_of(ShareTable table, list visitors, bint by_user) except -1:
    cdef Share share
    cdef Visitor visitor
    cdef Py_ssize_t connections, subscriptions, handshakes
    for share in table._shares.values():
        connections = subscriptions = handshakes = 0
        for visitor in visitors:
            if (visitor.user if by_user else visitor.place) is share:
                connections += visitor.is_in
                subscriptions += visitor.subscriptions
                handshakes += visitor.is_half_open and not by_user
        if share.connections != connections:
            raise Failed(f"{share.connections} connections of {share.key!r}, not {connections}")
        if share.subscriptions != subscriptions:
            raise Failed(f"{share.subscriptions} subscriptions of {share.key!r}, not {subscriptions}")
        if share.handshakes != handshakes:
            raise Failed(f"{share.handshakes} handshakes of {share.key!r}, not {handshakes}")
        if share.is_unused != (share.key in table._unused_since):
            raise Failed(f"{share.key!r} is unused, or not")
    return 0


def check_counts(ShareTable addresses not None, ShareTable users not None, list visitors not None) -> None:
    """What is counted is what these visitors have. Raises AssertionError."""
    count_of(addresses, visitors, False)
    count_of(users, visitors, True)


# ---- for a fuzzer, and for Python

ctypedef int (*Target)(const uint8_t* data, size_t size) except -1

cdef Target[11] targets
targets[0] = decode_feed
targets[1] = drive_instrument
targets[2] = parse_frames
targets[3] = inflate_message
targets[4] = read_upgrade
targets[5] = count_all_keys
targets[6] = scan_nats
targets[7] = read_decimals
targets[8] = encode_values
targets[9] = serve_session
targets[10] = receive_live
NAMES = (
    "feed_decoder", "instrument", "frames", "inflate", "upgrade_request", "duplicate_keys", "nats_scanner", "decimals", "encoders", "session",
    "receiver",
)
cdef int chosen = 0
cdef object called = None


cdef int run_or_abort(const uint8_t* data, size_t size) noexcept:
    """The fuzzer's entry: the chosen target. What it finds ends the process, so that the fuzzer keeps the input."""
    try:
        if called is not None:
            called(PyBytes_FromStringAndSize(<const char*>data, size))
        else:
            targets[chosen](data, size)
    except BaseException:
        traceback.print_exc()
        abort()
    return 0


def entry(name: str, function=None) -> int:
    """The address of a function of C for the fuzzer, ``int (const uint8_t*, size_t)``: it runs the target of that name, or ``function``."""
    global chosen, called
    called = function
    chosen = 0 if function is not None else NAMES.index(name)
    return <uintptr_t>&run_or_abort


def run(name: str, data: bytes) -> None:
    """Runs a target once; raises what it finds."""
    targets[NAMES.index(name)](data, len(data))
