"""Fault scans of chips with planted faults: what is found, at what value, and what it costs in pulses."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Measured, Plan, Scale, at_least, at_most
from chipctl.chip import Chip
from chipctl.converters import adc_of_columns
from chipctl.faults import ScanReport, scan
from chipctl.link import Link
from sim_chip.chip import VirtualChip
from sim_chip.device import Kind
from sim_chip.faults import SLOW, FaultPlan
from sim_chip.faults import plant as plant_faults
from sim_chip.mcu import VirtualMcu
from sim_chip.parameters import FaultShares
from sim_chip.presets import preset
from sim_chip.server import Endpoint

RATIOS = (0.003, 0.03, 0.10, 0.25, 0.50)
KINDS = ("on", "off", "middle")
SEEDS = {Scale.QUICK: 2, Scale.FULL: 20}
"""Chips per ratio and kind."""

CLOSE_SIEMENS = 2e-6
"""A value this near to what the device shows is good, whatever uncertainty is stated."""
SLOW_SHARE = 0.05

Siemens = NDArray[np.float64]


@dataclass
class Found:
    """Scans added up."""

    right: int = 0
    missed: int = 0
    wrong: int = 0
    errors: list[Siemens] = field(default_factory=list)
    uncertainties: list[Siemens] = field(default_factory=list)
    pulses: int = 0
    healthy: int = 0

    def add(self, truth: VirtualChip, report: ScanReport) -> None:
        """Hold one scan against what was planted."""
        planted = truth.planted(report.array)[0] != Kind.HEALTHY
        named, both = report.faults.stuck, report.faults.stuck & planted
        self.right += int(both.sum())
        self.missed += int((planted & ~named).sum())
        self.wrong += int((named & ~planted).sum())
        self.errors.append((report.faults.conductance - shown(truth, report.array))[both])
        self.uncertainties.append(report.faults.uncertainty[both])
        self.pulses += int(report.pulse_counts[~planted].sum())
        self.healthy += int((~planted).sum())

    @property
    def recall(self) -> float:
        """Percent."""
        return 100 * self.right / max(self.right + self.missed, 1)

    @property
    def precision(self) -> float:
        """Percent."""
        return 100 * self.right / max(self.right + self.wrong, 1)

    @property
    def sigmas(self) -> Siemens:
        """Errors over stated uncertainties, absolute."""
        return np.abs(np.concatenate(self.errors)) / np.concatenate(self.uncertainties)

    @property
    def value_good(self) -> float:
        """Percent of the values within 2 µS or three stated uncertainties."""
        close = np.abs(np.concatenate(self.errors)) <= CLOSE_SIEMENS
        return 100 * float(np.mean(close | (self.sigmas <= 3)))


def shown(truth: VirtualChip, array: int) -> Siemens:
    """What planted devices show in reads at 0.2 V but for noise: transistor and lines are in series."""
    siemens, wires = truth.planted(array)[1] * 1e-11, truth.parameters.wires
    row, col = np.indices(siemens.shape)
    segments = (col + 1) + (truth.parameters.rows - row)
    ohms = wires.driver_ohms + wires.tia_ohms + wires.transistor_ohms + wires.segment_ohms * segments
    return np.asarray(siemens / (1 + siemens * ohms))


@contextmanager
def chip_with(kind: str, seed: int, plan: FaultPlan) -> Iterator[tuple[Chip, VirtualChip]]:
    """A driver, and the chip below its wire."""
    truth = VirtualChip(preset(kind), seed, faults=plan)
    mcu = VirtualMcu(truth)
    board = SimpleNamespace(mcu=mcu, close=mcu.power_down)
    with Link(Endpoint(f"sim://{kind}-{seed}", board)) as link:  # type: ignore[arg-type]
        yield Chip.over(link), truth


def measure(plan: Plan) -> Iterator[Measured]:
    """Each ratio's figures, pooled over kinds and chips; then coverage, slow devices and dead lines."""
    first, seeds = plan.seed or 1, SEEDS[plan.scale]
    everything = []
    for ratio in RATIOS:
        found = _scanned(ratio, range(first, first + seeds))
        everything.append(found)
        name = f"fault scan, {100 * ratio:g} % stuck: "
        yield Measured(name + "recall", "%", at_least(99.5), (found.recall,))
        yield Measured(name + "precision", "%", at_least(99.5), (found.precision,))
        yield Measured(name + "values in 2 µS or 3 σ", "%", at_least(99.5), (found.value_good,))
        yield Measured(name + "pulses a healthy device", "", at_most(3), (found.pulses / found.healthy,))
    yield from _coverage(np.concatenate([found.sigmas for found in everything]))
    yield from _slow(range(first, first + seeds))
    yield from _lines(range(first, first + seeds))


