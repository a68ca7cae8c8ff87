"""Currents of a crossbar with resistive wires: what a full product gives of conductances read one by one.

Rows are driven at column 0 through the driver's resistance, columns are read past the last row at the TIA's
input; one segment lies before the first cell of a row, between neighbouring cells, and after the last cell of
a column. Rows that are off are held at the reference. The network is linear; it is solved by sweeps along
rows and columns, each cell's current following from the node voltages that the currents before it left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipctl.errors import ChipctlError

Floats = NDArray[np.float64]

_DAMPING = 0.6
_SWEEPS = 120
_SETTLED = 1e-6
"""Largest change of any cell's voltage in a sweep, of the read voltage; a hundredth of what is fitted."""


@dataclass(frozen=True)
class Lines:
    """Resistances in the current path of a read, Ω."""

    segment: float
    """Of wire from cell to cell, in rows and in columns."""
    driver: float
    """Of a row's driver."""
    tia: float
    """Of a TIA's input."""

    def in_series(self, rows: int, cols: int) -> Floats:
        """What lies in series with each cell when it is read alone, Ω, shape (rows, cols)."""
        segments = (np.arange(cols) + 1)[None, :] + (rows - np.arange(rows))[:, None]
        return np.asarray(self.driver + self.tia + self.segment * segments)


def cells_alone(read: Floats, lines: Lines) -> Floats:
    """Conductance of the cells themselves, of conductances (rows, cols) as read one by one, S."""
    return np.asarray(read / (1.0 - read * lines.in_series(*read.shape)))


def column_currents(cells: Floats, rows_on: Floats, lines: Lines) -> Floats:
    """Column currents per volt, shape (vectors, cols), with rows (vectors, rows) driven by 0 to 1.

    Raises:
        ChipctlError: The wires' resistance is so high against the cells that the sweeps do not settle.
    """
    across = rows_on[:, :, None] * np.ones((1, 1, cells.shape[1]))
    for _ in range(_SWEEPS):
        currents = cells * across
        change = _DAMPING * (rows_on[:, :, None] - _drops(currents, lines) - across)
        across = across + change
        if np.abs(change).max() < _SETTLED:
            return np.asarray((cells * across).sum(axis=1))
    raise ChipctlError(
        "the model of the wires does not settle: a fit has gone astray, or the map is too heavy"
    )


def _drops(currents: Floats, lines: Lines) -> Floats:
    """What is lost of the drive on the way to each cell and from there to the TIA, shape of `currents`."""
    through_row = np.cumsum(currents[:, :, ::-1], axis=2)[:, :, ::-1]
    through_col = np.cumsum(currents, axis=1)
    row = lines.driver * through_row[:, :, :1] + lines.segment * np.cumsum(through_row, axis=2)
    below = np.cumsum(through_col[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(row + lines.tia * through_col[:, -1:] + lines.segment * below)
