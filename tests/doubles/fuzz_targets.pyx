"""The decoders as fuzz targets: functions of C that a fuzzer calls with any bytes, and the same for Python.

A target fails where a decoder raises what it does not document, or where two ways to read the same bytes disagree. Of bytes that
leave their buffer, and of broken invariants, a build with sanitizers and assertions tells.
"""

import traceback

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport abort, free, malloc
from libc.string cimport memcpy, memset

from mdstream._core.codec.deflate cimport Deflater, decompress
from mdstream._core.codec.feed_decoder cimport BookUpdate, next_book, next_snap, next_trade, snap_head
from mdstream._core.codec.msgpack_reader cimport Cursor, cursor_open
from mdstream._core.codec.variant cimport DEFLATE
from mdstream._core.fanout.instrument cimport Instrument
from mdstream._core.orderbook.levels cimport levels_free
from mdstream._core.orderbook.trade_log cimport Trade
from mdstream._core.websocket.frame cimport OP_CLOSE, OP_TEXT, RSV1
from mdstream._core.websocket.frame_parser cimport FrameParser, Piece, frame_parser_free, frame_parser_next
from mdstream._core.websocket.message_assembler cimport (
    FED_WHOLE, MessageAssembler, assembler_feed, assembler_free, close_code
)

import json

import msgspec

from mdstream._core.codec.duplicate_keys import count_json_keys, count_keys, count_msgpack_keys
from mdstream._core.codec.feed_decoder import decode_payload
from mdstream._core.ingest.nats_tap import NatsTap
from mdstream._core.ingest.receiver import Handlers
from mdstream._core.websocket import upgrade_request
from mdstream.errors import BookError, PayloadError

cdef enum:
    MAX_MESSAGE = 512           # bytes: small, so that inputs reach it
    MAX_UNPACKED = 4096

cdef tuple STREAMS = ("book", "snap", "trade", "status", "ref")
cdef tuple OPERATIONS = ("book", "trade", "snap", "snap by force", "agrees", "begin")
cdef str NAME = "SIM:X"
cdef tuple VIOLATIONS = (1002, 1007, 1009)
cdef Deflater deflater = Deflater(1, 1)


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
    memset(&update, 0, sizeof(update))
    snap_head(payload, size, &epoch, &seq)
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
        need(code in VIOLATIONS, f"a violation is told as {code}")
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
    need(comparable(whole.out) == comparable(cut.out), f"{whole.out} came in one read, {cut.out} in several")
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
        need(violation == 1007 or violation == 1009, f"a violation is told as {violation}")
    else:
        need(len(message) <= MAX_UNPACKED, "more bytes than allowed")
    if 0 < size <= MAX_UNPACKED:
        packed = deflater.c_compress(DEFLATE, <const char*>data, size, &packed_size)
        message = decompress(<const char*>(<bytes>packed), packed_size, MAX_UNPACKED, &violation)
        need(message == data[:size], "what was compressed comes back as something else")
    return 0


# ---- upgrade requests and commands

cdef int read_upgrade(const uint8_t* data, size_t size) except -1:
    """The quick reader accepts nothing that the strict one refuses."""
    head = PyBytes_FromStringAndSize(<const char*>data, size)
    usual = upgrade_request.read(head)
    try:
        request = upgrade_request.parse(head)
    except (RuntimeError, ValueError) as error:
        need(usual is None, f"accepted, though {error}")
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
    need(kept <= counted, f"{counted} keys were counted of {kept}")
    if not data[0] & 1 and kept >= 0:
        pairs = []
        json.loads(payload, object_pairs_hook=lambda some: pairs.extend(some) or dict(some))
        need(len(pairs) == counted, f"{counted} keys were counted of {len(pairs)}")
    return 0


# ---- the bus

cdef list scan(bytes data, size_t step):
    """What a tap makes of the bytes, read in steps."""
    cdef list taken = []
    cdef list passed = []
    cdef list faults = []
    cdef size_t at = 0
    cdef size_t end
    tap = NatsTap(
        Handlers({7: lambda *message: taken.append(message)}), {"in_msgs": 0, "in_bytes": 0}, passed.append,
        lambda error: faults.append(str(error)),
    )
    while at < <size_t>len(data):
        end = min(at + step, <size_t>len(data))
        tap.feed(data[at:end])      # not through get_buffer: its 256 KiB would take most of the time under a sanitizer
        at = end
    return [taken, b"".join(passed), faults]


cdef int scan_nats(const uint8_t* data, size_t size) except -1:
    """However what the server sends is cut into reads, the same messages are taken and the rest is passed on. The first byte chooses
    the cuts."""
    if size == 0:
        return 0
    payload = PyBytes_FromStringAndSize(<const char*>data + 1, size - 1)
    whole, cut = scan(payload, 1 << 16), scan(payload, 1 + data[0] % 32)
    need(whole[0] == cut[0], f"{whole[0]} was taken in one read, {cut[0]} in several")
    need(bool(whole[2]) or whole[1] == cut[1] or bool(cut[2]), "other bytes are passed on")
    return 0


# ---- for a fuzzer, and for Python

ctypedef int (*Target)(const uint8_t* data, size_t size) except -1

cdef Target[7] targets
targets[0] = decode_feed
targets[1] = drive_instrument
targets[2] = parse_frames
targets[3] = inflate_message
targets[4] = read_upgrade
targets[5] = count_all_keys
targets[6] = scan_nats
NAMES = ("feed_decoder", "instrument", "frames", "inflate", "upgrade_request", "duplicate_keys", "nats_scanner")
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
