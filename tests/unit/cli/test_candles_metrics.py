from __future__ import annotations

from types import SimpleNamespace

import pytest

from mdstream.cli.candles_metrics import CandlesMetrics
from mdstream.cli.service import MetricsListener, read_address
from mdstream.errors import ConfigError
from mdstream.gateway.http_messages import RequestLine


def test_the_page_sums_over_instruments_and_is_for_those_who_know_its_name() -> None:
    writers = [
        SimpleNamespace(is_owner=owner, stored_trades=5, stored_candles=2, conflicts=1)
        for owner in (True, False)
    ]
    collector = CandlesMetrics(SimpleNamespace(writers=writers), lambda: True)  # type: ignore[arg-type]
    listener = MetricsListener(collector, "candles")

    def asked(path: str, host: str = "localhost") -> tuple[int, str]:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}".encode()
        status, body, _ = listener._page(RequestLine("GET", path.encode(), "1.1"), head, "127.0.0.1")
        return status, body if isinstance(body, str) else body.decode()

    status, page = asked("/metrics")
    assert status == 200
    for line in (
        "mdstream_nats_connected 1.0",
        "mdstream_candles_instruments 2.0",
        "mdstream_candles_written_instruments 1.0",
        "mdstream_candles_trades_total 10.0",
        "mdstream_candles_closed_total 4.0",
        "mdstream_candles_conflicts_total 2.0",
    ):
        assert f"\n{line}\n" in page
    assert asked("/healthz", "evil.example") == (200, "ok")
    assert asked("/metrics", "evil.example")[0] == 403
    assert asked("/other")[0] == 404


def test_addresses() -> None:
    assert read_address("127.0.0.1:8083") == ("127.0.0.1", 8083)
    assert read_address("[::1]:0") == ("::1", 0)
    for text in ("8083", ":8083", "a:", "a:x", "a:70000", "a:²"):
        with pytest.raises(ConfigError, match="no address like"):
            read_address(text)
