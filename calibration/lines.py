"""Resistance of wires, drivers and TIA inputs: full products against devices read one by one."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from calibration.sampling import CURVE_CODES, currents
from calibration.wires import Lines, cells_alone, column_currents
from chipctl.converters import ADCS_PER_ARRAY, adc_of_columns
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREY, INK, canvas

Floats = NDArray[np.float64]

_VECTORS, _QUICK_VECTORS = 32, 16
_READS, _QUICK_READS = 128, 64
_SINGLE_READS, _QUICK_SINGLE_READS = 100, 30
_ROUNDS = 8
_SETTLED_OHMS = 1e-3
_START = Lines(0.5, 20.0, 20.0)
_STEPS = np.array([0.05, 1.0, 1.0])
"""For derivatives, Ω."""
_HIGH = {"segment_ohms": 5.0, "driver_ohms": 500.0, "tia_ohms": 250.0}
"""Beyond what a wire, a driver or an amplifier that works has."""
_ABOUT = {
    "segment_ohms": "wire from cell to cell, in rows and in columns",
    "driver_ohms": "a row's driver, at column 0",
    "tia_ohms": "a TIA's input, past the last row",
}


@dataclass(frozen=True)
class LineResistances:
    """What was measured, and the three resistances that explain it best."""

    read: Floats
    """Conductances read one by one, S, shape (rows, cols)."""
    rows_on: Floats
    """Share of the read voltage on each row, shape (vectors, rows)."""
    siemens: Floats
    """Column current per volt, shape (vectors, cols)."""
    ohms: Floats
    """Segment, driver, TIA."""
    covariance: Floats

    @property
    def lines(self) -> Lines:
        """The resistances."""
        return Lines(*(float(value) for value in self.ohms))

    @property
    def values(self) -> dict[str, Quantity]:
        """The resistances; a negative one within its uncertainty means that it is not seen."""
        sigma = np.sqrt(np.diag(self.covariance))
        found = zip(_HIGH.items(), self.ohms, sigma, strict=True)
        return {
            name: Quantity.of(value, error, "Ω", about=_ABOUT[name]).within(-3 * float(error), high)
            for (name, high), value, error in found
        }

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """For every map."""
        return {}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Reads, inputs, currents and the fit."""
        return {
            "read": (self.read, "S"),
            "rows_on": (self.rows_on, "1"),
            "current_per_volt": (self.siemens, "S"),
            "ohms": (self.ohms, "Ω"),
            "covariance": (self.covariance, "Ω²"),
        }

    def draw(self) -> Markup:
        """Products against what single reads predict, without and with the wires."""
        expected = self.rows_on @ self.read
        modelled = column_currents(cells_alone(self.read, self.lines), self.rows_on, self.lines)
        with canvas(9.6, 3.4, "Products against single reads, without and with the wires") as drawing:
            left, right = drawing.figure.subplots(1, 2)
            top = expected.max() * 1e6
            left.plot([0, top], [0, top], color=INK, lw=0.7)
            at = expected.ravel() * 1e6
            left.plot(at, self.siemens.ravel() * 1e6, ".", ms=2, color=GREY, rasterized=True)
            left.set(xlabel="sum of single reads / µS", ylabel="product / µS")
            for predicted, color, name in ((expected, GREY, "single reads"), (modelled, BLUE, "with wires")):
                error = ((self.siemens - predicted) / np.maximum(predicted, 1e-6)).mean(axis=0) * 100
                right.plot(error, ".", ms=4, color=color, label=name)
            right.set(xlabel="column", ylabel="product less prediction / %")
            right.legend(loc="best")
        return drawing.markup


