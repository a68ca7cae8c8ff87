"""Projected RMSprop, the optimiser of the trained rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box

Array = npt.NDArray[np.float32]

_MEMORY = 0.98  # how much of the mean square gradient a step keeps
_FINAL_RATE = 0.02  # of the initial rate, after a linear fall
_TINY = 1e-8


@dataclass
class Parameters:
    """A layer under training, or a gradient: weights (..., outputs, inputs), bias (..., outputs)."""

    weights: Array
    bias: Array


@dataclass(frozen=True)
class Descent:
    """How far and how fast.

    rate: first change of a weight per step, falling linearly to 2 % of it at the last of `steps`.
    bias_rate: the same for a bias; 0 keeps it where it starts. Stops once every loss is below
    `stop_loss`.
    """

    steps: int
    rate: float
    bias_rate: float
    stop_loss: float = 0.0


Gradients = Callable[[Sequence[Parameters]], tuple[Array, list[Parameters]]]


def descend(
    layers: Sequence[Parameters], limits: Sequence[Box], gradients_of: Gradients, plan: Descent
) -> Array:
    """Change `layers` in place within `limits`; the losses (steps, ...) before each step.

    The mean squares start at the first gradient's, so the first step is `rate` per parameter;
    from zero, as usual, it would be seven times that and drive tanh units into saturation.
    """
    squares: list[Parameters] | None = None
    losses: list[Array] = []
    for step in range(plan.steps):
        loss, slopes = gradients_of(layers)
        losses.append(loss)
        if np.all(loss < plan.stop_loss):
            break
        fall = 1 - (1 - _FINAL_RATE) * step / plan.steps
        if squares is None:
            squares = [Parameters(slope.weights**2, slope.bias**2) for slope in slopes]
        for layer, limit, slope, square in zip(layers, limits, slopes, squares, strict=True):
            _step(layer.weights, slope.weights, square.weights, fall * plan.rate)
            _step(layer.bias, slope.bias, square.bias, fall * plan.bias_rate)
            np.clip(layer.weights, limit.lower, limit.upper, out=layer.weights)
    return np.array(losses, np.float32)


def _step(values: Array, slopes: Array, squares: Array, rate: float) -> None:
    squares *= _MEMORY
    squares += (1 - _MEMORY) * slopes**2
    values -= np.float32(rate) * slopes / (np.sqrt(squares) + np.float32(_TINY))
