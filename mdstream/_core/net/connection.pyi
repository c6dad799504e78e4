import asyncio

AVAILABLE: bool
"""Whether this system has epoll; without it, connections are asyncio's."""

def accept(fd: int) -> int:
    """The next connection of a listening socket, as a descriptor that does not block; negative: there is none now.

    Raises OSError if none can be had, as when no more files may be open.
    """

class Peer:
    """What reads from a connection and hears of its end; a ``Session``."""

class Connections:
    """All connections of one event loop, behind one epoll descriptor that the loop watches.

    A turn takes about a millisecond at most; then whatever else is ready in the loop comes first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError where there is no epoll, or no descriptor left."""
    def __len__(self) -> int:
        """How many connections there are."""
    def run(self) -> None: ...
    def reap(self) -> None: ...
    def close(self) -> None:
        """Ends all of them, and with them itself."""

class Connection:
    """One TCP connection. Has what a session uses of an asyncio transport, with its meaning; never pauses its peer's writing."""

    def __init__(self, connections: Connections, fd: int, peer: Peer) -> None:
        """Owns ``fd`` from now on, unless OSError is raised."""
    @property
    def fd(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def can_write_eof(self) -> bool: ...
    def write_eof(self) -> None: ...
    def is_closing(self) -> bool: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
