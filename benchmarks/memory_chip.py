"""What memories on a chip must reach: the whole chain on stuck devices, continuous patterns, energy, latency.

Every value is of one virtual chip of the `good` preset; settings were chosen on chip 0, none of them.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from benchmarks.measure import ANY, Bound, Measured, Plan, Scale, at_least, at_most
from benchmarks.memory_asked import bound_of, digits
from chipctl.chip import connect
from chipctl.memory.capacity import Law
from chipctl.memory.costs import CostTable, cost_tables
from chipctl.memory.digits import load_digits, reporting_part
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


CHIPS = {Scale.QUICK: 3, Scale.FULL: 5}
"""Of each line."""


def measure(plan: Plan) -> Iterator[Measured]:
    """All lines, each of several chips."""
    first = 1 if plan.seed is None else plan.seed
    seeds = range(first, first + CHIPS[plan.scale])
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for law in PATTERNS if plan.scale is Scale.FULL else ("chip",):
            yield from _whole_chain(pool, law, seeds)
        yield from _continuous(pool, seeds)
        yield from _costs(pool, seeds)


def _whole_chain(pool: ProcessPoolExecutor, law: Law, seeds: Iterable[int]) -> Iterator[Measured]:
    for ratio, patterns in PATTERNS[law].items():
        asked = [WholeChain(ratio, patterns, seed, law, digits=digits()) for seed in seeds]
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
        for hidden, label in (((32,), "two layers"), ((), "one layer")):
            run = partial(_ten_greys, sigma=sigma, hidden=hidden)
            found: list[Recalled] = list(pool.map(run, seeds))
            name = f"ten continuous digits under noise of {sigma}, {label}"
            bound = bound_of("5b-e", f"{label}, noise {sigma:g}")
            yield Measured(name, "cos", bound, tuple(one.chip for one in found), by_mean=True)


def _ten_greys(seed: int, sigma: float, hidden: tuple[int, ...]) -> Recalled:
    return run_continuous(Continuous(seed, sigma, hidden, digits=digits()))[1]


def _costs(pool: ProcessPoolExecutor, seeds: Iterable[int]) -> Iterator[Measured]:
    by_seed = list(pool.map(_tables, seeds))
    for tables in zip(*by_seed, strict=True):
        patterns, layers = tables[0].patterns, "two layers" if tables[0].hidden else "one layer"
        name = f"{patterns} patterns, {layers}"
        bound = bound_of("6d", f"{name}: latency saved")
        saved = tuple(one.latency_saved for one in tables)
        yield Measured(f"latency saved, {name}", "", bound, saved, by_mean=True)
        time = tuple(one.analog_time_saved for one in tables)
        yield Measured(f"analog time saved, {name}", "", ANY, time)
        energy = f"energy, one layer one by one over {layers} together, {patterns} patterns"
        for causes in (None, ("array",), ("ADC",)):
            label = energy if causes is None else f"{energy}, {causes[0]} alone"
            yield Measured(label, "", ANY, tuple(one.energy_ratio(causes) for one in tables))


def _tables(seed: int) -> list[CostTable]:
    with connect(f"sim://?preset=good&seed={seed}") as chip:
        return cost_tables(chip, reporting_part(load_digits(digits())), seed=seed)
