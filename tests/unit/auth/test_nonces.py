from __future__ import annotations

import pytest

from mdstream.auth import nonces
from mdstream.auth.nonces import Nonces


def test_a_nonce_is_good_once_while_it_is_remembered() -> None:
    now_s = [100.0]
    used = Nonces(60, lambda: now_s[0])
    assert used.use("bot", "a") and used.use("mac", "a") and not used.use("bot", "a")
    now_s[0] += 59.9
    assert not used.use("bot", "a")
    now_s[0] += 0.1
    assert used.use("bot", "a")
    assert len(used) == 1


def test_a_key_that_signs_without_end_locks_out_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "MAX_NONCES_OF_KEY", 3)
    now_s = [100.0]
    used = Nonces(60, lambda: now_s[0])
    assert [used.use("bot", str(number)) for number in range(5)] == [True] * 3 + [False] * 2
    assert used.use("mac", "a")
    now_s[0] += 60
    assert used.use("bot", "0") and len(used) == 1


def test_without_room_nothing_new_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "MAX_NONCES", 2)
    now_s = [100.0]
    used = Nonces(60, lambda: now_s[0])
    assert [used.use(key, "a") for key in "xyz"] == [True, True, False]
    now_s[0] += 60
    assert used.use("z", "a")
