"""What a profile's calibration makes of codes and currents; results that are in doubt are left out.

Two things are kept apart. `Columns` (chipctl.converters) makes good the converters: what an ADC answers
beyond an ideal one, its zero, the transimpedance. It holds for every map and is applied to single reads and
to products. `ProductLine` makes good the wires: a column's current in a full product is smaller than its
devices' conductances, each read alone, would give. It is a straight line per column, holds for the map it
was measured with, and is applied to products alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from chipctl.converters import Columns, Floats, Readout
from chipctl.profile import ZEROS, ChipProfile
from chipctl.results import CalibrationResult
from firmware_protocol.bulk import NO_ARRAY, OpLog

RAILS, ADCS, TIAS, PRODUCTS = "rails", "adcs", "tias", "products"
"""Names of the procedures whose results are used here, beside `ZEROS`."""


def columns_of(profile: ChipProfile, readout: Readout, array: int) -> Columns:
    """The converters of one array as the profile knows them; nominal where it does not."""
    known = profile.arrays[array].zero_codes
    zero = np.full(profile.cols, readout.zero_codes) if known is None else np.array(known)
    columns = Columns.nominal(readout, zero)
    zeros, adcs, tias = (_usable(profile, name, array) for name in (ZEROS, ADCS, TIAS))
    by_gain = columns.zero_codes
    if zeros is not None:
        found = zeros.value("zero_codes")
        by_gain = by_gain + found - found[0]
    excess = None if adcs is None else _table(_Curve(adcs, readout.full_scale))
    ratio = None if tias is None else np.nan_to_num(tias.value("ohms_ratio"), nan=1.0)
    rails = profile.result(RAILS)
    measured = rails.value("read_volts") if rails is not None and rails.usable else readout.read_volts
    return Columns(readout, by_gain, excess, ratio, float(measured) / readout.read_volts)


def knows_adcs(profile: ChipProfile) -> bool:
    """Whether `columns_of` makes good any array's ADCs."""
    return any(_usable(profile, ADCS, array) for array in range(len(profile.arrays)))


def _usable(profile: ChipProfile, procedure: str, array: int) -> CalibrationResult | None:
    result = profile.result(procedure, array)
    return result if result is not None and result.usable else None


KeepsMap = Callable[[int, int], bool]
"""Whether an array (first) has had no pulse since the board's count of the chip's pulses (second)."""


def kept_since(log: OpLog, array: int, total_pulses: int) -> bool:
    """Whether an array has had no pulse since the board's count; no where the log does not reach back so far.

    The board counts pulses of the whole chip. Its log of effects says which arrays they went to.
    """
    since = (effect for effect in log.effects if effect.pulses and effect.pulses_after > total_pulses)
    return log.since_pulses <= total_pulses and all(effect.array not in (array, NO_ARRAY) for effect in since)


@dataclass(frozen=True, eq=False)
class _Curve:
    """An ADC result as a key: the table is worked out once per result."""

    result: CalibrationResult
    full_scale: int

    def __hash__(self) -> int:
        return hash((id(self.result), self.full_scale))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Curve) and self.result is other.result and self.full_scale == other.full_scale
        )


@lru_cache(maxsize=16)
def _table(curve: _Curve) -> Floats:
    """The ADCs' excess at every code, shape (4, codes)."""
    codes = np.arange(curve.full_scale + 1)
    answered, excess = curve.result.value("answered_codes"), curve.result.value("excess_codes")
    return np.stack([np.interp(codes, at, what) for at, what in zip(answered, excess, strict=True)])


@dataclass(frozen=True)
class ProductLine:
    """The straight line from a column's current as single reads predict it to the one a product gives."""

    slope: NDArray[np.float64]
    """Measured over predicted, shape (cols,)."""
    offset_amps: NDArray[np.float64]

    @classmethod
    def of(cls, profile: ChipProfile, array: int, keeps_map: KeepsMap) -> Self | None:
        """The line of one array; None if there is none, or if the array has been pulsed since."""
        result = _usable(profile, PRODUCTS, array)
        counted = None if result is None else result.valid_for.get("total_pulses")
        if result is None or not isinstance(counted, int) or not keeps_map(array, counted):
            return None
        return cls(result.value("slope"), result.value("offset_amps"))

    def undo(self, amps: Floats) -> Floats:
        """The currents (..., cols) that the devices, each read alone, would give."""
        return np.asarray((amps - self.offset_amps) / self.slope)
