"""The scanner of the NATS protocol, inside the tap, against nats-py's own parser, and against what no server may send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.protocol.parser import Parser

from mdstream._core.ingest.nats_scanner import ScanError
from mdstream._core.ingest.receiver import Handlers
from support.tap import tapping

Event = tuple[Any, ...]
TAPPED = (1, 7, 300)


class Client:
    """What nats-py's parser calls."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    async def _process_msg(self, *message: Any) -> None:
        self.events.append(("MSG", *message))

    async def _process_err(self, text: str) -> None:
        self.events.append(("-ERR", text))

    async def _process_ping(self) -> None:
        self.events.append(("PING",))

    async def _process_pong(self) -> None:
        self.events.append(("PONG",))

    async def _process_info(self, info: object) -> None:
        self.events.append(("INFO", info))


def of_nats_py(data: bytes) -> list[Event]:
    """The operations that nats-py's parser finds; it says nothing of +OK."""
    events: list[Event] = []
    asyncio.run(Parser(Client(events)).parse(data))
    return events


class Scan:
    """A tap, and all that came out of it in order: what handlers took, and what nats-py's parser found in the rest."""

    def __init__(self, *tapped: int) -> None:
        self.events: list[Event] = []
        self.refused: Exception | None = None
        self.handlers = Handlers({sid: self._handler(sid) for sid in tapped})
        self.counters = {"in_msgs": 0, "in_bytes": 0}
        self.tap = tapping(self.handlers, self._parse, self._fault, self.counters)
        self._parser = Parser(Client(self.events))

    def feed(self, *pieces: bytes) -> list[Event]:
        for piece in pieces:
            self.tap.feed(piece)
            if self.refused:
                raise self.refused
        return self.events

    def _handler(self, sid: int) -> Any:
        return lambda *rest: self.events.append(("MSG", sid, *rest))

    def _parse(self, operation: bytes) -> None:
        if not self.refused:
            with pytest.raises(StopIteration):
                self._parser.parse(operation).send(None)  # a coroutine that awaits nothing
            assert not self._parser.buf, "the operation was not whole"

    def _fault(self, error: Exception) -> None:
        if isinstance(error, ScanError):
            self.refused = error
        else:
            self.events.append(("FAULT", error))


