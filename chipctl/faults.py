"""Find the devices that do not respond: look, pulse those in doubt both ways, look again."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chipctl.chip import Chip, Siemens
from chipctl.dead_lines import SilentLines, dead_rows, find_silent_lines
from chipctl.errors import ChipctlError
from chipctl.fault_map import FaultKind, FaultMap, Flags
from chipctl.readings import At, Looks, Reading, combined, converter_errors, read_in_looks, reading
from chipctl.scan_loop import ScanProgress as ScanProgress
from chipctl.scan_loop import Told, scan_from_host, scan_on_board
from firmware_protocol.messages import RESET, SET, StartScan
from firmware_protocol.plans import ScanCodes, ScanPlan


class ScanSchedule(BaseModel):
    """How a fault scan pulses and what it calls stuck. Volts, seconds, siemens.

    A device gets pulses, SET and RESET in turn and pair by pair higher, until it has moved once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reads: int = Field(4, ge=1, le=64)
    """Reads added up per device and look."""
    looks: int = Field(12, ge=4, le=64)
    """Looks before the first pulse: what a device shows, and how it scatters."""
    gain: int = Field(2, ge=0, le=6)
    moved: float = Field(30e-6, gt=0)
    """A device that has been so far apart at two times has moved, if it was by `sigmas` too."""
    sigmas: int = Field(6, ge=3, le=20)
    """In standard deviations of the difference of two looks at that device."""
    turning: float = Field(50e-6, gt=0)
    """A device below this gets SET first, one above it RESET; healthy ones are left below it."""
    lower: bool = True
    """RESET what the scan has raised, so that programming starts from below."""
    low: float = Field(5e-6, gt=0)
    """Stuck devices below this are stuck low."""
    high: float = Field(150e-6, gt=0)
    """Stuck devices above this are stuck high."""
    set_volts: tuple[float, ...] = (2.0, 2.4, 2.8, 3.1, 3.3)
    set_gate_volts: float = 1.2
    reset_volts: tuple[float, ...] = (1.2, 1.5, 1.8, 2.1, 2.4)
    reset_gate_volts: float = 5.0
    width: float = 1e-6
    value_reads: int = Field(32, ge=1, le=64)
    """Reads, at every other gain that fits, for the conductance of stuck devices."""
    ordinary: int = Field(2, ge=1)
    """Pairs of pulses that an ordinary device moves by; one that needs a later pair is slow."""
    noisy: float = Field(5e-6, gt=0)
    """A device whose single reads have a larger standard deviation is noisy."""

    @model_validator(mode="after")
    def _goes_in_pairs(self) -> Self:
        if len(self.set_volts) != len(self.reset_volts) or not self.set_volts:
            raise ValueError("set_volts and reset_volts must be equally many, and at least one each")
        return self

    @property
    def most_pulses(self) -> int:
        """The most pulses that one device can get."""
        return (3 if self.lower else 2) * len(self.set_volts)


@dataclass(frozen=True)
class ScanReport:
    """What a scan found and what it cost. Arrays have shape (rows, cols)."""

    array: int
    faults: FaultMap
    final: Siemens
    """Last reading of each device, as the array was left."""
    scatter: Siemens
    """Standard deviation of a single read of each device, where it rested after it had moved; NaN where the
    device moved so late that it is not known."""
    pulse_counts: NDArray[np.int64]
    reads: int
    """Conversions of single devices made."""

    @property
    def pulses(self) -> int:
        """Pulses in all."""
        return int(self.pulse_counts.sum())

    @property
    def pulses_per_healthy(self) -> float:
        """Mean number of pulses that a healthy device got."""
        healthy = ~self.faults.stuck
        return float(self.pulse_counts[healthy].mean()) if healthy.any() else 0.0


def check_scan(chip: Chip, schedule: ScanSchedule) -> None:
    """Refuse a scan whose pulses the board would refuse.

    Raises:
        ValueError: A voltage, width or number of pulses is above the board's limits; nothing was sent.
    """
    s = schedule
    chip.rules.check_pulses_per_device(s.most_pulses)
    chip.check_width(round(s.width * 1e9))
    chip.pulse_codes(SET, s.set_volts, [s.set_gate_volts])
    chip.pulse_codes(RESET, s.reset_volts, [s.reset_gate_volts])
    chip.readout.lsb_siemens(s.gain)


