"""What memories on a chip must reach: the whole chain on stuck devices, continuous patterns, energy, latency.

Every value is of one virtual chip of the `good` preset; settings were chosen on chip 0, none of them.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from benchmarks.measure import ANY, Bound, Measured, Plan, Scale, at_least, at_most
from chipctl.chip import connect
from chipctl.memory.capacity import Law
from chipctl.memory.costs import CostTable, cost_tables, energy_ratio
from chipctl.memory.digits import load_digits, reporting_part
from chipctl.memory.store import Storing
from chipctl.memory.whole_chain import (
    ChainOutcome,
    Continuous,
    Recalled,
    WholeChain,
    run_continuous,
    run_whole_chain,
)

PATTERNS: dict[Law, dict[float, int]] = {
    "chip": {0.1: 19, 0.25: 6, 0.5: 1},
    "uniform": {0.1: 32, 0.25: 24, 0.5: 12},
    "rails": {0.1: 29, 0.25: 18, 0.5: 6},
}
"""80 % of what one layer of 64 neurons, which may drive themselves, stores in its boxes in floating point:
`memory.sweeps.BOX`, mean of four seeds: 23.8, 8.0, 1.3; 39.5, 30.0, 14.8; 36.5, 22.8, 7.0."""


def measure(plan: Plan) -> Iterator[Measured]:
    """All lines, each of several chips."""
    first, full = plan.seed or 1, plan.scale is Scale.FULL
    seeds = range(first, first + (5 if full else 3))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for law in PATTERNS if full else ("chip",):
            yield from _whole_chain(pool, law, seeds)
        yield from _continuous(pool, seeds)
        yield from _costs(pool, range(first, first + 3), 20 if full else 3)


def _whole_chain(pool: ProcessPoolExecutor, law: Law, seeds: Iterable[int]) -> Iterator[Measured]:
    for ratio, patterns in PATTERNS[law].items():
        asked = [WholeChain(ratio, patterns, seed, law) for seed in seeds]
        found: list[ChainOutcome] = list(pool.map(run_whole_chain, asked))
        name = f"whole chain, {ratio:.0%} stuck ({law}), {patterns} patterns"
        boxed = [one.boxed for one in found]
        beyond = tuple(one.boxed.chip - one.published.chip for one in found)
        yield Measured(f"{name}: recall", "cos", ANY, tuple(one.chip for one in boxed))
        yield Measured(
            f"{name}: less than what it holds", "cos", Bound(-0.01, 0.01), tuple(one.lost for one in boxed)
        )
        yield Measured(f"{name}: above the published rule", "cos", at_least(1e-4), beyond)
        named = tuple(float(one.missed + one.wronged) for one in found)
        yield Measured(f"{name}: devices misjudged of {3 * 64 * 64}", "1", at_most(6), named)


def _continuous(pool: ProcessPoolExecutor, seeds: Iterable[int]) -> Iterator[Measured]:
    for sigma in (0.5, 0.6):
        for hidden, label, bound in (((32,), "two layers", at_least(0.99)), ((), "one layer", at_most(0.96))):
            run = partial(_ten_greys, sigma=sigma, hidden=hidden)
            found: list[Recalled] = list(pool.map(run, seeds))
            name = f"ten continuous digits under noise of {sigma}, {label}"
            yield Measured(name, "cos", bound, tuple(one.chip for one in found))


def _ten_greys(seed: int, sigma: float, hidden: tuple[int, ...]) -> Recalled:
    return run_continuous(Continuous(seed, sigma, hidden))[1]


def _costs(pool: ProcessPoolExecutor, seeds: Iterable[int], copies: int) -> Iterator[Measured]:
    by_seed = list(pool.map(partial(_tables, copies=copies), seeds))
    for tables in zip(*by_seed, strict=True):
        layers = "two layers" if tables[0].hidden else "one layer"
        name = f"{tables[0].patterns} patterns, {layers}"
        saved = _pooled(tables)
        bound = at_least(0.993 if copies >= 20 and tables[0].patterns == 2 else 0.99)
        yield Measured(f"latency saved, {name}", "", bound, (saved,))
        time = tuple(one.analog_time_saved for one in tables)
        yield Measured(f"analog time saved, {name}", "", ANY, time)
        ratio = tuple(one.energy_ratio for one in tables)
        yield Measured(f"asynchronous over synchronous energy, {name}", "", ANY, ratio)
        converters = tuple(energy_ratio(one.asynchronous, one.synchronous, ("ADC",)) for one in tables)
        yield Measured(f"the same of the converters alone, {name}", "", ANY, converters)
    for number in sorted({table.patterns for table in by_seed[0]}):
        yield from _against_two_layers(number, by_seed)


def _against_two_layers(number: int, by_seed: list[list[CostTable]]) -> Iterator[Measured]:
    """One layer one by one over two layers together: 8.8 (2 patterns) and 7.01 (10) published."""
    name = f"energy, one layer one by one over two layers together, {number} patterns"
    chosen = [[table for table in tables if table.patterns == number] for tables in by_seed]
    pairs = [
        (one.asynchronous, two.synchronous)
        for one, two in (sorted(some, key=lambda table: len(table.hidden)) for some in chosen)
    ]
    for causes in (None, ("array",), ("ADC",)):
        label = name if causes is None else f"{name}, {causes[0]} alone"
        yield Measured(label, "", ANY, tuple(energy_ratio(*pair, causes) for pair in pairs))


def _pooled(tables: tuple[CostTable, ...]) -> float:
    """Latency saved over all chips: every recall counts alike."""
    together, single = (
        np.concatenate([getattr(one, kind).updates for one in tables]).mean()
        for kind in ("synchronous", "asynchronous")
    )
    return float(1 - together / single)


def _tables(seed: int, copies: int) -> list[CostTable]:
    how = Storing(cue_noise=0.1, seed=seed, spread=False)
    with connect(f"sim://?preset=good&seed={seed}") as chip:
        return cost_tables(chip, reporting_part(load_digits()), copies=copies, how=how)
