"""The hardware-adaptive rule in its better form: inside the boxes, and shown the noise to come."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.descent import Descent, Optimiser, RmsProp, Variable, aligned, descend
from chipctl.memory.learning.layers import Layer
from chipctl.memory.learning.noise import Clean, Noise
from chipctl.memory.learning.tanh_chain import Lessons, TanhChain, parameters, unpack

Array = npt.NDArray[np.float32]

_MOST_FORCED = 1.5
"""Inside a tanh: what pairs that cannot be zero may add, root mean square, and leave the unit trainable."""


@dataclass(frozen=True)
class Aware:
    """Mean square of ξ − f(damaged ξ), every weight kept where its pair of devices can hold it.

    f is the published chain of tanh layers (He et al., eq. 6) in units of the span: a layer answers
    tanh(g (Wx + b)) with g = gain / √inputs. A gain of 1 to 2 makes trained weights fill the span, which
    is what stands programming errors best; 4 to 8 leaves them freer and stores more where they are
    exact. A pair with stuck devices is trained within what it can still hold, a dead one counts as the
    constant it is.

    noise: of the patterns at each step, the size of the cues' or less; blur: probability of flips
    averaged in closed form over the first layer, which costs no randomness and acts as a margin;
    weight_sigma: deviation of a pair's weight from its target on the chip, units of the span, drawn
    afresh at each step: what a steep gain needs on a real chip; batch: patterns per step,
    all where None; epochs: how
    often each is shown, which then tells the steps; bias: trained, or none.
    """

    noise: Noise = field(default_factory=Clean)
    blur: float = 0.0
    weight_sigma: float = 0.0
    steps: int = 1500
    epochs: int | None = None
    rate: float = 5e-3
    final: float = 0.02
    optimiser: Optimiser = field(default_factory=RmsProp)
    batch: int | None = None
    gain: float = 2.0
    bias: bool = True
    seed: int = 0
    greys: ClassVar[bool] = True
    deep: ClassVar[bool] = True

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """Layers for patterns (..., M, N) in [−1, 1] and the losses (steps, ...) of their training."""
        rng = np.random.default_rng(self.seed)
        sizes = [boxes[0].shape[-1], *(box.shape[-2] for box in boxes)]
        variable = self._start(boxes, sizes, patterns.shape[:-2], rng)
        gains = [self.gain / float(np.sqrt(inputs)) for inputs in sizes[:-1]]
        held = variable.values if self.weight_sigma == 0 else aligned(variable.values.shape)
        chain = TanhChain(held, sizes, gains, self.blur)
        sigmas = self._sigmas(variable, sizes)
        lessons = Lessons(patterns, self.noise, self.batch)(rng)

        def slopes_of() -> tuple[Array, list[Array]]:
            if self.weight_sigma:
                np.multiply(rng.standard_normal(held.shape, np.float32), sigmas, out=held)
                np.add(held, variable.values, out=held)
            return chain.learn(*next(lessons)), [chain.slopes]

        plan = Descent(self._steps(patterns.shape[-2]), self.rate, self.final, 0, self.optimiser)
        losses = descend([variable], slopes_of, plan)
        layers = []
        for weights, gain in zip(unpack(variable.values, sizes), gains, strict=True):
            steepness = np.full(weights.shape[:-2], gain, np.float32)
            matrix = np.ascontiguousarray(weights[..., :-1, :].swapaxes(-1, -2))
            layers.append(Layer(matrix, weights[..., -1, :].copy(), steepness))
        return layers, losses

    def unsaturated(self, boxes: Sequence[Box]) -> Self:
        """The same with a gain no higher than the pairs that cannot be zero allow.

        What these hold nearest to zero, of root mean square c, adds gain × c to what is inside a layer's
        tanh, whatever is trained: devices stuck on, at 200 to 400 µS, saturate steep units.
        """
        forced = max(float(np.sqrt(np.mean(np.square(box.nearest_zero)))) for box in boxes)
        return replace(self, gain=min(self.gain, round(_MOST_FORCED / max(forced, 1e-3), 2)))

    def _steps(self, patterns: int) -> int:
        if self.epochs is None:
            return self.steps
        return self.epochs * -(-patterns // min(self.batch or patterns, patterns))

    def _start(
        self, boxes: Sequence[Box], sizes: Sequence[int], trials: tuple[int, ...], rng: np.random.Generator
    ) -> Variable:
        """Uniform weights that give fields of the usual linear layer's size, and their limits."""
        values, lower, upper = (aligned((*trials, parameters(sizes))) for _ in range(3))
        edge = np.float32(np.inf if self.bias else 0)
        views = (unpack(flat, sizes) for flat in (values, lower, upper))
        for box, first, low, high in zip(boxes, *views, strict=True):
            low[..., :-1, :], high[..., :-1, :] = box.lower.swapaxes(-1, -2), box.upper.swapaxes(-1, -2)
            low[..., -1, :], high[..., -1, :] = -edge, edge
            first[..., :-1, :] = rng.uniform(-1, 1, first[..., :-1, :].shape) / self.gain
        np.clip(values, lower, upper, out=values)
        return Variable(values, 1.0, lower, upper)

    def _sigmas(self, variable: Variable, sizes: Sequence[int]) -> Array:
        """Deviation of each parameter: none of a bias, which is digital, nor of a pair that cannot move."""
        sigmas = np.where(variable.lower == variable.upper, 0, self.weight_sigma).astype(np.float32)
        for view in unpack(sigmas, sizes):
            view[..., -1, :] = 0
        return sigmas
