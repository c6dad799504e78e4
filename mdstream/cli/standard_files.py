"""Standard input, output and error, which the process that starts us may have closed (``>&-``, some supervisors)."""

from __future__ import annotations

import os
import sys


def open_standard_files() -> None:
    """Opens the null device for each that is closed: no socket gets its number then, and what is printed goes nowhere."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
