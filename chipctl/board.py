"""What a board can do, in codes: requests and bulk data over one link, nothing converted."""

import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Protocol

import crc32c
import numpy as np

from chipctl.errors import DeviceError, MadeSafe, ProtocolError
from chipctl.link import Link, LinkStatistics
from firmware_protocol import bulk, plans
from firmware_protocol import messages as m
from firmware_protocol.jobs import JobState
from firmware_protocol.rails import PULSE_RAILS, ProbePoint, Rail
from firmware_protocol.status import Executed, Fault, Status

LEASE_MS = 2000
"""Lease on high voltage asked for with every pulse; the board zeroes its outputs when the host is silent."""

REOPEN_S = 5.0
"""Time in which a board that was reset or unplugged is expected back."""

_SET_UP_S = 1e-4
"""Most time that goes into a pulse besides its width."""

_POLL_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits between two looks at a running job; the last one repeats, well inside the lease."""


@dataclass(frozen=True)
class Region:
    """A rectangle of devices."""

    row: int
    rows: int
    col: int
    cols: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in an array of the whole chip array's shape."""
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)


class Board(Protocol):
    """A chip's board, in codes."""

    @property
    def welcome(self) -> m.Welcome:
        """Who the board is."""
        ...

    @property
    def info(self) -> m.Info:
        """Geometry and nominal converters."""
        ...

    @property
    def limits(self) -> m.Limits:
        """What no pulse may exceed."""
        ...

    @property
    def runs_jobs(self) -> bool:
        """Whether it writes and verifies, scans and recalls by itself."""
        ...

    @property
    def unpromised(self) -> dict[str, str]:
        """What it cannot promise, and what stands in for it."""
        ...

    @property
    def moves_windows(self) -> bool:
        """Whether reads move the ADCs' conversion window: then no calibration of the ADCs holds."""
        ...

    def tighten(self, limits: m.Limits) -> None:
        """Lower the limits for this session."""
        ...

    def read_cells(self, array: int, gain: int, reads: int, region: Region) -> tuple[bulk.Ints, bulk.Ints]:
        """Sums of ADC codes and gain indices of single-device reads, each of the region's shape."""
        ...

    def multiply(self, request: m.Multiply, inputs: bulk.Ints) -> tuple[bulk.Ints, bulk.Flags, bulk.Ints]:
        """Sums of codes and clipped flags, shape (vectors, columns) each, and gain indices (vectors,)."""
        ...

    def pulse(self, request: m.Pulse) -> m.Pulsed:
        """Give a rectangle the same pulses."""
        ...

    def pulse_map(
        self,
        array: int,
        direction: int,
        width_ns: int,
        volt_codes: bulk.Ints,
        gate_codes: bulk.Ints,
    ) -> m.Pulsed:
        """Give each device its own pulse; code 0 skips it."""
        ...

    def sweep(self, request: m.Sweep, volt_codes: bulk.Ints) -> tuple[bulk.Ints, bulk.Ints]:
        """Give one device a staircase: ADC codes and gain indices, shape (steps,) each."""
        ...

    def program(
        self, request: m.StartProgram, staged: bytes, most_safes: int | None = None
    ) -> Iterator[m.Job]:
        """Run a write-and-verify job, yielding its progress until it has ended.

        Raises `MadeSafe` without a pulse if the board was asked to be safe more than `most_safes` times.
        """
        ...

    def chain(self, request: m.StartChain, staged: bytes) -> plans.ChainReport:
        """Run a whole recall on the board, to its end; one of this job's number is followed, not begun twice.

        Raises `MadeSafe` if somebody asked for safety meanwhile, `DeviceError` if a fault ended it.
        """
        ...

    def scan(self, request: m.StartScan, staged: bytes) -> Iterator[m.Job]:
        """Run a fault scan on the board, yielding its progress until it has ended."""
        ...

    def scan_report(self, job_id: int) -> plans.ScanCodes:
        """The per-device report of an ended scan."""
        ...

    def rails(self) -> m.Rails:
        """The codes rails were set to, and those read back."""
        ...

    def set_rail(self, rail: Rail, code: int) -> m.Rails:
        """Set one rail; pulse and gate rail fall when the host is silent."""
        ...

    def convert_test_input(self, adc: int, reads: int) -> int:
        """Sum of codes that one ADC makes of its test input."""
        ...

    def sampling(self) -> m.Sampling:
        """When the outputs of the TIAs are sampled."""
        ...

    def set_sampling(self, gain: int, sample_ns: int) -> m.Sampling:
        """Sample sooner or later at one gain, for this session."""
        ...

    def select_probe(self, array: int, point: ProbePoint, line: int = 0) -> m.Probed:
        """Route an internal node to the probe pad."""
        ...

    def op_log(self) -> bulk.OpLog:
        """The effects that the board remembers, also from before its last reset."""
        ...

    def store_limits(self, limits: m.Limits) -> None:
        """Replace the limits that the board keeps; it must be in its commissioning state."""
        ...

    def reopen(self) -> None:
        """Begin a new session with the same chip after a `LinkError`, under the same limits."""
        ...

    def follow(self, job_id: int) -> Iterator[m.Job]:
        """The progress of a job until it has ended; nothing if the board knows of no such job."""
        ...

    def stop_job(self) -> bool:
        """Have the running job end after its round; False if none runs."""
        ...

    def program_report(self, job_id: int) -> bulk.ProgramCodes:
        """The per-device report of an ended job."""
        ...

    def wait(self, duration_ms: int) -> m.Waited:
        """Let the chip rest."""
        ...

    def book(self) -> m.Book:
        """The chip's time and energy."""
        ...

    def state(self) -> m.State:
        """What the board is doing."""
        ...

    def clear_fault(self, fault: int) -> m.State:
        """Clear the latched fault, if it is this one."""
        ...

    def safe(self) -> None:
        """Zero the outputs and end any job."""
        ...

    def link_statistics(self) -> LinkStatistics:
        """What crossed the link so far."""
        ...

    def planted(self, array: int) -> tuple[bulk.Ints, bulk.Ints] | None:
        """Kinds and conductances (10 pS) a virtual chip was made with; None on hardware."""
        ...


