"""What an answer of JetStream about MD_PAST says of how far back it reaches."""

from __future__ import annotations

from typing import Any

import pytest

from mdstream.bus.streams import Kept

MINUTES = 60_000_000


def answer(*, bytes: int, first: str, max_bytes: int = 1_000_000) -> dict[str, Any]:
    return {
        "created": "2026-11-29T10:00:00Z",
        "ts": "2026-11-29T12:00:00Z",
        "config": {"max_bytes": max_bytes},
        "state": {"bytes": bytes, "first_ts": first},
    }


@pytest.mark.parametrize(
    ("found", "minutes"),
    [
        (answer(bytes=900_000, first="2026-11-29T11:50:00Z"), 120),
        (answer(bytes=990_000, first="2026-11-29T11:50:00Z"), 10),
        (answer(bytes=990_000, first="2026-11-29T09:00:00Z"), 120),
        (answer(bytes=990_000, first="2026-11-29T11:50:00Z", max_bytes=-1), 120),
    ],
)
def test_a_stream_whose_bytes_run_out_keeps_what_is_left(found: dict[str, Any], minutes: int) -> None:
    kept = Kept.of(found)
    assert kept.now_us - kept.since_us == minutes * MINUTES


def test_the_bytes_that_would_do_are_told() -> None:
    kept = Kept.of(answer(bytes=990_000, first="2026-11-29T11:50:00Z"))
    assert kept.shortage(600) is None
    assert "1000000 bytes keep 600 s, and the delay needs 1500 s" in (kept.shortage(1_500) or "")
    assert "--max-bytes 2500000`" in (kept.shortage(1_500) or "")
    assert Kept.of(answer(bytes=1, first="2026-11-29T11:50:00Z")).shortage(1e9) is None
