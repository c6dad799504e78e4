from __future__ import annotations

import asyncio

import pytest

from mdstream.bus.log import _answer_control, _position


class Published:
    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def publish(self, subject: str) -> None:
        self.subjects.append(subject)


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.MD_LOG.consumer.1.700.3.1700000000000000000.41",
        b"$JS.ACK.domain.account.MD_LOG.consumer.1.700.3.1700000000000000000.41",
        b"$JS.ACK._.account.MD_LOG.consumer.1.700.3.1700000000000000000.41.token",
    ],
)
def test_both_forms_of_a_reply_subject_tell_number_time_and_pending(reply: bytes) -> None:
    assert _position(reply) == (3, 1_700_000_000_000_000, 41)


def test_a_message_is_never_said_to_be_older_than_it_is() -> None:
    assert _position(b"$JS.ACK.MD_LOG.consumer.1.700.3.1700000000000000001.41")[1] == 1_700_000_000_000_001


@pytest.mark.parametrize(
    ("reply", "headers", "answered", "number"),
    [
        (b"$JS.FC.x", b"NATS/1.0 100 FlowControl Request\r\n\r\n", ["$JS.FC.x"], None),
        (
            b"",
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 12\r\nNats-Last-Stream: 90\r\n\r\n",
            [],
            12,
        ),
        (
            b"",
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 12\r\nNats-Consumer-Stalled: $JS.FC.y\r\n\r\n",
            ["$JS.FC.y"],
            None,
        ),
    ],
)
def test_control_messages_are_answered_as_adr_0009_says(
    reply: bytes, headers: bytes, answered: list[str], number: int | None
) -> None:
    client = Published()
    assert asyncio.run(_answer_control(client, reply, headers)) == number
    assert client.subjects == answered