class NativeBoard:
    """The board that speaks `firmware_protocol.messages`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._info: m.Info | None = None
        self._limits: m.Limits | None = None

    @property
    def welcome(self) -> m.Welcome:
        """Who the board is."""
        return self._link.welcome

    @property
    def info(self) -> m.Info:
        """Geometry and nominal converters, asked once."""
        if self._info is None:
            self._info = self._link.request(m.GetInfo())
        return self._info

    @property
    def limits(self) -> m.Limits:
        """The limits in force, asked once."""
        if self._limits is None:
            self._limits = self._link.request(m.GetLimits())
        return self._limits

    @property
    def runs_jobs(self) -> bool:
        """It does."""
        return True

    @property
    def unpromised(self) -> dict[str, str]:
        """Nothing that the `Board` says."""
        return {}

    @property
    def moves_windows(self) -> bool:
        """It has one."""
        return False

    def tighten(self, limits: m.Limits) -> None:
        """Lower the limits for this session."""
        self._limits = self._link.request(m.TightenLimits(*astuple(limits)))

    def read_cells(self, array: int, gain: int, reads: int, region: Region) -> tuple[bulk.Ints, bulk.Ints]:
        """Sums of ADC codes and gain indices of single-device reads, each of the region's shape."""
        request = m.ReadCells(array, gain, reads, region.row, region.rows, region.col, region.cols)
        return bulk.unpack_cells(request, self._link.collect(self._link.request(request)))

    def multiply(self, request: m.Multiply, inputs: bulk.Ints) -> tuple[bulk.Ints, bulk.Flags, bulk.Ints]:
        """Sums of codes and clipped flags, shape (vectors, columns) each, and gain indices (vectors,).

        `request.vectors` and `request.staged_crc` are filled in here from `inputs`, shape (vectors, rows).
        A part that does not fit the board's buffers begins with the gain that the one before it ended with.
        """
        sums, clipped, gains = [], [], []
        gain, most = request.gain, self._most_vectors(request, inputs.shape[1])
        for first in range(0, len(inputs), most):
            part = inputs[first : first + most]
            sized = replace(request, gain=gain, vectors=len(part))
            staged = bulk.pack_inputs(sized, part)
            self._link.stage(staged)
            sized = replace(sized, staged_crc=crc32c.crc32c(staged))
            expect_s = 1e-4 * len(part) * (gain - request.least_gain + 1)
            data = self._link.collect(self._link.request(sized, expect_s))
            some_sums, some_clipped, gain = bulk.unpack_products(sized, data)
            sums.append(some_sums)
            clipped.append(some_clipped)
            gains.append(np.full(len(part), gain))
        return np.concatenate(sums), np.concatenate(clipped), np.concatenate(gains)

    def _most_vectors(self, request: m.Multiply, rows: int) -> int:
        """Vectors whose inputs and sums the board's buffers hold."""
        one = replace(request, vectors=1)
        staging = self.welcome.staging_bytes // bulk.inputs_bytes(one, rows)
        return max(1, min(staging, self.welcome.result_bytes // bulk.products_bytes(one)))

    def pulse(self, request: m.Pulse) -> m.Pulsed:
        """Give a rectangle the same pulses."""
        return self._effect(request, request.row_count * request.col_count * request.count)

    def pulse_map(
        self,
        array: int,
        direction: int,
        width_ns: int,
        volt_codes: bulk.Ints,
        gate_codes: bulk.Ints,
    ) -> m.Pulsed:
        """Give each device its own pulse; code 0 skips it."""
        staged = bulk.pack_pulse_map(volt_codes, gate_codes)
        self._link.stage(staged)
        request = m.PulseMap(array, direction, width_ns, crc32c.crc32c(staged))
        return self._effect(request, int(np.count_nonzero(volt_codes)))

    def sweep(self, request: m.Sweep, volt_codes: bulk.Ints) -> tuple[bulk.Ints, bulk.Ints]:
        """ADC codes and gain indices at each step of a staircase, shape (steps,) each.

        `request.steps` and `request.staged_crc` are filled in here from `volt_codes`, shape (steps,).
        """
        staged = bulk.pack_staircase(volt_codes)
        self._link.stage(staged)
        sized = replace(request, steps=volt_codes.size, staged_crc=crc32c.crc32c(staged))
        expect_s = self._pulsing_s(volt_codes.size, request.dwell_ns)
        result = self._link.pipeline([m.Arm(LEASE_MS), sized], expect_s)[-1]
        assert isinstance(result, m.Result)
        return bulk.unpack_words(self._link.collect(result), volt_codes.size)

    def _effect(self, request: m.Pulse | m.PulseMap, pulses: int) -> m.Pulsed:
        expect_s = self._pulsing_s(pulses, request.width_ns)
        pulsed = self._link.pipeline([m.Arm(LEASE_MS), request], expect_s)[-1]
        assert isinstance(pulsed, m.Pulsed)
        return pulsed

    def _pulsing_s(self, pulses: int, width_ns: int) -> float:
        """Time that a board needs for pulses, at most, by the limits as far as they were asked for."""
        per_second = self._limits.pulses_per_second if self._limits else 0
        return pulses * max(_SET_UP_S + width_ns * 1e-9, 1 / per_second if per_second else 0.0)

    def program(
        self, request: m.StartProgram, staged: bytes, most_safes: int | None = None
    ) -> Iterator[m.Job]:
        """Run a write-and-verify job, yielding its progress until it has ended.

        Raises `MadeSafe` without a pulse if the board was asked to be safe more than `most_safes` times: the
        count comes with the lease, which a later `Safe` would take away.
        """
        self._link.stage(staged)
        start = replace(request, staged_crc=crc32c.crc32c(staged))
        if most_safes is None:
            self._link.pipeline([m.Arm(LEASE_MS), start])
        else:
            if self._link.request(m.Arm(LEASE_MS)).safes > most_safes:
                self._link.safe()
                raise MadeSafe("the board was asked to be safe; it is left so")
            self._link.request(start)
        yield from self._progress(request.job_id)

    def reopen(self) -> None:
        """Begin a new session with the same chip after a `LinkError`, under the same limits."""
        serial = self.welcome.serial
        if self._link.reopen(REOPEN_S).serial != serial:
            raise ProtocolError(f"another chip is at this port now, not {serial}; connect again")
        if self._limits is not None:
            self.tighten(self._limits)

    def follow(self, job_id: int) -> Iterator[m.Job]:
        """The progress of a job until it has ended; nothing if the board knows of no such job."""
        try:
            yield from self._progress(job_id)
        except DeviceError as error:
            if error.status != Status.NO_RESULT:
                raise

    def _progress(self, job_id: int) -> Iterator[m.Job]:
        waits = iter(_POLL_SECONDS)
        pause = next(waits)
        while True:
            job = self._link.request(m.GetJob(job_id))
            yield job
            if job.state != JobState.RUNNING:
                return
            time.sleep(pause)
            pause = next(waits, pause)

    def stop_job(self) -> bool:
        """Have the running job end after its round, with its report; False if none runs."""
        state = self.state()
        running = state.job_state == JobState.RUNNING
        if running:
            self._link.request(m.StopJob(state.job_id))
        return running

    def program_report(self, job_id: int) -> bulk.ProgramCodes:
        """The per-device report of an ended job."""
        data = self._link.collect(self._link.request(m.OpenReport(job_id)))
        return bulk.unpack_report(data, (self.info.rows, self.info.cols))

    def chain(self, request: m.StartChain, staged: bytes) -> plans.ChainReport:
        """Run a whole recall on the board, to its end; one of this job's number is followed, not begun twice.

        `request.staged_bytes` and `request.staged_crc` are filled in here from `staged`.

        Raises:
            MadeSafe: Somebody asked for safety meanwhile, or for the job's end.
            DeviceError: A fault ended it.
        """
        self._link.stage(staged)
        size, crc = len(staged), crc32c.crc32c(staged)
        self._link.request(replace(request, staged_bytes=size, staged_crc=crc))
        *_, job = self._progress(request.job_id)
        if job.fault:
            cause = Fault(job.fault).name.lower().replace("_", " ")
            raise DeviceError(Status.FAULT, m.Refusal(Executed.NO, 0, f"{cause} ended the job"), "StartChain")
        if job.state != JobState.DONE:
            raise MadeSafe("the recall was ended by a request: the board is left so; ask for it again")
        data = self._link.collect(self._link.request(m.OpenReport(request.job_id)))
        return plans.ChainReport.unpack(data, request)

    def scan(self, request: m.StartScan, staged: bytes) -> Iterator[m.Job]:
        """Run a fault scan on the board, yielding its progress until it has ended."""
        self._link.stage(staged)
        self._link.pipeline([m.Arm(LEASE_MS), replace(request, staged_crc=crc32c.crc32c(staged))])
        yield from self._progress(request.job_id)

    def scan_report(self, job_id: int) -> plans.ScanCodes:
        """The per-device report of an ended scan."""
        data = self._link.collect(self._link.request(m.OpenReport(job_id)))
        return plans.ScanCodes.unpack(data, (self.info.rows, self.info.cols))

    def rails(self) -> m.Rails:
        """The codes rails were set to, and those read back."""
        return self._link.request(m.GetRails())

    def set_rail(self, rail: Rail, code: int) -> m.Rails:
        """Set one rail; pulse and gate rail fall when the host is silent."""
        request = m.SetRail(rail, code)
        found = self._link.pipeline([m.Arm(LEASE_MS), request] if rail in PULSE_RAILS else [request])[-1]
        assert isinstance(found, m.Rails)
        return found

    def convert_test_input(self, adc: int, reads: int) -> int:
        """Sum of codes that one ADC makes of its test input, which rail `ADC_TEST` drives."""
        return self._link.request(m.ConvertTestInput(adc, reads)).total

    def sampling(self) -> m.Sampling:
        """When the outputs of the TIAs are sampled."""
        return self._link.request(m.GetSampling())

    def set_sampling(self, gain: int, sample_ns: int) -> m.Sampling:
        """Sample sooner or later at one gain, for this session."""
        return self._link.request(m.SetSampling(gain, sample_ns))

    def select_probe(self, array: int, point: ProbePoint, line: int = 0) -> m.Probed:
        """Route an internal node to the probe pad, for this session."""
        return self._link.request(m.SelectProbe(array, point, line))

    def op_log(self) -> bulk.OpLog:
        """The effects that the board remembers, also from before its last reset."""
        return bulk.unpack_op_log(self._link.collect(self._link.request(m.GetOpLog(0xFFFF))))

    def store_limits(self, limits: m.Limits) -> None:
        """Replace the limits that the board keeps; it must be in its commissioning state."""
        self._limits = self._link.request(m.StoreLimits(*astuple(limits)))

    def wait(self, duration_ms: int) -> m.Waited:
        """Let the chip rest."""
        return self._link.request(m.Wait(duration_ms), expect_s=duration_ms * 1e-3)

    def book(self) -> m.Book:
        """The chip's time and energy."""
        return self._link.request(m.GetBook())

    def state(self) -> m.State:
        """What the board is doing."""
        return self._link.request(m.GetState())

    def clear_fault(self, fault: int) -> m.State:
        """Clear the latched fault, if it is this one."""
        return self._link.request(m.ClearFault(fault))

    def safe(self) -> None:
        """Zero the outputs and end any job."""
        self._link.safe()

    def link_statistics(self) -> LinkStatistics:
        """What crossed the link so far."""
        return self._link.statistics

    def planted(self, array: int) -> tuple[bulk.Ints, bulk.Ints] | None:
        """Kinds and conductances (10 pS) a virtual chip was made with; None on hardware."""
        try:
            data = self._link.collect(self._link.request(m.GetPlanted(array)))
        except DeviceError as error:
            if error.status == Status.UNKNOWN_OPCODE:
                return None
            raise
        return bulk.unpack_planted(data, (self.info.rows, self.info.cols))
