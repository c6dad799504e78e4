from mdstream._core.fanout.sender import Sender

class UringSender(Sender):
    """By io_uring, for the thread that makes it. Raises OSError where the kernel has none (before Linux 6.1), or refuses it.

    Should it fail later, it logs a warning once and goes on with a ``send`` each.
    """

    def __init__(self) -> None: ...
    @property
    def alive(self) -> bool:
        """Whether the ring is still in use."""
