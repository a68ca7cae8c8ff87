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

    def clip(self, weights: Floats) -> npt.NDArray[np.float32]:
        """The nearest weights that the chip can hold."""
        return np.clip(weights, self.lower, self.upper).astype(np.float32)
