"""What strangers store over a living publisher's state, against a real nats-server: it is published again at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from mdstream import bus, feed
from mdstream.bus import MD_STATE, Bus, EmbeddedNats
from mdstream.errors import SequenceError
from mdstream.feed.other_writers import ANSWER_US
from support.bus_recorder import BusRecorder

Run = Callable[[Coroutine[Any, Any, Any]], Any]
HOUR_US = 3_600_000_000
SUBJECT = "md.SIM.BTC-USD"


class Scene:
    """A publisher whose monotonic clock the test moves, and a stranger's connection."""

    def __init__(self) -> None:
        self.now_us = 10**9
        self.recorder = BusRecorder()
        self.publisher: feed.Publisher
        self.btc: feed.Instrument
        self.stranger: Bus

    async def store(self, stream: str, value: Any) -> None:
        await self.stranger.publish_acked(f"{SUBJECT}.{stream}", msgpack.packb(value))

    async def stored(self, stream: str) -> Any:
        payload = await self.stranger.last(MD_STATE, f"{SUBJECT}.{stream}")
        return msgpack.unpackb(payload or b"\xc0")

    async def ours_again(self) -> None:
        """Until what is stored is the publisher's."""
        ours = msgpack.unpackb(self.btc.reference()), [self.btc.epoch, self.btc.seq]
        while (await self.stored("ref"), (await self.stored("snap"))[1:3]) != ours:
            await asyncio.sleep(0.01)

    def count(self, stream: str) -> int:
        """How often the publisher has published its own."""
        values = self.recorder.values(stream)
        return sum((v["epoch"] if stream == "ref" else v[1]) == self.btc.epoch for v in values)


@asynccontextmanager
async def scene(server: EmbeddedNats) -> AsyncIterator[Scene]:
    made = Scene()
    async with (
        feed.connect(
            server.url, venue="SIM", status_interval_s=0.02, monotonic_us=lambda: made.now_us
        ) as publisher,
        await bus.connect(server.url) as stranger,
    ):
        made.publisher, made.stranger = publisher, stranger
        made.btc = await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3)
        made.btc.update([("100", "1")])
        made.btc.snap()
        await publisher.flush()
        await made.ours_again()
        await stranger.subscribe(f"{SUBJECT}.*", made.recorder.record)
        await stranger.flush()
        yield made


def ref(epoch: Any, price_exp: int = -2) -> dict[str, Any]:
    return {"epoch": epoch, "price_exp": price_exp, "size_exp": -3}


STRAYS: dict[str, Callable[[int], tuple[str, Any]]] = {
    "ref two hours ahead": lambda epoch: ("ref", ref(epoch + 2 * HOUR_US)),
    "ref of a smaller epoch": lambda epoch: ("ref", ref(epoch - 1)),
    "ref of another scale": lambda epoch: ("ref", ref(epoch, -4)),
    "ref that cannot be read": lambda epoch: ("ref", 5),
    "snap two hours ahead": lambda epoch: ("snap", [2, epoch + 2 * HOUR_US, 7, 1, [5, 5], []]),
    "snap of a smaller epoch": lambda epoch: ("snap", [2, epoch - 1, 7, 1, [5, 5], []]),
    "snap of this epoch": lambda epoch: ("snap", [2, epoch, 7, 1, [5, 5], []]),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_what_a_stranger_has_stored_is_replaced_at_once(
    run: Run, nats_server: EmbeddedNats, stray: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The clock of all waiting stands still: nothing is due but the answer."""

    async def scenario() -> None:
        async with scene(nats_server) as made:
            await made.store(*STRAYS[stray](made.btc.epoch))
            await made.ours_again()
            assert "another writer has published a ref or snap" in caplog.text
            made.btc.update([("100", "2")])  # nobody has taken over

    run(scenario())


def test_an_answer_comes_once_a_second_and_the_last_word_is_ours(run: Run, nats_server: EmbeddedNats) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as made:
            for number in range(20):
                await made.store("snap", [2, made.btc.epoch - 1, number, 1, [], []])
            await made.recorder.until(lambda: made.count("snap"))
            await made.publisher.flush()
            assert made.count("snap") == 1
            made.now_us += ANSWER_US
            await made.recorder.until(lambda: made.count("snap") == 2)
            await made.ours_again()
            made.now_us += 2 * ANSWER_US
            told = len(made.recorder.values("status"))
            await made.recorder.until(lambda: len(made.recorder.values("status")) > told)
            assert made.count("snap") == 2

    run(scenario())


def test_a_plausible_greater_epoch_alone_is_looked_up_and_answered_where_nobody_has_taken_over(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as made:
            await made.store("snap", [2, made.btc.epoch + 5, 7, 1, [5, 5], []])
            repeated_us = made.now_us + 20 * ANSWER_US  # before that nothing is due by time
            while made.count("snap") == 0:
                made.now_us = min(made.now_us + ANSWER_US, repeated_us)
                await asyncio.sleep(0.01)
            await made.ours_again()

    run(scenario())


def test_a_stored_ref_of_a_plausible_greater_epoch_ends_the_publisher(
    run: Run, nats_server: EmbeddedNats
) -> None:
    async def scenario() -> None:
        async with scene(nats_server) as made:
            await made.store("ref", ref(made.btc.epoch + 5))
            ending = asyncio.create_task(made.publisher.fenced())
            while not ending.done():
                made.now_us += ANSWER_US
                await asyncio.sleep(0.01)
            with pytest.raises(SequenceError, match="another writer has taken over"):
                await ending
            assert (await made.stored("ref"))["epoch"] == made.btc.epoch + 5
            assert made.count("snap") == 0, "it must not write over its successor"

    run(scenario())


def test_its_own_words_are_no_strangers_also_where_its_bus_has_an_echo(
    run: Run, nats_server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        recorder = BusRecorder()
        async with await bus.connect(nats_server.url) as shared:
            await shared.subscribe(f"{SUBJECT}.*", recorder.record)
            async with feed.connect(shared, venue="SIM") as publisher:
                for _ in range(2):
                    btc = await publisher.instrument("BTC-USD", price_exp=-2, size_exp=-3)
                    btc.update([("100", "1")])
                    btc.snap()
                    btc.send_ref()
                await publisher.flush()
            await recorder.until(lambda: recorder.states()[-1:] == [("feed_down", "publisher stopped")])
            assert "another writer" not in caplog.text

    run(scenario())
