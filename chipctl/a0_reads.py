"""Reads and products of an A0 board in ADC codes, the conversion window moved only where it is needed.

The board's ADCs are fine in the middle of their range and coarse elsewhere (steps of 16 codes below 1.5 V
and above 3 V). Raising VREF_HI_CMP by some voltage raises every reading by as much, so what lies elsewhere is
read again with the window moved until it lies in the middle. The lab's client does all of it seven times;
here a window is used only for what needs it, and for few devices one by one.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chipctl import a0_facts as facts
from chipctl.a0_line import A0Line
from chipctl.a0_power import A0Power
from chipctl.board import Region
from firmware_protocol import a0
from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import LINES
from firmware_protocol.bulk import Flags, Ints
from firmware_protocol.messages import AUTO_GAIN, Multiply
from firmware_protocol.rails import Rail

FEW_CELLS: Final = 16
"""Up to so many devices are read one by one, each by a message; the whole array is one, and takes 0.25 s."""

BIN_CODES: Final = 146
"""Width of a window's middle: the whole number of codes nearest to half a volt."""
_LOWER_VOLTS: Final = 3.0
"""Where the chip's search for a gain is made to step down for devices that it left at too high a one: they
are above 4 V there, and at 1.3 V at the next lower one."""
_BINS = 7
_MIDDLE: Final = 3
"""The bin from 2.0 to 2.5 V, which needs no other window."""

_CELL_S = 100e-6
"""A device's read takes 61 µs by the lab's log of 0.25 s for an array, a vector's product 0.5 ms."""
_VECTOR_S = 2e-3


