"""Tokens that must not let anybody in: all of them are answered by the same 401."""

from __future__ import annotations

from attack.rows import Row

ROWS: list[Row] = []
