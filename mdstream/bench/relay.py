"""``python -m mdstream.bench.relay``: the C floor in the place of a gateway. It carries out the orders of the runner."""

from __future__ import annotations

from typing import Any

from mdstream._bench.floor import Floor
from mdstream.bench import orders
from mdstream.bench.orders import HOUR_S, ORDERS_FD, Order


class Relay:
    """Runs the floor between orders."""

    def __init__(self) -> None:
        self._floor: Floor | None = None

    def serve(self) -> None:
        """Serves until an order arrives."""
        if self._floor is not None:
            self._floor.run(HOUR_S, wake_fd=ORDERS_FD)

    def listen(self, order: Order) -> dict[str, Any]:
        self._floor = Floor(
            order["instruments"],
            order["subjects"],
            order["nats_host"],
            order["nats_port"],
            user=order["nats_user"],
            password=order["nats_password"],
        )
        return {"port": self._floor.port}


if __name__ == "__main__":
    relay = Relay()
    orders.main({"listen": relay.listen}, relay.serve)
