"""What the host knows of A0 boards, since they say nothing of themselves: converters, limits, levels.

Figures without another source are those of the lab's published host software for this board, or read in
its firmware's; see docs/a0-board.md.
"""

from typing import Final

from firmware_protocol import a0_words as w
from firmware_protocol import messages as m
from firmware_protocol.a0_wire import LINES
from firmware_protocol.rails import Rail

ARRAYS: Final = 3

OFFSET_CODES: Final = round(w.OUTPUT_OFFSET_VOLTS / 20 * w.DAC_TOP)
"""How far all outputs lie above their code, 78 mV in codes. Codes of the `Board` mean true volts."""

ADC_LOW_VOLTS, ADC_HIGH_VOLTS = 0.5, 4.0
ADC_TOP: Final = 1023
VOLTS_PER_CODE: Final = (ADC_HIGH_VOLTS - ADC_LOW_VOLTS) / ADC_TOP

ZERO_CODES: Final = 16
"""Where zero current is put: at 0 the ADC's end would cut noise off."""
_ZERO_ABOVE_REFERENCE_VOLTS = 0.075
"""A current of zero reads so much above VREF_TIA (the lab's calibration: 0.5 V at 0.425 V)."""

READ_VOLTS: Final = 0.2
GATE_READ_VOLTS: Final = 5.0
TIA_VOLTS: Final = ADC_LOW_VOLTS + ZERO_CODES * VOLTS_PER_CODE - _ZERO_ABOVE_REFERENCE_VOLTS

TICK_NS: Final = 20
"""Period of the array's clock at 50 MHz, which every connection sets."""
CLOCK_DIVIDER: Final = 2
MOST_TICKS: Final = 0xFE - 1
"""Longest pulse that the chip times: P_RESET is 2 to 254, the width one less."""

GAIN_OHMS: Final = (1_000, 5_000, 30_000, 200_000, 1_000_000)
TIA_WORDS: Final = (0b1111100001, 0b1111100010, 0b1101000100, 0b1100001000, 0b1100010000)
"""Scan word of a TIA by gain index."""
AUTOMATIC_START: Final = len(TIA_WORDS) - 1
"""Gain that the chip's own search steps down from."""

REFERENCE_VOLTS: Final = {
    Rail.VREF_ARRAY: 0.497,
    Rail.VREF_TIA: TIA_VOLTS,
    Rail.PLANE_VPP: TIA_VOLTS - READ_VOLTS,
    Rail.VREF_SH: 2.505,
    Rail.VAGC_0: 1.0,
    Rail.VAGC_1: 3.9,
    Rail.VREF_HI_CMP: ADC_HIGH_VOLTS,
    Rail.ADC_TEST: 1.0,
    Rail.AMP_VREF: 2.5,
    Rail.AMP_INPUT: 2.5,
}
"""References in the order in which power-up sets them."""

INFO: Final = m.Info(
    arrays=ARRAYS,
    rows=LINES,
    cols=LINES,
    input_bits=1,
    dac_bits=16,
    dac_min_uv=-10_000_000,
    dac_max_uv=10_000_000,
    adc_bits=10,
    adc_min_uv=round(ADC_LOW_VOLTS * 1e6),
    adc_max_uv=round(ADC_HIGH_VOLTS * 1e6),
    zero_codes=ZERO_CODES,
    read_uv=round(READ_VOLTS * 1e6),
    tick_ns=TICK_NS,
    fine_width_ns=TICK_NS * MOST_TICKS,
    coarse_tick_ns=1000,
    gain_ohms=(*GAIN_OHMS, 0, 0, 0),
)


def true_code(volts: float) -> int:
    """The code of ±10 V for a voltage, or the one below it."""
    return w.output_code(volts)


def sent_code(code: int) -> int:
    """What the board is sent for a code of true volts."""
    return max(1, code - OFFSET_CODES)


_HIGHEST_VOLTS: Final = {
    Rail.PLANE_VPP: 0.6,
    Rail.VREF_ARRAY: 0.6,
    Rail.VREF_TIA: 0.6,
    Rail.VREF_HI_CMP: 5.6,
    Rail.VREF_SH: 3.3,
    Rail.VAGC_0: 4.6,
    Rail.VAGC_1: 4.6,
    Rail.ADC_TEST: 5.0,
    Rail.AMP_VREF: 5.0,
    Rail.AMP_INPUT: 5.0,
}
"""Around the levels in use. Pulse and gate rail are set by pulses and reads alone."""

LIMITS: Final = m.Limits(
    set_code=true_code(3.5),
    reset_code=true_code(3.5),
    gate_code=true_code(5.5),
    width_ns=10_000_000,
    pulses_per_device=10_000,
    pulses_per_second=0,
    rail_low_codes=tuple(true_code(-0.1 if rail in _HIGHEST_VOLTS else 0.0) for rail in Rail),
    rail_high_codes=tuple(true_code(_HIGHEST_VOLTS.get(rail, 0.0)) for rail in Rail),
)
"""Highest in use on such chips: SET ramps end at 3.5 V, RESET ramps of new chips at 3.0 V, gates at 5.5 V,
RESET widths at 10 ms. Kept by this host alone."""

UNPROMISED: Final = {
    "damage on the line": "not noticed by the board: its messages have no check sum; the devices show it",
    "at most once": "only as far as a reply arrives: without one a batch is unknown, and read",
    "outputs when the host is gone": "no lease; batches and timed pulses end at 0 V by themselves; behind a "
    "single pulse VP_PAD, and in a read the gates at 5 V and the columns connected to the TIAs, stay so "
    "until the next connection",
    "limits": "this host's alone: the board checks nothing",
    "identity and count of pulses": "as this host says: the board has no serial number, no count",
    "read-back of rails": "none: levels are those that were asked for",
}
"""What the board cannot promise, and what stands in for it."""
