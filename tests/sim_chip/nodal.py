"""An independent nodal solve of a crossbar with line resistance, for comparison."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim_chip.wires import Lines

Floats = NDArray[np.float64]


def branches(
    cells: Floats, lines: Lines, floating: frozenset[int] = frozenset()
) -> tuple[list[tuple[int, int, float]], Floats]:
    """Conductances between nodes (row nodes first, -1 is ground) and injection per row volt.

    A floating row has no driver.
    """
    rows, cols = cells.shape

    def row_node(i: int, j: int) -> int:
        return i * cols + j

    def col_node(i: int, j: int) -> int:
        return rows * cols + i * cols + j

    wire = 1.0 / lines.segment
    found = []
    injected = np.zeros((2 * rows * cols, rows))
    for i in range(rows):
        if i not in floating:
            source = 1.0 / (lines.segment + lines.driver)
            found.append((row_node(i, 0), -1, source))
            injected[row_node(i, 0), i] = source
        for j in range(cols):
            found.append((row_node(i, j), col_node(i, j), float(cells[i, j])))
            if j:
                found.append((row_node(i, j - 1), row_node(i, j), wire))
            if i:
                found.append((col_node(i - 1, j), col_node(i, j), wire))
    for j in range(cols):
        found.append((col_node(rows - 1, j), -1, 1.0 / (lines.segment + lines.tia)))
    return found, injected


def voltages(cells: Floats, lines: Lines, floating: frozenset[int] = frozenset()) -> Floats:
    """Node voltages (nodes, driven row) with one row at 1 V each."""
    found, injected = branches(cells, lines, floating)
    nodes = len(injected)
    entries: dict[tuple[int, int], float] = {}
    for a, b, siemens in found:
        for x, y in ((a, b), (b, a)):
            if x >= 0:
                entries[x, x] = entries.get((x, x), 0.0) + siemens
                if y >= 0:
                    entries[x, y] = entries.get((x, y), 0.0) - siemens
    index = np.array(list(entries))
    values = np.array(list(entries.values()))
    if nodes <= 1000:
        matrix = np.zeros((nodes, nodes))
        matrix[index[:, 0], index[:, 1]] = values
        return np.linalg.solve(matrix, injected)
    import scipy.sparse
    import scipy.sparse.linalg

    sparse = scipy.sparse.csc_matrix((values, index.T), shape=(nodes, nodes))
    return np.asarray(scipy.sparse.linalg.splu(sparse).solve(injected))


def solution(cells: Floats, lines: Lines) -> tuple[Floats, Floats]:
    """Column currents (rows, cols) and cell voltages (rows, cols, driven row) per row volt."""
    rows, cols = cells.shape
    volts = voltages(cells, lines)
    currents = volts[-cols:].T / (lines.segment + lines.tia)
    across = (volts[: rows * cols] - volts[rows * cols :]).reshape(rows, cols, rows)
    return currents, across


def read_alone(cells: Floats, lines: Lines, row: int, col: int) -> float:
    """Column current per volt with every other row floating and every other column's gates off."""
    gated = np.zeros_like(cells)
    gated[:, col] = cells[:, col]
    floating = frozenset(range(len(cells))) - {row}
    volts = voltages(gated, lines, floating)[:, row]
    return float(volts[-cells.shape[1] :][col] / (lines.segment + lines.tia))
