"""How patterns are brought onto a chip, and all that can be known to be wrong before anything moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from operator import index
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.chip import MOST_READS
from chipctl.faults import ScanSchedule
from chipctl.memory.associative import States, as_states
from chipctl.memory.learning import Aware, Flips, Gaussian, Hidden, Robust, Rule
from chipctl.schedules import PulseSchedule

FLIPS, NOISE = 0.1, 0.5
"""Damage of the cues to come unless told: probability of a flip, for ±1; standard deviation of the noise of
continuous patterns."""

_CONTINUOUS = Aware(weight_sigma=0.037, steps=2500, rate=5e-3, gain=4)
"""Rule for patterns in [-1, 1] unless told, but for its noise and seed."""


@dataclass(frozen=True)
class Storing:
    """How patterns are brought onto a chip; the defaults suit any.

    Raises ValueError for what suits none.
    """

    hidden: Sequence[int] = ()
    """Neurons of each hidden layer; none: one layer. Kept as a tuple."""
    units: Hidden = "sign"
    """How hidden units of a memory of ±1 answer; those of continuous patterns answer with tanh."""
    rule: Rule | None = None
    """How to train, all settings its own; by default noise-aware within what the faults leave of each pair,
    with `cue_noise` and `seed`."""
    cue_noise: float | None = None
    """Damage of the cues to come: probability of a flip, for ±1, `FLIPS` unless told; standard deviation of
    Gaussian noise, for continuous patterns, `NOISE` unless told. The default rules train with it, and every
    memory is calibrated with it."""
    self_connection: bool = True
    """Whether neurons of one layer drive themselves too; else their own pairs are held nearest to zero."""
    rescan: bool = False
    """Scan arrays for faults even where the chip's profile holds a map of them."""
    scan: ScanSchedule = field(default_factory=ScanSchedule)
    schedule: PulseSchedule = field(default_factory=PulseSchedule)
    spread: bool = True
    """Take the best pairs of all arrays, or as few arrays as hold a layer; see `chipctl.planner.plan`."""
    reads: int = 1
    """Products averaged per field, 64 at most."""
    rehearsals: int = 20
    """Damaged copies of each pattern on which the programmed chip is calibrated; 0: not calibrated."""
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _hidden(self.hidden))
        if self.units not in get_args(Hidden):
            raise ValueError(f"hidden units answer by sign or tanh, not {self.units!r}")
        rule = self.rule
        is_rule = all(hasattr(rule, name) for name in ("fit", "greys", "deep"))
        if rule is not None and (isinstance(rule, type) or not is_rule):
            raise ValueError(f"a rule is one of chipctl.memory.learning with its settings, not {rule!r}")
        if self.cue_noise is not None and not (isfinite(self.cue_noise) and self.cue_noise >= 0):
            raise ValueError(f"the cues' noise is 0 or more, not {self.cue_noise}")
        for name, least, most in (("reads", 1, MOST_READS), ("rehearsals", 0, 10_000), ("seed", 0, 2**63)):
            _check_whole(name, getattr(self, name), least, most)
        for name, kind in (("scan", ScanSchedule), ("schedule", PulseSchedule)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is a {kind.__name__}, not {getattr(self, name)!r}")

    def noise(self, patterns: States) -> Flips | Gaussian:
        """The damage of the cues to come.

        Raises:
            ValueError: Half of the pixels of ±1 or more, which leave nothing to recall by.
        """
        if patterns.dtype != np.int8:
            return Gaussian(NOISE if self.cue_noise is None else self.cue_noise)
        flips = FLIPS if self.cue_noise is None else self.cue_noise
        if flips >= 0.5:
            raise ValueError(
                f"cue_noise is a probability of a flip below 0.5 for patterns of ±1, not {flips}"
            )
        return Flips(flips)

    def rule_for(self, patterns: States) -> Rule:
        """The rule that trains these patterns.

        Raises:
            ValueError: It knows neither such patterns nor hidden layers.
        """
        noise = self.noise(patterns)
        if self.rule is None:
            if isinstance(noise, Gaussian):
                return replace(_CONTINUOUS, noise=noise, seed=self.seed)
            return Robust(flip_probability=noise.probability, hidden=self.units, seed=self.seed)
        name = type(self.rule).__name__
        if patterns.dtype != np.int8 and not self.rule.greys:
            raise ValueError(f"{name} stores patterns of ±1 only; Aware and Paper store continuous ones")
        if self.hidden and not self.rule.deep:
            raise ValueError(
                f"{name} knows one layer only: leave `hidden` out, or take Robust, Aware or Paper"
            )
        return self.rule

    def rehearsal(self, patterns: States) -> NDArray[np.float32]:
        """Damaged copies of patterns, like the cues to come but of a stream of their own."""
        rng = np.random.default_rng([self.seed, 1])
        copies: NDArray[np.float32] = np.repeat(np.asarray(patterns, np.float32), self.rehearsals, axis=0)
        self.noise(patterns).damage(copies.copy(), rng, copies)
        return copies


def as_patterns(given: ArrayLike) -> States:
    """Patterns as they are stored, shape (patterns, neurons): int8 if all are ±1, else float32.

    Raises:
        ValueError: They are none, or not numbers in [-1, 1], or of 0 and 1, or one is zero everywhere.
    """
    states = as_states(given, "patterns")
    if states.ndim != 2 or not states.size:
        raise ValueError(f"patterns are (patterns, neurons), not {states.shape}")
    if not np.all(np.any(states, axis=1)):
        raise ValueError("a pattern is 0 everywhere: no state is like it")
    return states if states.dtype == np.int8 else states.astype(np.float32)


def _hidden(given: Sequence[int]) -> tuple[int, ...]:
    try:
        hidden = tuple(index(units) for units in given)
    except TypeError:
        raise ValueError(f"hidden is the neurons of each hidden layer, as (16,), not {given!r}") from None
    if min(hidden, default=1) < 1:
        raise ValueError(f"a hidden layer has one neuron or more, not {hidden}")
    return hidden


def _check_whole(name: str, given: object, least: int, most: int) -> None:
    if not isinstance(given, int | np.integer) or not least <= given <= most:
        raise ValueError(f"{name} is a whole number from {least} to {most}, not {given!r}")
