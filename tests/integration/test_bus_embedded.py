"""The embedded server itself: ports, data, crash, and that it never outlives its parent."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mdstream.bus import BusOptions, EmbeddedNats, connect
from mdstream.bus.embedded import find_binary
from mdstream.errors import BusError

ORPHAN = """
import asyncio, os, pathlib, signal, sys
from mdstream.bus import BusOptions, EmbeddedNats, connect
server = asyncio.run(EmbeddedNats.start(data_dir=pathlib.Path(sys.argv[1])))
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


async def greeting(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


def test_two_servers_get_ports_of_their_own_and_speak_jetstream(run, nats_server) -> None:
    async def scenario() -> None:
        async with await EmbeddedNats.start() as other:
            assert other.port != nats_server.port
            for server in (other, nats_server):
                assert b'"jetstream":true' in await greeting(server.port)

    run(scenario())


def test_a_temporary_directory_goes_with_the_server_and_a_given_one_stays(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        temporary = await EmbeddedNats.start()
        kept = await EmbeddedNats.start(data_dir=tmp_path)
        assert (tmp_path / "jetstream").is_dir()
        await temporary.stop()
        await kept.stop()
        assert not temporary.data_dir.exists()
        assert (tmp_path / "jetstream").is_dir()
        assert not temporary.running and not kept.running
        await kept.stop()  # twice does nothing

    run(scenario())


def test_a_killed_server_comes_back_on_its_port(run, nats_server) -> None:
    async def scenario() -> None:
        port, pid = nats_server.port, nats_server.pid
        nats_server.kill()
        with pytest.raises(OSError):
            await greeting(port)
        await nats_server.restart()
        assert nats_server.port == port and nats_server.pid != pid
        assert await greeting(port)

    run(scenario())


def test_a_paused_server_can_be_stopped(run) -> None:
    async def scenario() -> None:
        server = await EmbeddedNats.start()
        server.pause()
        await server.stop()
        assert not server.running

    run(scenario())


def test_a_data_directory_in_use_is_refused(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with await EmbeddedNats.start(data_dir=tmp_path) as first:
            with pytest.raises(BusError, match="in use by another embedded nats-server"):
                await EmbeddedNats.start(data_dir=tmp_path)
            assert await greeting(first.port)

    run(scenario())


def test_a_port_in_use_is_an_error_with_the_servers_own_words(run, nats_server) -> None:
    async def scenario() -> None:
        with pytest.raises(BusError, match="address already in use"):
            await EmbeddedNats.start(port=nats_server.port)

    run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties a child to its parent on Linux alone")
def test_the_server_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tmp_path)]
    orphaned = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert orphaned.returncode == -signal.SIGKILL, orphaned.stderr
    try:
        server = os.pidfd_open(int(orphaned.stdout))
    except ProcessLookupError:
        return
    try:
        assert select.select([server], [], [], 10)[0], "nats-server outlived its parent"
    finally:
        os.close(server)


# ---- its password


def test_nobody_is_let_in_without_the_password(run, nats_server) -> None:
    async def scenario() -> None:
        with pytest.raises(BusError, match="Authorization Violation"):
            await connect(BusOptions((nats_server.where,), connect_deadline_s=2))
        for known in (nats_server.url, nats_server.file_url):
            async with await connect(known) as bus:
                await bus.flush()
                assert nats_server.password not in repr(bus.options) + bus.options.where

    run(scenario())


def test_the_password_is_in_files_of_this_user_and_on_no_command_line(nats_server) -> None:
    holders = []
    for path in nats_server.data_dir.rglob("*"):
        if path.is_file() and nats_server.password.encode() in path.read_bytes():
            holders.append(path.name)
            assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(holders) == ["nats-server.conf", "nats.url"]
    if sys.platform == "linux":
        for kind in ("cmdline", "environ"):
            assert nats_server.password.encode() not in Path(f"/proc/{nats_server.pid}/{kind}").read_bytes()


def test_the_password_stays_where_the_data_stays(run, tmp_path: Path) -> None:
    async def scenario() -> None:
        passwords = []
        for _ in range(2):
            async with await EmbeddedNats.start(data_dir=tmp_path) as server:
                passwords.append(server.password)
                await server.restart()
                async with await connect(server.file_url) as bus:
                    await bus.flush()
        assert passwords[0] == passwords[1]

        (tmp_path / "nats.url").chmod(0o644)  # others may have read it
        async with await EmbeddedNats.start(data_dir=tmp_path) as server:
            assert server.password != passwords[0]

    run(scenario())


def test_a_link_in_the_place_of_a_file_is_not_followed(run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("nats://mdstream:known@127.0.0.1:1")
    elsewhere.chmod(0o600)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("nats.url", "nats-server.conf", ".nats.url.new"):
        (data / name).symlink_to(elsewhere)

    async def scenario() -> None:
        async with await EmbeddedNats.start(data_dir=data) as server:
            assert server.password != "known"

    run(scenario())
    assert elsewhere.read_text() == "nats://mdstream:known@127.0.0.1:1"


def test_a_port_that_somebody_has_for_a_moment_ends_nothing(run, caplog) -> None:
    """While the server is away, an outgoing connection of another program may have got its port."""

    async def scenario() -> None:
        async with await EmbeddedNats.start() as server:
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                os.kill(server.pid, signal.SIGKILL)
                while server.running:
                    await asyncio.sleep(0.01)
                other.bind(("127.0.0.1", server.port))
                other.listen()
                keeping = asyncio.create_task(server.keep_running())
                async with asyncio.timeout(30):
                    while "does not start" not in caplog.text:
                        await asyncio.sleep(0.01)
            async with asyncio.timeout(30):
                while not server.running:
                    assert not keeping.done()
                    await asyncio.sleep(0.01)
            keeping.cancel()

    run(scenario())


def test_ends_while_starting_count(run, tmp_path: Path) -> None:
    """One that was killed just after it took its first connection may still be starting for us."""
    binary, first = tmp_path / "nats-server", tmp_path / "first"
    binary.write_text(f"""#!/bin/sh
test -e {first} && {{ echo "[1] [FTL] no memory left" >&2; exit 7; }}
touch {first}
exec {find_binary()} "$@"
""")
    binary.chmod(0o755)

    async def scenario() -> None:
        async with await EmbeddedNats.start(binary=binary) as server:
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(
                BusError,
                match=r"ended 4 times within 60 s, at last so: .*status 7 while starting.*no memory left",
            ):
                await server.keep_running()

    run(scenario())
