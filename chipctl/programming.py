"""Write-and-verify: bring the devices of an array to their targets by a policy given as data."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chipctl.chip import Chip, Siemens
from chipctl.converters import SPAN
from chipctl.errors import DeviceError, LinkError, MadeSafe, ProgrammingError
from firmware_protocol import bulk
from firmware_protocol.jobs import JobState, Verdict
from firmware_protocol.messages import RESET, SET, Job, StartProgram
from firmware_protocol.status import Fault, Status

MOST_INTERRUPTIONS = 3
"""Lost sessions and faults of the board after which programming is given up."""

_CALM_S = 0.1
"""Rest before the first resumption; twice as long before each further one."""

_RESUMABLE = (
    Status.NOT_ARMED,
    Status.FAULT,
    Status.ABORTED,
    Status.CONVERTER_TIMEOUT,
    Status.SUPPLY_OUT_OF_RANGE,
)
"""Refusals of a board in its safe state, which may be over when its fault is cleared."""


class Ramp(BaseModel):
    """Voltages of successive pulses: from `first` in steps up to `last`, volts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: float = Field(ge=0)
    last: float = Field(ge=0)
    step: float = Field(gt=0)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the ramp must rise: first {self.first} V, last {self.last} V")
        return self


class PulseSchedule(BaseModel):
    """How write-and-verify works on a device. Volts, seconds, siemens.

    Each device starts at the first SET or RESET voltage and goes one step up at every further pulse in the
    same direction; past the last voltage the gate goes up one step and the voltage starts again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(5e-6, gt=0)
    """A device within this of its target is verified (He et al. 2026: 5 µS)."""
    inner_tolerance: float = Field(2e-6, gt=0)
    """Pulsing goes on until a device is within this of its target. Stopping just inside the outer
    tolerance leaves a bias towards the side a device came from."""
    zero_aim: float = Field(1.5e-6, ge=0)
    """A target of zero is aimed this far below it, one at the inner tolerance not at all, in between in
    proportion: a conductance lies above zero only, so an even band would leave all of them high."""
    reads: int = Field(2, ge=1, le=64)
    """Reads averaged per verification."""
    gain: int = Field(2, ge=0, le=6)
    """TIA gain index of verification; index 2 resolves a single device over the whole span."""
    max_rounds: int = Field(500, ge=1, le=65535)
    max_retries: int = Field(5, ge=0, le=255)
    """Pulses at the highest voltages before a device is given up."""
    set_volts: Ramp = Ramp(first=1.4, last=2.6, step=0.4)
    set_gate_volts: Ramp = Ramp(first=0.825, last=2.0, step=0.025)
    set_width: float = 1e-6
    reset_volts: Ramp = Ramp(first=0.6, last=3.0, step=0.05)
    reset_gate_volts: Ramp = Ramp(first=5.0, last=5.0, step=0.5)
    reset_width: float = 1e-6

    @model_validator(mode="after")
    def _stops_inside(self) -> Self:
        if self.inner_tolerance > self.tolerance:
            raise ValueError("inner_tolerance must not be above tolerance")
        return self


@dataclass(frozen=True)
class JobIntent:
    """What write-and-verify of some devices of an array is about to do, before anything is sent."""

    job_id: int
    """Of the job on the board, or of the host's own loop; never used twice."""
    array: int
    mask: NDArray[np.bool_]
    """Devices that may get pulses, shape (rows, cols)."""
    target: Siemens
    """Shape (rows, cols); only what `mask` names counts."""
    schedule: PulseSchedule
    on_host: bool
    """Whether the host gives the pulses, in batches announced one by one, or the board in one job."""


