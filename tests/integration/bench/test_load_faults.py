"""A load test's clients before a server that does wrong: each fault is found, named and counted, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mdstream._bench.plan import Group, Plan
from mdstream._bench.subscribers import Subscribers
from mdstream.errors import BenchError
from support.fakes import Peer, fake_gateway, frame
from vectors import reference

NAME = "SIM:BTC-USD"
BIDS, ASKS = [10000, 5, 9999, 7], [10001, 4, 10003, 6]
LATER = [10000, 5, 9999, 8]
RIGHT = reference.checksum(BIDS, ASKS)
pytestmark = pytest.mark.parametrize("format", ["json", "msgpack"])


def plan(address: tuple[str, int], format: str, **options: Any) -> Plan:
    group = {key: options.pop(key) for key in list(options) if key in Group.__slots__}
    return Plan(
        gateways=[address],
        instruments=[NAME],
        groups=[Group(**{"connections": 1, "verify": 1} | group)],
        format=format,
        **options,
    )


def begin(peer: Peer, seq: int = 10, **fields: Any) -> None:
    """Up to the snapshot."""
    peer.upgrade()
    peer.subscribed(peer.command())
    snapshot(peer, seq, **fields)


def snapshot(peer: Peer, seq: int = 10, **fields: Any) -> None:
    whole = {
        "sub": 7,
        "epoch": 3,
        "seq": seq,
        "ts": 1,
        "bids": BIDS,
        "asks": ASKS,
        "crc": RIGHT,
        "reason": "subscribe",
    }
    peer.data("snapshot", **whole | fields)


def delta(peer: Peer, first: int, last: int, lots: int = 7, **fields: Any) -> None:
    """Sets the second bid."""
    peer.data("delta", **delta_fields(first, last, lots) | fields)


def delta_fields(first: int, last: int, lots: int = 7) -> dict[str, Any]:
    crc = reference.checksum([10000, 5, 9999, lots], ASKS)
    return {"sub": 7, "first": first, "last": last, "ts": 1, "bids": [9999, lots], "asks": [], "crc": crc}


def outcome(play: Callable[[Peer], None], format: str, last: int, **options: Any) -> Subscribers:
    """Plays to one client until it has reached ``last``."""

    def whole(peer: Peer) -> None:
        play(peer)
        peer.until_closed()

    with fake_gateway(whole, format, chunk=options.pop("chunk", 1 << 30)) as address:
        subscribers = Subscribers(plan(address, format, **options))
        subscribers.open()
        subscribers.expect({NAME: last})
        try:
            assert subscribers.run(10, until="expected"), subscribers.totals()
        finally:
            subscribers.close()
    return subscribers


def kinds(subscribers: Subscribers) -> dict[str, int]:
    return {name[6:]: count for name, count in subscribers.totals().items() if name.startswith("fault_")}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100, 1 << 30])
def test_right_data_is_exact_however_the_bytes_come(format: str, chunk: int) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 11, 11, lots=8)
        delta(peer, 12, 15, lots=9)
        peer.raw(frame(9, b"are you there"))
        assert peer.read_frame() == (10, b"are you there")
        peer.data("heartbeat", time=1, seqs=[[7, 15]])
        delta(peer, 16, 16, lots=7)

    subscribers = outcome(play, format, 16, chunk=chunk)
    assert (subscribers.faults, subscribers.first_fault) == (0, "")
    counters = subscribers.counters()
    wanted = {
        "deltas": 3,
        "updates": 6,
        "snapshots": 1,
        "checked": 4,
        "heartbeats": 1,
        "pings": 1,
        "messages": 7,
    }
    assert {name: counters[name] for name in wanted} == wanted
    assert subscribers.latency.count == 3


def test_messages_in_fragments_and_of_every_length_are_taken(format: str) -> None:
    many = [number for i in range(4000) for number in (10000 - i, 5)]

    def play(peer: Peer) -> None:
        peer.upgrade()
        peer.subscribed(peer.command())
        snapshot(peer, bids=many, crc=reference.checksum(many, ASKS))
        crc = reference.checksum([10000, 6, *many[2:]], ASKS)
        payload = peer.data_payload("delta", **delta_fields(11, 11) | {"bids": [10000, 6], "crc": crc})
        peer.raw(
            frame(peer.opcode, payload[:9], fin=False) + frame(9, b"") + frame(0, payload[9:], fin=False)
        )
        peer.raw(frame(0, b""))

    subscribers = outcome(play, format, 11)
    assert (subscribers.first_fault, subscribers.counters()["checked"]) == ("", 2)


def test_a_gap_is_found_named_and_mended(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 13, 13, lots=8)
        assert {"op": "recover", "sub": 7, "from": 11}.items() <= peer.command().items()
        delta(peer, 14, 14, lots=8)  # held: the answer brings it
        delta(peer, 11, 14, lots=8)
        delta(peer, 15, 15, lots=9)

    subscribers = outcome(play, format, 15)
    assert kinds(subscribers) == {"gap": 1}
    assert subscribers.counters()["recovers"] == 1
    for word in ("client 0", NAME, "gap", "at 10", "13, 13"):
        assert word in subscribers.first_fault


def test_without_recover_a_gap_is_counted_and_passed(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 13, 14)
        delta(peer, 15, 15)

    subscribers = outcome(play, format, 15, recover=False)
    assert (kinds(subscribers), subscribers.counters()["updates"]) == ({"gap": 1}, 3)


@pytest.mark.parametrize(
    ("first", "last", "kind"), [(11, 11, "repeat"), (9, 10, "repeat"), (11, 12, "overlap")]
)
def test_numbers_that_were_there_already_are_found(format: str, first: int, last: int, kind: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 11, 11)
        delta(peer, first, last)
        delta(peer, max(last, 11) + 1, 20)

    assert kinds(outcome(play, format, 20)) == {kind: 1}


def test_a_wrong_crc_is_found_and_a_snapshot_asked_for(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 11, 11, crc=1)
        assert {"op": "recover", "sub": 7, "from": 0}.items() <= peer.command().items()
        delta(peer, 12, 12)  # of a book that is known to be wrong
        snapshot(peer, 12, reason="recover")
        delta(peer, 13, 13, lots=9)

    subscribers = outcome(play, format, 13)
    assert (kinds(subscribers), subscribers.counters()["checked"]) == ({"crc": 1}, 4)


def test_a_wrong_book_is_found_by_its_crc(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 11, 11, bids=[9999, 3])  # the crc is that of another size
        snapshot(peer, 11, reason="recover")

    assert kinds(outcome(play, format, 11, recover=False)) == {"crc": 1}


def test_a_missing_snapshot_is_found_by_the_delta_before_it(format: str) -> None:
    def play(peer: Peer) -> None:
        peer.upgrade()
        peer.subscribed(peer.command())
        delta(peer, 11, 11)
        snapshot(peer, 12)

    assert kinds(outcome(play, format, 12)) == {"early": 1}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"bids": [9999, 7, 10000, 5]}, {"order": 1}),
        ({"bids": [10001, 5], "crc": reference.checksum([10001, 5], ASKS)}, {"crossed": 1}),
        ({"bids": LATER}, {"crc": 1}),
        ({"sub": 8}, {"unknown_sub": 1}),
    ],
)
def test_a_wrong_snapshot_is_found(format: str, fields: dict[str, Any], kind: dict[str, int]) -> None:
    def play(peer: Peer) -> None:
        begin(peer, **fields)
        snapshot(peer, 11)

    assert kinds(outcome(play, format, 11)) == kind


def test_a_view_deeper_than_asked_is_found(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)

    assert kinds(outcome(play, format, 10, depth=1)) == {"depth": 1}


def test_a_snapshot_that_goes_back_is_found(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        snapshot(peer, 9)
        snapshot(peer, 11)

    assert kinds(outcome(play, format, 11)) == {"backwards": 1}


def test_a_lost_tail_is_found_by_the_heartbeat(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        peer.data("heartbeat", time=1, seqs=[[7, 12]])
        delta(peer, 11, 12)

    assert kinds(outcome(play, format, 12)) == {"lost_tail": 1}


def test_a_number_that_was_never_published_is_found(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        delta(peer, 11, 99)

    assert kinds(outcome(play, format, 12)) == {"beyond": 1}


def test_what_is_no_message_is_found(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        peer.send({"type": "candles"}, [6, 7])
        peer.raw(frame(peer.opcode, b"\xc1{"))
        delta(peer, 11, 11)

    assert kinds(outcome(play, format, 11)) == {"malformed": 2}


def test_decimals_that_are_not_the_instruments_are_found(format: str) -> None:
    def play(peer: Peer) -> None:
        begin(peer)
        message = peer.data_payload("delta", **delta_fields(11, 11)).replace(b'"99.99"', b'"99.990"')
        peer.raw(frame(peer.opcode, message))
        snapshot(peer, 11)

    wanted = {"decimals": 1} if format == "json" else {}
    assert kinds(outcome(play, format, 11, recover=False)) == wanted


def test_trades_are_followed_too(format: str) -> None:
    def trade(seq: int) -> list[Any]:
        return [seq, 1, 10000, 5, 1, seq]

    def play(peer: Peer) -> None:
        peer.upgrade()
        peer.subscribed(peer.command())
        for first, last in ((5, 6), (7, 7), (9, 9), (10, 12)):
            rows = [trade(seq) for seq in range(first, last + 1)]
            peer.data("trades", sub=7, epoch=3, first=first, last=last, trades=rows)
        peer.data("trades", sub=7, epoch=3, first=13, last=14, trades=[trade(13), trade(13)])
        peer.until_closed()

    with fake_gateway(play, format) as address:
        subscribers = Subscribers(plan(address, format, channel="trades"))
        subscribers.open()
        subscribers.expect({NAME: 12}, "trades")
        assert subscribers.run(10, until="expected")
        assert subscribers.run(10, until="quiet")
        subscribers.close()
    assert (kinds(subscribers), subscribers.counters()["trades"]) == ({"gap": 1, "malformed": 1}, 7)


# ---- coming back


def test_after_a_cut_it_goes_on_from_where_it_was(format: str) -> None:
    seen: list[Any] = []

    def play(peer: Peer) -> None:
        peer.upgrade()
        command = peer.command()
        seen.append(command.get("resume"))
        peer.subscribed(command, resumed="resume" in command)
        if "resume" in command:
            delta(peer, 11, 12)
        else:
            snapshot(peer)
        with pytest.raises(ConnectionError):
            peer.read_frame()

    with fake_gateway(play, format, connections=2) as address:
        subscribers = Subscribers(plan(address, format))
        subscribers.open()
        assert subscribers.run(10, until="ready")
        assert subscribers.cut(0.01) == 1
        subscribers.expect({NAME: 12})
        assert subscribers.run(10, until="expected")
        subscribers.cut(3600)
    assert seen == [None, {NAME: [3, 10]}]
    assert (subscribers.first_fault, subscribers.totals()["resumed"], subscribers.recovery.count) == (
        "",
        1,
        1,
    )
    assert subscribers.counters()["updates"] == 2


def test_a_client_that_the_server_closes_comes_back_unless_the_code_forbids_it(format: str) -> None:
    codes = iter([1012, 4400])

    def play(peer: Peer) -> None:
        begin(peer)
        peer.raw(frame(8, next(codes).to_bytes(2, "big")))
        peer.until_closed()

    with fake_gateway(play, format, connections=2) as address:
        subscribers = Subscribers(plan(address, format, resume=False))
        subscribers.open()
        while subscribers.totals()["failed"] == 0:
            subscribers.run(0.05)
    assert subscribers.close_codes == {1012: 1, 4400: 1}
    assert (subscribers.totals()["opened"], subscribers.open_clients) == (2, 0)


# ---- what cannot be done


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\n\r\ndraining",
            "503 Service Unavailable[^$]*draining",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "refused the upgrade: HTTP/1.1 200 OK"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "no stream of the contract"),
        (b"", "hung up"),
    ],
)
def test_a_server_that_is_no_gateway_is_told(format: str, answer: bytes, said: str) -> None:
    def play(peer: Peer) -> None:
        peer.read_request()
        peer.raw(answer)

    with fake_gateway(play, format) as address:
        subscribers = Subscribers(plan(address, format))
        subscribers.open()
        with pytest.raises(BenchError, match=said) as raised:
            subscribers.run(10, until="ready")
    assert f"127.0.0.1:{address[1]}" in str(raised.value)


def test_a_refused_subscription_is_told_with_the_gateways_words(format: str) -> None:
    def play(peer: Peer) -> None:
        peer.upgrade()
        peer.command()
        peer.say(
            {
                "type": "error",
                "id": 1,
                "code": "unknown_instrument",
                "message": "no publisher has announced it",
            }
        )
        peer.until_closed()

    with fake_gateway(play, format) as address:
        subscribers = Subscribers(plan(address, format))
        subscribers.open()
        with pytest.raises(BenchError, match="unknown_instrument: no publisher has announced it"):
            subscribers.run(10, until="ready")


def test_where_nothing_listens_it_is_told(format: str) -> None:
    with fake_gateway(lambda peer: None, format, connections=0) as address:
        pass
    subscribers = Subscribers(plan(address, format))
    subscribers.open()
    with pytest.raises(BenchError, match="Connection refused; is a gateway running there"):
        subscribers.run(10, until="ready")
