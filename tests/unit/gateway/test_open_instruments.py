from __future__ import annotations

import asyncio
import gc
import weakref

import msgpack
import pytest

from mdstream.codes import ErrorCode
from mdstream.errors import BusUnavailable, CommandError, PayloadError
from mdstream.model import Ref, State, StateCode

A, B = "SIM:A", "SIM:B"


async def refusal(work) -> tuple[str, str]:
    with pytest.raises(CommandError) as caught:
        await work
    return caught.value.code, str(caught.value)


def test_all_who_ask_share_one_opening(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        found = await asyncio.gather(*(on.instruments.open([A], "book") for _ in range(10)))
        assert on.readers.opened == ["SIM:A"]
        assert len({id(instrument) for (instrument,) in found}) == 1
        assert on.instruments.find_all(["SIM:A"], "book") == found[0]

    run(scenario())


def test_what_nobody_announced_is_unknown_and_leaves_nothing(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        assert await refusal(on.instruments.open([A, B], "book")) == (
            ErrorCode.UNKNOWN_INSTRUMENT,
            "no publisher has announced SIM:B",
        )
        on.announce("SIM:B")
        assert len(await on.instruments.open([A, B], "book")) == 2

    run(scenario())


def test_an_unknown_instrument_is_hinted_at_once_a_second(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.readers.subjects = ["md.SIM.b.ref", "md.SIM.C.ref"]
        said = [(await refusal(on.instruments.open([B], "book")))[1] for _ in range(3)]
        assert said == [
            "no publisher has announced SIM:B; nearly the same on the bus: SIM:b",
            *["no publisher has announced SIM:B"] * 2,
        ]
        assert on.readers.asked == ["md.SIM.*.ref", "md.*.B.ref"]

    run(scenario())


def test_who_asks_again_and_again_for_what_is_unknown_costs_the_bus_nothing(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        for _ in range(20):
            code, _ = await refusal(on.instruments.open([A], "book"))
            assert code == ErrorCode.UNKNOWN_INSTRUMENT
        assert on.readers.opened == ["SIM:A"]
        on.pass_s(1.0)
        await refusal(on.instruments.open([A], "book"))
        assert on.readers.opened == ["SIM:A"] * 2
        on.announce("SIM:A")
        assert await on.instruments.open([A], "book"), "a ref was heard since"

    run(scenario())


def test_a_refused_command_leaves_nothing_to_the_garbage_collector(run, stage) -> None:
    """A flood of them would fill the memory until it runs."""

    class Names(list[str]):
        pass

    async def scenario() -> None:
        on = stage()
        names = Names([A, B])
        gone = weakref.ref(names)
        with pytest.raises(CommandError):
            await on.instruments.open(names, "book")
        del names
        await asyncio.sleep(0)
        assert gone() is None

    gc.disable()
    try:
        run(scenario(), debug=False)
    finally:
        gc.enable()


def test_the_end_of_a_command_does_not_walk_through_the_names_of_others(run, stage) -> None:
    """A flood of them would hold up the loop, once for each."""

    class Names(list[str]):
        looks = 0

        def __iter__(self):
            self.looks += 1
            return super().__iter__()

    async def scenario() -> None:
        on = stage()
        wanted = on.instruments.wanted
        others = [f"SIM:N{i}" for i in range(1000)]
        gate = asyncio.Event()
        on.readers.gate = gate.wait
        waiting = asyncio.create_task(on.instruments.open([*others, A], "book"))
        names = Names([A, B])
        leaving = asyncio.create_task(on.instruments.open(names, "book"))
        await asyncio.sleep(0)
        assert len(wanted) == 1002 and A in wanted and B in wanted
        looks = names.looks
        leaving.cancel()
        await asyncio.wait([leaving])
        assert names.looks == looks and A in wanted
        gate.set()
        assert (await refusal(waiting))[0] == ErrorCode.UNKNOWN_INSTRUMENT
        assert len(wanted) == 0 and A not in wanted

    run(scenario())


def test_one_unknown_instrument_ends_the_wait_for_the_others(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")

        async def only_b() -> None:
            if on.readers.opened[-1] == "SIM:A":
                await asyncio.Event().wait()

        on.readers.gate = only_b
        assert (await refusal(on.instruments.open([A, B], "book")))[0] == ErrorCode.UNKNOWN_INSTRUMENT
        assert on.instruments.opening == 0

    run(scenario())


@pytest.mark.parametrize("error", [BusUnavailable("NATS is tired"), PayloadError("ref is nonsense")])
def test_what_cannot_be_opened_now_is_unavailable_and_can_be_tried_again(run, stage, error) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")

        async def fail() -> None:
            raise error

        on.readers.gate = fail
        code, message = await refusal(on.instruments.open([A], "book"))
        assert code == ErrorCode.UNAVAILABLE
        assert str(error) in message
        on.readers.gate = None
        assert await on.instruments.open([A], "book")

    run(scenario())


def test_without_nats_everything_is_unavailable(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.readers.bus.connected = False
        code, message = await refusal(on.instruments.open([A], "book"))
        assert (code, message) == (ErrorCode.UNAVAILABLE, "NATS is not connected; try again")

    run(scenario())


def test_it_is_let_go_after_its_time_and_not_before(run, stage) -> None:
    async def scenario() -> None:
        on = stage(linger_ms=5_000)
        on.announce("SIM:A")
        (instrument,) = await on.instruments.open([A], "book")
        client = on.client()
        topic = on.hub.topic(instrument.core, "book")
        on.hub.subscribe(client.sink, topic)
        for _ in range(10):
            on.pass_s(60)
            on.instruments.sweep()
        assert on.instruments.find("SIM:A") is instrument
        on.hub.unsubscribe(client.sink, topic)
        on.instruments.sweep()
        on.pass_s(4.9)
        on.instruments.sweep()
        assert on.instruments.find("SIM:A") is instrument
        on.pass_s(0.1)
        on.instruments.sweep()
        assert on.instruments.find("SIM:A") is None
        (again,) = await on.instruments.open([A], "book")
        assert on.readers.closed == ["SIM:A"], "the old reader ends before the new one begins"
        assert again is not instrument

    run(scenario())


def test_who_waits_is_shown_once_and_who_left_costs_nothing(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        await on.instruments.open([A], "book")
        client = on.client()
        for _ in range(500):
            on.say(client, op="subscribe", channel="book", instruments=["SIM:A"])
            sub = client.taken()[0]["sub"]
            on.say(client, op="unsubscribe", subs=[sub])
            client.taken()
        on.say(client, op="subscribe", channel="book", instruments=["SIM:A"])
        client.taken()
        (instrument,) = await on.instruments.open([A], "book")
        gone = on.client()
        on.say(gone, op="subscribe", channel="book", instruments=["SIM:A"])
        gone.sink.close()
        assert len(instrument.statuses["book"]._waiting) < 100
        on.readers.go_live("SIM:A")
        assert [message["type"] for message in client.taken()] == ["snapshot", "state"]

    run(scenario())


def test_states_reach_the_subscribers_of_that_stream_alone(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        clients = {channel: on.client() for channel in ("book", "ticker", "trades")}
        (instrument,) = await on.instruments.open([A], "book")
        on.readers.go_live("SIM:A")
        for channel, client in clients.items():
            on.say(client, op="subscribe", channel=channel, instruments=["SIM:A"])
            client.taken()
        instrument.on_state("trade", State.RECOVERING, StateCode.GAP, "a number is missing", None)
        assert [len(clients[channel].taken()) for channel in ("book", "ticker", "trades")] == [0, 0, 1]
        on.pass_s(1)
        instrument.on_state("book", State.STALE, StateCode.SILENT, "the feed is silent", 30_250)
        assert [len(clients[channel].taken()) for channel in ("trades", "ticker")] == [0, 1]
        (state,) = clients["book"].taken()
        assert state == {
            "type": "state",
            "sub": state["sub"],
            "state": "stale",
            "since": on.wall_us,
            "code": "silent",
            "age_ms": 30_250,
            "reason": "the feed is silent",
        }
        instrument.on_state("book", State.STALE, StateCode.FEED_DOWN, "the venue says feed_down", 31_000)
        (again,) = clients["book"].taken()
        assert (again["since"], again["reason"]) == (state["since"], "the venue says feed_down")
        assert (again["code"], again["age_ms"]) == ("feed_down", 31_000)

    run(scenario())


def test_live_is_told_after_the_data_that_makes_it_so(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A")
        client = on.client()
        (instrument,) = await on.instruments.open([A], "book")
        on.readers.go_live("SIM:A")
        on.say(client, op="subscribe", channel="book", instruments=["SIM:A"])
        instrument.on_state("book", State.RECOVERING, StateCode.GAP, "a number is missing", None)
        client.taken()
        on.readers.targets["SIM:A"].load_snap(msgpack.packb([2, 1000, 9, 1, [1000, 5], [1001, 8]]))
        instrument.on_state("book", State.LIVE, None, "", None)
        assert [message["type"] for message in client.taken()] == ["snapshot", "state"]

    run(scenario())


def test_other_decimals_end_every_subscription(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "SIM:B")
        client, other = on.client(), on.client()
        await on.instruments.open([A, B], "book")
        for name in ("SIM:A", "SIM:B"):
            on.readers.go_live(name)
        for depth in (5, 10):
            on.say(client, op="subscribe", channel="book", instruments=["SIM:A"], depth=depth)
        on.say(other, op="subscribe", channel="book", instruments=["SIM:B"])
        subs = {message["sub"] for message in client.taken() if message["type"] == "subscribed"}
        other.taken()
        on.readers.watchers["SIM:A"].on_ref(Ref(price_exp=-2, size_exp=-3, epoch=7), rescaled=False)
        assert client.taken() == []
        on.readers.watchers["SIM:A"].on_ref(Ref(price_exp=-2, size_exp=-3, tick=5), rescaled=False)
        told = client.taken()
        assert {message["sub"] for message in told} == subs
        assert [message["ref"] for message in told] == [{"tick": 5, "lot": 1, "name": "", "depth": 0}] * 2
        assert {message["type"] for message in told} == {"ref"}
        on.readers.watchers["SIM:A"].on_ref(Ref(price_exp=-3, size_exp=-3), rescaled=True)
        (ended,) = client.taken()
        assert (ended["type"], set(ended["subs"])) == ("unsubscribed", subs)
        assert "id" not in ended and ended["reason"] == "rescaled"
        assert other.taken() == []
        assert on.instruments.find("SIM:A") is None
        await on.instruments.open([A], "book")

    run(scenario())


def test_figures(run, stage) -> None:
    async def scenario() -> None:
        on = stage()
        on.announce("SIM:A", "SIM:B")
        await on.instruments.open([B, A], "book")
        assert on.instruments.count_states() == {
            "live": 0,
            "recovering": 2,
            "stale": 0,
            "halted": 0,
            "closed": 0,
        }
        on.readers.go_live("SIM:A")
        on.pass_s(2)
        on.instruments.sweep()
        on.pass_s(3)
        assert on.instruments.count_states()["live"] == 1
        assert on.instruments.data_ages(10) == [("SIM:A", 3.0), ("SIM:B", 3.0)]
        on.instruments.sweep()
        assert on.instruments.data_ages(1) == [("SIM:A", 3.0)]

    run(scenario())


@pytest.mark.parametrize("step_s", [3600, -3600, 60])
def test_a_step_of_the_wall_clock_moves_time_stamps_alone(run, stage, step_s) -> None:
    async def scenario() -> None:
        on = stage(linger_ms=5_000)
        on.announce("SIM:A")
        (instrument,) = await on.instruments.open([A], "book")
        on.readers.go_live("SIM:A")
        on.instruments.sweep()
        on.pass_s(1)
        on.wall_us += step_s * 1_000_000
        assert on.instruments.data_ages(10) == [("SIM:A", 1.0)]
        on.readers.watchers["SIM:A"].on_state("book", State.STALE, StateCode.SILENT, "silent", None)
        assert instrument.statuses["book"].since_us == on.wall_us
        on.pass_s(3.9)
        on.instruments.sweep()
        assert on.instruments.find("SIM:A") is instrument
        on.pass_s(0.1)
        on.instruments.sweep()
        assert on.instruments.find("SIM:A") is None

    run(scenario())
