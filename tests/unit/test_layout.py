"""What import-linter cannot see: the imports of the compiled modules."""

from __future__ import annotations

import re
from pathlib import Path

EXT = Path(__file__).resolve().parents[2] / "ext" / "mdstream"
CORE, BENCH = EXT / "_core", EXT / "_bench"
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)
SOURCES = sorted([*CORE.glob("*.pyx"), *CORE.glob("*.pxd")])
ABOVE = ("mdstream.bus", "mdstream.feed", "mdstream.gateway", "mdstream.client", "mdstream.cli")
OUTSIDE = {"asyncio", "nats", "os", "select", "socket", "ssl", "subprocess", "threading", "uvloop"}


def imports(source: Path) -> set[str]:
    return {a or b for a, b in IMPORT.findall(source.read_text())}


def test_only_the_reader_of_upgrade_requests_knows_picows():
    knows = {
        source.stem for source in SOURCES if any(name.split(".")[0] == "picows" for name in imports(source))
    }
    assert knows == {"upgrade"}


def test_only_four_know_a_socket():
    knows = {source.stem for source in SOURCES if re.search(r"sys/socket\.h|uring\.h", source.read_text())}
    assert knows == {"sender", "sender_uring", "session", "wire"}


def test_the_core_does_no_io_and_knows_no_layer_above_it():
    strangers = {
        (source.name, name)
        for source in SOURCES
        for name in imports(source)
        if name.startswith(ABOVE) or name.split(".")[0] in OUTSIDE
    }
    assert strangers == {("wire.pyx", "os")}


def test_the_load_test_knows_no_layer_above_it_and_the_core_does_not_know_it():
    bench = [*BENCH.glob("*.pyx"), *BENCH.glob("*.pxd")]
    above = (*ABOVE, "mdstream.bench")
    assert bench and not [
        (each.name, name) for each in bench for name in imports(each) if name.startswith(above)
    ]
    assert not [
        (each.name, name) for each in SOURCES for name in imports(each) if name.startswith("mdstream._bench")
    ]


def test_what_judges_messages_in_a_load_test_does_no_io():
    quiet = (
        "follow",
        "tracked",
        "ladder",
        "message",
        "read_json",
        "read_msgpack",
        "orders",
        "relay",
        "books",
        "histogram",
        "timers",
    )
    text = {name: (BENCH / f"{name}.pyx").read_text() + (BENCH / f"{name}.pxd").read_text() for name in quiet}
    assert not [name for name in quiet if re.search(r"socket_(send|recv|connect)|epoll", text[name])]