@dataclass(frozen=True)
class BatchIntent:
    """One pulse for each of several devices, which the host is about to ask for; shapes (rows, cols)."""

    job_id: int
    """Of the `JobIntent` that it belongs to."""
    number: int
    """Counts the batches of the job, from 1."""
    array: int
    direction: int
    width_ns: int
    volt_codes: NDArray[np.int64]
    """0 where a device gets no pulse."""
    gate_codes: NDArray[np.int64]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Devices that get a pulse."""
        return np.not_equal(self.volt_codes, 0)


class Journal(Protocol):
    """Keeps what programming is about to do, and what came of it.

    Each intent is told before a byte of its effect leaves the host: when it returns, the intent must be
    where it survives the host. `None` as an outcome: it is not known what was carried out; some, all or none
    of it may have been. An intent without an outcome means the same.
    """

    def job_begins(self, intent: JobIntent) -> None:
        """A job, or a loop on the host, is about to be started."""
        ...

    def job_ended(self, intent: JobIntent, report: "ProgramReport | None") -> None:
        """It has ended; the report is of this job alone, pulses per device included where they are known."""
        ...

    def batch_begins(self, intent: BatchIntent) -> None:
        """A batch of pulses is about to be asked for (host loop only)."""
        ...

    def batch_ended(self, intent: BatchIntent, pulses: int | None) -> None:
        """It has ended; the number of pulses given, all of the batch unless None."""
        ...


class NoJournal:
    """Keeps nothing."""

    def job_begins(self, intent: JobIntent) -> None:
        """Nothing is kept."""

    def job_ended(self, intent: JobIntent, report: "ProgramReport | None") -> None:
        """Nothing is kept."""

    def batch_begins(self, intent: BatchIntent) -> None:
        """Nothing is kept."""

    def batch_ended(self, intent: BatchIntent, pulses: int | None) -> None:
        """Nothing is kept."""


@dataclass(frozen=True)
class ProgramProgress:
    """How far write-and-verify of an array is."""

    array: int
    round: int
    max_rounds: int
    devices: int
    verified: int
    pulses: int


@dataclass(frozen=True)
class ProgramReport:
    """What write-and-verify did to each device of an array; arrays of shape (rows, cols)."""

    array: int
    outcome: JobState
    rounds: int
    reads: int
    """Conversions made."""
    mask: NDArray[np.bool_]
    """Devices that were to be programmed."""
    target: Siemens
    final: Siemens
    """The last verify read; NaN where a device was not read."""
    set_pulses: NDArray[np.int64]
    reset_pulses: NDArray[np.int64]
    last_volts: NDArray[np.float64]
    last_gate_volts: NDArray[np.float64]
    verdicts: NDArray[np.int64]
    """`Verdict` per device."""
    interruptions: tuple[str, ...] = ()
    """Why the session was lost or the board went to its safe state in between, each time."""
    unplaced_pulses: int = 0
    """Pulses that the board counted and of which it no longer knows the devices."""

    @property
    def devices(self) -> int:
        """Number of devices that were to be programmed."""
        return int(np.count_nonzero(self.mask))

    @property
    def verified(self) -> NDArray[np.bool_]:
        """True where the last verify read was within tolerance."""
        return np.equal(self.verdicts, Verdict.VERIFIED)

    @property
    def pulses(self) -> NDArray[np.int64]:
        """SET and RESET pulses per device."""
        return self.set_pulses + self.reset_pulses


def program(  # noqa: PLR0913 - what to do, how, and who is told
    chip: Chip,
    array: int,
    target: Siemens,
    *,
    mask: NDArray[np.bool_] | None = None,
    schedule: PulseSchedule | None = None,
    on_progress: Callable[[ProgramProgress], None] | None = None,
    journal: Journal | None = None,
) -> ProgramReport:
    """Bring the chosen devices of one array to their targets, in one job on the board.

    Changes the devices in `mask`, no others.

    Args:
        chip: The chip.
        array: Array index, from 0.
        target: Conductance as read at the read voltage, shape (rows, cols), 0 to 150 µS where `mask`.
        mask: Devices to program, shape (rows, cols); all by default.
        schedule: The policy.
        on_progress: Called a few times a second.
        journal: Told of every effect before it is sent, and of what came of it.

    Raises:
        ValueError: A target or voltage is outside what the chip takes; nothing was sent.
        ProgrammingError: Somebody asked for safety, or the board latched a fault too often; holds the report
            of what was done.
        LinkError: The board went away, and did not come back or did so too often.

    When the line is lost, the board is reset or goes to its safe state by a fault, nothing is guessed: the
    board is asked what became of the job, the fault is cleared, the array is read, and only devices out of
    tolerance are programmed further. What an operator made safe is left alone.
    """
    schedule = schedule or PulseSchedule()
    mask = np.ones((chip.rows, chip.cols), np.bool_) if mask is None else np.asarray(mask, np.bool_)
    target = np.asarray(target, np.float64)
    check_targets(chip, array, target, mask)
    work = _Work(chip, array, target, mask, schedule, on_progress or (lambda _: None))
    work.journal = journal or NoJournal()
    while True:
        try:
            return work.go_on()
        except (LinkError, DeviceError, _Faulted) as error:
            work.interrupted(error)


class _Faulted(Exception):  # noqa: N818
    """The board ended the job by a fault that can be cleared."""


class _Work:
    """Programming of one array, in as many jobs as it takes."""

    def __init__(
        self,
        chip: Chip,
        array: int,
        target: Siemens,
        mask: NDArray[np.bool_],
        schedule: PulseSchedule,
        tell: Callable[[ProgramProgress], None],
    ) -> None:
        self._chip, self._array, self._target, self._mask = chip, array, target, mask
        self._schedule, self._tell = schedule, tell
        self._report: ProgramReport | None = None
        """Of the jobs so far, but the one that is open."""
        self._open: tuple[StartProgram, NDArray[np.bool_]] | None = None
        """The job of which it is not known yet what it did, and its devices."""
        self._interruptions: list[str] = []
        self.journal: Journal = NoJournal()
        self._intent: JobIntent | None = None
        """Of the open job, if it has been told to the journal."""
        self._before: tuple[int, int] | None = None
        """Boot id and requests for safety before the first job."""

    def go_on(self) -> ProgramReport:
        """Find out how things stand and run a job for what is left, to its end."""
        if self._before is None:
            self._before = self._chip.board.welcome.boot_id, self._chip.board.state().safes
        if self._open is not None:
            self._leave_alone_if_safe(*self._open)
            self._add(self._found_out(*self._open))
        done = self._report
        request = _request(self._chip, self._array, self._schedule)
        mask = self._mask if done is None else self._mask & ~done.verified
        sums = _target_sums(self._chip, self._array, np.where(mask, self._target, 0.0), self._schedule)
        self._open = request, mask
        self._intent = JobIntent(
            request.job_id, self._array, mask, self._target, self._schedule, on_host=False
        )
        self.journal.job_begins(self._intent)
        try:
            jobs = self._chip.board.program(request, bulk.pack_plan(mask, sums), self._safes_allowed)
            job = self._followed(jobs)
        except MadeSafe as error:
            self._open = None
            raise ProgrammingError(f"array {self._array}: {error}", self._so_far()) from None
        if job.fault and job.fault != Fault.INTERNAL:
            raise _Faulted(f"{Fault(job.fault).name.lower().replace('_', ' ')} in round {job.round}")
        report = self._add(_report(self._chip, request, mask, self._target, job))
        if job.state != JobState.DONE:
            cause = ": internal" if job.fault else ", as it was asked to"
            raise ProgrammingError(f"array {self._array}: the board ended programming early{cause}", report)
        return report

    def _leave_alone_if_safe(self, request: StartProgram, mask: NDArray[np.bool_]) -> None:
        """End here if somebody asked for safety: not even a read puts voltages on the chip again."""
        board, allowed = self._chip.board, self._safes_allowed
        if allowed is None or board.state().safes <= allowed:
            return
        if jobs := list(board.follow(request.job_id)):
            self._add(_report(self._chip, request, mask, self._target, jobs[-1]))
        words = f"array {self._array}: the board was asked to be safe; it is left so"
        raise ProgrammingError(words, self._so_far())

    @property
    def _safes_allowed(self) -> int | None:
        """How often the board may have been made safe by request when a job is resumed."""
        if not self._interruptions or self._before is None:
            return None
        boot_id, safes = self._before
        return safes if self._chip.board.welcome.boot_id == boot_id else 0

    def interrupted(self, error: Exception) -> None:
        """Take note, and see that there is a session; raises `error` where that is the end."""
        refused = isinstance(error, DeviceError) and error.status not in _RESUMABLE
        if refused or (isinstance(error, LinkError) and len(self._interruptions) >= MOST_INTERRUPTIONS):
            raise error
        if len(self._interruptions) >= MOST_INTERRUPTIONS:
            times = len(self._interruptions) + 1
            words = f"array {self._array}: given up after {times} interruptions, the last: {error}"
            raise ProgrammingError(words, self._so_far()) from error
        self._interruptions.append(str(error))
        if isinstance(error, LinkError):
            self._chip.board.reopen()
        time.sleep(_CALM_S * 2 ** (len(self._interruptions) - 1))

    def _so_far(self) -> ProgramReport | None:
        """What is known without asking again."""
        done = self._report
        return done and replace(done, interruptions=tuple(self._interruptions))

    def _add(self, report: ProgramReport) -> ProgramReport:
        self._open = None
        if self._intent is not None:
            self.journal.job_ended(self._intent, report)
            self._intent = None
        joined = _joined(self._report, report)
        self._report = replace(joined, interruptions=tuple(self._interruptions))
        return self._report

    def _followed(self, progress: Iterator[Job]) -> Job:
        job = None
        for job in progress:
            self._tell(_progress(self._array, self._schedule, job))
        assert job is not None
        return job

    def _looked_at(self) -> Siemens:
        """All devices as verification sees them; one beyond the gain's range is merely high."""
        chip, s = self._chip, self._schedule
        sums, _ = chip.board.read_cells(self._array, s.gain, s.reads, chip.whole)
        return np.asarray((sums / s.reads - chip.zero_codes(self._array)) * chip.readout.lsb_siemens(s.gain))

    def _found_out(self, request: StartProgram, mask: NDArray[np.bool_]) -> ProgramReport:
        """What became of a job that was cut off, and how the devices stand now."""
        board = self._chip.board
        jobs = list(board.follow(request.job_id))
        if fault := board.state().fault:
            board.clear_fault(fault)
        known = _report(self._chip, request, mask, self._target, jobs[-1]) if jobs else None
        logged = [effect.pulses for effect in board.op_log().effects if effect.job_id == request.job_id]
        now = self._looked_at()
        inside = np.abs(now - self._target) <= self._schedule.tolerance
        below = np.where(now < self._target, Verdict.LOW, Verdict.HIGH)
        none = np.zeros(mask.shape, np.int64)
        return ProgramReport(
            array=self._array,
            outcome=JobState.ABORTED,
            rounds=known.rounds if known else 0,
            reads=(known.reads if known else 0) + now.size * self._schedule.reads,
            mask=mask,
            target=self._target,
            final=np.where(mask, now, np.nan),
            set_pulses=known.set_pulses if known else none,
            reset_pulses=known.reset_pulses if known else none,
            last_volts=known.last_volts if known else none.astype(float),
            last_gate_volts=known.last_gate_volts if known else none.astype(float),
            verdicts=np.where(mask, np.where(inside, Verdict.VERIFIED, below), Verdict.SKIPPED),
            unplaced_pulses=0 if known else sum(logged),
        )


