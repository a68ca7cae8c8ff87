"""Equilibrium propagation (Scellier, Bengio 2017) of one recurrent layer (memristors: Zoppo 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.classical import only
from chipctl.memory.learning.descent import Descent, GradientDescent, Optimiser, Variable, descend
from chipctl.memory.learning.layers import Layer

Array = npt.NDArray[np.float32]

_PACE = 0.5  # of the relaxation, time constants per iteration


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Symmetric weights from the difference of two equilibria: left alone, and nudged to the pattern.

    States v = tanh(u) relax by u' = −u + W v + b + nudge (ξ − v) from the pattern, first with nudge 0, then
    on from there; (v⁺v⁺ᵀ − v⁰v⁰ᵀ) / nudge is the slope of |ξ − v⁰|²/2 (Hopfield 1984's energy) as the nudge
    vanishes. Faulty pairs are masked to zero as in the published rule; no self-connection.
    """

    steps: int = 300
    rate: float = 0.02
    nudge: float = 0.5
    relaxation: int = 20
    optimiser: Optimiser = field(default_factory=GradientDescent)
    seed: int = 0
    greys: ClassVar[bool] = False
    deep: ClassVar[bool] = False

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """One layer for patterns ±1 (..., M, N), scaled to the span; losses (steps, ...).

        Raises ValueError for more layers.
        """
        box = only(boxes, "equilibrium propagation")
        rng = np.random.default_rng(self.seed)
        neurons = patterns.shape[-1]
        first = rng.normal(0, 0.1 / np.sqrt(neurons), (*patterns.shape[:-2], neurons, neurons))
        weights = ((first + np.swapaxes(first, -1, -2)) / 2).astype(np.float32)
        bias = np.zeros((*patterns.shape[:-2], neurons), np.float32)
        edge = np.where(box.healthy & ~np.eye(neurons, dtype=bool), np.float32(np.inf), np.float32(0))
        variables = [Variable(np.clip(weights, -edge, edge), 1.0, -edge, edge), Variable(bias)]

        def slopes_of() -> tuple[Array, list[Array]]:
            return self.learn(variables[0].values, variables[1].values, patterns)

        plan = Descent(self.steps, self.rate, optimiser=self.optimiser)
        losses = descend(variables, slopes_of, plan)
        return [Layer.spanning(variables[0].values, box, variables[1].values)], losses

    def learn(self, weights: Array, bias: Array, patterns: Array) -> tuple[Array, list[Array]]:
        """Mean square errors (...) of the free equilibria, and slopes along weights and bias, per pattern."""
        free = self._relaxed(weights, bias, patterns, np.arctanh(0.9 * patterns), 0.0)
        nudged = self._relaxed(weights, bias, patterns, free, self.nudge)
        v_free, v_nudged = np.tanh(free), np.tanh(nudged)
        per = patterns.dtype.type(1 / (self.nudge * patterns.shape[-2]))
        slope = np.swapaxes(v_free, -1, -2) @ v_free - np.swapaxes(v_nudged, -1, -2) @ v_nudged
        loss: Array = np.mean((patterns - v_free) ** 2, axis=(-2, -1))
        return loss, [slope * per, (v_free - v_nudged).sum(axis=-2) * per]

    def _relaxed(self, weights: Array, bias: Array, patterns: Array, start: Array, nudge: float) -> Array:
        """u (..., M, N) after relaxing from `start`."""
        inner = start.copy()
        for _ in range(self.relaxation):
            states = np.tanh(inner)
            force = states @ np.swapaxes(weights, -1, -2) + bias[..., None, :] + nudge * (patterns - states)
            inner += _PACE * (force - inner)
        return inner