def _scanned(ratio: float, seeds: range) -> Found:
    found = Found()
    for seed in seeds:
        for number, kind in enumerate(KINDS):
            shares = FaultShares(**{kind: ratio})
            with chip_with("good", 100 * seed + number, FaultPlan(shares=shares)) as (chip, truth):
                found.add(truth, scan(chip, seed % chip.arrays, on_board=bool(seed % 2)))
    return found


def _coverage(sigmas: Siemens) -> Iterator[Measured]:
    """Shares within k stated uncertainties: as a normal distribution has it, or better."""
    for k, least in ((1, 65.0), (2, 95.0), (3, 99.5)):
        share = 100 * float(np.mean(sigmas <= k))
        yield Measured(f"fault scan: values within {k} stated uncertainties", "%", at_least(least), (share,))


def _slow(seeds: range) -> Iterator[Measured]:
    """Slow devices: none called stuck, most flagged, few others flagged."""
    planted = flagged = others = wrong = stuck = 0
    plan = FaultPlan(shares=FaultShares(on=0.003, off=0.003, middle=0.002, slow=SLOW_SHARE))
    for seed in seeds:
        with chip_with("good", seed, plan) as (chip, truth):
            faults = scan(chip, 0, on_board=True).faults
        slow = (plant_faults(truth.parameters, plan, seed, 0).flags.reshape(64, 64) & SLOW) > 0
        planted, flagged = planted + int(slow.sum()), flagged + int((faults.slow & slow).sum())
        others, wrong = others + int((~slow).sum()), wrong + int((faults.slow & ~slow).sum())
        stuck += int((faults.stuck & slow).sum())
    yield Measured("fault scan: slow devices called stuck", "", at_most(0), (float(stuck),))
    yield Measured("fault scan: slow devices flagged slow", "%", at_least(85), (100 * flagged / planted,))
    yield Measured("fault scan: others flagged slow", "%", at_most(0.5), (100 * wrong / others,))


def _lines(seeds: range) -> Iterator[Measured]:
    """A dead row, column, converter and amplifier on each chip, among 10 % stuck devices."""
    right = 0
    found = Found()
    for seed in seeds:
        row, col, adc, amplifier = (int(n) for n in np.random.default_rng(seed).integers([64, 64, 4, 64]))
        plan = FaultPlan(
            FaultShares(on=0.03, off=0.05, middle=0.02),
            dead_rows=((0, row),),
            dead_cols=((0, col),),
            dead_adcs=((0, adc),),
            railed_tias=((0, amplifier),),
        )
        with chip_with("good", seed, plan) as (chip, truth):
            report = scan(chip, 0, on_board=True)
        right += _lines_are_right(report, plan)
        reached = ~report.faults.on_dead_line
        kinds = np.where(reached, report.faults.kinds, 0).astype(np.uint8)
        stuck = truth.planted(0)[0] != Kind.HEALTHY
        found.wrong += int(((kinds > 0) & ~stuck).sum())
        found.missed += int(((kinds == 0) & stuck & reached).sum())
    yield Measured(
        "fault scan: chips whose dead lines are all named, no other",
        "%",
        at_least(100),
        (100 * right / len(seeds),),
    )
    yield Measured(
        "fault scan: devices misjudged beside dead lines",
        "",
        at_most(0),
        (float(found.wrong + found.missed),),
    )


def _lines_are_right(report: ScanReport, plan: FaultPlan) -> bool:
    """Whether the map names the lines of the plan; a converter hides its columns' own faults."""
    adc = plan.dead_adcs[0][1]
    converter = tuple(int(col) for col in np.flatnonzero(adc_of_columns(64) == adc))
    wanted = {("row", plan.dead_rows[0][1:]), ("converter", converter)}
    col, amplifier = plan.dead_cols[0][1], plan.railed_tias[0][1]
    if amplifier not in converter:
        wanted.add(("amplifier", (amplifier,)))
    if col not in converter and col != amplifier:
        wanted.add(("column", (col,)))
    return {(line.kind.value, line.lines) for line in report.faults.lines} == wanted
