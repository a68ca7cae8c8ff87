"""Sixteen conductance levels on 256 devices each, read over 10⁵ seconds (He et al. 2026, Fig. 2f)."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from calibration.bench import Bench, level_targets
from calibration.comparison import Comparison
from chipctl.chip import Siemens
from chipctl.runs.drawing import INK, canvas
from chipctl.schedules import PulseSchedule

LEVELS = np.linspace(0, 150e-6, 16)
"""Siemens; 0 to 150 µS in steps of 10 µS."""
DEVICES = 256
"""At each level; fewer where stuck devices take their place."""

SECONDS = 10 ** np.linspace(0, 5, 11)
QUICK_SECONDS = 10 ** np.linspace(0, 5, 6)
"""When devices are read, after the last pulse."""

READS = 4
"""Averaged per device and time: what counts is where the device is, not how it trembles."""

_LONGEST_WAIT = 1000.0
"""Seconds of one request to wait, so that a person at real hardware sees it go on and can stop it."""


@dataclass(frozen=True)
class Retention:
    """Conductance of every device at every time."""

    seconds: NDArray[np.float64]
    """By the chip's clock, after the last pulse, shape (times,)."""
    conductance: Siemens
    """Shape (times, levels, devices)."""

    @property
    def medians(self) -> Siemens:
        """Shape (times, levels)."""
        return np.asarray(np.median(self.conductance, axis=2))

    @property
    def quartiles(self) -> Siemens:
        """Lower and upper, shape (2, times, levels)."""
        return np.asarray(np.percentile(self.conductance, (25, 75), axis=2))

    @property
    def comparisons(self) -> list[Comparison]:
        """Whether levels stay where they are, and apart."""
        medians, (lower, upper) = self.medians, self.quartiles
        moved = np.abs(medians[-1] - medians[0])
        ranges = upper[-1] - lower[-1]
        return [
            Comparison("last reading", float(self.seconds[-1]), "s", 1e5),
            Comparison("devices a level", self.conductance.shape[2], "1", 256.0),
            Comparison("largest move of a median", float(moved.max()), "S", "no systematic drift", high=1e-6),
            Comparison("mean move of the medians", float((medians[-1] - medians[0]).mean()), "S", 0.0),
            Comparison("largest distance of a median from its level", self._off(), "S", 0.0, high=4e-6),
            Comparison("smallest step between medians", float(np.diff(medians[-1]).min()), "S", 10e-6, low=0),
            Comparison("interquartile range at the end, median level", float(np.median(ranges)), "S"),
            Comparison("interquartile range at the end, widest level", float(ranges.max()), "S", high=10e-6),
        ]

    def _off(self) -> float:
        return float(np.abs(self.medians - LEVELS).max())

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured."""
        return {
            "levels": (LEVELS, "S"),
            "seconds": (self.seconds, "s"),
            "conductance": (self.conductance, "S"),
        }

    def draw(self) -> Markup:
        """Median and interquartile range of each level against time."""
        import matplotlib

        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(LEVELS)))
        (lower, upper), medians = self.quartiles * 1e6, self.medians * 1e6
        with canvas(7.2, 4.4, "Medians and interquartile ranges of sixteen levels against time") as drawing:
            axes = drawing.figure.subplots()
            for level, colour in enumerate(colours):
                axes.fill_between(
                    self.seconds, lower[:, level], upper[:, level], color=colour, alpha=0.25, lw=0
                )
                axes.plot(self.seconds, medians[:, level], ".-", ms=4, lw=1.2, color=colour)
            axes.set(xscale="log", xlabel="time after programming / s", ylabel="conductance / µS")
            axes.set_yticks(LEVELS * 1e6)
            axes.grid(axis="y")
            axes.plot([], [], color=INK, label="median")
            axes.fill_between([], [], color=INK, alpha=0.25, lw=0, label="interquartile range")
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return drawing.markup


def measure_retention(bench: Bench) -> Retention:
    """Program sixteen levels all over the array, then read it at log-spaced times.

    Changes the usable devices. Takes a day on hardware; a virtual chip moves its clock at once.
    """
    seconds = QUICK_SECONDS if bench.quick else SECONDS
    target, chosen = level_targets(bench, LEVELS, DEVICES)
    bench.program("2f: program 16 levels", target, PulseSchedule())
    start = _now(bench)
    readings, times = [], []
    with bench.progress.stage("2f: read up to 10⁵ s", len(seconds)) as tell:
        for done, due in enumerate(seconds):
            _wait_until(bench, start + due)
            times.append(_now(bench) - start)
            readings.append(bench.chip.read(bench.array, reads=READS).ravel()[chosen])
            tell(done + 1, f"{due:.3g} s")
    return Retention(np.array(times), np.array(readings))


def _now(bench: Bench) -> float:
    return bench.chip.book().seconds


def _wait_until(bench: Bench, due: float) -> None:
    while (left := due - _now(bench)) > 1e-3:
        bench.chip.wait(min(left, _LONGEST_WAIT))
