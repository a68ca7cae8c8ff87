"""Train a memory: patterns and boxes in, layers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.layers import Layer, States
from chipctl.memory.learning.paper import Paper
from chipctl.memory.learning.robust import Robust

Array = npt.NDArray[np.float32]


class Rule(Protocol):
    """A rule with its settings: `Robust`, `Paper`, `Aware`, `OptimalStability`, …"""

    greys: ClassVar[bool]
    """Whether patterns may be continuous, in [−1, 1], for recall by tanh; else they are ±1."""
    deep: ClassVar[bool]
    """Whether it trains hidden layers; else one layer alone."""

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """Layers for patterns ±1 (..., M, N) and the losses (steps, ...) of their training."""


RULES: dict[str, type[Robust] | type[Paper]] = {"robust": Robust, "paper": Paper}


@dataclass(frozen=True)
class TrainedMemory:
    """Layers ready for the chip, first to last; losses (steps, ...) before each step; the rule."""

    layers: tuple[Layer, ...]
    losses: Array
    rule: Rule


def train(
    patterns: States,
    sizes: Sequence[int],
    boxes: Sequence[Box] | None = None,
    rule: Rule | None = None,
) -> TrainedMemory:
    """Store patterns ±1 (..., M, N) in layers of `sizes` (N, hidden..., N), as `Robust` unless told.

    Rules that know greys take patterns in [−1, 1].

    boxes: one per layer, (outputs, inputs) or with the patterns' leading axes; all healthy if None.
    Leading axes are independent memories. Raises ValueError when shapes do not fit.
    """
    states = np.asarray(patterns, np.float32)
    healthy = [Box.free(outputs, inputs) for inputs, outputs in pairwise(sizes)]
    given = healthy if boxes is None else boxes
    chosen = Robust() if rule is None else rule
    _check(states, sizes, given)
    if not np.all(np.abs(states) <= 1 if chosen.greys else np.abs(states) == 1):
        raise ValueError(
            f"patterns must be {'in [−1, 1]' if chosen.greys else '±1'} for {type(chosen).__name__}"
        )
    layers, losses = chosen.fit(states, given)
    return TrainedMemory(tuple(layers), losses, chosen)


def _check(states: Array, sizes: Sequence[int], boxes: Sequence[Box]) -> None:
    if states.ndim < 2:
        raise ValueError("patterns must be an array (..., patterns, neurons)")
    if len(sizes) < 2 or sizes[0] != states.shape[-1] or sizes[-1] != states.shape[-1]:
        raise ValueError(
            f"sizes {tuple(sizes)} must begin and end with a pattern's {states.shape[-1]} neurons"
        )
    expected = [(outputs, inputs) for inputs, outputs in pairwise(sizes)]
    found = [box.shape[-2:] for box in boxes]
    if found != expected:
        raise ValueError(f"boxes (outputs, inputs) are {found}, sizes ask for {expected}")
