from __future__ import annotations

import asyncio
from types import SimpleNamespace

import nats.errors
import pytest

from mdstream.bus.spellings import MOST_MESSAGES, SLICE, meant, near, wrong_spellings
from mdstream.bus.subjects import subject
from mdstream.model import InstrumentId

BTC = InstrumentId("SIM", "BTC/USD")


class FakeStreamInfo:
    """``stream_info`` of a stream with these subjects."""

    def __init__(self, subjects: list[str], messages: int = 0) -> None:
        self.subjects, self.messages, self.asked = subjects, messages, 0

    async def stream_info(self, stream: str, subjects_filter: str | None = None) -> object:
        self.asked += 1
        subjects = None if subjects_filter is None else dict.fromkeys(self.subjects, 1)
        return SimpleNamespace(state=SimpleNamespace(messages=self.messages, subjects=subjects))


def hint(instrument: InstrumentId, subjects: list[str]) -> str:
    return asyncio.run(near(FakeStreamInfo(subjects), instrument, 60))  # type: ignore[arg-type]


@pytest.mark.parametrize("symbol", ["BTC-USD", "BRK.B", "A/B", "50%", "BTC USD", "日本"])
def test_a_right_subject_means_its_instrument(symbol: str) -> None:
    instrument = InstrumentId("SIM", symbol)
    assert meant(subject(instrument, "book")) == (instrument, "book", "")


@pytest.mark.parametrize(
    ("name", "instrument", "right"),
    [
        ("md.sim.BTC-USD.book", "SIM:BTC-USD", "md.SIM.BTC-USD.book"),
        ("md.SIM.BTC%2FUSD.ref", "SIM:BTC/USD", "md.SIM.BTC/USD.ref"),
        ("md.SIM.BRK%2eB.snap", "SIM:BRK.B", "md.SIM.BRK%2EB.snap"),
        ("md.SIM.BRK.B.snap", "SIM:BRK.B", "md.SIM.BRK%2EB.snap"),
        ("md.SIM.BTC-USD.BOOK", "SIM:BTC-USD", "md.SIM.BTC-USD.book"),
        ("MD.SIM.BTC-USD.book", "SIM:BTC-USD", "md.SIM.BTC-USD.book"),
    ],
)
def test_a_wrong_subject_is_told_from_the_right_one(name: str, instrument: str, right: str) -> None:
    found = meant(name)
    assert found is not None
    assert (str(found.instrument), found.said) == (instrument, f"the right subject is {right}")


@pytest.mark.parametrize("name", ["md.SIM.book", "orders.SIM.BTC.book", "md..BTC.book", "md.SIM"])
def test_of_other_subjects_nobody_can_tell(name: str) -> None:
    assert meant(name) is None


def test_an_unknown_stream_and_an_impossible_symbol_are_said() -> None:
    assert "'books' is none of" in meant("md.SIM.BTC.books").said  # type: ignore[union-attr]
    assert "1 to 128 printable" in meant(f"md.SIM.{'x' * 129}.book").said  # type: ignore[union-attr]


@pytest.mark.parametrize("symbol", ["ABC/USDT:USDT", "ABC/USDT%3AUSDT"])
def test_a_colon_in_a_symbol_is_told_how_to_be_written(symbol: str) -> None:
    found = meant(f"md.SIM.{symbol}.book")
    assert found is not None and str(found.instrument) == "SIM:ABC/USDT%3AUSDT"
    assert "the right subject is md.SIM.ABC/USDT%253AUSDT.book: a colon" in found.said
    assert f"md.SIM.{symbol}.*" in wrong_spellings(found.instrument)
    assert meant("md.SIM.ABC/USDT%253AUSDT.book") == (found.instrument, "book", "")


def test_what_an_instrument_may_come_on_by_mistake() -> None:
    assert wrong_spellings(BTC) == [
        "md.SIM.BTC%2FUSD.*",
        "md.sim.BTC/USD.*",
        "md.sim.BTC%2FUSD.*",
    ]
    assert "md.SIM.BRK.B.*" in wrong_spellings(InstrumentId("SIM", "BRK.B"))
    assert not [name for name in wrong_spellings(InstrumentId("SIM", "A B")) if " " in name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("md.SIM.BTC-USD.ref", "SIM:BTC-USD"),
        ("md.SIM.btcusd.ref", "SIM:btcusd"),
        ("md.SIM.BTC%2FUSD.ref", "md.SIM.BTC%2FUSD.ref (the right subject is md.SIM.BTC/USD.ref)"),
        ("md.sim.BTC/USD.ref", "md.sim.BTC/USD.ref (the right subject is md.SIM.BTC/USD.ref)"),
        ("md.SIM_SPOT.BTC/USD.ref", "SIM_SPOT:BTC/USD"),
    ],
)
def test_a_hint_names_what_is_nearly_the_same(name: str, said: str) -> None:
    others = ["md.SIM.ETH-USD.ref", "md.OTHER.BTC/USD.ref", "md.SIM.BTC/USD.ref", "nonsense"]
    assert hint(BTC, [name, *others]) == f"; nearly the same on the bus: {said}"
    assert hint(BTC, others) == ""


def test_a_hint_is_short() -> None:
    many = [f"md.SIM.{letters}.ref" for letters in ("BTC-USD", "BTC_USD", "btc-usd", "btc_usd", "BTCUSD")]
    assert hint(BTC, many).count("SIM:") == 3


def test_symbols_without_letters_are_not_alike() -> None:
    assert hint(InstrumentId("SIM", "€"), ["md.SIM.$.ref"]) == ""


@pytest.mark.parametrize("failure", [nats.errors.TimeoutError(), None])
def test_without_an_answer_in_time_there_is_no_hint(failure: Exception | None) -> None:
    async def stream_info(*_: object, **__: object) -> None:
        if failure is not None:
            raise failure
        await asyncio.sleep(60)

    jetstream = SimpleNamespace(stream_info=stream_info)
    assert asyncio.run(near(jetstream, BTC, 0.01)) == ""  # type: ignore[arg-type]


def test_others_have_their_turns_while_many_names_are_compared() -> None:
    names = [f"md.SIM.X{number}.ref" for number in range(20 * SLICE)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def scenario() -> str:
        task = asyncio.create_task(others())
        found = await near(FakeStreamInfo([*names, "md.SIM.btcusd.ref"]), BTC, 60)  # type: ignore[arg-type]
        task.cancel()
        return found

    assert asyncio.run(scenario()) == "; nearly the same on the bus: SIM:btcusd"
    assert turns >= 20


def test_of_too_many_subjects_nobody_asks() -> None:
    stream = FakeStreamInfo(["md.SIM.btcusd.ref"], messages=MOST_MESSAGES + 1)
    assert asyncio.run(near(stream, BTC, 60)) == ""  # type: ignore[arg-type]
    assert stream.asked == 1
