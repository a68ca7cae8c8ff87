"""The hardware-adaptive rule as published (He et al., eq. 4–6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.descent import Descent, Parameters, descend
from chipctl.memory.learning.layers import Layer

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Paper:
    """Mean square of ξ − f(ξ) with f a chain of tanh(Wx + b), λ = 1, by RMSprop.

    A weight with a stuck device is masked to zero in training; then all are scaled to the span
    and a masked pair holds what it can nearest to zero. The published rates (3e-2 for one layer,
    3e-4 with 60 000 epochs for more) either saturate the units or crawl: the default reaches the
    same cosine in 1 500 steps. Weights are unbounded in training, as published.
    """

    steps: int = 1500
    rate: float = 1e-3
    stop_loss: float = 1e-8
    bias: bool = True
    seed: int = 0

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """Layers for patterns ±1 (..., M, N) and the losses (steps, ...) of their training."""
        rng = np.random.default_rng(self.seed)
        masks = [_mask(box) for box in boxes]
        layers = [_first(box, mask, patterns, rng) for box, mask in zip(boxes, masks, strict=True)]
        plan = Descent(self.steps, self.rate, self.rate if self.bias else 0.0, self.stop_loss)
        losses = descend(layers, masks, lambda now: _gradients(now, patterns), plan)
        spanned = [
            Layer.spanning(layer.weights, box, layer.bias) for layer, box in zip(layers, boxes, strict=True)
        ]
        return spanned, losses


def _mask(box: Box) -> Box:
    free = np.where(box.healthy, np.float32(np.inf), np.float32(0))
    return Box(-free, free)


def _first(box: Box, mask: Box, patterns: Array, rng: np.random.Generator) -> Parameters:
    """Uniform ±1/√inputs, as the usual linear layer; no bias yet."""
    outputs, inputs = box.shape[-2:]
    trials = patterns.shape[:-2]
    weights = rng.uniform(-1, 1, (*trials, outputs, inputs)) / np.sqrt(inputs)
    return Parameters(mask.clip(weights), np.zeros((*trials, outputs), np.float32))


def _gradients(layers: Sequence[Parameters], patterns: Array) -> tuple[Array, list[Parameters]]:
    """Eq. (5) for one layer, eq. (6) for more, per pattern and pixel; and its slopes."""
    states = [patterns]
    for layer in layers:
        fields = states[-1] @ layer.weights.swapaxes(-1, -2) + layer.bias[..., None, :]
        states.append(np.tanh(fields))
    wrong = states[-1] - patterns
    slope: Array = wrong * np.float32(2 / (wrong.shape[-1] * wrong.shape[-2]))
    slopes: list[Parameters] = []
    for layer, inputs, outputs in zip(
        reversed(layers), reversed(states[:-1]), reversed(states[1:]), strict=True
    ):
        by_field: Array = slope * (1 - outputs**2)
        gradient: Array = by_field.swapaxes(-1, -2) @ inputs
        slopes.insert(0, Parameters(gradient, by_field.sum(axis=-2)))
        slope = by_field @ layer.weights
    return np.mean(wrong**2, axis=(-2, -1)), slopes
