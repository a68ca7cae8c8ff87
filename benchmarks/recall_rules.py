"""How well each rule recalls on simulated chips: `python -m benchmarks.recall_rules --draws 200`.

Ten MNIST digits, one per class, 20 cues each with every pixel flipped with p = 0.1; each draw of
digits meets a chip of its own. Its stuck devices are known to training; programming errors, line
losses and read noise are not. Draws below 10 000 were for choosing hyper-parameters; the
table comes from 10 000 upwards.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from time import perf_counter

import numpy as np
import numpy.typing as npt

from chipctl.memory.digits import draw_one_per_class, load_digits, to_patterns
from chipctl.memory.learning import (
    Box,
    Hidden,
    Layer,
    Paper,
    Robust,
    Rule,
    activate,
    flip,
    pseudo_inverse,
    settle,
    train,
)

Floats = npt.NDArray[np.floating]
Patterns = npt.NDArray[np.int8]

SPAN_MICROSIEMENS = 150.0
CUES_PER_DIGIT = 20
FLIP_PROBABILITY = 0.1
TANH_STEPS = 127  # of a tanh unit that drives a row bit by bit
MEAN_DEMANDED, WORST_DEMANDED = 0.995, 0.98
ONE_LAYER, TWO_LAYERS = (64, 64), (64, 16, 64)


@dataclass(frozen=True)
class Errors:
    """What a chip adds to the weights asked for; conductances in units of the span."""

    programming: float = 4 / SPAN_MICROSIEMENS  # verified to ±5 µS (He et al., Fig. 6a: 3.9 µS)
    unconverged: float = 0.07  # share of devices, off by up to:
    unconverged_by: float = 20 / SPAN_MICROSIEMENS
    line_gain: float = 0.88
    line_gain_sigma: float = 0.04  # of each column
    read_noise: float = 0.01  # of the rms field


@dataclass(frozen=True)
class Pairs:
    """Ranges of both devices of each pair, (draws, outputs, inputs), units of the span."""

    plus: tuple[Floats, Floats]
    minus: tuple[Floats, Floats]

    @classmethod
    def drawn(cls, shape: tuple[int, ...], rng: np.random.Generator) -> "Pairs":
        """0.3 % stuck on at 200–400 µS, 0.3 % off at 0–1 µS, 0.2 % between at 5–150 µS."""
        return cls(_ranges(shape, rng), _ranges(shape, rng))

    @property
    def box(self) -> Box:
        """What the fault map tells the training."""
        return Box.from_pairs(*self.plus, *self.minus)

    def programmed(self, weights: Floats, errors: Errors, rng: np.random.Generator) -> Floats:
        """Weights as the columns of a real chip answer for them."""
        minus = np.clip(np.maximum(self.minus[0], self.plus[0] - weights), *self.minus)
        plus = np.clip(weights + minus, *self.plus)
        column = (*weights.shape[:-1], 1)
        gains = errors.line_gain * (1 + rng.normal(0, errors.line_gain_sigma, (2, *column)))
        held: Floats = gains[0] * _written(plus, self.plus, errors, rng)
        held -= gains[1] * _written(minus, self.minus, errors, rng)
        return held


def _ranges(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Floats, Floats]:
    chance = rng.random(shape)
    low, high = np.zeros(shape), np.ones(shape)
    for below, above, microsiemens in (
        (0.0, 0.003, (200, 400)),
        (0.003, 0.006, (0, 1)),
        (0.006, 0.008, (5, 150)),
    ):
        stuck = (chance >= below) & (chance < above)
        low[stuck] = high[stuck] = rng.uniform(*microsiemens, stuck.sum()) / SPAN_MICROSIEMENS
    return low, high


def _written(
    target: Floats, allowed: tuple[Floats, Floats], errors: Errors, rng: np.random.Generator
) -> Floats:
    error = rng.normal(0, errors.programming, target.shape)
    missed = rng.random(target.shape) < errors.unconverged
    error[missed] = rng.uniform(-errors.unconverged_by, errors.unconverged_by, missed.sum())
    healthy = allowed[0] < allowed[1]
    return np.where(healthy, np.clip(target + error, 0, 1), target)


def drawn_patterns(first: int, draws: int) -> Patterns:
    """Ten digits per draw as ±1, int8 (draws, 10, 64)."""
    digits = load_digits()
    images = [draw_one_per_class(digits, np.random.default_rng(seed)) for seed in range(first, first + draws)]
    return np.stack([to_patterns(ten) for ten in images])


def cosines(
    layers: Sequence[Layer],
    pairs: Sequence[Pairs],
    patterns: Patterns,
    hidden: Hidden,
    rng: np.random.Generator,
) -> Floats:
    """Mean cosine of each digit over its cues, recalled on the draws' chips, (draws, 10)."""
    errors = Errors()
    held = [
        replace(layer, weights=one.programmed(layer.weights, errors, rng))
        for layer, one in zip(layers, pairs, strict=True)
    ]
    targets = np.repeat(patterns, CUES_PER_DIGIT, axis=1)
    cues = flip(targets, FLIP_PROBABILITY, rng)

    def noisy(layer: Layer, states: Patterns | Floats) -> Floats:
        fields = layer.field(states)
        scale = errors.read_noise * np.sqrt(np.mean(fields**2, axis=(1, 2), keepdims=True))
        noise: Floats = rng.normal(0, 1, fields.shape) * scale
        return fields + noise

    def fields_of(states: Patterns) -> Floats:
        fields = noisy(held[0], states)
        for before, layer in pairwise(held):
            answers = activate(fields, before.gain, hidden)
            fields = noisy(layer, np.round(answers * TANH_STEPS) / TANH_STEPS)
        return fields

    return similarity(settle(fields_of, cues).final, targets)


