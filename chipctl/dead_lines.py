"""Rows, columns, amplifiers and converters that are dead, as products alone show them: nothing is pulsed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip
from chipctl.converters import ADCS_PER_ARRAY, adc_of_columns
from chipctl.fault_map import DeadLine, Flags, LineKind
from firmware_protocol.messages import Multiply

LOWEST_SIEMENS = 17e-9
"""Lowest conductance that a device was read at (Mao et al. 2022)."""

_READS = 16
_PART = 0.25
"""Part of the lowest conductance, on average over a line, below which the line carries nothing."""


@dataclass(frozen=True)
class SilentLines:
    """Lines of one array that carry no current, and columns that can't be read."""

    rows: Flags
    """No device of the row carries a current, shape (rows,). So do devices that are all stuck off."""
    cols: tuple[DeadLine, ...]
    """Dead columns, amplifiers and converters."""

    def unreadable(self, shape: tuple[int, int]) -> Flags:
        """Devices on `cols`, shape (rows, cols): no read tells what a pulse did to them."""
        out = np.zeros(shape, np.bool_)
        for line in self.cols:
            out |= line.devices(*shape)
        return out


def find_silent_lines(chip: Chip, array: int) -> SilentLines:
    """Look at an array with no row driven, all rows driven, and each row alone, at the most sensitive gain.

    Raises:
        ValueError: No such array.
    """
    chip.columns(array)  # refuses an array that is none
    inputs = np.concatenate([np.zeros((1, chip.rows)), np.ones((1, chip.rows)), np.eye(chip.rows)])
    gain = int(np.argmax(chip.readout.gain_ohms))
    request = Multiply(array, gain, gain, _READS, 1, 0, 0, chip.cols, 0, 0)
    sums, *_ = chip.board.multiply(request, inputs.astype(np.int64))
    idle, every, single = sums[0], sums[1], sums[2:]
    railed = idle >= chip.readout.full_scale * _READS
    least = _PART * LOWEST_SIEMENS / chip.readout.lsb_siemens(gain) * _READS
    silent = ~railed & (every - idle < chip.rows * least)
    alive = ~(railed | silent)
    rows = np.zeros(chip.rows, np.bool_)
    if alive.any():
        rows = (single - idle)[:, alive].mean(axis=1) < least
    return SilentLines(rows, (*_single(LineKind.AMPLIFIER, railed), *_causes(silent, idle)))


def _single(kind: LineKind, flags: Flags) -> list[DeadLine]:
    return [DeadLine(kind=kind, lines=(int(line),)) for line in np.flatnonzero(flags)]


def _causes(silent: Flags, idle: NDArray[np.int64]) -> list[DeadLine]:
    """A converter where all columns of one are silent at the very same code, else a column each."""
    adc, found, rest = adc_of_columns(silent.size), [], silent.copy()
    for index in range(ADCS_PER_ARRAY):
        mine = adc == index
        if silent[mine].all() and np.ptp(idle[mine]) == 0:
            columns = tuple(int(col) for col in np.flatnonzero(mine))
            found.append(DeadLine(kind=LineKind.CONVERTER, lines=columns))
            rest[mine] = False
    return found + _single(LineKind.COL, rest)


def dead_rows(silent: Flags, respond: Flags) -> list[DeadLine]:
    """Rows (rows,) that were silent before the pulses, and of whose devices (rows, cols) none responds."""
    return _single(LineKind.ROW, silent & ~respond.any(axis=1))
