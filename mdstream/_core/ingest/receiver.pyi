"""Who takes the messages of which subscription of NATS."""

from collections.abc import Callable, Iterable, KeysView, Mapping
from typing import TypeVar, overload

_Handler = Callable[[bytes, bytes, bytes, bytes | None], None]
_T = TypeVar("_T")

class Receiver:
    """A handler that takes messages without a Python object for each. Subclass it in Cython."""

    def __call__(self, subject: bytes, reply: bytes | None, payload: bytes, headers: bytes | None) -> None:
        """One message, as any other handler is given it."""

class Handlers:
    """Handlers by subscription number, found without a Python object. A handler is called with subject, reply, payload and
    header block."""

    def __init__(self, handlers: Mapping[int, _Handler] | Iterable[tuple[int, _Handler]] = ()) -> None: ...
    def __setitem__(self, sid: int, handler: _Handler, /) -> None:
        """Raises ValueError for a negative number."""
    def __getitem__(self, sid: int, /) -> _Handler: ...
    def __delitem__(self, sid: int, /) -> None: ...
    def __contains__(self, sid: int, /) -> bool: ...
    def __len__(self) -> int: ...
    def keys(self) -> KeysView[int]: ...
    def get(self, sid: int) -> _Handler | None: ...
    @overload
    def pop(self, sid: int) -> _Handler: ...
    @overload
    def pop(self, sid: int, default: _T) -> _Handler | _T: ...
