"""Zero and noise of each column at each gain, no row being driven."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from calibration.sampling import product_codes, undithered
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREY, canvas
from chipctl.self_test import ZERO_CODES

Floats = NDArray[np.float64]

_READS, _QUICK_READS = 1024, 128
_LEAST_CODES = 3.0
"""A zero nearer to the ADC's floor than a few times its noise is cut off there."""
_MOST_NOISE_CODES = 3.0
"""What is asked of TIA and ADC; a noisier zero is as good as its uncertainty says."""


@dataclass(frozen=True)
class Zeros:
    """Codes without current, shape (gains, cols)."""

    mean_codes: Floats
    noise_codes: Floats
    """Standard deviation of single conversions, quantisation included."""
    reads: int
    nominal: float

    @property
    def values(self) -> dict[str, Quantity]:
        """Zeros and noise; the uncertainty of the zero is that of a mean of independent conversions."""
        zero = Quantity.of(
            self.mean_codes,
            np.hypot(self.noise_codes / np.sqrt(self.reads), undithered(self.noise_codes)),
            "code",
            "gain",
            "col",
            about="ADC code of zero current",
        )
        noise = Quantity.of(
            self.noise_codes,
            self.noise_codes / np.sqrt(2 * (self.reads - 1)),
            "code",
            "gain",
            "col",
            about="standard deviation of one conversion at zero current",
        )
        low = max(self.nominal - ZERO_CODES, _LEAST_CODES)
        return {
            "zero_codes": zero.asked(low, self.nominal + ZERO_CODES),
            "noise_codes": noise.asked(None, _MOST_NOISE_CODES),
        }

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """Always: rails stand as for reading."""
        return {}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Means and standard deviations."""
        return {"zero_codes": (self.mean_codes, "1"), "noise_codes": (self.noise_codes, "1")}

    def draw(self) -> Markup:
        """Zero and noise by column."""
        with canvas(9.6, 3.0, "Zero and noise of each column") as drawing:
            left, right = drawing.figure.subplots(1, 2)
            for axes, codes, name in (
                (left, self.mean_codes, "zero / codes"),
                (right, self.noise_codes, "noise / codes"),
            ):
                axes.plot(codes.T, ".", ms=3, color=GREY)
                axes.plot(codes.mean(axis=0), color=BLUE, label="mean of all gains")
                axes.set(xlabel="column", ylabel=name)
            left.legend(loc="best")
        return drawing.markup


def measure_zeros(bench: Bench) -> Zeros:
    """Convert every column without driving a row, at every gain; changes nothing."""
    chip, reads = bench.chip, _QUICK_READS if bench.quick else _READS
    gains = range(len(chip.readout.gain_ohms))
    nothing = np.zeros((reads, chip.rows), np.int64)
    codes = np.stack([product_codes(bench, nothing, gain)[0] for gain in gains])
    return Zeros(codes.mean(axis=1), codes.std(axis=1, ddof=1), reads, chip.readout.zero_codes)


ZEROS = Procedure(
    name="zeros",
    title="TIA zero and noise",
    method="Every column is converted a thousand times at each gain with no row driven. The mean is the "
    "code of zero current, which every reading is taken against; the scatter is the noise of TIA and ADC, "
    "quantisation included.",
    scope=Scope.ARRAY,
    effect=Effect.NOTHING,
    needs=("rails",),
    fresh_days=1,
    seconds=0.5,
    measure=measure_zeros,
    helped_by=("adcs",),
)
