"""Exact decimals to integers of a given exponent and back: value = integer × 10^exp, the integer at most 2^53 - 1 in magnitude.

ValueError if the value is no finite decimal number, would have to be rounded (off tick) or is out of range, or if the
exponent is beyond ±18. Text reads like ``-12.50``: no exponent, no ``+``, no spaces; zeros at the end do not matter.
"""

import operator
from decimal import Decimal

from cpython cimport array
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint64_t

from mdstream._core.base.check cimport check
from mdstream._core.base.digits cimport MDS_POW10, put_decimal

from mdstream import model

cdef enum Parsed:
    PARSED
    NO_NUMBER
    TOO_FINE
    TOO_BIG

cdef enum:
    EXPONENT_LIMIT = 18
    HUGE_BITS = 256             # beyond them an integer is out of range with any exponent

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(str text)

cdef int64_t NUMBER_LIMIT = model.MAX_NUMBER
cdef array.array INTEGERS = array.array("q")
assert EXPONENT_LIMIT == model.MAX_EXPONENT


cdef inline Py_ssize_t digits_at(const char* text, Py_ssize_t start, Py_ssize_t size) noexcept nogil:
    """The end of the digits that begin at `start`."""
    while start < size and c"0" <= text[start] <= c"9":
        start += 1
    return start


cdef inline Parsed take_digits(const char* text, Py_ssize_t start, Py_ssize_t end, Py_ssize_t keep,
                               uint64_t* value) noexcept nogil:
    """Appends up to `keep` digits to value; all after them must be zeros."""
    check(start <= end)
    cdef Py_ssize_t i
    cdef Py_ssize_t stop = min(end, start + max(keep, 0))
    for i in range(start, stop):
        if value[0] > <uint64_t>NUMBER_LIMIT:
            return TOO_BIG
        value[0] = 10 * value[0] + <uint64_t>(text[i] - c"0")
    for i in range(stop, end):
        if text[i] != c"0":
            return TOO_FINE
    return PARSED


cdef Parsed parse(const char* text, Py_ssize_t size, int exp, int64_t* number) noexcept nogil:
    """The whole text must be [-]digits[.digits]."""
    cdef Py_ssize_t start = 1 if size and text[0] == c"-" else 0
    cdef Py_ssize_t point = digits_at(text, start, size)
    cdef Py_ssize_t end = point
    cdef Py_ssize_t missing
    cdef uint64_t value = 0
    cdef Parsed parsed
    check(size >= 0)
    check(-EXPONENT_LIMIT <= exp)
    check(exp <= EXPONENT_LIMIT)
    if point < size and text[point] == c".":
        end = digits_at(text, point + 1, size)
    if point == start or end != size or end == point + 1:
        return NO_NUMBER
    parsed = take_digits(text, start, point, point - start - max(exp, 0), &value)
    if parsed == PARSED and end > point:
        parsed = take_digits(text, point + 1, end, -exp, &value)
    if parsed != PARSED:
        return parsed
    missing = -exp - max(end - point - 1, 0)
    if value and missing > 0:
        if value > <uint64_t>NUMBER_LIMIT // MDS_POW10[missing]:
            return TOO_BIG
        value *= MDS_POW10[missing]
    if value > <uint64_t>NUMBER_LIMIT:
        return TOO_BIG
    number[0] = -<int64_t>value if start else <int64_t>value
    return PARSED


cdef object refusal(object value, int exp, Parsed why):
    if why == TOO_FINE:
        return ValueError(f"{value!s} is not a multiple of 10^{exp}; it would have to be rounded (off tick)")
    if why == TOO_BIG:
        return ValueError(f"{value!s} is out of range: in units of 10^{exp} it is beyond ±(2^53 - 1)")
    return ValueError(f"{value!r} is no decimal number; it reads like -12.50, without exponent, sign + or spaces")


cdef int check_exponent(int exp) except -1:
    if not -EXPONENT_LIMIT <= exp <= EXPONENT_LIMIT:
        raise ValueError(f"exponent {exp} is not within ±{EXPONENT_LIMIT}")
    return 0


