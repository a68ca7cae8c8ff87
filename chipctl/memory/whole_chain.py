"""The whole chain on a virtual chip with stuck devices: scan, train in boxes, place, program, recall."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import connect
from chipctl.converters import SPAN
from chipctl.memory.associative import States, cosine
from chipctl.memory.capacity import Faults, Law
from chipctl.memory.digits import (
    Digits,
    draw_one_per_class,
    load_digits,
    reporting_part,
    to_greys,
    to_patterns,
)
from chipctl.memory.learning import Aware, Gaussian, Layer, Paper, Rule, flip, recall, relax
from chipctl.memory.store import Memory, Storing, store
from chipctl.progress import Progress

NEURONS = 64

RULE = Aware(steps=1500, rate=1e-2, gain=2, blur=0.05, weight_sigma=0.046)
"""Within the boxes, and ready for what programming leaves: chosen on chip 0, figures are of others."""

PUBLISHED = Paper(steps=1000)
"""He et al., eq. (5): stuck devices masked."""

_READS = 16
_MOST_ITERATIONS = 50
CONTINUOUS_ITERATIONS = 15
"""Updates of continuous neurons, by which they are where they stay but for noise."""


@dataclass(frozen=True)
class WholeChain:
    """What to run; everything random follows from `seed`."""

    ratio: float
    """Share of the devices that are stuck, each by itself."""
    patterns: int
    """Digits to store."""
    seed: int
    law: Law = "chip"
    """Where devices are stuck; see `chipctl.memory.capacity.Faults`."""
    hidden: tuple[int, ...] = ()
    flips: float = 0.05
    copies: int = 40
    """Damaged copies of each pattern to recall."""
    rule: Rule = RULE
    published: Rule = field(default_factory=lambda: PUBLISHED)
    digits: Path | None = None
    """A folder of idx files; the bundled digits by default."""


@dataclass(frozen=True)
class Recalled:
    """Mean cosine with the pattern after recall of the same cues, three times over."""

    trained: float
    """In floating point, from the weights that were meant."""
    held: float
    """In floating point, from the conductances read back."""
    chip: float
    """On the chip."""

    @property
    def lost(self) -> float:
        """What the chip's products lose against the conductances that it holds; negative where they gain."""
        return self.held - self.chip


@dataclass(frozen=True)
class ChainOutcome:
    """What became of one chip."""

    asked: WholeChain
    boxed: Recalled
    """Trained in the boxes that the scan left."""
    published: Recalled
    """The published rule, trained on the same fault map, programmed and recalled on the same chip."""
    stuck: int
    """Devices that are stuck."""
    missed: int
    """Of them those that the scan did not name."""
    wronged: int
    """Healthy devices that it named."""
    placement: str
    """Where the layers went, and what it spared."""


def run_whole_chain(asked: WholeChain, progress: Progress | None = None) -> ChainOutcome:
    """Run the chain on a virtual chip of the `good` preset, its stuck devices drawn anew.

    Raises:
        ValueError: Fewer digits than patterns, or a share that is none.
    """
    rng = np.random.default_rng([asked.seed, 7])
    patterns = _patterns(reporting_part(load_digits(asked.digits)), asked.patterns, rng)
    targets = np.repeat(patterns, asked.copies, axis=0)
    cues = flip(targets, asked.flips, rng)
    with TemporaryDirectory() as folder:
        kinds, address = plant(Path(folder), asked, rng)
        with connect(address) as chip:
            how = Storing(asked.hidden, rule=asked.rule, cue_noise=asked.flips, seed=asked.seed)
            memory = store(chip, patterns, how, progress)
            named = np.stack([chip.profile.fault_map(array).stuck for array in range(chip.arrays)])
            boxed = recalled(memory, cues, targets)
            how = Storing(asked.hidden, rule=asked.published, cue_noise=asked.flips, seed=asked.seed)
            published = recalled(store(chip, patterns, how, progress), cues, targets)
    stuck = kinds > 0
    missed, wronged = int((stuck & ~named).sum()), int((named & ~stuck).sum())
    return ChainOutcome(asked, boxed, published, int(stuck.sum()), missed, wronged, str(memory.plan))


