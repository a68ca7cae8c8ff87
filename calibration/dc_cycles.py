"""DC current-voltage curves of one device over many SET and RESET cycles (He et al. 2026, Fig. 2d)."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from calibration.bench import Bench
from calibration.comparison import Comparison
from chipctl.chip import Amps, Siemens, Volts
from chipctl.errors import ChipctlError
from chipctl.runs.drawing import BLUE, GREY, INK, ORANGE, canvas
from firmware_protocol.messages import RESET, SET

CYCLES, QUICK_CYCLES = 100, 10

STEP_VOLTS = 0.05
DWELL_SECONDS = 1e-3
SET_VOLTS, SET_GATE_VOLTS = 2.2, 1.15
"""Top of the SET staircase; the gate holds the device near 100 µS."""
RESET_VOLTS, RESET_GATE_VOLTS = 1.5, 5.0

READ_VOLTS = 0.2
SMALLEST_WINDOW = 3.0
"""Ratio of the conductances after SET and after RESET below which a device does not switch."""

_CANDIDATES = 10
_LARGEST_SPREAD = 0.25


@dataclass(frozen=True)
class DcCycles:
    """Currents of one device at each step of each cycle; all positive, RESET meant with a minus sign."""

    row: int
    col: int
    set_volts: Volts
    """Up and down again, shape (steps,)."""
    reset_volts: Volts
    set_amps: Amps
    """Shape (cycles, steps)."""
    reset_amps: Amps

    @property
    def on_siemens(self) -> Siemens:
        """Conductance after SET, on the way down, at the read voltage; shape (cycles,)."""
        return np.asarray(self.set_amps[:, _returning(self.set_volts, READ_VOLTS)] / READ_VOLTS)

    @property
    def off_siemens(self) -> Siemens:
        """Conductance after RESET, on the way down, at the read voltage; shape (cycles,)."""
        return np.asarray(self.reset_amps[:, _returning(self.reset_volts, READ_VOLTS)] / READ_VOLTS)

    @property
    def set_at_volts(self) -> NDArray[np.float64]:
        """Where the current reaches half of its highest on the way up, between two steps; (cycles,)."""
        top = self.set_volts.size // 2 + 1
        volts = self.set_volts[:top]
        return np.array([_crossing(volts, amps[:top]) for amps in self.set_amps])

    @property
    def reset_at_volts(self) -> NDArray[np.float64]:
        """Where the current is highest, from where on it falls; shape (cycles,)."""
        return np.asarray(self.reset_volts[np.argmax(self.reset_amps, axis=1)])

    @property
    def comparisons(self) -> list[Comparison]:
        """The spread from cycle to cycle; the paper calls it minimal without giving a number."""
        minimal = "minimal variation"
        on, off = self.on_siemens, self.off_siemens
        spread = float(on.std() / on.mean())
        return [
            Comparison("cycles", len(on), "1", 100.0),
            Comparison("conductance after SET", float(on.mean()), "S"),
            Comparison(
                "its spread from cycle to cycle, σ / mean", spread, "1", minimal, high=_LARGEST_SPREAD
            ),
            Comparison("conductance after RESET", float(off.mean()), "S"),
            Comparison("window, after SET / after RESET", _window(on, off), "1", low=SMALLEST_WINDOW),
            Comparison("SET voltage", float(self.set_at_volts.mean()), "V"),
            Comparison("its σ from cycle to cycle", float(self.set_at_volts.std()), "V", minimal),
            Comparison("RESET voltage", float(self.reset_at_volts.mean()), "V"),
            Comparison("its σ from cycle to cycle", float(self.reset_at_volts.std()), "V", minimal),
        ]

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Everything measured."""
        return {
            "device": ([self.row, self.col], "1"),
            "set_volts": (self.set_volts, "V"),
            "set_amps": (self.set_amps, "A"),
            "reset_volts": (self.reset_volts, "V"),
            "reset_amps": (self.reset_amps, "A"),
        }

    def draw(self) -> Markup:
        """The family of curves with its mean, linear and logarithmic."""
        cycles = len(self.set_amps)
        with canvas(9.6, 3.6, f"DC current against voltage over {cycles} SET and RESET cycles") as drawing:
            left, right = drawing.figure.subplots(1, 2)
            for volts, amps, sign, colour in (
                (self.set_volts, self.set_amps, 1, ORANGE),
                (self.reset_volts, self.reset_amps, -1, BLUE),
            ):
                name = "SET" if sign > 0 else "RESET"
                for axes, shown in ((left, sign * amps), (right, np.maximum(np.abs(amps), 1e-9))):
                    axes.plot(sign * volts, shown.T * 1e6, color=GREY, lw=0.5, alpha=0.35)
                    axes.plot(sign * volts, shown.mean(axis=0) * 1e6, color=colour, label=f"{name}, mean")
            left.set(xlabel="voltage / V", ylabel="current / µA")
            right.set(xlabel="voltage / V", ylabel="|current| / µA", yscale="log")
            for axes in (left, right):
                axes.axvline(0, color=INK, lw=0.6)
            left.plot([], [], color=GREY, lw=0.8, label="each cycle")
            left.legend(loc="upper left")
        return drawing.markup


