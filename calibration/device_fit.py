"""Pulse data of many devices, and the laws of SET and RESET fitted to them.

What is fitted, in the words of `calibration.pulse_law`: the access transistor's threshold and gain, SET
thresholds of on and off devices, the softness of the SET edge, reference and steepness of RESET, how far one
RESET goes, the resistance in its way, shifts with the pulse width, and the scatter from pulse to pulse. Each
with its spread over devices where devices differ, and with its standard error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibration.population_fit import Estimate, Observed, Parameter, PopulationFit, fit_population
from calibration.pulse_law import FLOOR_US, Floats, Law, Pulses, after_reset, after_set
from firmware_protocol.messages import RESET, SET

SET_PARAMETERS = (
    Parameter("threshold", 0.785, 0.1, 0.03),
    Parameter("ln_gain", float(np.log(812.0)), 0.5, 0.1),
    Parameter("set_threshold", 1.05, 0.4, 0.15),
    Parameter("off_gap", 0.65, 0.4, 0.3),
    Parameter("set_softness", 0.30, 0.15),
    Parameter("set_width_shift", 0.17, 0.1),
    Parameter("set_jitter", 0.08, 0.08),
)
"""Start values: the nominal device. The prior of each is as wide as what is known of such devices."""

_GATE = ("threshold", "ln_gain", "set_jitter")

RESET_PARAMETERS = (
    Parameter("reset_reference", 0.95, 0.2, 0.1),
    Parameter("ln_steepness", float(np.log(9.5)), 0.4, 0.3),
    Parameter("reset_fraction", 0.75, 0.2),
    Parameter("reset_ohms", 450.0, 300.0),
    Parameter("reset_width_shift", 0.08, 0.08),
    Parameter("reset_jitter", 0.15, 0.15),
)

UNITS = {
    "threshold": "V",
    "ln_gain": "ln µS/V²",
    "set_threshold": "V",
    "off_gap": "V",
    "set_softness": "V",
    "set_width_shift": "V/decade",
    "set_jitter": "1",
    "reset_reference": "V",
    "ln_steepness": "ln 1/V",
    "reset_fraction": "1",
    "reset_ohms": "Ω",
    "reset_width_shift": "V/decade",
    "reset_jitter": "1",
}

LEAST_PULSES = 30
_QUIET = 0.7
"""Share of an uncertainty from where on it counts as one of reading."""
_OPEN_GATE = 4.5
"""Volts: from there on the transistor does not limit a RESET pulse."""


@dataclass(frozen=True)
class PulseTable:
    """Single pulses and the readings around them; arrays of shape (pulses,), SI units."""

    device: NDArray[np.int64]
    """Any number that is one device's own."""
    direction: NDArray[np.int64]
    """`SET` or `RESET`."""
    volts: Floats
    gate_volts: Floats
    width_seconds: Floats
    before: Floats
    """S, as read."""
    after: Floats
    before_sigma: Floats
    """Uncertainty of the readings, S."""
    after_sigma: Floats
    before_drawn: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    """Errors that readings may share, such as the converter's, (draws, pulses) in S; none by default."""
    after_drawn: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def of(self, chosen: NDArray[np.bool_]) -> Self:
        """The chosen pulses (pulses,)."""
        parts = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{k: v[..., chosen] if v.shape[-1] else v for k, v in parts.items()})

    @classmethod
    def joined(cls, tables: list[Self]) -> Self:
        """All pulses of several tables, in their order."""
        names = [item.name for item in fields(cls)]
        return cls(**{name: np.concatenate([getattr(t, name) for t in tables], axis=-1) for name in names})

    def without_series(self, ohms: Floats) -> Self:
        """Readings of the devices themselves: less what lies in series with them, (pulses,) in Ω."""

        def own(read: Floats) -> Floats:
            return np.asarray(read / np.maximum(1 - read * ohms, 0.1))

        def scale(read: Floats) -> Floats:
            return np.asarray(1 / np.square(np.maximum(1 - read * ohms, 0.1)))

        return replace(
            self,
            before=own(self.before),
            after=own(self.after),
            before_sigma=self.before_sigma * scale(self.before),
            after_sigma=self.after_sigma * scale(self.after),
        )


