"""Gain, offset and non-linearity of an array's ADCs, from the board's test input stepped over their range."""

import warnings
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from calibration.sampling import undithered
from chipctl.converters import ADCS_PER_ARRAY, adcs_of_array
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREEN, GREY, ORANGE, canvas
from chipctl.self_test import BENT_CODES, GAIN_ERROR, OFFSET_CODES
from firmware_protocol.rails import Rail

Floats = NDArray[np.float64]

_MARGIN = 0.01
"""Part of the range left out at either end, where noise is cut off."""
_NEAR_END = 5.0
"""Codes: several times the noise."""
_MOST_CUT = 0.2
_MOST_BETWEEN = 1.0
"""Codes by which the curve between knots may be unknown: an ADC that answers in wide flat steps can't be made
good by what it answers at knots, however well these are known."""
_OWN_WINDOW = (
    "what is measured at the ADCs' test input holds for windows=off only: reads of this connection move the "
    "conversion window; connect with #windows=off to calibrate the ADCs, and when that calibration is used"
)
_STEPS, _QUICK_STEPS = 65, 33
_BATCHES = 4
_READS, _QUICK_READS = 256, 64
"""Conversions per batch; batches tell the noise of a mean."""


_BETWEEN = "root mean square of what every other knot misses of the knot in between"


