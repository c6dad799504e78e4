"""io_uring, if this machine has it."""

from __future__ import annotations

import pytest

from mdstream._core.net.sender_uring import UringSender


def uring() -> UringSender:
    """Skips the test if the kernel is too old or refuses io_uring."""
    try:
        return UringSender()
    except OSError as error:
        pytest.skip(str(error))