tokens = st.text("abcXYZ019_-%", min_size=1, max_size=12).map(str.encode)
subjects = st.lists(tokens, min_size=1, max_size=4).map(b".".join)
sids = st.sampled_from([*TAPPED, 2, 1000]).map(lambda sid: b"%d" % sid)
payloads = st.one_of(
    st.binary(max_size=80), st.sampled_from([b"", b"\r\n", b"PING\r\n", b"MSG a 1 0\r\n\r\n"])
)
blanks = st.sampled_from([b" ", b"  ", b"\t"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    payload = draw(payloads)
    words = [b"MSG", draw(subjects), draw(sids), *draw(st.lists(subjects, max_size=1))]
    if draw(st.booleans()):
        block = b"NATS/1.0" + draw(st.sampled_from([b" 503", b"", b"\r\nA: b"])) + b"\r\n\r\n"
        words[0] = b"HMSG"
        words.append(b"%d" % len(block))
        payload = block + payload
    words.append(b"%d" % len(payload))
    return draw(blanks).join(words) + b"\r\n" + payload + b"\r\n"


others = st.sampled_from(
    [
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"PING \r\n",
        b'INFO {"server_id":"A","max_payload":1048576} \r\n',
        b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n",
        b"-ERR  'Stale Connection'\r\n",
    ]
)
streams = st.lists(st.one_of(messages(), others), max_size=12).map(b"".join)


@given(streams, st.data())
def test_any_split_gives_what_nats_py_finds(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    scan = Scan(*TAPPED)
    assert scan.feed(*pieces) == of_nats_py(stream)
    scan.tap.count()
    assert scan.counters["in_msgs"] == sum(event[0] == "MSG" and event[1] in TAPPED for event in scan.events)


@given(streams)
def test_byte_by_byte_gives_the_same_as_at_once(stream: bytes) -> None:
    assert Scan(1).feed(*(stream[i : i + 1] for i in range(len(stream)))) == Scan().feed(stream)


@given(
    st.one_of(
        st.binary(), streams.flatmap(lambda s: st.binary(max_size=20).map(lambda b: s[:50] + b + s[50:]))
    )
)
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    faults: list[Exception] = []
    tap = tapping(Handlers({1: lambda *message: None}), lambda operation: None, faults.append)
    tap.feed(data)
    assert all(isinstance(error, ScanError) and str(error) for error in faults) and len(faults) <= 1
    assert tap.capacity <= 65536


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"HELLO\r\n", r"unknown operation b'HELLO'"),
        (b"PINGPONG\r\n", "unknown operation"),
        (b"-ERRATIC\r\n", "unknown operation"),
        (b"\r\n", "unknown operation b''"),
        (b"PING\n", "a line does not end in CR LF"),
        (b"\n", "a line does not end in CR LF"),
        (b"MSG a\r\n", "malformed message line b'MSG a'"),
        (b"MSG a 1 b c 3\r\n", "malformed message line"),
        (b"MSG a 1 b c d e f 3\r\n", "malformed message line"),
        (b"HMSG a 1 3\r\n", "malformed message line"),
        (b"MSG a x 3\r\n", "bad number in message line b'MSG a x 3'"),
        (b"MSG a -1 3\r\n", "bad number"),
        (b"MSG a 1 3x\r\n", "bad number"),
        (b"MSG a 1 9999999999999999999\r\n", "bad number"),
        (b"MSG a 1 67108865\r\n", "bad number"),
        (b"HMSG a 1 4 3\r\n", "bad number"),
        (b"MSG a 1 1\r\nxyz", "a payload does not end in CR LF"),
        (b"MSG a 1 0\r\nPING\r\n", "a payload does not end in CR LF"),
    ],
)
def test_what_no_server_sends_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ScanError, match=message):
        Scan(1).feed(data)


def test_a_line_without_end_is_refused_before_it_grows_without_bound() -> None:
    scan = Scan()
    piece = b"I" * 65536
    with pytest.raises(ScanError, match="no end of line within 1048576 bytes"):
        scan.feed(*[piece] * 20)
    assert scan.tap.capacity <= 4 << 20


def test_an_announced_payload_allocates_nothing_before_it_comes() -> None:
    scan = Scan(1)
    assert scan.feed(b"MSG a 1 67108864\r\n") == []
    assert scan.tap.capacity <= 65536


def test_memory_for_a_large_payload_is_given_back() -> None:
    scan, payload = Scan(1), bytes(8 << 20)
    line = b"MSG a 1 %d\r\n" % len(payload)
    (event,) = scan.feed(line, *(payload[i : i + 32768] for i in range(0, len(payload), 32768)), b"\r\n")
    assert event == ("MSG", 1, b"a", b"", payload, None)
    scan.tap.get_buffer(-1)  # for the next read
    assert scan.tap.capacity <= 1 << 18


def test_handlers_that_come_and_go_count_from_the_next_message_on() -> None:
    scan = Scan(1)

    def once(*rest: Any) -> None:
        scan.events.append(("once", *rest))
        del scan.handlers[1]

    scan.handlers[1] = once
    message = b"MSG a 1 b 1\r\nx\r\n"
    assert scan.feed(message * 2) == [("once", b"a", b"b", b"x", None), ("MSG", 1, b"a", b"b", b"x", None)]
    for _ in range(2):  # what is counted is not counted again
        scan.tap.count()
        assert scan.counters == {"in_msgs": 1, "in_bytes": 1}


def test_a_handler_that_raises_is_told_of_and_the_rest_goes_on() -> None:
    scan = Scan(1)
    fault = ZeroDivisionError("a bug of the handler")

    def broken(*rest: Any) -> None:
        raise fault

    scan.handlers[7] = broken
    assert scan.feed(b"MSG a 7 1\r\nx\r\nMSG b 1 1\r\ny\r\n") == [
        ("FAULT", fault),
        ("MSG", 1, b"b", b"", b"y", None),
    ]
