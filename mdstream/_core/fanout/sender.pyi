class Sender:
    """Writes to many sockets at once. ``net.sender_uring`` implements it."""

    @property
    def calls(self) -> int:
        """Batches so far."""
    @property
    def jobs(self) -> int:
        """Writes in those."""
