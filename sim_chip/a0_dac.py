"""The A0 board's DAC: 16 channels of 16 bits behind words of 32, and what of them reaches the chip.

All outputs lie 78 mV above what their code says. Besides, the two references of a read, PLANE_VPP and
VREF_TIA, lie 20 mV higher: with the zero of the chip's own converters that makes the 75 mV by which this
board reads a current of zero above its reference, and it leaves the read voltage as it is. Both are
whole steps of the ±10 V span, 256 and 66, so a pulse's code and its place on a native board's rail match.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_protocol.a0_words import DAC_TOP, SPAN, SPANS, Operation
from firmware_protocol.rails import Rail
from sim_chip.chip import VirtualChip
from sim_chip.converters import dac_code

OFFSET_CODES: Final = 256
REFERENCE_CODES: Final = 66
_READ_REFERENCES: Final = (Rail.PLANE_VPP, Rail.VREF_TIA)
_CODE = 0xFFFF


class BoardDac:
    """Drives the rails of one chip; starts with the smallest span and all outputs at its 0 V."""

    def __init__(self, chip: VirtualChip) -> None:
        self._chip = chip
        self.spans = [0] * len(Rail)
        self._held = [0] * len(Rail)
        self._codes = [0] * len(Rail)
        self.clear()

    def obey(self, word: int) -> bool:
        """Do what a word asks; False where this DAC knows no such operation or span."""
        operation, channel, code = word >> 20 & 0xF, word >> 16 & 0xF, word & _CODE
        if operation in (Operation.SPAN, Operation.SPAN_ALL):
            return self._set_span(range(16) if operation == Operation.SPAN_ALL else [channel], code & 0x7)
        if operation in (Operation.WRITE, Operation.WRITE_AND_UPDATE):
            self._held[channel] = code
        if operation in (Operation.UPDATE, Operation.WRITE_AND_UPDATE):
            self._update(channel)
        elif operation == Operation.UPDATE_ALL:
            for each in range(len(Rail)):
                self._update(each)
        elif operation != Operation.WRITE:
            return False
        return True

    def put_out(self, channel: int, code: int) -> None:
        """Write and update one channel."""
        self._held[channel] = code
        self._update(channel)

    def clear(self) -> None:
        """Take every output to 0 V."""
        for channel in range(len(Rail)):
            low, high = SPANS[self.spans[channel]]
            self.put_out(channel, int(-low / (high - low) * DAC_TOP))

    def volts(self, channel: int) -> float:
        """What a channel puts out nominally."""
        low, high = SPANS[self.spans[channel]]
        return low + (high - low) * self._codes[channel] / DAC_TOP

    def code(self, channel: int) -> int:
        """The code of a channel's output."""
        return self._codes[channel]

    def rail_codes(self, channel: int, codes: ArrayLike) -> NDArray[np.int64]:
        """The chip's own code of ±10 V for what codes of a channel put on its rail, offsets included."""
        given = np.asarray(codes, dtype=np.int64)
        if self.spans[channel] != SPAN:
            low, high = SPANS[self.spans[channel]]
            volts = low + (high - low) * given / DAC_TOP
            given = np.array([dac_code(float(each)) for each in volts.ravel()]).reshape(given.shape)
        offset = OFFSET_CODES + (REFERENCE_CODES if channel in _READ_REFERENCES else 0)
        return np.minimum(given + offset, DAC_TOP)

    def _set_span(self, channels: range | list[int], span: int) -> bool:
        if span >= len(SPANS):
            return False
        for channel in channels:
            self.spans[channel] = span
            self._update(channel)
        return True

    def _update(self, channel: int) -> None:
        self._codes[channel] = self._held[channel]
        self._chip.set_rail(channel, int(self.rail_codes(channel, self._codes[channel])))
