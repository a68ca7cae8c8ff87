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
_BLOCK = 1 << 16
"""Values that are moved at a time: their slopes, mean squares and limits then stay in a core's cache."""


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """Zeros that begin on a cache line: vector instructions pass over them up to twice as fast."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    return room[start : start + size].view(dtype).reshape(shape)


class Optimiser(Protocol):
    """How a slope becomes a change: `RmsProp`, `Adam` or `GradientDescent`."""

    def mover(self, values: Array, kept: Array | None = None, scratch: Array | None = None) -> Move:
        """A function of slopes and rate that changes `values` in place, with a memory of its own.

        It uses the slopes up. Where `kept` is 0 nothing changes. `scratch`, of at least as many values, is
        overwritten at each move: movers that take turns can share one.
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

    def mover(self, values: Array, kept: Array | None = None, scratch: Array | None = None) -> Move:
        """See `Optimiser`."""
        squares, change = aligned(values.shape, values.dtype), _room(values, scratch)
        if kept is not None:
            squares[kept == 0] = np.inf
        numbers = (self.memory, 1 - self.memory, _TINY, 0)
        memory, share, tiny, pace = (np.array(number, values.dtype) for number in numbers)
        cold = self.warm

        def move(slopes: Array, rate: float) -> None:
            nonlocal cold
            pace.fill(rate)
            np.multiply(slopes, slopes, change)
            np.multiply(slopes, pace, slopes)
            if cold:
                np.maximum(squares, change, out=squares)
                cold = False
            np.multiply(change, share, change)
            np.multiply(squares, memory, squares)
            np.add(squares, change, squares)
            np.sqrt(squares, change)
            np.add(change, tiny, change)
            np.divide(slopes, change, slopes)
            np.subtract(values, slopes, values)

        return move


@dataclass(frozen=True)
class Adam:
    """Running mean of the slopes over the root of their running mean square (Kingma, Ba 2015)."""

    memory: float = 0.9
    square_memory: float = 0.999

    def mover(self, values: Array, kept: Array | None = None, scratch: Array | None = None) -> Move:
        """See `Optimiser`."""
        means, squares = (aligned(values.shape, values.dtype) for _ in range(2))
        change = _room(values, scratch)
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

    def mover(self, values: Array, kept: Array | None = None, scratch: Array | None = None) -> Move:
        """See `Optimiser`."""

        def move(slopes: Array, rate: float) -> None:
            np.multiply(slopes, rate, out=slopes)
            if kept is not None:
                np.multiply(slopes, kept, out=slopes)
            np.subtract(values, slopes, out=values)

        return move


def _room(values: Array, scratch: Array | None) -> Array:
    return aligned(values.shape, values.dtype) if scratch is None else scratch[: values.size]


@dataclass
class Variable:
    """An array under training, contiguous in memory, changed in place.

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
"""Losses (...) at the variables' present values, and the slope along each variable, to be used up."""


def descend(variables: Sequence[Variable], slopes_of: Slopes, plan: Descent) -> Array:
    """Change `variables` in place within their limits; the losses (steps, ...) before each step.

    Raises ValueError for a variable that is not contiguous.
    """
    blocks = [_blocks(variable, plan.optimiser) for variable in variables]
    losses: list[Array] = []
    for step in range(plan.steps):
        loss, slopes = slopes_of()
        losses.append(loss)
        if plan.stop_loss and loss.item(0) < plan.stop_loss and loss.max() < plan.stop_loss:
            break
        rate = (1 - (1 - plan.final) * step / plan.steps) * plan.rate
        for variable, parts, slope in zip(variables, blocks, slopes, strict=True):
            flat = slope.reshape(-1)
            for part in parts:
                part.step(flat, rate * variable.rate)
    return np.array(losses, np.float32)


@dataclass(frozen=True)
class _Block:
    """A part of a flattened variable, small enough to stay in the cache while it is changed."""

    where: slice
    values: Array
    lower: Array | None
    upper: Array | None
    move: Move

    def step(self, slopes: Array, rate: float) -> None:
        """Against this part of the whole variable's `slopes` (values,), within the limits."""
        self.move(slopes[self.where], rate)
        if self.lower is not None:
            np.maximum(self.values, self.lower, out=self.values)
        if self.upper is not None:
            np.minimum(self.values, self.upper, out=self.values)


def _blocks(variable: Variable, optimiser: Optimiser) -> list[_Block]:
    """All of a variable, cut at cache lines; its limits have its shape or broadcast to it."""
    if not variable.values.flags.c_contiguous:
        raise ValueError("the values of a variable must be contiguous in memory")
    flat, shape = variable.values.reshape(-1), variable.values.shape
    lower, upper, kept = (
        None if limit is None else np.broadcast_to(limit, shape).reshape(-1)
        for limit in (variable.lower, variable.upper, variable.kept)
    )
    count = max(1, -(-flat.size // _BLOCK))
    size = -(-flat.size // (count * _CACHE_LINE)) * _CACHE_LINE
    scratch = aligned((size,), flat.dtype)
    blocks = []
    for start in range(0, flat.size, size):
        where = slice(start, min(start + size, flat.size))
        low, high, free = (None if limit is None else limit[where] for limit in (lower, upper, kept))
        blocks.append(_Block(where, flat[where], low, high, optimiser.mover(flat[where], free, scratch)))
    return blocks
