"""The law of read-to-read fluctuation, ln σ = a ln G + b + s N(0, 1), from variances of repeated reads.

Form of Mao et al. 2022: σ and G in µS, N drawn once per device. Reads hold the converter's noise too. It is
subtracted in quadrature inside the likelihood: what is observed of device i, the variance V of d + 1 reads,
is (σ_i² + n_i²) χ²_d / d, with n_i the measured converter noise at its gain. A quiet device, whose V may come
out below n², so still counts for what it says; subtracting first would leave it a negative variance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_GRID = np.linspace(np.log(1e-3), np.log(100.0), 400)
"""ln σ, σ in µS: wider than any device, in steps of what a thousand reads resolve."""

_CLASSES = 8
_ROUNDS = 200
_SETTLED = 1e-5
_TWO_SIDED_95 = 1.959964


@dataclass(frozen=True)
class Variances:
    """What repeated reads say of each device; arrays of shape (devices,), conductance in µS."""

    mean_us: Floats
    variance_us2: Floats
    noise_us2: Floats
    """Variance of the converter at the gain the device was read with, quantisation included."""
    freedom: int
    """Degrees of freedom of each variance."""


@dataclass(frozen=True)
class FluctuationLaw:
    """Slope a, offset b and spread s, with their covariance."""

    slope: float
    offset: float
    spread: float
    covariance: Floats
    """Of (a, b, s), shape (3, 3)."""

    def interval(self, name: str) -> tuple[float, float]:
        """95 % confidence interval of `slope`, `offset` or `spread`."""
        place = ("slope", "offset", "spread").index(name)
        half = _TWO_SIDED_95 * float(np.sqrt(self.covariance[place, place]))
        value = float(getattr(self, name))
        return value - half, value + half

    def sigma_us(self, conductance_us: Floats, normal: float = 0.0) -> Floats:
        """Standard deviation in µS of a device `normal` sigmas noisier than the median one."""
        return np.asarray(np.exp(self.slope * np.log(conductance_us) + self.offset + self.spread * normal))


def misfit(seen: Variances, law: FluctuationLaw) -> float:
    """How far devices of like conductance lie off the law together: χ² of eight classes over its freedom.

    Each device's ln V is held against what law and converter make expect of it. Around 1 if the law has the
    right form, converter noise is known, and neither depends on the conductance in another way.
    """
    x, d = np.log(seen.mean_us), seen.freedom
    prior = _prior(x, np.array([law.slope, law.offset, law.spread]))
    prior /= prior.sum(axis=1, keepdims=True)
    logs = np.log(np.exp(2 * _GRID)[None, :] + seen.noise_us2[:, None])
    mean = (prior * logs).sum(axis=1)
    # Of ln χ²_d / d: digamma and trigamma functions of d / 2, for nine and more degrees of freedom
    shift, sampling = -1 / d - 1 / (3 * d**2), 2 / d + 2 / d**2 + 4 / (3 * d**3)
    variance = (prior * logs**2).sum(axis=1) - mean**2 + sampling
    off = (np.log(seen.variance_us2) - mean - shift) / np.sqrt(variance)
    classes = np.array_split(off[np.argsort(x)], _CLASSES)
    return float(sum(part.sum() ** 2 / part.size for part in classes) / (_CLASSES - 2))


def fit_law(seen: Variances) -> FluctuationLaw:
    """The most likely law, by expectation maximisation over the devices' unknown σ.

    Raises:
        ValueError: Fewer than ten devices, or all at one conductance.
    """
    x = np.log(seen.mean_us)
    if x.size < 10 or np.ptp(x) < 0.1:
        raise ValueError("the law of fluctuation wants at least ten devices at different conductances")
    likelihood = _likelihood(seen)
    design = np.column_stack([x, np.ones_like(x)])
    estimate = np.array([0.5, -2.0, 1.0])
    for _ in range(_ROUNDS):
        weights = likelihood * _prior(x, estimate)
        weights /= weights.sum(axis=1, keepdims=True)
        mean = weights @ _GRID
        square = weights @ (_GRID * _GRID)
        line = np.linalg.lstsq(design, mean, rcond=None)[0]
        fitted = design @ line
        spread = np.sqrt(max(np.mean(square - 2 * fitted * mean + fitted**2), 1e-8))
        step = np.array([*line, spread]) - estimate
        estimate = estimate + step
        if np.abs(step).max() < _SETTLED:
            break
    slope, offset, spread = (float(value) for value in estimate)
    return FluctuationLaw(slope, offset, spread, _covariance(x, likelihood, estimate))


def _likelihood(seen: Variances) -> Floats:
    """Of each device's variance for each σ of the grid, its highest 1; shape (devices, grid)."""
    total = np.exp(2 * _GRID)[None, :] + seen.noise_us2[:, None]
    logs = -0.5 * seen.freedom * (np.log(total) + seen.variance_us2[:, None] / total)
    return np.asarray(np.exp(logs - logs.max(axis=1, keepdims=True)))


def _prior(x: Floats, law: Floats) -> Floats:
    slope, offset, spread = law
    return np.asarray(np.exp(-0.5 * ((_GRID - (slope * x + offset)[:, None]) / spread) ** 2) / spread)


def _covariance(x: Floats, likelihood: Floats, law: Floats) -> Floats:
    """Inverse of the observed information, by central differences."""

    def surprise(at: Floats) -> float:
        return -float(np.log((likelihood * _prior(x, at)).sum(axis=1)).sum())

    steps = np.diag(np.array([1e-2, 1e-2, 1e-2]))
    curvature = np.empty((3, 3))
    for i in range(3):
        for j in range(i, 3):
            corners = [a * b * surprise(law + a * steps[i] + b * steps[j]) for a in (1, -1) for b in (1, -1)]
            curvature[i, j] = curvature[j, i] = sum(corners) / (4 * steps[i, i] * steps[j, j])
    return np.asarray(np.linalg.inv(curvature))