def _joined(before: ProgramReport | None, after: ProgramReport) -> ProgramReport:
    """Both reports as one: pulses added, the later word on every device that was touched again."""
    if before is None:
        return after
    again = after.mask
    return replace(
        after,
        rounds=before.rounds + after.rounds,
        reads=before.reads + after.reads,
        mask=before.mask,
        final=np.where(again, after.final, before.final),
        set_pulses=before.set_pulses + after.set_pulses,
        reset_pulses=before.reset_pulses + after.reset_pulses,
        last_volts=np.where(again, after.last_volts, before.last_volts),
        last_gate_volts=np.where(again, after.last_gate_volts, before.last_gate_volts),
        verdicts=np.where(again, after.verdicts, before.verdicts),
        unplaced_pulses=before.unplaced_pulses + after.unplaced_pulses,
    )


def check_targets(chip: Chip, array: int, target: Siemens, mask: NDArray[np.bool_]) -> None:
    """Refuse targets that the chip cannot be brought to.

    Raises:
        ValueError: Wrong shape, no number, or outside 0 to 150 µS.
    """
    shape = (chip.rows, chip.cols)
    if not 0 <= array < chip.arrays:
        raise ValueError(f"no array {array}: this chip has arrays 0 to {chip.arrays - 1}")
    if target.shape != shape or mask.shape != shape:
        raise ValueError(f"targets and mask of shape {shape} wanted, {target.shape} and {mask.shape} given")
    chosen = target[mask]
    if not np.all((chosen >= 0) & (chosen <= SPAN * (1 + 1e-9))):
        bad = np.argwhere(mask & ~((target >= 0) & (target <= SPAN * (1 + 1e-9))))[0]
        raise ValueError(
            f"target {target[tuple(bad)] * 1e6:.4g} µS at row {bad[0]}, column {bad[1]} is outside "
            f"0 to {SPAN * 1e6:.0f} µS (targets are in siemens)"
        )


