def decoded(value: object) -> int:
    """The pairs of all maps in a decoded value; -1 if anything but string-keyed maps, lists, strings, bytes, integers, booleans and
    None is in it, or if it is nested deeper than 32."""

def in_json(payload: bytes) -> int:
    """The pairs of all objects in valid JSON."""

def in_msgpack(payload: bytes) -> int:
    """The pairs of all maps in valid MessagePack; -1 if it is cut short."""
