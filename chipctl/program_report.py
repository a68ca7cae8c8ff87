"""How far write-and-verify is, and what it did to each device."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chipctl.chip import Chip, Siemens
from chipctl.schedules import PulseSchedule
from firmware_protocol.bulk import ProgramCodes
from firmware_protocol.jobs import JobState, Verdict
from firmware_protocol.messages import Job, StartProgram


@dataclass(frozen=True)
class ProgramProgress:
    """How far write-and-verify of an array is."""

    array: int
    round: int
    max_rounds: int
    devices: int
    verified: int
    pulses: int
    mean: float = math.nan
    """Of the errors of all devices at their last verify read, siemens."""
    sigma: float = math.nan
    """Standard deviation of the same."""
    seconds_left: float | None = None
    """Estimated, by the wall's clock; None while there is nothing to go by."""
    visit: int = 0
    """How many times devices are being programmed again after a rest."""
    rest_seconds: float = 0.0
    """How long the array is now left to relax, nothing being pulsed or read; 0 at work."""

    @property
    def share(self) -> float:
        """Yield so far: devices verified of those to be programmed, 0 to 1."""
        return self.verified / self.devices if self.devices else 1.0


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
    """Pulses that the board counted and of which it is not known which devices got them."""
    visits: int = 0
    """Times that devices were programmed again after a rest."""
    rested_seconds: float = 0.0
    """Time that the array was left to relax in between."""

    @property
    def devices(self) -> int:
        """Number of devices that were to be programmed."""
        return int(np.count_nonzero(self.mask))

    @property
    def verified(self) -> NDArray[np.bool_]:
        """True where the last verify read was within tolerance."""
        return np.equal(self.verdicts, Verdict.VERIFIED)

    @property
    def outcome_arrays(self) -> dict[str, tuple[NDArray[Any], str]]:
        """What became of each device, as a run keeps it: arrays (rows, cols), each with its unit."""
        return {
            "final": (self.final, "S"),
            "set_pulses": (self.set_pulses, "1"),
            "reset_pulses": (self.reset_pulses, "1"),
            "last_volts": (self.last_volts, "V"),
            "last_gate_volts": (self.last_gate_volts, "V"),
            "verdicts": (self.verdicts, "1"),
        }

    @property
    def pulses(self) -> NDArray[np.int64]:
        """SET and RESET pulses per device."""
        return self.set_pulses + self.reset_pulses

    def joined(self, after: "ProgramReport") -> "ProgramReport":
        """This and a later one as one: pulses added, the later word on every device it touched."""
        again = after.mask
        return replace(
            after,
            rounds=self.rounds + after.rounds,
            reads=self.reads + after.reads,
            mask=self.mask | again,
            final=np.where(again, after.final, self.final),
            set_pulses=self.set_pulses + after.set_pulses,
            reset_pulses=self.reset_pulses + after.reset_pulses,
            last_volts=np.where(again & (after.pulses > 0), after.last_volts, self.last_volts),
            last_gate_volts=np.where(again & (after.pulses > 0), after.last_gate_volts, self.last_gate_volts),
            verdicts=np.where(again, after.verdicts, self.verdicts),
            unplaced_pulses=self.unplaced_pulses + after.unplaced_pulses,
            visits=self.visits + after.visits,
            rested_seconds=self.rested_seconds + after.rested_seconds,
        )

    def seen_again(self, now: Siemens, tolerance: float, reads: int) -> "ProgramReport":
        """The same after a later reading of all its devices; what gave up stays given up."""
        inside = np.abs(now - self.target) <= tolerance
        judged = np.where(inside, Verdict.VERIFIED, np.where(now < self.target, Verdict.LOW, Verdict.HIGH))
        given_up = np.isin(self.verdicts, (Verdict.GAVE_UP_LOW, Verdict.GAVE_UP_HIGH)) & ~inside
        return replace(
            self,
            reads=self.reads + reads,
            final=np.where(self.mask, now, np.nan),
            verdicts=np.where(self.mask & ~given_up, judged, self.verdicts),
        )


def report_of(
    chip: Chip,
    request: StartProgram,
    mask: NDArray[np.bool_],
    target: Siemens,
    job: Job,
    codes: ProgramCodes,
) -> ProgramReport:
    """The report of a job in SI units."""
    final = chip.columns(request.array).siemens(codes.final_sums / request.reads, request.gain)
    return ProgramReport(
        array=request.array,
        outcome=JobState(job.state),
        rounds=job.round,
        reads=job.reads,
        mask=mask,
        target=target,
        final=np.where(mask, final, np.nan),
        set_pulses=codes.set_pulses,
        reset_pulses=codes.reset_pulses,
        last_volts=chip.dac.to_volts(codes.volt_codes),
        last_gate_volts=chip.dac.to_volts(codes.gate_codes),
        verdicts=codes.verdicts,
    )


class Teller:
    """Tells how far a job is, with what follows from how fast it came there.

    The share of devices that are not yet done falls about exponentially: the time left is that until less
    than half a device is expected to be left, and never more than the rounds left take.
    """

    def __init__(
        self, chip: Chip, array: int, schedule: PulseSchedule, tell: Callable[[ProgramProgress], None]
    ) -> None:
        self._array, self._schedule, self._tell = array, schedule, tell
        self._siemens_per_sum = chip.readout.lsb_siemens(schedule.gain) / schedule.reads
        self._first: tuple[float, int] | None = None
        self._last: ProgramProgress | None = None
        self.visit = 0

    def __call__(self, job: Job) -> None:
        """Pass on how far it is."""
        devices = max(job.devices, 1)
        mean = job.error_sum / devices
        variance = max(job.error_squares / devices - mean * mean, 0.0)
        known = job.reads > 0
        progress = ProgramProgress(
            self._array,
            job.round,
            self._schedule.max_rounds,
            job.devices,
            job.verified,
            job.pulses,
            mean * self._siemens_per_sum if known else math.nan,
            math.sqrt(variance) * self._siemens_per_sum if known else math.nan,
            self._seconds_left(job),
            self.visit,
        )
        self._last = progress
        self._tell(progress)

    @contextmanager
    def resting(self, seconds: float) -> Iterator[None]:
        """Pass on that the array is left to relax while the block lasts."""
        if self._last is not None:
            self._tell(replace(self._last, rest_seconds=seconds, seconds_left=None))
        yield
        if self._last is not None:
            self._tell(self._last)

    def _seconds_left(self, job: Job) -> float | None:
        now, undone = time.monotonic(), job.devices - job.verified - job.gave_up
        if self._first is None:
            self._first = now, undone
        since, before = self._first
        if job.state != JobState.RUNNING or undone <= 0:
            return 0.0
        if now <= since or undone >= before or not job.round:
            return None
        expected = (now - since) * math.log(2 * undone) / math.log(before / undone)
        rounds = (now - since) / job.round * (self._schedule.max_rounds - job.round)
        return min(expected, rounds)
