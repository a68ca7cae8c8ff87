"""A layer as the chip computes it, in floating point."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.boxes import Box

Hidden = Literal["sign", "tanh"]
Floats = npt.NDArray[np.floating]
States = npt.NDArray[np.int8] | Floats


@dataclass(frozen=True)
class Layer:
    """`field = states @ weights.T + bias`; weights fit their box.

    weights float32 (..., outputs, inputs), units of the span; bias float32 (..., outputs), units
    of span × read voltage, added digitally; gain (...): tanh hidden units answer
    tanh(gain × field), sign units need none.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float32]

    @classmethod
    def spanning(cls, weights: Floats, box: Box, bias: Floats | None = None) -> Self:
        """A layer from weights of any scale: their largest fills the span, then the box clips.

        Bias and gain are scaled along, so both activations answer as with the given weights.
        """
        scale = np.asarray(1 / np.maximum(np.abs(weights).max(axis=(-2, -1)), 1e-12))
        given = np.zeros(weights.shape[:-1]) if bias is None else bias
        return cls(
            box.clip(weights * scale[..., None, None]),
            (given * scale[..., None]).astype(np.float32),
            (1 / scale).astype(np.float32),
        )

    def field(self, states: States) -> Floats:
        """Local fields (..., K, outputs) of states (..., K, inputs)."""
        fields: Floats = states @ np.swapaxes(self.weights, -1, -2) + self.bias[..., None, :]
        return fields


def forward(layers: Sequence[Layer], states: States, hidden: Hidden = "sign") -> Floats:
    """Fields of the last layer (..., K, N) for states (..., K, N) driven through all of them.

    A sign hidden unit with field 0 answers +1: it has no old state to keep.
    """
    fields = layers[0].field(states)
    for before, layer in pairwise(layers):
        fields = layer.field(activate(fields, before.gain, hidden))
    return fields


def activate(fields: Floats, gain: Floats, hidden: Hidden) -> Floats:
    """Answers of hidden units (..., K, units), in [−1, 1]."""
    if hidden == "tanh":
        return np.tanh(np.asarray(gain)[..., None, None] * fields)
    return np.where(fields >= 0, np.float32(1), np.float32(-1))
