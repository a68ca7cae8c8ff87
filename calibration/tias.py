"""Transimpedance of every column at every gain, against that of one gain: the same current at two gains."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from calibration.sampling import CURVE_CODES, product_codes, widened
from chipctl.converters import Columns
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREEN, GREY, ORANGE, canvas

Floats = NDArray[np.float64]

_ROWS_ON = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_BATCHES, _QUICK_BATCHES = 8, 4
_READS = 64
_LEAST_CODES = 20.0
"""Of signal at the less sensitive gain, for a current to say something."""
_MOST_SIGMA = 0.01
"""Share beyond which a ratio is not known: it counts as not measured."""
_MOST_ERROR = 0.2
"""Of a resistor on the die."""


@dataclass(frozen=True)
class Transimpedances:
    """Ratio to nominal per gain and column, relative to that of the reference gain; NaN if not measured."""

    ratio: Floats
    """Shape (gains, cols)."""
    sigma: Floats
    reference: int

    @property
    def values(self) -> dict[str, Quantity]:
        """The ratios."""
        about = "transimpedance over nominal, taking that of the reference gain for nominal"
        ratio = Quantity.of(self.ratio, self.sigma, "1", "gain", "col", about=about)
        return {"ohms_ratio": ratio.asked(1 - _MOST_ERROR, 1 + _MOST_ERROR)}

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """The reference gain is good by definition: nothing on the board knows a current."""
        return {"reference_gain": self.reference}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """The ratios and their uncertainty."""
        return {"ohms_ratio": (self.ratio, "1"), "sigma": (self.sigma, "1")}

    def draw(self) -> Markup:
        """Ratios by column, a colour for each gain."""
        with canvas(9.6, 3.0, "Transimpedance over nominal by column and gain") as drawing:
            axes = drawing.figure.subplots()
            colors = (BLUE, ORANGE, GREY, GREEN, "#8a4fbf")
            for gain, color in zip(range(len(self.ratio)), colors, strict=False):
                if gain != self.reference:
                    bars = 2 * self.sigma[gain]
                    at = np.arange(len(bars))
                    axes.errorbar(at, self.ratio[gain], bars, fmt=".", ms=3, lw=0.7, color=color)
                    axes.plot([], [], ".", color=color, label=f"gain index {gain}")
            axes.set(xlabel="column", ylabel="ratio to nominal")
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        return drawing.markup


def measure_tias(bench: Bench) -> Transimpedances:
    """Draw the same currents at all gains, from one row to all rows on; changes nothing."""
    chip, columns = bench.chip, bench.chip.columns(bench.array)
    gains = len(chip.readout.gain_ohms)
    reference = chip.sensitive_gain
    order = bench.rng.permutation(chip.rows)
    inputs = np.stack([np.isin(np.arange(chip.rows), order[:count]) for count in _ROWS_ON]).astype(np.int64)
    batches = _QUICK_BATCHES if bench.quick else _BATCHES
    amps = np.empty((batches, gains, *inputs.shape[:1], chip.cols))
    with bench.progress.stage(f"TIAs of array {bench.array}", batches) as tell:
        for batch in range(batches):
            for gain in range(gains):
                amps[batch, gain] = _nominal_amps(bench, columns, inputs, gain)
            tell(batch + 1)
    ratio, variance = np.full((gains, chip.cols), np.nan), np.full((gains, chip.cols), np.nan)
    ratio[reference], variance[reference] = 1.0, 0.0
    for gain in [*range(reference - 1, -1, -1), *range(reference + 1, gains)]:
        near = gain + 1 if gain < reference else gain - 1
        step, spread = _compared(amps[:, gain], amps[:, near], chip.readout.lsb_amps(min(gain, near)))
        ratio[gain] = ratio[near] * step
        variance[gain] = variance[near] + spread**2
    known = variance <= _MOST_SIGMA**2
    return Transimpedances(
        np.where(known, ratio, np.nan), np.where(known, np.sqrt(variance), np.nan), reference
    )


def _nominal_amps(bench: Bench, columns: Columns, inputs: NDArray[np.int64], gain: int) -> Floats:
    """Currents by the nominal transimpedance, NaN where the ADC was at an end, shape (vectors, cols)."""
    codes, clipped = product_codes(bench, inputs, gain, _READS)
    known = Columns(columns.readout, columns.zero_codes, columns.excess_codes)
    return np.where(clipped, np.nan, known.amps(codes, gain))


def _compared(these: Floats, those: Floats, lsb_amps: float) -> tuple[Floats, Floats]:
    """Ratio of two gains' currents (batches, vectors, cols) and its uncertainty, shape (cols,) each.

    Only currents that both gains resolve count, `lsb_amps` being the coarser one's.
    """
    both = np.isfinite(these).all(axis=0) & np.isfinite(those).all(axis=0)
    both &= those.mean(axis=0) > _LEAST_CODES * lsb_amps
    sums = [np.where(both, part, 0.0).sum(axis=1) for part in (these, those)]
    with np.errstate(divide="ignore", invalid="ignore"):
        each = sums[0] / sums[1]
        mean = sums[0].sum(axis=0) / sums[1].sum(axis=0)
        scatter = each.std(axis=0, ddof=1) / np.sqrt(len(each)) * widened(len(each))
        table = np.sqrt(2) * both.sum(axis=0) * CURVE_CODES * lsb_amps / sums[1].mean(axis=0)
    return mean, np.hypot(scatter, table)


TIAS = Procedure(
    name="tias",
    title="TIA gains",
    method="The same rows are driven at every gain, from one row to all, and each column's currents at "
    "neighbouring gains are compared where both resolve them. Nothing on the board knows a current, so the "
    "gain of write-and-verify is taken for nominal and the others are given relative to it. How well "
    "depends on the currents that the stored map can draw; a gain that they do not reach, or do not "
    "resolve to one percent, is not measured and stays nominal.",
    scope=Scope.ARRAY,
    effect=Effect.NOTHING,
    needs=("adcs", "zeros"),
    fresh_days=30,
    seconds=1.0,
    measure=measure_tias,
)
