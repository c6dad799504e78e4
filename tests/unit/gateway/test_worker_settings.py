from __future__ import annotations

import os
from pathlib import Path

from mdstream.gateway.config import GatewayConfig
from mdstream.gateway.worker_settings import Start, limits_of, not_default, part_of


def test_what_the_whole_gateway_has_is_divided() -> None:
    config = GatewayConfig(node="gw", workers=3, max_connections=10, audit_lines_per_second=0)
    part = part_of(config, 3, 2)
    assert (part.node, part.workers) == ("gw-2", 1)
    assert part.max_connections == 4  # rounded up: three of them have room for all
    assert part.audit_lines_per_second == 0
    assert part.max_unread_bytes * 3 >= config.max_unread_bytes


def test_limits_of_addresses_and_users_are_those_of_the_whole_gateway() -> None:
    config = GatewayConfig(node="gw", workers=4, max_connections=1_000, limits_user_connections=7)
    part = part_of(config, 4, 1)
    assert part.limits_address_connections == 100
    assert part.limits_user_connections == 7
    assert part.limits_address_handshakes == 200
    assert limits_of(config)["limits_address_connections"] == 100


def test_a_worker_reads_what_it_was_given() -> None:
    config = GatewayConfig(
        node="gw", workers=2, nats=("nats://a:1",), nats_data_dir=Path("/x"), groups=(2, 5)
    )
    part = part_of(config, 2, 1)
    start = Start(1, 3, [[4], [5]], 6, 4, 1, b"secret", not_default(part))
    found = Start.read(start.write())
    assert found == start
    assert found.config == part


def test_a_setting_that_this_version_does_not_know_is_left_out() -> None:
    start = Start(1, 3, [], 6, 4, 1, b"", {"node": "gw-1", "a_setting_of_tomorrow": 5})
    assert Start.read(start.write()).config.node == "gw-1"


def test_the_descriptor_is_not_left_open() -> None:
    fd = Start(1, 3, [], 6, 4, 1, b"", {}).write()
    Start.read(fd)
    assert not Path(f"/proc/{os.getpid()}/fd/{fd}").exists()
