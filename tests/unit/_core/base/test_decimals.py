from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from mdstream._core.base.decimals import format_decimal, parse_levels, ticks_of, to_integer


@pytest.mark.parametrize(
    ("text", "exp", "value"),
    [
        ("64123.10", -2, 6_412_310),
        ("64123.1000", -2, 6_412_310),
        ("64123", -2, 6_412_300),
        ("-0.05", -2, -5),
        ("-0", -2, 0),
        ("0007", 0, 7),
        ("1200", 2, 12),
        ("1200.00", 2, 12),
        ("0", 18, 0),
        ("0.000000000000000001", -18, 1),
        ("90071992547409.91", -2, 2**53 - 1),
        ("-9007199254740991000", 3, -(2**53) + 1),
    ],
)
def test_ticks_of(text: str, exp: int, value: int) -> None:
    assert ticks_of(text, exp) == value


@pytest.mark.parametrize(
    ("text", "exp", "message"),
    [
        ("64123.105", -2, r"64123\.105 is not a multiple of 10\^-2; .*off tick"),
        ("1230", 2, r"1230 is not a multiple of 10\^2"),
        ("90071992547409.92", -2, r"out of range: in units of 10\^-2 it is beyond ±\(2\^53 - 1\)"),
        ("1" * 400, 0, "out of range"),
        ("9223372036854775808", 0, "out of range"),
        ("18446744073709551616", -18, "out of range"),
        *(
            (text, -2, "is no decimal number")
            for text in ("", "-", ".", "1.", ".5", "1e5", "+1", " 1", "1 ", "1_0", "--1")
        ),
        *(
            (text, -2, "is no decimal number")
            for text in ("NaN", "Infinity", "1,5", "1.2.3", "\u0661", "1\x00", "1\ud800")
        ),
    ],
)
def test_ticks_of_refuses(text: str, exp: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ticks_of(text, exp)


@pytest.mark.parametrize(
    ("value", "exp", "integer"),
    [
        ("64123.10", -2, 6_412_310),
        (Decimal("64123.10"), -2, 6_412_310),
        (Decimal("1E-7"), -8, 10),
        (Decimal("-1.5E+3"), 2, -15),
        (Decimal("0E+9999"), -2, 0),
        (Decimal("5" + "0" * 5_000 + "E-5000"), -2, 500),
        (64_123, -2, 6_412_300),
        (-1200, 2, -12),
        (np.int64(5), -2, 500),
    ],
)
def test_to_integer(value: Any, exp: int, integer: int) -> None:
    assert to_integer(value, exp) == integer


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0.1, TypeError, "0.1 is a float, which is not exact; give a Decimal or a string, such as '0.1'"),
        (np.float64(0.1), TypeError, "is a float"),
        (float("nan"), TypeError, "is a float"),
        (True, TypeError, "True is no exact number"),
        (None, TypeError, "None is no exact number"),
        (b"1", TypeError, "is no exact number"),
        (Decimal("NaN"), ValueError, "NaN is not finite"),
        (Decimal("sNaN"), ValueError, "sNaN is not finite"),
        (Decimal("-Infinity"), ValueError, "-Infinity is not finite"),
        (Decimal("1E+999999"), ValueError, "out of range"),
        (Decimal("1E-999999"), ValueError, "not a multiple"),
        (Decimal("0.001"), ValueError, "not a multiple"),
        (2**53, ValueError, "out of range"),
        (10**100, ValueError, "out of range"),
        pytest.param(10**5_000, ValueError, "an integer of 16610 bits is out of range", id="10**5000"),
        (Decimal("1" * 5_000 + "E5"), ValueError, "out of range"),
        (Decimal("1" * 5_000 + "E-5000"), ValueError, "not a multiple"),
    ],
)
def test_to_integer_refuses(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        to_integer(value, -2)


@pytest.mark.parametrize("exp", [-19, 19])
def test_an_exponent_out_of_range_is_refused(exp: int) -> None:
    calls = (lambda: ticks_of("1", exp), lambda: to_integer(1, exp), lambda: format_decimal(1, exp))
    for call in (*calls, lambda: parse_levels([], exp, 0), lambda: parse_levels([], 0, exp)):
        with pytest.raises(ValueError, match=f"exponent {exp} is not within ±18"):
            call()


def test_format_decimal_of_the_extremes() -> None:
    assert format_decimal(-(2**63), -18) == "-9.223372036854775808"
    assert format_decimal(2**63 - 1, 18) == f"{2**63 - 1}{'0' * 18}"
    assert format_decimal(-(2**63), -8) == "-92233720368.54775808"


def test_parse_levels_takes_all_that_is_exact() -> None:
    pairs = [("1.5", "2"), [Decimal("1.25"), 3], (4, "0")]
    flat = parse_levels(iter(pairs), -2, 0)
    assert (flat.typecode, flat.tolist()) == ("q", [150, 2, 125, 3, 400, 0])


@pytest.mark.parametrize(
    ("pair", "error", "message"),
    [
        (("1.005", "1"), ValueError, "level 1: 1.005 is not a multiple"),
        (("1", "x"), ValueError, "level 1: 'x' is no decimal number"),
        (("1", 0.5), TypeError, "level 1: 0.5 is a float"),
        (("1",), ValueError, "level 1: "),
        (("1", "2", "3"), ValueError, "level 1: "),
        (5, TypeError, "level 1: "),
        (("1", "\ud800"), ValueError, "level 1: "),
    ],
)
def test_parse_levels_names_the_level_that_it_refuses(
    pair: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse_levels([("1", "1"), pair, ("1", "1")], -2, 0)


def test_parse_levels_is_not_fooled_by_a_list_that_grows() -> None:
    pairs: list[Any] = []

    class Growing:
        def __index__(self) -> int:
            pairs.extend([(1, 1)] * 10_000)
            return 1

    pairs.append((Growing(), 1))
    assert parse_levels(pairs, 0, 0).tolist() == [1, 1]
