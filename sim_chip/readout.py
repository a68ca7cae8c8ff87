"""Sums of ADC codes: single devices, and signed products of many-bit vectors from one-bit row drivers."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from firmware_protocol import bulk
from firmware_protocol.messages import AUTO_GAIN, Multiply, ReadCells
from firmware_protocol.status import Status
from sim_chip.chip import VirtualChip
from sim_chip.converters import column_order
from sim_chip.guard import Refused, check_range, check_span

ADC_BITS = 10
CODE_MASK = (1 << ADC_BITS) - 1
"""Part of a FIFO word that is the code; the gain index is above it."""

MAX_INPUT_BITS = 15
"""What an i16 holds beside its sign."""

_BLOCK = 512
"""Analog products between two looks at the line."""

READS_PER_SLICE = 1 << 15
"""Single-device reads between two looks at the line."""


def rectangle(
    row: int, row_count: int, col: int, col_count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of every device of a rectangle, row by row."""
    rows, cols = np.mgrid[row : row + row_count, col : col + col_count]
    return rows.ravel(), cols.ravel()


def read_cells(chip: VirtualChip, request: ReadCells) -> Generator[int, None, bytes]:
    """The result bytes of `ReadCells`; yields the reads done so far."""
    rows, cols = rectangle(request.row, request.row_count, request.col, request.col_count)
    sums = np.zeros(rows.size, np.int64)
    gains = np.zeros(rows.size, np.int64)
    block = max(1, READS_PER_SLICE // request.reads)
    for first in range(0, rows.size, block):
        part = slice(first, first + block)
        sums[part], gains[part] = _sums(chip, request, rows[part], cols[part])
        yield min(first + block, rows.size) * request.reads
    return bulk.pack_cells(request, sums, gains)


def _sums(
    chip: VirtualChip, request: ReadCells, rows: NDArray[np.intp], cols: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sum of codes and gain index per device."""
    chip.set_gain(request.array, request.gain)
    if request.gain != AUTO_GAIN:
        words = chip.read_cells(request.array, rows, cols, request.reads).astype(np.int64)
        return (words & CODE_MASK).sum(axis=1), words[:, 0] >> ADC_BITS
    words = chip.read_cells(request.array, rows, cols, 1)[:, 0].astype(np.int64)
    sums, gains = words & CODE_MASK, words >> ADC_BITS
    for gain in np.unique(gains) if request.reads > 1 else ():
        chosen = np.flatnonzero(gains == gain)
        chip.set_gain(request.array, int(gain))
        more = chip.read_cells(request.array, rows[chosen], cols[chosen], request.reads - 1)
        sums[chosen] += (more.astype(np.int64) & CODE_MASK).sum(axis=1)
    return sums, gains


def check_read(request: ReadCells, chip: VirtualChip) -> None:
    """Refuse a read that the chip has no lines or gains for."""
    check_range("array", request.array, 0, chip.parameters.arrays - 1)
    check_gain(request.gain, chip, auto=True)
    check_range("reads", request.reads, 1, 64)
    check_span("row", request.row, request.row_count, chip.parameters.rows)
    check_span("col", request.col, request.col_count, chip.parameters.cols)


def check_gain(gain: int, chip: VirtualChip, *, auto: bool = False) -> None:
    """Refuse a gain index that the chip has not."""
    if not (auto and gain == AUTO_GAIN):
        check_range("gain", gain, 0, len(chip.parameters.converters.gain_ohms) - 1)


def check_multiply(request: Multiply, chip: VirtualChip) -> None:
    """Refuse a product that the chip has no lines or gains for."""
    check_range("array", request.array, 0, chip.parameters.arrays - 1)
    check_gain(request.gain, chip)
    check_range("least_gain", request.least_gain, 0, request.gain)
    check_range("reads", request.reads, 1, 64)
    check_range("input_bits", request.input_bits, 1, MAX_INPUT_BITS)
    check_range("signed", request.signed, 0, 1)
    check_span("col", request.col, request.col_count, chip.parameters.cols)
    check_range("vectors", request.vectors, 1, 0xFFFF)


def vectors(request: Multiply, staged: bytes, rows: int) -> NDArray[np.int64]:
    """The staged inputs, shape (vectors, rows); refused where one does not fit the request."""
    inputs = bulk.unpack_inputs(request, staged, rows)
    most = 2**request.input_bits - 1
    least = -most if request.signed else 0
    if inputs.min() < least or inputs.max() > most:
        raise Refused(Status.BAD_ARGUMENT, f"an input is outside {least} to {most}")
    return inputs


@dataclass(frozen=True)
class Phase:
    """Row codes of one analog product, and what its ADC codes count."""

    row_codes: NDArray[np.uint8]
    weight: int


def phases(inputs: NDArray[np.int64], request: Multiply, row_code_max: int = 1) -> Iterator[Phase]:
    """What the row drivers are given: each bit of the positive parts, then of the negative parts.

    Where rows have DACs of just the bits asked for, one product a sign does, counted as often as all bits.
    """
    levels = 2**request.input_bits - 1
    for sign in (1, -1) if request.signed else (1,):
        part = np.maximum(sign * inputs, 0)
        if levels == row_code_max:
            yield Phase(part.astype(np.uint8), sign * levels)
            continue
        for bit in range(request.input_bits):
            yield Phase(((part >> bit & 1) * row_code_max).astype(np.uint8), sign << bit)


def multiply(chip: VirtualChip, request: Multiply, inputs: NDArray[np.int64]) -> Generator[int, None, bytes]:
    """The result bytes of `Multiply`; yields the vectors done so far."""
    return bulk.pack_products(request, *(yield from fitting_products(chip, request, inputs)))


def fitting_products(
    chip: VirtualChip, request: Multiply, inputs: NDArray[np.int64]
) -> Generator[int, None, tuple[NDArray[np.int64], NDArray[np.bool_], int]]:
    """`products` and their gain: the first, from `gain` down to `least_gain`, at which none is clipped."""
    gain = request.gain
    while True:
        sums, clipped = yield from products(chip, replace(request, gain=gain), inputs)
        if gain == request.least_gain or not clipped.any():
            return sums, clipped, gain
        gain -= 1


def products(
    chip: VirtualChip, request: Multiply, inputs: NDArray[np.int64]
) -> Generator[int, None, tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Sums of codes and clipped flags, (vectors, columns) each; yields the vectors done so far."""
    chip.set_gain(request.array, request.gain)
    wanted = np.zeros(chip.parameters.cols, np.uint8)
    wanted[request.col : request.col + request.col_count] = 1
    places = column_order(request.array)[wanted != 0]
    each = request.reads * request.input_bits * (2 if request.signed else 1)
    block = max(1, _BLOCK // each)
    sums, clipped = [], []
    for first in range(0, len(inputs), block):
        part = inputs[first : first + block]
        total = np.zeros((len(part), request.col_count), np.int64)
        ends = np.zeros(total.shape, bool)
        for phase in phases(part, request, chip.parameters.row_code_max):
            codes = _codes(chip, request, phase.row_codes, wanted)[:, :, places]
            total += phase.weight * codes.sum(axis=0)
            ends |= ((codes == 0) | (codes == CODE_MASK)).any(axis=0)
        sums.append(total)
        clipped.append(ends)
        yield first + len(part)
    return np.concatenate(sums), np.concatenate(clipped)


def _codes(
    chip: VirtualChip, request: Multiply, row_codes: NDArray[np.uint8], wanted: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """ADC codes, shape (reads, vectors, cols in FIFO order)."""
    words = chip.multiply(request.array, np.tile(row_codes, (request.reads, 1)), wanted)
    return words.reshape(request.reads, len(row_codes), -1).astype(np.int64) & CODE_MASK
