"""Conductances with their uncertainty: several looks at an array, how they scatter, readings combined."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens

Sums = NDArray[np.int64]


@dataclass(frozen=True)
class At:
    """How an array is looked at."""

    array: int
    gain: int
    reads: int
    """Reads of a look."""
    looks: int = 1


@dataclass(frozen=True)
class Looks:
    """What several looks at each device gave, as sums of codes; one shape."""

    count: Sums
    total: Sums
    squares: Sums


@dataclass(frozen=True)
class Reading:
    """What each device shows, shape (rows, cols)."""

    value: Siemens
    """NaN where the reading is of no use."""
    scatter: Siemens
    """Standard deviation of a single read, from look to look; NaN for less than `LEAST_LOOKS` looks."""
    uncertainty: Siemens
    """Standard uncertainty of `value`."""


LEAST_LOOKS = 4
"""Below, the scatter of looks says too little."""


def reading(chip: Chip, at: At, looks: Looks, converter_lsb: float) -> Reading:
    """Looks in siemens; `converter_lsb` is the standard uncertainty of a conversion, ADC steps."""
    lsb = chip.readout.lsb_siemens(at.gain)
    count = np.maximum(looks.count, 1)
    value = chip.columns(at.array).siemens(looks.total / count / at.reads, np.full(count.shape, at.gain))
    # In whole numbers: the difference of two large ones
    spread = (count * looks.squares - looks.total**2) / (count * np.maximum(count - 1, 1))
    look = np.where(count >= LEAST_LOOKS, np.sqrt(spread), np.nan) / at.reads * lsb
    noise = look / np.sqrt(count)
    return Reading(value, look * np.sqrt(at.reads), np.hypot(noise, converter_lsb * lsb))


def read_in_looks(chip: Chip, at: At, converter_lsb: float = 0.0) -> Reading:
    """Look at a whole array so many times. Devices at the end of the ADC's range have the value NaN."""
    sums = np.stack(
        [chip.board.read_cells(at.array, at.gain, at.reads, chip.whole)[0] for _ in range(at.looks)]
    )
    count = np.full(sums.shape[1:], at.looks, np.int64)
    found = reading(chip, at, Looks(count, sums.sum(axis=0), (sums**2).sum(axis=0)), converter_lsb)
    beyond = (sums >= chip.readout.full_scale * at.reads).any(axis=0)
    return Reading(np.where(beyond, np.nan, found.value), found.scatter, found.uncertainty)


def combined(readings: list[Reading]) -> tuple[Siemens, Siemens]:
    """The mean of readings weighted by their uncertainty, and its own; those with NaN are left out."""
    values, sigmas = (np.stack([getattr(r, name) for r in readings]) for name in ("value", "uncertainty"))
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(np.isnan(values) | np.isnan(sigmas), 0.0, sigmas**-2.0)
        total = weights.sum(axis=0)
        value = np.where(total > 0, (weights * np.nan_to_num(values)).sum(axis=0) / total, np.nan)
        return value, np.where(total > 0, total**-0.5, np.nan)