cdef int64_t from_text(str text, int exp) except? -1:
    cdef Py_ssize_t size
    cdef const char* ascii
    cdef int64_t number = 0
    cdef Parsed parsed
    if not PyUnicode_IS_ASCII(text):    # what JSON can hold may not even have an encoding, such as half of a pair of surrogates
        raise refusal(text, exp, NO_NUMBER)
    ascii = PyUnicode_AsUTF8AndSize(text, &size)
    parsed = parse(ascii, size, exp, &number)
    if parsed != PARSED:
        raise refusal(text, exp, parsed)
    return number


cdef int64_t from_digits(object value, str digits, object shift, int exp) except? -1:
    """digits × 10^shift; refused before it is computed where it must be: Python turns no more than some thousand digits into an integer."""
    cdef str significant = digits.rstrip("0")
    if not significant:
        return 0
    shift += len(digits) - len(significant)
    if len(significant) + shift > 16:
        raise refusal(value, exp, TOO_BIG)
    if shift < 0:
        raise refusal(value, exp, TOO_FINE)
    number = int(significant) * 10**shift
    if number > NUMBER_LIMIT:
        raise refusal(value, exp, TOO_BIG)
    return number


cdef int64_t from_decimal(object value, int exp) except? -1:
    cdef Py_ssize_t size
    cdef int64_t number = 0
    cdef str text = str(value)
    cdef const char* utf8 = PyUnicode_AsUTF8AndSize(text, &size)
    cdef Parsed parsed = parse(utf8, size, exp, &number)
    if parsed == PARSED:
        return number
    if parsed != NO_NUMBER:
        raise refusal(value, exp, parsed)
    if not value.is_finite():
        raise ValueError(f"{value!s} is not finite")
    sign, digits, exponent = value.as_tuple()
    number = from_digits(value, "".join(map(str, digits)), exponent - exp, exp)
    return -number if sign else number


cdef int64_t from_int(object value, int exp) except? -1:
    cdef int64_t number
    if exp <= 0 and -NUMBER_LIMIT <= value <= NUMBER_LIMIT:
        number = value
        if abs(number) <= NUMBER_LIMIT // <int64_t>MDS_POW10[-exp]:
            return number * <int64_t>MDS_POW10[-exp]
    if value.bit_length() > HUGE_BITS:
        raise refusal(f"an integer of {value.bit_length()} bits", exp, TOO_BIG)
    number = from_digits(value, str(abs(value)), -exp, exp)
    return -number if value < 0 else number


cdef int64_t from_object(object value, int exp) except? -1:
    if type(value) is int:
        return from_int(value, exp)
    if isinstance(value, str):
        return from_text(value, exp)
    if isinstance(value, Decimal):
        return from_decimal(value, exp)
    if isinstance(value, float):
        raise TypeError(f"{float(value)!r} is a float, which is not exact; give a Decimal or a string, such as '{float(value)!r}'")
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{value!r} is no exact number; give a Decimal, a string or an integer")
    return from_int(operator.index(value), exp)


def ticks_of(str text not None, int exp):
    """``ticks_of("64123.10", -2)`` is 6412310."""
    check_exponent(exp)
    return from_text(text, exp)


def to_integer(value, int exp):
    """As ``ticks_of``, of any exact number; an int is the value itself, not ticks. TypeError for a float, which is not exact, or a bool."""
    check_exponent(exp)
    return from_object(value, exp)


def format_decimal(int64_t value, int exp):
    """The value with exactly ``-exp`` decimals, an integer if ``exp`` ≥ 0: ``format_decimal(-5, -2)`` is "-0.05"."""
    cdef char[64 + EXPONENT_LIMIT] text
    check_exponent(exp)
    return PyUnicode_DecodeASCII(text, put_decimal(text, value, exp) - text, NULL)


def parse_levels(pairs, int price_exp, int size_exp):
    """Pairs of price and size as a flat ``array("q")``, ``[ticks, lots, …]``; errors name the level, from 0."""
    cdef tuple levels = tuple(pairs)
    cdef array.array flat = array.clone(INTEGERS, 2 * len(levels), False)
    cdef int64_t* out = <int64_t*>flat.data.as_longlongs
    cdef Py_ssize_t i = 0
    check_exponent(price_exp)
    check_exponent(size_exp)
    try:
        for price, size in levels:
            out[2 * i] = from_object(price, price_exp)
            out[2 * i + 1] = from_object(size, size_exp)
            i += 1
    except TypeError as error:
        raise TypeError(f"level {i}: {error}") from None
    except ValueError as error:
        raise ValueError(f"level {i}: {error}") from None
    return flat
