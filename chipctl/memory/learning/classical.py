"""Classical rules for one layer: patterns (..., M, N) of ±1 → symmetric weights (..., N, N).

They have no bias and no notion of a box; scale to the span with `Layer.spanning`. Storkey's rule and the
pseudo-inverse have a self-connection of their own, which a box `without_self` takes from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box
from chipctl.memory.learning.layers import Layer

Array = npt.NDArray[np.float32]
Patterns = npt.NDArray[np.int8] | npt.NDArray[np.floating]


def hebbian(patterns: Patterns) -> npt.NDArray[np.float64]:
    """W = ΞᵀΞ / N without self-connection (Hebb; Hopfield 1982)."""
    states = np.asarray(patterns, np.float64)
    weights: npt.NDArray[np.float64] = np.swapaxes(states, -1, -2) @ states / states.shape[-1]
    return weights * (1 - np.eye(states.shape[-1]))


def storkey(patterns: Patterns) -> npt.NDArray[np.float64]:
    """Storkey's incremental rule (ICANN 1997), first order, pattern after pattern.

    Each pattern ξ adds (ξᵢξⱼ − ξᵢhⱼᵢ − hᵢⱼξⱼ) / N with hᵢⱼ = Σₖ≠ᵢⱼ wᵢₖ ξₖ, to the self-connection i = j as
    well. No other weight depends on that one: with it or without, the others are the same.
    """
    states = np.asarray(patterns, np.float64)
    neurons = states.shape[-1]
    off_diagonal = 1 - np.eye(neurons)
    weights = np.zeros((*states.shape[:-2], neurons, neurons))
    itself = np.zeros((*states.shape[:-2], neurons))
    for index in range(states.shape[-2]):
        state = states[..., index, :]
        outer = state[..., :, None] * state[..., None, :]
        field = (weights @ state[..., None])[..., 0]
        local = field[..., :, None] - weights * state[..., None, :]
        cross = local * state[..., None, :]
        weights += off_diagonal * (outer - cross - np.swapaxes(cross, -1, -2)) / neurons
        itself += (1 - 2 * state * field) / neurons
    weights[..., range(neurons), range(neurons)] = itself
    return weights


def pseudo_inverse(patterns: Patterns) -> npt.NDArray[np.float64]:
    """W = Ξ⁺Ξ, the projection on the patterns' span (Personnaz et al. 1986).

    Every pattern is an eigenvector with eigenvalue 1, linearly dependent ones too, as long as the
    self-connection stays: in a box without it a pattern need not remain a fixed point.
    """
    states = np.asarray(patterns, np.float64)
    weights: npt.NDArray[np.float64] = np.linalg.pinv(states) @ states
    return weights


@dataclass(frozen=True)
class Classical:
    """One of the classical rules as a trained one: one layer, faulty pairs at what is nearest to zero.

    It is blind to faults: the weights that it cannot have are lost.
    """

    name: Literal["hebbian", "storkey", "pseudo_inverse"]
    greys: ClassVar[bool] = False
    deep: ClassVar[bool] = False

    def fit(self, patterns: npt.NDArray[np.float32], boxes: Sequence[Box]) -> tuple[list[Layer], Array]:
        """One layer without bias, scaled to the span, and no losses. Raises ValueError for more layers."""
        box = only(boxes, self.name)
        weights = {"hebbian": hebbian, "storkey": storkey, "pseudo_inverse": pseudo_inverse}[self.name](
            patterns
        )
        return [Layer.spanning(np.where(box.healthy, weights, 0), box)], np.empty((0,), np.float32)


def only(boxes: Sequence[Box], name: str) -> Box:
    """The box of the single layer that a rule of that name knows; ValueError for more layers."""
    if len(boxes) != 1:
        raise ValueError(f"{name} knows one layer only, not {len(boxes)}")
    return boxes[0]
