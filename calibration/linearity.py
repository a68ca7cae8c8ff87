"""Current against read voltage of devices at sixteen conductance levels (He et al. 2026, Fig. 2e)."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from calibration.bench import Bench, level_targets
from calibration.comparison import Comparison
from chipctl.chip import Amps, Siemens, Volts
from chipctl.runs.drawing import INK, canvas
from chipctl.schedules import PulseSchedule
from firmware_protocol.messages import RESET, SET

LEVELS = np.linspace(0, 150e-6, 16)
"""Siemens; 0 to 150 µS in steps of 10 µS."""

DEVICES, QUICK_DEVICES = 8, 2
"""Devices at each level."""
REPEATS, QUICK_REPEATS = 8, 2
"""Staircases averaged per device and polarity."""

TOP_VOLTS, STEP_VOLTS = 0.2, 0.02
GATE_VOLTS = 5.0
DWELL_SECONDS = 1e-6

_RESOLVED = 10e-6
"""Siemens: the lowest level whose straightness is judged; below, the ADC's last digit decides."""


@dataclass(frozen=True)
class Linearity:
    """Mean currents of devices at every level."""

    volts: Volts
    """Both polarities, rising, shape (steps,)."""
    amps: Amps
    """Shape (levels, devices, steps)."""
    before: Siemens
    """Read before the staircases, shape (levels, devices)."""
    after: Siemens

    @property
    def slope(self) -> Siemens:
        """Conductance of the straight line through zero that fits best, shape (levels, devices)."""
        return np.asarray(self.amps @ self.volts / (self.volts @ self.volts))

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Largest distance from that line over the current at the top voltage, (levels, devices)."""
        line = self.slope[..., None] * self.volts
        span = np.maximum(np.abs(line).max(axis=-1), 1e-12)
        return np.asarray(np.abs(self.amps - line).max(axis=-1) / span)

    @property
    def unexplained(self) -> NDArray[np.float64]:
        """1 − R²: share of the current's square that the line leaves over, shape (levels, devices)."""
        left = ((self.amps - self.slope[..., None] * self.volts) ** 2).sum(axis=-1)
        return np.asarray(left / np.maximum((self.amps**2).sum(axis=-1), 1e-30))

    @property
    def comparisons(self) -> list[Comparison]:
        """How straight the lines are."""
        judged = LEVELS >= _RESOLVED - 1e-12
        linear, left = "linear", self.unexplained[judged]
        moved = _median(np.abs(self.after - self.before))
        return [
            Comparison("levels", len(self.amps), "1", 16.0, low=16),
            Comparison("1 − R² of a line through zero, median", _median(left), "1", linear, high=0.01),
            Comparison("1 − R², highest", float(left.max()), "1", linear),
            Comparison(
                "deviation from the line / top current, median",
                _median(self.deviation[judged]),
                "1",
                linear,
                high=0.05,
            ),
            Comparison("change of conductance by the staircases, median", moved, "S", high=1e-6),
        ]

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured."""
        return {
            "levels": (LEVELS, "S"),
            "volts": (self.volts, "V"),
            "amps": (self.amps, "A"),
            "before": (self.before, "S"),
            "after": (self.after, "S"),
        }

    def draw(self) -> Markup:
        """Current against voltage, one line a level; beside it, how far each device is from its line."""
        import matplotlib

        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(LEVELS)))
        with canvas(9.6, 3.6, "Current against read voltage at sixteen conductance levels") as drawing:
            left, right = drawing.figure.subplots(1, 2)
            for slopes, amps, colour in zip(self.slope, self.amps, colours, strict=True):
                mean, slope = amps.mean(axis=0) * 1e6, slopes.mean()
                left.plot(self.volts, mean, ".", ms=4, color=colour)
                left.plot(self.volts, slope * self.volts * 1e6, color=colour, lw=0.9)
            left.set(xlabel="voltage / V", ylabel="current / µA", title="0 to 150 µS in steps of 10 µS")
            judged = LEVELS >= _RESOLVED - 1e-12
            at = np.repeat(LEVELS[judged] * 1e6, self.deviation.shape[1])
            right.plot(at, self.deviation[judged].ravel() * 100, "o", ms=3.5, color=INK, alpha=0.6)
            right.set(xlabel="level / µS", ylabel="largest deviation from the line / %", ylim=(0, None))
        return drawing.markup


def measure_linearity(bench: Bench) -> Linearity:
    """Program devices to sixteen levels and sweep each between −0.2 and 0.2 V.

    Changes the usable devices it draws. The staircases stay where no device switches.
    """
    devices = QUICK_DEVICES if bench.quick else DEVICES
    repeats = QUICK_REPEATS if bench.quick else REPEATS
    target, chosen = level_targets(bench, LEVELS, devices)
    bench.program("2e: program 16 levels", target, PulseSchedule(reads=8))
    rising = np.linspace(0, TOP_VOLTS, round(TOP_VOLTS / STEP_VOLTS) + 1)
    before = bench.chip.read(bench.array, reads=64).ravel()[chosen]
    amps = np.empty((*chosen.shape, 2 * rising.size - 1))
    with bench.progress.stage("2e: staircases up to ±0.2 V", chosen.size) as tell:
        for done, place in enumerate(np.ndindex(chosen.shape)):
            amps[place] = _both_ways(bench, int(chosen[place]), rising, repeats)
            tell(done + 1)
    after = bench.chip.read(bench.array, reads=64).ravel()[chosen]
    return Linearity(np.concatenate([-rising[:0:-1], rising]), amps, before, after)


def _both_ways(bench: Bench, device: int, rising: Volts, repeats: int) -> Amps:
    """Mean current of one device from the lowest to the highest voltage."""
    row, col = divmod(device, bench.chip.cols)
    means = []
    for direction in (RESET, SET):
        train = np.tile(rising, repeats)
        amps = bench.chip.sweep(bench.array, row, col, direction, train, GATE_VOLTS, DWELL_SECONDS)
        means.append(amps.reshape(repeats, rising.size).mean(axis=0))
    return np.concatenate([-means[0][:0:-1], means[1]])


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values))
