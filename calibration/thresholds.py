"""SET thresholds, reference and steepness of RESET: median and spread over devices."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.device_fit import UNITS, LawFit, PulseTable, fit_reset, fit_set
from calibration.gate import draw_residuals
from calibration.procedure import Effect, Procedure, Scope
from calibration.pulsing import STRONG_SET_VOLTS, Pulser
from chipctl.gate_law import GateLaw
from chipctl.profile import ChipProfile
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, GREEN, ORANGE, canvas
from firmware_protocol.messages import RESET, SET

Floats = NDArray[np.float64]

ROWS, QUICK_ROWS = 8, 3
"""Whose usable devices are measured."""
SET_VOLTS = np.round(np.arange(0.8, 2.9, 0.1), 3)
RESET_VOLTS = np.round(np.arange(0.7, 1.95, 0.1), 3)
WIDTHS = (1e-6, 100e-9, 10e-6)
"""Seconds; all voltages are tried at the first, every third one at the others."""
ON, SET_TO = 20e-6, 90e-6
"""Siemens: where a device counts as on, and where SET pulses lead to from there and from below."""
RESET_FROM = (45e-6, 100e-6, 180e-6)
"""Siemens: different starts tell the resistance in the way of RESET from its reference."""

_MOST_ODD = 0.1
_MOST_CHI_SQUARE = 2.0

LIMITS = {
    "set_threshold": (0.5, 2.0),
    "off_gap": (0.0, 2.0),
    "set_softness": (0.05, 1.0),
    "set_width_shift": (0.0, 0.3),
    "set_jitter": (0.0, 0.25),
    "reset_reference": (0.6, 1.5),
    "reset_steepness": (2.0, 20.0),
    "reset_fraction": (0.1, 1.0),
    "reset_ohms": (0.0, 2000.0),
    "reset_width_shift": (0.0, 0.3),
    "reset_jitter": (0.0, 0.5),
}
"""In which something is known of such devices; beyond, the laws are not to be trusted."""

_ABOUT = {
    "set_threshold": "of a device that is on, 1 µs",
    "off_gap": "extra SET threshold of a device fully off",
    "set_softness": "voltage over the threshold that takes a device 63 % of the way",
    "set_jitter": "of ln conductance at 50 µS, as 1/√G",
    "reset_reference": "RESET voltage on the device whose equilibrium is 100 µS, 1 µs",
    "reset_steepness": "of ln equilibrium over voltage",
    "reset_fraction": "of the way to the equilibrium, per pulse",
    "reset_ohms": "in the way of a RESET pulse",
    "reset_jitter": "of ln equilibrium",
}


def law_values(fit: LawFit) -> dict[str, Quantity]:
    """What a fitted law says of devices, as a profile keeps it; what the data do not tell is left out."""
    values: dict[str, Quantity] = {}
    for name, found in fit.estimates.items():
        if not found.determined:
            continue
        value, error, unit = found.value, found.error, UNITS[name]
        if logarithmic := name.startswith("ln_"):
            name, unit = {"ln_gain": ("gain", "S/V²"), "ln_steepness": ("reset_steepness", "1/V")}[name]
            value = float(np.exp(value)) * (1e-6 if name == "gain" else 1.0)
            error *= value
        low, high = LIMITS.get(name, (None, None))
        values[name] = Quantity.of(value, error, unit, about=_ABOUT.get(name, "")).within(low, high)
        if found.spread > 0:
            spread_unit, about = ("1", "of its ln over devices") if logarithmic else (unit, "over devices")
            values[f"{name}_spread"] = Quantity.of(found.spread, found.spread_error, spread_unit, about=about)
    return values


def quality(fits: dict[str, LawFit]) -> dict[str, Quantity]:
    """How well laws fit, by direction."""
    values = {}
    for name, fit in fits.items():
        population = fit.population
        values[f"{name}_chi_square"] = Quantity.of(
            population.chi_square, np.nan, "1", about="mean square of residual over σ"
        ).within(None, _MOST_CHI_SQUARE)
        values[f"{name}_odd"] = Quantity.of(
            population.odd.mean(), np.nan, "1", about="share of devices unlike others"
        ).within(0, _MOST_ODD)
    return values


@dataclass(frozen=True)
class Thresholds:
    """Both laws as fitted to one array's pulses."""

    set_fit: LawFit
    reset_fit: LawFit
    set_table: PulseTable
    reset_table: PulseTable

    @property
    def values(self) -> dict[str, Quantity]:
        """Parameters and spreads, and how well the laws fit."""
        found = law_values(self.set_fit) | law_values(self.reset_fit)
        elsewhere = ("threshold", "gain", "set_jitter")
        mine = {name: value for name, value in found.items() if not name.startswith(elsewhere)}
        return mine | quality({"set": self.set_fit, "reset": self.reset_fit})

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """Widths that were tried."""
        return {"width_seconds": list(WIDTHS)}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """Every pulse, and each device's own parameters."""
        found: dict[str, tuple[ArrayLike, str]] = {}
        for name, fit, table in (
            ("set", self.set_fit, self.set_table),
            ("reset", self.reset_fit, self.reset_table),
        ):
            for column, unit in (
                ("device", "row · cols + col"),
                ("volts", "V"),
                ("gate_volts", "V"),
                ("width_seconds", "s"),
                ("before", "S"),
                ("after", "S"),
            ):
                found[f"{name}/{column}"] = (getattr(table, column), unit)
            found[f"{name}/residual"], found[f"{name}/sigma"] = (fit.residual, "S"), (fit.sigma, "S")
            found[f"{name}/devices"] = (fit.numbers, "row · cols + col")
            for parameter, own in fit.population.devices.items():
                found[f"{name}/{parameter}"] = (own, UNITS[parameter])
                found[f"{name}/{parameter}_sigma"] = (fit.population.device_errors[parameter], "same")
        return found

    def draw(self) -> Markup:
        """Thresholds and steepness of devices, and what the laws leave over."""
        setting, resetting = self.set_fit.population.devices, self.reset_fit.population.devices
        with canvas(9.6, 3.2, "SET thresholds, RESET references and steepness of devices") as drawing:
            volts, steepness, left = drawing.figure.subplots(1, 3)
            for values, color, label in (
                (setting["set_threshold"], BLUE, "SET, on"),
                (setting["set_threshold"] + setting["off_gap"], GREEN, "SET, fully off"),
                (resetting["reset_reference"], ORANGE, "RESET"),
            ):
                volts.hist(values, 40, color=color, alpha=0.6, label=label)
            volts.set(xlabel="threshold of a device / V", ylabel="devices")
            volts.legend(loc="best")
            steepness.hist(np.exp(resetting["ln_steepness"]), 40, color=ORANGE)
            steepness.set(xlabel="RESET steepness / (1/V)", ylabel="devices")
            draw_residuals(left, self.set_fit)
        return drawing.markup


