"""From DAC codes to rail voltages, and from column currents to 13-bit words in FIFO order.

Voltages are integers of 1 µV, positions on the ADC's scale float64 in LSB above its floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware_protocol.rails import Rail as Rail
from sim_chip import random
from sim_chip.elementary import sin_turns
from sim_chip.parameters import CURVE_POINTS, ConverterParameters
from sim_chip.random import Purpose

Floats = NDArray[np.float64]

AUTO_GAIN = 7
FIFOS_PER_ARRAY = 4
FIFO_DEPTH = 16
ARRAYS_PER_DIE = 3
_FIFOS_PER_DIE = 12
_STEPS = 8  # ADC transfer tables resolve 1/8 LSB
GAIN_SHIFT = 10
_DAC_TOP = 65_535
_DAC_SPAN_UV = 20_000_000


def dac_code(volts: float) -> int:
    """Return the DAC code for a voltage in [-10, 10] V: floor((V + 10) / 20 · 65535)."""
    microvolts = round(volts * 1e6) + _DAC_SPAN_UV // 2
    return min(max(microvolts * _DAC_TOP // _DAC_SPAN_UV, 0), _DAC_TOP)


def dac_microvolts(code: int) -> int:
    """Return what a DAC code puts out, in µV rounded to nearest."""
    return (2 * code * _DAC_SPAN_UV + _DAC_TOP) // (2 * _DAC_TOP) - _DAC_SPAN_UV // 2


def dac_volts(codes: NDArray[np.integer]) -> Floats:
    """Return what DAC codes put out, in V on the 1 µV grid of `dac_microvolts`."""
    numerator = 2 * codes.astype(np.int64) * _DAC_SPAN_UV + _DAC_TOP
    microvolts = (numerator // (2 * _DAC_TOP) - _DAC_SPAN_UV // 2).astype(np.float64)
    return np.asarray(microvolts / 1e6, dtype=np.float64)


def fifos(array: int) -> tuple[int, ...]:
    """Return the four FIFOs (chip numbering, ascending) that serve an array."""
    die, place = divmod(array, ARRAYS_PER_DIE)
    first = _FIFOS_PER_DIE * die + 2 * (ARRAYS_PER_DIE - 1 - place)
    return first, first + 1, first + 6, first + 7


def fifo_owner(fifo: int) -> tuple[int, int]:
    """Return (array, place among its four) of a FIFO in chip numbering."""
    die, within = divmod(fifo, _FIFOS_PER_DIE)
    half, rest = divmod(within, _FIFOS_PER_DIE // 2)
    return ARRAYS_PER_DIE * die + ARRAYS_PER_DIE - 1 - rest // 2, 2 * half + rest % 2


def fifo_address(array: int, col: int) -> tuple[int, int]:
    """Return (FIFO in chip numbering, word in it) of a column."""
    half = col // 32
    word = 8 * (col // 16) + 7 - col % 16 // 2 if half == 0 else 8 * (3 - col // 16) + col % 16 // 2
    return fifos(array)[2 * (col % 2) + half], word


def column_order(array: int) -> NDArray[np.intp]:
    """Return where each column (64,) lies in an array's 4×16 words, flattened."""
    order = []
    for col in range(FIFOS_PER_ARRAY * FIFO_DEPTH):
        fifo, word = fifo_address(array, col)
        order.append(fifos(array).index(fifo) * FIFO_DEPTH + word)
    return np.array(order, dtype=np.intp)


def _inl(model: ConverterParameters, position: Floats, drawn: Floats) -> Floats:
    """Deviation (LSB) of one converter; drawn (4,) are its standard normals."""
    top = model.adc_codes - 1
    sine = sin_turns(position / model.adc_codes + float(drawn[0])) * model.inl_lsb
    tilt: Floats = (position - top / 2) * (model.gain_error * float(drawn[1]))
    return sine + tilt


def column_offsets(model: ConverterParameters, seed: int, array: int) -> Floats:
    """Where each column's zero lies, LSB beyond the nominal one: as known, else drawn; column order (64,)."""
    columns = np.arange(FIFOS_PER_ARRAY * FIFO_DEPTH)
    if model.column_lsb:
        return np.array(model.column_lsb)[array * len(columns) + columns]
    drawn = random.normals(random.words(random.stream(seed, Purpose.COLUMN, array), columns))
    return model.offset_lsb.nominal + model.offset_lsb.sigma * np.asarray(drawn[:, 0])