@dataclass(frozen=True)
class LawFit:
    """One law fitted to the pulses of one direction."""

    population: PopulationFit
    numbers: NDArray[np.int64]
    """Of the devices, (D,)."""
    places: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Row and column of each pulse of the table in the (D, N) arrays of the fit."""

    @property
    def estimates(self) -> Mapping[str, Estimate]:
        """What was measured, by parameter."""
        return self.population.estimates

    @property
    def residual(self) -> Floats:
        """Measured minus expected conductance after each pulse, S, shape (pulses,)."""
        return np.asarray(self.population.residual_us[self.places] * 1e-6)

    @property
    def sigma(self) -> Floats:
        """What these should scatter by, S, shape (pulses,)."""
        return np.asarray(self.population.sigma_us[self.places] * 1e-6)


def louder(table: PulseTable, fits: Mapping[int, LawFit]) -> PulseTable:
    """The table with each device's uncertainties scaled to what its residuals say, by direction of the fits.

    For readings of which no uncertainty was given: a device's own is that of the median device times its
    loudness, which shows where a pulse itself scatters little.
    """
    squares, weights = np.zeros(table.device.max() + 1), np.zeros(table.device.max() + 1)
    for direction, fit in fits.items():
        devices, population = table.device[table.direction == direction], fit.population
        reading = population.reading_us[fit.places] * 1e-6
        quiet = reading > _QUIET * fit.sigma
        np.add.at(squares, devices[quiet], (fit.residual / fit.sigma)[quiet] ** 2)
        np.add.at(weights, devices[quiet], 1.0)
    # One pulse's worth of a device of median loudness: a few pulses tell little
    loudness = np.sqrt((squares + 1.0) / (weights + 1.0))[table.device]
    return replace(
        table, before_sigma=table.before_sigma * loudness, after_sigma=table.after_sigma * loudness
    )


def fit_set(table: PulseTable, known: Mapping[str, tuple[float, float]] | None = None) -> LawFit:
    """Fit the law of SET; raises as `fit_reset`.

    Args:
        table: SET pulses on devices themselves (`PulseTable.without_series`).
        known: Parameters measured before, with their standard errors; wider priors otherwise.
    """
    return _fit(table, SET, after_set, SET_PARAMETERS, "set_jitter", known or {})


def fit_gate(table: PulseTable) -> LawFit:
    """Fit threshold, gain and scatter alone, of SET pulses far beyond any SET threshold; raises as above."""
    held = [p if p.name in _GATE else replace(p, spread=0.0, sigma=1e-6) for p in SET_PARAMETERS]
    return _fit(table, SET, after_set, tuple(held), "set_jitter", {})


def fit_reset(table: PulseTable, known: Mapping[str, tuple[float, float]] | None = None) -> LawFit:
    """Fit the law of RESET, as `fit_set`.

    Raises:
        ValueError: Fewer than 30 pulses of that direction, or none with an open gate.
    """
    if len(table.device) and np.any(table.gate_volts[table.direction == RESET] < _OPEN_GATE):
        raise ValueError(
            f"RESET pulses at gates below {_OPEN_GATE} V are limited by the transistor, which this law does "
            "not cover; leave them out"
        )
    return _fit(table, RESET, after_reset, RESET_PARAMETERS, "reset_jitter", known or {})


def _fit(
    table: PulseTable,
    direction: int,
    law: Law,
    parameters: tuple[Parameter, ...],
    scatter: str,
    known: Mapping[str, tuple[float, float]],
) -> LawFit:
    if np.any(table.direction != direction):
        raise ValueError("pulses of one direction wanted")
    if len(table.device) < LEAST_PULSES:
        raise ValueError(f"{len(table.device)} pulses are too few to fit a law to; {LEAST_PULSES} at least")
    numbers, devices = np.unique(table.device, return_inverse=True)
    order = np.argsort(devices, kind="stable")
    first = np.searchsorted(devices[order], np.arange(len(numbers)))
    nth = np.empty(len(devices), np.intp)
    nth[order] = np.arange(len(devices)) - first[devices[order]]
    places = (devices, nth)
    seen = _observed(table, places, (len(numbers), int(nth.max()) + 1))
    given = tuple(
        replace(p, start=known[p.name][0], sigma=max(known[p.name][1], 1e-6)) if p.name in known else p
        for p in parameters
    )
    return LawFit(fit_population(law, given, scatter, seen), numbers, places)


def _observed(
    table: PulseTable, places: tuple[NDArray[np.intp], NDArray[np.intp]], shape: tuple[int, int]
) -> Observed:
    """The table as (devices, pulses), places that no pulse fills made harmless."""

    def spread_out(flat: Floats, fill: float, scale: float = 1.0) -> Floats:
        full = np.full((*flat.shape[:-1], *shape), fill)
        if flat.shape[-1]:
            full[(..., *places)] = flat * scale
        return full

    given = np.zeros(shape, bool)
    given[places] = True
    pulses = Pulses(
        volts=spread_out(table.volts, 1.0),
        gate_volts=spread_out(table.gate_volts, 1.0),
        decades=spread_out(np.log10(table.width_seconds / 1e-6), 0.0),
        before_us=np.maximum(spread_out(table.before, 1.0, 1e6), FLOOR_US),
        before_sigma_us=spread_out(table.before_sigma, 1.0, 1e6),
    )
    return Observed(
        pulses,
        spread_out(table.after, 1.0, 1e6),
        spread_out(table.after_sigma, 1.0, 1e6),
        given,
        spread_out(table.before_drawn, 0.0, 1e6),
        spread_out(table.after_drawn, 0.0, 1e6),
    )
