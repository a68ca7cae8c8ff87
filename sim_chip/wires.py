"""Line resistance: from cell conductances to the array's 64×64 transconductance.

Cells are linear and unselected rows sit at the reference, so the array is one linear network:
one solve per programming event gives the current of every column per volt on every row.

The rows' wires are folded up column by column. With F_j the admittance matrix (times the
segment resistance) that the rows see at column j and beyond, and M_j that of column j alone,

    F_j = M_j + F_{j+1} (1 + F_{j+1})^-1,      r_{j+1} = (1 + F_{j+1})^-1 r_j,

which subtracts nothing of equal size and so stays accurate for very small and very large cells.
An inverse costs ten products, so it is put off for a few columns: with row voltages r and the
currents i along the rows both per voltage at the last of them,

    r_j = r_{j+1} + i_{j+1},      i_j = i_{j+1} + M_j r_j,      F_j = i_j r_j^-1.

A column alone is a ladder whose impedance matrix has a closed recursion.

`solve` uses LAPACK and differs in the last bits between machines; `solve_in_order` does the same
sums in one fixed order, slower. `Transconductance` rounds to integers, and takes the second
wherever the first lies too near to a rounding boundary to be sure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SMALLEST_SEGMENT = 1e-12  # Ω, stands for a wire without resistance
_COLUMNS = 8  # between two inverses; each more makes the matrix to invert less even
_ERROR = 5e-13  # bound on the relative error of `solve`; tests measure below 1e-13


@dataclass(frozen=True)
class Lines:
    """Resistances outside the cells, Ω: one wire segment, row driver, TIA input."""

    segment: float
    driver: float
    tia: float

    @property
    def source(self) -> float:
        """Driver and first segment of a row, in segments."""
        return (self.driver + self._unit) / self._unit

    @property
    def sink(self) -> float:
        """Last segment of a column and TIA, in segments."""
        return (self.tia + self._unit) / self._unit

    @property
    def _unit(self) -> float:
        return max(self.segment, _SMALLEST_SEGMENT)

    def scaled(self, cells: Floats) -> Floats:
        """Cell conductances (S) times the segment resistance."""
        return cells * self._unit

    @property
    def sink_siemens(self) -> float:
        """Conductance from the last cell of a column to the virtual ground, S."""
        return 1.0 / (self.tia + self._unit)


@dataclass(frozen=True)
class Solution:
    """Result of a solve: column current per row volt, and cell voltages.

    transconductance: (rows, cols) S. all_on: (rows, cols), the voltage across each cell with all
    rows at 1 V.
    """

    transconductance: Floats
    all_on: Floats


Matrix = Floats
Invert = Callable[[Matrix], Matrix]
Multiply = Callable[[Matrix, Matrix], Matrix]


def _ladder(cells: Floats, sink: float) -> tuple[Floats, Floats]:
    """Admittance of each column's ladder at its nodes: own cell and above, and below.

    cells (rows, cols) in segments; both results (rows, cols).
    """
    rows = cells.shape[0]
    above = np.empty_like(cells)
    below = np.empty_like(cells)
    above[0] = cells[0]
    for k in range(1, rows):
        above[k] = cells[k] + above[k - 1] / (1.0 + above[k - 1])
    below[rows - 1] = 1.0 / sink
    for k in range(rows - 2, -1, -1):
        load = cells[k + 1] + below[k + 1]
        below[k] = load / (1.0 + load)
    return above, below


def _column_impedances(cells: Floats, sink: float) -> Floats:
    """Impedance matrices of all column ladders, shape (cols, rows, rows), in segments."""
    rows, cols = cells.shape
    above, below = _ladder(cells, sink)
    downward = (1.0 / (1.0 + cells + below)).T
    own = (1.0 / (above + below)).T
    impedance = np.zeros((cols, rows, rows))
    impedance[:, 0, 0] = own[:, 0]
    for k in range(1, rows):
        across = impedance[:, k - 1, :k] * downward[:, k, None]
        impedance[:, k, :k] = across
        impedance[:, :k, k] = across
        impedance[:, k, k] = own[:, k]
    return impedance


def _fold(cells_siemens: Floats, lines: Lines, invert: Invert, multiply: Multiply) -> Solution:
    """Fold the rows up from the far end, some columns at a time."""
    rows, cols = cells_siemens.shape
    cells = lines.scaled(cells_siemens)
    impedance = _column_impedances(cells, lines.sink)
    columns = cells.T
    readout = impedance[:, rows - 1, :] * columns * lines.sink_siemens
    admittance = impedance * columns[:, :, None]
    admittance *= -columns[:, None, :]
    diagonal = np.arange(rows)
    admittance[:, diagonal, diagonal] += columns
    blocks = [(max(0, end - _COLUMNS), end) for end in range(cols, 0, -_COLUMNS)]
    volts = np.empty((cols, rows, rows))
    entries = []
    pending = np.empty((0, rows))
    beyond = np.zeros((rows, rows))
    for first, end in blocks:
        volts[end - 1], amps = np.eye(rows), admittance[end - 1] + beyond
        for j in range(end - 2, first - 1, -1):
            np.add(volts[j + 1], amps, out=volts[j])
            amps += multiply(admittance[j], volts[j])
        entry = invert(volts[first] + amps * (lines.source if first == 0 else 1.0))
        seen = [multiply(readout[j : j + 1], volts[j]) for j in range(end - 1, first - 1, -1)]
        pending = multiply(np.concatenate((pending, *seen)), entry)
        beyond = multiply(amps, entry)
        entries.append(entry)
    row_volts = np.empty((cols, rows))
    reached = np.ones((rows, 1))
    for (first, end), entry in zip(reversed(blocks), reversed(entries), strict=True):
        reached = multiply(entry, reached)
        for j in range(first, end):
            row_volts[j] = multiply(volts[j], reached)[:, 0]
    injected = columns * row_volts
    column_volts = np.stack([multiply(impedance[j], injected[j][:, None])[:, 0] for j in range(cols)])
    return Solution(np.ascontiguousarray(pending[::-1].T), np.ascontiguousarray((row_volts - column_volts).T))


def solve(cells: Floats, lines: Lines) -> Solution:
    """Solve the network of cells (rows, cols) in S; relative error some 1e-14."""
    return _fold(cells, lines, lambda f: np.asarray(np.linalg.inv(f), dtype=np.float64), np.matmul)


def _multiply_in_order(left: Matrix, right: Matrix) -> Matrix:
    total = left[:, :1] * right[:1]
    for k in range(1, left.shape[1]):
        total += left[:, k : k + 1] * right[k : k + 1]
    return total


def _invert_in_order(matrix: Matrix) -> Matrix:
    """Gauss-Jordan elimination without pivoting (currents only add to the voltages: no pivot is small)."""
    rows = matrix.shape[0]
    system = np.concatenate((matrix, np.eye(rows)), axis=1)
    for k in range(rows):
        system[k] /= system[k, k].copy()
        factors = system[:, k].copy()
        factors[k] = 0.0
        system[:, k:] -= factors[:, None] * system[k, k:]
    return np.ascontiguousarray(system[:, rows:])


def solve_in_order(cells: Floats, lines: Lines) -> Solution:
    """As `solve`, in one fixed order of elementwise operations: the same bits everywhere."""
    return _fold(cells, lines, _invert_in_order, _multiply_in_order)


def round_sure(fast: Floats, slow: Callable[[], Floats], unit: float) -> NDArray[np.int64]:
    """Round fast/unit to integers; values too near to a boundary are taken from `slow()`.

    As both values are within the error bound of the truth and the margin is wider than both
    errors, the result is that of `slow` alone, whichever machine computed `fast`.
    """
    scaled = fast / unit
    rounded = np.rint(scaled)
    distance = 0.5 - np.abs(scaled - rounded)
    unsure = distance < np.abs(scaled) * _ERROR + 1e-9
    if unsure.any():
        rounded = np.where(unsure, np.rint(slow() / unit), rounded)
    return rounded.astype(np.int64)


@dataclass(frozen=True)
class IntegerSolution:
    """A solution in integers: transconductance in `unit` siemens, cell voltages in 2**-10."""

    transconductance: NDArray[np.int64]
    all_on: NDArray[np.int64]


def solve_integers(cells: Floats, lines: Lines, unit: float) -> IntegerSolution:
    """Solve and round, with the same integers on every machine."""
    fast = solve(cells, lines)
    slow: list[Solution] = []

    def exact() -> Solution:
        if not slow:
            slow.append(solve_in_order(cells, lines))
        return slow[0]

    return IntegerSolution(
        round_sure(fast.transconductance, lambda: exact().transconductance, unit),
        round_sure(fast.all_on, lambda: exact().all_on, 2.0**-10),
    )


def _ladder_voltages(loads: Floats, source: float) -> Floats:
    """Node voltages of ladders driven with 1 V at index 0 through `source` segments.

    loads (nodes, ladders) in segments, result the same shape.
    """
    nodes = loads.shape[0]
    onward = np.empty_like(loads)
    onward[nodes - 1] = loads[nodes - 1]
    for k in range(nodes - 2, -1, -1):
        onward[k] = loads[k] + onward[k + 1] / (1.0 + onward[k + 1])
    volts = np.empty_like(loads)
    volts[0] = 1.0 / (1.0 + source * onward[0])
    for k in range(1, nodes):
        volts[k] = volts[k - 1] / (1.0 + onward[k])
    return volts


def _own_voltages(cells: Floats, source: float, sink: float) -> Floats:
    """Voltage across each cell with its line alone at 1 V and all crossing lines at 0 V.

    cells (line position, crossing line) in segments; crossing lines end at the last position of
    axis 0 of their own ladder through `sink`. Neighbouring lines are taken to stay at 0 V.
    """
    above, below = _ladder(cells, sink)
    rest = (above - cells) + below
    loads = cells / (1.0 + cells / rest)
    volts = _ladder_voltages(np.ascontiguousarray(loads.T), source).T
    return np.asarray(volts / (1.0 + cells / rest))


def own_row_voltages(cells_siemens: Floats, lines: Lines) -> Floats:
    """Voltage (rows, cols) across each cell per volt on its row, other rows at the reference.

    Elementwise in a fixed order; neglects that other rows are lifted a little.
    """
    return _own_voltages(lines.scaled(cells_siemens), lines.source, lines.sink)


def own_column_voltages(cells_siemens: Floats, lines: Lines) -> Floats:
    """Adjoint of `own_row_voltages`: voltage across each cell per volt at its column's TIA.

    The sensitivity of column current to a cell is the product of both cell voltages.
    """
    turned = np.ascontiguousarray(lines.scaled(cells_siemens)[::-1, ::-1].T)
    volts = _own_voltages(turned, lines.sink, lines.source)
    return np.ascontiguousarray(volts.T[::-1, ::-1])
