"""The compiled encoders make exactly the bytes of the golden vectors; the vectors are what the generator writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mdstream._core.base.decimals import format_decimal, parse_levels, ticks_of
from mdstream._core.codec import encode
from mdstream._core.codec.feed_encoder import pack_book, pack_snap, pack_trade
from mdstream._core.orderbook.checksum import crc_of
from mdstream.bus.subjects import parse_subject, subject
from mdstream.model import InstrumentId

VECTORS = Path(__file__).parents[1] / "vectors"
SIDES = (None, "buy", "sell")


def load(file: str, section: str, **only: str) -> list[Any]:
    """The vectors of a section as parameters with their names."""
    vectors = json.loads((VECTORS / f"{file}.json").read_text(encoding="utf-8"))[section]
    chosen = [vector for vector in vectors if all(vector[key] == value for key, value in only.items())]
    assert chosen, f"{file}.json has no vectors for {section} {only}"
    return [pytest.param(vector, id=vector.get("name")) for vector in chosen]


def assert_both(vector: dict[str, Any], make: Any) -> None:
    assert make(encode.JSON).decode() == vector["json"]
    assert make(encode.MSGPACK).hex() == vector["msgpack"]


@pytest.mark.process
def test_files_are_what_the_generator_writes() -> None:
    generator = [sys.executable, VECTORS / "generate.py", "--check"]
    done = subprocess.run(generator, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("vector", load("server", "data", type="delta"))
def test_delta(vector: dict[str, Any]) -> None:
    scale, fields = (vector["price_exp"], vector["size_exp"]), vector["fields"].values()
    assert_both(vector, lambda form: encode.delta(form, *fields, *scale))


@pytest.mark.parametrize("vector", load("server", "data", type="snapshot"))
def test_snapshot(vector: dict[str, Any]) -> None:
    scale, fields = (vector["price_exp"], vector["size_exp"]), vector["fields"]
    assert_both(vector, lambda form: encode.snapshot(form, *fields.values(), *scale))
    assert crc_of(fields["bids"], fields["asks"]) == fields["crc"]


@pytest.mark.parametrize("vector", load("server", "data", type="trades"))
def test_trades(vector: dict[str, Any]) -> None:
    scale, fields = (vector["price_exp"], vector["size_exp"]), vector["fields"]
    entries = [(ts, ticks, lots, SIDES[side], id) for _, ts, ticks, lots, side, id in fields["trades"]]
    place = fields["sub"], fields["epoch"], fields["first"]
    assert_both(vector, lambda form: encode.trades(form, *place, entries, *scale))


@pytest.mark.parametrize("vector", load("server", "data", type="ticker"))
def test_ticker(vector: dict[str, Any]) -> None:
    scale, fields = (vector["price_exp"], vector["size_exp"]), vector["fields"].values()
    assert_both(vector, lambda form: encode.ticker(form, *fields, *scale))


@pytest.mark.parametrize("vector", load("server", "data", type="heartbeat"))
def test_heartbeat(vector: dict[str, Any]) -> None:
    assert_both(vector, lambda form: encode.heartbeat(form, *vector["fields"].values()))


PACKERS = {"book": pack_book, "snap": pack_snap, "trade": pack_trade}


@pytest.mark.parametrize("stream", PACKERS)
def test_feed_values(stream: str) -> None:
    for parameter in load("feed", "values", stream=stream):
        (vector,) = parameter.values
        _kind, *fields = vector["value"]
        assert PACKERS[stream](*fields).hex() == vector["msgpack"], vector["name"]


@pytest.mark.parametrize("vector", load("feed", "batches"))
def test_feed_batches(vector: dict[str, Any]) -> None:
    payload = b"".join(PACKERS[vector["stream"]](*fields) for _kind, *fields in vector["values"])
    assert payload.hex() == vector["msgpack"]


def test_subjects() -> None:
    for parameter in load("feed", "subjects"):
        (vector,) = parameter.values
        instrument = InstrumentId(vector["venue"], vector["symbol"])
        assert subject(instrument, vector["stream"]) == vector["subject"]
        assert parse_subject(vector["subject"]) == (instrument, vector["stream"])


def test_decimals() -> None:
    for parameter in load("numbers", "decimals"):
        (vector,) = parameter.values
        assert format_decimal(vector["value"], vector["exp"]) == vector["text"]
        assert ticks_of(vector["text"], vector["exp"]) == vector["value"]


def test_checksums() -> None:
    for parameter in load("numbers", "checksums"):
        (vector,) = parameter.values
        assert crc_of(vector["bids"], vector["asks"]) == vector["crc"], vector["text"]


@pytest.mark.parametrize("vector", load("views", "views"))
def test_views_carry_the_checksum_of_what_they_lead_to(vector: dict[str, Any]) -> None:
    for step in vector["steps"]:
        then, message = step["then"], json.loads(step["json"])
        if step["outcome"] == "apply":
            assert crc_of(then["bids"], then["asks"]) == message["crc"], step["name"]
        if step["type"] == "snapshot":
            levels = [parse_levels(message[side], -2, -8).tolist() for side in ("bids", "asks")]
            assert levels == [then["bids"], then["asks"]], step["name"]
