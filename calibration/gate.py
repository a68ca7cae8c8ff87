"""Gate voltage → conductance: where one strong SET pulse leaves a device, and how widely that scatters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.device_fit import LawFit, fit_gate
from calibration.procedure import Effect, Procedure, Scope
from calibration.pulsing import STRONG_SET_VOLTS, Pulser
from chipctl.chip import Siemens
from chipctl.converters import SPAN
from chipctl.gate_law import PROCEDURE, GateLaw
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREY, INK, ORANGE, canvas

Floats = NDArray[np.float64]

ROWS, QUICK_ROWS = 8, 3
"""Whose usable devices are measured."""
CYCLES, QUICK_CYCLES = 2, 1
GATE_VOLTS = np.round(np.arange(0.83, 1.31, 0.04), 3)
"""Conductances from where the transistor opens to beyond the programmable span, on any chip alike."""
WIDTH_SECONDS = 1e-6

_MOST_ODD = 0.1
_MOST_CHI_SQUARE = 2.0


@dataclass(frozen=True)
class GateCurve:
    """Conductance after SET pulses by gate voltage, and the square law fitted to it."""

    gate_volts: Floats
    """Shape (levels,)."""
    reached: Siemens
    """As read, shape (cycles, levels, devices)."""
    devices: NDArray[np.intp]
    fit: LawFit
    series_ohms: float
    """In series with a device when read, in the mean."""

    @property
    def law(self) -> GateLaw:
        """As programming uses it."""
        found = self.fit.estimates
        gain = float(np.exp(found["ln_gain"].value)) * 1e-6
        return GateLaw(
            found["threshold"].value,
            gain,
            self.series_ohms,
            found["threshold"].spread,
            found["ln_gain"].spread,
            found["set_jitter"].value,
        )

    @property
    def values(self) -> dict[str, Quantity]:
        """The law, how well it fits, and the curve itself."""
        found, law = self.fit.estimates, self.law
        threshold, gain, jitter = found["threshold"], found["ln_gain"], found["set_jitter"]
        odd = np.count_nonzero(self.fit.population.odd) / len(self.devices)
        about = "of ln gain over devices"
        return {
            "threshold": Quantity.of(threshold.value, threshold.error, "V").within(0.6, 1.0),
            "threshold_spread": Quantity.of(threshold.spread, threshold.spread_error, "V").within(0, 0.1),
            "gain": Quantity.of(law.gain, law.gain * gain.error, "S/V²").within(300e-6, 1700e-6),
            "gain_spread": Quantity.of(gain.spread, gain.spread_error, "1", about=about).within(0, 0.3),
            "set_jitter": Quantity.of(
                jitter.value, jitter.error, "1", about="of ln conductance at 50 µS, as 1/√G"
            ).within(0, 0.25),
            "series_ohms": Quantity.of(self.series_ohms, np.nan, "Ω", about="assumed, not measured"),
            "chi_square": Quantity.of(self.fit.population.chi_square, np.nan, "1").within(
                None, _MOST_CHI_SQUARE
            ),
            "odd": Quantity.of(odd, np.nan, "1", about="share of devices unlike others").within(0, _MOST_ODD),
            **self._curve(),
        }

    def _curve(self) -> dict[str, Quantity]:
        flat = np.moveaxis(self.reached, 1, 0).reshape(len(self.gate_volts), -1)
        lower, middle, upper = np.percentile(flat, (16, 50, 84), axis=1)
        sigma = (upper - lower) / 2 / np.sqrt(len(self.devices)) * np.sqrt(np.pi / 2)
        parts = {"conductance": (middle, "median"), "lower": (lower, "16 %"), "upper": (upper, "84 %")}
        return {
            "gate_volts": Quantity.of(self.gate_volts, 0.0, "V", "level"),
            **{k: Quantity.of(v, sigma, "S", "level", about=a + " as read") for k, (v, a) in parts.items()},
        }

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """One pulse of that width and voltage, from below."""
        return {"width_seconds": WIDTH_SECONDS, "set_volts": STRONG_SET_VOLTS}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Every reading, and each device's own law."""
        own = self.fit.population
        return {
            "gate_volts": (self.gate_volts, "V"),
            "reached": (self.reached, "S"),
            "devices": (self.devices, "row · cols + col"),
            "threshold": (own.devices["threshold"], "V"),
            "threshold_sigma": (own.device_errors["threshold"], "V"),
            "ln_gain": (own.devices["ln_gain"], "ln µS/V²"),
            "ln_gain_sigma": (own.device_errors["ln_gain"], "1"),
        }

    def draw(self) -> Markup:
        """The curve with its spread over devices and pulses; thresholds of devices; residuals."""
        law, fine = self.law, np.linspace(self.gate_volts[0] - 0.05, self.gate_volts[-1], 100)
        flat = np.moveaxis(self.reached, 1, 0).reshape(len(self.gate_volts), -1) * 1e6
        low, middle, high = np.percentile(flat, (16, 50, 84), axis=1)
        with canvas(9.6, 3.4, "Conductance after one SET pulse against gate voltage") as drawing:
            left, centre, right = drawing.figure.subplots(1, 3)
            left.errorbar(
                self.gate_volts, middle, (middle - low, high - middle), fmt=".", color=INK, label="16–84 %"
            )
            left.plot(fine, law.conductance(fine) * 1e6, color=BLUE, lw=1, label="fitted law")
            left.plot(fine, GateLaw().conductance(fine) * 1e6, "--", color=GREY, lw=1, label="nominal")
            left.axhline(SPAN * 1e6, color=GREY, lw=0.6)
            left.set(xlabel="gate voltage / V", ylabel="conductance as read / µS")
            left.legend(loc="upper left")
            centre.hist(self.fit.population.devices["threshold"] * 1e3, 40, color=ORANGE)
            centre.set(xlabel="threshold of a device / mV", ylabel="devices")
            draw_residuals(right, self.fit)
        return drawing.markup


