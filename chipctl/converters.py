"""Codes to SI and back, in one place: volts for the DACs, amperes and siemens for the ADCs."""

from dataclasses import dataclass

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