@dataclass(frozen=True)
class AdcCurves:
    """What each of an array's four ADCs answers to known voltages."""

    ideal_codes: Floats
    """What an ideal ADC would answer, not rounded, shape (knots,), by the test input as read back."""
    codes: Floats
    """Mean answers, shape (4, knots); where noise was cut off at an end of the scale, carried on from the
    nearest knot where it was not."""
    sigma_codes: Floats
    """Of the means, shape (4, knots); NaN where carried on."""

    @property
    def lines(self) -> tuple[Floats, Floats, Floats]:
        """Gain (4,), offset at mid-scale (4,) and what is left of the straight line (4, knots)."""
        middle = self.ideal_codes.mean()
        gain, offset = np.polyfit(self.ideal_codes - middle, self.codes.T, 1)
        left = self.codes - np.outer(gain, self.ideal_codes - middle) - offset[:, None]
        return gain, offset - middle, left

    @property
    def values(self) -> dict[str, Quantity]:
        """The curve itself, and gain, offset and INL as one knows them."""
        gain, offset, left = self.lines
        sigma = np.sqrt(np.nanmean(self.sigma_codes**2, axis=1))
        spread = np.sqrt(np.sum((self.ideal_codes - self.ideal_codes.mean()) ** 2))
        bent = np.abs(left).max(axis=1)
        excess = self.codes - self.ideal_codes
        return {
            "gain": Quantity.of(gain, sigma / spread, "1", "adc", about="codes per volt over nominal").asked(
                1 - GAIN_ERROR, 1 + GAIN_ERROR
            ),
            "offset_codes": Quantity.of(
                offset, sigma / np.sqrt(self.ideal_codes.size), "code", "adc", about="at mid-scale"
            ).asked(-OFFSET_CODES, OFFSET_CODES),
            "inl_codes": Quantity.of(
                bent, sigma, "code", "adc", about="largest distance from the best straight line"
            ).asked(None, BENT_CODES),
            "between_codes": Quantity.of(
                _left_between(self.ideal_codes, excess), sigma, "code", "adc", about=_BETWEEN
            ).within(None, _MOST_BETWEEN),
            "answered_codes": Quantity.of(
                self.codes, self.sigma_codes, "code", "adc", "knot", about="mean answer to the test input"
            ),
            "excess_codes": Quantity.of(
                excess, self.sigma_codes, "code", "adc", "knot", about="answer less that of an ideal ADC"
            ),
        }

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """Always: rails stand as for reading."""
        return {}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Inputs and answers."""
        return {
            "ideal_codes": (self.ideal_codes, "1"),
            "codes": (self.codes, "1"),
            "sigma_codes": (self.sigma_codes, "1"),
        }

    def draw(self) -> Markup:
        """What each ADC answers beyond an ideal one."""
        with canvas(9.6, 3.2, "Answer of each ADC less that of an ideal one") as drawing:
            axes = drawing.figure.subplots()
            excess = self.codes - self.ideal_codes
            for adc, color in zip(range(len(excess)), (BLUE, ORANGE, GREEN, GREY), strict=False):
                bars = 2 * self.sigma_codes[adc]
                axes.errorbar(
                    self.ideal_codes, excess[adc], bars, color=color, lw=1, label=f"ADC {adc} of the array"
                )
            axes.set(xlabel="ideal code", ylabel="answer − ideal / codes")
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
        return drawing.markup


def measure_adcs(bench: Bench) -> AdcCurves:
    """Step the test input and convert it with each of the array's ADCs; changes no device.

    Warns where reads move the conversion window, which the test input's conversions do not.
    """
    if bench.chip.board.moves_windows:
        warnings.warn(_OWN_WINDOW, stacklevel=2)
    chip, r = bench.chip, bench.chip.readout
    steps, reads = (_QUICK_STEPS, _QUICK_READS) if bench.quick else (_STEPS, _READS)
    span = r.adc_max_volts - r.adc_min_volts
    asked = np.linspace(r.adc_min_volts + _MARGIN * span, r.adc_max_volts - _MARGIN * span, steps)
    volts, answers = np.empty(steps), np.empty((_BATCHES, ADCS_PER_ARRAY, steps))
    with bench.progress.stage(f"ADCs of array {bench.array}", steps) as tell:
        try:
            for step, wanted in enumerate(asked):
                volts[step] = chip.set_rail(Rail.ADC_TEST, float(wanted))[Rail.ADC_TEST].measured_volts
                for place, adc in enumerate(adcs_of_array(bench.array)):
                    for batch in range(_BATCHES):
                        answers[batch, place, step] = chip.board.convert_test_input(adc, reads) / reads
                tell(step + 1)
        finally:
            chip.set_rail(Rail.ADC_TEST, 0.0)
    per_volt = r.full_scale / span
    scatter = np.sqrt(np.mean(answers.var(axis=0, ddof=1), axis=-1, keepdims=True) / _BATCHES)
    readback = chip.dac.lsb_volts / np.sqrt(12) * per_volt
    rounding = undithered(scatter * np.sqrt(_BATCHES * reads))
    sigma = np.broadcast_to(np.sqrt(scatter**2 + readback**2 + rounding**2), answers.shape[1:])
    ideal, codes = (volts - r.adc_min_volts) * per_volt, answers.mean(axis=0)
    cut = _cut_off(codes, r.full_scale)
    for place, here in enumerate(cut):
        excess = np.interp(ideal[here], ideal[~here], (codes[place] - ideal)[~here])
        codes[place, here] = ideal[here] + excess
    return AdcCurves(ideal, codes, np.where(cut, np.nan, sigma))


def _left_between(ideal: Floats, excess: Floats) -> Floats:
    """Root mean square (4,) of the excess (4, knots) at odd knots less the line between even ones."""
    return np.array(
        [
            np.sqrt(np.mean(np.square(each[1::2] - np.interp(ideal[1::2], ideal[::2], each[::2]))))
            for each in excess
        ]
    )


def _cut_off(codes: Floats, full_scale: int) -> NDArray[np.bool_]:
    """Where means (4, knots) are near an end of the scale, but for an ADC that is always there."""
    cut = (codes < _NEAR_END) | (codes > full_scale - _NEAR_END)
    return np.asarray(cut & (cut.mean(axis=1, keepdims=True) < _MOST_CUT))


ADCS = Procedure(
    name="adcs",
    title="ADC gain, offset and non-linearity",
    method="The board's test input is stepped over the ADCs' range and read back; each step is converted a "
    "thousand times by each of the array's four ADCs, in four batches whose scatter gives the uncertainty of "
    "the mean. The ADC's own noise makes the mean finer than a code. What an ADC answers beyond an ideal "
    "one, by its answer, is taken off every reading of its columns from then on.",
    scope=Scope.ARRAY,
    effect=Effect.NOTHING,
    needs=("rails",),
    fresh_days=7,
    seconds=1.0,
    measure=measure_adcs,
)
