"""Webhooks through a real NATS server to a real receiver: signed, in order, again until they are taken, and over a restart."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mdstream.bus import Bus
from mdstream.bus.topic_streams import MD_EVENTS, ensure_events
from mdstream.bus.webhook_places import Place, PlaceKeeper
from mdstream.children import start_module
from mdstream.cli import webhooks
from mdstream.errors import BusError
from mdstream.webhooks import WebhookSender, load_hooks
from mdstream.webhooks.posting import Poster
from mdstream.webhooks.signing import Secret
from mdstream.webhooks.trial import trial_batch
from support.certificates import certificate, needs_openssl
from support.webhooks import (
    HANG,
    KEY,
    OLD_KEY,
    OLD_SECRET,
    SECRET,
    bus_of,
    happen,
    hook_of,
    options_of,
    publish,
    receiver_of,
    sending,
)

Sender = WebhookSender


async def stored(bus: Bus, hook: str, stream: str, condition: Callable[[Place], object]) -> Place:
    keeper = PlaceKeeper(bus, hook, stream)
    while (place := await keeper.read()) is None or not condition(place):
        await asyncio.sleep(0.005)
    return place


def test_what_happens_is_told_in_order_signed_by_both_secrets(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            secrets = (Secret(SECRET), Secret(OLD_SECRET))
            hook = hook_of(receiver.url, secrets=secrets, topics=["desk.*"])
            async with Sender(bus, [hook], options_of()) as sender:
                await sending(sender)
                for number in range(40):
                    await publish(bus, f"desk.{number % 2}", 1, start=number)
                    await publish(bus, "other", 1)
                opened = ("session.opened", {"session": "s", "subject": "alice"})
                await happen(bus, "1", opened, ("presence.joined", {"topic": "other", "session": "s"}))
                records = await receiver.until_told(41)
            told = [each["data"] for each in records if each["type"] == "event.published"]
            assert [each["data"] for each in told] == list(range(40))
            assert [each["data"] for each in records if each["type"] == "session.opened"] == [opened[1]]
            assert len(records) == 41
            assert all(request.verified == [KEY, OLD_KEY] for request in receiver.requests)
            assert all(abs(request.timestamp - time.time()) < 3_600 for request in receiver.requests)
            assert all(re.fullmatch(r"msg_[0-9a-f]{32}", request.id) for request in receiver.requests)
            head = receiver.requests[0].head.lower()
            assert head.startswith(b"post /hooks http/1.1\r\n") and b"content-type: application/json" in head
            assert sender.counters["crm", "sent"] == 41

    run(scenario())


def test_what_came_before_the_first_start_is_not_told(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            await ensure_events(bus.jetstream, options_of().events)
            await publish(bus, "desk.a", 3)
            async with Sender(bus, [hook_of(receiver.url)], options_of()) as sender:
                await sending(sender)
                (new,) = await publish(bus, "desk.a", 1)
                await receiver.until_told(1)
            assert receiver.taken[0].seqs == [new]

    run(scenario())


@pytest.mark.parametrize("answer", [500, 404, 429, (302, b"location: http://127.0.0.1:1/\r\n"), HANG])
def test_a_batch_that_was_not_taken_comes_again_with_the_same_id_and_body(run, nats_server, answer) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of(answer, answer) as receiver:
            hook = hook_of(receiver.url, "event.published", timeout_s=0.2 if answer == HANG else 5.0)
            async with Sender(bus, [hook], options_of()) as sender:
                await sending(sender)
                await publish(bus, "desk.a", 1)
                await receiver.until_told(1)
                await publish(bus, "desk.a", 1)
                await receiver.until_told(2)
            assert len({(request.id, request.body) for request in receiver.requests[:3]}) == 1
            assert receiver.requests[3].id != receiver.requests[2].id
            assert len(receiver.requests) == 4
            assert sender.counters["crm", "failures"] == 2

    run(scenario())


def test_the_receiver_says_when_it_wants_the_next_attempt(run, nats_server) -> None:
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    async def scenario() -> None:
        answers = [(503, b"Retry-After: 40\r\n"), 503]
        async with bus_of(nats_server.url) as bus, receiver_of(*answers) as receiver:
            async with Sender(
                bus, [hook_of(receiver.url, "event.published")], options_of(sleep=sleep)
            ) as sender:
                await sending(sender)
                await publish(bus, "desk.a", 1)
                await receiver.until_told(1)

    run(scenario())
    assert waits[0] == 40.0 and 1.0 <= waits[1] <= 2.0


def test_what_is_not_taken_in_time_is_given_up_and_the_receiver_is_told(run, nats_server, caplog) -> None:
    clock = [0.0]

    async def sleep(wait_s: float) -> None:
        clock[0] += wait_s

    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of(*[500] * 20) as receiver:
            hook = hook_of(receiver.url, "event.published", give_up_s=60.0)
            options = options_of(sleep=sleep, now_s=lambda: clock[0])
            options = replace(options, lease_s=600.0)  # its clock is the same
            async with Sender(bus, [hook], options) as sender:
                await sending(sender)
                given_up = await publish(bus, "desk.a", 1)
                while not sender.counters["crm", "given_up"]:
                    await asyncio.sleep(0.01)
                receiver.answers.clear()
                place = await stored(bus, "crm", MD_EVENTS, lambda place: place.gave_up)
                assert place.gave_up == (given_up[0], given_up[0])
            async with Sender(bus, [hook], options) as sender:  # a restart does not forget it
                await sending(sender)
                new = await publish(bus, "desk.a", 1)
                records = await receiver.until_told(2)
            assert [each["type"] for each in records] == ["webhook.lost", "event.published"]
            lost = {"stream": MD_EVENTS, "reason": "given_up", "first": given_up[0], "last": given_up[0]}
            assert records[0]["data"] == lost
            assert receiver.taken[0].seqs == new

    run(scenario())
    assert "webhook crm: 1 records are given up, batch msg_" in caplog.text


def test_a_receiver_that_is_gone_for_good_is_left_alone_until_a_restart(run, nats_server, caplog) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of(410) as gone, receiver_of() as other:
            hooks = [
                hook_of(gone.url, "event.published"),
                hook_of(other.url, "event.published", name="other"),
            ]
            async with Sender(bus, hooks, options_of()) as sender:
                await sending(sender)
                await publish(bus, "desk.a", 5)
                await other.until_told(5)
                async with asyncio.timeout(15):
                    while not sender.counters["crm", "gone"]:
                        await asyncio.sleep(0.01)
                assert len(gone.requests) == 1
            async with Sender(bus, hooks, options_of()):
                await gone.until_told(5)
            assert gone.requests[1].id == gone.requests[0].id

    run(scenario())
    assert "the receiver says that it is gone (HTTP 410)" in caplog.text


def test_a_slow_receiver_keeps_no_other_from_anything(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of(*[HANG] * 9) as slow, receiver_of() as other:
            hooks = [
                hook_of(slow.url, "event.published", timeout_s=60.0),
                hook_of(other.url, "event.published", name="other"),
            ]
            async with Sender(bus, hooks, options_of()) as sender:
                await sending(sender)
                await publish(bus, "desk.a", 1)
                await slow.until_asked(1)
                await publish(bus, "desk.a", 100)
                await other.until_told(101)
                assert len(slow.requests) == 1  # one at a time

    run(scenario())


@pytest.mark.parametrize("step", ["stored", "sent"])
def test_a_sender_that_dies_in_the_middle_loses_nothing_and_the_next_one_sends_the_same_batch(
    run, nats_server, step
) -> None:
    class Died(BaseException):
        pass

    def die(at: str) -> None:
        if at == step:
            raise Died

    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            hook = hook_of(receiver.url, "event.published")
            async with Sender(bus, [hook], options_of()) as sender:
                await sending(sender)
            wanted = await publish(bus, "desk.a", 5)
            dying = Sender(bus, [hook], options_of(at=die))
            async with dying:
                while dying._task is not None and not dying._task.done():
                    await asyncio.sleep(0.005)
                dying._lease.is_ours = False  # the dead release nothing
            wanted += await publish(bus, "desk.a", 150)
            async with Sender(bus, [hook], options_of()):
                await receiver.until_told(155 + (5 if step == "sent" else 0))
            seqs = [seq for request in receiver.taken for seq in request.seqs]
            if step == "sent":
                assert receiver.taken[0].id == receiver.taken[1].id
                assert receiver.taken[0].body == receiver.taken[1].body
                seqs = seqs[5:]
            assert receiver.taken[0].seqs == wanted[:5] and seqs == wanted

    run(scenario())


def test_another_sender_takes_over_and_two_at_once_do_no_harm(run, nats_server, monkeypatch) -> None:
    async def at_once(_: object) -> None: ...

    async def for_ever(_: object) -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with (
            bus_of(nats_server.url) as bus,
            bus_of(nats_server.url) as other,
            receiver_of() as receiver,
        ):
            hooks = [hook_of(receiver.url, "event.published")]
            first, second = Sender(bus, hooks, options_of()), Sender(other, hooks, options_of())
            async with first:
                await sending(first)
                async with second:
                    await publish(bus, "desk.a", 3)
                    await receiver.until_told(3)
                    assert not second.is_active
                    await stored(bus, "crm", MD_EVENTS, lambda place: place.done == place.until == 3)
                    await first.__aexit__()
                    await publish(bus, "desk.a", 3)
                    await receiver.until_told(6)
            assert [each["data"]["seq"] for each in receiver.records] == [1, 2, 3, 4, 5, 6]
            monkeypatch.setattr("mdstream.bus.sole_lease.Lease.acquire", at_once)
            monkeypatch.setattr("mdstream.bus.sole_lease.Lease.keep", for_ever)
            receiver.taken.clear()
            async with Sender(bus, hooks, options_of()), Sender(other, hooks, options_of()):
                wanted = set(await publish(bus, "desk.a", 50))
                while not wanted <= {each["data"]["seq"] for each in receiver.records}:
                    await asyncio.sleep(0.01)
            bodies = {}
            for request in receiver.taken:
                assert bodies.setdefault(request.id, request.body) == request.body

    run(scenario())


def test_what_left_the_stream_while_no_sender_ran_is_told_as_lost(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            hook = hook_of(receiver.url, "event.published")
            async with Sender(bus, [hook], options_of()) as sender:
                await sending(sender)
            seqs = await publish(bus, "desk.a", 5)
            await bus.jetstream.purge_stream(MD_EVENTS, seq=seqs[3])
            async with Sender(bus, [hook], options_of()) as sender:
                records = await receiver.until_told(3)
                assert sender.counters["crm", "lost"] == 3
            assert records[0]["data"] == {
                "stream": MD_EVENTS,
                "reason": "expired",
                "first": seqs[0],
                "last": seqs[2],
            }
            assert receiver.taken[0].seqs == seqs[3:]

    run(scenario())


def test_nats_goes_away_and_comes_back(run, nats_server) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            async with Sender(bus, [hook_of(receiver.url, "event.published")], options_of()) as sender:
                await sending(sender)
                wanted = await publish(bus, "desk.a", 3)
                await receiver.until_told(3)
                nats_server.kill()
                while bus.connected:
                    await asyncio.sleep(0.01)
                await nats_server.restart()
                while len(wanted) < 6:
                    with suppress(BusError):
                        wanted += await publish(bus, "desk.a", 1)
                while not {*wanted} <= {each["data"]["seq"] for each in receiver.records}:
                    await asyncio.sleep(0.01)

    run(scenario())


def test_another_stream_is_told_from_its_beginning(run, nats_server, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.webhooks.lane.LOOK_S", 0.0)

    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            async with Sender(bus, [hook_of(receiver.url, "event.published")], options_of()) as sender:
                await sending(sender)
                await publish(bus, "desk.a", 3)
                await receiver.until_told(3)
                await bus.jetstream.delete_stream(MD_EVENTS)
                await ensure_events(bus.jetstream, options_of().events)
                await publish(bus, "desk.a", 2)
                await receiver.until_told(5)
            assert receiver.taken[-1].seqs[-1] == 2
            assert len({each["id"] for each in receiver.records}) == 5

    run(scenario())


def test_the_place_is_kept_where_nothing_is_to_be_told(run, nats_server, monkeypatch) -> None:
    monkeypatch.setattr("mdstream.webhooks.lane.PASSED", 10)

    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            hook = hook_of(receiver.url, "event.published", topics=["desk.*"])
            async with Sender(bus, [hook], options_of()) as sender:
                await sending(sender)
                seqs = await publish(bus, "other", 25)
                await stored(bus, "crm", MD_EVENTS, lambda place: place.done >= seqs[14])
            assert receiver.requests == []

    run(scenario())


# ---- the command


def hook_lines(folder: Path, name: str, url: str) -> list[str]:
    (folder / f"{name}.hook").write_text(SECRET)
    given = {"name": name, "url": url, "secret_file": str(folder / f"{name}.hook")}
    lines = [f'{key} = "{value}"' for key, value in given.items()]
    return ["[[hooks]]", *lines, 'types = ["event.published"]']


def hooks_file(folder: Path, url: str, *more: str) -> str:
    """``more``: lines that follow."""
    file = folder / "hooks.toml"
    file.write_text("\n".join([*hook_lines(folder, "crm", url), *more, ""]))
    return str(file)


@needs_openssl
def test_a_receiver_is_verified_by_the_certificates_that_are_named(run, tmp_path) -> None:
    cert, key = certificate(tmp_path, "receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def scenario() -> None:
        async with receiver_of(tls=context) as receiver:
            url = receiver.url.replace("http://", "https://")
            for more, failure in ((f'ca_file = "{cert}"', None), ("", "the certificate cannot be verified")):
                (hook,) = load_hooks(Path(hooks_file(tmp_path, url, more)))
                found = await Poster(hook, options_of(), Counter()).attempt(trial_batch(1))
                assert (None if found is None else found.why[: len(str(failure))]) == failure
            assert len(receiver.taken) == 1

    run(scenario())


def test_the_command_tries_each_receiver(run, tmp_path, capsys) -> None:
    async def scenario() -> None:
        async with receiver_of() as receiver, receiver_of(500) as other:
            file = hooks_file(tmp_path, receiver.url, *hook_lines(tmp_path, "other", other.url))
            assert await webhooks._test(load_hooks(Path(file))) == 1
            assert capsys.readouterr().out == "crm: taken\nother: HTTP 500\n"
            assert receiver.requests[0].verified == [KEY]
            assert [each["type"] for each in receiver.requests[0].records] == ["webhook.test"]
            assert await webhooks._test(load_hooks(Path(file))) == 0

    run(scenario())


@pytest.mark.complete
def test_killed_again_and_again_under_load_it_loses_nothing_and_keeps_the_order(
    run, nats_server, tmp_path
) -> None:
    async def scenario() -> None:
        async with bus_of(nats_server.url) as bus, receiver_of() as receiver:
            file = hooks_file(tmp_path, receiver.url)
            command = ("webhooks", "--hooks", file, "--nats", nats_server.url, "--lease", "500ms")
            async with Sender(bus, [hook_of(receiver.url, "event.published")], options_of()) as sender:
                await sending(sender)
            wanted: list[int] = []
            for _ in range(8):
                process = await start_module("mdstream.cli", command)
                for _ in range(200):
                    wanted += await publish(bus, "desk.a", 1)
                await receiver.until_told(len(set(wanted)) // 2)
                process.kill()
                await process.wait()
            process = await start_module("mdstream.cli", command)
            while not {*wanted} <= {each["data"]["seq"] for each in receiver.records}:
                await asyncio.sleep(0.05)
            process.terminate()
            await process.wait()
            once = {request.id: request.seqs for request in receiver.taken}
            assert [seq for seqs in once.values() for seq in seqs] == wanted

    run(scenario(), 400)
