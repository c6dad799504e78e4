"""What waits to be sent: joined, in order, within a bound."""

from __future__ import annotations

from mdstream.feed.publish_queue import PublishQueue


def drain(queue: PublishQueue) -> list[tuple[str, bytes]]:
    taken = []
    while queue:
        batch = queue.take()
        taken.append((batch.subject, batch.payload()))
    return taken


def test_values_of_a_subject_are_joined_in_order() -> None:
    queue = PublishQueue(batch_bytes=100, backlog_bytes=1000)
    for subject, value in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        assert queue.add(subject, value) == []
    assert queue.bytes == 3
    assert drain(queue) == [("a", b"13"), ("b", b"2")]
    assert queue.bytes == 0


def test_a_message_does_not_outgrow_the_batch_size() -> None:
    queue = PublishQueue(batch_bytes=4, backlog_bytes=1000)
    for value in (b"11", b"22", b"3", b"555555", b"6"):
        queue.add("a", value)
    assert drain(queue) == [("a", b"1122"), ("a", b"3"), ("a", b"555555"), ("a", b"6")]


def test_a_snapshot_stays_behind_the_updates_before_it_and_ahead_of_those_after() -> None:
    queue = PublishQueue(batch_bytes=100, backlog_bytes=1000)
    queue.add("a.book", b"1")
    queue.add_state("a.snap", b"S", after=["a.book"])
    queue.add("a.book", b"2")
    assert drain(queue) == [("a.book", b"1"), ("a.snap", b"S"), ("a.book", b"2")]


def test_a_state_that_is_made_when_it_is_sent_keeps_its_place() -> None:
    queue = PublishQueue(batch_bytes=100, backlog_bytes=1000)
    made = b"early"
    queue.add("a.book", b"1")
    queue.add_state("a.status", lambda: made, after=["a.book", "a.trade"])
    queue.add("a.book", b"2")
    made = b"late"
    assert drain(queue) == [("a.book", b"1"), ("a.status", b"late"), ("a.book", b"2")]
    assert queue.bytes == 0


def test_what_is_added_after_a_batch_was_taken_is_a_batch_of_its_own() -> None:
    queue = PublishQueue(batch_bytes=100, backlog_bytes=1000)
    queue.add("a", b"1")
    batch = queue.take()
    queue.add("a", b"2")
    queue.put_back(batch)
    assert queue.bytes == 2
    assert drain(queue) == [("a", b"1"), ("a", b"2")]


def test_beyond_the_backlog_the_oldest_goes_and_is_counted() -> None:
    queue = PublishQueue(batch_bytes=4, backlog_bytes=10)
    for subject in "abc":
        assert queue.add(subject, b"1234") == ([] if subject < "c" else ["a"])
    assert (queue.dropped_values, queue.dropped_bytes, queue.bytes) == (1, 4, 8)
    assert drain(queue) == [("b", b"1234"), ("c", b"1234")]


def test_a_single_value_beyond_the_backlog_is_kept_until_the_next() -> None:
    queue = PublishQueue(batch_bytes=4, backlog_bytes=3)
    assert queue.add("a", b"12345") == []
    assert queue.add("b", b"1") == ["a"]
    assert drain(queue) == [("b", b"1")]