def check_schedule(chip: Chip, schedule: PulseSchedule) -> None:
    """Refuse a policy whose pulses the board would refuse.

    Raises:
        ValueError: A voltage or width is above the board's limits; nothing was sent.
    """
    _request(chip, 0, schedule)


def _request(chip: Chip, array: int, schedule: PulseSchedule) -> StartProgram:
    s = schedule
    for width in (s.set_width, s.reset_width):
        chip.check_width(round(width * 1e9))
    set_volts, set_gates = _ramp_codes(chip, SET, s.set_volts, s.set_gate_volts)
    reset_volts, reset_gates = _ramp_codes(chip, RESET, s.reset_volts, s.reset_gate_volts)
    per_code = chip.readout.lsb_siemens(s.gain) / s.reads
    return StartProgram(
        secrets.randbelow(2**32 - 1) + 1,
        array,
        s.gain,
        s.reads,
        s.max_retries,
        s.max_rounds,
        int(s.inner_tolerance / per_code),
        int(s.tolerance / per_code),
        *set_volts,
        *set_gates,
        round(s.set_width * 1e9),
        *reset_volts,
        *reset_gates,
        round(s.reset_width * 1e9),
        0,
    )


def _ramp_codes(
    chip: Chip, direction: int, volts: Ramp, gates: Ramp
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(first, last, step) in codes of a voltage ramp and of its gate ramp."""
    ends = [volts.first, volts.last], [gates.first, gates.last]
    volt_codes, gate_codes = chip.pulse_codes(direction, *ends)
    lsb = chip.dac.lsb_volts
    return (
        (int(volt_codes[0]), int(volt_codes[1]), max(1, round(volts.step / lsb))),
        (int(gate_codes[0]), int(gate_codes[1]), max(1, round(gates.step / lsb))),
    )


def _target_sums(chip: Chip, array: int, target: Siemens, schedule: PulseSchedule) -> NDArray[np.int64]:
    """The sums of codes to bring devices at `target` to, shape (rows, cols)."""
    aim = target - schedule.zero_aim * np.clip(1 - target / schedule.inner_tolerance, 0, 1)
    codes = aim / chip.readout.lsb_siemens(schedule.gain) + chip.zero_codes(array)
    sums = np.rint(codes * schedule.reads).astype(np.int64)
    most = chip.readout.full_scale * schedule.reads
    if np.any(sums >= most):
        raise ValueError(f"gain index {schedule.gain} does not resolve {target.max() * 1e6:.0f} µS")
    return np.maximum(sums, 0)


def _progress(array: int, schedule: PulseSchedule, job: Job) -> ProgramProgress:
    return ProgramProgress(array, job.round, schedule.max_rounds, job.devices, job.verified, job.pulses)


def _report(
    chip: Chip, request: StartProgram, mask: NDArray[np.bool_], target: Siemens, job: Job
) -> ProgramReport:
    codes = chip.board.program_report(request.job_id)
    means = codes.final_sums / request.reads - chip.zero_codes(request.array)
    final = np.where(mask, means * chip.readout.lsb_siemens(request.gain), np.nan)
    return ProgramReport(
        array=request.array,
        outcome=JobState(job.state),
        rounds=job.round,
        reads=job.reads,
        mask=mask,
        target=target,
        final=final,
        set_pulses=codes.set_pulses,
        reset_pulses=codes.reset_pulses,
        last_volts=chip.dac.to_volts(codes.volt_codes),
        last_gate_volts=chip.dac.to_volts(codes.gate_codes),
        verdicts=codes.verdicts,
    )
