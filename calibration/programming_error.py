"""Error of write-and-verify on a differential map of weights (He et al. 2026, Fig. 6a)."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from calibration.bench import Bench
from calibration.comparison import Comparison
from chipctl.chip import Siemens
from chipctl.converters import SPAN
from chipctl.runs import figures
from chipctl.schedules import named
from firmware_protocol.messages import RESET

PUBLISHED_SCHEDULE = named("paper").model_copy(update={"max_rounds": 200})
"""Stop anywhere within ±5 µS, as the paper does; ramps of the group's crossbar software (AutoXbar)."""

LOW_PULSES, LOW_VOLTS, LOW_GATE_VOLTS, LOW_WIDTH = 5, 1.5, 5.0, 20e-9
"""RESET pulses that leave any device at a low conductance, 2 µS in the median (Mao et al. 2022); programming
starts from there. Where devices of a zero target start decides where inside the tolerance they stay."""

REST_SECONDS = 100.0
"""Between programming and readback: most of what relaxes has by then."""


@dataclass(frozen=True)
class ProgrammingError:
    """What was wanted and what was read, of every device programmed; NaN elsewhere, (rows, cols)."""

    target: Siemens
    readback: Siemens
    verified: NDArray[np.bool_]

    @property
    def errors(self) -> Siemens:
        """Readback − target of the devices programmed, shape (devices,)."""
        errors = self.readback - self.target
        return np.asarray(errors[~np.isnan(errors)])

    @property
    def comparisons(self) -> list[Comparison]:
        """Mean and standard deviation; shares follow from the paper's Gaussian."""
        errors = self.errors
        mean, std = figures.PUBLISHED_MEAN_SIEMENS, figures.PUBLISHED_STD_SIEMENS
        inside, far = np.mean(np.abs(errors) <= 5e-6), np.mean(np.abs(errors) > 10e-6)
        verified = np.count_nonzero(self.verified) / max(errors.size, 1)
        return [
            Comparison("mean error", float(errors.mean()), "S", mean, -0.5e-6, 0.5e-6),
            Comparison("σ of the error", float(errors.std()), "S", std, 3.4e-6, 4.4e-6),
            Comparison("share within ±5 µS", float(inside), "1", "0.80 (Gaussian of that σ)", 0.75, 0.9),
            Comparison("share beyond ±10 µS", float(far), "1", "0.010 (Gaussian of that σ)", high=0.03),
            Comparison("share verified while programming", float(verified), "1"),
            Comparison("devices", errors.size, "1"),
        ]

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured."""
        return {
            "target": (self.target, "S"),
            "readback": (self.readback, "S"),
            "verified": (self.verified, "1"),
        }

    def draw(self) -> Markup:
        """Histogram beside the published Gaussian."""
        return figures.error_histogram(self.errors)


def measure_programming_error(bench: Bench) -> ProgrammingError:
    """Program a differential map of normal weights, let it rest, and read every device once.

    Changes the usable devices. One device of each pair of columns holds the weight's size, scaled so that
    the largest is 150 µS, the other is at zero.
    """
    target = np.where(bench.usable, _differential_map(bench), np.nan)
    _bring_low(bench)
    report = bench.program("6a: program weights", target, PUBLISHED_SCHEDULE)
    bench.chip.wait(REST_SECONDS)
    readback = bench.chip.read(bench.array, gain=PUBLISHED_SCHEDULE.gain)
    return ProgrammingError(target, np.where(bench.usable, readback, np.nan), report.verified & bench.usable)


def _bring_low(bench: Bench) -> None:
    volts = np.where(bench.usable, LOW_VOLTS, np.nan)
    gates = np.full(volts.shape, LOW_GATE_VOLTS)
    for _ in range(LOW_PULSES):
        bench.chip.pulse_each(bench.array, RESET, volts, gates, LOW_WIDTH)


def _differential_map(bench: Bench) -> Siemens:
    weights = bench.rng.standard_normal((bench.chip.rows, bench.chip.cols // 2))
    weights *= SPAN / np.abs(weights).max()
    target = np.empty((bench.chip.rows, bench.chip.cols))
    target[:, 0::2], target[:, 1::2] = np.maximum(weights, 0), np.maximum(-weights, 0)
    return target
