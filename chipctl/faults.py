"""Find the devices that do not respond: pulse them both ways, read after each, see which stay put."""

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chipctl.chip import MOST_READS, Chip, PulseShape, Siemens
from chipctl.errors import ChipctlError, SaturationError
from chipctl.profile import FaultKind, FaultMap
from firmware_protocol import plans
from firmware_protocol.jobs import JobState
from firmware_protocol.messages import RESET, SET, StartScan
from firmware_protocol.status import Fault


class ScanSchedule(BaseModel):
    """How a fault scan pulses and what it calls stuck. Volts, seconds, siemens.

    The SET and RESET steps are given to a whole array first; only devices that did not move by `moved`
    are taken further up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reads: int = Field(8, ge=1, le=64)
    """Reads averaged per device and look."""
    gain: int = Field(2, ge=0, le=6)
    moved: float = Field(20e-6, gt=0)
    """A device whose readings differ by this between SET and RESET is healthy."""
    low: float = Field(5e-6, gt=0)
    """Stuck devices below this are stuck low."""
    high: float = Field(150e-6, gt=0)
    """Stuck devices above this are stuck high."""
    set_volts: tuple[float, ...] = (2.0, 2.4, 2.8, 3.1, 3.3)
    set_gate_volts: float = 1.2
    reset_volts: tuple[float, ...] = (1.2, 1.5, 1.8, 2.1, 2.4)
    reset_gate_volts: float = 5.0
    width: float = 1e-6
    value_reads: int = Field(32, ge=1)
    """Reads averaged for the conductance of a stuck device."""

    @model_validator(mode="after")
    def _goes_in_pairs(self) -> Self:
        if len(self.set_volts) != len(self.reset_volts) or not self.set_volts:
            raise ValueError("set_volts and reset_volts must be equally many, and at least one each")
        return self


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan of an array is."""

    array: int
    step: int
    steps: int
    suspects: int


@dataclass(frozen=True)
class ScanReport:
    """What a scan found and what it cost."""

    array: int
    faults: FaultMap
    lowest: Siemens
    """Lowest reading of each device in the scan, shape (rows, cols)."""
    highest: Siemens
    pulses: int
    reads: int
    """Conversions made."""


def check_scan(chip: Chip, schedule: ScanSchedule) -> None:
    """Refuse a scan whose pulses the board would refuse.

    Raises:
        ValueError: A voltage or width is above the board's limits; nothing was sent.
    """
    s = schedule
    chip.check_width(round(s.width * 1e9))
    chip.pulse_codes(SET, s.set_volts, [s.set_gate_volts])
    chip.pulse_codes(RESET, s.reset_volts, [s.reset_gate_volts])


def scan(
    chip: Chip,
    array: int,
    schedule: ScanSchedule | None = None,
    on_progress: Callable[[ScanProgress], None] | None = None,
    *,
    on_board: bool = False,
) -> ScanReport:
    """Find the stuck devices of one array by pulsing and reading; keeps the map in the chip's profile.

    Changes every healthy device: the array is left at low conductance. With `on_board` the board pulses and
    reads by itself, in one job, with the same result for the same noise.

    Raises:
        ValueError: A voltage is above the board's limits; nothing was sent.
    """
    schedule = schedule or ScanSchedule()
    if on_board:
        report = _scan_on_board(chip, array, schedule, on_progress)
    else:
        report = _Scan(chip, array, schedule, on_progress).report()
    chip.profile.set_fault_map(array, report.faults)
    return report


def _scan_on_board(
    chip: Chip,
    array: int,
    schedule: ScanSchedule,
    on_progress: Callable[[ScanProgress], None] | None,
) -> ScanReport:
    s = schedule
    request, staged = _job(chip, array, s)
    for job in chip.board.scan(request, staged):
        if on_progress:
            on_progress(ScanProgress(array, job.round, 2 * len(s.set_volts), job.devices - job.verified))
    codes = chip.board.scan_report(request.job_id)
    if job.state != JobState.DONE:
        cause = Fault(job.fault).name.lower().replace("_", " ") if job.fault else "as it was asked to"
        raise ChipctlError(f"array {array}: the board ended the scan early: {cause}; scan it again")
    if np.any(codes.highest >= chip.readout.full_scale * s.reads):
        raise SaturationError(f"array {array}: a device is beyond the ADC's range; use a lower gain")
    zero, lsb = chip.zero_codes(array), chip.readout.lsb_siemens(s.gain)
    lowest, highest = ((sums / s.reads - zero) * lsb for sums in (codes.lowest, codes.highest))
    value = (codes.final / s.value_reads - zero) * lsb
    faults = _judge(codes.highest - codes.lowest < request.moved, value, s)
    return ScanReport(array, faults, lowest, highest, int(codes.pulses.sum()), job.reads)


