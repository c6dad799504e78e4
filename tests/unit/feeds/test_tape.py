"""Tapes: what is written is read again; what is damaged is told, after what is whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgpack
import pytest

from mdstream.errors import FeedError
from mdstream.feeds._tape import TapedMessage, TapeWriter, read_tape
from mdstream.feeds.replay import Rebase, unpack
from mdstream.model import InstrumentId

MESSAGES = [
    TapedMessage(1_000_000 + number, f"md.SIM.A-B.{stream}", bytes(range(number)))
    for number, stream in enumerate(("book", "snap", "trade") * 50)
]
BTC = InstrumentId("SIM", "BTC-USD")


def write(path: Path) -> Path:
    with TapeWriter(path, 1_000_000) as tape:
        for message in MESSAGES:
            tape.write(message)
        assert tape.messages == len(MESSAGES)
    return path


@pytest.mark.parametrize("name", ["a.tape", "a.tape.gz"])
def test_a_tape_gives_back_what_was_written(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert list(read_tape(path)) == MESSAGES
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tape")
    with pytest.raises(FileExistsError):
        TapeWriter(path, 1)
    assert list(read_tape(path)) == MESSAGES


@pytest.mark.parametrize("name", ["a.tape", "a.tape.gz"])
def test_a_tape_cut_short_gives_what_is_whole_and_then_an_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-100])
    messages: list[TapedMessage] = []
    with pytest.raises(FeedError, match="cut short"):
        messages.extend(read_tape(path))
    assert messages == MESSAGES[: len(messages)]
    assert len(messages) >= 100 or name.endswith(".gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a tape"),
        (b"hello", "is not a tape"),
        (msgpack.packb({"format": "other"}), "is not a tape"),
        (msgpack.packb({"format": "mdstream.tape", "version": 2}), "version 2; this program reads 1"),
        (
            msgpack.packb({"format": "mdstream.tape", "version": 1}) + msgpack.packb([1, "a"]),
            "message 1 is not",
        ),
        (msgpack.packb({"format": "mdstream.tape", "version": 1}) + b"\xc1", "damaged"),
        (gzip.compress(b"hello", mtime=0), "is not a tape"),
    ],
)
def test_what_is_no_tape_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(FeedError, match=message):
        list(read_tape(path))


def test_rebasing_gives_each_recorded_epoch_a_new_one_and_moves_times_to_the_present() -> None:
    rebase = Rebase(lambda _: 9_000_000, clock_us=lambda: 5_000_000, draw=lambda _: 0)
    book = msgpack.packb([1, 70, 1, 1, 990_000, [5, 6], []]) + msgpack.packb([1, 70, 2, 2, 995_000, [], []])
    message = TapedMessage(1_000_000, "md.SIM.BTC-USD.book", book)
    assert unpack(rebase(message, BTC, "book"), "book") == [
        [1, 9_000_001, 1, 1, 4_990_000, [5, 6], []],
        [1, 9_000_001, 2, 2, 4_995_000, [], []],
    ]
    trade = TapedMessage(1_000_000, "md.SIM.BTC-USD.trade", msgpack.packb([3, 70, 1, 999_999, 5, 6, 1, "id"]))
    assert unpack(rebase(trade, BTC, "trade"), "trade")[0][:4] == [3, 9_000_001, 1, 4_999_999]
    status = TapedMessage(
        1_000_000, "md.SIM.BTC-USD.status", msgpack.packb([5, 71, 1_000_000, "trading", ""])
    )
    assert unpack(rebase(status, BTC, "status"), "status") == [[5, 9_000_002, 5_000_000, "trading", ""]]
    heard = [5, 71, 1_000_000, "trading", "", 3, 4, 990_000]
    status = TapedMessage(1_000_000, "md.SIM.BTC-USD.status", msgpack.packb(heard))
    assert unpack(rebase(status, BTC, "status"), "status") == [
        [5, 9_000_002, 5_000_000, "trading", "", 3, 4, 4_990_000]
    ]
    payload = msgpack.packb({"epoch": 71, "price_exp": 0})
    reference = TapedMessage(1_000_000, "md.SIM.BTC-USD.ref", payload)
    assert msgpack.unpackb(rebase(reference, BTC, "ref")) == {"epoch": 9_000_002, "price_exp": 0}


@pytest.mark.parametrize("ref", [{"price_exp": 0}, {"epoch": "1"}, [5], 5])
def test_a_ref_without_an_epoch_cannot_be_rebased(ref: object) -> None:
    message = TapedMessage(1_000_000, "md.SIM.BTC-USD.ref", msgpack.packb(ref))
    with pytest.raises(FeedError, match="a ref on the tape cannot be read"):
        Rebase(lambda _: 1)(message, BTC, "ref")


@pytest.mark.parametrize(
    "payload", [b"\xc1", msgpack.packb(5), msgpack.packb([2, 1, 1, 1]), msgpack.packb([1, 1])]
)
def test_a_payload_that_is_none_cannot_be_rebased(payload: bytes) -> None:
    with pytest.raises(FeedError, match="stream book"):
        unpack(payload, "book")
