"""Write-and-verify of an array, in as many jobs on the board as interruptions make of it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.errors import DeviceError, LinkError, MadeSafe, ProgrammingError
from chipctl.program_report import ProgramProgress, ProgramReport, Teller, report_of
from chipctl.schedules import PulseSchedule
from chipctl.write_plan import Plan, plan_of
from firmware_protocol.jobs import JobState, Verdict
from firmware_protocol.messages import Job, State
from firmware_protocol.status import Fault, Status

_T = TypeVar("_T")

MOST_FAULTS = 3
"""Faults of the board itself after which programming is given up, whatever came of it in between."""

MOST_IN_VAIN = 3
"""Interruptions in a row, without a pulse or a verified device in between, after which it is given up."""

MOST_INTERRUPTIONS = 100
"""Interruptions in all after which it is given up."""

_CALM_S = 0.1
"""Rest before a resumption; twice as long after each interruption in vain."""

_RESUMABLE = (
    Status.NOT_ARMED,
    Status.FAULT,
    Status.ABORTED,
    Status.CONVERTER_TIMEOUT,
    Status.SUPPLY_OUT_OF_RANGE,
)
"""Refusals of a board in its safe state, which may be over when its fault is cleared."""


_OF_THE_LINE = (Fault.LEASE_LAPSED, Fault.BAD_FRAME_STORM)
"""Faults that say nothing of the board."""


class Faulted(Exception):  # noqa: N818
    """The board ended the job by a fault that can be cleared."""

    def __init__(self, fault: Fault, place: str) -> None:
        super().__init__(f"{fault.name.lower().replace('_', ' ')} in {place}")
        self.fault = fault


class Writing(ABC):
    """Bringing devices of one array to their targets, over any number of interruptions."""

    def __init__(
        self,
        chip: Chip,
        array: int,
        target: Siemens,
        schedule: PulseSchedule,
        tell: Callable[[ProgramProgress], None],
    ) -> None:
        self.chip, self.array, self.target, self.schedule = chip, array, target, schedule
        self.tell = Teller(chip, array, schedule, tell)
        self.report: ProgramReport | None = None
        """Of all that has ended."""
        self._interruptions: list[str] = []
        self._before: tuple[int, int] | None = None
        """Boot id and requests for safety before the first pulse."""
        self._total = 0
        """Pulses that the board had counted when it was asked last."""
        self._stood: tuple[int, int] | None = None
        """Pulses of the board and verified devices at the last interruption."""
        self._in_vain = 0
        self._faults = 0

    def bring(self, mask: NDArray[np.bool_]) -> ProgramReport:
        """Program the devices in `mask` (rows, cols), those that are not within tolerance at the end named.

        Raises:
            ProgrammingError, LinkError, DeviceError: It could not be brought to its end.
        """
        self.begin(mask)
        return self.through(self.go_on)

    def through(self, step: Callable[[], _T]) -> _T:
        """Do something that an interruption may cut off and that then can be done again."""
        while True:
            try:
                return step()
            except (LinkError, DeviceError, Faulted) as error:
                self._interrupted(error)

    def looked_at(self, reads: int) -> Siemens:
        """All devices as verification sees them; one beyond the gain's range is merely high."""
        chip, gain = self.chip, self.schedule.gain
        sums, _ = chip.board.read_cells(self.array, gain, reads, chip.whole)
        return chip.columns(self.array).siemens(sums / reads, gain)

    @abstractmethod
    def begin(self, mask: NDArray[np.bool_]) -> None:
        """Take on other devices."""

    @abstractmethod
    def go_on(self) -> ProgramReport:
        """Find out how things stand and do what is left, to its end."""

    def _note_start(self) -> State:
        """What the board says before pulses go on; what it said first is kept."""
        state = self.chip.board.state()
        if self._before is None:
            self._before = self.chip.board.welcome.boot_id, state.safes
            self._total = state.total_pulses
            self._stood = self._total, self._verified
        return state

    @property
    def _safes_allowed(self) -> int | None:
        """How often the board may have been made safe by request when pulses go on."""
        if not self._interruptions or self._before is None:
            return None
        boot_id, safes = self._before
        return safes if self.chip.board.welcome.boot_id == boot_id else 0

    def _interrupted(self, error: LinkError | DeviceError | Faulted) -> None:
        """Take note, and see that there is a session; raises `error` where that is the end."""
        if isinstance(error, DeviceError) and error.status not in _RESUMABLE:
            raise error
        self._interruptions.append(str(error))
        if isinstance(error, LinkError):
            self.chip.board.reopen()
        if isinstance(error, Faulted):
            self._faults += error.fault not in _OF_THE_LINE
        self._see_what_came_of_it()
        if self._faults > MOST_FAULTS or self._in_vain >= MOST_IN_VAIN or self._times > MOST_INTERRUPTIONS:
            if isinstance(error, LinkError):
                raise error
            words = f"array {self.array}: given up after {self._times} interruptions, the last: {error}"
            raise ProgrammingError(words, self._so_far()) from error
        time.sleep(_CALM_S * 2**self._in_vain)

    @property
    def _times(self) -> int:
        return len(self._interruptions)

    def _see_what_came_of_it(self) -> None:
        """Count interruptions in vain; where the board cannot even be asked, this is one."""
        stood = self._stood
        with suppress(LinkError):
            stood = self.chip.board.state().total_pulses, self._verified
        self._in_vain = self._in_vain + 1 if stood == self._stood else 0
        self._stood = stood

    @property
    def _verified(self) -> int:
        return 0 if self.report is None else int(self.report.verified.sum())

    def _so_far(self) -> ProgramReport | None:
        """What is known without asking again."""
        done = self.report
        return done and replace(done, interruptions=tuple(self._interruptions))

    def add(self, report: ProgramReport) -> ProgramReport:
        """Join what has ended to what had before."""
        joined = report if self.report is None else self.report.joined(report)
        self.report = replace(joined, interruptions=tuple(self._interruptions))
        return self.report


