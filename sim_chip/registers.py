"""The row and column registers of one array: 64 bits in four banks of 16, scrambled as on the chip."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BANKS = 4
BANK_BITS = 16
LINES = BANKS * BANK_BITS

Words = NDArray[np.uint16]


def row_place(row: int) -> tuple[int, int]:
    """Return (bank, bit) of a row."""
    pair = row % 16 // 2
    bank = (2, 0, 1, 3)[row // 16]
    if row < LINES // 2:
        return bank, pair + 8 * (row % 2)
    return bank, 7 - pair + 8 * (row % 2)


def column_place(col: int) -> tuple[int, int]:
    """Return (bank, bit) of a column."""
    upper = col >= LINES // 2
    bit = (col - LINES // 2) // 2 if upper else BANK_BITS - 1 - col // 2
    return 2 * upper + col % 2, bit


def _order(places: list[tuple[int, int]]) -> NDArray[np.intp]:
    return np.array([bank * BANK_BITS + bit for bank, bit in places], dtype=np.intp)


_PLACES = (_order([row_place(n) for n in range(LINES)]), _order([column_place(n) for n in range(LINES)]))
_WEIGHTS = 1 << np.arange(BANK_BITS)


def packed(bits: ArrayLike, *, columns: bool) -> Words:
    """Return the banks (4,) that hold bits (64,) of rows or columns."""
    given = np.asarray(bits)
    if given.shape != (LINES,):
        raise ValueError(f"a register takes {LINES} bits, not {given.shape}")
    scrambled = np.zeros(LINES, dtype=np.int64)
    scrambled[_PLACES[columns]] = given.astype(bool)
    return (scrambled.reshape(BANKS, BANK_BITS) @ _WEIGHTS).astype(np.uint16)


def unpacked(banks: Words, *, columns: bool) -> NDArray[np.uint8]:
    """Return the bits (64,) of rows or columns that banks (4,) hold."""
    scrambled = (banks[:, None] >> np.arange(BANK_BITS) & 1).astype(np.uint8)
    return scrambled.ravel()[_PLACES[columns]]