def _job(chip: Chip, array: int, schedule: ScanSchedule) -> tuple[StartScan, bytes]:
    s = schedule
    check_scan(chip, s)
    if s.value_reads > MOST_READS:
        raise ValueError(f"the board averages at most {MOST_READS} reads by itself, not {s.value_reads}")
    set_codes, set_gate = chip.pulse_codes(SET, s.set_volts, s.set_gate_volts)
    reset_codes, reset_gate = chip.pulse_codes(RESET, s.reset_volts, s.reset_gate_volts)
    request = StartScan(
        job_id=secrets.randbelow(2**32 - 1) + 1,
        array=array,
        gain=s.gain,
        reads=s.reads,
        final_reads=s.value_reads,
        pairs=len(s.set_volts),
        moved=math.ceil(s.moved / chip.readout.lsb_siemens(s.gain) * s.reads),
        set_gate_code=int(set_gate),
        reset_gate_code=int(reset_gate),
        width_ns=round(s.width * 1e9),
        staged_crc=0,
    )
    return request, plans.pack_scan(set_codes, reset_codes)


class _Scan:
    """The running extremes of every device's readings, and who is still a suspect."""

    def __init__(
        self,
        chip: Chip,
        array: int,
        schedule: ScanSchedule,
        on_progress: Callable[[ScanProgress], None] | None,
    ) -> None:
        check_scan(chip, schedule)
        self._chip, self._array, self._schedule = chip, array, schedule
        self._on_progress = on_progress
        self._pulses = self._reads = self._step = 0
        first = self._look()
        self._lowest, self._highest = first.copy(), first.copy()

    def report(self) -> ScanReport:
        s = self._schedule
        for direction, volts in self._plan():
            self._pulse(direction, volts)
            reading = self._look()
            self._lowest = np.fmin(self._lowest, reading)
            self._highest = np.fmax(self._highest, reading)
            self._tell()
        self._leave_low()
        value = self._chip.read(self._array, reads=s.value_reads, gain=s.gain)
        self._reads += s.value_reads * value.size
        faults = _judge(self._suspects(), value, s)
        return ScanReport(self._array, faults, self._lowest, self._highest, self._pulses, self._reads)

    def _plan(self) -> list[tuple[int, float]]:
        """SET and RESET in turn, each pair a step higher than the one before."""
        s = self._schedule
        return [
            (direction, volts)
            for pair in zip(s.set_volts, s.reset_volts, strict=True)
            for direction, volts in zip((SET, RESET), pair, strict=True)
        ]

    def _suspects(self) -> NDArray[np.bool_]:
        return self._highest - self._lowest < self._schedule.moved

    def _pulse(self, direction: int, volts: float) -> None:
        s, chip = self._schedule, self._chip
        gate = s.set_gate_volts if direction == SET else s.reset_gate_volts
        suspects = self._suspects()
        if suspects.all():
            self._pulses += chip.pulse(self._array, PulseShape(direction, volts, gate, s.width))
        elif suspects.any():
            each = np.where(suspects, volts, np.nan)
            gates = np.full(each.shape, gate)
            self._pulses += chip.pulse_each(self._array, direction, each, gates, s.width)

    def _look(self) -> Siemens:
        s = self._schedule
        self._reads += s.reads * self._chip.rows * self._chip.cols
        return self._chip.read(self._array, reads=s.reads, gain=s.gain)

    def _leave_low(self) -> None:
        """RESET what the SET steps left high, so that programming starts from below."""
        s = self._schedule
        shape = PulseShape(RESET, s.reset_volts[-1], s.reset_gate_volts, s.width)
        self._pulses += self._chip.pulse(self._array, shape)

    def _tell(self) -> None:
        self._step += 1
        if self._on_progress:
            count = int(np.count_nonzero(self._suspects()))
            steps = 2 * len(self._schedule.set_volts)
            self._on_progress(ScanProgress(self._array, self._step, steps, count))


def _judge(stuck: NDArray[np.bool_], value: Siemens, schedule: ScanSchedule) -> FaultMap:
    kinds = np.select(
        [~stuck, value < schedule.low, value > schedule.high],
        [FaultKind.HEALTHY, FaultKind.STUCK_LOW, FaultKind.STUCK_HIGH],
        FaultKind.STUCK_BETWEEN,
    )
    return FaultMap(kinds.astype(np.uint8), np.where(stuck, value, np.nan))
