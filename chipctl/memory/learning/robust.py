"""Noise-aware training inside the boxes: the default rule.

Every unit is a sign. With independent noise of variance s² on its field µ the mean of that sign
is erf(µ / √2s) ≈ tanh(√(2/π) µ/s), so the published surrogate tanh(λ(Wξ + b)) (He et al., eq. 4)
is kept, with a steepness λ that the noise dictates, unit by unit and pattern by pattern. An input
sign with mean a has variance 1 − a²: means alone travel from layer to layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.descent import Descent, Variable, descend
from chipctl.memory.learning.layers import Hidden, Layer
from chipctl.memory.learning.recall import flip, recall

Array = npt.NDArray[np.float32]

_STEEPNESS = float(np.sqrt(2 / np.pi))
_FIRST_WEIGHTS = 0.05  # units of the span; codes of hidden units then follow the patterns
_BIAS_RATE = 4.0  # of a weight's
_CHIPS, _REHEARSALS = 4, 150  # misprogrammed memories, and cues per pattern on each, that choose


@dataclass(frozen=True)
class Robust:
    """What the memory must survive, and the effort spent on it.

    flip_probability: of each pixel in the cues to come. How many flips to train with depends on
    patterns and layers (one layer likes half, a bottleneck twice as many), so one memory is
    trained for each factor of `overdrive`, side by side, and the best at float recall with units
    `hidden` wins. Each step draws `cues` per pattern.
    blur: a further flip probability, averaged in closed form; it smooths the landscape.
    weight_sigma: standard deviation of a pair's programming error, units of the span; 0.046 is
    σ = 4 µS per device with 7 % of the devices off by up to ±20 µS, of 150 µS.
    column_sigma: relative gain error of a column, drawn separately for both columns of a pair.
    """

    flip_probability: float = 0.1
    blur: float = 0.05
    weight_sigma: float = 0.046
    column_sigma: float = 0.04
    steps: int = 1500
    rate: float = 0.02
    bias: bool = True
    cues: int = 5
    overdrive: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    hidden: Hidden = "sign"
    seed: int = 0
    greys: ClassVar[bool] = False
    deep: ClassVar[bool] = True

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """Layers for patterns ±1 (..., M, N) and the losses (steps, ...) of their training."""
        rng = np.random.default_rng(self.seed)
        trials = np.broadcast_to(patterns, (len(self.overdrive), *patterns.shape))
        layers = [_first(box, trials.shape[:-2], rng) for box in boxes]
        targets = np.repeat(trials, self.cues, axis=-2)

        def slopes_of() -> tuple[Array, list[Array]]:
            loss, slopes = self._gradients(targets, rng, layers)
            return loss, [array for layer in slopes for array in (layer.weights, layer.bias)]

        variables = []
        for layer, box in zip(layers, boxes, strict=True):
            variables.append(Variable(layer.weights, 1.0, box.lower, box.upper))
            variables.append(Variable(layer.bias, _BIAS_RATE if self.bias else 0.0))
        losses = descend(variables, slopes_of, Descent(self.steps, self.rate))
        trained = self._with_gains(layers, trials)
        best = np.argmax(self._rehearse(trained, boxes, trials, rng), axis=0)
        history = np.moveaxis(_best_of(np.moveaxis(losses, 0, -1), best), -1, 0)
        return [_pick(layer, best) for layer in trained], history

    def _gradients(
        self, targets: Array, rng: np.random.Generator, layers: Sequence["Parameters"]
    ) -> tuple[Array, list["Parameters"]]:
        """Mean square of ξ minus the mean of the last signs (eq. 6 with noise), and its slopes."""
        flips = self.flip_probability * np.array(self.overdrive, np.float32)
        kept = rng.random(targets.shape, dtype=np.float32) >= flips.reshape(-1, *[1] * (targets.ndim - 1))
        means = np.float32(1 - 2 * self.blur) * np.where(kept, targets, -targets)
        passed: list[_Pass] = []
        for layer in layers:
            passed.append(self._pass(layer, means))
            means = passed[-1].means
        wrong = means - targets
        slope: Array = wrong * np.float32(2 / (wrong.shape[-1] * wrong.shape[-2]))
        slopes: list[Parameters] = []
        for layer, one in zip(reversed(layers), reversed(passed), strict=True):
            gradient, slope = self._back(layer, one, slope)
            slopes.insert(0, gradient)
        return np.mean(wrong**2, axis=(-2, -1)), slopes

    def _pass(self, layer: "Parameters", inputs: Array) -> "_Pass":
        """Means of a layer's signs (..., K, outputs) from the means of its inputs."""
        weights = layer.weights
        fields = inputs @ weights.swapaxes(-1, -2) + layer.bias[..., None, :]
        common = inputs @ np.abs(weights).swapaxes(-1, -2)
        variance = (1 - inputs**2) @ (weights**2).swapaxes(-1, -2)
        variance += np.float32(weights.shape[-1] * self.weight_sigma**2)
        variance += np.float32(self.column_sigma**2 / 2) * common**2
        spread = np.sqrt(variance)
        means = np.tanh(np.float32(_STEEPNESS) * fields / spread)
        return _Pass(inputs, fields, common, spread, means)

    def _back(self, layer: "Parameters", one: "_Pass", slope: Array) -> tuple["Parameters", Array]:
        """Slopes of the loss along a layer's parameters and inputs, from those along its means."""
        weights, inputs = layer.weights, one.inputs
        by_field: Array = slope * (1 - one.means**2) * np.float32(_STEEPNESS) / one.spread
        by_variance: Array = -by_field * one.fields / (2 * one.spread**2)
        by_common: Array = by_variance * np.float32(self.column_sigma**2) * one.common
        gradient: Array = (
            by_field.swapaxes(-1, -2) @ inputs
            + 2 * weights * (by_variance.swapaxes(-1, -2) @ (1 - inputs**2))
            + np.sign(weights) * (by_common.swapaxes(-1, -2) @ inputs)
        )
        by_input = by_field @ weights - 2 * inputs * (by_variance @ weights**2) + by_common @ np.abs(weights)
        return Parameters(gradient, by_field.sum(axis=-2)), by_input

    def _with_gains(self, layers: Sequence["Parameters"], trials: Array) -> list[Layer]:
        """Layers whose tanh units, if used, are as steep as their noise makes a sign's mean."""
        means = np.float32(1 - 2 * self.flip_probability) * trials
        trained = []
        for layer in layers:
            one = self._pass(layer, means)
            gain = np.asarray(_STEEPNESS / one.spread.mean(axis=(-2, -1)), np.float32)
            trained.append(Layer(layer.weights, layer.bias, gain))
            means = one.means
        return trained

    def _rehearse(
        self, layers: Sequence[Layer], boxes: Sequence[Box], trials: Array, rng: np.random.Generator
    ) -> Array:
        """Mean cosine of recall from misprogrammed weights, (restarts, ...)."""
        targets = np.repeat(trials, _REHEARSALS, axis=-2).astype(np.int8)
        cosines = []
        for _ in range(_CHIPS):
            held = [self._misprogram(layer, box, rng) for layer, box in zip(layers, boxes, strict=True)]
            cues = flip(targets, self.flip_probability, rng)
            final = recall(held, cues, hidden=self.hidden).final
            cosines.append((final * targets).mean(axis=(-2, -1), dtype=np.float32))
        mean: Array = np.mean(cosines, axis=0, dtype=np.float32)
        return mean

    def _misprogram(self, layer: Layer, box: Box, rng: np.random.Generator) -> Layer:
        error = rng.normal(0, self.weight_sigma, layer.weights.shape)
        return replace(layer, weights=box.clip(layer.weights + error))


