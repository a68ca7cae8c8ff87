"""The single layer of optimal stability: the widest margin that every pixel of every pattern can have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.classical import only
from chipctl.memory.learning.layers import Layer

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OptimalStability:
    """What minover converges to (Krauth, Mézard 1987), with no learning rate to choose.

    For every neuron the row w that maximises the least ξᵢ (w·ξ + b) / |(w, b)| over the patterns: the row
    with all of these fields at least 1 and the smallest norm, found from its dual by accelerated
    projected gradients (Beck, Teboulle 2009; restarts of O'Donoghue, Candès 2015), all rows at once.
    softness: bound on a pattern's multiplier, as softness / neurons: a row that cannot have all fields right
    then gives up the worst patterns instead of diverging; infinite asks for all.

    Weights with a stuck device are zero in training and hold what they can nearest to it.
    """

    steps: int = 500
    softness: float = np.inf
    greys: ClassVar[bool] = False
    deep: ClassVar[bool] = False

    def fit(self, patterns: Array, boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """One layer for patterns ±1 (..., M, N), each row filling the span; the least margin (1, ...).

        Raises ValueError for more layers.
        """
        box = only(boxes, "optimal stability")
        rows = self._rows(patterns, box.healthy)
        widest = np.maximum(np.abs(rows[..., :-1]).max(axis=-1, keepdims=True), 1e-12)
        margin = stabilities(rows, patterns).min(axis=(-2, -1))
        rows = rows / widest
        weights = box.clip(rows[..., :-1])
        gain = np.ones(weights.shape[:-2], np.float32)
        return [Layer(weights, rows[..., -1].astype(np.float32), gain)], margin[None]

    def _rows(self, patterns: Array, free: npt.NDArray[np.bool_]) -> Array:
        """Weights and bias (..., N, N + 1) of every row, zero where not free."""
        signs = np.swapaxes(patterns, -1, -2)
        inputs = _with_one(patterns)
        allowed = np.concatenate([free, np.ones((*free.shape[:-1], 1), bool)], axis=-1).astype(np.float32)
        most = np.float32(self.softness / patterns.shape[-1])
        steepest = np.asarray(np.linalg.norm(inputs, 2, axis=(-2, -1)) ** 2, np.float32)[..., None, None]
        multipliers: Array = np.zeros(signs.shape, np.float32)
        ahead: Array = multipliers
        pace: npt.NDArray[np.float64] = np.ones((*signs.shape[:-1], 1))
        for _ in range(self.steps):
            rows = allowed * ((ahead * signs) @ inputs)
            lacking = 1 - signs * (rows @ np.swapaxes(inputs, -1, -2))
            new: Array = np.clip(ahead + lacking / steepest, 0, most)
            change = new - multipliers
            backward = np.asarray((ahead - new) * change).sum(axis=-1, keepdims=True) > 0
            faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
            onward: Array = np.where(backward, 0, (pace - 1) / faster).astype(np.float32)
            ahead = new + onward * change
            pace = np.where(backward, 1.0, faster)
            multipliers = new
        return np.asarray(allowed * ((multipliers * signs) @ inputs), np.float32)


def stabilities(rows: Array, patterns: Array) -> Array:
    """ξᵢ (w·ξ + b) / |(w, b)| of rows (..., N, N + 1) and patterns (..., M, N): shape (..., N, M)."""
    signs = np.swapaxes(patterns, -1, -2)
    norms = np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
    found: Array = signs * (rows @ np.swapaxes(_with_one(patterns), -1, -2)) / norms
    return found


def _with_one(patterns: Array) -> Array:
    return np.concatenate([patterns, np.ones((*patterns.shape[:-1], 1), patterns.dtype)], axis=-1)
