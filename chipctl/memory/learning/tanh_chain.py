"""The published surrogate: a chain of tanh layers, and the slopes of its error (He et al., eq. 4–6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.descent import aligned
from chipctl.memory.learning.noise import Clean, Noise

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lessons:
    """What a chain under training is shown: batches of patterns (..., M, N), damaged afresh each time.

    batch: patterns per step, each once before any again; all of them where None or too many.
    """

    patterns: Array
    noise: Noise = field(default_factory=Clean)
    batch: int | None = None

    def __call__(self, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
        """Pairs of inputs (..., K, N + 1) and targets (..., K, N); the last input is a bias's constant 1."""
        count = self.patterns.shape[-2]
        size = min(self.batch or count, count)
        shape = (*self.patterns.shape[:-2], size, self.patterns.shape[-1] + 1)
        inputs = np.ones(shape, self.patterns.dtype)
        targets = self.patterns
        order = np.empty(0, np.intp)
        if size == count and not self.noise.fresh:
            inputs[..., :-1] = targets
            while True:
                yield inputs, targets
        while True:
            if size < count:
                if len(order) < size:
                    order = np.concatenate([order, rng.permutation(count)])
                targets = np.take(self.patterns, order[:size], axis=-2)
                order = order[size:]
            self.noise.damage(targets, rng, inputs[..., :-1])
            yield inputs, targets


class TanhChain:
    """x → tanh(gain (W x + b)), layer after layer, in buffers that are used again at each step.

    sizes: neurons of the input, hidden and output layers; gains: one per layer; blur: probability of
    flips of the input whose effect on the first layer is averaged in closed form: they make its
    field Gaussian, and the mean tanh of such a field is close to tanh(mean / √(1 + π/2 variance)).
    `values` (..., parameters) holds all of them and `weights[l]` (..., inputs + 1, outputs) are views
    into it, the bias last; `slopes` has the same layout.
    """

    def __init__(self, values: Array, sizes: Sequence[int], gains: Sequence[float], blur: float = 0.0):
        self.values, self.slopes = values, aligned(values.shape, values.dtype)
        self.weights, self._slopes = unpack(values, sizes), unpack(self.slopes, sizes)
        self.sizes, self.gains, self.blur = tuple(sizes), tuple(gains), blur
        self._steep = [np.asarray(gain, values.dtype) for gain in gains]
        self._one = np.asarray(1, values.dtype)
        self._outputs: list[Array] = []

    def learn(self, inputs: Array, targets: Array) -> Array:
        """Mean square errors (...) at the present values; leaves their slopes in `slopes`."""
        self._forward(inputs)
        wrong = self._wrong
        np.subtract(self._outputs[-1], targets, wrong)
        losses: Array = (self._row @ self._column)[..., 0, 0] / self._count
        np.multiply(wrong, self._last_slope, wrong)
        self._backward(inputs, wrong)
        return losses

    def _forward(self, inputs: Array) -> None:
        self._make_room(inputs)
        states = inputs
        for index, weights in enumerate(self.weights):
            fields = np.matmul(states, weights, self._outputs[index])
            if self.gains[index] != 1:
                np.multiply(fields, self._steep[index], fields)
            if self.blur and index == 0:
                self._blur(fields)
            outputs = np.tanh(fields, fields)
            if index < len(self._hidden):
                states = self._hidden[index]
                states[..., :-1] = outputs

    def _backward(self, inputs: Array, slope: Array) -> None:
        """From the slopes along outputs, times the gain, to those along values, last layer first."""
        for index in reversed(range(len(self.weights))):
            by_field = self._outputs[index]
            np.multiply(by_field, by_field, by_field)
            np.subtract(self._one, by_field, by_field)
            np.multiply(by_field, slope, by_field)
            before = self._hidden[index - 1] if index else inputs
            if self.blur and index == 0:
                self._blur_back(by_field, before)
                break
            np.matmul(before.swapaxes(-1, -2), by_field, self._slopes[index])
            if index:
                slope = by_field @ self.weights[index][..., :-1, :].swapaxes(-1, -2)
                np.multiply(slope, self._steep[index - 1], slope)

    def _blur(self, fields: Array) -> None:
        """Fields of flipped inputs, as steep as their spread leaves them."""
        inner = self.weights[0][..., :-1, :]
        self._spread = self._per_flip * np.einsum("...in,...in->...n", inner, inner)
        self._slack = np.asarray(1 / np.sqrt(1 + self._spread))
        bias = self.gains[0] * self.weights[0][..., -1, :]
        kept = 1 - 2 * self.blur
        self._mean = kept * fields
        self._mean += (1 - kept) * bias[..., None, :]
        np.multiply(self._mean, self._slack[..., None, :], out=fields)

    def _blur_back(self, by_field: Array, inputs: Array) -> None:
        along = np.einsum("...kn,...kn->...n", by_field, self._mean) / self.gains[0]
        kept = 1 - 2 * self.blur
        np.multiply(by_field, kept * self._slack[..., None, :], out=by_field)
        slopes = np.matmul(inputs.swapaxes(-1, -2), by_field, out=self._slopes[0])
        slopes[..., -1, :] /= kept
        pull = along * self._slack**3 * self._per_flip
        slopes[..., :-1, :] -= pull[..., None, :] * self.weights[0][..., :-1, :]

    @property
    def _per_flip(self) -> float:
        """Spread of a field, times π/2, for weights of mean square 1."""
        return float(np.pi / 2 * self.gains[0] ** 2 * 4 * self.blur * (1 - self.blur))

    def _make_room(self, inputs: Array) -> None:
        """Buffers for inputs (..., K, N + 1), kept from step to step.

        Outputs are where their fields were, and where their slopes will be; hidden ones are copied beside a
        constant 1 for the next bias.
        """
        shape = inputs.shape[:-1]
        if self._outputs and self._outputs[0].shape[:-1] == shape:
            return
        self._outputs = [aligned((*shape, size), inputs.dtype) for size in self.sizes[1:]]
        self._hidden = [aligned((*shape, size + 1), inputs.dtype) for size in self.sizes[1:-1]]
        for states in self._hidden:
            states[..., -1] = 1
        self._wrong = aligned((*shape, self.sizes[-1]), inputs.dtype)
        self._row = self._wrong.reshape(*shape[:-1], 1, -1)
        self._column = self._row.swapaxes(-1, -2)
        count = self._row.shape[-1]
        self._count = np.asarray(count, inputs.dtype)
        self._last_slope = np.asarray(2 * self.gains[-1] / count, inputs.dtype)


def unpack(values: Array, sizes: Sequence[int]) -> list[Array]:
    """Views (..., inputs + 1, outputs) of each layer's part of flat `values` (..., parameters)."""
    views, start = [], 0
    for inputs, outputs in pairwise(sizes):
        stop = start + outputs * (inputs + 1)
        views.append(values[..., start:stop].reshape(*values.shape[:-1], inputs + 1, outputs))
        start = stop
    return views


def parameters(sizes: Sequence[int]) -> int:
    """How many values a chain of these sizes has, biases included."""
    return sum(outputs * (inputs + 1) for inputs, outputs in pairwise(sizes))