@dataclass
class Parameters:
    """A layer under training, or its slopes: weights (..., outputs, inputs), bias (..., outputs)."""

    weights: Array
    bias: Array


@dataclass(frozen=True)
class _Pass:
    """What one layer's pass leaves for the way back; all (..., K, inputs or outputs)."""

    inputs: Array
    fields: Array
    common: Array
    spread: Array
    means: Array


def _first(box: Box, trials: tuple[int, ...], rng: np.random.Generator) -> Parameters:
    outputs, inputs = box.shape[-2:]
    weights = rng.uniform(-_FIRST_WEIGHTS, _FIRST_WEIGHTS, (*trials, outputs, inputs))
    return Parameters(box.clip(weights), np.zeros((*trials, outputs), np.float32))


def _pick(layer: Layer, best: npt.NDArray[np.intp]) -> Layer:
    parts = (_best_of(part, best) for part in (layer.weights, layer.bias, layer.gain))
    return Layer(*parts)


def _best_of(values: Array, best: npt.NDArray[np.intp]) -> Array:
    """From values (restarts, trials..., rest...) those of restart best (trials...)."""
    index = best.reshape(1, *best.shape, *(1,) * (values.ndim - 1 - best.ndim))
    chosen: Array = np.take_along_axis(values, index, axis=0)[0]
    return chosen