def scan(
    chip: Chip,
    array: int,
    schedule: ScanSchedule | None = None,
    on_progress: Told = None,
    *,
    on_board: bool = False,
    earlier: Sequence[Siemens] = (),
) -> ScanReport:
    """Find the stuck devices of one array by reading and pulsing; keeps the map in the chip's profile.

    Changes every healthy device, but those that `earlier` maps show to move: it leaves them below
    `turning`. With `on_board` the board pulses and looks by itself, in one job, with the same result for
    the same noise. A scan that ends early leaves the profile's map as it was; to scan again is safe,
    for a scan begins with reads and pulses on nothing else.

    Args:
        chip: The chip.
        array: Array index, from 0.
        schedule: Pulses and thresholds; the defaults suit a conditioned TaOx array.
        on_progress: Told after every step.
        on_board: In one job on the board.
        earlier: Conductances of the array read at other times, shape (rows, cols) each. A device
            that differs between two of them, or from what it shows now, has moved and needs no pulse.

    Raises:
        ValueError: A voltage is above the board's limits, or a map of another shape; nothing was sent.
        ChipctlError: The board ended the scan early.
    """
    s = schedule or ScanSchedule()
    check_scan(chip, s)
    if chip.profile.arrays[array].zero_codes is None:
        chip.measure_zero(array)
    chosen, silent = in_doubt(chip, array, s, earlier)
    request, plan = _job(chip, array, s, chosen)
    run = scan_on_board if on_board else scan_from_host
    try:
        codes = run(chip, request, plan, on_progress)
    except ChipctlError as error:
        error.add_note(f"array {array} has no new fault map; scan it again: a scan begins with reads")
        raise
    report = _Judgement(chip, array, s, codes).report(chosen, silent)
    chip.profile.set_fault_map(array, report.faults)
    return report


def in_doubt(
    chip: Chip, array: int, schedule: ScanSchedule, earlier: Sequence[Siemens] = ()
) -> tuple[Flags, SilentLines]:
    """Devices that a scan would pulse, shape (rows, cols), and the lines that are silent; reads alone.

    Raises:
        ValueError: No such array, or an earlier map has another shape.
    """
    silent = find_silent_lines(chip, array)
    doubt = ~silent.unreadable((chip.rows, chip.cols))
    if earlier:
        doubt &= ~moved_between(chip, array, schedule, earlier)
    return doubt, silent


def moved_between(chip: Chip, array: int, schedule: ScanSchedule, earlier: Sequence[Siemens]) -> Flags:
    """Devices that reads alone show to be healthy, shape (rows, cols): two maps differ, one may be of now.

    Reads the array. An earlier map may have been read once only: its noise is taken for that of a single
    read, as it scatters now.

    Raises:
        ValueError: A map has another shape.
    """
    for known in earlier:
        if np.shape(known) != (chip.rows, chip.cols):
            raise ValueError(f"an earlier map has shape {np.shape(known)}, not {(chip.rows, chip.cols)}")
    now = read_in_looks(chip, At(array, schedule.gain, schedule.reads, schedule.looks))
    maps = np.stack([now.value, *earlier])
    apart = np.nanmax(maps, axis=0) - np.nanmin(maps, axis=0)
    return np.asarray(apart >= np.maximum(schedule.moved, 2 * schedule.sigmas * now.scatter))


def _job(chip: Chip, array: int, schedule: ScanSchedule, chosen: Flags) -> tuple[StartScan, ScanPlan]:
    s, lsb = schedule, chip.readout.lsb_siemens(schedule.gain)
    set_codes, set_gate = chip.pulse_codes(SET, s.set_volts, s.set_gate_volts)
    reset_codes, reset_gate = chip.pulse_codes(RESET, s.reset_volts, s.reset_gate_volts)
    request = StartScan(
        job_id=secrets.randbelow(2**32 - 1) + 1,
        array=array,
        gain=s.gain,
        reads=s.reads,
        looks=s.looks,
        pairs=len(s.set_volts),
        moved=int(np.ceil(s.moved / lsb * s.reads)),
        sigmas=s.sigmas,
        turning=round((s.turning / lsb + chip.readout.zero_codes) * s.reads),
        lower=int(s.lower),
        set_gate_code=int(set_gate),
        reset_gate_code=int(reset_gate),
        width_ns=round(s.width * 1e9),
        staged_crc=0,
    )
    return request, ScanPlan(set_codes, reset_codes, chosen)


