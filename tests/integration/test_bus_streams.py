"""MD_STATE and MD_LOG on a real nats-server: made once, never altered, read back whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

import pytest
from nats.js import api

from mdstream.bus import MD_LOG, MD_STATE, Bus, BusOptions, EmbeddedNats, StreamOptions, connect
from mdstream.errors import BusError, BusUnavailable
from truth.rig import start_cluster

pytestmark = pytest.mark.usefixtures("parser")

BOOK, SNAP = "md.SIM.A.book", "md.SIM.A.snap"


async def config_of(bus: Bus, stream: str) -> api.StreamConfig:
    return (await bus.jetstream.stream_info(stream)).config


async def store(bus: Bus, subject: str, payloads: range) -> None:
    for number in payloads:
        await bus.publish(subject, b"%d" % number)
    await bus.publish_acked(subject, b"end")


async def numbers(bus: Bus, subject: str, since_us: int | None = None) -> list[int]:
    return [int(payload) async for payload in bus.log(subject, since_us=since_us) if payload != b"end"]


async def log_messages(bus: Bus) -> int:
    return (await bus.jetstream.stream_info(MD_LOG)).state.messages


def test_the_streams_are_made_as_the_contract_says(run, nats_server) -> None:
    async def scenario() -> None:
        options = StreamOptions(log_max_age_s=60, log_max_bytes=1_000_000, log_storage="memory")
        async with await connect(BusOptions((nats_server.url,), streams=options)) as bus:
            await bus.ensure_streams()
            state, log = await config_of(bus, MD_STATE), await config_of(bus, MD_LOG)
            assert sorted(state.subjects) == ["md.*.*.ref", "md.*.*.snap", "md.*.*.status"]
            assert (state.max_msgs_per_subject, state.storage, state.allow_direct) == (8, "file", True)
            assert sorted(log.subjects) == ["md.*.*.book", "md.*.*.trade"]
            assert (log.max_age, log.max_bytes, log.storage, log.discard) == (60, 1_000_000, "memory", "old")

    run(scenario())


def test_streams_of_another_party_are_left_as_they_are_and_used(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.jetstream.add_stream(
                name=MD_STATE, subjects=["md.*.*.snap", "md.*.*.ref", "md.*.*.status"]
            )
            await bus.jetstream.add_stream(name=MD_LOG, subjects=["md.*.*.book", "md.*.*.trade"], max_age=30)
            before = await config_of(bus, MD_STATE), await config_of(bus, MD_LOG)
            await bus.ensure_streams()
            assert (await config_of(bus, MD_STATE), await config_of(bus, MD_LOG)) == before
            assert not before[0].allow_direct  # so that the newest message is asked for the other way
            await bus.publish_acked(SNAP, b"1")
            await bus.publish_acked(SNAP, b"2")
            assert await bus.last(MD_STATE, SNAP) == b"2"
            assert await bus.last(MD_STATE, "md.SIM.B.snap") is None
            await store(bus, BOOK, range(3))
            assert await numbers(bus, BOOK) == [0, 1, 2]

    run(scenario())


def test_two_that_come_first_at_once_agree(run, nats_server) -> None:
    async def scenario() -> None:
        async def come(age_s: int) -> None:
            options = BusOptions((nats_server.url,), streams=StreamOptions(log_max_age_s=age_s))
            async with await connect(options) as bus:
                await bus.ensure_streams()

        await asyncio.gather(*(come(60 + number) for number in range(8)))
        async with await connect(nats_server.url) as bus:
            assert (await config_of(bus, MD_LOG)).max_age in range(60, 68)

    run(scenario())


def test_a_stream_that_lacks_our_subjects_is_used_with_a_warning(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.jetstream.add_stream(name=MD_LOG, subjects=["md.*.*.book"])
            await bus.ensure_streams()

    with caplog.at_level(logging.WARNING):
        run(scenario())
    assert "stream MD_LOG exists and is left as it is, but it does not list md.*.*.trade" in caplog.text


def test_a_stream_in_the_way_is_an_error_that_says_what_to_do(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.jetstream.add_stream(name="OTHER", subjects=["md.>"])
            with pytest.raises(BusError, match="another stream takes subjects md"):
                await bus.ensure_streams()

    run(scenario())


def test_a_server_with_too_little_room_is_an_error_that_says_what_to_do(run) -> None:
    async def scenario() -> None:
        async with (
            await EmbeddedNats.start(max_file_bytes=1_000_000) as server,
            await connect(server.url) as bus,
        ):
            with pytest.raises(
                BusError,
                match="stream MD_LOG .* has no room for it .* raise its max_file_store, or create the stream with fewer bytes",
            ):
                await bus.ensure_streams()

    run(scenario())


def test_the_last_message_comes_with_the_servers_time(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.ensure_streams()
            before_us = time.time_ns() // 1000
            await bus.publish_acked(SNAP, b"x")
            stored = await bus.last_stored(MD_STATE, SNAP)
            assert stored is not None
            assert stored.payload == b"x"
            assert before_us <= stored.stored_us <= time.time_ns() // 1000

    run(scenario())


def test_the_log_is_read_in_order_by_subject_and_from_a_time(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.ensure_streams()
            assert await numbers(bus, BOOK) == []
            await store(bus, BOOK, range(5000))
            await store(bus, "md.SIM.B.book", range(10))
            middle_us = (await bus.last_stored(MD_LOG, BOOK)).stored_us + 1
            await store(bus, BOOK, range(5000, 6000))
            assert await numbers(bus, BOOK) == list(range(6000))
            assert await numbers(bus, BOOK, middle_us) == list(range(5000, 6000))
            assert await numbers(bus, BOOK, middle_us + 10**9) == []
            assert await numbers(bus, "md.SIM.C.book") == []
            assert await numbers(bus, "md.SIM.B.book") == list(range(10))

    run(scenario())


def test_a_replay_larger_than_the_flow_control_window_is_whole(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.ensure_streams()
            for number in range(100):
                await bus.publish(BOOK, b"%06d" % number + bytes(200_000))
            await bus.publish_acked(BOOK, b"000100")
            seen = 0
            async for payload in bus.log(BOOK):
                assert int(payload[:6]) == seen
                seen += 1
            assert seen == 101

    run(scenario())


def test_a_replay_left_early_leaves_nothing_on_the_server(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            await bus.ensure_streams()
            await store(bus, BOOK, range(1000))
            async with contextlib.aclosing(bus.log(BOOK)) as log:
                assert await anext(log) == b"0"
            while await bus.jetstream.consumers_info(
                MD_LOG
            ):  # the server deletes it a moment after it was told
                await asyncio.sleep(0.01)
            assert await numbers(bus, BOOK) == list(range(1000))

    run(scenario())


def test_a_replay_that_starves_ends_with_an_error(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(
            BusOptions((nats_server.url,), ping_interval_s=60, replay_silence_s=0.6)
        ) as bus:
            await bus.ensure_streams()
            for _ in range(30):
                await bus.publish(BOOK, bytes(1_000_000))
            await bus.publish_acked(BOOK, b"end")
            async with contextlib.aclosing(bus.log(BOOK)) as log:
                await anext(log)
                nats_server.pause()
                with pytest.raises(BusError, match="fell silent"):
                    async for _ in log:
                        pass
                nats_server.resume_process()

    run(scenario())


def test_streams_come_back_after_a_server_that_lost_its_data(run) -> None:
    async def scenario() -> None:
        first = await EmbeddedNats.start(password=False)
        options = BusOptions((first.url,), reconnect_cap_s=0.1)
        async with await connect(options) as bus:
            await bus.ensure_streams()
            back = asyncio.Event()
            bus.on_reconnect(back.set)
            await first.stop()
            async with await EmbeddedNats.start(port=first.port, password=False):
                await back.wait()
                await bus.ensured()
                await bus.publish_acked(SNAP, b"new")
                assert await bus.last(MD_STATE, SNAP) == b"new"

    run(scenario())


def test_a_stream_with_fewer_copies_than_wanted_is_named(run, caplog) -> None:
    async def scenario() -> None:
        servers = await start_cluster()  # it makes both streams with three copies
        try:
            urls = tuple(server.url for server in servers)
            for wanted in (3, 5):
                async with await connect(BusOptions(urls, streams=StreamOptions(replicas=wanted))) as bus:
                    caplog.clear()
                    await bus.ensure_streams()
                said = [record.getMessage() for record in caplog.records if "copies" in record.getMessage()]
                assert len(said) == (0 if wanted == 3 else 2)
            assert "it has 3 of 5 copies; `nats stream edit MD_STATE --replicas 5` makes more" in said[0]
        finally:
            for server in servers:
                await server.stop()

    run(scenario())


def test_a_leader_that_has_lost_the_others_is_known(run) -> None:
    """It goes on answering for ten seconds."""

    async def scenario() -> None:
        servers = await start_cluster()
        names = {f"truth-{number}": server for number, server in enumerate(servers)}
        try:
            async with await connect(servers[0].url) as bus:
                info = await bus.jetstream.stream_info(MD_LOG)
                leader = names.pop(info.cluster.leader)
            async with await connect(leader.url) as bus:
                while not await bus.is_in_touch(MD_LOG):
                    await asyncio.sleep(0.05)
                for other in names.values():
                    other.pause()
                with contextlib.suppress(BusUnavailable):  # it knows it itself by now
                    while await bus.is_in_touch(MD_LOG):
                        assert await bus.newest_stored(MD_LOG, BOOK) is None
                        await asyncio.sleep(0.05)
        finally:
            for server in names.values():
                server.resume_process()
            for server in servers:
                await server.stop()

    run(scenario())


def test_copies_need_a_cluster(run, nats_server) -> None:
    async def scenario() -> None:
        options = BusOptions((nats_server.url,), streams=StreamOptions(replicas=3))
        async with await connect(options) as bus:
            with pytest.raises(
                BusError, match="nats_replicas is more than 1, and this server is in no cluster"
            ):
                await bus.ensure_streams()

    run(scenario())
