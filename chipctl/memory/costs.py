"""What a recall costs by the chip's own book: neurons all at a time or one by one, in one layer or two."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chipctl.bench import ChipBook
from chipctl.chip import Chip
from chipctl.memory.associative import AssociativeMemory, ChipRecall, Update
from chipctl.memory.digits import Digits, draw_one_per_class, to_patterns
from chipctl.memory.learning import flip
from chipctl.memory.store import Storing, store
from chipctl.progress import Progress

ORDERS, RECALLS = 14, 20
"""Orders in which neurons are drawn one by one, and recalls in each."""
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
    """Recall cues (orders, recalls, neurons) and look up what an update of the memory costs.

    Where neurons are updated one by one, each of the orders is drawn anew.
    """
    every = cues.reshape(-1, cues.shape[-1])
    if update == "all":
        found = [memory.recall(every)]
        each = spent(memory.chip, lambda: memory.fields(every)).per(len(every))
    else:
        found = [
            memory.recall(some, _MOST_SWEEPS, update=update, seed=seed + number)
            for number, some in enumerate(cues)
        ]
        # A sweep looks at every neuron of every cue once, whatever it turns
        sweep = spent(memory.chip, lambda: memory.recall(cues[0], 1, update="sweep"))
        each = sweep.per(cues[0].size)
    updates = np.maximum(np.concatenate([one.iterations for one in found]), 1)
    return RecallCost(updates, each, _similarity(found))


def _similarity(found: Sequence[ChipRecall]) -> float:
    return float(np.mean([one.similarity[-1].max(axis=-1).mean() for one in found]))


@dataclass(frozen=True)
class CostTable:
    """One network at one number of patterns: what He et al. compare in Fig. 6c and d.

    Their ratios and shares, of one layer and of two alike, are against one layer updated one by one: only so
    do 8.8 and 2.68 of energy agree with the 3.28 of two layers over one, and 99.7 % of latency with 99.4 %.
    """

    patterns: int
    hidden: tuple[int, ...]
    synchronous: RecallCost
    asynchronous: RecallCost
    reference: RecallCost
    """One layer of the same patterns, one neuron at a time."""

    @property
    def latency_saved(self) -> float:
        """Share of the reference's latency that updates of all neurons save, each update, of one layer or
        of two, one unit of time: 0.994 published, 0.997 for two layers and 10 patterns."""
        return 1 - self.synchronous.mean / self.reference.mean

    @property
    def analog_time_saved(self) -> float:
        """The same in the chip's own time, settling and converting."""
        return 1 - self.synchronous.analog_seconds / self.reference.analog_seconds

    def energy_ratio(self, causes: Collection[str] | None = None) -> float:
        """Energy of the reference over that of updates of all neurons, of the mean cue: 2.68 and 2.76
        published for 2 and 10 patterns in one layer, 8.8 and 7.01 in two.

        causes: Those that count, as in `Spent.joules`; all where None. Their ratios one by one are the ends
        between which every mixture lies, whatever each costs: the sensitivity of the whole to the cost model.
        """
        over, under = (
            one.mean * sum(value for cause, value in one.each.joules.items() if not causes or cause in causes)
            for one in (self.reference, self.synchronous)
        )
        return over / under


def cost_tables(  # noqa: PLR0913 - what is compared
    chip: Chip,
    digits: Digits,
    *,
    seed: int,
    patterns: Sequence[int] = (2, 10),
    hidden: tuple[int, ...] = (16,),
    flips: float = 0.1,
    orders: int = ORDERS,
    progress: Progress | None = None,
) -> list[CostTable]:
    """Store digits one after the other on a chip, in one layer and in two, and recall each memory both ways.

    He et al., Fig. 6c, d. Changes every device of the chip. Digits are of different classes, and layers take
    as few arrays as hold them, as each product costs. Copies with `flips` of their pixels wrong are recalled,
    `RECALLS` in each of the orders in which neurons are drawn one by one, with replacement.
    """
    rng = np.random.default_rng(seed)
    drawn = to_patterns(draw_one_per_class(digits, rng))
    tables = []
    for number in patterns:
        copies = np.repeat(drawn[:number], max(1, RECALLS // number), axis=0)
        cues = flip(np.repeat(copies[None], orders, axis=0), flips, rng)
        reference = None
        for layers in ((), hidden):
            how = Storing(layers, cue_noise=flips, seed=seed, spread=False)
            memory = store(chip, drawn[:number], how, progress)
            together = recall_cost(memory, cues, "all")
            # Nothing is compared with two layers one by one: a few orders show them
            single = recall_cost(memory, cues[: orders // 4 + 1] if layers else cues, "random", seed)
            reference = reference or single
            tables.append(CostTable(number, layers, together, single, reference))
    return tables
