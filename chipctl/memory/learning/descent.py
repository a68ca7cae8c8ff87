"""Projected gradient descent, the optimiser of the trained rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Move = Callable[[Array, float], None]

_TINY = 1e-8
_CACHE_LINE = 64  # bytes
_BLOCK = 1000000


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """Zeros that begin on a cache line: vector instructions pass over them up to twice as fast."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    return room[start : start + size].view(dtype).reshape(shape)


class Optimiser(Protocol):
    """How a slope becomes a change: `RmsProp`, `Adam` or `GradientDescent`."""

    def mover(self, values: Array, kept: Array | None = None) -> Move:
        """A function of slopes and rate that changes `values` in place, with a memory of its own.

        Where `kept` is 0 nothing changes.
        """
        ...


@dataclass(frozen=True)
class RmsProp:
    """Each slope over the root of its running mean square (Hinton 2012).

    memory: how much of the mean square a step keeps. warm: the mean squares start at the first
    slopes', so that the first change is `rate` per parameter; from zero, as usual, it is
    1/√(1 − memory) times that, which drives tanh units into saturation.
    """

    memory: float = 0.98
    warm: bool = True

    def mover(self, values: Array, kept: Array | None = None) -> Move:
        """See `Optimiser`."""
        squares, change, scaled = (aligned(values.shape, values.dtype) for _ in range(3))
        if kept is not None:
            squares[kept == 0] = np.inf
        cold = self.warm

        def move(slopes: Array, rate: float) -> None:
            nonlocal cold
            np.multiply(slopes, slopes, out=change)
            if cold:
                np.maximum(squares, change, out=squares)
                cold = False
            np.multiply(squares, self.memory, out=squares)
            np.multiply(change, 1 - self.memory, out=change)
            np.add(squares, change, out=squares)
            np.sqrt(squares, out=change)
            np.add(change, _TINY, out=change)
            np.multiply(slopes, rate, out=scaled)
            np.divide(scaled, change, out=scaled)
            np.subtract(values, scaled, out=values)

        return move


@dataclass(frozen=True)
class Adam:
    """Running mean of the slopes over the root of their running mean square (Kingma, Ba 2015)."""

    memory: float = 0.9
    square_memory: float = 0.999

    def mover(self, values: Array, kept: Array | None = None) -> Move:
        """See `Optimiser`."""
        means, squares, change = (aligned(values.shape, values.dtype) for _ in range(3))
        if kept is not None:
            squares[kept == 0] = np.inf
        steps = 0

        def move(slopes: Array, rate: float) -> None:
            nonlocal steps
            steps += 1
            np.multiply(means, self.memory, out=means)
            np.multiply(slopes, 1 - self.memory, out=change)
            np.add(means, change, out=means)
            np.multiply(squares, self.square_memory, out=squares)
            np.multiply(slopes, slopes, out=change)
            np.multiply(change, 1 - self.square_memory, out=change)
            np.add(squares, change, out=squares)
            np.multiply(squares, 1 / (1 - self.square_memory**steps), out=change)
            np.sqrt(change, out=change)
            np.add(change, _TINY, out=change)
            np.divide(means, change, out=change)
            np.multiply(change, rate / (1 - self.memory**steps), out=change)
            np.subtract(values, change, out=values)

        return move


@dataclass(frozen=True)
class GradientDescent:
    """The slope itself, as it is."""

    def mover(self, values: Array, kept: Array | None = None) -> Move:
        """See `Optimiser`."""
        change = aligned(values.shape, values.dtype)

        def move(slopes: Array, rate: float) -> None:
            np.multiply(slopes, rate, out=change)
            if kept is not None:
                np.multiply(change, kept, out=change)
            np.subtract(values, change, out=values)

        return move


@dataclass
class Variable:
    """An array under training, changed in place.

    rate: factor on the plan's; lower, upper: what it is kept within, None without limits; kept: 0 for
    values that stay as they are, 1 for the others, None where all may change.
    """

    values: Array
    rate: float = 1.0
    lower: Array | None = None
    upper: Array | None = None
    kept: Array | None = None


@dataclass(frozen=True)
class Descent:
    """How far and how fast.

    rate: of the optimiser, falling linearly to its share `final` at the last of `steps`.
    Stops once every loss is below `stop_loss`.
    """

    steps: int
    rate: float
    final: float = 0.02
    stop_loss: float = 0.0
    optimiser: Optimiser = field(default_factory=RmsProp)


Slopes = Callable[[], tuple[Array, Sequence[Array]]]
"""Losses (...) at the variables' present values, and the slope along each variable."""


def descend(variables: Sequence[Variable], slopes_of: Slopes, plan: Descent) -> Array:
    """Change `variables` in place within their limits; the losses (steps, ...) before each step."""
    moves = [plan.optimiser.mover(variable.values, variable.kept) for variable in variables]
    losses: list[Array] = []
    for step in range(plan.steps):
        loss, slopes = slopes_of()
        losses.append(loss)
        if plan.stop_loss and loss.max() < plan.stop_loss:
            break
        rate = (1 - (1 - plan.final) * step / plan.steps) * plan.rate
        for variable, move, slope in zip(variables, moves, slopes, strict=True):
            move(slope, rate * variable.rate)
            if variable.lower is not None:
                np.maximum(variable.values, variable.lower, out=variable.values)
            if variable.upper is not None:
                np.minimum(variable.values, variable.upper, out=variable.values)
    return np.array(losses, np.float32)
