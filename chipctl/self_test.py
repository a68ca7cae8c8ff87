"""What a board can find out about itself without moving a device: line, rails, converters, zeros, reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chipctl.board import Region
from chipctl.chip import Chip
from chipctl.converters import adcs_of_chip
from chipctl.errors import ChipctlError
from firmware_protocol.messages import AUTO_GAIN
from firmware_protocol.rails import Rail
from firmware_protocol.status import Fault

_ROUND_TRIPS: Final = 50
_SLOW_S: Final = 20e-3
"""Round trip above which commands crawl: a bridge with its latency timer as shipped takes 16 ms."""
_STRAY_VOLTS: Final = 0.1
"""More than the error of any DAC in use."""
_STEPS, _STEP_READS = 17, 16
_MARGIN: Final = 0.05
"""Part of the ADC's range left out at either end."""
GAIN_ERROR, OFFSET_CODES, BENT_CODES = 0.05, 16.0, 4.0
ZERO_CODES: Final = 24.0
"""How far the zero of a column may be from the nominal one; an amplifier's offset is a few millivolts."""
_AT_END: Final = 0.05
"""Share of an array's devices that may be beyond the least sensitive gain."""


@dataclass(frozen=True)
class Item:
    """One thing that was tested."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class AdcLine:
    """The straight line through what an ADC makes of its test input."""

    gain: float
    """Codes per volt, over nominal."""
    offset_codes: float
    """At the middle of the range, against nominal."""
    bent_codes: float
    """Largest distance from the line (integral non-linearity)."""

    @property
    def is_good(self) -> bool:
        """Whether it is what calibration can make good."""
        return (
            abs(self.gain - 1) <= GAIN_ERROR
            and abs(self.offset_codes) <= OFFSET_CODES
            and self.bent_codes <= BENT_CODES
        )


def self_test(chip: Chip) -> Iterator[Item]:
    """Test a board and its chip, item by item; changes no device. Rails are left as for reading."""
    before = chip.board.state()
    yield _line(chip)
    yield Item("fault", before.fault == 0, Fault(before.fault).name.lower())
    parts = [("rails", _rails), ("converters", _adcs), ("zeros", _zeros), ("reads", _reads)]
    for name, part in parts:
        try:
            yield from part(chip)
        except ChipctlError as error:
            yield Item(name, False, str(error))
    pulses = chip.board.state().total_pulses - before.total_pulses
    yield Item("pulses given", pulses == 0, str(pulses))


def _line(chip: Chip) -> Item:
    taken = []
    for _ in range(_ROUND_TRIPS):
        start = perf_counter()
        chip.board.state()
        taken.append(perf_counter() - start)
    again = chip.board.link_statistics().retransmissions
    words = f"median {median(taken) * 1e3:.2f} ms, {again} frames sent again"
    return Item("round trip", median(taken) < _SLOW_S, words)


def _rails(chip: Chip) -> Iterator[Item]:
    chip.read(0, Region(0, 1, 0, 1))
    for state in chip.rails():
        off = state.measured_volts - state.set_volts
        words = f"{state.measured_volts:.3f} V, {off * 1e3:+.1f} mV from its setting"
        yield Item(f"rail {state.rail.name.lower()}", abs(off) <= _STRAY_VOLTS, words)


def _adcs(chip: Chip) -> Iterator[Item]:
    for adc, line in adc_lines(chip).items():
        words = (
            f"gain {line.gain:.4f}, offset {line.offset_codes:+.2f} codes, INL {line.bent_codes:.2f} codes"
        )
        yield Item(f"ADC {adc}", line.is_good, words)


def adc_lines(chip: Chip) -> dict[int, AdcLine]:
    """What each ADC, by its number, makes of its test input, stepped over its range."""
    r, adcs = chip.readout, adcs_of_chip(chip.arrays)
    span = r.adc_max_volts - r.adc_min_volts
    low = max(r.adc_min_volts + _MARGIN * span, 0.0)
    volts, codes = [], []
    for asked in np.linspace(low, r.adc_max_volts - _MARGIN * span, _STEPS):
        volts.append(chip.set_rail(Rail.ADC_TEST, float(asked))[Rail.ADC_TEST].measured_volts)
        codes.append([chip.board.convert_test_input(adc, _STEP_READS) / _STEP_READS for adc in adcs])
    chip.set_rail(Rail.ADC_TEST, 0.0)
    per_volt = r.full_scale / span
    expected = (np.array(volts) - r.adc_min_volts) * per_volt
    return {adc: _fitted(expected, column) for adc, column in zip(adcs, np.array(codes).T, strict=True)}


def _fitted(expected: NDArray[np.float64], codes: NDArray[np.float64]) -> AdcLine:
    middle = expected.mean()
    gain, offset = np.polyfit(expected - middle, codes, 1)
    bent = np.abs(codes - gain * (expected - middle) - offset).max()
    return AdcLine(float(gain), float(offset - middle), float(bent))


def _zeros(chip: Chip) -> Iterator[Item]:
    for array in range(chip.arrays):
        off = chip.measure_zero(array) - chip.readout.zero_codes
        worst = int(np.argmax(np.abs(off)))
        words = f"{off.min():+.2f} to {off.max():+.2f} codes from nominal, most at column {worst}"
        yield Item(f"zero of array {array}", bool(np.abs(off).max() <= ZERO_CODES), words)


def _reads(chip: Chip) -> Iterator[Item]:
    scale = np.array([chip.readout.lsb_siemens(g) for g in range(len(chip.readout.gain_ohms))])
    for array in range(chip.arrays):
        codes, gains = chip.board.read_cells(array, AUTO_GAIN, 1, chip.whole)
        at_end = float(np.mean(codes >= chip.readout.full_scale))
        siemens = (codes - chip.zero_codes(array)) * scale[gains]
        low, middle, high = np.percentile(siemens, [5, 50, 95]) * 1e6
        words = f"{low:.1f}, {middle:.1f}, {high:.1f} µS (5, 50, 95 %), {at_end:.1%} beyond range"
        yield Item(f"read of array {array}", at_end <= _AT_END, words)
