"""Inputs of products as bits, pulses and words of lines, as the group's earlier software has them.

Behind the methods of `chipctl.dpe.DPE` of the earlier names.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LINES = 64
"""Rows, and columns, that a word of lines holds."""

MOST_BITS = 32
"""Of an input."""

_WORD = 16
"""Bits of one word of columns."""


def over_array(given: ArrayLike, shape: tuple[int, int], name: str) -> NDArray[Any]:
    """A number, or a map of an array, as a map of shape (rows, cols).

    Raises:
        ValueError: Another shape.
    """
    values = np.asarray(given)
    if values.shape not in ((), shape):
        raise ValueError(f"{name} is a number or a map of shape {shape}, not of {values.shape}")
    return np.broadcast_to(values, shape)


def vectors_of(given: ArrayLike) -> NDArray[np.float64]:
    """Inputs of shape (inputs, vectors), or (inputs,) for one vector, as (vectors, inputs).

    Raises:
        ValueError: Another shape, or none.
    """
    inputs = np.asarray(given, np.float64)
    if inputs.ndim not in (1, 2) or not inputs.size:
        raise ValueError(f"vectors have shape (inputs, vectors) or (inputs,), not {inputs.shape}")
    return np.atleast_2d(inputs.T)


def steps_of(number: int, *, unary: bool) -> int:
    """Steps from 0 to 1 of an input of so many bits, or so many pulses if it is unary.

    Raises:
        ValueError: No such number of bits or pulses.
    """
    if unary and number >= 1 and number == int(number):
        return int(number)
    if number not in range(1, MOST_BITS + 1):
        raise ValueError(f"N_BIT is 1 to {MOST_BITS} bits, or 1 pulse or more, not {number}")
    return int(2 ** int(number) - 1)


def levels(inputs: ArrayLike, most: int) -> NDArray[np.uint32]:
    """Inputs of 0 to 1 as whole steps of 0 to `most`, of the same shape.

    Raises:
        ValueError: An input beyond [0, 1] by half a step or more, or none at all (NaN).
    """
    steps = np.rint(np.asarray(inputs, np.float64) * most)
    if not np.all((steps >= 0) & (steps <= most)):
        raise ValueError("inputs lie in [0, 1], signed ones in two calls")
    return steps.astype(np.uint32)


def shift_planes(inputs: ArrayLike, bits: int) -> NDArray[np.uint32]:
    """Bits of each input, the lowest first: shape (bits, *inputs)."""
    whole = levels(inputs, steps_of(bits, unary=False))
    return np.array([whole >> bit & 1 for bit in range(bits)], np.uint32)


def unary_planes(inputs: ArrayLike, pulses: int) -> NDArray[np.bool_]:
    """Which of so many pulses each input gives, the first ones: shape (pulses, *inputs)."""
    whole = levels(inputs, steps_of(pulses, unary=True))
    return np.array([whole > pulse for pulse in range(pulses)])


def shift_sum(outputs: ArrayLike) -> NDArray[np.float64]:
    """Outputs of `shift_planes`, the lowest bit's first, as one: of their shape without the first axis."""
    planes = np.asarray(outputs, np.float64)
    weights = 2.0 ** np.arange(len(planes))
    return np.asarray(np.tensordot(weights / weights.sum(), planes, axes=1))


def row_word(vector: ArrayLike, start: int = 0) -> int:
    """Rows that a vector of ones and zeros drives, the first input at row `start`: row r is bit r.

    Raises:
        ValueError: Rows that there are not.
    """
    driven = np.asarray(vector) == 1
    if start < 0 or start + driven.size > LINES:
        raise ValueError(f"{driven.size} inputs from row {start}: there are {LINES} rows")
    return sum(1 << int(row) for row in start + np.flatnonzero(driven))


def ends_of(columns: ArrayLike) -> tuple[int, int]:
    """A first column, and the one after the last.

    Raises:
        ValueError: Not two whole numbers.
    """
    ends = np.asarray(columns, np.float64)
    if ends.shape != (2,) or not np.array_equal(ends, np.rint(ends)):
        raise ValueError(f"columns are (first, one after the last), whole numbers, not {ends}")
    return int(ends[0]), int(ends[1])


def column_words(columns: Sequence[int]) -> list[int]:
    """Columns from a first to one before a last, as four words: the word of columns 48 to 63 first.

    Raises:
        ValueError: Columns that there are not.
    """
    first, last = ends_of(columns)
    if not 0 <= first <= last <= LINES:
        raise ValueError(f"columns {first} to {last}: there are {LINES} columns")
    chosen = (1 << last) - (1 << first)
    return [chosen >> shift & 0xFFFF for shift in range(LINES - _WORD, -1, -_WORD)]


def corrected(outputs: ArrayLike, factors: Iterable[ArrayLike]) -> NDArray[np.float64]:
    """Outputs (..., columns) by a line for each column: output × a + b.

    Args:
        outputs: Shape (vectors, columns), or (columns,) for one.
        factors: (a, b) for each column, as an array or a list; what stands after these is not used.

    Raises:
        ValueError: Fewer lines than columns.
    """
    given = np.asarray(outputs, np.float64)
    columns = given.shape[-1]
    lines = [np.ravel(line)[:2] for line in islice(factors, columns)]
    if len(lines) < columns or any(line.size < 2 for line in lines):
        raise ValueError(f"{columns} columns take as many factors (a, b), {len(lines)} given")
    slopes, offsets = np.array(lines, np.float64).T
    return np.asarray(given * slopes + offsets)
