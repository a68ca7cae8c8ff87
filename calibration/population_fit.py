"""Fit of a law whose parameters differ from device to device, by what pulses did to many devices.

Parameters of device i are μ + b_i with b_i ~ N(0, diag Ω); others are common to all. μ, the common ones and
all b_i are stepped together (Gauss-Newton; the devices' blocks are eliminated, so that the normal equations
have the size of the common ones). Ω and the scatter of a pulse are set between steps to what deviations and
residuals say, each freed of the share that fitting took (restricted likelihood). A weak prior holds what the
data say nothing about; such a parameter is marked as not determined.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.pulse_law import Expected, Floats, Law, Pulses, expected, expected_mean

_MOST_ROUNDS = 40
_LEAST_ROUNDS = 8
_SETTLED = 0.05
"""Of a standard error: no parameter moves by more in the last round."""
_STEP = 1e-3
"""Of derivatives, in standard deviations of the prior."""
_FURTHEST = 0.5
"""Longest step, in standard deviations of the prior or of the first guess of the spread."""
_SHARES = (1.0, 0.5, 0.1, 0.0)
"""Of a step, tried by each device."""
_ROBUST = 4.0
"""Residuals beyond so many sigmas count as if they were at so many."""
_ODD = 5.0
"""A device so many spreads from the mean is set aside: it is of another kind."""
_MODEL_ERROR = 2e-3
"""Share of a conductance that no law of this kind is trusted with."""
_SCATTER_ERROR = 0.03
"""Share by which taking a skewed scatter for a Gaussian may mistake its size (virtual chips)."""
_RATIOS = np.exp(np.linspace(-0.3, 0.3, 31))


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law before anything is measured."""

    name: str
    start: float
    sigma: float
    """Of the weak prior around `start`."""
    spread: float = 0.0
    """First guess of the standard deviation over devices; 0 where all devices have the same."""


@dataclass(frozen=True)
class Observed:
    """Pulses on devices and what they led to; arrays of shape (devices, pulses)."""

    pulses: Pulses
    after_us: Floats
    after_sigma_us: Floats
    """Uncertainty of the reading after."""
    given: NDArray[np.bool_]
    """False where a device had fewer pulses than others."""
    before_drawn_us: Floats
    """Errors that readings before may share, (draws, devices, pulses); no draws: none known."""
    after_drawn_us: Floats


@dataclass(frozen=True)
class Estimate:
    """A parameter as measured: nominal value and spread over devices, with standard errors."""

    value: float
    error: float
    spread: float = 0.0
    spread_error: float = 0.0
    determined: bool = True
    """Whether the data say more than was assumed before."""


@dataclass(frozen=True)
class PopulationFit:
    """What came out of a fit over D devices of at most N pulses each."""

    estimates: dict[str, Estimate]
    devices: dict[str, Floats]
    """Each device's own parameters, shape (D,)."""
    device_errors: dict[str, Floats]
    residual_us: Floats
    """Measured minus expected, shape (D, N); NaN where there was no pulse."""
    sigma_us: Floats
    """What the residuals should scatter by, shape (D, N)."""
    reading_us: Floats
    """The part of it that is known by readings only, shape (D, N)."""
    odd: NDArray[np.bool_]
    """Devices set aside, shape (D,)."""

    @property
    def chi_square(self) -> float:
        """Mean square of residual over sigma, of each at most 16; near 1 where the law holds."""
        z = self.residual_us[~self.odd] / self.sigma_us[~self.odd]
        return float(np.nanmean(np.minimum(z * z, _ROBUST**2)))


def fit_population(
    law: Law, parameters: tuple[Parameter, ...], scatter: str, seen: Observed
) -> PopulationFit:
    """The most likely parameters of a law, and each device's own.

    Args:
        law: What a pulse does.
        parameters: All of the law's, the one of a pulse's scatter included.
        scatter: Name of that one.
        seen: What was measured.
    """
    fit = _Fit(law, parameters, scatter, seen)
    for number in range(_MOST_ROUNDS):
        step = fit.round()
        if number >= _LEAST_ROUNDS and step < _SETTLED:
            break
        if number >= _LEAST_ROUNDS // 2:
            fit.set_aside()
    return fit.found()


