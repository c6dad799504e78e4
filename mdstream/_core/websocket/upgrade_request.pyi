from picows import WSUpgradeRequest

def read(head: bytes) -> tuple[bytes, bytes | None, bytes | None, bytes] | None:
    """A well-formed upgrade request without its empty line: (target, ``Sec-WebSocket-Protocol``, ``Sec-WebSocket-Extensions``, what
    ``Sec-WebSocket-Accept`` is to be).

    None for everything that is wrong, or merely unusual, such as a header in two parts or a character beyond ASCII: ``parse`` it.
    """

def parse(head: bytes) -> WSUpgradeRequest:
    """Any HTTP/1.1 GET without a body, by picows. Raises RuntimeError, which says what is wrong."""

def validate(request: WSUpgradeRequest) -> bytes:
    """What ``Sec-WebSocket-Accept`` is to be, by picows. Raises RuntimeError if the request is no upgrade to a WebSocket."""
