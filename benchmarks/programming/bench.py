"""Chips, targets and errors that the parts share."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import DEVNULL, Popen
from sys import executable
from time import monotonic, sleep
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Plan
from chipctl.chip import Chip, connect
from chipctl.link import Link
from chipctl.program_report import ProgramReport
from chipctl.programming import program
from chipctl.schedules import PulseSchedule
from sim_chip import ChipParameters, VirtualChip, preset
from sim_chip.mcu import VirtualMcu
from sim_chip.server import Endpoint

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SPAN = 150e-6  # S
ARRAY = 0
SEEDS = tuple(range(4001, 4006))
RELAXED_SECONDS = 100.0
LAST_READS = 10
START_S = 20.0

KINDS = {"good": ("good", 0.0), "poor": ("poor", 0.0), "10 % faults": ("good", 0.1)}
"""Preset, and the share of devices to be stuck on, off or between, in equal parts, instead of what it draws;
0 for what it draws."""


def seeds_of(plan: Plan, most: int = len(SEEDS)) -> tuple[int, ...]:
    """Chips to measure: the fixed ones, or as many fresh ones."""
    found = SEEDS if plan.seed is None else tuple(range(plan.seed, plan.seed + len(SEEDS)))
    return found[:most]


def uniform(seed: int) -> Floats:
    """Targets anywhere between zero and 150 µS, (rows, cols)."""
    return np.random.default_rng(seed).uniform(0, SPAN, (64, 64))


def unlike() -> ChipParameters:
    """A `good` chip of devices far from the nominal laws that prediction begins with.

    50 mV off at the gate, 18 % in what the gate does, 100 mV in RESET, its steepness two thirds: about as
    far as the fits of the published data let such devices be from each other.
    """
    good = preset("good")
    switching = replace(
        good.switching,
        threshold=replace(good.switching.threshold, nominal=0.835),
        transconductance=replace(good.switching.transconductance, nominal=600e-6),
        reset_reference=replace(good.switching.reset_reference, nominal=1.05),
        reset_steepness=replace(good.switching.reset_steepness, nominal=6.0),
    )
    return replace(good, switching=switching)


@contextmanager
def chip_of(seed: int, kind: ChipParameters | None = None) -> Iterator[tuple[Chip, Mask]]:
    """A chip in this process, `good` by default, zero measured, and its devices that are not stuck."""
    mcu = VirtualMcu(VirtualChip(kind or preset("good"), seed))
    board = SimpleNamespace(mcu=mcu, close=mcu.power_down)
    with Link(Endpoint(f"benchmark-{seed}", board)) as link:
        chip = Chip.over(link)
        yield chip, prepared(chip)


def prepared(chip: Chip) -> Mask:
    """Measure the zero of the array; its devices that are not stuck, (rows, cols), by a perfect fault map."""
    chip.measure_zero(ARRAY)
    planted = chip.board.planted(ARRAY)
    assert planted is not None
    return np.equal(planted[0], 0)


@contextmanager
def served(kind: str, seed: int) -> Iterator[Chip]:
    """A chip of `KINDS` behind the port of a process of its own, so that only the host's CPU counts here."""
    name, share = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        port = Path(folder, "port")
        command = [executable, "-m", "sim_chip.cli", "serve", "--pty", str(port)]
        command += ["--preset", name, "--seed", str(seed)]
        if share:
            dice = np.random.default_rng([seed, 1])  # apart from the targets
            size = (preset(name).arrays, 64, 64)
            stuck = np.where(dice.random(size) < share, dice.integers(1, 4, size), 0)
            np.savez(Path(folder, "faults.npz"), kinds=stuck.astype(np.uint8))
            command += ["--faults", str(Path(folder, "faults.npz"))]
        with Popen(command, stderr=DEVNULL, cwd=Path(__file__).parents[2]) as board:
            try:
                end = monotonic() + START_S
                while not port.exists() and monotonic() < end:
                    sleep(0.01)
                with connect(str(port)) as chip:
                    yield chip
            finally:
                board.terminate()


@dataclass(frozen=True)
class Written:
    """What a schedule reached on one chip."""

    report: ProgramReport
    mask: Mask
    errors: Floats
    """Of the mean of ten reads, 100 s after the last pulse, all devices that are not stuck, µS."""

    @property
    def pulses(self) -> float:
        """Mean of a device."""
        return float(self.report.pulses[self.mask].mean())

    @property
    def converged(self) -> float:
        """Share verified by its own last read, %."""
        return 100 * float(self.report.verified[self.mask].mean())


def written(seed: int, schedule: PulseSchedule, kind: ChipParameters | None = None) -> Written:
    """Uniform targets on a new chip; read when it has relaxed."""
    target = uniform(seed)
    with chip_of(seed, kind) as (chip, mask):
        report = program(chip, ARRAY, target, mask=mask, schedule=schedule)
        if not schedule.revisits.most:  # their last look is after a rest of this length
            chip.wait(RELAXED_SECONDS)
        readback = chip.read(ARRAY, reads=LAST_READS, gain=schedule.gain)
    return Written(report, mask, (readback - target)[mask] * 1e6)
