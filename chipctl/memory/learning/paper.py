"""The hardware-adaptive rule as published (He et al., eq. 4–6)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.descent import (
    Descent,
    GradientDescent,
    Optimiser,
    RmsProp,
    Variable,
    aligned,
    descend,
)
from chipctl.memory.learning.layers import Layer
from chipctl.memory.learning.tanh_chain import Lessons, TanhChain, parameters, unpack

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Paper:
    """Mean square of ξ − f(ξ) over patterns and neurons, f a chain of tanh(Wx + b), λ = 1, by RMSprop.

    A weight with a stuck device is masked to zero in training; then all are scaled to the span
    and a masked pair holds what it can nearest to zero. The defaults need a tenth of the published steps
    or less (`as_published`). Weights are unbounded in training, as published. batch: patterns per step,
    all where None.
    """

    steps: int = 1500
    rate: float = 1e-3
    final: float = 0.02
    stop_loss: float = 1e-8
    optimiser: Optimiser = field(default_factory=RmsProp)
    bias: bool = True
    batch: int | None = None
    seed: int = 0
    greys: ClassVar[bool] = True
    deep: ClassVar[bool] = True

    @classmethod
    def as_published(cls, sizes: Sequence[int], seed: int = 0) -> Self:
        """The printed settings for layers of `sizes` (N, hidden…, N), every rate constant.

        One layer, eq. (5): plain gradient descent, 10 000 steps at 3e-2. More, eq. (6): RMSprop at its usual
        start, 60 000 steps at 3e-4. RMSprop is named with eq. (6) alone; with eq. (5) as well, its first
        step at 3e-2 would move each weight by 0.3 and saturate units on the wrong side. The printed losses
        are sums over neurons, ours their mean: descent has N times the rate, the stop at 1e-8 is an N-th.
        """
        stop = 1e-8 / sizes[-1]
        if len(sizes) == 2:
            return cls(10_000, 3e-2 * sizes[-1], 1.0, stop, GradientDescent(), seed=seed)
        return cls(60_000, 3e-4, 1.0, stop, RmsProp(0.99, warm=False), seed=seed)

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """Layers for patterns (..., M, N) in [−1, 1] and the losses (steps, ...) of their training."""
        rng = np.random.default_rng(self.seed)
        sizes = [boxes[0].shape[-1], *(box.shape[-2] for box in boxes)]
        trials = patterns.shape[:-2]
        values = aligned((*trials, parameters(sizes)))
        chain = TanhChain(values, sizes, [1.0] * len(boxes))
        for weights in chain.weights:
            inner = weights[..., :-1, :].swapaxes(-1, -2)
            inner[...] = rng.uniform(-1, 1, inner.shape) / np.sqrt(inner.shape[-1])
        kept = self._kept(boxes, sizes, trials)
        if kept is not None:
            values *= kept
        lessons = Lessons(patterns, batch=self.batch)(rng)

        def slopes_of() -> tuple[Array, list[Array]]:
            return chain.learn(*next(lessons)), [chain.slopes]

        plan = Descent(self.steps, self.rate, self.final, self.stop_loss, self.optimiser)
        losses = descend([Variable(values, kept=kept)], slopes_of, plan)
        return [_layer(weights, box) for weights, box in zip(chain.weights, boxes, strict=True)], losses

    def _kept(self, boxes: Sequence[Box], sizes: Sequence[int], trials: tuple[int, ...]) -> Array | None:
        """0 where a parameter is masked, else 1; None where nothing is."""
        if self.bias and all(box.healthy.all() for box in boxes):
            return None
        kept = aligned((*trials, parameters(sizes)))
        for view, box in zip(unpack(kept, sizes), boxes, strict=True):
            view[..., :-1, :] = box.healthy.swapaxes(-1, -2)
            view[..., -1, :] = self.bias
        return kept


def _layer(weights: Array, box: Box) -> Layer:
    return Layer.spanning(weights[..., :-1, :].swapaxes(-1, -2), box, weights[..., -1, :])
