"""Writes the golden vectors next to this file; ``--check`` compares them instead and exits with 1 where they differ.

They come from the plain libraries alone (``reference.py``), never from the code that they are the measure of.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cases_alerts
import cases_boards
import cases_candles
import cases_client
import cases_events
import cases_feed
import cases_maps
import cases_server
import cases_views
from reference import (
    BOARD,
    DATA,
    KEYED,
    Object,
    candles,
    checksum,
    checksum_text,
    decimal_text,
    event,
    json_text,
    msgpack_hex,
)

HERE = Path(__file__).parent
MOST = cases_server.MOST


def server() -> Object:
    data = []
    for name, kind, fields, price_exp, size_exp in cases_server.data():
        text, packed = DATA[kind](fields, price_exp, size_exp)
        head = {"name": name, "type": kind, "price_exp": price_exp, "size_exp": size_exp, "fields": fields}
        data.append({**head, "json": json_text(text), "msgpack": msgpack_hex(packed)})
    control = [_map(name, "type", message) for name, message in cases_server.control()]
    return {"data": data, "control": control, "joined": _joined()}


def _map(name: str, tag: str, message: Object) -> Object:
    both = {"json": json_text(message), "msgpack": msgpack_hex(message)}
    return {"name": name, tag: message[tag], "message": message, **both}


def _joined() -> list[Object]:
    """One WebSocket message of several values, as MessagePack allows."""
    deltas = [DATA[kind](fields, *scale)[1] for _, kind, fields, *scale in cases_server.deltas()[:3]]
    subscribed = dict(cases_server.control())["subscribed to a book"]
    snapshot = DATA["snapshot"](cases_server.snapshots()[0][2], -2, -8)[1]
    return [
        {"name": "three deltas", "values": deltas, "msgpack": msgpack_hex(*deltas)},
        {
            "name": "subscribed and its snapshot",
            "values": [subscribed, snapshot],
            "msgpack": msgpack_hex(subscribed, snapshot),
        },
    ]


def client() -> Object:
    return {"commands": [_map(name, "op", command) for name, command in cases_client.commands()]}


def boards() -> Object:
    data = []
    for name, kind, fields, scales in cases_boards.boards():
        text, packed = BOARD[kind](fields, scales)
        head = {"name": name, "type": kind, "scales": scales, "fields": fields}
        data.append({**head, "json": json_text(text), "msgpack": msgpack_hex(packed)})
    messages = [_map(name, "type", message) for name, message in cases_boards.messages()]
    commands = [_map(name, "op", command) for name, command in cases_boards.commands()]
    return {"data": data, "messages": messages, "commands": commands}


def of_candles() -> Object:
    data = []
    for name, fields in cases_candles.data():
        text, packed = candles(fields)
        head = {"name": name, "type": "candles", "fields": fields}
        data.append({**head, "json": json_text(text), "msgpack": msgpack_hex(packed)})
    messages = [_map(name, "type", message) for name, message in cases_candles.messages()]
    commands = [_map(name, "op", command) for name, command in cases_candles.commands()]
    bus = [
        {"name": name, "subject": subject, "values": values, "msgpack": msgpack_hex(*values)}
        for name, subject, values in cases_candles.bus()
    ]
    return {"data": data, "messages": messages, "commands": commands, "bus": bus}


def of_maps() -> Object:
    data = []
    for name, kind, fields in cases_maps.data():
        text, packed = KEYED[kind](fields)
        head = {"name": name, "type": kind, "fields": fields}
        data.append({**head, "json": json_text(text), "msgpack": msgpack_hex(packed)})
    bus = [
        {"name": name, "subject": subject, "values": values, "msgpack": msgpack_hex(*values)}
        for name, subject, values in cases_maps.bus()
    ]
    return {
        "data": data,
        "messages": [_map(name, "type", message) for name, message in cases_maps.messages()],
        "commands": [_map(name, "op", command) for name, command in cases_maps.commands()],
        "bus": bus,
    }


def alerts() -> Object:
    data = []
    for name, fields in cases_alerts.data():
        text, packed = event(fields)
        head = {"name": name, "type": "event", "fields": fields}
        data.append({**head, "json": json_text(text), "msgpack": msgpack_hex(packed)})
    bus = [
        {"name": name, "subject": subject, "message": message, "msgpack": msgpack_hex(message)}
        for name, subject, message in cases_alerts.bus()
    ]
    crossings = [
        {"name": name, "alert": alert, "price_exp": -2, "prices": prices, "fires": fires}
        for name, alert, prices, fires in cases_alerts.crossings()
    ]
    commands = [_map(name, "op", command) for name, command in cases_alerts.commands()]
    return {"data": data, "commands": commands, "bus": bus, "crossings": crossings}


def events() -> Object:
    data = []
    for name, fields in cases_events.data():
        text, packed = event(fields)
        head = {"name": name, "type": "event", "fields": fields}
        data.append({**head, "json": json_text(text), "msgpack": msgpack_hex(packed)})
    messages = [_map(name, "type", message) for name, message in cases_events.messages()]
    commands = [_map(name, "op", command) for name, command in cases_events.commands()]
    bus = [
        {
            "name": name,
            "subject": subject,
            "message": message,
            "json": json_text(message),
            "msgpack": msgpack_hex(message),
        }
        for name, subject, message in cases_events.bus()
    ]
    return {"data": data, "messages": messages, "commands": commands, "bus": bus}


def feed() -> Object:
    values = [
        {"name": name, "stream": stream, "value": value, "msgpack": msgpack_hex(value)}
        for name, stream, value in cases_feed.feed()
    ]
    batches = [
        {"name": name, "stream": stream, "values": values, "msgpack": msgpack_hex(*values)}
        for name, stream, values in cases_feed.batches()
    ]
    return {"values": values, "batches": batches, "subjects": cases_feed.subjects()}


def numbers() -> Object:
    values = [
        0,
        1,
        -1,
        5,
        -5,
        99,
        100,
        6_412_310,
        12_345_678,
        99_999_999,
        100_000_000,
        -123_456_789,
        MOST,
        -MOST,
    ]
    exps = (-18, -10, -9, -8, -7, -4, -2, -1, 0, 1, 3, 18)
    decimals = [{"value": v, "exp": exp, "text": decimal_text(v, exp)} for exp in exps for v in values]
    books = [case[2] for case in cases_server.snapshots()] + [{"bids": [-MOST, MOST], "asks": [MOST, MOST]}]
    checksums = [
        {
            "bids": b["bids"],
            "asks": b["asks"],
            "text": checksum_text(b["bids"], b["asks"]),
            "crc": checksum(b["bids"], b["asks"]),
        }
        for b in books
    ]
    return {"decimals": decimals, "checksums": checksums}


def rendered(document: Object) -> str:
    """One vector a line, so that a change shows as what it is."""
    parts = []
    for section, vectors in document.items():
        lines = ",\n".join("    " + json.dumps(vector, ensure_ascii=False) for vector in vectors)
        parts.append(f"  {json.dumps(section)}: [\n{lines}\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def files() -> dict[str, str]:
    views: Any = {"views": cases_views.views()}
    documents = {
        "server": server(),
        "client": client(),
        "feed": feed(),
        "numbers": numbers(),
        "views": views,
        "boards": boards(),
        "candles": of_candles(),
        "maps": of_maps(),
        "events": events(),
        "alerts": alerts(),
    }
    return {f"{name}.json": rendered(document) for name, document in documents.items()}


def main() -> int:
    wrong = []
    for name, text in files().items():
        path = HERE / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            wrong.append(name)
    if wrong:
        print(
            f"not what generate.py writes: {', '.join(wrong)}; change generate.py and run it", file=sys.stderr
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