def adc_deviations(model: ConverterParameters, seed: int, array: int, position: Floats) -> Floats:
    """What each ADC answers beyond an ideal one, LSB, at positions (n,): as known, else drawn; (4, n)."""
    if model.curve_lsb:
        curves = np.array(model.curve_lsb).reshape(-1, FIFOS_PER_ARRAY, CURVE_POINTS)[array]
        at = np.linspace(0, model.adc_codes - 1, curves.shape[1])
        return np.stack([np.interp(position, at, curve) for curve in curves])
    key = random.stream(seed, Purpose.CONVERTER, array)
    drawn = random.normals(random.words(key, np.arange(FIFOS_PER_ARRAY)))
    return np.stack([_inl(model, position, each) for each in drawn])


def _flattened(model: ConverterParameters, position: Floats) -> Floats:
    """Raw converters: coarse steps at the ends, finer ones in the middle of the scale."""
    if model.flat_lsb == 0:
        return position
    volts = 0.5 + 3.5 * position / (model.adc_codes - 1)
    step = np.where((volts < 1.5) | (volts > 3.0), model.flat_lsb, model.flat_lsb / 4.0)
    step = np.where((volts >= 2.0) & (volts <= 2.5), model.flat_lsb / 8.0, step)
    return np.rint(position / step) * step


class Signal(NamedTuple):
    """What the columns hand to the TIAs.

    current: whole numbers of `unit` amperes. variance: of its fluctuation, in squared units, or
    None when the current already fluctuates. normal: standard normals, one for each current; the
    fluctuation and the ADC's own noise are independent, so one draw of their sum serves both.
    steady: the current without its fluctuation, where that decides an automatic gain.
    """

    current: Floats
    unit: float
    variance: Floats | None
    normal: Floats
    steady: Floats | None = None


@dataclass(frozen=True)
class References:
    """What the readout works against: rails in µV, and what a strained supply does to it.

    tia_uv, high_uv, step_down_uv: VREF_TIA, VREF_HI_CMP, VAGC_1. ceiling_uv: the highest a TIA
    can put out. stretch: of positions on the ADC's scale, 1 with supply and S/H bias in range.
    settled: how much of the signal is there when it is sampled, per gain.
    """

    tia_uv: int
    high_uv: int
    step_down_uv: int
    ceiling_uv: int
    stretch: float
    settled: tuple[float, ...]


