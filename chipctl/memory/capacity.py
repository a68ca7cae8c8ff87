"""How many patterns a rule can store: float recall of damaged patterns, and the search for the capacity.

A memory holds M patterns when the mean cosine between them and what their damaged copies end at, over
patterns and draws of damage, exceeds 0.99 (He et al., Fig. 3–5). Patterns are nested: more of them
are the same and further ones. Everything follows from the question, its seed included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chipctl.converters import SPAN
from chipctl.memory.digits import choosing_part, load_digits, reporting_part, to_greys, to_patterns
from chipctl.memory.learning import Box, Flips, Gaussian, Layer, Rule, converge, relax

Patterns = NDArray[np.float32]
Source = Literal["digits", "random"]
Use = Literal["box", "known", "masked"]
Law = Literal["weights", "uniform", "rails", "chip"]

LEAST_COSINE = 0.99
RECALLS = 2000
"""Recalls per memory at least, so that its mean cosine is known well enough; whole draws of damage."""
FEWEST_DRAWS = 4
RESOLUTION = 0.03
"""Share of a capacity to which it is searched."""
RANDOM_PATTERNS = 5000
CHIP_STUCK, CHIP_SHARES = ((200e-6, 400e-6), (0.0, 1e-6), (5e-6, 150e-6)), (3 / 8, 3 / 8, 2 / 8)
"""Siemens at which the virtual chip's devices are stuck: on, off and between, and how often each."""


@dataclass(frozen=True)
class Faults:
    """Which pairs are faulty, drawn for every question anew.

    law: `weights`: whole weights are zero, with probability `ratio`, as He et al. simulate it; the
    others strike single devices: `uniform` stuck anywhere in 0–150 µS, `rails` at 0 or 150 µS, `chip` as
    the virtual chip's (3 of 8 at 200–400 µS, 3 of 8 at 0–1 µS, 2 of 8 at 5–150 µS).
    use: what training may do with a faulty pair: all that it still can (`box`), only hold it nearest
    to zero (`known`), or have it at zero, which no chip can promise (`masked`).
    """

    ratio: float = 0.0
    law: Law = "weights"
    use: Use = "box"

    def boxes(self, sizes: Sequence[int], rng: np.random.Generator) -> list[Box]:
        """One for each layer of `sizes`."""
        return [self._box((outputs, inputs), rng) for inputs, outputs in pairwise(sizes)]

    def _box(self, shape: tuple[int, int], rng: np.random.Generator) -> Box:
        if self.law == "weights":
            free = np.where(rng.random(shape) < self.ratio, np.float32(0), np.float32(1))
            return Box(-free, free)
        ranges = [self._device(shape, rng) for _ in range(2)]
        box = Box.from_pairs(*ranges[0], *ranges[1])
        return {"box": box, "known": box.known(), "masked": box.masked()}[self.use]

    def _device(self, shape: tuple[int, int], rng: np.random.Generator) -> tuple[Patterns, Patterns]:
        stuck = rng.random(shape) < self.ratio
        at = self.stuck_values(shape, rng)
        low, high = np.where(stuck, at, 0), np.where(stuck, at, 1)
        return low.astype(np.float32), high.astype(np.float32)

    def stuck_values(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Where devices are stuck, by the law, units of the span."""
        if self.law == "uniform":
            return rng.random(shape)
        if self.law == "rails":
            return rng.integers(0, 2, shape).astype(float)
        laws = [rng.uniform(low, high, shape) / SPAN for low, high in CHIP_STUCK]
        return np.choose(rng.choice(3, shape, p=CHIP_SHARES), laws)


@dataclass(frozen=True)
class Question:
    """A rule, and what its memories must hold.

    sizes: (N, hidden…, N), N a square for digits. noise: of the cues; Gaussian asks for continuous patterns,
    recalled by tanh for 100 iterations. part: of the digits, and a stream of random numbers of its
    own: rates and schedules were chosen on `choosing`, figures come from `reporting`.
    self_connection: whether a neuron of a single layer may drive itself; Hopfield's may not.
    variation: deviation of every device from its target at recall, siemens.
    seed: of patterns, faults, training and cues. digits: a folder of idx files, None for the bundled ones.
    """

    rule: Rule
    sizes: tuple[int, ...]
    source: Source = "digits"
    noise: Flips | Gaussian = field(default_factory=lambda: Flips(0.05))
    faults: Faults = field(default_factory=Faults)
    self_connection: bool = False
    variation: float = 0.0
    seed: int = 0
    part: Literal["reporting", "choosing"] = "reporting"
    digits: Path | None = None

    @property
    def continuous(self) -> bool:
        """Whether patterns are continuous."""
        return isinstance(self.noise, Gaussian)

    def patterns(self) -> Patterns:
        """All that there are, in the order of this seed, float32 (many, N)."""
        rng = self._rng(0)
        if self.source == "digits":
            pool = _digits(self.sizes[0], self.continuous, self.part, self.digits)
            return pool[rng.permutation(len(pool))]
        shape = (RANDOM_PATTERNS, self.sizes[0])
        if self.continuous:
            return rng.uniform(-1, 1, shape).astype(np.float32)
        return (2 * rng.integers(0, 2, shape) - 1).astype(np.float32)

    def boxes(self) -> list[Box]:
        """What its devices can hold."""
        boxes = self.faults.boxes(self.sizes, self._rng(1))
        if self.self_connection or len(boxes) > 1:
            return boxes
        return [box.without_self() for box in boxes]

    def cue_rng(self) -> np.random.Generator:
        """What damages cues."""
        return self._rng(2)

    def misprogramming_rng(self) -> np.random.Generator:
        """How far devices are from their targets."""
        return self._rng(3)

    def seeded_rule(self) -> Rule:
        """The rule, with this question's seed where it takes one."""
        if hasattr(self.rule, "seed"):
            seeded: Rule = replace(self.rule, seed=self.seed)  # type: ignore[type-var]
            return seeded
        return self.rule

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, self.part == "choosing"])


