"""Analog products: vectors of row voltages as integers for the board, sums of codes as currents."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.board import Board
from chipctl.converters import Columns, Readout
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
    cols: tuple[int, int] | None = None
    """First column and number of columns that are sampled; the others cost no conversion. All where None."""

    @property
    def levels(self) -> int:
        """Largest magnitude of an input."""
        return int(2**self.input_bits - 1)


@dataclass(frozen=True)
class Product:
    """Column currents of some vectors."""

    amps: Amps
    """Shape (cols,) or (vectors, cols), positive into the TIA; the columns asked for alone."""
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
    signed = measure.balanced or bool((inputs < 0).any())
    sums, gains = _summed(board, array, inputs, measure, signed=signed)
    weight = measure.reads * measure.levels
    lsb = np.array([readout.lsb_amps(index) for index in range(len(readout.gain_ohms))])
    first, count = _span(board, measure)
    offset = 0.0 if signed else np.broadcast_to(zero, board.info.cols)[first : first + count] * weight
    amps = (sums - offset) * lsb[gains][:, None] / weight
    return Product(np.asarray(amps.reshape(*np.shape(row_volts)[:-1], count)), int(gains[-1]))


def _span(board: Board, measure: Measure) -> tuple[int, int]:
    """First column and number of columns to sample; refused where the array has not got them."""
    first, count = measure.cols or (0, board.info.cols)
    if not (first >= 0 and 0 < count <= board.info.cols - first):
        raise ValueError(f"no {count} columns from {first} on: the array has {board.info.cols}")
    return first, count


def _summed(
    board: Board, array: int, inputs: NDArray[np.int64], measure: Measure, *, signed: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums of codes (vectors, cols) and gain indices (vectors,)."""
    gain, least = measure.gain, measure.least_gain
    first, count = _span(board, measure)
    if not 0 <= least <= gain < sum(1 for ohms in board.info.gain_ohms if ohms):
        raise ValueError(f"no gain index from {gain} down to {least} on this chip")
    bits = measure.input_bits
    request = Multiply(array, gain, least, measure.reads, bits, signed, first, count, 0, 0)
    sums, clipped, gains = board.multiply(request, inputs)
    if clipped.any():
        columns = (first + np.flatnonzero(clipped.any(axis=0))).tolist()
        raise SaturationError(
            f"array {array}: columns {columns} at the end of the ADC's range at gain {int(gains[-1])}"
        )
    return sums, gains


def calibrated_product(
    board: Board, columns: Columns, array: int, row_volts: ArrayLike, measure: Measure
) -> Product:
    """`product` through converters whose codes are not proportional to current.

    Sums over signs and bits can't be made good afterwards, so every sign and bit is asked for as a vector of
    its own: as many products on the chip, more bytes on the wire. Raises as `product`.
    """
    volts = np.atleast_2d(np.asarray(row_volts, np.float64))
    inputs = _inputs(volts, board.info.rows, columns.readout, measure)
    planes, weights, bits = _planes(inputs, measure, board.info.input_bits)
    unsigned = replace(measure, input_bits=bits, balanced=False)
    sums, gains = _summed(board, array, np.concatenate(planes), unsigned, signed=False)
    first, count = _span(board, measure)
    codes = sums / (unsigned.reads * unsigned.levels)
    amps = columns.amps(codes, gains[:, None], slice(first, first + count))
    total = np.tensordot(weights, amps.reshape(len(planes), len(inputs), -1), axes=1)
    return Product(total.reshape(*np.shape(row_volts)[:-1], count), int(gains[-1]))


def _planes(
    inputs: NDArray[np.int64], measure: Measure, row_bits: int
) -> tuple[list[NDArray[np.int64]], list[float], int]:
    """Unsigned inputs that the rows take at once, what each counts, and how many bits they have."""
    signs = (1, -1) if measure.balanced or bool((inputs < 0).any()) else (1,)
    parts = [np.maximum(sign * inputs, 0) for sign in signs]
    if measure.input_bits == row_bits:
        return parts, [float(sign) for sign in signs], row_bits
    bits = range(measure.input_bits)
    planes = [part >> bit & 1 for part in parts for bit in bits]
    return planes, [sign * 2**bit / measure.levels for sign in signs for bit in bits], 1


def _inputs(volts: NDArray[np.float64], rows: int, readout: Readout, measure: Measure) -> NDArray[np.int64]:
    """Row voltages in steps of the read voltage over the largest input."""
    if volts.ndim != 2 or volts.shape[1] != rows:
        raise ValueError(f"vectors of {rows} row voltages wanted, shape {volts.shape} given")
    scaled = volts / readout.read_volts * measure.levels
    if not np.all(np.abs(scaled) <= measure.levels * (1 + 1e-6)):
        raise ValueError(f"row voltages must lie within ±{readout.read_volts:g} V")
    return np.rint(scaled).astype(np.int64)
