"""Questions to NATS, without a server: who gets which answer, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from nats import errors

from mdstream.bus._requests import Answer, Requests, headers_of
from mdstream.bus.denied import PUBLISH, SUBSCRIBE, Denial, DeniedError


@contextmanager
def ask(
    requests: Requests, subject: str, within_s: float = 3600.0
) -> Iterator[tuple[str, asyncio.Future[Answer]]]:
    number, answer = requests.ask(subject, within_s)
    try:
        yield requests.reply_to(number), answer
    finally:
        requests.close(number)


def asking(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_each_gets_its_own_answer_in_any_order() -> None:
    async def scenario() -> None:
        requests = Requests()
        requests.inbox = "_INBOX.x"
        with ask(requests, "a") as (to_a, a), ask(requests, "b") as (to_b, b):
            assert to_a != to_b
            requests.hear(to_b.encode(), b"", b"of b", None)
            requests.hear(to_a.encode(), b"r", b"of a", b"NATS/1.0\r\n\r\n")
            assert (await a).payload == b"of a"
            assert (await b).payload == b"of b"

    asking(scenario())


def test_what_comes_twice_late_or_unasked_is_dropped() -> None:
    async def scenario() -> None:
        requests = Requests()
        requests.inbox = "_INBOX.x"
        with ask(requests, "a") as (to, answer):
            for subject in (b"_INBOX.x.999", b"_INBOX.x.", b"_INBOX.x.\xff", to.encode(), to.encode()):
                requests.hear(subject, b"", b"first", None)
            assert (await answer).payload == b"first"
        requests.hear(to.encode(), b"", b"late", None)

    asking(scenario())


def test_a_lost_connection_ends_all_that_wait_and_no_others() -> None:
    async def scenario() -> None:
        requests = Requests()
        with ask(requests, "a") as (to, answered), ask(requests, "b") as (_, waiting):
            requests.hear(to.encode(), b"", b"", None)
            requests.fail(ConnectionError("gone"))
            await answered
            with pytest.raises(ConnectionError, match="gone"):
                await waiting
        with ask(requests, "c") as (_, later):
            assert not later.done()

    asking(scenario())


def test_a_question_that_nobody_answers_in_time_ends() -> None:
    async def scenario() -> None:
        requests = Requests()
        with ask(requests, "a", within_s=0.0) as (_, late), ask(requests, "b") as (_, waiting):
            with pytest.raises(errors.TimeoutError):
                await late
            assert not waiting.done()

    asking(scenario())


@pytest.mark.parametrize("do", [PUBLISH, SUBSCRIBE])
def test_only_the_denied_question_ends(do: str) -> None:
    async def scenario() -> None:
        requests = Requests()
        denial = Denial(do, "$js.api.info")
        with ask(requests, "$JS.API.INFO") as (_, denied), ask(requests, "$JS.API.OTHER") as (_, other):
            requests.deny(denial)
            assert not other.done()
            assert denied.done() is (do == PUBLISH)
            if do == PUBLISH:
                with pytest.raises(DeniedError):
                    await denied

    asking(scenario())


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (b"NATS/1.0\r\nNats-Sequence: 12\r\nA:b: c\r\n\r\n", {"Nats-Sequence": "12", "A": "b: c"}),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", {"Status": "404", "Description": "Message Not Found"}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (b"NATS/1.0 100 Idle\r\nNats-Last-Stream: 7\r\n\r\n", {"Status": "100", "Description": "Idle", "Nats-Last-Stream": "7"}),
        (b"NATS/1.0\r\nno colon\r\nB: \xff\r\n\r\n", {"B": "\ufffd"}),
    ],
)  # fmt: skip
def test_headers_are_as_nats_py_gives_them(block: bytes, headers: dict[str, str]) -> None:
    assert headers_of(block) == headers