def measure_lines(bench: Bench) -> LineResistances:
    """Read every device alone, multiply random halves of the rows, and fit the wires; changes nothing."""
    chip, quick = bench.chip, bench.quick
    vectors = _QUICK_VECTORS if quick else _VECTORS
    half = (bench.rng.random((vectors // 2, chip.rows)) < 0.5).astype(np.float64)
    rows_on = np.concatenate([half, 1.0 - half])
    with bench.progress.stage(f"lines of array {bench.array}", 3) as tell:
        read = chip.read(bench.array, reads=_QUICK_SINGLE_READS if quick else _SINGLE_READS)
        tell(1)
        volts = chip.readout.read_volts
        siemens = currents(bench, rows_on * volts, _QUICK_READS if quick else _READS) / volts
        tell(2)
        ohms, covariance = fit_lines(read, rows_on, siemens, _converter_siemens(bench, siemens))
    return LineResistances(read, rows_on, siemens, ohms, covariance)


def _converter_siemens(bench: Bench, siemens: Floats) -> Floats:
    """What products may be off alike at all columns of an ADC: its curve, and its TIAs' gain."""
    chip = bench.chip
    gain = chip.readout.highest_gain(siemens.max() * chip.readout.read_volts)
    tias = chip.profile.result("tias", bench.array)
    share = 0.0 if tias is None or not tias.usable else float(np.nanmedian(tias.sigma("ohms_ratio")[gain]))
    return np.asarray(np.hypot(CURVE_CODES * chip.readout.lsb_siemens(gain), share * siemens))


def fit_lines(
    read: Floats, rows_on: Floats, siemens: Floats, converter_siemens: Floats
) -> tuple[Floats, Floats]:
    """Segment, driver and TIA resistance (Ω) and their covariance (Ω²), by weighted least squares.

    What a single read gets wrong comes back in every product of its column, so residuals of one column are
    taken for correlated: the covariance is the jackknife over columns. `converter_siemens`, shaped as
    `siemens`, is what products may be off alike at all columns of an ADC.

    Raises:
        ChipctlError: The fit went astray.
    """
    ohms = np.array([_START.segment, _START.driver, _START.tia])
    weight = np.ones(siemens.shape[1])
    for _ in range(_ROUNDS):
        modelled = _modelled(read, rows_on, ohms)
        left = siemens - modelled
        moved = [_modelled(read, rows_on, ohms + step) for step in np.diag(_STEPS)]
        slopes = np.stack([(m - modelled) / step for m, step in zip(moved, _STEPS, strict=True)])
        weight = 1.0 / np.maximum(np.mean(left**2, axis=0), 1e-30)
        normal = np.einsum("pvc,qvc,c->pq", slopes, slopes, weight)
        step = np.linalg.solve(normal, np.einsum("pvc,vc,c->p", slopes, left, weight))
        ohms = np.maximum(ohms + step, -_STEPS)
        if np.abs(step).max() < _SETTLED_OHMS:
            break
    pulled = slopes * converter_siemens * weight
    moves = [pulled[:, :, cols].sum(axis=(1, 2)) for cols in _columns_by_adc(len(weight))]
    by_adc = np.linalg.solve(normal, np.stack(moves, axis=1))
    return ohms, _jackknife(slopes, left, weight) + by_adc @ by_adc.T


def _columns_by_adc(cols: int) -> list[NDArray[np.intp]]:
    adc = adc_of_columns(cols)
    return [np.flatnonzero(adc == place) for place in range(ADCS_PER_ARRAY)]


def _jackknife(slopes: Floats, left: Floats, weight: Floats) -> Floats:
    """Covariance from how far the fit moves when a column is left out, to first order."""
    scores = np.einsum("pvc,vc,c->cp", slopes, left, weight)
    each = np.einsum("pvc,qvc,c->cpq", slopes, slopes, weight)
    moves = np.linalg.solve(each.sum(axis=0) - each, scores[:, :, None])[:, :, 0]
    return np.asarray((len(moves) - 1) / len(moves) * (moves.T @ moves))


def _modelled(read: Floats, rows_on: Floats, ohms: Floats) -> Floats:
    lines = Lines(*(float(value) for value in ohms))
    return column_currents(cells_alone(read, lines), rows_on, lines)


LINES = Procedure(
    name="lines",
    title="Line resistance",
    method="A device read by itself sees only its own path; in a full product its row and column carry the "
    "other devices' currents too, and it gets less of the read voltage. Every device is read a hundred "
    "times alone, random halves of the rows are multiplied, and the resistances of wire, driver and TIA "
    "input that lead from one to the other are fitted by a nodal model. The heavier the stored map, the "
    "better they are known.",
    scope=Scope.ARRAY,
    effect=Effect.NOTHING,
    needs=("adcs", "zeros", "tias"),
    fresh_days=90,
    seconds=10.0,
    measure=measure_lines,
)
