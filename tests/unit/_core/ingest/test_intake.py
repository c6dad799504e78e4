"""The short way from the read buffer into the hub does what the long way through Python does."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from mdstream._core.fanout.hub import Hub
from mdstream._core.fanout.instrument import Outcome
from mdstream._core.ingest.intake import BookIntake, InstrumentReceiver, Intake, TradeIntake
from mdstream._core.ingest.receiver import Handlers
from mdstream._core.ingest.watch import Watch
from mdstream.errors import BookError, PayloadError
from support.flushing import HandLoop, scheduler_of
from support.tap import tapping

SID = 5


class Short:
    """A world whose instrument is fed by bytes as NATS sends them."""

    def __init__(self, world: Any) -> None:
        self.world, self.feed, self.core = world, world.feed, world.instrument
        self.slow: list[tuple[bytes, bytes]] = []
        self.heard = 0
        self.loop = HandLoop()
        self.scheduler = scheduler_of(self.loop)
        self.receiver = InstrumentReceiver(
            lambda *message: self.slow.append(message), self._heard, self.scheduler
        )
        self.receiver.book = BookIntake(world.hub, self.core)
        self.receiver.trades = TradeIntake(world.hub, self.core)
        self.tap = tapping(Handlers({SID: self.receiver}))
        self.client, self.topic = world.client(), world.topic()
        self.client.subscribe(self.topic)

    @property
    def woken(self) -> int:
        """How often a flush was asked for."""
        return self.loop.asked

    def _heard(self) -> None:
        self.heard += 1

    def flush(self, bids: dict[int, int]) -> int:
        """An update of the book, and the flush that it asks for; how many were sent something."""
        self.send(("book", self.feed.update(bids)))
        if self.scheduler.state != "requested":
            return 0
        self.loop.turn()
        return self.world.hub.flush(self.world.now)

    def send(self, *messages: tuple[str, bytes]) -> None:
        sent = b""
        for stream, payload in messages:
            head = b"MSG md.SIM.BTC-USD.%s %d %d" % (stream.encode(), SID, len(payload))
            sent += head + b"\r\n" + payload + b"\r\n"
        self.tap.feed(sent)


@pytest.fixture
def short(world: Any) -> Short:
    return Short(world)


def test_books_and_trades_go_into_the_core_and_wake_once(short: Short) -> None:
    short.send(
        ("book", short.feed.update({100: 9})),
        ("trade", short.feed.trade()),
        ("book", short.feed.update({100: 8}) + short.feed.update(asks={101: 3})),
    )
    assert short.core.book.seq == short.feed.seq == 4
    assert short.core.trades.seq == 1
    assert short.woken == 1 and short.scheduler.state == "requested"
    assert short.slow == []
    short.loop.turn()
    short.world.hub.flush(short.world.now)
    short.send(("book", short.feed.update({100: 7})))
    assert short.woken == 2


def test_what_every_topic_waits_with_wakes_nobody(short: Short) -> None:
    world = short.world
    client = world.client()
    slow = client.subscribe(world.topic(interval_ms=100))
    world.hub.unsubscribe(short.client.sink, short.topic)
    world.after(200)
    assert short.flush({100: 9}) == 1
    assert short.flush({100: 8}) == 0  # it waits from here on
    woken = short.woken
    for lots in (7, 6, 5):
        assert short.flush({100: lots}) == 0
    assert short.woken == woken
    assert world.after(150) == 1
    client.read()
    assert slow.bids[100] == 5
    every = short.client.subscribe(world.topic())
    assert short.flush({100: 4}) == 1 and short.woken == woken + 1
    short.client.read()
    assert every.bids[100] == 4


def test_the_hub_sends_what_came_so(short: Short) -> None:
    assert short.flush({100: 77}) == 1


def test_what_is_known_wakes_nobody(short: Short) -> None:
    payload = short.feed.update({100: 9})
    short.send(("book", payload))
    short.loop.turn()
    short.send(("book", payload))
    assert short.woken == 1
    assert short.slow == [(b"md.SIM.BTC-USD.book", payload)], "the reader compares it"


def test_a_new_epoch_goes_straight_on(short: Short) -> None:
    short.feed.restart()
    short.send(("book", short.feed.update({50: 1}, {51: 1})))
    assert (short.core.book.epoch, short.core.book.seq) == (2, 1)
    assert short.woken == 1 and short.slow == []


def test_a_gap_goes_the_slow_way_after_what_stands_before_it(short: Short) -> None:
    first = short.feed.update({100: 9})
    short.feed.update({100: 8})
    gap = first + short.feed.update({100: 7})
    short.send(("book", gap))
    assert short.core.book.seq == 2
    assert short.slow == [(b"md.SIM.BTC-USD.book", gap)]
    assert short.woken == 1
    assert short.receiver.book(gap) == Outcome.GAP  # as the fallback finds it


@pytest.mark.parametrize("stream", ["book", "trade"])
def test_what_the_core_refuses_goes_the_slow_way(short: Short, stream: str) -> None:
    short.send((stream, b"\xc1"))
    assert short.slow == [(f"md.SIM.BTC-USD.{stream}".encode(), b"\xc1")]
    with pytest.raises(PayloadError):
        (short.receiver.book if stream == "book" else short.receiver.trades)(b"\xc1")


def test_a_crossing_update_goes_the_slow_way(short: Short) -> None:
    crossing = short.feed.update({101: 1})
    short.send(("book", crossing))
    assert short.slow == [(b"md.SIM.BTC-USD.book", crossing)]
    with pytest.raises(BookError):
        short.receiver.book(crossing)


def test_other_streams_and_closed_ways_go_the_slow_way(short: Short) -> None:
    short.receiver.book = short.receiver.trades = None
    messages = [
        (stream, stream.encode()) for stream in ("book", "trade", "snap", "ref", "status", "tapebook")
    ]
    short.send(*messages)
    assert short.slow == [(b"md.SIM.BTC-USD." + payload, payload) for _, payload in messages]
    assert short.woken == 0 and short.core.book.seq == 1


def test_a_snapshot_of_what_is_known_stops_here(short: Short) -> None:
    old = short.feed.snap()
    short.send(("book", short.feed.update({100: 9})), ("snap", old), ("snap", short.feed.snap()))
    assert short.slow == [] and short.core.book.seq == short.feed.seq


@pytest.mark.parametrize(
    ("epoch", "seq"),
    [(1, 2), (2, 1), (0, 1), (1, -1), (-1, 1), (2**64 - 1, 0), (1, 2**64 - 1), ("1", 1), (1, None)],
)
def test_any_other_snapshot_goes_the_slow_way(short: Short, epoch: Any, seq: Any) -> None:
    payload = msgpack.packb([2, epoch, seq, 0, [], []])
    short.send(("snap", payload))
    assert short.slow == [(b"md.SIM.BTC-USD.snap", payload)]


@pytest.mark.parametrize(
    "payload", [b"", b"\x96", b"\x96\x02", b"\x96\x02\x01", b"\x95\x02\x01\x01", b"\x96\x02\xcd\x00"]
)
def test_a_snapshot_without_a_head_goes_the_slow_way(short: Short, payload: bytes) -> None:
    short.send(("snap", payload))
    assert short.slow == [(b"md.SIM.BTC-USD.snap", payload)]


def test_a_way_closed_by_a_message_is_closed_for_the_next(short: Short) -> None:
    def close(subject: bytes, payload: bytes) -> None:
        short.receiver.book = None
        short.slow.append((subject, payload))

    short.receiver = InstrumentReceiver(close, short._heard, short.scheduler)
    short.receiver.book = BookIntake(short.world.hub, short.core)
    short.tap = tapping(Handlers({SID: short.receiver}))
    short.feed.seq += 1
    short.send(("book", short.feed.update({100: 9})), ("book", short.feed.update({100: 8})))
    assert len(short.slow) == 2 and short.core.book.seq == 1


def test_the_first_sign_of_life_is_told_and_the_first_after_a_silence(short: Short) -> None:
    for _ in range(3):
        short.send(("book", short.feed.update({100: 9})), ("snap", b""))
    assert short.heard == 1
    short.receiver.check_at(0)
    short.send(("status", b""), *(("book", short.feed.update({100: 8})) for _ in range(3)))
    assert short.heard == 2
    short.receiver.check_at(0, calm_us=1)
    short.send(("book", short.feed.update({100: 7})))
    assert short.heard == 2


def test_what_is_not_accepted_is_no_sign_of_life(short: Short) -> None:
    update, trade = short.feed.update({100: 9}), short.feed.trade()
    short.send(("book", update), ("trade", trade))
    watch = Watch()
    watch.add(short.receiver, lambda: None)
    watch.look(1)
    old = short.feed.snap()
    short.feed.restart()
    short.core.begin(short.feed.epoch + 1)
    fenced = short.feed.update({100: 1})
    for stream, payload in (
        ("book", update),
        ("book", b"\xc1"),
        ("book", fenced),
        ("trade", trade),
        ("status", b""),
        ("ref", b""),
        ("snap", old),
    ):
        short.send((stream, payload))
        assert short.slow[-1] == (f"md.SIM.BTC-USD.{stream}".encode(), payload)
    watch.look(2)
    assert short.heard == 1 and short.receiver.heard_us == 1


def test_a_snapshot_that_differs_from_the_book_goes_the_slow_way(short: Short) -> None:
    short.send(("book", short.feed.update({100: 9})))
    differs = msgpack.packb([2, 1, short.feed.seq, 0, [100, 8], []])
    short.send(("snap", short.feed.snap()), ("snap", differs))
    assert short.slow == [(b"md.SIM.BTC-USD.snap", differs)]


def test_a_greater_epoch_goes_the_slow_way_once_one_was_begun(short: Short) -> None:
    short.core.begin(2)
    short.feed.restart()
    short.feed.restart()
    update = short.feed.update({50: 1}, {51: 1})
    short.send(("book", update), ("trade", short.feed.trade()))
    assert short.core.book.seq == 0 and len(short.slow) == 2
    assert short.receiver.book(update) == Outcome.UNKNOWN
    short.core.begin(3)
    assert short.receiver.book(update) == Outcome.APPLIED


def test_a_receiver_can_be_called_as_any_handler(short: Short) -> None:
    short.receiver(b"md.SIM.BTC-USD.book", b"", short.feed.update({100: 9}), None)
    short.receiver(b"md.SIM.BTC-USD.ref", b"", b"x", None)
    assert short.core.book.seq == 2 and short.slow == [(b"md.SIM.BTC-USD.ref", b"x")]
    with pytest.raises(TypeError):
        short.receiver(None, b"", b"x", None)


def test_a_fault_of_the_slow_way_is_reported(short: Short) -> None:
    def broken(*message: bytes) -> None:
        raise ZeroDivisionError("a bug of ours")

    receiver = InstrumentReceiver(broken, short._heard, short.scheduler)
    passed_on: list[bytes] = []
    faults: list[Exception] = []
    tapping(Handlers({SID: receiver}), passed_on.append, faults.append).feed(
        b"MSG a.ref 5 1\r\nx\r\nPING\r\n"
    )
    assert [type(error) for error in faults] == [ZeroDivisionError]
    assert passed_on == [b"PING\r\n"]


def test_an_intake_is_of_its_hub_alone(world: Any) -> None:
    with pytest.raises(ValueError, match="is no instrument of this hub"):
        BookIntake(Hub(), world.instrument)
    with pytest.raises(NotImplementedError):
        Intake(world.hub, world.instrument)(b"x")