class Readout:
    """TIAs and ADCs of one array: zero, gain, offset, INL, saturation, word format.

    Columns are in FIFO order throughout: index 16·FIFO + word.
    """

    def __init__(self, model: ConverterParameters, seed: int, array: int) -> None:
        self._model = model
        offsets = column_offsets(model, seed, array)
        self.offset_lsb: Floats = np.ascontiguousarray(offsets[np.argsort(column_order(array))])
        self._zeros_at: References | None = None
        self._zeros_lsb = self.offset_lsb
        self._ceiling_lsb = 0.0
        self._tables = self._transfer_tables(seed, array)
        self._base = np.repeat(np.arange(FIFOS_PER_ARRAY), FIFO_DEPTH) * self._tables.shape[1]

    def _transfer_tables(self, seed: int, array: int) -> NDArray[np.uint16]:
        top = self._model.adc_codes - 1
        position = np.arange(top * _STEPS + _STEPS + 1) / _STEPS
        tables = []
        for deviation in adc_deviations(self._model, seed, array, position):
            code = _flattened(self._model, position + deviation)
            tables.append(np.clip(np.rint(code), 0, top).astype(np.uint16))
            tables[-1][0], tables[-1][-1] = 0, top  # an input beyond either end says so, whatever the INL
        return np.stack(tables)

    def stick(self, fifo: int, code: int) -> None:
        """Make one ADC (0-3) answer the same code for ever."""
        self._tables[fifo] = code

    def lsb_per(self, gain: int, volts_unit: float) -> float:
        """Return LSB per current unit; `volts_unit` is that unit in amperes."""
        ohms = self._model.gain_ohms[gain]
        return ohms * (self._model.adc_codes - 1) * volts_unit / (self._model.span_uv / 1e6)

    def _window_lsb(self, microvolts: int, high_uv: int) -> float:
        """Return where a voltage lies, LSB above the floor of the conversion window.

        Moving VREF_HI_CMP from 4.0 V shifts the window by as much.
        """
        ceiling = self._model.floor_uv + self._model.span_uv
        shifted = (microvolts - self._model.floor_uv) + (high_uv - ceiling)
        return shifted * (self._model.adc_codes - 1) / self._model.span_uv

    def words(
        self,
        signal: Signal,
        gain: int,
        references: References,
        places: NDArray[np.intp] | None = None,
        *,
        automatic: bool = False,
    ) -> NDArray[np.uint16]:
        """Convert currents to 13-bit words, gain index << 10 | code.

        Automatic gain starts at `gain`, or with `AUTO_GAIN` at the highest, and steps down while
        the TIA is above VAGC_1, noise included unless the signal's steady current decides.
        Without `places` the last axis is all 64 columns in FIFO order.
        """
        base = self._zeros(references)
        if places is not None:
            base = base[places]
        if gain != AUTO_GAIN and not automatic:
            code = self._codes(self._position(signal, gain, base, references), references, places)
            code |= np.uint16(gain << GAIN_SHIFT)
            return code
        top = len(self._model.gain_ohms) - 1 if gain == AUTO_GAIN else gain
        if signal.steady is None:
            position, gains = self._stepped_down(signal, top, base, references)
        else:
            decides = signal._replace(current=signal.steady, variance=None, normal=np.zeros(()))
            position, gains = self._stepped_down(decides, top, base, references)
            for found in np.unique(gains):
                actual = self._position(signal, int(found), base, references)
                position = np.where(gains == found, actual, position)
        return self._codes(position, references, places) | (gains << np.uint16(GAIN_SHIFT))

    def _stepped_down(
        self, signal: Signal, top: int, base: Floats, references: References
    ) -> tuple[Floats, NDArray[np.uint16]]:
        """Where a signal lies at the gain that is found from `top` down, and that gain."""
        limit = self._window_lsb(references.step_down_uv, references.high_uv)
        position = self._position(signal, top, base, references)
        gains = np.full(position.shape, top, dtype=np.uint16)
        for lower in range(top - 1, -1, -1):
            above = position > limit
            if not above.any():
                break
            position = np.where(above, self._position(signal, lower, base, references), position)
            gains[above] = lower
        return position, gains

    def test_words(
        self, fifo: int, microvolts: int, normal: Floats, references: References
    ) -> NDArray[np.uint16]:
        """Convert the test input with one ADC (0-3), once for each standard normal; gain index 0."""
        position = self._window_lsb(microvolts, references.high_uv) + normal * self._model.noise_lsb
        places = np.full(normal.shape, fifo * FIFO_DEPTH, dtype=np.intp)
        return self._codes(position, references, places)

    def _zeros(self, references: References) -> Floats:
        """Where each column lies without current, LSB above the floor; worked out anew when rails move."""
        if self._zeros_at is not references:
            zero = self._window_lsb(references.tia_uv, references.high_uv) + self._model.zero_codes
            self._zeros_at, self._zeros_lsb = references, self.offset_lsb + zero
            self._ceiling_lsb = self._window_lsb(references.ceiling_uv, references.high_uv)
        return self._zeros_lsb

    def _position(self, signal: Signal, gain: int, base: Floats, references: References) -> Floats:
        """Where a signal lies at one gain, LSB above the floor, noise included."""
        scale = self.lsb_per(gain, signal.unit) * references.settled[gain]
        noise = self._model.noise_lsb
        position = signal.current * scale
        if signal.variance is None:
            position += signal.normal * noise
        else:
            spread = signal.variance * (scale * scale)
            spread += noise * noise
            np.sqrt(spread, out=spread)
            spread *= signal.normal
            position += spread
        position += base
        if self._ceiling_lsb < self._model.adc_codes:
            np.minimum(position, self._ceiling_lsb, out=position)
        return position

    def _codes(
        self, position: Floats, references: References, places: NDArray[np.intp] | None
    ) -> NDArray[np.uint16]:
        """Convert positions (..., columns) to codes; `position` is overwritten."""
        position *= _STEPS * references.stretch
        np.rint(position, out=position)
        np.maximum(position, 0.0, out=position)
        np.minimum(position, self._tables.shape[1] - 1.0, out=position)
        index = position.astype(np.intp)
        index += self._base if places is None else self._base[places]
        return self._tables.take(index)
