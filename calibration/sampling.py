"""Products as the ADCs see them, codes before anything is corrected, and what repeating them says."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.bench import Bench
from chipctl.chip import MOST_READS
from chipctl.products import Measure, calibrated_product
from firmware_protocol.messages import Multiply

CURVE_CODES = 0.05
"""Uncertainty left of a calibrated ADC's curve, the same at all its columns: noise and interpolation."""


def widened(batches: int) -> float:
    """Factor on the scatter of a few batches: Student's t with that many less one is so much wider."""
    return float(np.sqrt((batches - 1) / max(batches - 3, 1)))


def undithered(noise_codes: ArrayLike) -> NDArray[np.float64]:
    """What rounding to whole codes leaves of the mean of many conversions, standard uncertainty in codes.

    `noise_codes`: of single conversions, rounding included. Noise of half a code and more smooths the steps
    away, by exp(-2π²σ²); without any, 1/√12 is left.
    """
    own = np.maximum(np.square(noise_codes) - 1 / 12, 0.0)
    return np.asarray(np.exp(-2 * np.pi**2 * own) / np.sqrt(12))


def product_codes(
    bench: Bench, inputs: NDArray[np.integer], gain: int, reads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mean codes of products with rows on (1) or off (0), and where a conversion was at an end of the ADC.

    inputs: shape (vectors, rows). Both results have shape (vectors, cols). At most 64 reads.
    """
    request = Multiply(bench.array, gain, gain, reads, 1, 0, 0, bench.chip.cols, 0, 0)
    sums, clipped, _ = bench.chip.board.multiply(request, np.asarray(inputs, np.int64))
    return sums / reads, clipped


def currents(bench: Bench, row_volts: NDArray[np.float64], reads: int = 1) -> NDArray[np.float64]:
    """Column currents (vectors, cols), A, converters made good and wires not; any number of reads."""
    chip, columns = bench.chip, bench.chip.columns(bench.array)
    total, done = np.zeros((len(row_volts), chip.cols)), 0
    while done < reads:
        part = min(MOST_READS, reads - done)
        measure = Measure(chip.sensitive_gain, reads=part)
        total += part * calibrated_product(chip.board, columns, bench.array, row_volts, measure).amps
        done += part
    return total / reads
