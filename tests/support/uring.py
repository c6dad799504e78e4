"""io_uring, where this machine has it."""

from __future__ import annotations

import pytest

from mdstream._core.net.sender_uring import UringSender


def uring() -> UringSender:
    """Skips the test where the kernel is too old, or refuses."""
    try:
        return UringSender()
    except OSError as error:
        pytest.skip(str(error))
