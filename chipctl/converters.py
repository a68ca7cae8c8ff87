"""Codes to SI and back, in one place: volts for the DACs, amperes and siemens for the ADCs."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_protocol.messages import AUTO_GAIN, Info

SPAN = 150e-6
"""Highest target conductance in siemens (He et al. 2026: 0 to 150 µS)."""

Codes = NDArray[np.integer]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dac:
    """A DAC with straight binary codes from `min_volts` (code 0) to `max_volts` (all ones)."""

    bits: int
    min_volts: float
    max_volts: float

    @property
    def full_scale(self) -> int:
        """The highest code."""
        return int(2**self.bits - 1)

    @property
    def lsb_volts(self) -> float:
        """Volts per code."""
        return (self.max_volts - self.min_volts) / self.full_scale

    def to_codes(self, volts: ArrayLike) -> Codes:
        """The highest codes that do not exceed `volts` (any shape), so that no limit is passed by rounding.

        Raises:
            ValueError: A voltage is outside the DAC's range, or not a number.
        """
        wanted = np.asarray(volts, dtype=np.float64)
        if not np.all((wanted >= self.min_volts) & (wanted <= self.max_volts)):
            raise ValueError(f"voltages must lie within {self.min_volts:g} to {self.max_volts:g} V")
        steps = (wanted - self.min_volts) / (self.max_volts - self.min_volts) * self.full_scale
        return np.floor(steps + 1e-9).astype(np.int64)

    def to_code(self, volts: float) -> int:
        """`to_codes` for one voltage."""
        return int(self.to_codes(volts))

    def to_volts(self, codes: ArrayLike) -> Floats:
        """Volts of `codes` (any shape)."""
        return self.min_volts + np.asarray(codes, dtype=np.float64) * self.lsb_volts


@dataclass(frozen=True)
class Readout:
    """A TIA with selectable gain and the ADC behind it."""

    adc_bits: int
    adc_min_volts: float
    adc_max_volts: float
    gain_ohms: tuple[float, ...]
    zero_codes: float
    """Nominal code of zero current."""
    read_volts: float
    """Voltage across a device in a read."""

    @property
    def full_scale(self) -> int:
        """The highest ADC code."""
        return int(2**self.adc_bits - 1)

    def lsb_amps(self, gain: int) -> float:
        """Amperes per ADC code at a gain index.

        Raises:
            ValueError: The chip has no such gain.
        """
        if gain == AUTO_GAIN or not 0 <= gain < len(self.gain_ohms):
            raise ValueError(f"gain index must be one of 0 to {len(self.gain_ohms) - 1}, not {gain}")
        return (self.adc_max_volts - self.adc_min_volts) / self.full_scale / self.gain_ohms[gain]

    def lsb_siemens(self, gain: int) -> float:
        """Conductance per ADC code of a single device at the read voltage."""
        return self.lsb_amps(gain) / self.read_volts

    def full_scale_amps(self, gain: int) -> float:
        """The largest current that a gain index resolves, with 1 % kept for offsets."""
        return 0.99 * (self.full_scale - self.zero_codes) * self.lsb_amps(gain)

    def highest_gain(self, amps: float) -> int:
        """The most sensitive gain index that takes `amps`; the least sensitive one if none does."""
        fitting = [g for g in range(len(self.gain_ohms)) if self.full_scale_amps(g) >= amps]
        return max(fitting, key=lambda g: self.gain_ohms[g], default=0)


ADCS_PER_ARRAY = 4
_ARRAYS_PER_DIE = 3


def adc_of_columns(cols: int) -> NDArray[np.intp]:
    """Which of its array's ADCs, 0 to 3, converts each column, shape (cols,).

    Even columns go to the first two, odd ones to the last two; halves of the array apart (wiring of the
    superT A0 chip).
    """
    col = np.arange(cols)
    return np.asarray(2 * (col % 2) + (col >= cols // 2), np.intp)


def adcs_of_array(array: int) -> tuple[int, ...]:
    """The board's numbers of an array's ADCs, for `ConvertTestInput`, in the order of `adc_of_columns`.

    A die has them for three arrays, whether it holds so many or not.
    """
    die, place = divmod(array, _ARRAYS_PER_DIE)
    first = ADCS_PER_ARRAY * _ARRAYS_PER_DIE * die + 2 * (_ARRAYS_PER_DIE - 1 - place)
    half = ADCS_PER_ARRAY * _ARRAYS_PER_DIE // 2
    return first, first + 1, first + half, first + half + 1


def adcs_of_chip(arrays: int) -> list[int]:
    """The board's numbers of the ADCs of all arrays, ascending."""
    return sorted(adc for array in range(arrays) for adc in adcs_of_array(array))


