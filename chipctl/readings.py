"""Conductances with their uncertainty: several looks at an array, how they scatter, readings combined."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.converters import adc_of_columns, adcs_of_array
from chipctl.fault_map import Flags
from firmware_protocol.rails import Rail

Sums = NDArray[np.int64]

LEAST_LOOKS = 4
"""Below, the scatter of looks says too little."""

_STEPS, _STEP_READS = 49, 4
_MARGIN = 0.02
"""Part of the ADC's range left out at its upper end."""
_NEARBY = 32.0
"""Codes: converters' errors so far from a code count for it."""
_LEAST_STEPS = 0.5
"""What is left of a conversion's error at best: between the points of the test, and of the zero."""


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
    reads: Sums
    """Reads averaged."""
    systematic: Siemens
    """Standard uncertainty that more reads would not lower."""

    @property
    def uncertainty(self) -> Siemens:
        """Standard uncertainty of `value`."""
        return np.hypot(self.scatter / np.sqrt(self.reads), self.systematic)

    def only(self, flags: Flags) -> "Reading":
        """The reading of some devices."""
        return replace(self, value=np.where(flags, self.value, np.nan))


@dataclass(frozen=True)
class ConverterErrors:
    """What remains of the converters' errors at some codes, but for an offset common to all."""

    codes: NDArray[np.float64]
    """Shape (points,)."""
    off: NDArray[np.float64]
    """ADC steps, shape (points, cols)."""

    def steps(self, codes: NDArray[np.float64], zero_codes: float) -> NDArray[np.float64]:
        """Standard uncertainty of conversions (rows, cols) less their zero, ADC steps: from errors nearby.

        An offset common to all codes is in the zero too, and does not count.
        """
        at_zero = self._near(np.array([[zero_codes]]))
        offset = np.einsum("rcp,pk->ck", at_zero, self.off)
        apart = self.off - offset
        of_zero = np.einsum("rcp,pk->ck", at_zero, apart**2)
        squares = np.einsum("rcp,pc->rc", self._near(codes), apart**2)
        return np.asarray(np.sqrt(squares + of_zero + _LEAST_STEPS**2))

    def _near(self, codes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of the points by their distance, shape (..., points), 1 together."""
        weights = np.exp(-(((codes[..., None] - self.codes) / _NEARBY) ** 2) / 2)
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def converter_errors(chip: Chip, array: int) -> ConverterErrors:
    """How far conversions are off, as the ADCs' test inputs show it; moves nothing.

    Raises:
        ValueError: No such array.
    """
    columns, readout = replace(chip.columns(array), ohms_ratio=None, read_ratio=1.0), chip.readout
    per_volt = readout.full_scale / (readout.adc_max_volts - readout.adc_min_volts)
    own = adc_of_columns(chip.cols)
    expected, codes = [], []
    for code in np.linspace(readout.zero_codes / 2, (1 - _MARGIN) * readout.full_scale, _STEPS):
        state = chip.set_rail(Rail.ADC_TEST, readout.adc_min_volts + code / per_volt)[Rail.ADC_TEST]
        expected.append((state.measured_volts - readout.adc_min_volts) * per_volt)
        answers = [chip.board.convert_test_input(adc, _STEP_READS) for adc in adcs_of_array(array)]
        codes.append(np.array(answers)[own] / _STEP_READS)
    chip.set_rail(Rail.ADC_TEST, 0.0)
    steps = columns.amps(np.array(codes), 0) / readout.lsb_amps(0)
    return ConverterErrors(np.array(expected), steps - np.array(expected)[:, None])


def reading(chip: Chip, at: At, looks: Looks, errors: ConverterErrors | None = None) -> Reading:
    """Looks in siemens; without `errors` of the converters their uncertainty is that of the noise alone."""
    lsb = chip.readout.lsb_siemens(at.gain)
    count = np.maximum(looks.count, 1)
    codes = looks.total / count / at.reads
    value = chip.columns(at.array).siemens(codes, np.full(count.shape, at.gain))
    # In whole numbers: the difference of two large ones
    spread = (count * looks.squares - looks.total**2) / (count * np.maximum(count - 1, 1))
    scatter = np.where(count >= LEAST_LOOKS, np.sqrt(spread / at.reads), np.nan) * lsb
    steps = np.zeros(codes.shape) if errors is None else errors.steps(codes, chip.readout.zero_codes)
    return Reading(value, scatter, count * at.reads, steps * lsb)


def read_in_looks(chip: Chip, at: At, errors: ConverterErrors | None = None) -> Reading:
    """Look at a whole array so many times. Devices at the end of the ADC's range have the value NaN."""
    sums = np.stack(
        [chip.board.read_cells(at.array, at.gain, at.reads, chip.whole)[0] for _ in range(at.looks)]
    )
    count = np.full(sums.shape[1:], at.looks, np.int64)
    found = reading(chip, at, Looks(count, sums.sum(axis=0), (sums**2).sum(axis=0)), errors)
    beyond = np.asarray((sums >= chip.readout.full_scale * at.reads).any(axis=0))
    return found.only(~beyond)


def combined(readings: list[Reading]) -> tuple[Siemens, Siemens]:
    """The mean of readings weighted by their uncertainty, and its own; those with NaN are left out."""
    values, sigmas = (np.stack([getattr(r, name) for r in readings]) for name in ("value", "uncertainty"))
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(np.isnan(values) | np.isnan(sigmas), 0.0, sigmas**-2.0)
        total = weights.sum(axis=0)
        value = np.where(total > 0, (weights * np.nan_to_num(values)).sum(axis=0) / total, np.nan)
        return value, np.where(total > 0, total**-0.5, np.nan)