@dataclass(frozen=True)
class _Equations:
    """Normal equations of one round; own parameters p come first among the c common ones."""

    jacobian: Floats
    """(D, N, c)"""
    weighted: Floats
    """The same times each residual's weight."""
    inverse: Floats
    """Of each device's block, (D, p, p)."""
    mixed: Floats
    """(D, p, c)"""
    covariance: Floats
    """Of the common parameters, (c, c)."""

    def solve(
        self, residual: Floats, pull: Floats | float, own_pull: Floats | float
    ) -> tuple[Floats, Floats]:
        """Steps of the common parameters (c,) and of the devices' deviations (D, p).

        pull, own_pull: what the priors add to the gradients, (c,) and (D, p).
        """
        p = self.inverse.shape[1]
        both = np.einsum("dnc,dn->dc", self.weighted, residual)
        own = both[:, :p] + own_pull
        solved = np.einsum("dij,dj->di", self.inverse, own)
        common = both.sum(axis=0) + pull - np.einsum("dpc,dp->c", self.mixed, solved)
        step = self.covariance @ common
        return step, solved - np.einsum("dij,djc,c->di", self.inverse, self.mixed, step, optimize=True)


def _lowest(logs: Floats, costs: Floats) -> float:
    """Ratio at which a smooth cost of evenly spaced log ratios is lowest, by a parabola through three."""
    best = int(np.clip(np.argmin(costs), 1, len(costs) - 2))
    left, middle, right = costs[best - 1 : best + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(np.exp(logs[best] + np.clip(shift, -1, 1) * (logs[1] - logs[0])))


class _Fit:
    """The state of one fit: common parameters `c`, devices' deviations `b`, variances."""

    def __init__(self, law: Law, parameters: tuple[Parameter, ...], scatter: str, seen: Observed) -> None:
        self._law, self._scatter, self._seen = law, scatter, seen
        own = [p for p in parameters if p.spread > 0]
        self._own = len(own)
        self._common = [*own, *(p for p in parameters if p.spread == 0 and p.name != scatter)]
        self._start = np.array([p.start for p in self._common])
        self._prior = np.array([p.sigma for p in self._common])
        self._reach = _FURTHEST * np.array([max(p.sigma, p.spread) for p in self._common])
        self._c = self._start.copy()
        self._b = np.zeros((len(seen.after_us), self._own))
        self._omega = np.array([p.spread**2 for p in own])
        before = next(p for p in parameters if p.name == scatter)
        self._jitter = self._jitter_start = before.start
        self._jitter_prior = before.sigma
        self._jitter_error = np.inf
        self._taken = np.ones(len(seen.after_us), bool)

    def round(self) -> float:
        """One step of everything; returns the largest, in standard errors."""
        seen = expected(self._law, self._values(self._c), self._seen.pulses)
        residual = np.where(self._seen.given, self._seen.after_us - seen.mean, 0.0)
        self._equations = equations = self._linearised(seen, residual)
        pull = (self._start - self._c) / self._prior**2
        step, own = equations.solve(residual, pull, -self._b / self._omega)
        self._c = self._c + np.clip(step, -self._reach, self._reach)
        self._b = self._best(np.clip(own, -self._reach[: self._own], self._reach[: self._own]))
        if np.all(np.abs(step) < self._reach):
            self._set_spreads()
            self._set_scatter(seen, residual)
        return float(np.abs(step / np.sqrt(np.diag(equations.covariance))).max())

    def _best(self, own: Floats) -> Floats:
        """Deviations (D, p) after the share of a step that suits each device best.

        A law has edges, thresholds above all, and a device's straight line may lead over one.
        """
        trials = [self._b + share * own for share in _SHARES]
        costs = np.stack([self._cost(trial) for trial in trials])
        best = np.argmin(costs, axis=0)
        return np.asarray(np.stack(trials)[best, np.arange(len(own))])

    def _cost(self, b: Floats) -> Floats:
        """How unlikely each device's pulses are with deviations b, shape (D,)."""
        seen = expected(self._law, self._values(self._c, b), self._seen.pulses)
        variance = seen.scatter + self._reading_variance(seen)
        z = np.abs(self._seen.after_us - seen.mean) / np.sqrt(variance)
        robust = np.where(z < _ROBUST, z * z, 2 * _ROBUST * z - _ROBUST**2)
        lost = np.where(self._seen.given, np.log(variance) + robust, 0.0).sum(axis=1)
        return np.asarray(lost + (b * b / self._omega).sum(axis=1))

    def set_aside(self) -> None:
        """Leave devices far from all others out of the next round."""
        self._taken = (np.abs(self._b) < _ODD * np.sqrt(self._omega)).all(axis=1)

    def _values(self, c: Floats, b: Floats | None = None) -> dict[str, Floats]:
        b = self._b if b is None else b
        named: dict[str, Floats] = {self._scatter: np.asarray(self._jitter)}
        for place, parameter in enumerate(self._common):
            own = b[:, place, None] if place < self._own else 0.0
            named[parameter.name] = np.asarray(c[place] + own)
        return named

    def _reading_variance(self, seen: Expected) -> Floats:
        """Of what is known by readings only, and of the law itself."""
        before = seen.slope * self._seen.pulses.before_sigma_us
        model = _MODEL_ERROR * seen.mean
        return np.asarray(before**2 + model**2 + self._seen.after_sigma_us**2)

    def _linearised(self, seen: Expected, residual: Floats) -> _Equations:
        variance = seen.scatter + self._reading_variance(seen)
        far = np.maximum(np.abs(residual) / np.sqrt(variance) / _ROBUST, 1.0)
        weight = np.where(self._seen.given & self._taken[:, None], 1 / (variance * far), 0.0)
        jacobian = self._jacobian(seen.mean)
        weighted = jacobian * weight[..., None]
        mixed = np.einsum("dni,dnj->dij", weighted[..., : self._own], jacobian, optimize=True)
        inverse = np.linalg.inv(mixed[..., : self._own] + np.diag(1 / self._omega))
        whole = np.einsum("dni,dnj->ij", weighted, jacobian, optimize=True) + np.diag(1 / self._prior**2)
        whole -= np.einsum("dpi,dpq,dqj->ij", mixed, inverse, mixed, optimize=True)
        return _Equations(jacobian, weighted, inverse, mixed, np.linalg.inv(whole))

    def _jacobian(self, mean: Floats) -> Floats:
        columns = []
        for place, sigma in enumerate(self._prior):
            moved = self._c.copy()
            moved[place] += _STEP * sigma
            values, pulses = self._values(moved), self._seen.pulses
            columns.append((expected_mean(self._law, values, pulses) - mean) / (_STEP * sigma))
        return np.stack(columns, axis=-1)

    def _set_spreads(self) -> None:
        """Spreads over devices at which restricted likelihood is highest, a fourfold step at most."""
        known = self._own_variance()[self._taken]
        b = self._b[self._taken]
        freedom = np.maximum((1 - known / self._omega).sum(axis=0), 1e-3)
        fresh = np.clip((b * b).sum(axis=0) / freedom, self._omega / 4, self._omega * 4)
        self._omega = np.maximum(fresh, (1e-3 * self._prior[: self._own]) ** 2)

    def _own_variance(self) -> Floats:
        return np.diagonal(self._equations.inverse, axis1=1, axis2=2)

    def _set_scatter(self, seen: Expected, residual: Floats) -> None:
        use = self._seen.given & self._taken[:, None]
        unit, rest = seen.scatter[use], self._reading_variance(seen)[use]
        j = self._equations.jacobian[..., : self._own]
        lever = np.einsum("dni,dij,dnj->dn", j, self._equations.inverse, j, optimize=True)[use]
        square = residual[use] ** 2 + lever
        costs = np.zeros(len(_RATIOS))
        for place, ratio in enumerate(_RATIOS):
            v = rest + ratio**2 * unit
            costs[place] = np.sum(np.log(v) + np.minimum(square / v, 2 * _ROBUST**2))
        costs += np.square((self._jitter * _RATIOS - self._jitter_start) / self._jitter_prior)
        self._jitter *= _lowest(np.log(_RATIOS), costs)
        share = np.square(unit / (unit + rest)) * np.maximum(1 - lever / (unit + rest), 0.0)
        self._jitter_error = self._jitter / np.sqrt(2 * max(float(share.sum()), 1e-3))

    def found(self) -> PopulationFit:
        """What is known in the end."""
        seen = expected(self._law, self._values(self._c), self._seen.pulses)
        deviations = np.sqrt(self._omega)
        errors, spread_errors, jitter_error = self._errors(seen)
        well = jitter_error < 0.3 * self._jitter
        estimates = {self._scatter: Estimate(self._jitter, jitter_error, determined=well)}
        for place, parameter in enumerate(self._common):
            spread, spread_error = 0.0, 0.0
            if place < self._own:
                spread, spread_error = float(deviations[place]), float(spread_errors[place])
            determined = bool(errors[place] < 0.5 * parameter.sigma)
            value, error = float(self._c[place]), float(errors[place])
            estimates[parameter.name] = Estimate(value, error, spread, spread_error, determined)
        names = [parameter.name for parameter in self._common[: self._own]]
        own, own_errors = self._c[: self._own] + self._b, np.sqrt(self._own_variance())
        return PopulationFit(
            estimates=estimates,
            devices=dict(zip(names, own.T, strict=True)),
            device_errors=dict(zip(names, own_errors.T, strict=True)),
            residual_us=np.where(self._seen.given, self._seen.after_us - seen.mean, np.nan),
            sigma_us=np.sqrt(seen.scatter + self._reading_variance(seen)),
            reading_us=np.sqrt(self._reading_variance(seen)),
            odd=~self._taken,
        )

    def _errors(self, seen: Expected) -> tuple[Floats, Floats, float]:
        """Standard errors of common parameters, of spreads and of the scatter, shared errors included."""
        known = self._own_variance()[self._taken]
        share = np.square(1 - np.minimum(known / self._omega, 1.0)).sum(axis=0)
        variance = np.diag(self._equations.covariance).copy()
        spread_variance = self._omega / (2 * np.maximum(share, 1e-3))
        jitter_variance = self._jitter_error**2 + (_SCATTER_ERROR * self._jitter) ** 2
        drawn = self._seen.after_drawn_us - seen.slope * self._seen.before_drawn_us
        for residual in np.where(self._seen.given & self._taken[:, None], drawn, 0.0):
            step, own = self._equations.solve(residual, 0.0, 0.0)
            variance += step**2 / len(drawn)
            moved = np.square(self._b + own)[self._taken].mean(axis=0)
            was = np.square(self._b)[self._taken].mean(axis=0)
            spread_variance += np.square(np.sqrt(moved) - np.sqrt(was)) / len(drawn)
            jitter_variance += self._jitter_moved(seen, residual, step, own) ** 2 / len(drawn)
        return np.sqrt(variance), np.sqrt(spread_variance), float(np.sqrt(jitter_variance))

    def _jitter_moved(self, seen: Expected, residual: Floats, step: Floats, own: Floats) -> float:
        """By how much errors of readings (D, N) that the fit does not take up raise the scatter."""
        j = self._equations.jacobian
        left = residual - j @ step - np.einsum("dnp,dp->dn", j[..., : self._own], own)
        share = seen.scatter / (seen.scatter + self._reading_variance(seen))
        weight = np.where(residual != 0, share / np.maximum(seen.scatter, 1e-12), 0.0)
        return float(0.5 * self._jitter * np.sum(share * weight * left**2) / max(np.sum(share**2), 1e-3))