class BoardWriting(Writing):
    """The board verifies and pulses by itself, in one job per attempt."""

    _mask: NDArray[np.bool_]
    _done: NDArray[np.bool_]
    _open: tuple[Plan, NDArray[np.bool_]] | None = None
    """The job of which it is not known yet what it did, and its devices."""

    def begin(self, mask: NDArray[np.bool_]) -> None:
        """Take on other devices."""
        self._mask, self._done = mask, np.zeros_like(mask)

    def go_on(self) -> ProgramReport:
        """Find out how things stand and run a job for what is left, to its end."""
        board, state = self.chip.board, self._note_start()
        if self._open is not None:
            self._leave_alone_if_safe(*self._open)
            self._ended(self._found_out(*self._open))
        else:
            self._total = state.total_pulses
        mask = self._mask & ~self._done
        plan = plan_of(self.chip, self.array, self.target, mask, self.schedule)
        self._open = plan, mask
        try:
            job = self._followed(board.program(plan.request, plan.staged, self._safes_allowed))
        except MadeSafe as error:
            self._open = None
            raise ProgrammingError(f"array {self.array}: {error}", self._so_far()) from None
        if job.fault and job.fault != Fault.INTERNAL:
            raise Faulted(Fault(job.fault), f"round {job.round}")
        report = self._ended(self._report(plan, mask, job))
        if job.state != JobState.DONE:
            cause = ": internal" if job.fault else ", as it was asked to"
            raise ProgrammingError(f"array {self.array}: the board ended programming early{cause}", report)
        return report

    def _ended(self, report: ProgramReport) -> ProgramReport:
        self._open = None
        self._done = self._done | (report.mask & report.verified)
        return self.add(report)

    def _report(self, plan: Plan, mask: NDArray[np.bool_], job: Job) -> ProgramReport:
        codes = self.chip.board.program_report(plan.request.job_id)
        return report_of(self.chip, plan.request, mask, self.target, job, codes)

    def _leave_alone_if_safe(self, plan: Plan, mask: NDArray[np.bool_]) -> None:
        """End here if somebody asked for safety: not even a read puts voltages on the chip again."""
        board, allowed = self.chip.board, self._safes_allowed
        if allowed is None or board.state().safes <= allowed:
            return
        if jobs := list(board.follow(plan.request.job_id)):
            self._ended(self._report(plan, mask, jobs[-1]))
        words = f"array {self.array}: the board was asked to be safe; it is left so"
        raise ProgrammingError(words, self._so_far())

    def _followed(self, progress: Iterator[Job]) -> Job:
        job = None
        for job in progress:
            self.tell(job)
        assert job is not None
        return job

    def _found_out(self, plan: Plan, mask: NDArray[np.bool_]) -> ProgramReport:
        """What became of a job that was cut off, and how the devices stand now."""
        board, job_id = self.chip.board, plan.request.job_id
        jobs = list(board.follow(job_id))
        state = board.state()
        if state.fault:
            board.clear_fault(state.fault)
        if jobs:
            known = self._report(plan, mask, jobs[-1])
        else:
            known = unknown(self.array, mask, self.target, self._given(job_id, state.total_pulses))
        now = self.looked_at(self.schedule.reads)
        seen = replace(known, verdicts=np.where(mask, Verdict.LOW, Verdict.SKIPPED))
        seen = seen.seen_again(now, self.schedule.tolerance, now.size * self.schedule.reads)
        self._total = state.total_pulses
        return replace(seen, outcome=JobState.ABORTED)

    def _given(self, job_id: int, total: int) -> int:
        """Pulses of a job that the board knows no more of: by its log, or where that is lost by its count."""
        log, counted = self.chip.board.op_log(), total - self._total
        effects = [effect for effect in log.effects if effect.pulses_before >= self._total]
        if sum(effect.pulses for effect in effects) == counted:
            return sum(effect.pulses for effect in effects if effect.job_id == job_id)
        self._interruptions[-1] += f"; the board's log was lost: {counted} pulses by its count, not by device"
        return counted


def unknown(array: int, mask: NDArray[np.bool_], target: Siemens, pulses: int) -> ProgramReport:
    """The report of a job of which only the number of its pulses is known."""
    none = np.zeros(mask.shape, np.int64)
    return ProgramReport(
        array=array,
        outcome=JobState.ABORTED,
        rounds=0,
        reads=0,
        mask=mask,
        target=target,
        final=np.full(mask.shape, np.nan),
        set_pulses=none,
        reset_pulses=none,
        last_volts=none.astype(float),
        last_gate_volts=none.astype(float),
        verdicts=none,
        unplaced_pulses=pulses,
    )
