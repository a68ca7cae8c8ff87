"""Random numbers drawn by counter: what is drawn depends on who draws and how often it drew.

A draw is a hash of (chip seed, purpose, array, counter). No generator state exists, so masks,
batches and chunks of the same operations draw the same numbers. One hash gives four normals
from a fixed table of 4096 (conditional means of equal-probability bins, unit variance, largest
value 3.74), stored as integers of 2**-16: the same bits on every machine.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

LANES = 4  # normals in one hash
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_GOLDEN_WORD = np.uint64(_GOLDEN)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFTS = tuple(np.uint64(n) for n in (30, 27, 31))


class Purpose(IntEnum):
    """What a random number is for; streams of different purpose never meet."""

    DEVICE_A = 1
    DEVICE_B = 2
    DEVICE_C = 3
    FAULT = 4
    STUCK_VALUE = 5
    COLUMN = 6
    CONVERTER = 7
    PULSE = 8
    EVENT = 9
    READ = 10
    PRODUCT = 11
    TEST_INPUT = 12
    TELEGRAPH = 13
    FATE = 14


def _load_normals() -> Floats:
    with np.load(Path(__file__).with_name("normal_table.npz")) as archive:
        upper = np.cumsum(archive["steps"].astype(np.int64))
    return np.concatenate((-upper[::-1], upper)).astype(np.float64) / 65536.0


NORMALS: Floats = _load_normals()
NORMALS.flags.writeable = False


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * int(_MIX_1)) & _MASK
    value = ((value ^ (value >> 27)) * int(_MIX_2)) & _MASK
    return value ^ (value >> 31)


def stream(seed: int, purpose: Purpose, array: int = 0) -> int:
    """Return the key (64 bits) of one stream of draws."""
    key = _mix((seed + _GOLDEN) & _MASK)
    return _mix((key ^ (int(purpose) << 32) ^ (array + 1)) & _MASK)


def words(key: int, counters: NDArray[np.integer] | Words) -> Words:
    """Hash counters (any shape) of a stream to 64-bit words (splitmix64)."""
    word = counters.astype(np.uint64)
    word *= _GOLDEN_WORD
    word += np.uint64(key)
    shifted = word >> _SHIFTS[0]
    word ^= shifted
    word *= _MIX_1
    np.right_shift(word, _SHIFTS[1], out=shifted)
    word ^= shifted
    word *= _MIX_2
    np.right_shift(word, _SHIFTS[2], out=shifted)
    word ^= shifted
    return word


def normals(drawn: Words) -> Floats:
    """Turn words (...) into standard normals (..., 4)."""
    lanes = drawn.astype("<u8", copy=False)[..., None].view("<u2") >> 4
    return NORMALS.take(lanes)


def normal(drawn: Words, lane: int) -> Floats:
    """Turn words (...) into one standard normal each, from lane 0 to 3."""
    index = (drawn >> np.uint64(16 * lane + 4)) & np.uint64(0xFFF)
    return NORMALS.take(index.astype(np.intp))


def uniform(drawn: Words) -> Floats:
    """Turn words into numbers in [0, 1) with 53 bits."""
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def device_counters(devices: NDArray[np.integer], counts: NDArray[np.integer]) -> Words:
    """Counter of each device's n-th draw: device index in the upper, count in the lower half."""
    return (devices.astype(np.uint64) << np.uint64(32)) | counts.astype(np.uint64)
