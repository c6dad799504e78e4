"""What waits to be sent: joined, in order, within a bound."""

from __future__ import annotations

from mdstream.feed.outbox import Outbox


def drain(outbox: Outbox) -> list[tuple[str, bytes]]:
    taken = []
    while outbox:
        batch = outbox.take()
        taken.append((batch.subject, batch.payload()))
    return taken


def test_values_of_a_subject_are_joined_in_order() -> None:
    outbox = Outbox(batch_bytes=100, backlog_bytes=1000)
    for subject, value in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        assert outbox.add(subject, value) == []
    assert outbox.bytes == 3
    assert drain(outbox) == [("a", b"13"), ("b", b"2")]
    assert outbox.bytes == 0


def test_a_message_does_not_outgrow_the_batch_size() -> None:
    outbox = Outbox(batch_bytes=4, backlog_bytes=1000)
    for value in (b"11", b"22", b"3", b"555555", b"6"):
        outbox.add("a", value)
    assert drain(outbox) == [("a", b"1122"), ("a", b"3"), ("a", b"555555"), ("a", b"6")]


def test_a_snapshot_stays_behind_the_updates_before_it_and_ahead_of_those_after() -> None:
    outbox = Outbox(batch_bytes=100, backlog_bytes=1000)
    outbox.add("a.book", b"1")
    outbox.add_state("a.snap", b"S", after="a.book")
    outbox.add("a.book", b"2")
    assert drain(outbox) == [("a.book", b"1"), ("a.snap", b"S"), ("a.book", b"2")]


def test_what_is_added_after_a_batch_was_taken_is_a_batch_of_its_own() -> None:
    outbox = Outbox(batch_bytes=100, backlog_bytes=1000)
    outbox.add("a", b"1")
    batch = outbox.take()
    outbox.add("a", b"2")
    outbox.put_back(batch)
    assert outbox.bytes == 2
    assert drain(outbox) == [("a", b"1"), ("a", b"2")]


def test_beyond_the_backlog_the_oldest_goes_and_is_counted() -> None:
    outbox = Outbox(batch_bytes=4, backlog_bytes=10)
    for subject in "abc":
        assert outbox.add(subject, b"1234") == ([] if subject < "c" else ["a"])
    assert (outbox.dropped_values, outbox.dropped_bytes, outbox.bytes) == (1, 4, 8)
    assert drain(outbox) == [("b", b"1234"), ("c", b"1234")]


def test_a_single_value_beyond_the_backlog_is_kept_until_the_next() -> None:
    outbox = Outbox(batch_bytes=4, backlog_bytes=3)
    assert outbox.add("a", b"12345") == []
    assert outbox.add("b", b"1") == ["a"]
    assert drain(outbox) == [("b", b"1")]
