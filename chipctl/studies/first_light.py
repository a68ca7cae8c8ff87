"""The whole instrument once, end to end: scan, train, place, program, recall ten digits, with controls.

He et al. 2026, Fig. 3b-f and 4b-d: ten MNIST digits, one per class, 10 % of the pixels flipped, one layer
of 64 neurons and 64-16-64.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from chipctl.chip import Chip, PulseShape, Siemens
from chipctl.faults import ScanReport, ScanSchedule, check_scan, scan
from chipctl.mapping import ArrayTarget, Placement, array_targets, place
from chipctl.memory.associative import AssociativeMemory, ChipRecall, Correction, cosine
from chipctl.memory.digits import Digits, draw_one_per_class, to_patterns
from chipctl.memory.learning import Hidden, Paper, Robust, Rule, TrainedMemory, train
from chipctl.memory.learning.recall import flip
from chipctl.memory.store import boxes
from chipctl.profile import FaultMap
from chipctl.program_report import ProgramReport
from chipctl.programming import program
from chipctl.progress import Progress
from chipctl.runs.log import bind_operation
from chipctl.schedules import PulseSchedule
from chipctl.write_plan import check_schedule
from firmware_protocol.messages import RESET, SET

_log = structlog.get_logger()

SIZES = ((64, 64), (64, 16, 64))
"""The two memories of the paper."""

LEAST_MEAN_COSINE, LEAST_WORST_DIGIT = 0.995, 0.98
"""What recall is held to: over all digits and draws, and for each digit over its draws."""

LEAST_VERIFIED = 0.9
"""Share of an array's healthy devices that must verify within tolerance."""

MOST_MEAN_ERROR, MOST_ERROR_SIGMA = 0.5e-6, 4.4e-6
"""What the readback's errors are held to, siemens (He et al. 2026: 0.108 and 3.894 µS)."""

MOST_UNPROGRAMMED_COSINE = 0.8
"""A memory that recalls better than this without being programmed proves nothing."""

OPEN_LOOP_GATE = ((10e-6, 0.90), (40e-6, 1.00), (100e-6, 1.15), (150e-6, 1.20))
"""(siemens, gate volts) at which one SET pulse brings a median device there; bench calibration of the same
chip design at 1 µs, 2 V."""

_REHEARSALS = 20
"""Damaged copies of each pattern, other than the cues, on which the programmed chip is calibrated."""

_READBACK_READS = 1
"""The readback is one read per device, as the published error is: it holds read noise."""


@dataclass(frozen=True)
class FirstLight:
    """What to run: everything random follows from `seed`."""

    seed: int = 0
    rule: Literal["robust", "paper"] = "robust"
    hidden: Hidden = "sign"
    flip_probability: float = 0.1
    draws: int = 20
    """Corrupted copies of each digit."""
    schedule: PulseSchedule = field(default_factory=PulseSchedule)
    scan: ScanSchedule = field(default_factory=ScanSchedule)
    controls: bool = True
    """Also recall with programming skipped, and with one open-loop pulse per device."""


