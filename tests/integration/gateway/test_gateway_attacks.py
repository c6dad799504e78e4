"""Each attack at a small size, with small limits: it is refused as documented, and what it cost is given back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mdstream.codes import CloseCode
from support.attacks import ATTACKS, Outcome

NAME = "SIM:A"
LEVELS = 2_000
SNAPSHOT_BYTES = 9 * 2 * LEVELS
"""Of the book in MessagePack, at least."""
BIDS = [number for i in range(LEVELS) for number in (2**20 - i, 2**40)]
ASKS = [number for i in range(LEVELS) for number in (2**20 + 1 + i, 2**40)]


async def figures(http: Callable[..., Any], server: Any) -> dict[str, float]:
    response = await http(server.admin_port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    lines = [line for line in response.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def wait_for(http: Callable[..., Any], server: Any, **wanted: float) -> None:
    """Returns when the figures have these values."""
    while True:
        found = await figures(http, server)
        if all(found[f"mdstream_{name}"] == value for name, value in wanted.items()):
            return
        await asyncio.sleep(0.01)


@pytest.fixture
def attacked(run, nats_server, gateway, feed, http, caplog) -> Callable[..., Outcome]:
    """Runs an attack by name on a gateway with limits, beside a client that must see every update; then nothing of it is left."""

    def attack(
        name: str, size: int, *, check: Callable[[dict[str, float]], None] | None = None, **limits: Any
    ):
        async def scenario() -> Outcome:
            async with feed(nats_server.url, NAME) as pub, gateway(nats_server.url, **limits) as server:
                await pub.announce(BIDS, ASKS)
                outcome = await ATTACKS[name](server.port, size, NAME)
                if check is not None:
                    check(await figures(http, server))
                await wait_for(
                    http,
                    server,
                    connections=0,
                    subscriptions=0,
                    topics=0,
                    waiting_sessions=0,
                    slow_sessions=0,
                )
                return outcome

        with caplog.at_level(logging.WARNING):
            outcome = run(scenario())
        assert caplog.records == []
        return outcome

    return attack


@pytest.mark.parametrize("name", ["recovers_in_one_frame", "recovers_as_json"])
def test_snapshots_beyond_the_budget_are_refused_then_4429(attacked, name) -> None:
    """Two are made, for the subscribe and for the first recover; one that is ready counts as one level."""
    outcome = attacked(
        name,
        500,
        levels_burst=2 * 2 * LEVELS + 100,
        levels_per_second=1,
        max_errors=20,
        commands_burst=10_000,
    )
    assert outcome.errors == {"rate_limited": 21}
    assert outcome.closed == {CloseCode.RATE_LIMIT: 1}
    assert 2 <= outcome.messages["snapshot"] <= 102


@pytest.mark.parametrize("name", ["recovers_in_one_frame", "recovers_as_json"])
def test_bytes_beyond_the_budget_are_refused_then_4429(attacked, name) -> None:
    budget = 10 * 30 * 2 * LEVELS
    outcome = attacked(
        name, 500, answer_bytes_burst=budget, answer_bytes_per_second=1, max_errors=20, commands_burst=10_000
    )
    assert outcome.errors == {"rate_limited": 21}
    assert outcome.closed == {CloseCode.RATE_LIMIT: 1}
    assert outcome.received_bytes < 2 * budget


def test_subscribing_again_and_again_spends_the_same_budget(attacked) -> None:
    outcome = attacked(
        "subscriptions_again_and_again",
        500,
        levels_burst=10 * 2 * LEVELS,
        levels_per_second=1,
        max_errors=20,
        commands_burst=10_000,
    )
    assert outcome.errors["rate_limited"] >= 10
    assert outcome.closed == {CloseCode.RATE_LIMIT: 1}
    assert outcome.messages["snapshot"] <= 11


def test_a_frame_of_recovers_within_the_budgets_is_answered_in_slices(attacked) -> None:
    def check(found: dict[str, float]) -> None:
        assert found["mdstream_deferred_work_total"] > 0

    outcome = attacked("recovers_in_one_frame", 1_000, commands_burst=10_000, check=check)
    assert not outcome.errors and not outcome.closed
    assert outcome.messages["snapshot"] >= 2


def test_deflated_messages_beyond_the_budget_are_not_unpacked(attacked) -> None:
    limits = {"decoded_bytes_burst": 200_000, "decoded_bytes_per_second": 1, "max_errors": 20}
    outcome = attacked("deflated_maps", 100, **limits)
    assert outcome.errors["rate_limited"] >= 10 and outcome.errors["bad_command"] <= 4
    assert outcome.closed == {CloseCode.RATE_LIMIT: 1}
    assert outcome.messages["pong"] == 0


def test_a_message_that_unpacks_to_many_values_spends_the_error_budget(attacked) -> None:
    outcome = attacked("deflated_values", 10, max_errors=50)
    assert outcome.errors == {"bad_command": 51}
    assert outcome.closed == {CloseCode.ERROR_BUDGET: 1}


def test_only_so_many_commands_of_a_message_are_read(attacked) -> None:
    outcome = attacked("many_commands", 100, max_commands_per_message=30)
    assert outcome.messages["pong"] == 31, "the last one came in a message of its own"
    assert outcome.errors == {"bad_command": 1}


def test_pings_beyond_the_budget_are_not_all_answered_then_4429(attacked) -> None:
    def check(found: dict[str, float]) -> None:
        assert found['mdstream_limited_total{limit="control_frames",scope="session"}'] == 1

    limits = {"control_frames_burst": 50, "control_frames_per_second": 1}
    outcome = attacked("pings", 10_000, check=check, **limits)
    assert 50 <= outcome.messages["pong frame"] <= 60
    assert outcome.closed == {CloseCode.RATE_LIMIT: 1}


def test_a_few_pings_too_many_cost_nothing_but_their_answers(attacked) -> None:
    limits = {"control_frames_burst": 50, "control_frames_per_second": 1}
    outcome = attacked("pings", 90, **limits)
    assert 50 < outcome.messages["pong frame"] < 90
    assert not outcome.closed and outcome.messages["pong"] == 1


@pytest.mark.parametrize("name", ["pongs", "empty_fragments"])
def test_other_frames_without_content_count_too(attacked, name) -> None:
    outcome = attacked(name, 1_000, control_frames_burst=50, control_frames_per_second=1)
    assert outcome.closed == {CloseCode.RATE_LIMIT: 1}


def test_answers_that_are_never_read_are_bounded(attacked) -> None:
    limits = {"control_backlog_bytes": 65_536, "decoded_bytes_burst": 2**30, "max_errors": 20}
    outcome = attacked("pings_never_read", 400, **limits)
    assert outcome.closed in ({CloseCode.TOO_SLOW: 1}, {0: 1})


def test_resets_in_the_middle_of_commands_leave_nothing(attacked) -> None:
    attacked("resets_in_commands", 20, commands_burst=10_000)


def test_requests_that_come_slowly_end_in_time(attacked) -> None:
    outcome = attacked("slow_requests", 10, handshake_ms=200)
    assert outcome.closed == {0: 10} and outcome.received_bytes == 0
