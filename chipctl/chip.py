"""One memristor chip in SI units: read, multiply, pulse."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from chipctl.board import Board, NativeBoard, Region
from chipctl.converters import SPAN, Dac, Readout, dac_of, readout_of
from chipctl.errors import LinkError, ProtocolError, SaturationError
from chipctl.link import Link
from chipctl.profile import ChipProfile
from chipctl.transport import open_transport
from firmware_protocol.bulk import OpLog
from firmware_protocol.messages import AUTO_GAIN, RESET, SET, Multiply, Pulse, Rails, Sweep
from firmware_protocol.rails import Rail, window
from firmware_protocol.status import Fault

Siemens = NDArray[np.float64]
Volts = NDArray[np.float64]
Amps = NDArray[np.float64]

MOST_READS = 64
"""Reads that the board sums in one request."""


class HostLimits(BaseModel):
    """Limits tighter than the board's own, for one session. Volts, seconds; None keeps the board's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set_volts: float | None = Field(None, gt=0)
    reset_volts: float | None = Field(None, gt=0)
    gate_volts: float | None = Field(None, gt=0)
    width: float | None = Field(None, gt=0)
    pulses_per_device: int | None = Field(None, gt=0)
    pulses_per_second: int | None = Field(None, gt=0)


@dataclass(frozen=True)
class PulseShape:
    """One programming pulse: device polarity is `direction`, all voltages are positive."""

    direction: int
    """`SET` raises conductance, `RESET` lowers it."""
    volts: float
    gate_volts: float
    width_seconds: float

    @property
    def width_ns(self) -> int:
        """Width in whole nanoseconds."""
        return round(self.width_seconds * 1e9)


@dataclass(frozen=True)
class RailState:
    """One supply or reference voltage of the board, volts."""

    rail: Rail
    set_volts: float
    measured_volts: float
    low_volts: float
    """Lowest that it may be set to."""
    high_volts: float


@dataclass(frozen=True)
class ChipBook:
    """Where the chip's time and energy went since it was powered; what the board took is kept apart."""

    seconds: float
    """The chip's own clock; simulated time on a virtual chip."""
    spent: dict[str, float]
    """Seconds of it by cause: settling, converting, reading out, pulses, their set-up, waiting."""
    joules: dict[str, float]
    """Of the chip, by cause: row drivers, array, TIA, ADC, SET pulses, RESET pulses."""
    board_joules: float
    """Of the board and its microcontroller; 0 where the board does not measure it."""
    reads: int
    """Single-device reads."""
    products: int
    """Analog vector products, one per bit and sign."""
    set_pulses: int
    reset_pulses: int

    @property
    def chip_joules(self) -> float:
        """All of the chip's own energy."""
        return sum(self.joules.values())


_TIME_CAUSES = ("settling", "converting", "reading out", "pulses", "pulse set-up", "waiting")
"""In the order of `Book.time_ns`."""

_ENERGY_CAUSES = ("row drivers", "array", "TIA", "ADC", "SET pulses", "RESET pulses")
"""Of the chip, in the order of `Book.energy_fj`; the board's comes after them."""


