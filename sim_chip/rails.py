"""What the rails amount to: read voltage, references, and what of a pulse reaches the lines.

The chip works as specified with 4.5 to 5.5 V of supply. Outside, and with other rails out of
their range, it does what a part without enough headroom does, always in the same way:

* below 4.5 V pulses and gates sag in proportion; below 2.7 V the chip is held in reset: nothing
  moves, ADCs answer their lowest code;
* a TIA puts out 0.2 V less than the supply at most; its input works from 0.2 to 1.5 V of
  VREF_TIA, below it answers the floor, above it saturates;
* the ADC's reference follows the supply outside 4.5-5.5 V: codes too high below, too low above;
* VREF_SH outside 2-3 V lets the sample-and-hold lose signal in proportion: codes too low;
* pulses and gates are clamped by diodes 0.5 V below ground and above the supply.

All of it is assumed. VREF_ARRAY and VAGC_0 have no effect in this model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_chip.converters import Rail, References, dac_microvolts
from sim_chip.elementary import exp
from sim_chip.parameters import ChipParameters

Floats = NDArray[np.float64]

NOMINAL_UV = 5_000_000
HIGHEST_UV = 6_500_000  # above, a real part is destroyed
_RANGE_UV = (4_500_000, 5_500_000)
_RESET_UV = 2_700_000
_TIA_INPUT_UV = (200_000, 1_500_000)
_TIA_HEADROOM_UV = 200_000
_HOLD_UV = (2_000_000, 3_000_000)
_CLAMP_VOLTS = 0.5
_GATE_READ_VOLTS = 5.0
_OUT_OF_REACH_UV = 10**9
_SETTLED = 7.6  # time constants until a sample is within half an LSB of full scale


@dataclass(frozen=True)
class Power:
    """Rails as reads and pulses meet them.

    read_uv: voltage across a selected cell. milliohms: the access transistor during reads, -1 when
    its gate does not make it conduct. test_uv: the ADCs' test input.
    """

    read_uv: int
    milliohms: int
    test_uv: int
    references: References
    pulse_scale: float
    clamp_volts: tuple[float, float]

    def delivered(self, volts: Floats) -> Floats:
        """Return what reaches the lines of pulse or gate voltages set at the DAC, in V."""
        low, high = self.clamp_volts
        return np.asarray(np.minimum(np.maximum(volts, low), high) * self.pulse_scale)


def power(
    parameters: ChipParameters,
    rails: NDArray[np.uint16],
    supply_uv: int,
    sample_ns: NDArray[np.int64],
) -> Power:
    """Work out what rails (16,) in DAC codes, supply and sample times (gains,) amount to."""
    offset = parameters.converters.rail_offset_uv
    rail_uv = {rail: dac_microvolts(int(rails[rail])) + offset for rail in Rail}
    clamp = (-_CLAMP_VOLTS, supply_uv / 1e6 + _CLAMP_VOLTS)
    scale = 0.0 if supply_uv < _RESET_UV else min(1.0, supply_uv / _RANGE_UV[0])
    gate = min(max(rail_uv[Rail.TVDD] / 1e6, clamp[0]), clamp[1]) * scale
    references = References(
        tia_uv=_tia_uv(rail_uv[Rail.VREF_TIA]),
        high_uv=rail_uv[Rail.VREF_HI_CMP],
        step_down_uv=rail_uv[Rail.VAGC_1],
        ceiling_uv=supply_uv - _TIA_HEADROOM_UV,
        stretch=_stretch(supply_uv, rail_uv[Rail.VREF_SH]),
        settled=tuple(
            _settled(int(given), needed)
            for given, needed in zip(sample_ns, parameters.timing.settle_ns, strict=True)
        ),
    )
    read_uv = rail_uv[Rail.VREF_TIA] - rail_uv[Rail.PLANE_VPP]
    milliohms = _transistor_milliohms(parameters, gate)
    return Power(read_uv, milliohms, rail_uv[Rail.ADC_TEST], references, scale, clamp)


def _tia_uv(reference_uv: int) -> int:
    """Where a TIA without current puts its output: nowhere useful with its input out of range."""
    low, high = _TIA_INPUT_UV
    if reference_uv < low:
        return -_OUT_OF_REACH_UV
    return reference_uv if reference_uv <= high else _OUT_OF_REACH_UV


def _stretch(supply_uv: int, hold_uv: int) -> float:
    """Factor on positions on the ADC's scale, from its reference and the sample-and-hold."""
    if supply_uv < _RESET_UV:
        return 0.0
    reference = supply_uv / min(max(supply_uv, _RANGE_UV[0]), _RANGE_UV[1])
    low, high = _HOLD_UV
    held = min(1.0, hold_uv / low, (low + high - hold_uv) / low)
    return max(held, 0.0) / reference


def _settled(given_ns: int, needed_ns: int) -> float:
    """How much of the signal is there when sampled; all of it from the needed time on."""
    if given_ns >= needed_ns:
        return 1.0
    return 1.0 - float(exp(-_SETTLED * given_ns / needed_ns))


def _transistor_milliohms(parameters: ChipParameters, gate_volts: float) -> int:
    nominal = parameters.wires.transistor_ohms
    threshold = parameters.switching.threshold.nominal
    if nominal == 0.0:
        return 0
    if gate_volts <= threshold:
        return -1
    return round(1000.0 * nominal * (_GATE_READ_VOLTS - threshold) / (gate_volts - threshold))
