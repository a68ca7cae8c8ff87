"""The row and column registers of one array: 64 bits in four banks of 16, scrambled as on the chip."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_protocol.a0_words import column_place as column_place
from firmware_protocol.a0_words import row_place as row_place

BANKS = 4
BANK_BITS = 16
LINES = BANKS * BANK_BITS

Words = NDArray[np.uint16]


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
