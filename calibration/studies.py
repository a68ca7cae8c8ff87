"""Studies of published figures that measure a chip rather than a memory: He et al., Fig. 6a."""

import numpy as np
from markupsafe import Markup

from calibration.bench import make_ready
from calibration.programming_error import measure_programming_error
from chipctl.chip import Chip
from chipctl.runs import figures
from chipctl.studies.quantities import value
from chipctl.studies.study import Asked, Band, Claim, Found, Study
from chipctl.studies.trials import Measured, Trial, of_trial, trials

_MEAN, _SIGMA, _WITHIN, _BEYOND = "mean error", "σ of the error", "share within ±5 µS", "share beyond ±10 µS"


def _measure(chip: Chip, trial: Trial) -> Measured:
    bench = make_ready(chip, 0, np.random.default_rng(trial.seed))
    found = measure_programming_error(bench)
    size = np.abs(found.errors)
    numbers = {
        (_MEAN, 0.0): found.errors.mean() * 1e6,
        (_SIGMA, 0.0): found.errors.std() * 1e6,
        (_WITHIN, 0.0): np.mean(size <= 5e-6),
        (_BEYOND, 0.0): np.mean(size > 10e-6),
    }
    return Measured(numbers, {"errors": (found.errors, "S")})


def _plan(asked: Asked) -> list[Trial]:
    return trials(asked, _measure, "6a", asked.seeds(2, 10))


def _claims(_asked: Asked) -> list[Claim]:
    return [
        Claim(_MEAN, value(_MEAN), 0.108, None, Band(-0.5, 0.5), "µS"),
        Claim(_SIGMA, value(_SIGMA), 3.894, None, Band(3.4, 4.4), "µS"),
        Claim(_WITHIN, value(_WITHIN), "0.80 (Gaussian of that σ)", None, Band(0.75, 0.9)),
        Claim(_BEYOND, value(_BEYOND), "0.010 (Gaussian of that σ)", None, Band(high=0.03)),
    ]


def _draw(found: Found) -> Markup:
    errors = np.concatenate([found.arrays[seed]["errors"]["values"] for seed in found.arrays])
    return figures.error_histogram(errors)


FIGURE_6A = Study(
    name="6a",
    title="Programming error",
    text="""
On each chip array 0 is scanned, brought low by five RESET pulses, and given normal weights as differential
pairs over 0 to 150 µS by write-and-verify with a tolerance of ±5 µS, which stops anywhere inside as the
paper's does. After 100 s every healthy device is read once: the error holds relaxation, fluctuation and the
converter. The paper does not say when after programming its readback was taken.

A virtual chip's relaxation was fitted to the published σ, so that σ is no prediction there; mean, shares and
shape are (docs/acceptance.md). `chipctl characterize 6a` measures the same on one chip.
""",
    plan=_plan,
    read=of_trial,
    claims=_claims,
    draw=_draw,
    on_chip=True,
    of_digits=False,
)

STUDIES = (FIGURE_6A,)
