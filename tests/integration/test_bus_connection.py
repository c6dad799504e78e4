"""Connecting, being refused, losing the server and finding it again, against a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import pytest

from mdstream.bus import MD_LOG, MD_STATE, BusOptions, EmbeddedNats, connect
from mdstream.errors import BusError, BusUnavailable

pytestmark = pytest.mark.usefixtures("parser")

QUICK = {"connect_deadline_s": 0.5}
AUTHORIZATION = "authorization { user: joe, password: hunter2 }"


class Inbox:
    """A handler that keeps what it is given, and can be waited for."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self._changed = asyncio.Event()

    def __call__(self, subject: bytes, reply: bytes, payload: bytes, headers: bytes | None) -> None:
        self.payloads.append(payload)
        self._changed.set()

    async def until(self, count: int) -> list[bytes]:
        while len(self.payloads) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.payloads


def told(register) -> asyncio.Future[bool]:
    """Done at the next call of a callback of the bus."""
    called = asyncio.get_running_loop().create_future()
    unregister = register(lambda: called.done() or called.set_result(True))
    called.add_done_callback(lambda _: unregister())
    return called


def test_messages_come_in_order_and_flush_means_taken(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus, await connect(nats_server.url) as other:
            inbox = Inbox()
            subscription = await other.subscribe("md.SIM.*.book", inbox)
            await other.flush()
            for number in range(1000):
                await bus.publish("md.SIM.A.book", b"%d" % number)
            await bus.flush()
            assert await inbox.until(1000) == [b"%d" % number for number in range(1000)]
            await other.unsubscribe(subscription)
            await bus.publish("md.SIM.A.book", b"late")
            await bus.flush()
            await other.flush()
            assert len(inbox.payloads) == 1000

    run(scenario())


def test_a_handler_that_raises_does_not_deafen_the_bus(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        async with await connect(nats_server.url) as bus:
            inbox = Inbox()

            def broken(*_: object) -> None:
                raise ZeroDivisionError("a bug of the handler")

            await bus.subscribe("a", broken)
            await bus.subscribe("b", inbox)
            for subject in ("a", "a", "b"):
                await bus.publish(subject, b"x")
            await inbox.until(1)

    run(scenario())
    assert caplog.text.count("NATS at nats://***@127.0.0.1") == 1  # once, not each time
    assert "ZeroDivisionError" in caplog.text


def test_an_unreachable_server_is_named_within_the_deadline(run, nats_server) -> None:
    async def scenario() -> None:
        nats_server.kill()
        with pytest.raises(
            BusUnavailable, match=rf"127\.0\.0\.1:{nats_server.port} .* 0\.5 s: connection refused"
        ):
            await connect(BusOptions((nats_server.url,), **QUICK))

    run(scenario())


def test_a_node_that_hangs_does_not_keep_us_from_the_others(run, nats_server) -> None:
    """It accepts and says nothing, as a stopped process does: the next one is tried in time."""

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as hanging:
            port = hanging.getsockname()[1]
            urls = (f"nats://127.0.0.1:{port}", f"nats://127.0.0.1:{port}", nats_server.url)
            async with await connect(BusOptions(urls)) as bus:
                await bus.flush()

    run(scenario())


def test_a_server_that_accepts_and_is_silent_is_named_within_the_deadline(run, nats_server) -> None:
    async def scenario() -> None:
        nats_server.pause()
        with pytest.raises(BusUnavailable, match="within 0.5 s: no answer"):
            await connect(BusOptions((nats_server.url,), **QUICK))

    run(scenario())


def test_a_server_that_starts_late_is_waited_for(run, nats_server) -> None:
    async def scenario() -> None:
        nats_server.kill()
        connecting = asyncio.ensure_future(connect(nats_server.url))
        await nats_server.restart()
        async with await connecting as bus:
            assert bus.connected

    run(scenario())


def test_wrong_credentials_are_refused_at_once_without_being_shown(run) -> None:
    async def scenario() -> None:
        async with await EmbeddedNats.start(password=False, extra_config=AUTHORIZATION) as server:
            with pytest.raises(BusError, match="refused the connection: 'Authorization Violation'") as caught:
                await connect(BusOptions((server.url,), user="joe", password="wrong", connect_deadline_s=20))
            assert "wrong" not in str(caught.value) and not isinstance(caught.value, BusUnavailable)
            async with await connect(BusOptions((server.url,), user="joe", password="hunter2")) as bus:
                await bus.flush()
            async with await connect(server.url.replace("//", "//joe:hunter2@")) as bus:
                await bus.flush()

    run(scenario())


def test_tls_that_the_server_does_not_offer_is_refused_before_anything_is_sent(run, nats_server) -> None:
    async def scenario() -> None:
        with pytest.raises(BusError, match="TLS was asked for and the server does not offer it"):
            await connect(nats_server.url.replace("nats://", "tls://"))

    run(scenario())


def test_any_one_of_several_servers_will_do(run, nats_server) -> None:
    async def scenario() -> None:
        async with await EmbeddedNats.start() as other:
            urls = (other.url, nats_server.url)
            other.kill()
            async with await connect(BusOptions(urls)) as bus:
                await bus.flush()

    run(scenario())


def test_a_killed_server_is_left_and_found_again_with_its_subscriptions(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        options = BusOptions((nats_server.url,), reconnect_cap_s=0.1)
        async with await connect(options) as bus:
            inbox = Inbox()
            await bus.subscribe("a", inbox)
            await bus.flush()
            lost = told(bus.on_disconnect)
            back = told(bus.on_reconnect)
            nats_server.kill()
            await lost
            assert not bus.connected
            with pytest.raises(BusUnavailable, match="not connected to NATS"):
                await bus.flush()
            late = Inbox()
            await bus.subscribe("b", late)
            gone = await bus.subscribe("a", Inbox())
            await bus.unsubscribe(gone)
            await bus.publish("b", b"waited in the backlog")
            await nats_server.restart()
            await back
            assert bus.connected
            await bus.publish("a", b"again")
            assert await inbox.until(1) == [b"again"]
            assert await late.until(1) == [b"waited in the backlog"]

    with caplog.at_level(logging.WARNING):
        run(scenario())
    said = [record.getMessage() for record in caplog.records]
    assert len(said) <= 4, "a thing is said once, however often it is tried"
    assert said[0].startswith("lost NATS at nats://***@127.0.0.1:") and "is back after" in said[-1]
    assert all("still away" in text for text in said[1:-1])


def test_a_server_without_a_pulse_is_left_and_found_again(run, nats_server) -> None:
    async def scenario() -> None:
        options = BusOptions(
            (nats_server.url,), ping_interval_s=0.2, reconnect_cap_s=0.1, connect_deadline_s=10
        )
        async with await connect(options) as bus:
            inbox = Inbox()
            await bus.subscribe("a", inbox)
            await bus.flush()
            lost = told(bus.on_disconnect)
            back = told(bus.on_reconnect)
            nats_server.pause()
            await lost
            nats_server.resume_process()
            await back
            while not inbox.payloads:  # on a busy machine it may miss two more pings in between
                await bus.publish("a", b"alive")
                with contextlib.suppress(BusUnavailable):
                    await bus.flush()
            assert set(inbox.payloads) == {b"alive"}

    run(scenario())


def test_a_flush_that_was_given_up_does_not_deafen_the_bus(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(BusOptions((nats_server.url,), ping_interval_s=60)) as bus:
            inbox = Inbox()
            await bus.subscribe("a", inbox)
            await bus.flush()
            nats_server.pause()
            with pytest.raises(BusUnavailable, match="did not answer within 0.05 s"):
                await bus.flush(0.05)
            nats_server.resume_process()
            await bus.flush()
            await bus.publish("a", b"heard")
            assert await inbox.until(1) == [b"heard"]

    run(scenario())


def test_a_full_backlog_and_a_payload_too_large_are_refused(run, nats_server) -> None:
    async def scenario() -> None:
        async with await connect(BusOptions((nats_server.url,), pending_bytes=1000)) as bus:
            with pytest.raises(BusError, match="more than the server's max_payload of 8388608"):
                await bus.publish("a", bytes(bus.max_payload_bytes + 1))
            lost = told(bus.on_disconnect)
            nats_server.kill()
            await lost
            with pytest.raises(BusUnavailable, match=r"backlog is full \(1000 bytes\)"):
                for _ in range(20):
                    await bus.publish("a", bytes(100))

    run(scenario())


def test_a_bus_can_be_closed_while_it_reconnects(run, nats_server) -> None:
    """The reconnecting task then waits for the same end of the lost connection as who closes, and is cancelled."""

    async def scenario() -> None:
        bus = await connect(nats_server.url)
        end = bus.client._transport._io_writer._protocol._get_close_waiter(None)
        end.cancel()  # as the task's cancellation does; when it waits is a matter of luck
        await bus.close()
        assert bus.client.is_closed

    run(scenario())


def test_a_cancelled_close_is_cancelled(run, nats_server) -> None:
    async def scenario() -> None:
        bus = await connect(nats_server.url)
        closing = asyncio.get_running_loop().create_task(bus.client.close())
        await asyncio.sleep(0)  # it has begun, and lets others have a turn
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await bus.client.close_transport()

    run(scenario())


def test_a_closed_bus_says_so(run, nats_server) -> None:
    async def scenario() -> None:
        bus = await connect(nats_server.url)
        await bus.close()
        await bus.close()
        for attempt in (bus.publish("a", b""), bus.subscribe("a", Inbox()), bus.flush()):
            with pytest.raises(BusUnavailable, match="the bus is closed"):
                await attempt

    run(scenario())


def test_without_jetstream_the_error_says_how_to_turn_it_on(run) -> None:
    async def scenario() -> None:
        async with (
            await EmbeddedNats.start(jetstream=False) as server,
            await connect(BusOptions((server.url,), request_timeout_s=0.5)) as bus,
        ):
            with pytest.raises(
                BusError, match=r"JetStream is off on this server; start it with `nats-server -js`"
            ):
                await bus.ensure_streams()
            with pytest.raises(BusUnavailable, match="JetStream does not answer"):
                await bus.last(MD_STATE, "md.SIM.A.ref")
            with pytest.raises(BusUnavailable, match=f"{MD_LOG} cannot be read"):
                [payload async for payload in bus.log("md.SIM.A.book")]

    run(scenario())
