"""Damage to patterns: what a cue has suffered, and what noise-aware training shows."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_LEVELS = 1 << 16  # flips are drawn from 16 random bits: p to within 8e-6


class Noise(Protocol):
    """`Clean`, `Flips` or `Gaussian`."""

    fresh: ClassVar[bool]
    """Whether the damage differs from one time to the next."""

    def damage(self, states: Array, rng: np.random.Generator, out: Array) -> None:
        """Write a freshly damaged copy of `states`, any shape, to `out`."""
        ...


@dataclass(frozen=True)
class Clean:
    """No damage."""

    fresh: ClassVar[bool] = False

    def damage(self, states: Array, rng: np.random.Generator, out: Array) -> None:
        """See `Noise`."""
        out[...] = states


@dataclass(frozen=True)
class Flips:
    """Every neuron changes its sign independently with `probability`."""

    probability: float
    fresh: ClassVar[bool] = True

    def damage(self, states: Array, rng: np.random.Generator, out: Array) -> None:
        """See `Noise`."""
        drawn = rng.integers(0, _LEVELS, states.shape, np.uint16)
        damaged = (drawn >= round(self.probability * _LEVELS)).astype(states.dtype)
        damaged *= 2
        damaged -= 1
        damaged *= states
        out[...] = damaged


@dataclass(frozen=True)
class Gaussian:
    """Every neuron is shifted by a normal deviate of standard deviation `sigma`, then clipped to [−1, 1]."""

    sigma: float
    fresh: ClassVar[bool] = True

    def damage(self, states: Array, rng: np.random.Generator, out: Array) -> None:
        """See `Noise`."""
        drawn = rng.standard_normal(states.shape, np.float32)
        drawn *= np.float32(self.sigma)
        drawn += states
        np.clip(drawn, -1, 1, out=drawn)
        out[...] = drawn