def similarity(states: Patterns, targets: Patterns) -> Floats:
    """Mean cosine of each digit over its cues, (draws, 10)."""
    per_cue = np.mean(states * targets, axis=-1)
    digits: Floats = per_cue.reshape(len(targets), -1, CUES_PER_DIGIT).mean(axis=-1)
    return digits


def nearest(patterns: Patterns, rng: np.random.Generator) -> Floats:
    """What an ideal decoder reaches: each cue becomes the stored pattern nearest to it."""
    targets = np.repeat(patterns, CUES_PER_DIGIT, axis=1)
    cues = flip(targets, FLIP_PROBABILITY, rng)
    overlap = cues.astype(np.float32) @ patterns.swapaxes(1, 2).astype(np.float32)
    found = np.take_along_axis(patterns, overlap.argmax(axis=-1)[..., None], axis=1)
    return similarity(found, targets)


def projection(patterns: Patterns, box: Box) -> list[Layer]:
    """The pseudo-inverse, programmed without regard to faults beyond what clips it."""
    return [Layer.spanning(pseudo_inverse(patterns), box)]


def report(name: str, reached: Floats, seconds: float) -> None:
    """One line of the table from cosines (draws, 10)."""
    mean, worst = reached.mean(axis=1), reached.min(axis=1)
    met = (mean >= MEAN_DEMANDED) & (worst >= WORST_DEMANDED)
    print(
        f"{name:34}{mean.mean():8.4f}{mean.min():8.4f}{worst.mean():9.4f}{worst.min():8.4f}"
        f"{np.mean(mean >= MEAN_DEMANDED):8.1%}{met.mean():8.1%}{seconds:8.2f}",
        flush=True,
    )


def trained(patterns: Patterns, sizes: tuple[int, ...], boxes: Sequence[Box], rule: Rule) -> list[Layer]:
    """A memory per draw, trained one after the other, with the draws as leading axis."""
    memories = []
    for index, ten in enumerate(patterns):
        own = [Box(box.lower[index], box.upper[index]) for box in boxes]
        memories.append(train(ten, sizes, own, rule).layers)
    return [
        Layer(
            np.stack([layer.weights for layer in same]),
            np.stack([layer.bias for layer in same]),
            np.stack([layer.gain for layer in same]),
        )
        for same in zip(*memories, strict=True)
    ]


def compare(sizes: tuple[int, ...], patterns: Patterns, seed: int) -> None:
    """The rows of one architecture."""
    draws = len(patterns)
    pairs = [
        Pairs.drawn((draws, outputs, inputs), np.random.default_rng([seed, index]))
        for index, (inputs, outputs) in enumerate(pairwise(sizes))
    ]
    boxes = [one.box for one in pairs]
    units: list[Hidden] = ["sign"] if len(sizes) == 2 else ["sign", "tanh"]
    rules: list[tuple[str, Rule]] = [
        ("paper", Paper()),
        ("paper, no bias", Paper(bias=False)),
        ("robust", Robust()),
        ("robust, no bias", Robust(bias=False)),
    ]
    title = "–".join(map(str, sizes))
    if len(sizes) == 2:
        reached = cosines(
            projection(patterns, boxes[0]), pairs, patterns, "sign", np.random.default_rng([seed, 9])
        )
        report(f"{title} pseudo-inverse", reached, 0)
    for name, rule in rules:
        start = perf_counter()
        layers = trained(patterns, sizes, boxes, rule)
        seconds = (perf_counter() - start) / draws
        for hidden in units:
            reached = cosines(layers, pairs, patterns, hidden, np.random.default_rng([seed, 9]))
            report(f"{title} {hidden:5}{name}", reached, seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--first", type=int, default=10_000, help="seed of the first draw of digits")
    parser.add_argument("--layers", type=int, choices=(1, 2), help="only this architecture")
    given = parser.parse_args()
    patterns = drawn_patterns(given.first, given.draws)
    print(f"{given.draws} draws of ten digits from seed {given.first}, a chip each")
    print(f"{'':34}{'mean cosine':>16}{'worst digit':>17}{'mean':>8}{'both':>8}{'train':>8}")
    print(f"{'':34}{'mean':>8}{'worst':>8}{'mean':>9}{'worst':>8}{'≥.995':>8}{'met':>8}{'s':>8}")
    report("nearest stored pattern", nearest(patterns, np.random.default_rng(given.first)), 0)
    for sizes in (ONE_LAYER, TWO_LAYERS):
        if given.layers in (None, len(sizes) - 1):
            compare(sizes, patterns, given.first)


if __name__ == "__main__":
    main()