_RANGE_SIGMAS = 6
"""A gain fits a device whose reads stay within its range by so many standard deviations."""

_VALUE_LOOKS = 4


class _Judgement:
    """What the looks of a scan say."""

    def __init__(self, chip: Chip, array: int, schedule: ScanSchedule, codes: ScanCodes) -> None:
        self._chip, self._array, self._schedule, self._codes = chip, array, schedule, codes
        self._errors = converter_errors(chip, array)
        looks = Looks(codes.looks, codes.total, codes.squares)
        self._base = reading(chip, At(array, schedule.gain, schedule.reads), looks, self._errors)
        self._reads = 0

    def report(self, chosen: Flags, silent: SilentLines) -> ScanReport:
        """The map, after the values of stuck devices were read at the gains that fit them."""
        s, codes = self._schedule, self._codes
        stuck = chosen & (codes.moved == 0)
        respond = ~stuck & ~silent.unreadable(stuck.shape)
        lines = (*silent.cols, *dead_rows(silent.rows, respond))
        dead = np.zeros(stuck.shape, np.bool_)
        for line in lines:
            dead |= line.devices(*stuck.shape)
        stuck &= ~dead
        value, uncertainty = self._values(stuck)
        kinds = np.select(
            [dead, ~stuck, value < s.low, value > s.high],
            [FaultKind.DEAD_LINE, FaultKind.HEALTHY, FaultKind.STUCK_LOW, FaultKind.STUCK_HIGH],
            FaultKind.STUCK_BETWEEN,
        )
        faults = FaultMap(
            kinds.astype(np.uint8),
            np.select([dead, stuck], [0.0, value], np.nan),
            np.where(stuck, uncertainty, np.nan),
            noisy=~dead & (np.nan_to_num(self._base.scatter) > s.noisy),
            slow=chosen & ~dead & (np.maximum(codes.moved, codes.lowered) > s.ordinary),
            lines=lines,
        )
        return self._told(faults)

    def _told(self, faults: FaultMap) -> ScanReport:
        s, codes, columns = self._schedule, self._codes, self._chip.columns(self._array)
        looks = s.looks + 2 * len(s.set_volts) + int(codes.lowered.max(initial=0))
        self._reads += looks * s.reads * codes.last.size
        final = columns.siemens(codes.last / s.reads, np.full(codes.last.shape, s.gain))
        return ScanReport(self._array, faults, final, self._base.scatter, codes.pulses, self._reads)

    def _values(self, stuck: Flags) -> tuple[Siemens, Siemens]:
        """Conductance of stuck devices and its uncertainty: every gain that fits weighs in."""
        gains, ohms = range(len(self._chip.readout.gain_ohms)), self._chip.readout.gain_ohms
        own = self._schedule.gain
        fits = self._fits(own)
        found = [self._base.only(fits)]
        for gain in gains:
            if ohms[gain] > ohms[own] and (stuck & self._fits(gain)).any():
                more = replace(self._read(gain), scatter=self._base.scatter)
                found.append(more.only(self._fits(gain)))
            if ohms[gain] < ohms[own] and (stuck & ~fits).any():
                found.append(self._read(gain).only(~fits))
        return combined(found)

    def _fits(self, gain: int) -> Flags:
        readout = self._chip.readout
        most = readout.full_scale_amps(gain) / readout.read_volts
        return np.asarray(self._base.value + _RANGE_SIGMAS * self._base.scatter <= most)

    @property
    def _value_reads(self) -> int:
        return _VALUE_LOOKS * -(-self._schedule.value_reads // _VALUE_LOOKS)

    def _read(self, gain: int) -> Reading:
        reads = self._value_reads // _VALUE_LOOKS
        self._reads += self._value_reads * self._codes.last.size
        at = At(self._array, gain, reads, _VALUE_LOOKS)
        return read_in_looks(self._chip, at, self._errors)
