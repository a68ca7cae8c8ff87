"""What one array does to a vector: integer maps from row bits to column currents and noise.

Currents: one integer matrix, 100 pS per unit. Every partial sum stays far below 2**53, so the
float64 matrix product is exact in any order on any machine.

Noise: independent fluctuation of every cell makes a Gaussian column current. Its variance is the
sum over driven cells of (sigma · cell voltage · adjoint cell voltage)². A cell's voltage falls as
more rows are on: it is taken as alone + q (all_on - alone), where q is the fraction of the other
rows on, each weighted with its current into the column and the resistance it shares there. So the
variance is a polynomial in q, and q and its three coefficients are again integer products.
Against the exact first-order law the column sigma is right to 1.2 % at worst for random, sparse
and one-sided inputs; with strongly unequal devices, where single cells dominate, to 1 % in the
median and 4 % in 99 of 100 cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim_chip import wires
from sim_chip.device import UNITS_PER_US
from sim_chip.parameters import WireParameters

Floats = NDArray[np.float64]

SIEMENS_PER_UNIT = 1e-11
MAP_SIEMENS = 1e-10
SIGMA_SIEMENS = 1e-10
_ALL_ON_STEPS = 1024


@dataclass(frozen=True)
class WireSolution:
    """Integers of a solved array, (rows, cols): currents in 100 pS, all-on voltages in 2**-10."""

    transconductance: NDArray[np.int32]
    all_on: NDArray[np.int16]


@dataclass(frozen=True)
class VarianceMap:
    """Integer-valued float64 matrices (rows, cols) for the variance of column currents.

    constant, linear, square: coefficients in the fraction q of rows on, 1e-20 S². weight: of each
    row in q, which is `row_bits @ weight * scale - own`, scale (cols,) and own taking out the
    cell's own row. Without wires only `constant` counts and the rest is None.
    """

    constant: Floats
    loaded: tuple[Floats, Floats, Floats, Floats] | None = None

    def of(self, bits: Floats) -> Floats:
        """Return the variance (vectors, cols) in 1e-20 S² for row bits (vectors, rows)."""
        variance: Floats = bits @ self.constant
        if self.loaded is None:
            return variance
        linear, square, weight, scale = self.loaded
        fraction = bits @ weight
        fraction *= scale
        fraction -= 1.0 / (bits.shape[1] - 1)
        change = bits @ square
        change *= fraction
        change += bits @ linear
        change *= fraction
        variance += change
        return np.maximum(variance, 0.0, out=variance)


@dataclass(frozen=True)
class ProductMap:
    """Integer-valued float64 matrices (rows, cols), columns in FIFO order.

    currents in 100 pS per unit, total (rows,) their sum; variance None without fluctuation.
    """

    currents: Floats
    total: Floats
    variance: VarianceMap | None


def lines(model: WireParameters) -> wires.Lines:
    """Return the resistances around the cells."""
    return wires.Lines(model.segment_ohms, model.driver_ohms, model.tia_ohms)


def cell_siemens(units: NDArray[np.int32], transistor_ohms: float) -> Floats:
    """Return conductances (S) of memristors (units of 10 pS) with their access transistors."""
    siemens = units * SIEMENS_PER_UNIT
    if transistor_ohms == float("inf"):
        return np.zeros_like(siemens)
    return np.asarray(siemens / (1.0 + siemens * transistor_ohms))


def solved(model: WireParameters, cells: Floats) -> WireSolution:
    """Solve the wires of one array; without wires a cell is its own transconductance."""
    if not model.on:
        whole = np.full(cells.shape, _ALL_ON_STEPS, dtype=np.int16)
        return WireSolution(np.rint(cells / MAP_SIEMENS).astype(np.int32), whole)
    solution = wires.solve_integers(cells, lines(model), MAP_SIEMENS)
    return WireSolution(solution.transconductance.astype(np.int32), solution.all_on.astype(np.int16))


def _variance(
    model: WireParameters, cells: Floats, solution: WireSolution, sigma_siemens: Floats
) -> VarianceMap:
    """Coefficients of the variance, columns in order."""
    weight = sigma_siemens / SIGMA_SIEMENS
    if not model.on:
        return VarianceMap(np.rint(weight * weight))
    adjoint = wires.own_column_voltages(cells, lines(model))
    own = wires.own_row_voltages(cells, lines(model))
    weight = weight * adjoint
    alone = weight * own
    change = weight * (solution.all_on / _ALL_ON_STEPS) - alone
    constant, linear, square = (
        np.rint(part) for part in (alone * alone, 2.0 * (alone * change), change * change)
    )
    row_weight = solution.transconductance * _shared_milliohms(model, cells.shape[0])[:, None]
    total = np.maximum(row_weight.sum(axis=0), 1)
    rows = cells.shape[0]
    scale = (rows / (rows - 1)) / total
    return VarianceMap(constant, (linear, square, row_weight.astype(np.float64), scale))


def _shared_milliohms(model: WireParameters, rows: int) -> NDArray[np.int64]:
    """Resistance (rows,) that a row's current shares with others in a column, on average."""
    place = np.arange(rows)
    segments = (rows - np.maximum(place[:, None], place)).sum(axis=1)
    ohms = model.tia_ohms + (model.segment_ohms / rows) * segments
    milliohms: NDArray[np.int64] = np.rint(ohms * 1000.0).astype(np.int64)
    return milliohms + 1


def product_map(
    model: WireParameters,
    cells: Floats,
    solution: WireSolution,
    sigma_us: Floats | None,
    order: NDArray[np.intp],
) -> ProductMap:
    """Arrange a solved array for products.

    cells (rows, cols) S; sigma_us (rows, cols) the fluctuation of the memristor behind its
    transistor, as seen at the cell; order: columns in FIFO order.
    """
    currents = solution.transconductance[:, order].astype(np.float64)
    total = currents.sum(axis=1)
    if sigma_us is None:
        return ProductMap(currents, total, None)
    sigma = sigma_us * (UNITS_PER_US * SIEMENS_PER_UNIT)
    variance = _variance(model, cells, solution, sigma)
    loaded = variance.loaded
    if loaded is not None:
        linear, square, weight, scale = (np.ascontiguousarray(part[..., order]) for part in loaded)
        loaded = (linear, square, weight, scale)
    ordered = VarianceMap(np.ascontiguousarray(variance.constant[:, order]), loaded)
    return ProductMap(currents, total, ordered)