def plant(folder: Path, asked: WholeChain, rng: np.random.Generator) -> tuple[NDArray[np.uint8], str]:
    """Draw stuck devices (arrays, rows, cols), and the address of a virtual chip that has them."""
    if not 0 <= asked.ratio < 1:
        raise ValueError(f"a share of stuck devices is 0 or more and below 1, not {asked.ratio}")
    shape = (3, NEURONS, NEURONS)
    stuck = rng.random(shape) < asked.ratio
    siemens = Faults(asked.ratio, asked.law).stuck_values(shape, rng) * SPAN
    kinds = np.where(stuck, _kind(siemens), 0).astype(np.uint8)
    np.savez(folder / "faults.npz", kinds=kinds, stuck_siemens=np.where(stuck, siemens, np.nan))
    return kinds, f"sim://?preset=good&seed={asked.seed}&faults={folder / 'faults.npz'}"


def _kind(siemens: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of docs/virtual-chip.md: 1 stuck on, 2 stuck off, 3 in between."""
    return np.select([siemens > SPAN, siemens <= 1e-6], [1, 2], 3)


def _patterns(digits: Digits, number: int, rng: np.random.Generator) -> NDArray[np.int8]:
    if number > len(digits.images):
        raise ValueError(f"{number} patterns wanted, there are {len(digits.images)} digits")
    return to_patterns(digits.images[rng.choice(len(digits.images), number, replace=False)])


def recalled(memory: Memory, cues: States, targets: States) -> Recalled:
    """Recall by the weights that were meant, by the conductances read back, and on the chip."""
    most = _MOST_ITERATIONS if memory.outputs == "sign" else CONTINUOUS_ITERATIONS
    final: list[States] = [
        _in_floats(memory, way, cues, most) for way in (memory.layers, memory.held(_READS))
    ]
    final.append(memory.recall(cues, most, on_board=True).final)
    return Recalled(*(float(cosine(states, targets).mean()) for states in final))


def _in_floats(memory: Memory, layers: Sequence[Layer], cues: States, most: int) -> States:
    if memory.outputs == "tanh":
        return relax(layers, np.asarray(cues, np.float32), most)
    return recall(layers, cues.astype(np.int8), hidden=memory.hidden, max_iterations=most).final


@dataclass(frozen=True)
class Continuous:
    """Continuous patterns under Gaussian noise, as in Fig. 5b-e: ten digits, one of each class."""

    seed: int
    sigma: float = 0.5
    """Standard deviation of the noise of the cues, clipped to [-1, 1]."""
    hidden: tuple[int, ...] = (NEURONS // 2,)
    """None for the one layer that fails."""
    copies: int = 10
    rule: Rule | None = None
    digits: Path | None = None


def run_continuous(asked: Continuous, progress: Progress | None = None) -> tuple[float, Recalled]:
    """Mean cosine of the cues, and after recall by tanh on a virtual chip of the `good` preset."""
    rng = np.random.default_rng([asked.seed, 8])
    patterns = to_greys(draw_one_per_class(reporting_part(load_digits(asked.digits)), rng))
    targets = np.repeat(patterns, asked.copies, axis=0)
    cues = np.empty_like(targets)
    Gaussian(asked.sigma).damage(targets, rng, cues)
    with connect(f"sim://?preset=good&seed={asked.seed}") as chip:
        how = Storing(asked.hidden, rule=asked.rule, cue_noise=asked.sigma, seed=asked.seed, spread=False)
        memory = store(chip, patterns, how, progress)
        return float(cosine(cues, targets).mean()), recalled(memory, cues, targets)
