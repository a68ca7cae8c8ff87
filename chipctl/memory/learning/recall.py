"""Synchronous recall until no neuron flips (He et al., eq. 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chipctl.memory.learning.layers import Floats, Hidden, Layer, activate, forward

Signs = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Recall:
    """What became of each cue.

    states int8 (iterations + 1, ..., K, N), the cues first; a cue that has settled keeps its state.
    iterations (..., K): how many it took, the one that found nothing to flip not counted.
    settled (..., K): at a fixed point; False in a cycle or when the iterations ran out.
    """

    states: Signs
    iterations: npt.NDArray[np.int64]
    settled: npt.NDArray[np.bool_]

    @property
    def final(self) -> Signs:
        """The recalled states, int8 (..., K, N)."""
        recalled: Signs = self.states[-1]
        return recalled


def recall(
    layers: Sequence[Layer], cues: Signs, *, hidden: Hidden = "sign", max_iterations: int = 20
) -> Recall:
    """Recall `cues`, ±1 (..., K, N), in floating point: the reference for a chip."""
    return settle(lambda states: forward(layers, states, hidden), cues, max_iterations)


def settle(fields_of: Callable[[Signs], Floats], cues: Signs, max_iterations: int = 20) -> Recall:
    """Iterate state ← sign(fields_of(state)), all neurons at once; a tie keeps the old state.

    `fields_of` maps states (..., K, N) to fields of that shape. Each cue stops by itself: at a
    fixed point, or when a state returns (a cycle), or after `max_iterations`.
    """
    states = [np.asarray(cues, np.int8)]
    running = np.ones(cues.shape[:-1], bool)
    settled = np.zeros_like(running)
    iterations = np.zeros(cues.shape[:-1], np.int64)
    for _ in range(max_iterations):
        old = states[-1]
        fields = fields_of(old)
        new = np.where(running[..., None], np.where(fields == 0, old, np.sign(fields)), old)
        still = (new == old).all(axis=-1)
        settled |= running & still
        iterations += running & ~still
        running &= ~still
        if not running.any():
            break
        running &= ~np.any([(new == past).all(axis=-1) for past in states], axis=0)
        states.append(new.astype(np.int8))
    return Recall(np.stack(states), iterations, settled)


def flip(
    patterns: npt.NDArray[np.int8], probability: float, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """Cues: every ±1 changes its sign independently with `probability`; any shape."""
    flipped = rng.random(patterns.shape) < probability
    return np.where(flipped, -patterns, patterns).astype(np.int8)


def converge(
    layers: Sequence[Layer], cues: Signs, *, hidden: Hidden = "tanh", max_iterations: int = 50
) -> Signs:
    """Final states int8 (K, N) of `recall`, without the way there: for many cues of one memory.

    Unlike `recall` a cue in a cycle goes on to the last iteration; a cycle of two states, all that
    symmetric weights allow, is recognised and its end worked out.
    """
    final = np.array(cues, np.float32)
    running, older = np.arange(len(final)), np.zeros_like(final)
    for iteration in range(max_iterations):
        old = final[running]
        fields = forward(layers, old, hidden)
        new = np.where(fields == 0, old, np.sign(fields)).astype(np.float32)
        moved = (new != old).any(axis=-1)
        back = moved & (new == older).all(axis=-1)
        ends_on_new = (max_iterations - iteration) % 2 == 1
        final[running] = new if ends_on_new else np.where(back[:, None], old, new)
        going = moved & ~back
        running, older = running[going], old[going]
        if not running.size:
            break
    return final.astype(np.int8)


def relax(layers: Sequence[Layer], cues: Floats, iterations: int = 100) -> Floats:
    """States (..., K, N) after tanh recall: all units, the outputs too, answer tanh(gain × field)."""
    states = cues
    for _ in range(iterations):
        states = activate(forward(layers, states, "tanh"), layers[-1].gain, "tanh")
    return states
