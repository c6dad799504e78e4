"""The users of deploy/nats, before a nats-server that enforces their permissions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mdstream import feed
from mdstream.alerts import AlertOptions, AlertWatcher
from mdstream.bus import (
    MD_LOG,
    MD_STATE,
    Bus,
    BusOptions,
    Denial,
    EmbeddedNats,
    connect,
    control,
    maps,
    subject,
)
from mdstream.bus.candles import last_stats
from mdstream.bus.embedded import find_binary
from mdstream.bus.usage import ensure_usage, put_usage, read_usage
from mdstream.candles import CandleOptions, CandleWriter
from mdstream.check import Options, Verdict, check
from mdstream.client import connect as connect_client
from mdstream.errors import BusError, MdstreamError, SubscriptionRefused
from mdstream.gateway import Gateway, GatewayConfig
from mdstream.model import InstrumentId
from mdstream.webhooks import WebhookSender
from support.webhooks import hook_of, options_of, receiver_of, sending

CONFIG = Path(__file__).parents[2] / "deploy/nats/nats-server.conf"
USERS = ("feed-sim", "gateway", "admin", "monitor", "billing", "candles", "alerts", "webhooks")
SIM, OTHER = InstrumentId.parse("SIM:A"), InstrumentId.parse("OTHER:A")


def password(user: str) -> str:
    return f"pw-{user}"


@pytest.fixture(autouse=True)
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in USERS:
        monkeypatch.setenv(f"{user.replace('-', '_').upper()}_PASSWORD", password(user))


@asynccontextmanager
async def server() -> AsyncIterator[EmbeddedNats]:
    text = CONFIG.read_text()
    accounts = text[text.index("accounts {") :]
    async with await EmbeddedNats.start(password=False, extra_config=accounts) as nats:
        yield nats


def options(nats: EmbeddedNats, user: str) -> BusOptions:
    prefix = "MD.API" if user == "feed-sim" else "$JS.API"
    login = {"user": user, "password": password(user)}
    return BusOptions((nats.url,), **login, inbox_prefix=f"_INBOX_{user}", api_prefix=prefix)


@asynccontextmanager
async def gateway(
    nats: EmbeddedNats, *, delay_ms: int = 0, activity_kinds: tuple[str, ...] = ()
) -> AsyncIterator[Gateway]:
    config = GatewayConfig(
        nats=(nats.url,),
        nats_user="gateway",
        nats_password=password("gateway"),
        nats_inbox_prefix="_INBOX_gateway",
        port=0,
        admin_port=0,
        drain_spread_ms=0,
        delay_ms=delay_ms,
        activity_kinds=activity_kinds,
    )
    running = Gateway(config)
    await running.start()
    try:
        await running.wait_ready()
        yield running
    finally:
        await running.stop()


async def denied(bus: Bus, publish_to: str) -> Denial:
    found: asyncio.Future[Denial] = asyncio.get_running_loop().create_future()
    stop = bus.on_denied(lambda denial: found.done() or found.set_result(denial))
    await bus.publish(publish_to, b"\x90")
    try:
        return await found
    finally:
        stop()


def test_the_whole_file_is_a_configuration() -> None:
    checked = subprocess.run(
        [find_binary(), "-t", "-c", CONFIG],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_stranger_is_not_let_in(run) -> None:
    async def scenario() -> None:
        async with server() as nats:
            with pytest.raises(BusError, match="Authorization Violation"):
                await connect(BusOptions((nats.url,), connect_deadline_s=2))

    run(scenario())


def test_a_feed_a_gateway_a_check_and_an_admin_do_their_work(run, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[MdstreamError] = []

    async def scenario() -> None:
        async with server() as nats, gateway(nats) as running:
            async with feed.connect(
                options(nats, "feed-sim"), venue="SIM", on_error=errors.append
            ) as publisher:
                instrument = await publisher.instrument("A", price_exp=-2, size_exp=-2)
                instrument.replace([("1.00", "1")], [("1.01", "1")])
                async with connect_client(running.url) as client:
                    book = await client.book("SIM:A")
                    changed = asyncio.Event()
                    book.on_update(lambda _: changed.set())
                    instrument.update([("1.00", "2")])
                    while book.best_bid is None or book.best_bid[1] != 2:
                        changed.clear()
                        await changed.wait()
                    listing = await client.instruments()
                    assert list(listing.rows) == ["SIM:A"]
                    board = await client.board(interval_ms=100)
                    while board.rows["SIM:A"].state != "live":
                        await anext(board.updates())
                async with await connect(options(nats, "monitor")) as bus:
                    report = await check(bus, Options((SIM,), 0.5))
                    assert report.verdict is Verdict.RIGHT, list(report.lines())
            async with await connect(options(nats, "admin")) as bus:
                await bus.client.jetstream().purge_stream(MD_LOG, subject="md.SIM.>")
                assert await bus.last(MD_LOG, subject(SIM, "book")) is None

    run(scenario())
    assert errors == []
    assert "may not" not in caplog.text


def test_feeds_share_instruments_once_an_admin_has_made_the_bucket(
    run, caplog: pytest.LogCaptureFixture
) -> None:
    def sharing(nats: EmbeddedNats, holder: str) -> contextlib.AbstractAsyncContextManager[feed.Publisher]:
        lease = feed.LeaseOptions("main", ttl_s=3.0, holder=holder)  # not lost on a busy machine
        return feed.connect(options(nats, "feed-sim"), venue="SIM", lease=lease)

    async def scenario() -> None:
        async with server() as nats, gateway(nats):
            with pytest.raises(BusError, match="nats kv add MD_LEASES"):
                async with sharing(nats, "one"):
                    pass
            caplog.clear()
            async with await connect(options(nats, "admin")) as bus:
                await bus.ensure_leases()
            async with sharing(nats, "one") as one, sharing(nats, "two") as two:
                first, second = [await each.instrument("A", price_exp=-2, size_exp=-2) for each in (one, two)]
                for each in (first, second):
                    each.replace([("1.00", "1")], [("1.01", "1")])
                async with await connect(options(nats, "monitor")) as bus:
                    report = await check(bus, Options((SIM,), 1.0))
                    assert report.verdict is Verdict.RIGHT, list(report.lines())
                    assert report.leases["SIM main"].startswith("one/")
                    assert "two/" in report.leases["SIM main"] and "(ready)" in report.leases["SIM main"]
                epoch = first.epoch
                assert await one.hand_over()
                while not two.writes or second.following:
                    await asyncio.sleep(0.01)
                assert (second.epoch, second.seq) == (epoch, 1)

    run(scenario())
    assert "may not" not in caplog.text


def test_a_delayed_gateway_does_its_work(run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with server() as nats, gateway(nats, delay_ms=500) as running:
            async with feed.connect(options(nats, "feed-sim"), venue="SIM") as publisher:
                instrument = await publisher.instrument("A", price_exp=-2, size_exp=-2)
                instrument.replace([("1.00", "1")], [("1.01", "1")])
                async with connect_client(running.url) as client:
                    book = None
                    while book is None:
                        with contextlib.suppress(SubscriptionRefused):
                            book = await client.book("SIM:A")
                    changed = asyncio.Event()
                    book.on_update(lambda _: changed.set())
                    instrument.update([("1.00", "2")])
                    while book.best_bid is None or book.best_bid[1] != 2:
                        changed.clear()
                        await changed.wait()
                    assert book.delay_ms == 500

    run(scenario())
    assert "may not" not in caplog.text


def test_revocations_come_from_an_admin_alone_and_usage_is_read_by_billing(run) -> None:
    revocation = control.Revoke("subject", "anna", 1)

    async def scenario() -> None:
        async with server() as nats:
            async with await connect(options(nats, "gateway")) as bus:
                await control.ensure(bus)
                await ensure_usage(bus, keep_s=60, max_bytes=1_000_000)
                await put_usage(bus, "gw", "1", b"record")
                await bus.publish(control.OPENED, control.encode_opened("anna", "s1", 1))
                await bus.publish(control.USED, control.encode_used("bot", "n" * 16))
                assert (await denied(bus, revocation.subject)).do == "publish"
                async with await connect(options(nats, "admin")) as admin:
                    await control.revoke(admin, revocation)
                assert [payload async for payload in control.revoked(bus)] == [revocation.encode()]
            async with await connect(options(nats, "billing")) as bus:
                since = datetime.now(UTC) - timedelta(hours=1)
                assert [payload async for payload in read_usage(bus, since)] == [b"record"]
                with pytest.raises(BusError, match="may not publish"):
                    await bus.last(MD_STATE, subject(SIM, "ref"))

    run(scenario())


def test_candles_are_written_by_their_own_user(run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with server() as nats, gateway(nats) as running:
            async with (
                feed.connect(options(nats, "feed-sim"), venue="SIM") as publisher,
                await connect(options(nats, "candles")) as bus,
            ):
                instrument = await publisher.instrument("A", price_exp=-2, size_exp=-2)
                async with CandleWriter(bus, CandleOptions(interval_s=0.01)):
                    for number in range(1, 4):
                        instrument.trade("1.25", "2", "buy", trade_id=number)
                    while await last_stats(bus, SIM) is None:
                        await asyncio.sleep(0.01)
                    async with connect_client(running.url) as client:
                        candles = await client.candles("SIM:A", history=5)
                        assert candles.newest is not None and str(candles.newest.prices.close) == "1.25"

    run(scenario())
    assert "may not" not in caplog.text


def test_alerts_are_watched_by_their_own_user(
    run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdstream.bus.map_keeper.CHANGES", 2)
    alert = {"instrument": "SIM:A", "on": "last", "when": "above", "price": "1"}

    async def scenario() -> None:
        async with server() as nats, gateway(nats) as running, connect_client(running.url) as client:
            async with (
                feed.connect(options(nats, "feed-sim"), venue="SIM") as publisher,
                await connect(options(nats, "alerts")) as bus,
                AlertWatcher(bus, AlertOptions(place_s=0.1)),
            ):
                instrument = await publisher.instrument("A", price_exp=-2, size_exp=-2)
                told = await client.events("user.alice", since=0)
                await client.put("alerts.alice", {"up": alert})
                for number in range(1, 4):
                    instrument.trade("1.25", "2", "buy", trade_id=number)
                assert (await anext(told.updates())).data["crossed"] == "1.25"
                shown = await client.map("alerts.alice")
                while "fired" not in shown["up"]:
                    await asyncio.sleep(0.01)
                await client.put("alerts.alice", delete=["up"])
                async with await connect(options(nats, "admin")) as admin:
                    while not (await maps.whole_of(admin, maps.MAPS, "alerts.alice")).seq:
                        await asyncio.sleep(0.05)

    run(scenario())
    assert "may not" not in caplog.text and "cannot" not in caplog.text


def test_webhooks_are_sent_by_their_own_user(run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        kinds = ("session", "subscription", "presence")
        async with (
            server() as nats,
            receiver_of() as receiver,
            await connect(options(nats, "webhooks")) as bus,
            WebhookSender(bus, [hook_of(receiver.url)], options_of()) as sender,
        ):
            await sending(sender)
            async with (
                gateway(nats, activity_kinds=kinds) as running,
                connect_client(running.url) as client,
            ):
                await client.presence("desk.a", join=True)
                await client.publish("desk.a", "notice", 1)
                wanted = {"gateway.started", "session.opened", "presence.joined", "event.published"}
                while not wanted <= {each["type"] for each in receiver.records}:
                    await asyncio.sleep(0.01)

    run(scenario())
    assert "may not" not in caplog.text and "cannot" not in caplog.text


def test_a_gateway_may_keep_maps_and_presence(
    run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdstream.bus.map_keeper.CHANGES", 2)
    monkeypatch.setattr("mdstream.bus.maps.PAGE_BYTES", 64)

    async def scenario() -> None:
        async with server() as nats, gateway(nats) as running, connect_client(running.url) as client:
            shown = await client.map("desk.a")
            for number in range(3):
                await client.put("desk.a", {f"k{number}": "x" * 50})
            there = await client.presence("desk.a", join=True, interval_ms=100)
            while len(shown) < 3 or there.count < 1:
                await asyncio.sleep(0.01)
            async with await connect(options(nats, "admin")) as bus:
                while (await maps.whole_of(bus, maps.MAPS, "desk.a")).pages < 2:
                    await asyncio.sleep(0.05)

    run(scenario())
    assert "may not" not in caplog.text and "cannot" not in caplog.text


def test_a_gateway_may_ask_the_leader_what_is_stored(run, caplog: pytest.LogCaptureFixture) -> None:
    """By which it knows that what a client has seen elsewhere does not exist."""

    async def scenario() -> None:
        async with server() as nats, gateway(nats):
            async with await connect(options(nats, "gateway")) as bus:
                for stream, of in ((MD_LOG, "book"), (MD_STATE, "status")):
                    assert await bus.newest_stored(stream, subject(SIM, of)) is None
                assert await bus.is_in_touch(MD_LOG)
        assert "may not" not in caplog.text

    run(scenario())


def test_events_are_between_gateways_and_forged_by_nobody(run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with server() as nats, gateway(nats) as running:
            async with connect_client(running.url) as client:
                found = await client.events("desk.a")
                stream = found.updates()
                await client.publish("desk.a", "notice", 1)
                assert (await anext(stream)).data == 1
            assert "may not" not in caplog.text
            async with await connect(options(nats, "gateway")) as bus:
                assert await denied(bus, "mdstream.ev.desk.a") == Denial("publish", "mdstream.ev.desk.a")

    run(scenario())


def test_a_feed_is_told_what_it_may_not_publish(run) -> None:
    async def scenario() -> None:
        found: asyncio.Future[MdstreamError] = asyncio.get_running_loop().create_future()

        def on_error(error: MdstreamError) -> None:
            if "may not" in str(error) and not found.done():
                found.set_result(error)

        async with server() as nats, gateway(nats):
            async with feed.connect(options(nats, "feed-sim"), venue="OTHER", on_error=on_error) as publisher:
                await publisher.instrument("A", price_exp=-2, size_exp=-2)
                error = await found
            assert isinstance(error, BusError)
            assert "OTHER: NATS at" in str(error) and "a publisher of OTHER needs md.OTHER.>" in str(error)
            async with await connect(options(nats, "admin")) as bus:
                for stream in ("ref", "snap", "status"):
                    assert await bus.last(MD_STATE, subject(OTHER, stream)) is None

    run(scenario())


@pytest.mark.parametrize("user", ["gateway", "admin", "monitor", "billing", "candles", "alerts", "webhooks"])
def test_a_reader_publishes_no_market_data(run, user: str) -> None:
    async def scenario() -> None:
        async with server() as nats, await connect(options(nats, user)) as bus:
            name = subject(SIM, "book")
            assert await denied(bus, name) == Denial("publish", name.lower())
            with pytest.raises(BusError, match=r"this user may not publish to md\.sim\.a\.ref"):
                await bus.publish_acked(subject(SIM, "ref"), b"\x90")

    run(scenario())


def test_a_feed_reads_nothing_of_others_and_changes_no_stream(run) -> None:
    async def scenario() -> None:
        async with server() as nats:
            async with await connect(options(nats, "admin")) as bus:
                await bus.ensure_streams()
            async with await connect(options(nats, "feed-sim")) as bus:
                with pytest.raises(BusError, match="may not publish"):
                    await bus.last(MD_STATE, subject(OTHER, "ref"))
                with pytest.raises(BusError, match="may not publish"):
                    [payload async for payload in bus.log(subject(OTHER, "book"))]
                refused: asyncio.Future[Denial] = asyncio.get_running_loop().create_future()
                bus.on_denied(lambda denial: refused.done() or refused.set_result(denial))
                await bus.subscribe("md.OTHER.>", lambda *_: None)
                assert (await refused).do == "subscribe"

    run(scenario())


def test_a_feed_cannot_have_the_servers_answers_sent_to_another_venue(run) -> None:
    """JetStream confirms to the reply subject that a publisher names."""

    async def scenario() -> None:
        async with server() as nats, await connect(options(nats, "gateway")) as reader:
            await reader.ensure_streams()
            heard: list[bytes] = []
            await reader.subscribe("md.OTHER.>", lambda name, *_: heard.append(name))
            await reader.flush()
            async with await connect(options(nats, "feed-sim")) as bus:
                await bus.publish(subject(SIM, "ref"), b"\x80", reply=subject(OTHER, "snap"))
                await bus.publish_acked(subject(SIM, "ref"), b"\x80")
            await reader.flush()
            assert heard == []
            assert await reader.last(MD_STATE, subject(OTHER, "snap")) is None

    run(scenario())


def test_a_user_with_an_nkey_is_let_in(run, tmp_path: Path) -> None:
    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    file = tmp_path / "user.nk"
    file.write_bytes(seed + b"\n")

    async def scenario() -> None:
        users = f"authorization {{ users: [{{ nkey: {public} }}] }}"
        async with await EmbeddedNats.start(password=False, extra_config=users) as nats:
            async with await connect(BusOptions((nats.url,), nkey=file)) as bus:
                await bus.flush()

    run(scenario())
