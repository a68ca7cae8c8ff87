"""What a recall costs by the chip's own book: neurons all at a time or one by one, in one layer or two."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chipctl.bench import ChipBook
from chipctl.chip import Chip
from chipctl.memory.associative import AssociativeMemory, ChipRecall, Update
from chipctl.memory.digits import Digits, draw_one_per_class, to_patterns
from chipctl.memory.learning import flip
from chipctl.memory.store import Storing, store
from chipctl.progress import Progress

_MOST_SWEEPS = 20


@dataclass(frozen=True)
class Spent:
    """What something took of the chip, by its book."""

    joules: dict[str, float]
    """By cause: row drivers, array, TIA, ADC."""
    analog_seconds: float
    """Settling and converting."""
    seconds: float
    """The whole of the chip's clock, reading codes out to the board included."""
    products: int
    """Products of a vector of bits, two for each signed input."""

    @property
    def total_joules(self) -> float:
        """All causes."""
        return sum(self.joules.values())

    def per(self, number: float) -> "Spent":
        """A part of it; products are rounded."""
        joules = {cause: value / number for cause, value in self.joules.items()}
        return Spent(
            joules, self.analog_seconds / number, self.seconds / number, round(self.products / number)
        )


def spent(chip: Chip, work: Callable[[], object]) -> Spent:
    """What `work` takes of the chip."""
    before = chip.book()
    work()
    return difference(before, chip.book())


def difference(before: ChipBook, after: ChipBook) -> Spent:
    """What was spent between two looks at the book."""
    joules = {cause: after.joules[cause] - before.joules[cause] for cause in after.joules}
    analog = sum(after.spent[cause] - before.spent[cause] for cause in ("settling", "converting"))
    return Spent(joules, analog, after.seconds - before.seconds, after.products - before.products)


@dataclass(frozen=True)
class RecallCost:
    """What recalling one cue costs until its last change: an update's cost times the number of updates."""

    updates: NDArray[np.int64]
    """Updates to the last change of each cue, at least 1; of all neurons or of one, as `each` is."""
    each: Spent
    """One update of one cue."""
    cosine: float
    """Mean, of what was recalled."""

    @property
    def median(self) -> float:
        """Updates of the median cue, which the few that never settle do not move."""
        return float(np.median(self.updates))

    @property
    def mean(self) -> float:
        """Mean updates."""
        return float(self.updates.mean())

    @property
    def joules(self) -> float:
        """Of the mean cue."""
        return self.mean * self.each.total_joules

    @property
    def analog_seconds(self) -> float:
        """Of the mean cue."""
        return self.mean * self.each.analog_seconds


def recall_cost(
    memory: AssociativeMemory, cues: NDArray[np.int8], update: Update, seed: int = 0
) -> RecallCost:
    """Recall cues (groups, cues, neurons) and look up what an update of the memory costs.

    Where neurons are updated one by one every group has an order of its own.
    """
    every = cues.reshape(-1, cues.shape[-1])
    if update == "all":
        found = [memory.recall(every)]
        each = spent(memory.chip, lambda: memory.fields(every)).per(len(every))
    else:
        found = [
            memory.recall(group, _MOST_SWEEPS, update=update, seed=seed + number)
            for number, group in enumerate(cues)
        ]
        # A sweep looks at every neuron of every cue once, whatever it turns
        sweep = spent(memory.chip, lambda: memory.recall(every, 1, update="sweep"))
        each = sweep.per(every.size)
    updates = np.maximum(np.concatenate([one.iterations for one in found]), 1)
    return RecallCost(updates, each, _similarity(found))


def _similarity(found: Sequence[ChipRecall]) -> float:
    return float(np.mean([one.similarity[-1].max(axis=-1).mean() for one in found]))


@dataclass(frozen=True)
class CostTable:
    """One network size at one number of patterns: what He et al. compare in Fig. 6c and d."""

    patterns: int
    hidden: tuple[int, ...]
    synchronous: RecallCost
    asynchronous: RecallCost

    @property
    def latency_saved(self) -> float:
        """Share of the asynchronous latency that is saved, one product an update: 0.994 published."""
        return 1 - self.synchronous.mean / self.asynchronous.mean

    @property
    def analog_time_saved(self) -> float:
        """The same in the chip's own time, settling and converting."""
        return 1 - self.synchronous.analog_seconds / self.asynchronous.analog_seconds

    @property
    def energy_ratio(self) -> float:
        """Asynchronous over synchronous energy: 2.68 (2 patterns) and 2.76 (10) published for one layer."""
        return energy_ratio(self.asynchronous, self.synchronous)

    @property
    def share(self) -> float:
        """Energy of an update of one neuron over one of all: 1/64 if only the columns read cost anything."""
        return self.asynchronous.each.total_joules / self.synchronous.each.total_joules


def energy_ratio(over: RecallCost, under: RecallCost, causes: Collection[str] | None = None) -> float:
    """How many times the energy of one recall another takes, of the mean cue.

    causes: Those that count, as in `Spent.joules`; all where None. Their ratios one by one are the ends
    between which every mixture lies, whatever each costs: the sensitivity of the whole to the cost model.
    """
    taken = [
        one.mean * sum(value for cause, value in one.each.joules.items() if not causes or cause in causes)
        for one in (over, under)
    ]
    return taken[0] / taken[1]


def cost_tables(  # noqa: PLR0913 - what is compared
    chip: Chip,
    digits: Digits,
    *,
    patterns: Sequence[int] = (2, 10),
    hidden: Sequence[tuple[int, ...]] = ((), (16,)),
    copies: int = 10,
    flips: float = 0.1,
    how: Storing | None = None,
    progress: Progress | None = None,
) -> list[CostTable]:
    """Store digits one after the other on a chip, and recall each memory both ways: Fig. 6c, d.

    Changes every device of the chip. Digits are of different classes; `copies` damaged ones of each are
    recalled, each copy of all in an order of its own where neurons are drawn one by one, with replacement.
    """
    how = how or Storing(cue_noise=flips)
    rng = np.random.default_rng(how.seed)
    drawn = to_patterns(draw_one_per_class(digits, rng))
    tables = []
    for number in patterns:
        cues = flip(np.repeat(drawn[None, :number], copies, axis=0), flips, rng)
        for layers in hidden:
            memory = store(chip, drawn[:number], replace(how, hidden=tuple(layers)), progress)
            both = [recall_cost(memory, cues, update, how.seed) for update in ("all", "random")]
            tables.append(CostTable(number, tuple(layers), *both))
    return tables
