"""exp, ln and sin with the same bits on every machine.

Maths libraries differ in the last bit. These use only operations that IEEE 754 rounds one way
(+ - * / on float64, each in its own array operation, so that nothing is fused) and exact ones
(splitting off and attaching exponents). Accuracy is about 1e-15 relative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LN10 = 2.302585092994046
_STEPS = 64  # table steps per octave
_LN2_HIGH = 0.693147180369123816490 / _STEPS  # 33 bits: times a small integer it is exact
_LN2_LOW = 1.90821492927058770002e-10 / _STEPS
_STEPS_PER_E = _STEPS * 1.4426950408889634
_MANTISSA = np.int64((1 << 52) - 1)
_ONE = np.int64(1023 << 52)


def _exp_series(x: Floats, degree: int) -> Floats:
    total = np.ones_like(x)
    for n in range(degree, 0, -1):
        total *= x
        total /= n
        total += 1.0
    return total


def _ln_series(x: Floats, terms: int) -> Floats:
    """ln(x) near 1 from the series in (x - 1) / (x + 1)."""
    ratio = (x - 1.0) / (x + 1.0)
    square = ratio * ratio
    total = np.zeros_like(x)
    for odd in range(2 * terms - 1, 0, -2):
        total *= square
        total += 1.0 / odd
    return np.asarray(2.0 * (total * ratio))


_EXP_TABLE = _exp_series(np.arange(_STEPS, dtype=np.float64) * (_LN2_HIGH + _LN2_LOW), 20)
_INVERSE_TABLE: Floats = 128.0 / np.arange(128.5, 256.0, dtype=np.float64)
_LN_TABLE = -_ln_series(_INVERSE_TABLE, 20)


def exp(x: Floats | float) -> Floats:
    """e**x for |x| < 700 (beyond, it saturates there)."""
    x = np.minimum(np.maximum(np.asarray(x, dtype=np.float64), -700.0), 700.0)
    steps = np.rint(x * _STEPS_PER_E)
    rest = x - steps * _LN2_HIGH
    rest -= steps * _LN2_LOW
    total = rest * (1.0 / 120.0)
    for term in (1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0):
        total += term
        total *= rest
    total += 1.0
    whole = steps.astype(np.int64)
    total *= _EXP_TABLE.take(whole & (_STEPS - 1))
    whole >>= 6
    whole += 1023
    whole <<= 52
    total *= whole.view(np.float64)
    return total


def ln(x: Floats | float) -> Floats:
    """Natural logarithm of x > 0 (normal numbers); absolute error below 2e-16 near 1."""
    bits = np.array(x, dtype=np.float64, copy=True).view(np.int64)
    place = (bits >> 45) & 127
    exponent = ((bits >> 52) - 1023).astype(np.float64)
    bits &= _MANTISSA
    bits |= _ONE
    rest = bits.view(np.float64) * _INVERSE_TABLE.take(place)
    rest -= 1.0
    total = rest * (-1.0 / 6.0)
    for term in (0.2, -0.25, 1.0 / 3.0, -0.5, 1.0):
        total += term
        total *= rest
    total += _LN_TABLE.take(place)
    total += exponent * (_LN2_LOW * _STEPS)
    total += exponent * (_LN2_HIGH * _STEPS)
    return total


def log10(x: Floats | float) -> Floats:
    """Decadic logarithm of x > 0."""
    return np.asarray(ln(x) / LN10)


def sin_turns(x: Floats | float) -> Floats:
    """sin(2π x) with x in turns."""
    x = np.asarray(x, dtype=np.float64)
    folded = x - np.rint(x)
    folded = np.where(folded > 0.25, 0.5 - folded, folded)
    folded = np.where(folded < -0.25, -0.5 - folded, folded)
    angle = folded * 6.283185307179586
    square = angle * angle
    total = np.ones_like(square)
    for n in range(19, 1, -2):
        total *= square
        total /= -(n * (n - 1))
        total += 1.0
    return np.asarray(total * angle)
