from __future__ import annotations

import pytest

from mdstream.bus.epochs import AHEAD_US, MOST_PENDING, Epochs, Told
from mdstream.errors import FeedError
from mdstream.model import Ref

NOW = 1_700_000_000_000_000


def ref(epoch: int, price_exp: int = -2, **more: object) -> Ref:
    return Ref(price_exp, -8, epoch=epoch, **more)


@pytest.fixture
def epochs() -> Epochs:
    return Epochs(ref(NOW), lambda: NOW)


def test_the_scale_of_an_epoch_never_changes(epochs: Epochs) -> None:
    assert epochs.announce(ref(NOW)) is Told.NOTHING
    assert epochs.announce(ref(NOW, tick=5)) is Told.CHANGED and epochs.ref.tick == 5
    assert epochs.announce(ref(NOW, -4)) is Told.CONTRADICTS and epochs.contradicted
    assert epochs.ref.price_exp == -2
    assert epochs.announce(ref(NOW, tick=5)) is Told.CHANGED and not epochs.contradicted


def test_a_greater_epoch_ends_a_contradiction(epochs: Epochs) -> None:
    epochs.announce(ref(NOW, -4))
    epochs.announce(ref(NOW + 1))
    assert epochs.contradicted
    epochs.begin(NOW + 1)
    assert not epochs.contradicted


def test_an_epoch_begins_by_its_own_ref_alone(epochs: Epochs) -> None:
    assert not epochs.may_begin(NOW + 5) and epochs.waiting == NOW + 5
    assert epochs.announce(ref(NOW + 3)) is Told.PENDING
    assert not epochs.may_begin(NOW + 5)
    epochs.announce(ref(NOW + 5, -4))
    assert epochs.may_begin(NOW + 5) and epochs.is_rescaled(NOW + 5) and epochs.current == NOW
    epochs.begin(NOW + 5)
    assert (epochs.current, epochs.waiting, epochs.ref.price_exp) == (NOW + 5, 0, -4)
    assert epochs.pending(NOW + 3) is None


def test_a_smaller_epoch_is_fenced(epochs: Epochs) -> None:
    assert epochs.announce(ref(NOW - 1, -4)) is Told.FENCED
    assert epochs.ref.price_exp == -2


def test_the_first_scale_of_an_epoch_to_come_counts(epochs: Epochs) -> None:
    epochs.announce(ref(NOW + 1))
    epochs.announce(ref(NOW + 1, -4))
    assert not epochs.is_rescaled(NOW + 1)


@pytest.mark.parametrize("ahead", [AHEAD_US + 1, 2**53 - 1 - NOW])
def test_an_epoch_too_far_ahead_of_the_clock_is_refused(epochs: Epochs, ahead: int) -> None:
    epochs.announce(ref(NOW + AHEAD_US))
    for take in (lambda: epochs.announce(ref(NOW + ahead)), lambda: epochs.may_begin(NOW + ahead)):
        with pytest.raises(FeedError, match=r"hours ahead of this machine's clock"):
            take()
    with pytest.raises(FeedError):
        Epochs(ref(NOW + ahead), lambda: NOW)
    assert epochs.waiting == 0


def test_what_is_remembered_is_bounded(epochs: Epochs) -> None:
    for number in range(1, 100):
        epochs.announce(ref(NOW + number))
    assert sum(epochs.pending(NOW + number) is not None for number in range(100)) == MOST_PENDING
