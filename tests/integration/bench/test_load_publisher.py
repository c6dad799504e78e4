"""What the publisher of a load test sends, before a nats-server that keeps it: real books, on the schedule, in the contract's words."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import msgpack
import pytest

from mdstream._bench.publisher import Books, Publisher
from mdstream.errors import BenchError
from support.fakes import FakeNats
from vectors import reference

SUBJECTS = [f"md.BENCH.SYM{i}" for i in range(3)]


@contextmanager
def publishing(books: Books, **credentials: str) -> Iterator[tuple[FakeNats, Publisher]]:
    nats = FakeNats()
    publisher = Publisher(books, "127.0.0.1", nats.port, **credentials)
    try:
        yield nats, publisher
    finally:
        publisher.close()
        nats.end()


def books(seed: int = 1, **options: Any) -> Books:
    return Books(SUBJECTS, epoch=77, seed=seed, **options)


def values(published: list[tuple[str, bytes]], stream: str) -> list[tuple[str, list[Any]]]:
    """Of one stream, one by one: (symbol's subject, value)."""
    found = []
    for subject, payload in published:
        symbol, _, of = subject.rpartition(".")
        if of == stream:
            unpacker = msgpack.Unpacker()
            unpacker.feed(payload)
            found += [(symbol, value) for value in unpacker]
    return found


class Replayed:
    """A symbol's book, kept as a dictionary from what was published."""

    def __init__(self) -> None:
        self.sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.seq = 0

    def take(self, value: list[Any]) -> None:
        _, epoch, first, last, _, bids, asks = value
        assert (epoch, first, last) == (77, self.seq + 1, self.seq + 1)
        self.seq = last
        for side, flat in zip(self.sides, (bids, asks), strict=True):
            assert len(set(flat[::2])) == len(flat) // 2, "a price stands once in an update"
            for ticks, lots in zip(flat[::2], flat[1::2], strict=True):
                assert lots >= 0 and (lots or ticks in side), "only what is there is deleted"
                side[ticks] = lots
                if not lots:
                    del side[ticks]
        assert max(self.sides[0]) < min(self.sides[1]), "a book is never crossed"

    def view(self) -> tuple[list[int], list[int]]:
        bids, asks = self.sides
        ordered = (sorted(bids, reverse=True), sorted(asks))
        return tuple(
            [n for t in order for n in (t, side[t])] for order, side in zip(ordered, self.sides, strict=True)
        )


def replay(announced: list[tuple[str, bytes]], published: list[tuple[str, bytes]]) -> dict[str, Replayed]:
    """Also holds every snap against the book at its number."""
    replayed = {subject: Replayed() for subject in SUBJECTS}
    snaps = {(symbol, value[2]): value for symbol, value in values(announced + published, "snap")}
    for symbol, value in values(announced + published, "book"):
        book = replayed[symbol]
        book.take(value)
        if snap := snaps.pop((symbol, book.seq), None):
            assert (snap[1], tuple(snap[4:])) == (77, book.view())
    assert not snaps
    return replayed


@pytest.mark.parametrize("levels", [20, 200])
def test_books_are_real_and_end_as_the_publisher_says(levels: int) -> None:
    made = books(levels=levels)
    announced = made.announcements(1)
    with publishing(made) as (nats, publisher):
        publisher.run(5.0, rate=1000, burst=500, changes=8)
        publisher.finish()
    replayed = replay(announced, nats.published)
    assert made.seqs() == [book.seq for book in replayed.values()]
    assert sum(made.seqs()) == 3 + 5000 + 3
    for symbol, book in enumerate(replayed.values()):
        assert made.view(symbol) == book.view()
        assert made.crc(symbol) == reference.checksum(*book.view())
        assert made.view(symbol, 5) == tuple(side[:10] for side in book.view())
        assert all(20 <= len(side) <= max(levels, 25) for side in book.sides)


def test_the_touch_moves_and_levels_come_and_go() -> None:
    made = books()
    before = made.view(0)
    with publishing(made) as (nats, publisher):
        publisher.run(1.0, rate=3000, burst=3000, changes=5)
    kinds = Counter(lots == 0 for _, value in values(nats.published, "book") for lots in value[5][1::2])
    assert kinds[True] > 100 and kinds[False] > 100
    assert {made.view(i)[0][0] for i in range(3)} != {before[0][0]}


def test_ts_is_when_an_update_was_due_not_when_it_left() -> None:
    with publishing(books()) as (nats, publisher):
        publisher.run(0.5, rate=1000, burst=50)
    stamps = [value[4] for _, value in values(nats.published, "book")]
    assert [b - a for a, b in pairwise(stamps)] == ([0] * 49 + [50_000]) * 9 + [0] * 49


def test_symbols_come_in_turn_or_by_their_weight() -> None:
    with publishing(books()) as (nats, publisher):
        publisher.run(1.0, rate=999, burst=999)
    assert Counter(symbol for symbol, _ in values(nats.published, "book")) == dict.fromkeys(SUBJECTS, 333)
    with publishing(books()) as (nats, publisher):
        publisher.run(1.0, rate=3000, burst=3000, zipf=1.0)
        publisher.finish()
    often = Counter(symbol for symbol, _ in values(nats.published, "book"))
    assert often[SUBJECTS[0]] > 1.3 * often[SUBJECTS[1]] > 1.3 * often[SUBJECTS[2]]


def test_updates_are_joined_in_messages_and_snaps_follow_a_thousand() -> None:
    made = books()
    with publishing(made) as (nats, publisher):
        report = publisher.run(1.0, rate=9000, burst=9000, per_message=10, changes=1)
        publisher.finish()
    assert (report["updates"], report["messages"], report["offered"]) == (9000, 900, 9000)
    assert report["bytes"] == sum(
        len(payload) for subject, payload in nats.published if subject.endswith("book")
    ) - sum(len(payload) for subject, payload in nats.published[-6:] if subject.endswith("book"))
    assert report["snaps"] >= 6
    assert len(values(nats.published, "snap")) == report["snaps"] + 3
    replay(made_again().announcements(1), nats.published)


def made_again() -> Books:
    """The same seed: the same books as those that were changed meanwhile had been."""
    return books()


def test_the_last_update_touches_the_best_of_both_sides() -> None:
    made = books()
    with publishing(made) as (nats, publisher):
        publisher.finish()
    last = dict(values(nats.published, "book"))
    for symbol, subject in enumerate(SUBJECTS):
        bids, asks = made.view(symbol, 1)
        assert last[subject][2:4] == [2, 2] and last[subject][5:] == [bids, asks]


def test_flat_out_ends_with_the_time_and_a_wish_ends_it_before() -> None:
    reading, writing = os.pipe()
    with publishing(books()) as (_, publisher):
        assert publisher.run(0.05, rate=0, burst=10)["updates"] > 0
        os.write(writing, b"stop")
        stopped = publisher.run(3600, rate=1, wake_fd=reading)
        assert stopped["updates"] <= 1 and not stopped["late"]
    os.close(reading)
    os.close(writing)


def test_a_publisher_that_cannot_keep_up_says_so() -> None:
    """More than any machine can: a burst takes longer than the time until the next."""
    with publishing(books()) as (_, publisher):
        report = publisher.run(0.02, rate=50_000_000, burst=50_000, changes=20)
    assert report["late"] and report["late_max_us"] > 10_000
    assert publisher.lateness.max == report["late_max_us"]


def test_the_same_seed_publishes_the_same_and_another_something_else() -> None:
    def published(seed: int) -> list[list[Any]]:
        with publishing(books(seed)) as (nats, publisher):
            publisher.run(0.1, rate=1000, burst=100)
        return [value[5:] for _, value in values(nats.published, "book")]

    seed = random.randrange(1000)
    assert published(seed) == published(seed) != published(seed + 1)


def test_announcements_name_the_scale_and_build_the_book() -> None:
    announced = books().announcements(123)
    assert [subject.rpartition(".")[2] for subject, _ in announced] == ["ref", "book", "snap"] * 3
    ref = msgpack.unpackb(announced[0][1])
    assert {"price_exp": -2, "size_exp": -8, "tick": 1, "lot": 1}.items() <= ref.items()
    assert {
        msgpack.unpackb(payload)[4 if "book" in subject else 3]
        for subject, payload in announced
        if "ref" not in subject
    } == {123}
    replay(announced, [])


def test_it_lets_itself_in_as_it_is_told() -> None:
    with publishing(books(), user="feed", password="secret") as (nats, publisher):
        publisher.finish()
    assert (nats.connect["user"], nats.connect["pass"]) == ("feed", "secret")
    assert "auth_token" not in nats.connect


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"answer": b"-ERR 'Authorization Violation'\r\n"}, "refuses us: -ERR 'Authorization Violation'"),
        ({"greeting": b"SSH-2.0-x\r\n"}, "no nats-server"),
    ],
)
def test_a_server_that_does_not_let_it_in_is_told(server: dict[str, bytes], said: str) -> None:
    nats = FakeNats(**server)
    with pytest.raises(BenchError, match=said):
        Publisher(books(), "127.0.0.1", nats.port)
    nats.end()


def test_an_error_while_it_publishes_is_told() -> None:
    nats = FakeNats()
    publisher = Publisher(books(), "127.0.0.1", nats.port)
    nats._answer = b"-ERR 'Permissions Violation'\r\n"
    with pytest.raises(BenchError, match="Permissions Violation"):
        publisher.finish()
    nats.end()


@pytest.mark.parametrize("wrong", [{"rate": -1}, {"rate": 1, "burst": 0}, {"rate": 1, "per_message": 0}])
def test_a_schedule_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with publishing(books()) as (_, publisher):
        with pytest.raises(ValueError):
            publisher.run(1.0, **wrong)


@pytest.mark.parametrize("levels", [19, 1001])
def test_books_of_too_few_or_many_levels_are_refused(levels: int) -> None:
    with pytest.raises(ValueError, match=str(levels)):
        books(levels=levels)