@dataclass(frozen=True)
class RecallScore:
    """How well a memory recalled: cosines of shape (digits, draws)."""

    cosines: NDArray[np.float64]
    iterations: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Over all digits and draws."""
        return float(self.cosines.mean())

    @property
    def worst_digit(self) -> float:
        """The lowest mean of one digit over its draws."""
        return float(self.cosines.mean(axis=1).min())

    @property
    def exact(self) -> int:
        """Recalls without a wrong pixel."""
        return int(np.count_nonzero(self.cosines == 1.0))


@dataclass(frozen=True)
class ArrayResult:
    """One array, programmed and read back."""

    planned: ArrayTarget
    report: ProgramReport
    readback: Siemens

    @property
    def holds(self) -> bool:
        """Whether programming reached what it is held to."""
        verified = self.report.verified[self.planned.mask].mean() >= LEAST_VERIFIED
        errors = self.errors
        return bool(verified and abs(errors.mean()) <= MOST_MEAN_ERROR and errors.std() <= MOST_ERROR_SIGMA)

    @property
    def errors(self) -> NDArray[np.float64]:
        """Readback less target of the devices programmed, siemens, flat."""
        return np.asarray((self.readback - self.planned.target)[self.planned.mask])


@dataclass(frozen=True)
class MemoryResult:
    """One memory from training to recall."""

    trained: TrainedMemory
    placement: Placement
    hidden: Hidden
    patterns: NDArray[np.int8]
    cues: NDArray[np.int8]
    """Corrupted patterns, shape (digits, draws, neurons)."""
    arrays: dict[int, ArrayResult]
    corrections: tuple[Correction, ...]
    """What calibration found of each layer on the chip."""
    recall: ChipRecall
    """States of shape (iterations + 1, digits, draws, neurons)."""
    score: RecallScore
    unprogrammed: RecallScore | None
    open_loop: RecallScore | None

    @property
    def recalls(self) -> bool:
        """Whether recall reached what it is held to."""
        return self.score.mean >= LEAST_MEAN_COSINE and self.score.worst_digit >= LEAST_WORST_DIGIT

    @property
    def holds(self) -> bool:
        """Whether programming, recall and the unprogrammed control reached what they are held to."""
        control = self.unprogrammed is None or self.unprogrammed.mean < MOST_UNPROGRAMMED_COSINE
        return self.recalls and control and all(outcome.holds for outcome in self.arrays.values())

    @property
    def name(self) -> str:
        """Layer sizes, as 64-16-64."""
        return "-".join(map(str, self.placement.sizes))


@dataclass(frozen=True)
class FirstLightResult:
    """The whole run."""

    options: FirstLight
    scans: dict[int, ScanReport]
    memories: tuple[MemoryResult, ...]

    @property
    def holds(self) -> bool:
        """Whether everything reached what it is held to."""
        return all(memory.holds for memory in self.memories)


class Keeper(Protocol):
    """Who is told of each part as soon as it is done, so that nothing is lost when a later one fails."""

    def scan(self, report: ScanReport) -> None:
        """An array was scanned."""
        ...

    def memory(self, result: MemoryResult) -> None:
        """A memory was programmed and recalled."""
        ...


def run_first_light(
    chip: Chip, options: FirstLight, digits: Digits, progress: Progress, keeper: Keeper | None = None
) -> FirstLightResult:
    """Scan, train, program and recall on the chip. Changes every device of the arrays in use.

    Raises:
        ValueError: A policy is outside the board's limits; nothing was pulsed.
    """
    check_scan(chip, options.scan)
    check_schedule(chip, options.schedule)
    rng = np.random.default_rng(options.seed)
    patterns = to_patterns(draw_one_per_class(digits, rng))
    scans = {}
    for array in range(chip.arrays):
        scans[array] = _scan(chip, array, options, progress)
        if keeper:
            keeper.scan(scans[array])
    memories = []
    for sizes in SIZES:
        memories.append(_memory(chip, sizes, patterns, options, progress, rng))
        if keeper:
            keeper.memory(memories[-1])
    return FirstLightResult(options, scans, tuple(memories))


def _scan(chip: Chip, array: int, options: FirstLight, progress: Progress) -> ScanReport:
    chip.measure_zero(array)
    steps = 2 * len(options.scan.set_volts)
    label = f"scan array {array} for stuck devices"
    with bind_operation("scan"), progress.stage(label, steps) as tell:
        report = scan(chip, array, options.scan, lambda p: tell(p.step, f"{p.suspects} not moved yet"))
        _log.info("array scanned", array=array, stuck=report.faults.count(), pulses=report.pulses)
    return report


def _memory(
    chip: Chip,
    sizes: tuple[int, ...],
    patterns: NDArray[np.int8],
    options: FirstLight,
    progress: Progress,
    rng: np.random.Generator,
) -> MemoryResult:
    placement = place(sizes, chip.arrays, chip.rows, chip.cols)
    faults = {array: chip.profile.fault_map(array) for array in placement.arrays}
    trained = _train(patterns, placement, faults, options, progress, rng)
    planned = array_targets(placement, [layer.weights for layer in trained.layers], faults)
    cues = flip(np.repeat(patterns[:, None], options.draws, axis=1), options.flip_probability, rng)
    network = AssociativeMemory(chip, placement, trained.layers, options.hidden)
    trial = _Trial(network, patterns, cues, progress)

    unprogrammed = trial.score("recall, programming skipped") if options.controls else None
    open_loop = None
    if options.controls:
        _one_pulse_each(chip, planned, options.schedule)
        open_loop = trial.score("recall, one open-loop pulse per device")
    arrays = {array: _program(chip, array, plan, options, progress) for array, plan in planned.items()}
    rehearsal = flip(np.repeat(patterns, _REHEARSALS, axis=0), options.flip_probability, rng)
    network.calibrate(rehearsal)
    recall = trial.recall("recall")
    return MemoryResult(
        trained=trained,
        placement=placement,
        hidden=options.hidden,
        patterns=patterns,
        cues=cues,
        arrays=arrays,
        corrections=tuple(network.corrections),
        recall=recall,
        score=_score(recall, patterns),
        unprogrammed=unprogrammed,
        open_loop=open_loop,
    )


def _train(
    patterns: NDArray[np.int8],
    placement: Placement,
    faults: Mapping[int, FaultMap],
    options: FirstLight,
    progress: Progress,
    rng: np.random.Generator,
) -> TrainedMemory:
    name = "-".join(map(str, placement.sizes))
    with bind_operation("train"), progress.stage(f"train {name}", 0):
        trained = train(
            patterns, placement.sizes, boxes(placement, faults), _rule(options, int(rng.integers(2**31)))
        )
    return trained


def _rule(options: FirstLight, seed: int) -> Rule:
    if options.rule == "paper":
        return Paper(seed=seed)
    return Robust(flip_probability=options.flip_probability, hidden=options.hidden, seed=seed)


def _program(
    chip: Chip, array: int, plan: ArrayTarget, options: FirstLight, progress: Progress
) -> ArrayResult:
    total = int(np.count_nonzero(plan.mask))
    with bind_operation("program"), progress.stage(f"program array {array}", total) as tell:
        report = program(
            chip,
            array,
            plan.target,
            mask=plan.mask,
            schedule=options.schedule,
            on_progress=lambda p: tell(p.verified, f"round {p.round}, {p.pulses} pulses"),
        )
        tell(total)
        verified = int(np.count_nonzero(report.verified & plan.mask))
        _log.info("array programmed", array=array, devices=total, verified=verified, rounds=report.rounds)
    readback = chip.read(array, reads=_READBACK_READS, gain=options.schedule.gain)
    return ArrayResult(plan, report, readback)


def _one_pulse_each(chip: Chip, planned: Mapping[int, ArrayTarget], schedule: PulseSchedule) -> None:
    """RESET everything low, then give each device the one SET pulse that should bring it to its target."""
    erase = PulseShape(RESET, 2.4, schedule.reset_gate_volts.first, schedule.reset_width)
    siemens, gates = np.array(OPEN_LOOP_GATE).T
    for array, plan in planned.items():
        chip.pulse(array, erase, count=2)
        chosen = plan.mask & (plan.target >= schedule.tolerance)
        volts = np.where(chosen, 2.0, np.nan)
        gate_volts = np.interp(plan.target, siemens, gates)
        chip.pulse_each(array, SET, volts, gate_volts, schedule.set_width)


@dataclass
class _Trial:
    """The same cues, recalled from whatever the chip holds at the moment."""

    memory: AssociativeMemory
    patterns: NDArray[np.int8]
    cues: NDArray[np.int8]
    progress: Progress

    def score(self, label: str) -> RecallScore:
        return _score(self.recall(label), self.patterns)

    def recall(self, label: str) -> ChipRecall:
        """Recall all cues; states of shape (iterations + 1, digits, draws, neurons)."""
        with bind_operation("recall"), self.progress.stage(label, 0):
            found = self.memory.recall(self.cues.reshape(-1, self.cues.shape[-1]))
            _log.info(label, settled=int(found.settled.sum()), iterations=int(found.iterations.max()))
        shape = self.cues.shape[:-1]
        return ChipRecall(
            found.states.reshape(-1, *self.cues.shape),
            found.iterations.reshape(shape),
            found.periods.reshape(shape),
            found.energies.reshape(-1, *shape),
        )


def _score(recall: ChipRecall, patterns: NDArray[np.int8]) -> RecallScore:
    return RecallScore(cosine(recall.final, patterns[:, None]), recall.iterations)