def draw_residuals(axes: Any, fit: LawFit) -> None:
    """Histogram of residuals in standard deviations, beside the Gaussian that they should follow."""
    at = np.linspace(-5, 5, 101)
    z = np.clip(fit.residual / fit.sigma, -5, 5)
    axes.hist(z, 50, range=(-5, 5), density=True, color=BLUE, alpha=0.7)
    axes.plot(at, np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi), color=INK, lw=1)
    axes.set(xlabel="residual / σ", ylabel="share per unit")


def measure_gate(bench: Bench) -> GateCurve:
    """SET devices, each time from below, at a ladder of gate voltages; changes the devices it draws."""
    cycles = QUICK_CYCLES if bench.quick else CYCLES
    pulser = Pulser(bench, QUICK_ROWS if bench.quick else ROWS)
    reached = np.empty((cycles, len(GATE_VOLTS), len(pulser.devices)))
    with bench.progress.stage(f"gate curve of array {bench.array}", reached[..., 0].size) as tell:
        for cycle, level in np.ndindex(reached.shape[:2]):
            pulser.bring_low()
            reached[cycle, level] = pulser.set(STRONG_SET_VOLTS, float(GATE_VOLTS[level]), WIDTH_SECONDS)
            tell(cycle * len(GATE_VOLTS) + level + 1)
    table = pulser.table()
    ohms = float(pulser.series_ohms.mean())
    return GateCurve(GATE_VOLTS, reached, pulser.devices, fit_gate(table), ohms)


GATE = Procedure(
    name=PROCEDURE,
    title="Gate voltage → conductance",
    method="The devices of a few rows are brought to a few µS by RESET pulses, then given one SET pulse of "
    f"{STRONG_SET_VOLTS:g} V, beyond every SET threshold, at one of a ladder of gate voltages. The access "
    "transistor's square law is fitted with a threshold and a gain of each device's own; what is left over "
    "is the scatter from pulse to pulse. Read noise is measured by reading twice; errors that the "
    "converters make alike at each reading are carried through into the uncertainties.",
    scope=Scope.ARRAY,
    effect=Effect.PULSES,
    needs=("zeros", "lines"),
    fresh_days=30,
    seconds=100.0,
    measure=measure_gate,
)
