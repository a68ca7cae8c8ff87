"""Analog products: vectors of row voltages as integers for the board, sums of codes as currents."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.board import Board
from chipctl.converters import Readout
from chipctl.errors import SaturationError
from firmware_protocol.messages import Multiply

Amps = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """How a product is measured."""

    gain: int
    """TIA gain index to begin with."""
    least_gain: int = 0
    """The board lowers the gain to this one while a column saturates; `gain` itself to stay."""
    input_bits: int = 1
    """Bits of magnitude per input; 1 suits states of -1, 0 and 1."""
    reads: int = 1
    """Products averaged."""
    balanced: bool = False
    """Drive the negative phase even where no voltage is negative, so that the columns' own zeros cancel."""

    @property
    def levels(self) -> int:
        """Largest magnitude of an input."""
        return int(2**self.input_bits - 1)


@dataclass(frozen=True)
class Product:
    """Column currents of some vectors."""

    amps: Amps
    """Shape (cols,) or (vectors, cols), positive into the TIA."""
    gain: int
    """TIA gain index at which no column saturated any more."""


def product(
    board: Board, readout: Readout, array: int, row_volts: ArrayLike, measure: Measure, zero: ArrayLike
) -> Product:
    """Multiply vectors, shape (rows,) or (vectors, rows), by an array; `zero`: code of no current per column.

    Raises:
        ValueError: A voltage, gain or number of bits is none that the chip has; nothing was sent.
        SaturationError: A column was at the end of the ADC's range in some product, at the lowest gain.
    """
    inputs = _inputs(np.atleast_2d(np.asarray(row_volts, np.float64)), board.info.rows, readout, measure)
    if not 0 <= measure.least_gain <= measure.gain:
        raise ValueError(f"gain is lowered from {measure.gain} to {measure.least_gain}: not that way round")
    readout.lsb_amps(measure.gain)
    signed = measure.balanced or bool((inputs < 0).any())
    request = Multiply(
        array,
        measure.gain,
        measure.least_gain,
        measure.reads,
        measure.input_bits,
        signed,
        0,
        board.info.cols,
        0,
        0,
    )
    sums, clipped, gains = board.multiply(request, inputs)
    gain = int(gains[-1])
    if clipped.any():
        columns = np.flatnonzero(clipped.any(axis=0)).tolist()
        raise SaturationError(
            f"array {array}: columns {columns} at the end of the ADC's range at gain {gain}"
        )
    weight = measure.reads * measure.levels
    lsb = np.array([readout.lsb_amps(index) for index in range(len(readout.gain_ohms))])
    offset = 0.0 if signed else np.asarray(zero) * weight
    amps = (sums - offset) * lsb[gains][:, None] / weight
    return Product(np.asarray(amps.reshape(*np.shape(row_volts)[:-1], board.info.cols)), gain)


def _inputs(volts: NDArray[np.float64], rows: int, readout: Readout, measure: Measure) -> NDArray[np.int64]:
    """Row voltages in steps of the read voltage over the largest input."""
    if volts.ndim != 2 or volts.shape[1] != rows:
        raise ValueError(f"vectors of {rows} row voltages wanted, shape {volts.shape} given")
    scaled = volts / readout.read_volts * measure.levels
    if not np.all(np.abs(scaled) <= measure.levels * (1 + 1e-6)):
        raise ValueError(f"row voltages must lie within ±{readout.read_volts:g} V")
    return np.rint(scaled).astype(np.int64)
