"""What a board can do, in codes: requests and bulk data over one link, nothing converted."""

import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Protocol

import crc32c
import numpy as np
from numpy.typing import NDArray

from chipctl.errors import DeviceError
from chipctl.link import Link, LinkStatistics
from firmware_protocol import messages as m
from firmware_protocol.jobs import JobState
from firmware_protocol.status import Status

LEASE_MS = 2000
"""Lease on high voltage asked for with every pulse; the board zeroes its outputs when the host is silent."""

_POLL_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)
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


@dataclass(frozen=True)
class ProgramCodes:
    """What a finished write-and-verify job says of each device, shape (rows, cols) each."""

    final_sums: NDArray[np.int64]
    set_pulses: NDArray[np.int64]
    reset_pulses: NDArray[np.int64]
    volt_codes: NDArray[np.int64]
    gate_codes: NDArray[np.int64]
    verdicts: NDArray[np.int64]


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

    def tighten(self, limits: m.Limits) -> None:
        """Lower the limits for this session."""
        ...

    def read_cells(
        self, array: int, gain: int, reads: int, region: Region
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Sums of ADC codes and gain indices of single-device reads, each of the region's shape."""
        ...

    def multiply(
        self, request: m.Multiply, inputs: NDArray[np.int16]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Sums of codes and clipped flags, shape (vectors, columns) each."""
        ...

    def pulse(self, request: m.Pulse) -> m.Pulsed:
        """Give a rectangle the same pulses."""
        ...

    def pulse_map(
        self,
        array: int,
        direction: int,
        width_ns: int,
        volt_codes: NDArray[np.int64],
        gate_codes: NDArray[np.int64],
    ) -> m.Pulsed:
        """Give each device its own pulse; code 0 skips it."""
        ...

    def program(self, request: m.StartProgram, staged: bytes) -> Iterator[m.Job]:
        """Run a write-and-verify job, yielding its progress until it has ended."""
        ...

    def program_report(self, job_id: int) -> ProgramCodes:
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

    def safe(self) -> None:
        """Zero the outputs and end any job."""
        ...

    def link_statistics(self) -> LinkStatistics:
        """What crossed the link so far."""
        ...

    def planted(self, array: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
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

    def tighten(self, limits: m.Limits) -> None:
        """Lower the limits for this session."""
        self._limits = self._link.request(m.TightenLimits(*astuple(limits)))

    def read_cells(
        self, array: int, gain: int, reads: int, region: Region
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Sums of ADC codes and gain indices of single-device reads, each of the region's shape."""
        request = m.ReadCells(array, gain, reads, region.row, region.rows, region.col, region.cols)
        data = self._link.collect(self._link.request(request))
        count = region.rows * region.cols
        sums = np.frombuffer(data, "<u2", count).astype(np.int64)
        if gain == m.AUTO_GAIN:
            gains = np.frombuffer(data, np.uint8, count, offset=2 * count)
        else:
            gains = np.full(count, gain, np.uint8)
        return sums.reshape(region.shape), gains.reshape(region.shape)

    def multiply(
        self, request: m.Multiply, inputs: NDArray[np.int16]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Sums of codes and clipped flags, shape (vectors, columns) each.

        `request.vectors` and `request.staged_crc` are filled in here from `inputs`, shape (vectors, rows).
        """
        sums, clipped = [], []
        most = max(1, self.welcome.staging_bytes // (2 * inputs.shape[1]))
        most = min(most, self.welcome.result_bytes // (5 * request.col_count))
        for first in range(0, len(inputs), most):
            part = inputs[first : first + most]
            staged = part.astype("<i2").tobytes()
            self._link.stage(staged)
            sized = replace(request, vectors=len(part), staged_crc=crc32c.crc32c(staged))
            data = self._link.collect(self._link.request(sized, expect_s=1e-4 * len(part)))
            shape = (len(part), request.col_count)
            count = shape[0] * shape[1]
            sums.append(np.frombuffer(data, "<i4", count).astype(np.int64).reshape(shape))
            flags = np.frombuffer(data, np.uint8, count, offset=4 * count)
            clipped.append(flags.astype(np.bool_).reshape(shape))
        return np.concatenate(sums), np.concatenate(clipped)

    def pulse(self, request: m.Pulse) -> m.Pulsed:
        """Give a rectangle the same pulses."""
        return self._effect(request, devices=request.row_count * request.col_count * request.count)

    def pulse_map(
        self,
        array: int,
        direction: int,
        width_ns: int,
        volt_codes: NDArray[np.int64],
        gate_codes: NDArray[np.int64],
    ) -> m.Pulsed:
        """Give each device its own pulse; code 0 skips it."""
        staged = volt_codes.astype("<u2").tobytes() + gate_codes.astype("<u2").tobytes()
        self._link.stage(staged)
        request = m.PulseMap(array, direction, width_ns, crc32c.crc32c(staged))
        return self._effect(request, devices=volt_codes.size)

    def _effect(self, request: m.Pulse | m.PulseMap, devices: int) -> m.Pulsed:
        replies = self._link.pipeline([m.Arm(LEASE_MS), request], expect_s=2e-6 * devices)
        pulsed = replies[-1]
        assert isinstance(pulsed, m.Pulsed)
        return pulsed

    def program(self, request: m.StartProgram, staged: bytes) -> Iterator[m.Job]:
        """Run a write-and-verify job, yielding its progress until it has ended."""
        self._link.stage(staged)
        self._link.pipeline([m.Arm(LEASE_MS), replace(request, staged_crc=crc32c.crc32c(staged))])
        waits = iter(_POLL_SECONDS)
        pause = next(waits)
        while True:
            job = self._link.request(m.GetJob(request.job_id))
            yield job
            if job.state != JobState.RUNNING:
                return
            time.sleep(pause)
            pause = next(waits, pause)

    def program_report(self, job_id: int) -> ProgramCodes:
        """The per-device report of an ended job."""
        data = self._link.collect(self._link.request(m.OpenReport(job_id)))
        shape = (self.info.rows, self.info.cols)
        count = shape[0] * shape[1]
        words = np.frombuffer(data, "<u2", 5 * count).astype(np.int64).reshape(5, *shape)
        verdicts = np.frombuffer(data, np.uint8, count, offset=10 * count).astype(np.int64)
        return ProgramCodes(*words, verdicts=verdicts.reshape(shape))

    def wait(self, duration_ms: int) -> m.Waited:
        """Let the chip rest."""
        return self._link.request(m.Wait(duration_ms), expect_s=duration_ms * 1e-3)

    def book(self) -> m.Book:
        """The chip's time and energy."""
        return self._link.request(m.GetBook())

    def state(self) -> m.State:
        """What the board is doing."""
        return self._link.request(m.GetState())

    def safe(self) -> None:
        """Zero the outputs and end any job."""
        self._link.safe()

    def link_statistics(self) -> LinkStatistics:
        """What crossed the link so far."""
        return self._link.statistics

    def planted(self, array: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
        """Kinds and conductances (10 pS) a virtual chip was made with; None on hardware."""
        try:
            data = self._link.collect(self._link.request(m.GetPlanted(array)))
        except DeviceError as error:
            if error.status == Status.UNKNOWN_OPCODE:
                return None
            raise
        shape = (self.info.rows, self.info.cols)
        count = shape[0] * shape[1]
        kinds = np.frombuffer(data, np.uint8, count).reshape(shape)
        conductance = np.frombuffer(data, "<i4", count, offset=count).astype(np.int64).reshape(shape)
        return kinds, conductance