def gate_known(profile: ChipProfile, array: int) -> dict[str, tuple[float, float]]:
    """Threshold and gain of the transistor as calibrated, with their errors."""
    result = profile.result("gate", array)
    if result is None or not result.usable:
        return {}
    gain, error = float(result.value("gain")) * 1e6, float(result.sigma("gain")) * 1e6
    return {
        "threshold": (float(result.value("threshold")), float(result.sigma("threshold"))),
        "ln_gain": (float(np.log(gain)), error / gain),
    }


@dataclass(frozen=True)
class _Gates:
    """Gate voltages that lead where devices are wanted, by the gate calibration."""

    on: float
    set_to: float
    reset_from: tuple[float, ...]

    @classmethod
    def of(cls, law: GateLaw) -> Self:
        on, set_to, *starts = (float(volts) for volts in law.gate_volts([ON, SET_TO, *RESET_FROM]))
        return cls(on, set_to, tuple(starts))


def measure_thresholds(bench: Bench) -> Thresholds:
    """SET devices that are off and on, and RESET devices that are high; changes the devices it draws."""
    pulser = Pulser(bench, QUICK_ROWS if bench.quick else ROWS)
    gates = _Gates.of(GateLaw.of(bench.chip.profile, bench.array))
    steps = [(width, 3 if number else 1) for number, width in enumerate(WIDTHS)]
    total = sum(len(SET_VOLTS[::every]) + len(RESET_VOLTS[::every]) for _, every in steps)
    with bench.progress.stage(f"thresholds of array {bench.array}", total) as tell:
        done = 0
        for width, every in steps:
            for volts in SET_VOLTS[::every]:
                _set_from_off_and_on(pulser, float(volts), width, gates)
                tell(done := done + 1)
            for volts in RESET_VOLTS[::every]:
                for gate in gates.reset_from:
                    pulser.set(STRONG_SET_VOLTS, gate, keep=False)
                    pulser.reset(float(volts), width)
                tell(done := done + 1)
    table = pulser.table()
    setting, resetting = table.of(table.direction == SET), table.of(table.direction == RESET)
    known = gate_known(bench.chip.profile, bench.array)
    return Thresholds(fit_set(setting, known), fit_reset(resetting), setting, resetting)


def _set_from_off_and_on(pulser: Pulser, volts: float, width: float, gates: _Gates) -> None:
    pulser.bring_low()
    pulser.set(volts, gates.set_to, width)
    pulser.bring_low()
    pulser.set(STRONG_SET_VOLTS, gates.on, keep=False)
    pulser.set(volts, gates.set_to, width)


THRESHOLDS = Procedure(
    name="thresholds",
    title="Pulse thresholds",
    method="The devices of a few rows are given single SET pulses of rising voltage, each time from a few µS "
    "and from 20 µS, and single RESET pulses of rising voltage, from 45, 100 and 180 µS; every third voltage "
    "also with shorter and longer pulses. Laws of SET and RESET are fitted with thresholds, reference and "
    "steepness of each device's own; the scatter from pulse to pulse is what is left over beyond the noise "
    "of reading.",
    scope=Scope.ARRAY,
    effect=Effect.PULSES,
    needs=("zeros", "lines", "gate"),
    fresh_days=30,
    seconds=200.0,
    measure=measure_thresholds,
)
