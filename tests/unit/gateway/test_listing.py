"""Lists of instruments as bytes: the golden vectors, and pages of at most 64 KiB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

from mdstream.gateway.control_decoder import JSON, MSGPACK
from mdstream.gateway.listing import PAGE_BYTES, Listed, Listing
from mdstream.model import Ref, State, StateCode

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "boards.json").read_text(encoding="utf-8"))
TS = 1_753_000_012_345_678


def vector(name: str) -> dict[str, Any]:
    return next(each for each in VECTORS["messages"] if each["name"] == name)


def listed(row: dict[str, Any]) -> Listed:
    known = {name: row["ref"][name] for name in ("tick", "lot", "name", "depth")}
    extra = {name: value for name, value in row["ref"].items() if name not in known}
    ref = Ref(row["price_exp"], row["size_exp"], epoch=row["epoch"], extra=extra, **known)
    state = None if row["state"] == "unknown" else State(row["state"])
    return Listed(row["instrument"], ref, state, row["code"] and StateCode(row["code"]), row["since"])


def test_a_page_and_changes_are_the_vectors() -> None:
    listing = Listing()
    listing.sub = 7
    for row in vector("a page of instruments")["message"]["rows"][:1]:
        listing.set(listed(row))
    listing.set(listed({**vector("the last page")["message"]["rows"][0], "instrument": "SIM:OLD"}))
    listing.commit()
    listing.remove("SIM:OLD")
    listing.set(listed(vector("instruments changed")["message"]["rows"][0]))
    listing.commit()
    (text,), (packed,) = listing.missing(JSON, 1), listing.missing(MSGPACK, 1)
    assert text.decode() == vector("instruments changed")["json"]
    assert packed.hex() == vector("instruments changed")["msgpack"]

    other = Listing()
    other.sub = 7
    other.commit()
    empty = json.loads(other.missing(JSON, None)[0])
    assert empty == {**vector("no instruments")["message"], "seq": 0}


def test_pages_hold_64_kib_and_every_row_once() -> None:
    listing = Listing()
    for number in range(2_000):
        listing.set(Listed(f"SIM:{number:04}", Ref(-2, -8, name="n" * 50, epoch=1), State.LIVE, None, TS))
    listing.commit()
    for format, decode in ((JSON, json.loads), (MSGPACK, msgpack.unpackb)):
        pages = listing.missing(format, None)
        assert len(pages) > 3 and max(map(len, pages)) <= PAGE_BYTES
        assert min(map(len, pages[:-1])) > PAGE_BYTES - 1_000
        messages = [decode(page) for page in pages]
        assert [message["page"] for message in messages] == list(range(1, len(pages) + 1))
        assert [message["more"] for message in messages] == [True] * (len(pages) - 1) + [False]
        rows = [row["instrument"] for message in messages for row in message["rows"]]
        assert rows == [f"SIM:{number:04}" for number in range(2_000)]


def test_changes_that_would_be_too_large_come_as_pages() -> None:
    listing = Listing()
    listing.commit()
    for number in range(2_000):
        listing.set(Listed(f"SIM:{number:04}", Ref(-2, -8, epoch=1)))
    listing.commit()
    assert json.loads(listing.missing(JSON, 0)[0])["type"] == "instruments"
