"""What one array does to a vector: integer maps from row bits to column currents and noise.

Currents: one integer matrix, 100 pS per unit. Every partial sum stays far below 2**53, so the
float64 matrix product is exact in any order on any machine.

Noise: independent fluctuation of every cell makes a Gaussian column current. Its variance is the
sum over driven cells of (sigma · cell voltage · adjoint cell voltage)². A cell's voltage falls as
more rows are on; with a fraction p on it is taken as alone + p (all_on - alone), so the variance
is a polynomial in p whose three coefficients are again integer products (1e-20 S² per unit).
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
class ProductMap:
    """Integer-valued float64 matrices (rows, cols), columns in FIFO order.

    currents in 100 pS per unit, total (rows,) their sum; variance (constant, linear, square in
    the fraction of rows on) in 1e-20 S², or None without fluctuation.
    """

    currents: Floats
    total: Floats
    variance: tuple[Floats, Floats, Floats] | None


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
    model: WireParameters, cells: Floats, all_on: NDArray[np.int16], sigma_siemens: Floats
) -> tuple[Floats, Floats, Floats]:
    """Coefficients (rows, cols) of the variance in the fraction of rows on."""
    weight = sigma_siemens / SIGMA_SIEMENS
    if not model.on:
        nothing = np.zeros_like(weight)
        return np.rint(weight * weight), nothing, nothing
    weight = weight * wires.own_column_voltages(cells, lines(model))
    alone = weight * wires.own_row_voltages(cells, lines(model))
    change = weight * (all_on / _ALL_ON_STEPS) - alone
    return np.rint(alone * alone), np.rint(2.0 * (alone * change)), np.rint(change * change)


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
    parts = _variance(model, cells, solution.all_on, sigma)
    constant, linear, square = (np.ascontiguousarray(part[:, order]) for part in parts)
    return ProductMap(currents, total, (constant, linear, square))
