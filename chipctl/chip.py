"""One memristor chip in SI units: read, multiply, pulse."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chipctl.a0_board import SCHEME, A0Board, A0Place
from chipctl.bench import ChipBook, RailState, rail_states
from chipctl.board import Board, NativeBoard, Region
from chipctl.converters import SPAN, Columns, Dac, Readout, dac_of, readout_of
from chipctl.corrections import ProductLine, columns_of, kept_since, knows_adcs
from chipctl.errors import LinkError, ProtocolError, SaturationError
from chipctl.limits import HostLimits, PulseShape, Rules, Staircase
from chipctl.link import Link
from chipctl.products import Amps, Measure, Product, calibrated_product, product
from chipctl.profile import ChipProfile
from chipctl.transport import open_transport
from firmware_protocol.bulk import OpLog
from firmware_protocol.messages import AUTO_GAIN, Multiply
from firmware_protocol.rails import ProbePoint, Rail
from firmware_protocol.status import Fault

__all__ = ["MOST_READS", "Amps", "Chip", "ChipBook", "HostLimits", "PulseShape", "RailState", "connect"]

Siemens = NDArray[np.float64]
Volts = NDArray[np.float64]

MOST_READS = 64
"""Reads that the board sums in one request."""


class Chip:
    """A chip behind a board. Safe state is entered when the `with` block of `connect` ends."""

    def __init__(self, board: Board, profile: ChipProfile | None = None) -> None:
        self.board = board
        info = board.info
        self.arrays, self.rows, self.cols = info.arrays, info.rows, info.cols
        self.input_bits = info.input_bits
        self.dac: Dac = dac_of(info)
        self.readout: Readout = readout_of(info)
        self.rules = Rules(board, self.dac)
        self._kept: dict[tuple[int, int], tuple[int, bool]] = {}
        self.profile = ChipProfile.nominal(board.welcome.serial, self.arrays, self.rows, self.cols)
        if profile is not None:
            self.adopt(profile)

    @property
    def whole(self) -> Region:
        """The rectangle of all devices of an array."""
        return Region(0, self.rows, 0, self.cols)

    def adopt(self, profile: ChipProfile) -> None:
        """Use what was measured on this chip before.

        Warns of a calibration of the ADCs on a board whose reads move their conversion window.

        Raises:
            ProtocolError: The profile is of another chip or geometry.
        """
        mine, theirs = self.profile, profile
        if (mine.serial, mine.rows, mine.cols) != (theirs.serial, theirs.rows, theirs.cols):
            raise ProtocolError(
                f"the profile is of chip {theirs.serial} ({theirs.rows}x{theirs.cols}), the board holds chip "
                f"{mine.serial} ({mine.rows}x{mine.cols}); name this chip's profile or scan it anew"
            )
        if self.board.moves_windows and knows_adcs(profile):
            warnings.warn(
                "the profile's calibration of the ADCs does not hold for reads that move their conversion "
                "window: connect with #windows=off, or leave procedure adcs out of the profile",
                stacklevel=2,
            )
        self.profile = profile

    # Reading

    def read(
        self, array: int, region: Region | None = None, *, reads: int = 1, gain: int = AUTO_GAIN
    ) -> Siemens:
        """Conductance of each device of a rectangle as seen at the read voltage, its shape (rows, cols).

        Each device is read by itself, so the value holds its access transistor and lines but no other
        device. What the profile knows of the converters is made good; noise, and a zero that is not
        calibrated, can make it slightly negative.

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
        self.rules.check_region(array, region)
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
        return self.columns(array).siemens(sums / reads, gains, region.slices[1])

    def multiply(  # noqa: PLR0913 - how one product is measured
        self,
        array: int,
        row_volts: ArrayLike,
        *,
        input_bits: int = 1,
        reads: int = 1,
        gain: int | None = None,
        balanced: bool = False,
        cols: tuple[int, int] | None = None,
    ) -> Amps:
        """Multiply vectors of row voltages by the conductances of one array, in one request.

        Without calibration these are the currents as the converters' nominal scale has them, some ten
        percent smaller than conductances as `read` shows them would give, for the resistance of the wires.
        With a calibrated profile converters are made good (`columns`), and, while the array has not been
        pulsed since products were calibrated, the wires too: then this is `row_volts @ read(array)` but for
        noise. See docs/profile.md. `product` leaves all of it out.

        Args:
            array: Array index, from 0.
            row_volts: Shape (rows,) or (vectors, rows), volts, between minus and plus the read voltage.
                Drivers of one bit: a vector is sent as `input_bits` binary products, and once
                more for its negative part, so each value is rounded to a multiple of the read voltage
                over 2**input_bits - 1.
            input_bits: Bits of magnitude per input; 1 suits states of -1, 0 and 1.
            reads: Products averaged.
            gain: TIA gain index; by default the board tries until no column saturates, from the most
                sensitive one that takes a device at full span.
            balanced: Drive the negative phase even where no voltage is negative, so that the columns' own
                zeros cancel without having been measured.
            cols: First column and number of columns to sample, all by default; the others cost no conversion.

        Returns:
            Column currents, shape (cols,) or (vectors, cols), amperes, positive into the TIA.

        Raises:
            ValueError: A voltage or argument is outside what the chip has; nothing was sent.
            SaturationError: A column was at the end of the ADC's range in some product.
        """
        first, least = (self.sensitive_gain, 0) if gain is None else (gain, gain)
        measure = Measure(first, least, input_bits, reads, balanced, cols)
        return self.calibrated_product(array, row_volts, measure).amps

    def calibrated_product(self, array: int, row_volts: ArrayLike, measure: Measure) -> Product:
        """Currents as `multiply` gives them, and the gain that they ended with."""
        columns, line = self.columns(array), self.product_line(array)
        if line is None and not columns.is_calibrated:
            found = self.product(array, row_volts, measure)
            return replace(found, amps=found.amps / columns.read_ratio)
        found = calibrated_product(self.board, columns, array, row_volts, measure)
        if line is None:
            return found
        at, count = measure.cols or (0, self.cols)
        here = slice(at, at + count)
        line = ProductLine(line.slope[here], line.offset_amps[here])
        return replace(found, amps=line.undo(found.amps))

    def product_line(self, array: int) -> ProductLine | None:
        """What makes the wires of one array good; None if it was not measured or the map has changed."""
        return ProductLine.of(self.profile, array, self.keeps_map)

    def keeps_map(self, array: int, total_pulses: int) -> bool:
        """Whether an array has had no pulse since the board's count stood so; no where nobody knows."""
        now = self.board.state().total_pulses
        if now <= total_pulses:
            return now == total_pulses  # a board that counts anew knows nothing of before
        if self._kept.get((array, total_pulses), (None, False))[0] != now:
            self._kept[array, total_pulses] = now, kept_since(self.board.op_log(), array, total_pulses)
        return self._kept[array, total_pulses][1]

    def columns(self, array: int) -> Columns:
        """The converters of one array, codes to SI and back, as far as the profile knows them.

        Raises:
            ValueError: No such array.
        """
        self.rules.check_array(array)
        return columns_of(self.profile, self.readout, array)

    def product(self, array: int, row_volts: ArrayLike, measure: Measure) -> Product:
        """Currents at the converters' nominal scale, zeros apart, and the gain that they ended with.

        What the board's own sums say, as a chain of layers on the board sees them: for those who fit
        corrections of their own.
        """
        self.rules.check_array(array)
        return product(self.board, self.readout, array, row_volts, measure, self.zero_codes(array))

    @property
    def sensitive_gain(self) -> int:
        """The most sensitive TIA gain index that takes one device at full span."""
        return self.readout.highest_gain(SPAN * self.readout.read_volts)

    def zero_codes(self, array: int) -> NDArray[np.float64]:
        """ADC code of zero current per column, shape (cols,): measured if it was, else nominal."""
        known = self.profile.arrays[array].zero_codes
        return np.full(self.cols, self.readout.zero_codes) if known is None else np.array(known)

    def measure_zero(self, array: int, reads: int = MOST_READS) -> NDArray[np.float64]:
        """Measure and keep the ADC code of zero current per column, no row being driven."""
        self.rules.check_array(array)
        request = Multiply(array, 0, 0, reads, 1, 0, 0, self.cols, 0, 0)
        sums, _, _ = self.board.multiply(request, np.zeros((1, self.rows), np.int64))
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
        return self.board.pulse(self.rules.pulse(array, shape, region, count)).pulses

    def pulse_each(
        self, array: int, direction: int, volts: Volts, gate_volts: Volts, width_seconds: float
    ) -> int:
        """Give each device its own pulse; NaN volts skip it. Shapes (rows, cols).

        Changes the devices. Returns the number of pulses given; raises as `pulse`.
        """
        self.rules.check_array(array)
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
        stairs = Staircase(row, col, direction, volts, gate_volts, dwell_seconds)
        codes, gains = self.board.sweep(*self.rules.staircase(array, stairs))
        if np.any(codes >= self.readout.full_scale):
            raise SaturationError(
                f"array {array}: the current of row {row}, column {col} was beyond the ADC's range at "
                f"{np.asarray(volts)[int(np.argmax(codes))]:g} V; sweep to lower voltages"
            )
        columns = replace(self.columns(array), read_ratio=1.0)  # these are no reads
        return columns.amps(codes[:, None], gains[:, None], slice(col, col + 1))[:, 0]

    def pulse_codes(
        self, direction: int, volts: ArrayLike, gate_volts: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """DAC codes of pulse and gate voltages; raises ValueError above a limit of the board."""
        return self.rules.pulse_codes(direction, volts, gate_volts)

    def check_width(self, width_ns: int) -> None:
        """Raise ValueError for a pulse width that the board would refuse."""
        self.rules.check_width(width_ns)

    def tighten(self, limits: HostLimits) -> None:
        """Lower the board's limits for this session to those that `limits` names.

        Raises:
            ValueError: A limit is above the board's own; the board's holds.
        """
        if limits.model_fields_set:
            self.board.tighten(self.rules.tightened(limits))

    # Rails, converters and log

    def rails(self) -> tuple[RailState, ...]:
        """Each supply and reference voltage of the board: as set, as read back, and its limits.

        At rest all are at 0 V; the first read brings them to their levels for reading.
        """
        return rail_states(self.board.rails(), self.board.limits, self.dac)

    def set_rail(self, rail: Rail, volts: float) -> tuple[RailState, ...]:
        """Set one rail, until `safe` or the end of the session.

        Pulse and gate rail (`VP_PAD`, `TVDD`) stand only as long as the board hears from its host.

        Raises:
            ValueError: Outside the rail's limits; nothing was sent.
        """
        found = self.board.set_rail(rail, self.rules.rail_code(rail, volts))
        return rail_states(found, self.board.limits, self.dac)

    def test_input_volts(self, adc: int, reads: int = 1) -> float:
        """What one ADC makes of the test input, by its nominal scale, V; rail `ADC_TEST` drives the input."""
        r = self.readout
        code = self.board.convert_test_input(adc, reads) / reads
        return r.adc_min_volts + code * (r.adc_max_volts - r.adc_min_volts) / r.full_scale

    @property
    def sample_seconds(self) -> tuple[float, ...]:
        """When the outputs of the TIAs are sampled after the rows are driven, by gain index."""
        times = self.board.sampling().sample_ns[: len(self.readout.gain_ohms)]
        return tuple(ns * 1e-9 for ns in times)

    def set_sample_seconds(self, gain: int, seconds: float) -> None:
        """Sample sooner or later at one gain, until the session ends; too soon, signals are too small.

        Raises:
            ValueError: No such gain, or no time; nothing was sent.
            DeviceError: Not on the board's grid.
        """
        self.readout.lsb_amps(gain)
        sample_ns = round(seconds * 1e9)
        if not 0 < sample_ns <= 0xFFFFFFFF:
            raise ValueError(f"samples are taken some time after the rows are driven, not {seconds:g} s")
        self.board.set_sampling(gain, sample_ns)

    def probe(self, array: int, point: ProbePoint, col: int = 0) -> None:
        """Route an internal node to the probe pad, for a scope, until another one is or the session ends.

        Raises:
            ValueError: No such array or column; nothing was sent.
        """
        self.rules.check_region(array, Region(0, 1, col, 1))
        self.board.select_probe(array, point, col)

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

    def wait(self, seconds: float) -> float:
        """Let the chip rest; a virtual chip moves its clock at once. Returns the chip's clock, seconds."""
        duration_ms = round(seconds * 1e3)
        if not 0 <= duration_ms <= 0xFFFFFFFF:
            raise ValueError(f"a chip rests for 0 to {0xFFFFFFFF / 1e3:.0f} s at a time, not {seconds:g} s")
        return self.board.wait(duration_ms).clock_ns * 1e-9

    def book(self) -> ChipBook:
        """The chip's time and energy since it was powered, by cause."""
        return ChipBook.of(self.board.book())

    def safe(self) -> None:
        """Zero the outputs and end any job."""
        self.board.safe()

    @classmethod
    def over(cls, link: Link, profile: ChipProfile | None = None) -> Self:
        """The chip at the other end of an open link."""
        return cls(NativeBoard(link), profile)


@contextmanager
def connect(address: str, profile: ChipProfile | None = None) -> Iterator[Chip]:
    """The chip at `address`; its outputs are zeroed when the block ends, however it ends.

    Args:
        address: A serial device path, `socket://host:port`, or `sim://?preset=good&seed=7`;
            that of an A0 board with `a0+` before it.
        profile: What was measured on this chip before.

    Raises:
        LinkError: No board there, or it is in use.
        ProtocolError: The board speaks another protocol version, or the profile is another chip's.
    """
    if address.startswith(SCHEME):
        with A0Board(A0Place.of(address)).session() as board:
            yield Chip(board, profile)
        return
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
