"""How deep JSON may be nested."""

from __future__ import annotations

import pytest

from mdstream.nesting import MOST_DEEP, is_deep


@pytest.mark.parametrize(
    "text", ["", "{}", "[" * MOST_DEEP, '{"a":' * MOST_DEEP, "[{}]" * 1_000, '"[" ' * MOST_DEEP]
)
def test_what_tokens_hold_is_not_deep(text: str) -> None:
    assert not is_deep(text)


@pytest.mark.parametrize("text", ["[" * (MOST_DEEP + 1), '{"a":[' * MOST_DEEP, "[]" * 100 + "[" * 3_000])
def test_what_would_reach_the_limit_of_recursion_is_deep(text: str) -> None:
    assert is_deep(text)