@lru_cache(maxsize=8)
def _digits(neurons: int, continuous: bool, part: str, directory: Path | None) -> Patterns:
    side = round(neurons**0.5)
    if side * side != neurons:
        raise ValueError(f"digits are square: {neurons} neurons are none; take 64, 100, 196, 400, …")
    digits = {"choosing": choosing_part, "reporting": reporting_part}[part](load_digits(directory))
    images = digits.images
    return to_greys(images, side) if continuous else to_patterns(images, side).astype(np.float32)


def store(question: Question, patterns: int) -> list[Layer]:
    """Layers that hold the first `patterns` of the question, off their targets by its variation."""
    layers, _ = question.seeded_rule().fit(question.patterns()[:patterns], question.boxes())
    if question.variation == 0:
        return layers
    rng, sigma = question.misprogramming_rng(), np.sqrt(2) * question.variation / SPAN
    return [
        replace(layer, weights=layer.weights + sigma * rng.standard_normal(layer.weights.shape, np.float32))
        for layer in layers
    ]


def similarities(question: Question, patterns: int) -> NDArray[np.float64]:
    """Cosine of each pattern with what its damaged copies end at, (draws, patterns)."""
    layers = store(question, patterns)
    stored = question.patterns()[:patterns]
    return recall_cosines(question, layers, stored)


def recall_cosines(question: Question, layers: Sequence[Layer], stored: Patterns) -> NDArray[np.float64]:
    """Cosine of each stored pattern (M, N) with what its damaged copies end at in `layers`, (draws, M)."""
    rng = question.cue_rng()
    draws = max(FEWEST_DRAWS, -(-RECALLS // len(stored)))
    targets = np.broadcast_to(stored, (draws, *stored.shape)).reshape(-1, stored.shape[-1])
    cues = np.empty_like(targets)
    question.noise.damage(targets, rng, cues)
    if question.continuous:
        final = relax(layers, cues).astype(np.float32)
    else:
        final = converge(layers, cues.astype(np.int8)).astype(np.float32)
    norms = np.linalg.norm(final, axis=-1) * np.linalg.norm(targets, axis=-1)
    cosines = np.einsum("kn,kn->k", final, targets) / np.maximum(norms, 1e-9)
    return np.asarray(cosines, np.float64).reshape(draws, -1)


def capacity(question: Question, guess: int = 16, most: int | None = None) -> int:
    """Largest number of patterns held, to 3 %: doubling or halving from a guess, then bisection.

    0 when not even one is held; `most`, the number that there are unless given, when all are.
    """
    limit = min(most or len(question.patterns()), len(question.patterns()))

    def holds(patterns: int) -> bool:
        return float(similarities(question, patterns).mean()) > LEAST_COSINE

    return largest(holds, guess, limit)


def largest(holds: Callable[[int], bool], guess: int, limit: int) -> int:
    """Largest number up to `limit` that `holds`, to 3 %, where smaller ones hold as well.

    Strides from the guess grow until it is passed, by 1.25, 1.25², 1.25⁴, …; bisection does the rest.
    """
    low, high, stride = 0, limit + 1, 1.25
    tried = min(max(guess, 1), limit)
    while high - low > max(1, RESOLUTION * low):
        if holds(tried):
            low = tried
        else:
            high = tried
        if low > 0 and high <= limit:
            tried = (low + high) // 2
        elif low:
            tried, stride = min(max(int(low * stride), low + 1), limit), stride**2
        else:
            tried, stride = max(int(high / stride), 1) if high > 1 else 0, stride**2
        if tried in (low, high):
            tried = (low + high) // 2
        if tried == low:
            break
    return low
