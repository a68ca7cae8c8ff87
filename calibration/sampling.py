"""Products as the ADCs see them: codes before anything is corrected."""

import numpy as np
from numpy.typing import NDArray

from calibration.bench import Bench
from firmware_protocol.messages import Multiply


def product_codes(
    bench: Bench, inputs: NDArray[np.integer], gain: int, reads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Mean codes of products with rows on (1) or off (0), and where a conversion was at an end of the ADC.

    inputs: shape (vectors, rows). Both results have shape (vectors, cols). At most 64 reads.
    """
    request = Multiply(bench.array, gain, gain, reads, 1, 0, 0, bench.chip.cols, 0, 0)
    sums, clipped, _ = bench.chip.board.multiply(request, np.asarray(inputs, np.int64))
    return sums / reads, clipped
