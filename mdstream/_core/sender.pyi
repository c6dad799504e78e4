class Sender:
    """Writes to many sockets at once. Subclasses: ``UringSender``, and ``MemorySender`` for tests."""

    @property
    def calls(self) -> int:
        """Batches so far."""
    @property
    def jobs(self) -> int:
        """Writes in those."""
