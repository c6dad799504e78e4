"""``python -m attack.relay NATS_PORT VENUE SYMBOLS``: the load test's C server in the place of a gateway; prints its port and serves."""

from __future__ import annotations

import sys

from mdstream._bench.floor import Floor

HOUR_S = 3_600.0


def main(nats_port: str, venue: str, symbols: str) -> None:
    numbers = range(int(symbols))
    floor = Floor(
        [f"{venue}:SYM{i}" for i in numbers], [f"md.{venue}.SYM{i}" for i in numbers], "127.0.0.1", int(nats_port)
    )  # fmt: skip
    print(floor.port, flush=True)
    floor.run(HOUR_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
