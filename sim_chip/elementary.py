"""exp, ln and sin with the same bits on every machine.

Maths libraries differ in the last bit. These use only operations that IEEE 754 rounds one way
(+ - * / on float64, each in its own array operation, so that nothing is fused) and exact ones
(splitting off and attaching exponents). Accuracy is about 1e-15 relative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LN2_HIGH = 0.693147180369123816490  # 33 bits: times an exponent it is exact
_LN2_LOW = 1.90821492927058770002e-10
_LOG2_E = 1.4426950408889634
_SQRT_HALF = 0.7071067811865476
LN10 = 2.302585092994046
_EXP_TERMS = tuple(
    1.0 / n for n in (6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1)
)


def exp(x: Floats | float) -> Floats:
    """e**x for |x| < 700 (beyond, it saturates there)."""
    x = np.clip(np.asarray(x, dtype=np.float64), -700.0, 700.0)
    exponent = np.rint(x * _LOG2_E)
    rest = x - exponent * _LN2_HIGH
    rest -= exponent * _LN2_LOW
    total = np.full_like(rest, _EXP_TERMS[0])
    for term in _EXP_TERMS[1:]:
        total *= rest
        total += term
    total *= rest
    total += 1.0
    power = (exponent.astype(np.int64) + 1023) << 52
    return np.asarray(total * power.view(np.float64))


def ln(x: Floats | float) -> Floats:
    """Natural logarithm of x > 0."""
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    powers = np.where(low, exponent - 1, exponent).astype(np.float64)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    total = np.full_like(square, 1.0 / 21)
    for odd in range(19, 0, -2):
        total *= square
        total += 1.0 / odd
    total *= ratio
    total *= 2.0
    total += powers * _LN2_LOW
    return np.asarray(total + powers * _LN2_HIGH)


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