class Chip:
    """A chip behind a board. Safe state is entered when the `with` block of `connect` ends."""

    def __init__(self, board: Board, profile: ChipProfile | None = None) -> None:
        self.board = board
        info = board.info
        self.arrays, self.rows, self.cols = info.arrays, info.rows, info.cols
        self.input_bits = info.input_bits
        self.dac: Dac = dac_of(info)
        self.readout: Readout = readout_of(info)
        self.profile = ChipProfile.nominal(board.welcome.serial, self.arrays, self.rows, self.cols)
        if profile is not None:
            self.adopt(profile)

    @property
    def whole(self) -> Region:
        """The rectangle of all devices of an array."""
        return Region(0, self.rows, 0, self.cols)

    def adopt(self, profile: ChipProfile) -> None:
        """Use what was measured on this chip before.

        Raises:
            ProtocolError: The profile is of another chip or geometry.
        """
        mine, theirs = self.profile, profile
        if (mine.serial, mine.rows, mine.cols) != (theirs.serial, theirs.rows, theirs.cols):
            raise ProtocolError(
                f"the profile is of chip {theirs.serial} ({theirs.rows}x{theirs.cols}), the board holds chip "
                f"{mine.serial} ({mine.rows}x{mine.cols}); name this chip's profile or scan it anew"
            )
        self.profile = profile

    # Reading

    def read(
        self, array: int, region: Region | None = None, *, reads: int = 1, gain: int = AUTO_GAIN
    ) -> Siemens:
        """Conductance of each device of a rectangle as seen at the read voltage, its shape (rows, cols).

        Each device is read by itself, so the value holds its access transistor and lines but no other
        device. Noise and a zero that is not calibrated can make it slightly negative.

        Args:
            array: Array index, from 0.
            region: The rectangle; the whole array by default.
            reads: Reads averaged per device.
            gain: TIA gain index, or `AUTO_GAIN`, which is chosen per device at its first read.

        Raises:
            ValueError: No such array, devices or gain; nothing was sent.
            SaturationError: A device is beyond the gain's range.
        """
        region = region or self.whole
        self._check_region(array, region)
        if gain != AUTO_GAIN:
            self.readout.lsb_amps(gain)
        if reads < 1:
            raise ValueError(f"at least one read, not {reads}")
        total, done = np.zeros(region.shape), 0
        while done < reads:
            part = min(MOST_READS, reads - done)
            total += part * self._read_once(array, gain, part, region)
            done += part
        return total / reads

    def _read_once(self, array: int, gain: int, reads: int, region: Region) -> Siemens:
        sums, gains = self.board.read_cells(array, gain, reads, region)
        if np.any(sums >= self.readout.full_scale * reads):
            where = np.argwhere(sums >= self.readout.full_scale * reads)[0] + (region.row, region.col)
            raise SaturationError(
                f"array {array}: device at row {where[0]}, column {where[1]} is beyond the ADC's range; "
                "use a lower gain"
            )
        scale = np.array([self.readout.lsb_siemens(g) for g in range(len(self.readout.gain_ohms))])
        zero = self.zero_codes(array)[region.slices[1]]
        return np.asarray((sums / reads - zero) * scale[gains])

    def multiply(
        self,
        array: int,
        row_volts: ArrayLike,
        *,
        input_bits: int = 1,
        reads: int = 1,
        gain: int | None = None,
        balanced: bool = False,
    ) -> Amps:
        """Multiply vectors of row voltages by the conductances of one array, in one request.

        Args:
            array: Array index, from 0.
            row_volts: Shape (rows,) or (vectors, rows), volts, between minus and plus the read voltage.
                Drivers of one bit: a vector is sent as `input_bits` binary products, and once
                more for its negative part, so each value is rounded to a multiple of the read voltage
                over 2**input_bits - 1.
            input_bits: Bits of magnitude per input; 1 suits states of -1, 0 and 1.
            reads: Products averaged.
            gain: TIA gain index; by default the most sensitive at which no column saturates, by trying.
            balanced: Drive the negative phase even where no voltage is negative, so that the columns' own
                zeros cancel without having been measured.

        Returns:
            Column currents, shape (cols,) or (vectors, cols), amperes, positive into the TIA.

        Raises:
            ValueError: A voltage or argument is outside what the chip has; nothing was sent.
            SaturationError: A column was at the end of the ADC's range in some product.
        """
        volts = np.atleast_2d(np.asarray(row_volts, dtype=np.float64))
        self._check_array(array)
        if volts.ndim != 2 or volts.shape[1] != self.rows:
            raise ValueError(f"vectors of {self.rows} row voltages wanted, shape {volts.shape} given")
        levels = 2**input_bits - 1
        scaled = volts / self.readout.read_volts * levels
        if not np.all(np.abs(scaled) <= levels * (1 + 1e-6)):
            raise ValueError(f"row voltages must lie within ±{self.readout.read_volts:g} V")
        inputs = np.rint(scaled).astype(np.int64)
        signed = balanced or bool((inputs < 0).any())
        for index in self._product_gains() if gain is None else [gain]:
            request = Multiply(array, index, reads, input_bits, signed, 0, self.cols, 0, 0)
            sums, clipped = self.board.multiply(request, inputs)
            if not clipped.any():
                break
        else:
            columns = np.flatnonzero(clipped.any(axis=0)).tolist()
            raise SaturationError(
                f"array {array}: columns {columns} at the end of the ADC's range at gain {index}"
            )
        zero = 0.0 if signed else self.zero_codes(array) * reads * levels
        amps = (sums - zero) * self.readout.lsb_amps(index) / (reads * levels)
        return np.asarray(amps.reshape(*np.shape(row_volts)[:-1], self.cols))

    def _product_gains(self) -> list[int]:
        """Gain indices that take at least one device at full span, most sensitive first."""
        one_device = SPAN * self.readout.read_volts
        gains = range(len(self.readout.gain_ohms))
        fitting = [gain for gain in gains if self.readout.full_scale_amps(gain) >= one_device]
        return sorted(fitting, key=lambda gain: -self.readout.gain_ohms[gain])

    def zero_codes(self, array: int) -> NDArray[np.float64]:
        """ADC code of zero current per column, shape (cols,): measured if it was, else nominal."""
        known = self.profile.arrays[array].zero_codes
        return np.full(self.cols, self.readout.zero_codes) if known is None else np.array(known)

    def measure_zero(self, array: int, reads: int = MOST_READS) -> NDArray[np.float64]:
        """Measure and keep the ADC code of zero current per column, no row being driven."""
        self._check_array(array)
        request = Multiply(array, 0, reads, 1, 0, 0, self.cols, 0, 0)
        sums, _ = self.board.multiply(request, np.zeros((1, self.rows), np.int64))
        zero = sums[0] / reads
        self.profile.arrays[array].zero_codes = zero.tolist()
        return np.asarray(zero)

    # Pulsing

    def pulse(self, array: int, shape: PulseShape, region: Region | None = None, count: int = 1) -> int:
        """Give every device of a rectangle `count` equal pulses, one device at a time.

        Changes the devices. Returns the number of pulses given.

        Raises:
            ValueError: Outside the chip, or above the board's limits; nothing was sent.
            OutcomeUnknown: The board did not answer; some pulses may have been given.
        """
        region = region or self.whole
        return self.board.pulse(self.check_pulse(array, shape, region, count)).pulses

    def check_pulse(self, array: int, shape: PulseShape, region: Region, count: int) -> Pulse:
        """The request that `pulse` sends, checked against the board's limits; nothing is sent.

        Raises:
            ValueError: Outside the chip, or above the board's limits.
        """
        self._check_region(array, region)
        volt, gate = self.pulse_codes(shape.direction, shape.volts, shape.gate_volts)
        self.check_width(shape.width_ns)
        most = min(self.board.limits.pulses_per_device, 0xFFFF)
        if not 1 <= count <= most:
            raise ValueError(f"{count} pulses: this board gives a device 1 to {most} at a time")
        return Pulse(
            array,
            shape.direction,
            int(volt),
            int(gate),
            shape.width_ns,
            count,
            region.row,
            region.rows,
            region.col,
            region.cols,
        )

    def pulse_each(
        self, array: int, direction: int, volts: Volts, gate_volts: Volts, width_seconds: float
    ) -> int:
        """Give each device its own pulse; NaN volts skip it. Shapes (rows, cols).

        Changes the devices. Returns the number of pulses given; raises as `pulse`.
        """
        self._check_array(array)
        if volts.shape != (self.rows, self.cols) or gate_volts.shape != volts.shape:
            raise ValueError(f"voltages of shape {(self.rows, self.cols)} wanted, {volts.shape} given")
        chosen = ~np.isnan(volts)
        volt_codes = np.zeros(volts.shape, np.int64)
        gate_codes = np.zeros(volts.shape, np.int64)
        codes = self.pulse_codes(direction, volts[chosen], gate_volts[chosen])
        volt_codes[chosen], gate_codes[chosen] = codes
        width_ns = round(width_seconds * 1e9)
        self.check_width(width_ns)
        return self.board.pulse_map(array, direction, width_ns, volt_codes, gate_codes).pulses

    def sweep(  # noqa: PLR0913 - one staircase is all of these
        self,
        array: int,
        row: int,
        col: int,
        direction: int,
        volts: ArrayLike,
        gate_volts: float,
        dwell_seconds: float,
    ) -> Amps:
        """Current of one device at each voltage of a DC staircase, amperes, shape (steps,).

        Changes the device: each step acts as a pulse of the dwell's width. The current is read at the
        end of the dwell, at that step's voltage, with automatic gain. Voltages and currents are positive
        in both directions; `direction` gives their sign.

        Raises:
            ValueError: Outside the chip, or above the board's limits; nothing was sent.
            SaturationError: A current was beyond the ADC's range; the device was swept all the same.
            OutcomeUnknown: The board did not answer; some steps may have been given.
        """
        self._check_region(array, Region(row, 1, col, 1))
        steps = np.asarray(volts, np.float64)
        most = min(self.board.limits.pulses_per_device, 0xFFFF)
        if steps.ndim != 1 or not 1 <= steps.size <= most:
            raise ValueError(f"a staircase has 1 to {most} voltages in a row, not shape {steps.shape}")
        volt_codes, gate = self.pulse_codes(direction, steps, gate_volts)
        dwell_ns = round(dwell_seconds * 1e9)
        self.check_width(dwell_ns)
        request = Sweep(array, direction, row, col, int(gate), dwell_ns, 0, 0)
        codes, gains = self.board.sweep(request, volt_codes)
        if np.any(codes >= self.readout.full_scale):
            raise SaturationError(
                f"array {array}: the current of row {row}, column {col} was beyond the ADC's range at "
                f"{steps[int(np.argmax(codes))]:g} V; sweep to lower voltages"
            )
        scale = np.array([self.readout.lsb_amps(g) for g in range(len(self.readout.gain_ohms))])
        return np.asarray((codes - self.zero_codes(array)[col]) * scale[gains])

    def pulse_codes(
        self, direction: int, volts: ArrayLike, gate_volts: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """DAC codes of pulse and gate voltages, checked against the board's limits.

        Raises:
            ValueError: Above a limit, negative, or outside the DAC's range.
        """
        limits = self.board.limits
        top = {SET: limits.set_code, RESET: limits.reset_code}[direction]
        name = {SET: "SET", RESET: "RESET"}[direction]
        volt_codes = self._limited(volts, top, name)
        gate_codes = self._limited(gate_volts, limits.gate_code, "gate")
        return volt_codes, gate_codes

    def _limited(self, volts: ArrayLike, top: int, name: str) -> NDArray[np.int64]:
        if np.any(np.asarray(volts) < 0):
            raise ValueError(f"{name} voltages are given as positive numbers")
        codes = np.asarray(self.dac.to_codes(volts), dtype=np.int64)
        if np.any(codes > top):
            highest, limit = float(np.max(np.asarray(volts))), float(self.dac.to_volts(top))
            raise ValueError(f"{name} voltage {highest:.3f} V is above this board's limit of {limit:.3f} V")
        return codes

    def check_width(self, width_ns: int) -> None:
        """Refuse a pulse width that the board would refuse.

        Raises:
            ValueError: Not on the timer's grid, or above the limit.
        """
        info, most = self.board.info, self.board.limits.width_ns
        tick = info.tick_ns if width_ns <= info.fine_width_ns else info.coarse_tick_ns
        if width_ns < 1 or width_ns % tick or width_ns > most:
            raise ValueError(
                f"pulse width {width_ns} ns: the board times multiples of {info.tick_ns} ns up to "
                f"{info.fine_width_ns} ns and of {info.coarse_tick_ns} ns above, up to {most} ns"
            )

    def tighten(self, limits: HostLimits) -> None:
        """Lower the board's limits for this session to those that `limits` names.

        Raises:
            ValueError: A limit is above the board's own; the board's holds.
        """
        now = self.board.limits
        codes = {"set_volts": "set_code", "reset_volts": "reset_code", "gate_volts": "gate_code"}
        wanted: dict[str, Any] = {}
        for name, value in limits.model_dump(exclude_none=True).items():
            field = codes.get(name, "width_ns" if name == "width" else name)
            if name in codes:
                number = self.dac.to_code(value)
            else:
                number = round(value * 1e9) if name == "width" else int(value)
            most = getattr(now, field)
            if number > most and not (name == "pulses_per_second" and most == 0):
                shown = f"{self.dac.to_volts(most):.3f} V" if name in codes else f"{field} {most}"
                raise ValueError(f"limit {name} = {value:g} is above the board's own, {shown}")
            wanted[field] = number
        if wanted:
            self.board.tighten(replace(now, **wanted))

    # Rails and log

    def rails(self) -> tuple[RailState, ...]:
        """Each supply and reference voltage of the board: as set, as read back, and its limits.

        At rest all are at 0 V; the first read brings them to their levels for reading.
        """
        return self._rail_states(self.board.rails())

    def set_rail(self, rail: Rail, volts: float) -> tuple[RailState, ...]:
        """Set one rail, until `safe` or the end of the session.

        Pulse and gate rail (`VP_PAD`, `TVDD`) stand only as long as the board hears from its host.

        Raises:
            ValueError: Outside the rail's limits; nothing was sent.
        """
        code = self.dac.to_code(volts)
        low, high = window(rail, self.board.limits)
        if not low <= code <= high:
            allowed = " to ".join(f"{float(self.dac.to_volts(end)):.3f}" for end in (low, high))
            raise ValueError(f"{rail.name} may be {allowed} V on this board, not {volts:.3f} V")
        return self._rail_states(self.board.set_rail(rail, code))

    def _rail_states(self, found: Rails) -> tuple[RailState, ...]:
        limits, volts = self.board.limits, self.dac.to_volts
        return tuple(
            RailState(
                rail,
                float(volts(found.set_codes[rail])),
                float(volts(found.measured_codes[rail])),
                *(float(volts(code)) for code in window(rail, limits)),
            )
            for rail in Rail
        )

    def op_log(self) -> OpLog:
        """What was done to the chip lately, by any host, as the board wrote it down; oldest first.

        To be asked after an `OutcomeUnknown`: an effect of that session that is not in it never happened.
        """
        return self.board.op_log()

    def clear_fault(self) -> Fault:
        """Clear the fault that the board has latched, and tell which it was; `Fault.NONE` if there was none.

        Pulses are possible again. What was under way when the fault came is in `op_log`, as partial; read
        the devices concerned before going on. A fault whose cause lasts comes back at once.
        """
        fault = Fault(self.board.state().fault)
        if fault is not Fault.NONE:
            self.board.clear_fault(fault)
        return fault

    # Rest

    def wait(self, seconds: float) -> None:
        """Let the chip rest; a virtual chip moves its clock at once."""
        self.board.wait(round(seconds * 1e3))

    def book(self) -> ChipBook:
        """The chip's time and energy since it was powered, by cause."""
        book = self.board.book()
        *chip, board = (femto * 1e-15 for femto in book.energy_fj[: len(_ENERGY_CAUSES) + 1])
        return ChipBook(
            seconds=book.clock_ns * 1e-9,
            spent={cause: ns * 1e-9 for cause, ns in zip(_TIME_CAUSES, book.time_ns, strict=False)},
            joules=dict(zip(_ENERGY_CAUSES, chip, strict=True)),
            board_joules=board,
            reads=book.reads,
            products=book.products,
            set_pulses=book.set_pulses,
            reset_pulses=book.reset_pulses,
        )

    def safe(self) -> None:
        """Zero the outputs and end any job."""
        self.board.safe()

    def _check_array(self, array: int) -> None:
        if not 0 <= array < self.arrays:
            raise ValueError(f"no array {array}: this chip has arrays 0 to {self.arrays - 1}")

    def _check_region(self, array: int, region: Region) -> None:
        self._check_array(array)
        rows = 0 <= region.row < region.row + region.rows <= self.rows
        cols = 0 <= region.col < region.col + region.cols <= self.cols
        if not (rows and cols):
            raise ValueError(f"{region} is not inside the {self.rows}x{self.cols} devices of an array")

    @classmethod
    def over(cls, link: Link, profile: ChipProfile | None = None) -> Self:
        """The chip at the other end of an open link."""
        return cls(NativeBoard(link), profile)


@contextmanager
def connect(address: str, profile: ChipProfile | None = None) -> Iterator[Chip]:
    """The chip at `address`; its outputs are zeroed when the block ends, however it ends.

    Args:
        address: A serial device path, `socket://host:port`, or `sim://?preset=good&seed=7`.
        profile: What was measured on this chip before.

    Raises:
        LinkError: No board there, or it is in use.
        ProtocolError: The board speaks another protocol version, or the profile is another chip's.
    """
    with Link(open_transport(address)) as link:
        try:
            yield Chip.over(link, profile)
        except BaseException as error:
            try:
                link.safe()
            except LinkError:
                error.add_note("the board could not be told to zero its outputs; its lease does within 2 s")
            raise
        link.safe()
