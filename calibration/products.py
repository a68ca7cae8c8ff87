"""Per-column linear correction of full products, for the map that the array holds now."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from calibration.sampling import currents
from chipctl.corrections import PRODUCTS as NAME
from chipctl.errors import ChipctlError
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREY, INK, canvas

Floats = NDArray[np.float64]

_VECTORS, _QUICK_VECTORS = 256, 96
_CHECKED, _QUICK_CHECKED = 200, 60
"""Vectors on which the correction is judged; none of those it was fitted to."""
_READS = 16
_SINGLE_READS, _QUICK_SINGLE_READS = 100, 30
_SCALE_VECTORS = 1000
_SCALE_PERCENT = 99.0
_LEAST_SCALE_CODES = 1.0
"""Of the least sensitive gain: below, no map is stored."""
ERROR_ONE, ERROR_MANY = 0.015, 0.008
"""σ of pair outputs over full scale that is asked for, with one read a phase and with sixteen averaged."""
_MOST_LEFT = 1.05
"""Of the error before: a line fitted to noise alone adds so little; one that adds more is no correction."""
_SLOPES = (0.5, 1.5)
"""What wires can do to a column, with room for the bench's 0.83 to 0.88 and 0.8 to 1.5."""


@dataclass(frozen=True)
class ProductErrors:
    """Pair outputs of products against those that single reads predict, A, shape (vectors, pairs) each."""

    expected: Floats
    raw: Floats
    """Converters made good, wires not; averaged as `many`."""
    one: Floats
    """Corrected, one read a phase."""
    many: Floats
    """Corrected, sixteen reads averaged."""
    full_scale: float
    """Twice the 99th percentile of |pair output| over a thousand random ±1 vectors."""

    def share(self, measured: Floats) -> float:
        """σ of the error over full scale."""
        return float(np.std(measured - self.expected) / self.full_scale)


