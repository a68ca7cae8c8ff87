"""What each differential pair can still hold when stuck devices are known."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Box:
    """Lowest and highest weight of each pair, float32 (..., outputs, inputs), units of the span.

    A healthy pair has [−1, 1]; with g⁺ stuck at v it keeps [v − 1, v], with g⁻ stuck at v
    [−v, 1 − v], with both stuck the constant v⁺ − v⁻. A device stuck on has v > 1.
    """

    lower: npt.NDArray[np.float32]
    upper: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.lower.shape != self.upper.shape or self.lower.ndim < 2:
            raise ValueError("a box needs two arrays of one shape (..., outputs, inputs)")
        if not np.all(self.lower <= self.upper):
            raise ValueError("a box has its lower bound above its upper; are both finite?")

    @classmethod
    def free(cls, outputs: int, inputs: int) -> Self:
        """Every pair healthy."""
        ones = np.ones((outputs, inputs), np.float32)
        return cls(-ones, ones)

    @classmethod
    def from_pairs(cls, plus_low: Floats, plus_high: Floats, minus_low: Floats, minus_high: Floats) -> Self:
        """From the range of each device, units of the span; a stuck one has low = high."""
        lower = np.asarray(plus_low, np.float32) - np.asarray(minus_high, np.float32)
        upper = np.asarray(plus_high, np.float32) - np.asarray(minus_low, np.float32)
        return cls(lower, upper)

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., outputs, inputs)."""
        return self.lower.shape

    @property
    def healthy(self) -> npt.NDArray[np.bool_]:
        """Where both devices work: the pair holds all of [−1, 1]."""
        whole: npt.NDArray[np.bool_] = (self.lower == -1) & (self.upper == 1)
        return whole

    @property
    def nearest_zero(self) -> npt.NDArray[np.float32]:
        """Of each pair the weight closest to zero that it can hold."""
        return self.clip(np.zeros_like(self.lower))

    def fixed(self, where: npt.NDArray[np.bool_]) -> Self:
        """Pairs of `where` held at their weight nearest to zero, the others as they are."""
        return type(self)(
            np.where(where, self.nearest_zero, self.lower), np.where(where, self.nearest_zero, self.upper)
        )

    def without_self(self) -> Self:
        """No neuron drives itself: the diagonal held nearest to zero."""
        return self.fixed(np.eye(self.shape[-2], self.shape[-1]) > 0)

    def known(self) -> Self:
        """Every pair with a stuck device held nearest to zero: faults known, but not made use of."""
        return self.fixed(~self.healthy)

    def masked(self) -> Self:
        """Every pair with a stuck device at zero, which no chip can promise: the published idealisation."""
        return type(self)(
            np.where(self.healthy, self.lower, np.float32(0)),
            np.where(self.healthy, self.upper, np.float32(0)),
        )

    def clip(self, weights: Floats) -> npt.NDArray[np.float32]:
        """The nearest weights that the chip can hold."""
        return np.clip(weights, self.lower, self.upper).astype(np.float32)