@dataclass(frozen=True)
class Columns:
    """The TIAs and ADCs of one array as far as they are known: codes to SI and back, column by column.

    This is the one place where the calibration of converters takes effect.
    """

    readout: Readout
    zero_codes: Floats
    """Code of zero current, shape (gains, cols)."""
    excess_codes: Floats | None = None
    """What each ADC answers beyond an ideal one, by the code it answers, shape (4, codes), if known."""
    ohms_ratio: Floats | None = None
    """Transimpedance over nominal, shape (gains, cols); None if not known."""
    read_ratio: float = 1.0
    """Read voltage as measured over the nominal one."""

    @classmethod
    def nominal(cls, readout: Readout, zero_codes: Floats) -> Self:
        """Converters as the board describes them, with a zero per column, shape (cols,)."""
        return cls(readout, np.tile(zero_codes, (len(readout.gain_ohms), 1)))

    @property
    def is_calibrated(self) -> bool:
        """Whether more is known than zeros, so that codes are not proportional to current."""
        return self.excess_codes is not None or self.ohms_ratio is not None

    def amps(self, codes: ArrayLike, gain: ArrayLike, cols: slice = slice(None)) -> Floats:
        """Column currents of mean codes (..., cols), as at the nominal read voltage, positive into the TIA.

        `gain` is a TIA gain index or an array of them that fits `codes`; `cols`, which columns these are.
        """
        gains = np.asarray(gain)
        col = np.arange(self.zero_codes.shape[1])[cols]
        zero = self.zero_codes[gains, col]
        ideal = self._ideal(np.asarray(codes, np.float64), col) - self._ideal(zero, col)
        return np.asarray(ideal * self._lsb_amps(gains, col))

    def siemens(self, codes: ArrayLike, gain: ArrayLike, cols: slice = slice(None)) -> Floats:
        """Conductances of single devices at the read voltage, of mean codes (..., cols)."""
        return np.asarray(self.amps(codes, gain, cols) / self.readout.read_volts)

    def codes(self, amps: ArrayLike, gain: ArrayLike, cols: slice = slice(None)) -> Floats:
        """Mean codes of column currents (..., cols): the inverse of `amps`; may lie off the scale."""
        gains = np.asarray(gain)
        col = np.arange(self.zero_codes.shape[1])[cols]
        ideal = self._ideal(self.zero_codes[gains, col], col)
        ideal = ideal + np.asarray(amps) / self._lsb_amps(gains, col)
        codes = ideal
        for _ in range(_INVERSE_ROUNDS if self.excess_codes is not None else 0):
            codes = ideal + self._excess(codes, col)
        return np.asarray(codes)

    def _lsb_amps(self, gains: NDArray[np.integer], col: NDArray[np.intp]) -> Floats:
        lsb = np.array([self.readout.lsb_amps(g) for g in range(len(self.readout.gain_ohms))])[gains]
        lsb = lsb / self.read_ratio
        return np.asarray(lsb if self.ohms_ratio is None else lsb / self.ohms_ratio[gains, col])

    def _ideal(self, codes: Floats, col: NDArray[np.intp]) -> Floats:
        return codes if self.excess_codes is None else codes - self._excess(codes, col)

    def _excess(self, codes: Floats, col: NDArray[np.intp]) -> Floats:
        """Of mean codes (..., cols), linear between whole codes."""
        assert self.excess_codes is not None
        inside = np.clip(codes, 0, self.readout.full_scale)
        low = np.minimum(inside.astype(np.intp), self.readout.full_scale - 1)
        adc = adc_of_columns(self.zero_codes.shape[1])[col]
        below, above = self.excess_codes[adc, low], self.excess_codes[adc, low + 1]
        return np.asarray(below + (inside - low) * (above - below))


_INVERSE_ROUNDS = 6
"""Of a fixed point whose error falls by the ADC's differential non-linearity, some percent, at each."""


def dac_of(info: Info) -> Dac:
    """The board's DAC as the board describes it."""
    return Dac(info.dac_bits, info.dac_min_uv * 1e-6, info.dac_max_uv * 1e-6)


def readout_of(info: Info) -> Readout:
    """The board's read-out chain as the board describes it."""
    return Readout(
        adc_bits=info.adc_bits,
        adc_min_volts=info.adc_min_uv * 1e-6,
        adc_max_volts=info.adc_max_uv * 1e-6,
        gain_ohms=tuple(float(ohms) for ohms in info.gain_ohms if ohms),
        zero_codes=float(info.zero_codes),
        read_volts=info.read_uv * 1e-6,
    )