@dataclass(frozen=True)
class Words:
    """Words of the chip's FIFOs, of any shape."""

    codes: Ints
    """What the ADCs answered, less the window's shift: may be below 0 or above the ADC's top."""
    gains: Ints
    ended: Flags
    """Whether the conversion was at either end of the ADC."""

    @classmethod
    def of(cls, words: NDArray[np.uint16], shift: int = 0) -> "Words":
        """As they came."""
        codes = (words & w.CODE_MASK).astype(np.int64)
        ended = (codes == 0) | (codes == facts.ADC_TOP)
        return cls(codes - shift, (words >> w.GAIN_SHIFT).astype(np.int64), ended)

    @property
    def over(self) -> Flags:
        """Those beyond the range of a gain below which there is another."""
        return (self.codes >= facts.ADC_TOP) & (self.gains > 0)

    @property
    def bins(self) -> Ints:
        """In which half volt each lies, from 0.5 V up."""
        return np.clip(self.codes // BIN_CODES, 0, _BINS - 1)

    def replaced(self, other: "Words", where: Flags) -> "Words":
        """With those of another reading in some places."""
        mine, others = (self.codes, self.gains, self.ended), (other.codes, other.gains, other.ended)
        return Words(*(np.where(where, new, old) for new, old in zip(others, mine, strict=True)))

    def taking(self, other: "Words", where: Flags) -> "Words":
        """With those of another window in some places, as far as they were converted at the same gain.

        A first reading at the ADC's top stays one that was at an end: the TIA itself has none to spare there.
        """
        where = where & (other.gains == self.gains) & ~other.ended
        codes = np.where(where, other.codes, self.codes)
        ended = np.where(where, self.codes >= facts.ADC_TOP, self.ended)
        return Words(codes, self.gains, ended)


class A0Reader:
    """Single-device reads and vector products of one board."""

    def __init__(self, line: A0Line, power: A0Power, *, windows: bool, delay_us: int) -> None:
        self._line, self._power = line, power
        self._windows, self._delay_us = windows, delay_us
        self.sample_counts = list(w.SAMPLE_COUNTS)
        """Periods of the array's clock, less two, until the TIAs are sampled, by gain index."""
        self.reads = self.products = self.passes = 0
        """Conversions of devices, vectors driven, and passes over what was asked for, windows included."""
        self.saw: Callable[[int, int, Words], None] = lambda array, gain, words: None
        """Told of every reading of a whole array in the ADCs' own window: array, gain asked for, words."""

    # Devices

    def cells(self, array: int, gain: int, region: Region) -> Words:
        """One reading of each device of a rectangle, at a gain index or `AUTO_GAIN`.

        A device beyond the range of the gain that the chip has found for it, since it fluctuates, is read
        again at the next lower one: few of them at once, by the chip's own search with its threshold lower.
        """
        whole = np.ones(region.shape, np.bool_)
        with self._connected(array, gain):
            found = self._seen(array, gain, region, whole)
            if gain != AUTO_GAIN:
                return found
            over = found.over
            if 0 < np.count_nonzero(over) <= FEW_CELLS:
                found = found.replaced(self._seen_lower(array, region, over), over)
        while (over := found.over).any():
            lower = int(found.gains[over].max()) - 1
            chosen = over & (found.gains == lower + 1)
            with self._connected(array, lower):
                found = found.replaced(self._seen(array, lower, region, chosen), chosen)
        return found

    def look(self, array: int, gain: int) -> None:
        """Read all devices once in the ADCs' own window, for `saw` alone."""
        whole = Region(0, LINES, 0, LINES)
        with self._connected(array, gain):
            self._looked(array, gain, whole, np.ones(whole.shape, np.bool_))

    def _seen(self, array: int, gain: int, region: Region, chosen: Flags) -> Words:
        """One reading of devices of a connected array."""
        first = Words.of(self._looked(array, gain, region, chosen))
        return self._refined(first, chosen, lambda some: self._looked(array, gain, region, some))

    def _seen_lower(self, array: int, region: Region, chosen: Flags) -> Words:
        """Likewise, at the gain below the one that the chip finds by itself."""
        usual = self._power.codes[Rail.VAGC_1]
        self._power.put(Rail.VAGC_1, facts.true_code(_LOWER_VOLTS))
        try:
            return self._seen(array, AUTO_GAIN, region, chosen)
        finally:
            self._power.put(Rail.VAGC_1, usual)

    @contextlib.contextmanager
    def _connected(self, array: int, gain: int) -> Iterator[None]:
        """An array ready to have its devices read."""
        automatic = gain == AUTO_GAIN
        index = facts.AUTOMATIC_START if automatic else gain
        self._power.forget_columns()
        self._power.ready_to_read(array, index, self.sample_counts[index], automatic=automatic)
        try:
            yield
        finally:
            self._power.disconnect()

    def _looked(self, array: int, gain: int, region: Region, chosen: Flags) -> NDArray[np.uint16]:
        """Words (rows, cols) of a rectangle; 0 for those not chosen, if they were not read."""
        self.passes += 1
        automatic = int(gain == AUTO_GAIN)
        if np.count_nonzero(chosen) > FEW_CELLS:
            self.reads += LINES * LINES
            takes_s = LINES * LINES * (_CELL_S + self._delay_us * 1e-6)
            words = self._line.ask(a0.ReadCells(array, automatic, self._delay_us), takes_s)
            if self._power.codes[Rail.VREF_HI_CMP] == facts.true_code(facts.ADC_HIGH_VOLTS):
                self.saw(array, gain, Words.of(words))
            return np.asarray(words[region.slices], np.uint16)
        words = np.zeros(region.shape, np.uint16)
        for row, col in np.argwhere(chosen):
            place = int(region.row + row), int(region.col + col)
            words[row, col] = self._line.ask(a0.ReadCell(array, *place, automatic))
            self.reads += 1
        return words

    def _refined(self, first: Words, chosen: Flags, again: Callable[[Flags], NDArray[np.uint16]]) -> Words:
        """The first words, each that lies off the middle from the window that brings it there."""
        if not self._windows:
            return first
        bins, found = first.bins, first
        for number in np.unique(bins[chosen]):
            if number != _MIDDLE:
                shift = (_MIDDLE - int(number)) * BIN_CODES
                self._move_window(shift)
                where = chosen & (bins == number)
                found = found.taking(Words.of(again(where), shift), where)
        self._move_window(0)
        return found

    def _move_window(self, shift: int) -> None:
        volts = facts.ADC_HIGH_VOLTS + shift * facts.VOLTS_PER_CODE
        self._power.put(Rail.VREF_HI_CMP, facts.true_code(volts))

    # Products

    def multiply(self, request: Multiply, gain: int, bits: Flags) -> Words:
        """Words (vectors, columns) of products of binary vectors (vectors, rows) with some columns."""
        self._power.ready_to_read(request.array, gain, self.sample_counts[gain], automatic=False)
        self._power.select_columns(request.array, request.col, request.col_count)
        try:
            every = np.ones((len(bits), request.col_count), np.bool_)
            first = Words.of(self._driven(request, bits, every))
            return self._refined(first, every, lambda some: self._driven(request, bits, some))
        finally:
            self._power.disconnect()

    def _driven(self, request: Multiply, bits: Flags, chosen: Flags) -> NDArray[np.uint16]:
        """Words of vectors, 0 for those of which no column is chosen."""
        self.passes += 1
        self._power.reset_engine()
        words = np.zeros(chosen.shape, np.uint16)
        wanted = np.flatnonzero(chosen.any(axis=1))
        for start in range(0, len(wanted), a0.MAX_VECTORS):
            part = wanted[start : start + a0.MAX_VECTORS]
            command = a0.Multiply(request.array, _FLOATING, self._delay_us, w.pack_vectors(bits[part]))
            takes_s = len(part) * (_VECTOR_S + self._delay_us * 1e-6)
            found = self._line.ask(command, takes_s)[: len(part)]
            words[part] = found[:, request.col : request.col + request.col_count]
        self.products += len(wanted)
        return words


_FLOATING = 1
"""Unselected rows float and the gain is fixed, as the lab's client has it."""
