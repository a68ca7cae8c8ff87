"""What one SET or RESET pulse is expected to do to a device, and how widely that scatters.

Every pulse has an equilibrium conductance and moves a device a fraction towards it. SET: the compliance of
the access transistor, a square law in the gate voltage; RESET: an exponential in the voltage that falls on
the device. One standard normal per pulse scatters the equilibrium; its mean and variance are worked out at
the nodes of a Gauss-Hermite rule, so that what a pulse cannot do (SET lowers nothing, RESET raises nothing)
is part of the expectation. Conductances are those of the device itself, in µS: without access transistor
and lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Values = Mapping[str, Floats]
"""Parameters of a law by name, each broadcasting to the shape of the pulses."""

COMPLIANCE_VOLTS = 0.45
"""Device voltage at which the transistor limits; only its ratio to the transconductance is seen in pulses."""
KNEE_US, FLOOR_US, OFF_GAP_FLOOR = 5.0, 0.02, 0.1
"""Above the knee a device counts as on; below the floor none goes; least extra threshold of an off one."""
JITTER_LOW, JITTER_HIGH, JITTER_US = 0.02, 0.25, 50.0
"""Bounds of the relative scatter of SET, and the conductance at which it is stated."""
RESET_US = 100.0
"""Equilibrium at the RESET reference: what the reference means."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Pulses:
    """Pulses on devices; arrays of one shape, usually (devices, pulses)."""

    volts: Floats
    gate_volts: Floats
    decades: Floats
    """log10 of the width over 1 µs."""
    before_us: Floats
    before_sigma_us: Floats
    """Uncertainty of the reading before."""


Law = Callable[[Values, Pulses, Floats, float], Floats]
"""Conductances (µS) after pulses on devices at given conductances, for one standard normal of the pulse."""


@dataclass(frozen=True)
class Expected:
    """Mean (µS) and variance (µS²) of the conductance after each pulse."""

    mean: Floats
    scatter: Floats
    """Variance by the pulse's own normal."""
    slope: Floats
    """Of the mean, by the conductance before."""


def after_set(values: Values, pulses: Pulses, us: Floats, normal: float) -> Floats:
    """Conductance (µS) after a SET pulse whose equilibrium lies `normal` sigmas above its median.

    Values, each broadcasting to the pulses' shape: threshold (V), ln_gain (ln µS/V²), set_threshold (V),
    off_gap (V), set_softness (V), set_width_shift (V/decade), set_jitter (1, at 50 µS).
    """
    over = np.maximum(pulses.gate_volts - values["threshold"], 0.0)
    drain = np.clip(pulses.volts - COMPLIANCE_VOLTS, 0.0, over)
    bound = np.maximum(2.0 * np.exp(values["ln_gain"]) * (over * drain - 0.5 * drain * drain), 1e-6)
    jitter = np.clip(values["set_jitter"] * np.sqrt(JITTER_US / bound), JITTER_LOW, JITTER_HIGH)
    target = bound * np.exp(jitter * normal)
    depth = np.log(KNEE_US / np.maximum(us, 1e-6)) / np.log(KNEE_US / FLOOR_US)
    gap = np.maximum(values["off_gap"], OFF_GAP_FLOOR) * np.clip(depth, 0.0, 1.0)
    threshold = values["set_threshold"] + gap - values["set_width_shift"] * pulses.decades
    fraction = -np.expm1(-np.maximum(pulses.volts - threshold, 0.0) / values["set_softness"])
    return np.asarray(us + fraction * np.maximum(target - us, 0.0))


def after_reset(values: Values, pulses: Pulses, us: Floats, normal: float) -> Floats:
    """Conductance (µS) after a RESET pulse, as `after_set`; the gate is taken to be fully open.

    Values: reset_reference (V), ln_steepness (ln 1/V), reset_fraction (1), reset_ohms (Ω),
    reset_width_shift (V/decade), reset_jitter (1).
    """
    across = pulses.volts / (1.0 + us * values["reset_ohms"] * 1e-6)
    drive = across - values["reset_reference"] + values["reset_width_shift"] * pulses.decades
    exponent = values["reset_jitter"] * normal - np.exp(values["ln_steepness"]) * drive
    target = RESET_US * np.exp(np.minimum(exponent, 50.0))
    moved = us + values["reset_fraction"] * np.minimum(target - us, 0.0)
    return np.asarray(np.minimum(np.maximum(moved, FLOOR_US), us))


def expected_mean(law: Law, values: Values, pulses: Pulses) -> Floats:
    """Mean conductance (µS) after pulses, over their scatter."""
    mean = np.zeros(pulses.volts.shape)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        mean += weight * law(values, pulses, pulses.before_us, float(node))
    return mean


def expected(law: Law, values: Values, pulses: Pulses) -> Expected:
    """Mean and variance over a pulse's scatter, and how the mean goes with the reading before."""
    us = pulses.before_us
    outcomes = np.stack([law(values, pulses, us, float(node)) for node in _NODES])
    mean = np.tensordot(_WEIGHTS, outcomes, 1)
    scatter = np.tensordot(_WEIGHTS, np.square(outcomes - mean), 1)
    step = np.maximum(pulses.before_sigma_us, 1e-3 * us)
    low, high = np.maximum(us - step, FLOOR_US), us + step
    rise = law(values, pulses, high, 0.0) - law(values, pulses, low, 0.0)
    return Expected(mean, scatter, np.asarray(rise / (high - low)))
