from itertools import repeat

from mdstream.client.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_cap():
    backoff = Backoff(lambda: 1.0, base_s=0.5, cap_s=20.0)

    assert [backoff.next_delay() for _ in repeat(None, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_the_jitter_is_full():
    draws = iter([0.0, 0.25, 0.999])
    backoff = Backoff(lambda: next(draws), base_s=0.5, cap_s=20.0)

    assert [backoff.next_delay() for _ in repeat(None, 3)] == [0.0, 0.25, 1.998]


def test_a_reset_starts_over():
    backoff = Backoff(lambda: 1.0, base_s=0.5, cap_s=20.0)
    backoff.next_delay()
    backoff.next_delay()

    backoff.reset()

    assert backoff.next_delay() == 0.5


def test_thousands_of_tries_do_not_overflow():
    backoff = Backoff(lambda: 1.0, base_s=0.5, cap_s=20.0)

    for _ in repeat(None, 5000):
        delay = backoff.next_delay()

    assert delay == 20.0
