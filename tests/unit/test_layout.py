"""What import-linter cannot see: the imports of the compiled modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

EXT = Path(__file__).resolve().parents[2] / "ext" / "mdstream"
CORE, BENCH = EXT / "_core", EXT / "_bench"
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)
INCLUDE = re.compile(r"#include\s*[<\"]([\w./]+)|cdef extern from \"<?([\w./]+)")
SOURCES = sorted([*CORE.rglob("*.pyx"), *CORE.rglob("*.pxd"), *CORE.rglob("*.h")])
ROOMS = ("base", "orderbook", "codec", "websocket", "fanout", "ingest", "net", "entry")
"""In the order of the data. A room imports from itself and from those before it; ``ingest`` is known by none of those
that follow it."""
ABOVE = (
    "mdstream.bus",
    "mdstream.feed",
    "mdstream.gateway",
    "mdstream.client",
    "mdstream.cli",
    "mdstream.feeds",
)
OUTSIDE = {"asyncio", "nats", "os", "select", "socket", "ssl", "subprocess", "threading", "uvloop"}
SOCKETS = ("sys/socket.h", "sys/epoll.h", "sys/uio.h", "linux/io_uring.h", "net/uring.h", "uring.h")


def imports(source: Path) -> set[str]:
    return {a or b for a, b in IMPORT.findall(source.read_text())}


def room(source: Path) -> str:
    return source.parent.name


def rooms_imported(source: Path) -> set[str]:
    return {name.split(".")[2] for name in imports(source) if name.startswith("mdstream._core.")}


def allowed(of: str) -> set[str]:
    before = set(ROOMS[: ROOMS.index(of) + 1])
    return before - {"ingest"} | {of}


def test_every_source_has_its_room():
    homes = {room(source) for source in SOURCES if source.stem != "__init__"}
    assert homes == set(ROOMS)
    assert not [source.name for source in SOURCES if source.stem in ROOMS]


@pytest.mark.parametrize("of", ROOMS)
def test_imports_go_one_way(of: str):
    upward = {
        (source.name, other)
        for source in SOURCES
        if room(source) == of
        for other in rooms_imported(source) - allowed(of)
    }
    assert upward == set()


@pytest.mark.parametrize("of", ROOMS)
def test_modules_of_a_room_import_each_other_without_a_circle(of: str):
    edges = {source.stem: set[str]() for source in SOURCES if room(source) == of}
    prefix = f"mdstream._core.{of}."
    for source in SOURCES:
        if room(source) == of:
            found = {name.removeprefix(prefix) for name in imports(source) if name.startswith(prefix)}
            edges[source.stem] |= found - {source.stem}
    while free := [name for name, needs in edges.items() if not needs & edges.keys()]:
        for name in free:
            del edges[name]
    assert not edges


def test_only_the_reader_of_upgrade_requests_knows_picows():
    knows = {
        source.stem for source in SOURCES if any(name.split(".")[0] == "picows" for name in imports(source))
    }
    assert knows == {"upgrade_request"}


def test_only_the_room_net_knows_a_socket():
    knows = {
        room(source)
        for source in SOURCES
        for includes in INCLUDE.findall(source.read_text())
        if any(include in SOCKETS for include in includes)
    }
    assert knows == {"net"}


def test_the_core_never_releases_the_interpreters_lock():
    """It guards the scratch space that modules share."""
    assert not [source.name for source in SOURCES if "with nogil" in source.read_text()]


def test_the_core_knows_no_layer_above_it_and_nothing_outside():
    strangers = {
        (source.name, name)
        for source in SOURCES
        for name in imports(source)
        if name.startswith(ABOVE) or name.split(".")[0] in OUTSIDE
    }
    assert strangers == {("connection.pyx", "os"), ("secure_connection.pyx", "ssl")}


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