def measure_dc_cycles(bench: Bench) -> DcCycles:
    """Cycle one usable device, drawn at random, through SET and RESET staircases.

    Changes that device, and those tried before that did not switch.

    Raises:
        ChipctlError: None of the devices tried switches.
    """
    cycles = QUICK_CYCLES if bench.quick else CYCLES
    set_volts, reset_volts = _there_and_back(SET_VOLTS), _there_and_back(RESET_VOLTS)
    row, col = _switching_device(bench, set_volts, reset_volts)
    set_amps, reset_amps = [], []
    with bench.progress.stage(f"2d: {cycles} DC cycles of row {row}, column {col}", cycles) as tell:
        for cycle in range(cycles):
            down, up = _cycle(bench, row, col, set_volts, reset_volts)
            set_amps.append(up)
            reset_amps.append(down)
            tell(cycle + 1)
    return DcCycles(row, col, set_volts, reset_volts, np.array(set_amps), np.array(reset_amps))


def _cycle(bench: Bench, row: int, col: int, set_volts: Volts, reset_volts: Volts) -> tuple[Amps, Amps]:
    """RESET, then SET: currents of both staircases."""
    sweep = bench.chip.sweep
    down = sweep(bench.array, row, col, RESET, reset_volts, RESET_GATE_VOLTS, DWELL_SECONDS)
    up = sweep(bench.array, row, col, SET, set_volts, SET_GATE_VOLTS, DWELL_SECONDS)
    return down, up


def _switching_device(bench: Bench, set_volts: Volts, reset_volts: Volts) -> tuple[int, int]:
    for device in bench.draw_devices(min(_CANDIDATES, int(np.count_nonzero(bench.usable)))):
        row, col = divmod(int(device), bench.chip.cols)
        down, up = _cycle(bench, row, col, set_volts, reset_volts)
        on = up[[_returning(set_volts, READ_VOLTS)]]
        off = down[[_returning(reset_volts, READ_VOLTS)]]
        if _window(on / READ_VOLTS, off / READ_VOLTS) >= SMALLEST_WINDOW:
            return row, col
    raise ChipctlError(f"none of {_CANDIDATES} devices of array {bench.array} switches; choose another array")


def _window(on: Siemens, off: Siemens) -> float:
    """Ratio of mean conductances; what is below 10 nS cannot be told from zero."""
    return float(on.mean()) / max(float(off.mean()), 1e-8)


def _crossing(volts: Volts, amps: Amps) -> float:
    """Voltage at which the current first passes half of its highest, on the line between two steps."""
    half = float(amps.max()) / 2
    above = max(int(np.argmax(amps >= half)), 1)
    part = (half - amps[above - 1]) / (amps[above] - amps[above - 1])
    return float(volts[above - 1] + part * (volts[above] - volts[above - 1]))


def _there_and_back(top: float) -> Volts:
    up = np.linspace(0, top, round(top / STEP_VOLTS) + 1)
    return np.concatenate([up, up[-2::-1]])


def _returning(volts: Volts, at: float) -> int:
    """Index of the voltage nearest to `at` on the way down."""
    half = volts.size // 2
    return half + int(np.argmin(np.abs(volts[half:] - at)))