@dataclass(frozen=True)
class ProductLines:
    """The straight line of each column, and what it leaves."""

    slope: Floats
    """Measured over predicted, shape (cols,)."""
    offset: Floats
    """A."""
    slope_sigma: Floats
    offset_sigma: Floats
    errors: ProductErrors
    total_pulses: int

    @property
    def values(self) -> dict[str, Quantity]:
        """The lines, and the error of pair outputs before and after."""
        about = "column current of a product over the sum of single reads"
        slope = Quantity.of(self.slope, self.slope_sigma, "1", "col", about=about)
        offset = Quantity.of(self.offset, self.offset_sigma, "A", "col", about="of a signed product")
        errors, pairs = self.errors, self.errors.expected.size
        named = (
            ("error_before", errors.raw, None, "wires not made good, sixteen reads"),
            ("error_one_read", errors.one, ERROR_ONE, "one read a phase"),
            ("error_sixteen_reads", errors.many, ERROR_MANY, "sixteen reads averaged"),
        )
        shares = {
            name: Quantity.of(
                errors.share(measured),
                errors.share(measured) / np.sqrt(2 * pairs),
                "1",
                about=f"σ of pair outputs against single reads over full scale, {words}",
            ).asked(None, most)
            for name, measured, most, words in named
        }
        left = errors.share(errors.many) / errors.share(errors.raw)
        shares["error_left"] = Quantity.of(
            left, left / np.sqrt(pairs), "1", about="error after over before, sixteen reads"
        ).within(None, _MOST_LEFT)
        scale = Quantity.of(errors.full_scale, 0.0, "A", about="2 × 99th percentile of |pair output|")
        return {"slope": slope.within(*_SLOPES), "offset_amps": offset, **shares, "full_scale_amps": scale}

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """The map that was stored: the board's count of pulses tells whether it still is."""
        return {"total_pulses": self.total_pulses, "inputs": "each row at -1, 0 or 1 times the read voltage"}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Lines and errors."""
        errors = self.errors
        return {
            "slope": (self.slope, "1"),
            "offset": (self.offset, "A"),
            "expected": (errors.expected, "A"),
            "raw": (errors.raw, "A"),
            "one_read": (errors.one, "A"),
            "sixteen_reads": (errors.many, "A"),
        }

    def draw(self) -> Markup:
        """Pair outputs against expectation, before and after, and the slope of each column."""
        errors = self.errors
        with canvas(9.6, 3.4, "Pair outputs against single reads, and the slope of each column") as drawing:
            left, right = drawing.figure.subplots(1, 2)
            at = errors.expected.ravel() * 1e6
            left.plot(at, errors.raw.ravel() * 1e6, ".", ms=2, color=GREY, label="before", rasterized=True)
            left.plot(at, errors.many.ravel() * 1e6, ".", ms=2, color=BLUE, label="after", rasterized=True)
            ends = [at.min(), at.max()]
            left.plot(ends, ends, color=INK, lw=0.7)
            left.set(xlabel="by single reads / µA", ylabel="pair output / µA")
            left.legend(loc="upper left", markerscale=4)
            right.errorbar(
                np.arange(self.slope.size),
                self.slope,
                2 * self.slope_sigma,
                fmt=".",
                ms=4,
                lw=0.7,
                color=BLUE,
            )
            right.set(xlabel="column", ylabel="slope")
        return drawing.markup


def measure_products(bench: Bench) -> ProductLines:
    """Read every device alone, multiply random ±1 vectors and fit a line per column; changes nothing.

    Raises:
        ChipctlError: The pairs of the stored map cancel: there is no output to judge.
    """
    chip, quick = bench.chip, bench.quick
    volts = chip.readout.read_volts
    fitted, checked = (_QUICK_VECTORS, _QUICK_CHECKED) if quick else (_VECTORS, _CHECKED)
    signs = bench.rng.choice([-volts, volts], (fitted + checked, chip.rows))
    with bench.progress.stage(f"products of array {bench.array}", 3) as tell:
        read = chip.read(bench.array, reads=_QUICK_SINGLE_READS if quick else _SINGLE_READS)
        tell(1)
        many = currents(bench, signs, _READS)
        tell(2)
        one = currents(bench, signs[fitted:])
    expected = signs @ read
    slope, offset, slope_sigma, offset_sigma = fit_line(expected[:fitted], many[:fitted])
    scale = full_scale(read, volts, bench.rng)
    if scale < _LEAST_SCALE_CODES * chip.readout.lsb_amps(0):
        raise ChipctlError(f"array {bench.array}: the pairs of its map all but cancel; program a map first")
    raw = many[fitted:]
    by_one, by_many = (pair_outputs((part - offset) / slope) for part in (one, raw))
    errors = ProductErrors(pair_outputs(expected[fitted:]), pair_outputs(raw), by_one, by_many, scale)
    total = chip.board.state().total_pulses
    return ProductLines(slope, offset, slope_sigma, offset_sigma, errors, total)


def fit_line(expected: Floats, measured: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Slope, offset and their uncertainties per column, of currents (vectors, cols), by least squares."""
    mean = expected.mean(axis=0)
    centred = expected - mean
    spread = np.maximum((centred**2).sum(axis=0), np.finfo(float).tiny)
    slope = (centred * measured).sum(axis=0) / spread
    offset = measured.mean(axis=0) - slope * mean
    left = measured - offset - slope * expected
    variance = (left**2).sum(axis=0) / (len(left) - 2)
    return slope, offset, np.sqrt(variance / spread), np.sqrt(variance * (1 / len(left) + mean**2 / spread))


def pair_outputs(amps: Floats) -> Floats:
    """Differences of neighbouring columns, even less odd, shape (vectors, pairs)."""
    return np.asarray(amps[:, 0::2] - amps[:, 1::2])


def full_scale(read: Floats, volts: float, rng: np.random.Generator) -> float:
    """Twice the 99th percentile of |pair output| over a thousand random ±1 vectors, A."""
    signs = rng.choice([-volts, volts], (_SCALE_VECTORS, len(read)))
    return float(2 * np.percentile(np.abs(pair_outputs(signs @ read)), _SCALE_PERCENT))


PRODUCTS = Procedure(
    name=NAME,
    title="Products of the stored map",
    method="Every device is read a hundred times alone; random ±1 vectors are multiplied, sixteen reads "
    "averaged. The straight line per column from what the single reads predict to what the products give "
    "makes good what the wires take; it is used if it leaves less error than there was. It is judged on "
    "vectors that it was not fitted to, as σ of the pair outputs' error over full scale. It holds as long as "
    "the map stays: the board's count of pulses is kept with it.",
    scope=Scope.ARRAY,
    effect=Effect.NOTHING,
    needs=("rails",),
    fresh_days=7,
    seconds=15.0,
    measure=measure_products,
    helped_by=("adcs", "zeros"),
)
